// The Transformer.  Vaswani et al. 2017, "Attention is all you need", arXiv 1706.03762; in the form and under the names of
// torch.nn.Transformer.
//
//   tokens (B, T) -> sqrt(C) embed, position.tokens, dropout             (B, T, C)
//     -> N x encoder layer [ x = norm(x + self_attn x),                  every token sees every valid one
//                            x = norm(x + feed x) ] -> norm              memory (B, T, C)
//   target (B, S) -> sqrt(C) embed, position.tokens, dropout             (B, S, C)
//     -> N x decoder layer [ x = norm(x + self_attn x),                  causal: a token sees itself and those before it
//                            x = norm(x + multihead_attn(x, memory)),    all valid tokens of the source
//                            x = norm(x + feed x) ] -> norm
//     -> embed^T                                                         logits (B, S, K) of what comes next
//
// The encoder's answer is one vector a token, not one for the sentence: the decoder chooses among them anew at every step. norm_first puts
// the norms in front of the branches. torch has a norm after the last layer in either order; in the paper's there is none.
#include "tessera/models/transformer.h"

#include <cmath>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/keep_valid.h"
#include "tessera/core/ops/linear.h"
#include "tessera/models/extents.h"
#include "tessera/models/row.h"
#include "tessera/nn/sequences.h"

namespace tessera::transformer {
inline namespace TESSERA_NS {

// ---- configuration ------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Field<Config> table[] = {
      {"vocab_size", &Config::vocab_size, "kinds of tokens of the source", within(1, most_classes)},
      {"target_vocab_size", &Config::target_vocab_size, "kinds of tokens of the target, 0: those of the source",
       within(0, most_classes)},
      {"d_model", &Config::d_model, "width", within(1, most_width)},
      {"nhead", &Config::nhead, "attention heads", within(1, most_heads)},
      {"num_encoder_layers", &Config::num_encoder_layers, "layers of the encoder", within(0, most_depth)},
      {"num_decoder_layers", &Config::num_decoder_layers, "layers of the decoder", within(1, most_depth)},
      {"dim_feedforward", &Config::dim_feedforward, "hidden width of the MLPs", within(1, most_width)},
      {"dropout", &Config::dropout, "of embeddings, attention weights, hidden values and branches", below_one()},
      {"activation", &Config::activation, "the nonlinearity of the MLPs", activation_domain()},
      {"norm_first", &Config::norm_first, "norms in front of the branches instead of after the sums"},
      {"final_norm", &Config::final_norm, "a norm after the last layer, too: torch has one, the paper none"},
      {"layer_norm_eps", &Config::layer_norm_eps, "epsilon of the layer norms", within(1e-12, 1)},
      {"qk_scale", &Config::qk_scale, "factor of the logits, 0: head width^-1/2", scale_domain()},
      {"tie", &Config::tie,
       "embeddings that are one matrix: all (source, target and output) | output (target and output) | none",
       one_of("all", "output", "none")},
      {"max_length", &Config::max_length, "tokens that tables of positions are made for", within(1, most_side)}};
  return table;
}

namespace {

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.d_model % c.nhead) fail("transformer", "{} heads do not divide the width {}", c.nhead, c.d_model);
  if (c.tie == "all" && c.targets() != c.vocab_size)
    fail("transformer", "{} kinds of source tokens and {} of target tokens cannot have one embedding: set tie=output",
         c.vocab_size, c.targets());
}

std::string path_of(const char* stack, int i) { return fmt::format("{}.layers.{}", stack, i); }

}  // namespace

// torch.nn.Transformer draws every matrix by Xavier's rule.
Attention::Config attention_of(const Config& c) {
  Attention::Config a;
  a.dim = c.d_model, a.num_heads = c.nhead, a.qk_scale = c.qk_scale, a.attn_drop = c.dropout;
  a.proj_init = {xavier_uniform(c.d_model, c.d_model), constant(0)};
  return a;
}

namespace {

Site site_of(const Config& c, int id, int stage, int block, const char* stack) {
  const Attention::Config a = attention_of(c);
  return {id,
          stage,
          block,
          c.d_model,
          c.nhead,
          a.width_of_head(),
          a.scale(),
          Layout::sequence(c.max_length),
          path_of(stack, block) + ".self_attn",
          stage > 0};
}

}  // namespace

