// The formulas of docs/models/pvt.md and twins.md, against the multiply-accumulates that the ops count.
#include "tessera/models/twins.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Macs final : Observer {
  double sum = 0;
  void saw(const Seen& op) override { sum += op.op.macs; }
};

TWIN_CASE(
    "cost: spatial-reduction attention 3 N C^2 + 2 (N / R^2) C^2 + 2 N (N / R^2) C, local attention 4 N C^2 + 2 M^2 N "
    "C") {
  const Grid map{12, 8, 0};
  const double N = map.tokens(), C = 8;
  Params params(1);
  const auto none = position("none", {})(Scope(params), {});
  const Tensor x = zeros({1, map.tokens(), 8});
  for (const int R : {1, 2, 4}) {
    const ReducedAttention attn(Scope(params) / R, {.dim = 8, .num_heads = 2, .sr_ratio = R}, {});
    Macs macs;
    const Observing observing(macs);
    attn({}, x, map, *none);
    const double keys = N / R / R;
    CHECK(macs.sum == (R > 1 ? 3 : 2) * N * C * C + 2 * keys * C * C + 2 * N * keys * C);
  }
  for (const int M : {2, 4}) {
    twins::LocalAttention::Config c;
    c.dim = 8, c.num_heads = 2, c.window = M;
    const twins::LocalAttention attn(Scope(params) / "local" / M, c, {});
    Macs macs;
    const Observing observing(macs);
    attn.proj({}, attn.mix({}, x, map, *none));
    CHECK(macs.sum == 4 * N * C * C + 2 * M * M * N * C);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
