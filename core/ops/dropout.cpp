//   dropout        y = m x / (1 - p), m = 0 with probability p, else 1       dx = m dy / (1 - p), m drawn again from its counters
//   drop_path      y_b = f_b x_b, f_b = 0 or 1 / (1 - p)                     dx_b = f_b dy_b
//   add_drop_path  y_b = x_b + f_b branch_b                                  dx = dy      dbranch_b = f_b dy_b
#include "tessera/core/ops/dropout.h"

#include <cmath>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Whether there is anything to drop.
bool active(const char* op, const Tensor& x, double p, const Run& run) {
  if (!(p >= 0 && p < 1)) fail(op, "p is {} but must be at least 0 and below 1", p);
  if (x.rank() < 1) fail(op, "a scalar has no samples");
  return run.training() && p > 0 && x.size() > 0;
}

/// y = beta y + mask x / (1 - p)
void mask(const Tensor& x, double p, Key key, const Run& run, real* y, real beta) {
  const auto threshold = static_cast<uint32_t>(std::ldexp(p, 32));  // p < 1: below 2^32
  const int64_t B = x.dim(0), n = B ? x.size() / B : 0;
  parallel::rows(B, parallel::grain(n), [&](int64_t b, int64_t e) {
    for (; b < e; ++b)
      kernels().dropout(x.data() + b * n, y + b * n, beta, stream(run, key, b).seed(), threshold,
                        static_cast<real>(1 / (1 - p)), n);
  });
}

/// y_b = beta y_b + f_b x_b
void scale_samples(const Tensor& x, double p, Key key, const Run& run, real* y, real beta) {
  const int64_t B = x.dim(0), n = B ? x.size() / B : 0;
  parallel::rows(B, parallel::grain(n), [&](int64_t b, int64_t e) {
    for (; b < e; ++b)
      kernels().affine(x.data() + b * n, y + b * n, beta, static_cast<real>(drop_path_factor(p, key, run, b)), 0, n);
  });
}

/// What the random numbers depend on.
std::array<Attribute, 5> drawn(double p, Key key, const Run& run) {
  return {{{"p", p}, {"key", key.value}, {"seed", run.seed}, {"step", run.step}, {"first", run.first}}};
}

}  // namespace

Tensor dropout(const Tensor& x, double p, Key key, const Run& run) {
  if (!active("dropout", x, p, run)) return x;
  Tensor y(x.shape());
  mask(x, p, key, run, y.data(), 0);
  return record({"dropout", 0, drawn(p, key, run)}, y, {&x}, [=, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    mask(dy, p, key, run, dx, beta);
  });
}

Tensor drop_path(const Tensor& x, double p, Key key, const Run& run) {
  if (!active("drop_path", x, p, run)) return x;
  Tensor y(x.shape());
  scale_samples(x, p, key, run, y.data(), 0);
  return record({"drop_path", 0, drawn(p, key, run)}, y, {&x}, [=, in = x.slot()](const Tensor& dy, Back& back) {
    const auto [dx, beta] = back.into(in);
    scale_samples(dy, p, key, run, dx, beta);
  });
}

Tensor add_drop_path(const Tensor& x, const Tensor& branch, double p, Key key, const Run& run) {
  if (!(x.shape() == branch.shape()))
    fail("add_drop_path", "the residual is {} but the branch is {}", x.shape().str(), branch.shape().str());
  if (!active("add_drop_path", x, p, run)) return add(x, branch);
  const int64_t B = x.dim(0), n = B ? x.size() / B : 0;
  Tensor y(x.shape());
  parallel::rows(B, parallel::grain(n), [&](int64_t b, int64_t e) {
    for (; b < e; ++b)
      kernels().add_scaled(x.data() + b * n, branch.data() + b * n, static_cast<real>(drop_path_factor(p, key, run, b)),
                           y.data() + b * n, n);
  });
  return record({"add_drop_path", 0, drawn(p, key, run)}, y, {&x, &branch},
                [=, in = x.slot(), br = branch.slot()](const Tensor& dy, Back& back) {
                  back.add(in, dy);
                  if (!back.wants(br)) return;
                  const auto [db, beta] = back.into(br);
                  scale_samples(dy, p, key, run, db, beta);
                });
}

}  // namespace TESSERA_NS
}  // namespace tessera
