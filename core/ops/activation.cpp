//   y = f(x)      dx = dy f'(x)      f, f' and what is saved (x, or y where that is cheaper): the table in
//   core/kernels/unary.h
#include "tessera/core/ops/activation.h"

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Forward = void (*)(const real* x, real* y, int64_t n);
using Backward = void (*)(const real* saved, const real* dy, real* dx, real beta, int64_t n);
enum class Save { x, y };

Tensor apply(const char* name, const Tensor& x, Forward forward, Backward backward, Save save) {
  Tensor y(x.shape());
  parallel::rows(x.size(), parallel::numbers(),
                 [&](int64_t i, int64_t e) { forward(x.data() + i, y.data() + i, e - i); });
  const Tensor saved = save == Save::x ? x : y;
  return record(name, y, {&x}, [saved, backward, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    parallel::rows(dy.size(), parallel::numbers(), [&, dx = dx, beta = beta](int64_t i, int64_t e) {
      backward(saved.data() + i, dy.data() + i, dx + i, beta, e - i);
    });
  });
}

}  // namespace

#define MAP(IGNORED, NAME, SAVED, VALUE, SLOPE) \
  Tensor NAME(const Tensor& x) { return apply(#NAME, x, kernels().NAME, kernels().NAME##_backward, Save::SAVED); }
TESSERA_UNARY_TABLE(MAP, )
#undef MAP

Tensor clamp(const Tensor& x, double lo, double hi) {
  if (!(lo <= hi)) fail("clamp", "the range [{}, {}] is empty", lo, hi);
  const auto l = static_cast<real>(lo), h = static_cast<real>(hi);
  Tensor y(x.shape());
  parallel::rows(x.size(), parallel::numbers(),
                 [&](int64_t i, int64_t e) { kernels().clamp(x.data() + i, y.data() + i, l, h, e - i); });
  return record({"clamp", {{"lo", lo}, {"hi", hi}}}, y, {&x}, [x, l, h](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(x);
    parallel::rows(dy.size(), parallel::numbers(), [&, dx = dx, beta = beta](int64_t i, int64_t e) {
      kernels().clamp_backward(x.data() + i, dy.data() + i, dx + i, beta, l, h, e - i);
    });
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
