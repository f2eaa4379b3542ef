//   qkv -> [q_norm, k_norm] -> [q times temperature]
//     -> softmax: position.attend, over all tokens or all others (lsa)      linear: sums of keys, then queries (core/ops/linear_attention.h)
//     -> [+ depthwise convolution of the value map]                         (B, N, heads head_dim)
#include "tessera/models/vit_block.h"

#include <cmath>

#include "tessera/core/memo.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/map_tokens.h"

namespace tessera::vit {
inline namespace TESSERA_NS {
namespace {

/// Every token sees all others.
Pattern others(int n) {
  static Memo<int, Pattern> memo;
  return memo(n, [&] {
    Pattern::Spec p = *global_pattern(n, n);
    p.no_self = true;
    return p;
  });
}

/// A view as a tensor of its own, (B, N, H, d).
Tensor taken(const Heads& x) {
  const int inner = x.heads * x.d;
  return slice(x.x, 2, x.offset, x.offset + inner).reshape({x.x.dim(0), x.tokens, x.heads, x.d});
}
Heads as_heads(const Tensor& x) {
  const auto [B, N, H, d] = x.dims<4>();
  return heads(x.reshape({B, N, H * d}), H);
}

std::optional<Similarity> similarity_of(const SelfAttention::Config& c) {
  if (!c.linear()) return {};
  return c.attention == "elu" ? Similarity::elu : Similarity::taylor;
}

std::optional<LayerNorm> norm_of(const Scope& s, bool wanted, int dim, double eps) {
  if (!wanted) return {};
  return LayerNorm(s, dim, eps);
}

std::optional<Conv2d> lepe_of(const Scope& s, const SelfAttention::Config& c) {
  if (!c.lepe) return {};
  const int inner = c.inner();
  return Conv2d(s, {.in = inner,
                    .out = inner,
                    .kernel = c.lepe,
                    .options = conv_options(1, c.lepe / 2, inner),
                    .init = torch_init(c.lepe * c.lepe)});
}

}  // namespace

// ---- attention ----------------------------------------------------------------------------------------------------

SelfAttention::SelfAttention(const Scope& s, const Config& c)
    : qkv(s / "qkv", c.dim, 3 * c.inner(), c.qkv_bias, c.qkv_init),
      q_norm(norm_of(s / "q_norm", c.qk_norm, c.width_of_head(), c.norm_eps)),
      k_norm(norm_of(s / "k_norm", c.qk_norm, c.width_of_head(), c.norm_eps)),
      temperature(c.lsa ? s.param("temperature", {c.num_heads}, constant(c.scale()), Decay::no) : Tensor()),
      lepe(lepe_of(s / "lepe", c)),
      attn_drop{c.attn_drop, (s / "attn_drop").key()},
      proj(s / "proj", c.inner(), c.dim, c.proj_bias, c.proj_init),
      proj_drop(s / "proj_drop", c.proj_drop),
      num_heads(c.num_heads),
      scale(c.scale()),
      similarity(similarity_of(c)) {}

Tensor SelfAttention::mix(const Run& run, const Tensor& x, const PositionEncoding& position, const Site& site,
                          const Layout& now) const {
  const Crumb here("attn");
  const Tensor packed = qkv(run, x);
  Heads q = heads(packed, num_heads, 0, 3), k = heads(packed, num_heads, 1, 3);
  const Heads v = heads(packed, num_heads, 2, 3);
  if (q_norm) q = as_heads((*q_norm)(run, taken(q))), k = as_heads((*k_norm)(run, taken(k)));
  // The kernel multiplies by `scale`, which the terms of an encoding share; here it becomes the temperature.
  if (temperature) q = as_heads(mul(taken(q), tessera::scale(temperature, 1 / scale).reshape({num_heads, 1})));
  const int N = now.q.tokens();
  Tensor o;
  if (similarity) {
    o = linearly(run, x, q, k, v, position, site, now);
  } else {
    const Pattern who = temperature ? others(N) : global_pattern(N, now.k.tokens());
    o = position.attend(site, now, Query(q, k, v, who, scale, attn_drop), {x, x}, run);
  }
  if (!lepe) return o;
  const Tensor values = slice(taken(v), 1, now.q.prefix, N).reshape({x.dim(0), now.q.h, now.q.w, -1});
  return on_map(o, now.q, [&](const Tensor& map) { return add(map, (*lepe)(run, values)); });
}

Tensor SelfAttention::linearly(const Run& run, const Tensor& x, const Heads& q, const Heads& k, const Heads& v,
                               const PositionEncoding& position, const Site& site, const Layout& now) const {
  const Terms where = position.terms(site, now, {x, x}, run);
  if (where.count || where.visible)
    fail("attention", "linear attention has no logits that a relative term or a mask could be added to");
  return linear_attention(q, k, v, {.similarity = *similarity, .rotary = where.rotary});
}

// ---- block --------------------------------------------------------------------------------------------------------

namespace {

std::variant<Mlp, MixFF, ConvFF, LocalityFF> feed_forward_of(const Scope& s, const Block::Config& c) {
  if (c.feed_forward == "local") return LocalityFF(s / "conv", c.mlp.dim, c.mlp.hidden, c.se_reduction);
  if (c.feed_forward == "conv_ff") return ConvFF(s / "mlp", {c.mlp.dim, c.mlp.hidden, c.extra_pointwise, c.mlp.drop});
  if (c.feed_forward == "mix_ffn") return MixFF(s / "mlp", c.mlp);
  return Mlp(s / "mlp", c.mlp);
}

}  // namespace

Block::Block(const Scope& s, const Config& c, const Site& at)
    : norm1(s / "norm1", c.attn.dim, c.norm_eps),
      attn(s / "attn", c.attn),
      ls1(s / "ls1", c.attn.dim, c.init_values),
      drop_path1(s / "drop_path1", c.drop_path),
      norm2(norm_of(s / "norm2", c.feed_forward != "local", c.attn.dim, c.norm_eps)),
      feed_forward(feed_forward_of(s, c)),
      act_out(c.act_out),
      ls2(s / "ls2", c.attn.dim, c.feed_forward == "local" ? 0 : c.init_values),
      drop_path2(s / "drop_path2", c.drop_path),
      site(at),
      name(s.path()) {}

Tensor Block::operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now) const {
  const Crumb here(name);
  const Tensor mixed = attn.mix(run, norm1(run, x), position, site, now);
  return feed(run, add_branch(run, x, mixed, attn.proj, attn.proj_drop, ls1, drop_path1), now.q);
}

Tensor Block::feed(const Run& run, const Tensor& x, const Grid& map) const {
  if (const auto* local = std::get_if<LocalityFF>(&feed_forward))
    return on_map(x, map, [&](const Tensor& m) { return add(m, (*local)(run, m)); });
  if (const auto* conv = std::get_if<ConvFF>(&feed_forward))
    return on_map(x, map,
                  [&](const Tensor& m) { return drop_path2(run, m, ls2(run, (*conv)(run, (*norm2)(run, m)))); });
  const Tensor y = (*norm2)(run, x);
  if (const auto* mix = std::get_if<MixFF>(&feed_forward))
    return add_branch(run, x, mix->hidden(run, y, map), mix->fc2, mix->drop2, ls2, drop_path2);
  const auto& mlp = std::get<Mlp>(feed_forward);
  const Tensor h = mlp.hidden(run, y);
  if (!act_out) return add_branch(run, x, h, mlp.fc2, mlp.drop2, ls2, drop_path2);
  return drop_path2(run, x, ls2(run, mlp.drop2(run, activate(mlp.act, mlp.fc2(run, h)))));
}

}  // namespace TESSERA_NS
}  // namespace tessera::vit
