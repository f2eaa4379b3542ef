// The Conformer.  Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition", arXiv 2005.08100; names of
// torchaudio's conformer.py.
//
//   frames (B, T, F), lengths (B)
//     -> zeros in the padding
//     -> subsampling                     (B, T', C F')     T' = T, (T - 1) / 2 or ((T - 1) / 2 - 1) / 2, F' of F likewise
//     -> input_linear                    (B, T', C)        unless input_linear = false
//     -> position.tokens, dropout
//     -> num_layers x [ position.between,
//                       block ]          conformer_block.cpp: 1/2 FF, attention, convolution, 1/2 FF, LN
//     -> mean of the valid frames        (B, C)            unless global_pool = none
//     -> dropout, head                   logits (B, K), or (B, T', K) and their lengths
//
// Subsampling pads nothing, so that a frame it keeps has seen valid frames only if it is valid itself: a padded batch gives the logits that
// each sample has alone, whatever stands in the padding.
#include "tessera/models/conformer.h"

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/keep_valid.h"
#include "tessera/core/ops/permute.h"
#include "tessera/nn/sequences.h"

namespace tessera::conformer {
inline namespace TESSERA_NS {

// ---- configuration ------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {{{"input_dim", &Config::input_dim, "numbers in a frame", within(1, most_width)},
        {"num_classes", &Config::num_classes, "classes, 0: no head, the answer is the features",
         within(0, most_classes)},
        {"global_pool", &Config::global_pool, "avg (mean of the valid frames) | none (logits per frame)",
         one_of("avg", "none")},
        {"num_frames", &Config::num_frames, "frames that tables of positions are made for; they take others, too",
         within(1, 4096)},
        {"subsampling", &Config::subsampling, "1, 2 or 4: how many frames become one, by convolutions of stride 2",
         such_that(
             [](const Value& v) {
               const int n = std::get<int>(v);
               return n == 1 || n == 2 || n == 4;
             },
             "1, 2 or 4")},
        {"input_linear", &Config::input_linear,
         "a linear map of the frames to embed_dim; false: they are as wide already"}},
       block_fields<Config>(),
       {{"qkv_bias", &Config::qkv_bias, "biases in the query, key and value projection"},
        {"qk_scale", &Config::qk_scale, "factor of the logits, 0: head_dim^-1/2", scale_domain()},
        {"causal", &Config::causal,
         "a frame sees none after it, in attention and in convolution; without a norm there"}}});
  return table;
}

InputShape input(const Config& c) { return {.kind = InputShape::Kind::frames, .features = c.input_dim}; }

void fit(const ModelRow& row, Options& said, const DataShape& data) {
  follow(said, "input_dim", data.input.features, data, "features");
  follow(said, "num_classes", data.classes, data, "classes");
  if (data.input.T > std::get<int>(row.defaults.at("num_frames"))) said.try_emplace("num_frames", data.input.T);
}

namespace {

constexpr int fewest(int subsampling) { return subsampling == 4 ? 7 : subsampling == 2 ? 3 : 1; }

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  const int least = fewest(c.subsampling);
  if (c.input_dim < least || c.num_frames < least)
    fail("conformer", "subsampling={} leaves nothing of {} frames of {} numbers; it needs at least {} of both",
         c.subsampling, c.num_frames, c.input_dim, least);
  if (!c.input_linear && (c.subsampling > 1 || c.input_dim != c.embed_dim))
    fail("conformer",
         "without input_linear the blocks are as wide as the frames, {}, and nothing is subsampled: set embed_dim={}{}",
         c.input_dim, c.input_dim, c.subsampling > 1 ? " subsampling=1" : "");
  if (c.causal && c.use_group_norm)
    fail("conformer", "use_group_norm looks at all frames, and causal at none after its own: leave one of them out");
}

Block::Config block_config(const Config& c) {
  Block::Config b = block_of(c);
  b.conv.causal = c.causal;
  return b;
}

}  // namespace

Places places(const Config& c) {
  check(c);
  const int T = Subsampling::kept(c.subsampling, c.num_frames), F = Subsampling::kept(c.subsampling, c.input_dim);
  Extents size("conformer", c.num_frames, c.input_dim, 1);
  if (c.subsampling >= 2) size.linear(double(c.num_frames) / 2 * c.input_dim / 2, 9, c.embed_dim);
  if (c.subsampling == 4) size.linear(double(T) * F, 9.0 * c.embed_dim, c.embed_dim);
  if (c.input_linear) size.linear(T, c.subsampling > 1 ? double(F) * c.embed_dim : F, c.embed_dim);
  Places p;
  const Layout line = Layout::sequence(T);
  p.tokens.push_back({0, 0, 0, c.embed_dim, line.q, "pos_embed"});
  // an encoding that works between blocks mixes a frame with those after it
  if (!c.causal) add_gaps(p, c.num_layers, c.embed_dim, line.q);
  add_sites(p, size, c.num_layers, block_config(c), line);
  size.linear(c.global_pool == "none" ? T : 1, c.embed_dim, c.num_classes);
  return p;
}

// ---- subsampling --------------------------------------------------------------------------------------------------

int Subsampling::kept(int factor, int n) {
  for (; factor > 1; factor /= 2) n = n < 3 ? 0 : (n - 1) / 2;
  return n;
}

Subsampling::Subsampling(const Scope& s, int factor, int channels) {
  for (int i = 0, in = 1; factor > 1; factor /= 2, ++i, in = channels)
    convs_.emplace_back(s / "conv" / (2 * i),
                        Conv2d::Config{.in = in, .out = channels, .kernel = 3, .options = conv_options(2, 0)});
}