Places places(const Config& c) {
  check(c);
  const Grid line = Layout::sequence(c.max_length).q;
  Extents size("transformer", 1, c.max_length, 1);
  const double T = c.max_length, ratio = static_cast<double>(c.dim_feedforward) / c.d_model;
  size.linear(T, c.d_model, c.targets());
  if (c.tie != "all") size.linear(0, c.d_model, c.vocab_size);
  if (c.tie == "none") size.linear(0, c.d_model, c.targets());
  for (int i = 0; i < c.num_encoder_layers; ++i) size.block(T, T, c.d_model, c.d_model, ratio);
  for (int i = 0; i < c.num_decoder_layers; ++i) {
    size.block(T, T, c.d_model, c.d_model, 0);
    size.block(T, T, c.d_model, c.d_model, ratio);
  }
  // Cross attention is no place: between different sequences no encoding acts, and none shall have tables for it. Nor are the gaps between
  // blocks of the decoder, since what acts there looks at neighbours on both sides.
  Places p;
  p.tokens = {{0, 0, 0, c.d_model, line, "encoder.pos_embed"}, {1, 1, 0, c.d_model, line, "decoder.pos_embed"}};
  for (int i = 0; i <= c.num_encoder_layers; ++i)
    p.between.push_back({i, 0, i, c.d_model, line, "encoder.pos_block." + std::to_string(i)});
  for (int i = 0; i < c.num_encoder_layers; ++i) p.sites.push_back(site_of(c, i, 0, i, "encoder"));
  for (int i = 0; i < c.num_decoder_layers; ++i)
    p.sites.push_back(site_of(c, c.num_encoder_layers + i, 1, i, "decoder"));
  return p;
}

InputShape input(const Config& c) {
  return {.kind = InputShape::Kind::tokens, .vocabulary = c.vocab_size, .target = c.targets()};
}

// ---- parts --------------------------------------------------------------------------------------------------------

namespace {
LinearInit feed_init(int in, int out) { return {xavier_uniform(in, out), torch_default(in)}; }
}  // namespace

FeedForward::FeedForward(const Scope& layer, const Config& c)
    : linear1(layer / "linear1", c.d_model, c.dim_feedforward, true, feed_init(c.d_model, c.dim_feedforward)),
      dropout(layer / "dropout", c.dropout),
      linear2(layer / "linear2", c.dim_feedforward, c.d_model, true, feed_init(c.dim_feedforward, c.d_model)),
      act(activation(c.activation)) {}

Tensor FeedForward::operator()(const Run& run, const Tensor& x) const {
  const Crumb here("feed");
  return linear2(run, dropout(run, activate(act, linear1(run, x))));
}

Residual::Residual(const Scope& norm_scope, const Config& c)
    : norm(norm_scope, c.d_model, c.layer_norm_eps),
      dropout(norm_scope / "dropout", c.dropout),
      norm_first(c.norm_first) {}

Tensor Residual::join(const Run& run, const Tensor& x, const Tensor& branch) const {
  return add(x, dropout(run, branch));
}

EncoderLayer::EncoderLayer(const Scope& s, const Config& c, const Site& at)
    : self_attn(s / "self_attn", attention_of(c)),
      feed(s, c),
      around_self(s / "norm1", c),
      around_feed(s / "norm2", c),
      site(at),
      name(s.path()) {}

Tensor EncoderLayer::operator()(const Run& run, const Tensor& x, const PositionEncoding& position,
                                std::span<const int32_t> lengths) const {
  const Crumb here(name);
  const int T = x.dim(1);
  const Tensor y = around_self(run, x, [&](const Tensor& t) {
    return self_attn.among(run, t, global_pattern(T, T), position, site, Layout::sequence(T), lengths);
  });
  return around_feed(run, y, [&](const Tensor& t) { return feed(run, t); });
}

DecoderLayer::DecoderLayer(const Scope& s, const Config& c, const Site& at)
    : self_attn(s / "self_attn", attention_of(c)),
      multihead_attn(s / "multihead_attn", attention_of(c)),
      feed(s, c),
      around_self(s / "norm1", c),
      around_cross(s / "norm2", c),
      around_feed(s / "norm3", c),
      site(at),
      name(s.path()) {}

Tensor DecoderLayer::operator()(const Run& run, const Tensor& x, const Tensor& memory, const PositionEncoding& position,
                                std::span<const int32_t> x_lengths, std::span<const int32_t> lengths) const {
  const Crumb here(name);
  const int S = x.dim(1);
  Tensor y = around_self(run, x, [&](const Tensor& t) {
    return self_attn.among(run, t, causal_pattern(S), position, site, Layout::sequence(S), x_lengths);
  });
  y = around_cross(run, y,
                   [&](const Tensor& t) { return multihead_attn.across(run, t, memory, position, site, lengths); });
  return around_feed(run, y, [&](const Tensor& t) { return feed(run, t); });
}

// ---- model --------------------------------------------------------------------------------------------------------

namespace {

Tensor table(const Scope& s, int tokens, int d) {
  return s.param("weight", {tokens, d}, normal(1 / std::sqrt(static_cast<double>(d))));
}

template <class Layer>
std::deque<Layer> layers(const Scope& s, const Config& c, const Places& at, const char* stack, int n) {
  std::deque<Layer> all;
  for (int i = 0; i < n; ++i) all.emplace_back(s / path_of(stack, i), c, at.site(path_of(stack, i) + ".self_attn"));
  return all;
}

std::optional<LayerNorm> norm_of(const Scope& s, const Config& c) {
  if (!c.final_norm) return {};
  return LayerNorm(s / "norm", c.d_model, c.layer_norm_eps);
}

}  // namespace

