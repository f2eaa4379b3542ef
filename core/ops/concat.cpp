//   y   = [x0, x1, ...] along dim
//   dxi = dy at xi's place, summed over the outer dimensions where a part (a class token) is repeated over them
#include "tessera/core/ops/concat.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr int most = 8;  // parts of one node on the tape; more are joined in groups

/// y (outer, row) holds part (outer, n) at `skip` in each row. repeat: part is (1, n).
void place(const real* part, real* y, int64_t outer, int64_t row, int64_t skip, int64_t n, bool repeat) {
  for (int64_t o = 0; o < outer; ++o)
    std::memcpy(y + o * row + skip, part + (repeat ? 0 : o * n), static_cast<size_t>(n) * sizeof(real));
}
void take(const real* dy, real* dpart, real beta, int64_t outer, int64_t row, int64_t skip, int64_t n, bool repeat) {
  if (outer == 0 && repeat && beta == 0) std::fill_n(dpart, n, real(0));
  for (int64_t o = 0; o < outer; ++o) {
    const real* from = dy + o * row + skip;
    real* to = dpart + (repeat ? 0 : o * n);
    if (beta == 0 && (!repeat || o == 0)) {
      std::memcpy(to, from, static_cast<size_t>(n) * sizeof(real));
    } else {
      kernels().accumulate(from, to, n);
    }
  }
}

struct Parts {
  std::array<Tensor, most> slot;
  std::array<int64_t, most> n{};  ///< elements in a row of y
  int count = 0;
};

Tensor join(std::span<const Tensor> x, const Shape& s, int d) {
  const int64_t outer = detail::around(s, d).outer;
  const int64_t row = outer ? s.size() / outer : 0;
  Tensor y(s);
  Parts parts;
  std::array<const Tensor*, most> inputs{};
  int64_t skip = 0;
  for (const Tensor& t : x) {
    const auto k = static_cast<size_t>(parts.count++);
    inputs[k] = &t, parts.slot[k] = t.slot(), parts.n[k] = outer ? t.size() / outer : 0;
    place(t.data(), y.data(), outer, row, skip, parts.n[k], false);
    skip += parts.n[k];
  }
  return record({"concat", {{"dim", d}}}, y, Inputs(inputs.data(), x.size()),
                [parts, outer, row](const Tensor& dy, Back& back) {
                  int64_t at = 0;
                  for (size_t k = 0; k < static_cast<size_t>(parts.count); at += parts.n[k++]) {
                    if (!back.wants(parts.slot[k])) continue;
                    const auto [dx, beta] = back.into(parts.slot[k]);
                    take(dy.data(), dx, beta, outer, row, at, parts.n[k], false);
                  }
                });
}

}  // namespace

Tensor concat(std::span<const Tensor> parts, int dim) {
  if (parts.empty()) fail("concat", "there is nothing to join");
  const int d = detail::dimension("concat", parts[0], dim);
  if (parts.size() > most) {
    std::vector<Tensor> groups;
    for (size_t i = 0; i < parts.size(); i += most)
      groups.push_back(concat(parts.subspan(i, std::min<size_t>(most, parts.size() - i)), d));
    return concat(groups, d);
  }
  Shape s = parts[0].shape();
  for (const Tensor& t : parts.subspan(1)) {
    bool same = t.rank() == s.rank;
    for (int i = 0; same && i < s.rank; ++i) same = i == d || t.dim(i) == s[i];
    if (!same) fail("concat", "{} does not fit {} along dimension {}", t.shape().str(), parts[0].shape().str(), dim);
    s[d] += t.dim(d);
  }
  return join(parts, s, d);
}

Tensor concat(std::initializer_list<Tensor> parts, int dim) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), dim);
}

Tensor stack(std::span<const Tensor> parts, int dim) {
  if (parts.empty()) fail("stack", "there is nothing to join");
  const Shape& one = parts[0].shape();
  const int d = dim < 0 ? dim + one.rank + 1 : dim;
  if (d < 0 || d > one.rank || one.rank == Shape::max_rank) fail("stack", "{} gets no dimension {}", one.str(), dim);
  Shape s;
  for (int i = 0; i <= one.rank; ++i) s.d[static_cast<size_t>(s.rank++)] = i < d ? one[i] : i == d ? 1 : one[i - 1];
  std::vector<Tensor> raised;
  for (const Tensor& t : parts) {
    if (!(t.shape() == one)) fail("stack", "{} has not the shape {} of the first", t.shape().str(), one.str());
    raised.push_back(t.reshape(s));
  }
  return concat(raised, d);
}

Tensor stack(std::initializer_list<Tensor> parts, int dim) {
  return stack(std::span<const Tensor>(parts.begin(), parts.size()), dim);
}

Tensor prepend(const Tensor& token, const Tensor& x) {
  if (x.rank() != 3 || token.rank() != 3 || token.dim(0) != 1 || token.dim(2) != x.dim(2))
    fail("prepend", "tokens {} do not go in front of {}: (1, P, C) and (B, N, C) are needed", token.shape().str(),
         x.shape().str());
  const int B = x.dim(0), P = token.dim(1), N = x.dim(1), C = x.dim(2);
  const int64_t row = int64_t{P + N} * C, front = int64_t{P} * C;
  Tensor y({B, P + N, C});
  place(token.data(), y.data(), B, row, 0, front, true);
  place(x.data(), y.data(), B, row, front, row - front, false);
  return record("prepend", y, {&token, &x}, [=, t = token.slot(), in = x.slot()](const Tensor& dy, Back& back) {
    if (back.wants(t)) {
      const auto [dt, beta] = back.into(t);
      take(dy.data(), dt, beta, B, row, 0, front, true);
    }
    if (back.wants(in)) {
      const auto [dx, beta] = back.into(in);
      take(dy.data(), dx, beta, B, row, front, row - front, false);
    }
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
