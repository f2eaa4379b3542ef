//   y[j] = x[source(j)], 0 where there is none      dx[i] = the sum of dy[j] over source(j) = i
#include "tessera/core/ops/pad.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/detail/loops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr const char* names[] = {"zero", "reflect", "circular"};  // of Padding

struct Edges {
  int64_t outer, n, inner, before, after;
  Padding mode;
  int64_t padded() const { return before + n + after; }
  /// Position of x that y's position j shows, outside of the middle part; -1: none.
  int64_t source(int64_t j) const {
    const int64_t i = j - before;
    switch (mode) {
      case Padding::reflect:
        return i < 0 ? -i : 2 * (n - 1) - i;
      case Padding::circular:
        return i < 0 ? i + n : i - n;
      default:
        return -1;
    }
  }
  /// f(j) for the positions of y outside of the middle.
  template <class F>
  void each(F f) const {
    for (int64_t j = 0; j < before; ++j) f(j);
    for (int64_t j = before + n; j < padded(); ++j) f(j);
  }
};

void forward(const Edges& e, const real* x, real* y) {
  for (int64_t o = 0; o < e.outer; ++o, x += e.n * e.inner, y += e.padded() * e.inner) {
    std::memcpy(y + e.before * e.inner, x, static_cast<size_t>(e.n * e.inner) * sizeof(real));
    e.each([&](int64_t j) {
      const int64_t i = e.source(j);
      if (i < 0) {
        std::fill_n(y + j * e.inner, e.inner, real(0));
      } else {
        std::memcpy(y + j * e.inner, x + i * e.inner, static_cast<size_t>(e.inner) * sizeof(real));
      }
    });
  }
}

void backward(const Edges& e, const real* dy, real* dx, real beta) {
  for (int64_t o = 0; o < e.outer; ++o, dx += e.n * e.inner, dy += e.padded() * e.inner) {
    const real* middle = dy + e.before * e.inner;
    if (beta == 0) {
      std::memcpy(dx, middle, static_cast<size_t>(e.n * e.inner) * sizeof(real));
    } else {
      kernels().accumulate(middle, dx, e.n * e.inner);
    }
    e.each([&](int64_t j) {
      if (const int64_t i = e.source(j); i >= 0) kernels().accumulate(dy + j * e.inner, dx + i * e.inner, e.inner);
    });
  }
}

Tensor rolled(const Tensor& x, int dim, int64_t shift) {
  Tensor y(x.shape());
  const auto [outer, n, inner] = detail::around(x.shape(), dim);
  const int64_t head = shift * inner, rest = (n - shift) * inner;
  for (int64_t o = 0; o < outer; ++o) {
    const real* from = x.data() + o * n * inner;
    real* to = y.data() + o * n * inner;
    std::memcpy(to + head, from, static_cast<size_t>(rest) * sizeof(real));
    std::memcpy(to, from + rest, static_cast<size_t>(head) * sizeof(real));
  }
  return y;
}

}  // namespace

Tensor pad(const Tensor& x, int dim, int before, int after, Padding mode) {
  const int d = detail::dimension("pad", x, dim), n = x.dim(d);
  const int most = mode == Padding::reflect ? n - 1 : mode == Padding::circular ? n : 1 << 30;
  if (before < 0 || after < 0 || before > most || after > most)
    fail("pad", "{} and {} positions around the {} of dimension {}: {}", before, after, n, dim,
         before < 0 || after < 0    ? "negative padding is a slice()"
         : mode == Padding::reflect ? "a reflection shows at most one less than there are"
                                    : "a circle shows at most as many as there are");
  const auto [outer, extent, inner] = detail::around(x.shape(), d);
  const Edges e{outer, extent, inner, before, after, mode};
  Shape s = x.shape();
  s[d] = n + before + after;
  Tensor y(s);
  forward(e, x.data(), y.data());
  return record({"pad", {{"dim", d}, {"before", before}, {"after", after}, {"mode", names[static_cast<int>(mode)]}}}, y,
                {&x}, [e, in = x.slot()](const Tensor& dy, Back& back) {
                  const auto [dx, beta] = back.into(in);
                  backward(e, dy.data(), dx, beta);
                });
}

Tensor roll(const Tensor& x, int shift, int dim) {
  const int d = detail::dimension("roll", x, dim), n = std::max(x.dim(d), 1);
  const int s = (shift % n + n) % n;
  return record({"roll", {{"shift", s}, {"dim", d}}}, rolled(x, d, s), {&x},
                [d, n, s, in = x.slot()](const Tensor& dy, Back& back) { back.add(in, rolled(dy, d, (n - s) % n)); });
}

}  // namespace TESSERA_NS
}  // namespace tessera