Transformer::Transformer(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      src_embed_(table(s / (c.tie == "all" ? "embed" : "src_embed"), c.vocab_size, c.d_model)),
      tgt_embed_(c.tie == "all" ? src_embed_ : table(s / "tgt_embed", c.targets(), c.d_model)),
      position_(position(s, at_)),
      src_drop_(s / "src_dropout", c.dropout),
      tgt_drop_(s / "tgt_dropout", c.dropout),
      encoder_(layers<EncoderLayer>(s, c, at_, "encoder", c.num_encoder_layers)),
      decoder_(layers<DecoderLayer>(s, c, at_, "decoder", c.num_decoder_layers)),
      encoder_norm_(norm_of(s / "encoder", c)),
      decoder_norm_(norm_of(s / "decoder", c)) {
  if (c.tie == "none") generator_.emplace(s / "generator", c.d_model, c.targets(), true, torch_init(c.d_model));
}

Tensor Transformer::embed(const Run& run, const Tensor& table, const Ints& tokens, std::span<const int32_t> lengths,
                          const Spot& spot, const Dropout& drop) const {
  const int B = tokens.count(), T = tokens.width();
  const Tensor x = scale(embedding(table, tokens).reshape({B, T, -1}), std::sqrt(static_cast<double>(config_.d_model)));
  return drop(run, with_positions(*position_, spot, Layout::sequence(T).q, x, lengths, run));
}

Tensor Transformer::encode(const Run& run, const Ints& tokens, const Ints& lengths) const {
  const Grid line = Layout::sequence(tokens.width()).q;
  Tensor x = embed(run, src_embed_, tokens, lengths, at_.tokens[0], src_drop_);
  for (const EncoderLayer& layer : encoder_) {
    x = position_->between(at_.gap(0, layer.site.block), line, keep_valid(x, lengths), run);
    x = layer(run, x, *position_, lengths);
  }
  x = position_->between(at_.between.back(), line, keep_valid(x, lengths), run);
  return encoder_norm_ ? (*encoder_norm_)(run, x) : x;
}

Tensor Transformer::decode(const Run& run, const Ints& target, std::span<const int32_t> target_lengths,
                           const Tensor& memory, std::span<const int32_t> lengths) const {
  Tensor x = embed(run, tgt_embed_, target, target_lengths, at_.tokens[1], tgt_drop_);
  for (const DecoderLayer& layer : decoder_) x = layer(run, x, memory, *position_, target_lengths, lengths);
  return decoder_norm_ ? (*decoder_norm_)(run, x) : x;
}

Tensor Transformer::logits(const Run& run, const Tensor& x) const {
  const Crumb here("generator");
  return generator_ ? (*generator_)(run, x) : linear(x, tgt_embed_);
}

Output Transformer::forward(const Run& run, const Input& in) const {
  if (in.tokens.empty() || in.target.empty() || in.target.count() != in.tokens.count())
    fail("transformer", "{} sequences of tokens and {} of targets: the encoder and the decoder need one each a sample",
         in.tokens.count(), in.target.count());
  Output out;
  const Tensor memory = in.state.empty() ? encode(run, in.tokens, in.lengths) : in.state[0];
  const Tensor x = decode(run, in.target, in.target_lengths, memory, in.lengths);
  out.logits = logits(run, x), out.lengths = in.target_lengths;
  if (!run.training()) out.state = {memory.detach()};
  if (in.features) out.stages = {memory, x};
  return out;
}

// ---- names of other programs --------------------------------------------------------------------------------------

std::vector<Rename> dialect() {
  return {{"transformer.*", "*"},
          {"src_tok_emb.embedding.weight", "src_embed.weight"},
          {"tgt_tok_emb.embedding.weight", "tgt_embed.weight"},
          {"positional_encoding.*", ""}};
}

// ---- rows ---------------------------------------------------------------------------------------------------------

namespace {

void fit(const ModelRow& row, Options& said, const DataShape& data) {
  follow(said, "vocab_size", data.input.vocabulary, data, "kinds of tokens");
  follow(said, "target_vocab_size", data.input.target, data, "kinds of tokens in its answers");
  const int longest = data.input.T + 1;  // with the token that begins
  if (longest > std::get<int>(row.defaults.at("max_length"))) said.try_emplace("max_length", longest);
}

/// Table 3 of the paper: one vocabulary of 37000 byte pairs for both languages, no norms after the last layers.
Config paper(int width, int heads, double dropout) {
  Config c;
  c.vocab_size = 37000, c.d_model = width, c.nhead = heads, c.dim_feedforward = 4 * width, c.dropout = dropout;
  c.num_encoder_layers = c.num_decoder_layers = 6, c.final_norm = false, c.max_length = 256;
  return c;
}

}  // namespace

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "transformer",
                              .reference = "Vaswani et al. 2017, arXiv 1706.03762",
                              .position = "sinusoidal",
                              .fields = fields(),
                              .places = places,
                              .input = input,
                              .fit = fit,
                              .dialect = dialect()};
  return {model_row<Transformer>(family, "transformer", Config()),
          model_row<Transformer>(family, "transformer_base", paper(512, 8, 0.1)),
          model_row<Transformer>(family, "transformer_big", paper(1024, 16, 0.3))};
}

}  // namespace TESSERA_NS
}  // namespace tessera::transformer
