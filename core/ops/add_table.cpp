//   y_bt = s x_bt + table_{t - first}
//   dx   = s dy        dtable_r = sum_b dy_{b, first + r}                     saved: nothing
#include "tessera/core/ops/add_table.h"

#include <algorithm>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void scaled(const real* x, real s, real* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = s * x[i];
}

void forward(const Tensor& x, const Tensor& table, int64_t prefix, real s, Tensor& y) {
  const int64_t sample = x.size() / std::max(1, x.dim(0));
  parallel::rows(x.dim(0), 1, [&](int64_t b, int64_t e) {
    for (; b < e; ++b) {
      const real* from = x.data() + b * sample;
      real* to = y.data() + b * sample;
      if (s != 1)
        scaled(from, s, to, sample), from = to;
      else
        std::copy_n(from, prefix, to);
      kernels().add(from + prefix, table.data(), to + prefix, sample - prefix);
    }
  });
}

void backward(const Tensor& x, const Tensor& table, int64_t prefix, real s, const Tensor& dy, Back& back) {
  const int64_t B = dy.dim(0), sample = dy.size() / std::max<int64_t>(1, B);
  if (back.wants(table)) {
    const auto [to, beta] = back.into(table);
    if (beta == 0) std::fill_n(to, table.size(), real(0));
    parallel::rows(table.size(), parallel::numbers(), [&, to = to](int64_t i, int64_t e) {
      for (int64_t b = 0; b < B; ++b) kernels().accumulate(dy.data() + b * sample + prefix + i, to + i, e - i);
    });
  }
  if (!back.wants(x)) return;
  if (s == 1) return back.add(x, dy);
  Tensor dx(dy.shape());
  scaled(dy.data(), s, dx.data(), dx.size());
  back.add(x, std::move(dx));
}

}  // namespace

Tensor add_table(const Tensor& x, const Tensor& table, int first, double scale) {
  const auto [B, N, C] = x.dims<3>();
  if (first < 0 || first > N || table.size() != static_cast<int64_t>(N - first) * C || table.dim(-1) != C) {
    fail(table.leaf() ? "add_table " + table.leaf()->name : "add_table",
         "tokens are {} with {} class tokens in front, but the table is {}", x.shape().str(), first,
         table.shape().str());
  }
  Tensor y(x.shape());
  const int64_t prefix = static_cast<int64_t>(first) * C;
  const auto s = static_cast<real>(scale);
  forward(x, table, prefix, s, y);
  return record({"add_table", {{"first", first}, {"scale", scale}}}, y, {&x, &table},
                [in = x.slot(), into = table.slot(), prefix, s](const Tensor& dy, Back& back) {
                  backward(in, into, prefix, s, dy, back);
                });
}

}  // namespace TESSERA_NS
}  // namespace tessera