Tensor Subsampling::operator()(const Run& run, const Tensor& x) const {
  const Crumb here("subsampling");
  const auto [B, T, F] = x.dims<3>();
  Tensor map = x.reshape({B, T, F, 1});
  for (const Conv2d& conv : convs_) map = relu(conv(run, map));
  return permute(map, {0, 1, 3, 2}).reshape({B, map.dim(1), -1});  // (B, T', C, F'): PyTorch flattens channels first
}

// ---- model --------------------------------------------------------------------------------------------------------

namespace {

std::deque<Block> blocks_of(const Scope& s, const Config& c, const Places& at) {
  std::deque<Block> blocks;
  for (int i = 0; i < c.num_layers; ++i)
    blocks.emplace_back(s / block_name(i), block_config(c), at.site(block_name(i) + ".self_attn"));
  return blocks;
}

std::optional<Linear> input_linear_of(const Scope& s, const Config& c) {
  if (!c.input_linear) return std::nullopt;
  const int F = Subsampling::kept(c.subsampling, c.input_dim), in = c.subsampling > 1 ? F * c.embed_dim : F;
  return Linear(s / "input_linear", in, c.embed_dim, true, torch_init(in));
}

}  // namespace

Conformer::Conformer(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      subsampling_(c.subsampling > 1
                       ? std::optional<Subsampling>(std::in_place, s / "subsampling", c.subsampling, c.embed_dim)
                       : std::nullopt),
      input_linear_(input_linear_of(s, c)),
      position_(position(s, at_)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      blocks_(blocks_of(s, c, at_)),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dim, c.num_classes) {}

Ints Conformer::kept(const Ints& lengths, int T) const {
  const int least = fewest(config_.subsampling);
  if (T < least)
    fail("conformer", "sequences of {} frames; with subsampling={} they need {}", T, config_.subsampling, least);
  if (!lengths || config_.subsampling == 1) return lengths;
  Ints left(lengths.count());
  for (size_t b = 0; b < lengths.size(); ++b) {
    if (lengths[b] < least)
      fail("conformer", "sample {} has {} frames; with subsampling={} it needs {}", b, lengths[b], config_.subsampling,
           least);
    left.data()[b] = Subsampling::kept(config_.subsampling, lengths[b]);
  }
  return left;
}

Output Conformer::forward(const Run& run, const Input& in) const {
  if (in.x.rank() != 3 || in.x.dim(2) != config_.input_dim)
    fail("conformer", "frames are {}, expected (B, T, {})", in.x.shape().str(), config_.input_dim);
  const Ints lengths = kept(in.lengths, in.x.dim(1));
  Tensor x = keep_valid(in.x, in.lengths);
  if (subsampling_) x = (*subsampling_)(run, x);
  if (input_linear_) x = (*input_linear_)(run, x);
  const int T = x.dim(1);
  const Sequence at{Layout::sequence(T), config_.causal ? causal_pattern(T) : global_pattern(T, T), lengths};
  x = pos_drop_(run, with_positions(*position_, at_.tokens[0], at.now.q, x, lengths, run));
  const auto between = [&](int block) {
    if (!config_.causal) x = position_->between(at_.gap(0, block), at.now.q, keep_valid(x, lengths), run);
  };
  for (const Block& block : blocks_) {
    between(block.site.block);
    x = block(run, x, at, *position_);
  }
  between(config_.num_layers);
  Output out;
  if (in.features) out.stages.push_back(keep_valid(x, lengths));
  const bool pooled = config_.global_pool == "avg";
  out.logits = head_(run, head_drop_(run, pooled ? mean_of_valid(x, lengths) : x));
  if (!pooled) out.lengths = lengths;
  return out;
}

// ---- names of other programs --------------------------------------------------------------------------------------

std::vector<Rename> dialect() { return {{"conformer.conformer_layers.*", "conformer_layers.*"}}; }

// ---- rows ---------------------------------------------------------------------------------------------------------

namespace {

/// The paper's encoders: 80 mel features, a quarter of the frames, 32 taps, dropout 0.1.
Config paper(int embed_dim, int num_layers, int num_heads) {
  return {.input_dim = 80,
          .num_frames = 512,
          .subsampling = 4,
          .embed_dim = embed_dim,
          .num_layers = num_layers,
          .num_heads = num_heads,
          .depthwise_conv_kernel_size = 32,
          .dropout = 0.1};
}

}  // namespace

std::vector<ModelRow> rows() {
  Family<Config> family{.name = "conformer",
                        .reference = "Gulati et al. 2020, arXiv 2005.08100",
                        .position = "conformer_shaw",
                        .fields = fields(),
                        .places = places,
                        .input = input,
                        .fit = fit,
                        .dialect = dialect()};
  std::vector<ModelRow> all{
      model_row<Conformer>(family, "conformer", {}),
      model_row<Conformer>(family, "conformer_fsdd", {.subsampling = 2, .depthwise_conv_kernel_size = 15})};
  family.position = "transformer_xl";  // the paper's
  all.push_back(model_row<Conformer>(family, "conformer_s", paper(144, 16, 4)));
  all.push_back(model_row<Conformer>(family, "conformer_m", paper(256, 16, 4)));
  all.push_back(model_row<Conformer>(family, "conformer_l", paper(512, 17, 8)));
  return all;
}

}  // namespace TESSERA_NS
}  // namespace tessera::conformer
