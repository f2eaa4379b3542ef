//   y_{b, (i, j), (c, u, v)} = x_{b, i p + u, j p + v, c}
//   dx by the same map, read backwards       saved: nothing
#include "tessera/core/ops/patches.h"

#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Sizes {
  int H, W, C, p;
  int64_t row() const { return static_cast<int64_t>(W) * C; }        ///< of the image
  int64_t patch() const { return static_cast<int64_t>(C) * p * p; }  ///< of a flattened patch
};

/// f(image element, patch element) over the band of patches `band`, counted over all images.
template <class F>
void each(const Sizes& s, int64_t band, F f) {
  const int64_t across = s.W / s.p, x0 = band * s.p * s.row(), y0 = band * across * s.patch();
  for (int64_t j = 0; j < across; ++j)
    for (int64_t c = 0; c < s.C; ++c)
      for (int64_t u = 0; u < s.p; ++u) {
        const int64_t x = x0 + u * s.row() + j * s.p * s.C + c, y = y0 + j * s.patch() + (c * s.p + u) * s.p;
        for (int64_t v = 0; v < s.p; ++v) f(x + v * s.C, y + v);
      }
}

}  // namespace

Tensor patches(const Tensor& x, int p) {
  const auto [B, H, W, C] = x.dims<4>();
  if (p < 1 || H % p || W % p) fail("patches", "an image of {} x {} is not made of patches of {} x {}", H, W, p, p);
  const Sizes s{H, W, C, p};
  const int64_t bands = static_cast<int64_t>(B) * (H / p);
  Tensor y({B, (H / p) * (W / p), C * p * p});
  parallel::rows(bands, parallel::grain(int64_t{W} * p * C), [&](int64_t i, int64_t e) {
    for (; i < e; ++i) each(s, i, [from = x.data(), to = y.data()](int64_t a, int64_t b) { to[b] = from[a]; });
  });
  return record({"patches", {{"size", p}}}, y, {&x}, [=, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    const auto scatter = [&, to = dx, keep = beta](int64_t i, int64_t e) {
      for (; i < e; ++i)
        each(s, i, [=, from = dy.data()](int64_t a, int64_t b) { to[a] = keep == 0 ? from[b] : to[a] + from[b]; });
    };
    parallel::rows(bands, parallel::grain(s.W * s.p * s.C), scatter);
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
