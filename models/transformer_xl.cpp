// Transformer-XL.  Dai et al. 2019, arXiv 1901.02860: a text is read in segments, and what every layer made of the segment before stays
// there to be looked at.
//
//   tokens (B, T) -> sqrt(C) embed, dropout                                   (B, T, C)
//     -> N x layer [ x = norm(x + self_attn(x, keys and values of [m | x])),  token t sees the M of the memory and the t of its segment
//                    x = norm(x + feed x) ]
//     -> embed^T                                                              logits (B, T, K) of what comes next
//   m' = the last mem_len rows of [m | x], for every layer of its input x     detached: a gradient ends at the segment
//
// A token of the memory is T and more steps away, so positions have to be relative: absolute ones would count the segment before and this
// one alike. Queries are the last T of the keys (Layout::remembering). N layers look back up to N segments.
#include "tessera/models/transformer_xl.h"

#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/slice.h"
#include "tessera/models/extents.h"

namespace tessera::transformer_xl {
inline namespace TESSERA_NS {

Fields<Config> fields() {
  static const Field<Config> table[] = {
      {"vocab_size", &Config::vocab_size, "kinds of tokens", within(1, most_classes)},
      {"d_model", &Config::d_model, "width", within(1, most_width)},
      {"nhead", &Config::nhead, "attention heads", within(1, most_heads)},
      {"num_layers", &Config::num_layers, "layers", within(1, most_depth)},
      {"dim_feedforward", &Config::dim_feedforward, "hidden width of the MLPs", within(1, most_width)},
      {"mem_len", &Config::mem_len, "tokens of the past that every layer remembers, 0: none", within(0, most_side)},
      {"dropout", &Config::dropout, "of embeddings, attention weights, hidden values and branches", below_one()},
      {"qk_scale", &Config::qk_scale, "factor of the logits, 0: (d_model / nhead)^-1/2", scale_domain()},
      {"activation", &Config::activation, "the nonlinearity of the MLPs", activation_domain()},
      {"norm_first", &Config::norm_first, "norms in front of the branches instead of after the sums"},
      {"layer_norm_eps", &Config::layer_norm_eps, "epsilon of the layer norms", within(1e-12, 1)},
      {"max_length", &Config::max_length, "memory and segment, that tables of positions are made for",
       within(1, most_side)}};
  return table;
}

namespace {

/// As the parts of models/transformer.h want it.
transformer::Config parts_of(const Config& c) {
  transformer::Config p;
  p.vocab_size = c.vocab_size, p.d_model = c.d_model, p.nhead = c.nhead, p.dim_feedforward = c.dim_feedforward;
  p.dropout = c.dropout, p.activation = c.activation, p.norm_first = c.norm_first;
  p.layer_norm_eps = c.layer_norm_eps, p.max_length = c.max_length, p.qk_scale = c.qk_scale;
  return p;
}

std::string path_of(int i) { return fmt::format("layers.{}", i); }

std::deque<Layer> layers_of(const Scope& s, const Config& c, const Places& at) {
  std::deque<Layer> all;
  for (int i = 0; i < c.num_layers; ++i)
    all.emplace_back(s / path_of(i), parts_of(c), at.site(path_of(i) + ".self_attn"));
  return all;
}

/// The last `most` rows of memory and x (B, T, C), without a gradient.
Tensor remembered(const Tensor& memory, const Tensor& x, int most) {
  const NoGrad untracked;
  const Tensor all = memory ? concat({memory, x.detach()}, 1) : x.detach();
  return all.dim(1) <= most ? all : slice(all, 1, all.dim(1) - most, all.dim(1));
}

}  // namespace

Places places(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.d_model % c.nhead) fail("transformer_xl", "{} heads do not divide the width {}", c.nhead, c.d_model);
  const Layout line = Layout::sequence(c.max_length);
  Extents size("transformer_xl", 1, c.max_length, 1);
  size.linear(c.max_length, c.d_model, c.vocab_size);
  for (int i = 0; i < c.num_layers; ++i)
    size.block(c.max_length, c.max_length, c.d_model, c.d_model, static_cast<double>(c.dim_feedforward) / c.d_model);
  const Attention::Config a = transformer::attention_of(parts_of(c));
  Places p;
  p.tokens = {{0, 0, 0, c.d_model, line.q, "pos_embed"}};
  for (int i = 0; i < c.num_layers; ++i)
    p.sites.push_back(
        {i, 0, i, c.d_model, c.nhead, a.width_of_head(), a.scale(), line, path_of(i) + ".self_attn", true});
  return p;
}

Layer::Layer(const Scope& s, const transformer::Config& c, const Site& at)
    : self_attn(s / "self_attn", transformer::attention_of(c)),
      feed(s, c),
      around_self(s / "norm1", c),
      around_feed(s / "norm2", c),
      site(at),
      name(s.path()) {}

Tensor Layer::operator()(const Run& run, const Tensor& x, const Tensor& memory,
                         const PositionEncoding& position) const {
  const Crumb here(name);
  const int T = x.dim(1), M = memory ? memory.dim(1) : 0;
  const Tensor before = memory && around_self.norm_first ? around_self.norm(run, memory) : memory;
  const Tensor y = around_self(run, x, [&](const Tensor& t) {
    return self_attn.among(run, t, causal_pattern(T, M), position, site, Layout::remembering(M, T), {}, before);
  });
  return around_feed(run, y, [&](const Tensor& t) { return feed(run, t); });
}

TransformerXl::TransformerXl(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      embed_((s / "embed")
                 .param("weight", {c.vocab_size, c.d_model}, normal(1 / std::sqrt(static_cast<double>(c.d_model))))),
      position_(position(s, at_)),
      drop_(s / "dropout", c.dropout),
      layers_(layers_of(s, c, at_)) {}

Output TransformerXl::forward(const Run& run, const Input& in) const {
  const int B = in.tokens.count(), T = in.tokens.width();
  if (B < 1 || (!in.state.empty() && in.state.size() != layers_.size()))
    fail("transformer_xl", "{} texts and a memory of {} layers; expected at least one text and {} layers or none", B,
         in.state.size(), layers_.size());
  if (in.lengths) fail("transformer_xl", "a segment has no padding: what comes after it would be remembered");
  Tensor x = scale(embedding(embed_, in.tokens).reshape({B, T, -1}), std::sqrt(static_cast<double>(config_.d_model)));
  x = drop_(run, position_->tokens(at_.tokens[0], Layout::sequence(T).q, x, run));
  Output out;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Tensor memory = in.state.empty() ? Tensor() : in.state[i];
    if (config_.mem_len > 0) out.state.push_back(remembered(memory, x, config_.mem_len));
    x = layers_[i](run, x, memory, *position_);
  }
  out.logits = linear(x, embed_);
  if (in.features) out.stages = {x};
  return out;
}

}  // namespace TESSERA_NS
}  // namespace tessera::transformer_xl
