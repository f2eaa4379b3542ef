// How many numbers the recent encodings learn in one block of a ViT-B: width 768 in 12 heads, 14 x 14 patches and a class token.
#include "tessera/nn/position.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

int64_t learned(const char* name, const Options& options = {}, bool causal = false) {
  Params params;
  Places at;
  const Layout l = causal ? Layout::sequence(196) : Layout::global({14, 14, 1});
  at.sites = {Site{0, 0, 0, 768, 12, 64, 0.125, l, "attn"}};
  at.sites[0].causal = causal;
  at.tokens = {Spot{0, 0, 0, 768, l.q, "pos_embed"}};
  const auto encoding = position(name, options)(Scope(params), at);
  return params.count();
}

TWIN_CASE("golden counts: what a block of a ViT-B learns of its positions") {
  CHECK(learned("pape") == 922'800);  // 2 H n (D + 1), 50 parabolas a head
  CHECK(learned("pape_ri", {{"frozen", true}}) == 9'216);
  CHECK(learned("pape_ri") == 9'216 + 12);
  CHECK(learned("content_alibi", {{"slope_bias", false}}) == 9'216);
  CHECK(learned("forget") == 2 * 12 * 769);
  CHECK(learned("forget", {}, true) == 12 * 769);  // one set of gates, for what came before
  CHECK(learned("forget_profiles") == 2 * 12 * 769);
  CHECK(learned("lie", {{"generator_dim", 8}}) == 12'288);  // of which those above the diagonals count, 5376
  CHECK(learned("comrope_ld", {{"block_size", 8}}) == 6'160);
  CHECK(learned("comrope_ap", {{"block_size", 8}}) == 6'144);
  CHECK(learned("cayley_string") == 12 * (2'016 + 64));  // generators and frequencies
  CHECK(learned("harope") == 99'072);
  CHECK(learned("pope") == 768);
  CHECK(learned("polar") == 768);
  CHECK(learned("factorised") == (14 + 14) * 768);
  for (const char* fixed : {"lookhere", "rope_dinov3", "spiral", "golden_gate", "gta", "wavelet"})
    CHECK(learned(fixed) == 0);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
