//   embedding   y[i] = table[index[i]]           dtable[index[i]] += dy[i]
//   gather      y[r, j] = x[r, index[r, j]]      dx[r, index[r, j]] += dy[r, j]      saved: index
#include "tessera/core/ops/embedding.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check(const char* op, std::span<const int32_t> index, int rows) {
  for (int32_t i : index)
    if (i < -1 || i >= rows) fail(op, "index {} is outside of [0, {})", i, rows);
}

}  // namespace

Tensor embedding(const Tensor& table, std::span<const int32_t> index) {
  if (table.rank() < 1) fail("embedding", "the table is {}; it needs rows", table.shape().str());
  check("embedding", index, table.dim(0));
  Shape s = table.shape();
  s[0] = static_cast<int>(index.size());
  int64_t width = 1;  // also of a table without rows, where every index is -1
  for (int k = 1; k < s.rank; ++k) width *= s.d[k];
  const real* const rows_of_table =
      table.read().data();  // a parameter that is lent to be written to is packed at every product
  Tensor y(s);
  for (size_t i = 0; i < index.size(); ++i) {
    real* to = y.data() + static_cast<int64_t>(i) * width;
    if (index[i] < 0) {
      std::fill_n(to, width, real(0));
    } else {
      std::memcpy(to, rows_of_table + index[i] * width, static_cast<size_t>(width) * sizeof(real));
    }
  }
  const Tensor kept = detail::save(index);
  return record({"embedding", {{"index", index}}}, y, {&table},
                [=, rows = s[0], in = table.slot()](const Tensor& dy, Back& back) {
                  const auto [dt, beta] = back.into(in);
                  if (beta == 0) std::fill_n(dt, in.size(), real(0));
                  const int32_t* at = detail::indices_of(kept);
                  for (int64_t i = 0; i < rows; ++i)
                    if (at[i] >= 0) kernels().accumulate(dy.data() + i * width, dt + at[i] * width, width);
                });
}

Tensor gather(const Tensor& x, std::span<const int32_t> index, int m) {
  const int R = x.rank() ? x.dim(-1) : 0;
  const int64_t rows = R ? x.size() / R : 0, period = m > 0 ? static_cast<int64_t>(index.size()) / m : 0;
  if (x.rank() < 1 || m < 1 || period < 1 || period * m != static_cast<int64_t>(index.size()) || rows % period)
    fail("gather", "{} indices are no rows of {} that repeat over the rows of {}", index.size(), m, x.shape().str());
  check("gather", index, R);
  Shape s = x.shape();
  s[-1] = m;
  Tensor y(s);
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t* at = index.data() + r % period * m;
    for (int64_t j = 0; j < m; ++j) y[r * m + j] = at[j] < 0 ? real(0) : x[r * R + at[j]];
  }
  const Tensor kept = detail::save(index);
  return record({"gather", {{"index", index}, {"m", m}}}, y, {&x}, [=, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    if (beta == 0) std::fill_n(dx, in.size(), real(0));
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t* at = detail::indices_of(kept) + r % period * m;
      for (int64_t j = 0; j < m; ++j)
        if (at[j] >= 0) dx[r * R + at[j]] += dy[r * m + j];
    }
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
