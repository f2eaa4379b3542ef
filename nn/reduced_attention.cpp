#include "tessera/nn/reduced_attention.h"

#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/patches.h"
#include "tessera/core/ops/slice.h"

namespace tessera {
inline namespace TESSERA_NS {

Layout ReducedAttention::layout(const Grid& map, int sr_ratio) {
  if (sr_ratio == 1) return Layout::global(map);
  if (sr_ratio < 1 || map.h < sr_ratio || map.w < sr_ratio || map.prefix)
    fail("reduced_attention", "a map of {} x {} with {} class tokens cannot be made {} times smaller a side", map.h,
         map.w, map.prefix, sr_ratio);
  return Layout::reduced(map, {map.h / sr_ratio, map.w / sr_ratio, 0}, sr_ratio);
}

int ReducedAttention::Config::width_of_head() const {
  if (num_heads < 1 || dim % num_heads)
    fail("reduced_attention", "{} heads do not divide the width {}", num_heads, dim);
  return dim / num_heads;
}

double ReducedAttention::Config::scale() const {
  return Attention::Config{.head_dim = width_of_head(), .qk_scale = qk_scale}.scale();
}

ReducedAttention::ReducedAttention(const Scope& s, const Config& c, const Site& at)
    : q(s / "q", c.dim, c.dim, c.qkv_bias),
      kv(s / "kv", c.dim, 2 * c.dim, c.qkv_bias),
      attn_drop{c.attn_drop, (s / "attn_drop").key()},
      proj(s / "proj", c.dim, c.dim),
      proj_drop(s / "proj_drop", c.proj_drop),
      num_heads(c.num_heads),
      sr_ratio(c.sr_ratio),
      scale(c.scale()),
      site(at) {
  if (sr_ratio == 1) return;
  sr_weight = (s / "sr").param("weight", {c.dim, c.dim, sr_ratio, sr_ratio}, c.sr_init.weight);
  sr_bias = (s / "sr").param("bias", {c.dim}, c.sr_init.bias, Decay::no);
  norm.emplace(s / "norm", c.dim, c.norm_eps);
}

/// (B, h w, C) -> (B, h/R w/R, C)
Tensor ReducedAttention::reduced(const Run& run, const Tensor& x, const Grid& map) const {
  const auto [B, N, C] = x.dims<3>();
  Tensor m = x.reshape({B, map.h, map.w, C});
  if (map.h % sr_ratio) m = slice(m, 1, 0, map.h - map.h % sr_ratio);
  if (map.w % sr_ratio) m = slice(m, 2, 0, map.w - map.w % sr_ratio);
  const Tensor small = linear(patches(m, sr_ratio), sr_weight, sr_bias);
  return (*norm)(run, small.reshape({B, -1, C}));
}

Tensor ReducedAttention::mix(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const {
  const Crumb here("attn");
  const Layout now = layout(map, sr_ratio);
  if (x.rank() != 3 || x.dim(1) != map.tokens())
    fail("reduced_attention", "the input is {}, expected (B, {}, {}) of a {} x {} map", x.shape().str(), map.tokens(),
         q.weight.dim(1), map.h, map.w);
  const Tensor keys = sr_ratio == 1 ? x : reduced(run, x, map);
  const Tensor packed = kv(run, keys);
  const Query query(heads(q(run, x), num_heads), heads(packed, num_heads, 0, 2), heads(packed, num_heads, 1, 2),
                    global_pattern(now.q.tokens(), now.k.tokens()), scale, attn_drop);
  return position.attend(site, now, query, {x, keys}, run);
}

Tensor ReducedAttention::operator()(const Run& run, const Tensor& x, const Grid& map,
                                    const PositionEncoding& position) const {
  return proj_drop(run, proj(run, mix(run, x, map, position)));
}

}  // namespace TESSERA_NS
}  // namespace tessera
