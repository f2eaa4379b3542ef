#include "tessera/nn/multihead_attention.h"

#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/slice.h"

namespace tessera {
inline namespace TESSERA_NS {

MultiheadAttention::MultiheadAttention(const Scope& s, const Attention::Config& c)
    : in_proj_weight(s.param("in_proj_weight", {3 * c.inner(), c.dim}, xavier_uniform(c.dim, 3 * c.inner()))),
      in_proj_bias(c.qkv_bias ? s.param("in_proj_bias", {3 * c.inner()}, constant(0), Decay::no) : Tensor()),
      out_proj(s / "out_proj", c.inner(), c.dim, true, c.proj_init),
      dropout{c.attn_drop, (s / "dropout").key()},
      num_heads(c.num_heads),
      scale(c.scale()) {}

Tensor MultiheadAttention::among(const Run& run, const Tensor& x, const Pattern& who, const PositionEncoding& position,
                                 const Site& site, const Layout& now, std::span<const int32_t> lengths,
                                 const Tensor& before) const {
  const Crumb here("self_attn");
  const Tensor all = before ? concat({before, x}, 1) : x;
  const Tensor packed = linear(all, in_proj_weight, in_proj_bias);
  const Tensor asking = before ? slice(packed, 1, before.dim(1), all.dim(1)) : packed;
  const Query query(heads(asking, num_heads, 0, 3), heads(packed, num_heads, 1, 3), heads(packed, num_heads, 2, 3), who,
                    scale, dropout, lengths);
  return out_proj(run, position.attend(site, now, query, {x, all}, run));
}

Tensor MultiheadAttention::across(const Run& run, const Tensor& x, const Tensor& memory,
                                  const PositionEncoding& position, const Site& site,
                                  std::span<const int32_t> lengths) const {
  const Crumb here("multihead_attn");
  const int inner = in_proj_weight.dim(0) / 3;
  const auto projected = [&](const Tensor& t, int from, int to) {
    const Tensor bias = in_proj_bias ? slice(in_proj_bias, 0, from * inner, to * inner) : Tensor();
    return linear(t, slice(in_proj_weight, 0, from * inner, to * inner), bias);
  };
  const Tensor q = projected(x, 0, 1), kv = projected(memory, 1, 3);
  const Query query(heads(q, num_heads), heads(kv, num_heads, 0, 2), heads(kv, num_heads, 1, 2),
                    global_pattern(x.dim(1), memory.dim(1)), scale, dropout, lengths);
  const Layout now = Layout::between(Layout::sequence(x.dim(1)).q, Layout::sequence(memory.dim(1)).q);
  return out_proj(run, position.attend(site, now, query, {x, memory}, run));  // which leaves relative terms out
}

}  // namespace TESSERA_NS
}  // namespace tessera
