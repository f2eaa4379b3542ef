// Stand-alone self-attention in a residual network.  Ramachandran et al. 2019, "Stand-alone self-attention in vision models",
// arXiv 1906.05909, section 3: every 3 x 3 convolution of a ResNet of bottlenecks becomes an attention. Names as torchvision's.
//
//   image (B, H, W, 3)
//     -> conv1, bn1, max pooling, relu          (B, H/2, W/2, widths[0])          the stem stays a convolution, as in most of the paper
//     -> position.tokens
//     -> layer1 ... layerS, depths[s] x [ position.between,
//            conv1 (1 x 1), bn1, relu           (B, h, w, widths[s])
//            attention                          position.attend: q, k, v = W x without bias, no projection after it
//            2 x 2 average                      in the first block of layer2, 3, ...: the map is halved, rounded up
//            bn2, relu, conv3 (1 x 1), bn3      (B, h', w', expansion widths[s])
//            x = relu(shortcut(x) + ...) ]      1 x 1 convolution of that stride with BatchNorm where the shape changes
//        position.between after each stage
//     -> mean over the map, dropout, fc         logits (B, K)
//
// Its encoding is `sasa`: a token attends to the k x k cells around it, and their row and column offset meets the query. Any other
// encoding makes the attention of its block global, N^2 C instead of N k^2 C.
#include "tessera/models/sasa_net.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/models/image.h"

namespace tessera::sasa_net {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       {{"depths", &Config::depths, "bottlenecks of each stage", within(1, most_depth)},
        {"widths", &Config::widths, "channels that attend in each stage", within(1, most_width)},
        {"expansion", &Config::expansion, "channels of a stage's map over those that attend", within(1, 64)},
        {"num_heads", &Config::num_heads, "attention heads", within(1, most_heads)},
        {"qk_scale", &Config::qk_scale, "factor of the logits, 0: head_dim^-1/2; sasa has none unless it is told to",
         scale_domain()},
        {"stem", &Config::stem, "cifar (3 x 3, stride 1) | imagenet (7 x 7, stride 2); max pooling after both",
         one_of("cifar", "imagenet")},
        {"zero_init_residual", &Config::zero_init_residual, "start the last BatchNorm of every block at 0"},
        {"drop_rate", &Config::drop_rate, "dropout before the head", below_one()},
        {"attn_drop_rate", &Config::attn_drop_rate, "dropout of attention weights", below_one()}}});
  return table;
}

namespace {

using resnet::conv, resnet::from_zero;

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.depths.empty() || c.depths.size() > 8 || c.depths.size() != c.widths.size())
    fail("sasa_net", "depths has {} stages and widths {}; both need one entry a stage, at most 8", c.depths.size(),
         c.widths.size());
  for (const int width : c.widths) {
    if (width % c.num_heads) fail("sasa_net", "{} heads do not divide the width {}", c.num_heads, width);
    if (width > most_width / c.expansion)
      fail("sasa_net", "a width of {} expanded {} times is more than {}", width, c.expansion, most_width);
  }
}

Conv2d::Config stem(const Config& c) {
  return c.stem == "cifar" ? conv(c.in_chans, c.widths[0], 3, 1) : conv(c.in_chans, c.widths[0], 7, 2);
}

int halved(int side) { return (side + 1) / 2; }
Grid halved(const Grid& map) { return {halved(map.h), halved(map.w), 0}; }
std::string block_name(int stage, int i) { return fmt::format("layer{}.{}", stage + 1, i); }

}  // namespace

Places places(const Config& c) {
  check(c);
  Places p;
  Grid map{c.img_size, c.width(), 0};
  Extents size("sasa_net", c.img_size, c.width(), c.in_chans);
  if (c.stem == "imagenet") map = halved(map);
  size.linear(map.tokens(), Conv2d::inputs(stem(c)), c.widths[0]);
  map = halved(map);
  int in = c.widths[0];
  p.tokens.push_back({0, 0, 0, in, map, "pos_embed"});
  for (int s = 0; s < c.stages(); ++s) {
    const int width = c.widths[static_cast<size_t>(s)], depth = c.depths[static_cast<size_t>(s)];
    const int head_dim = width / c.num_heads;
    const double scale = c.qk_scale > 0 ? c.qk_scale : 1 / std::sqrt(static_cast<double>(head_dim));
    for (int i = 0; i <= depth; ++i) {
      p.between.push_back({static_cast<int>(p.between.size()), s, i, in, map, fmt::format("pos_block.{}.{}", s, i)});
      if (i == depth) continue;
      p.sites.push_back({static_cast<int>(p.sites.size()), s, i, width, c.num_heads, head_dim, scale,
                         Layout::global(map), block_name(s, i) + ".attn"});
      size.linear(map.tokens(), in, width);
      size.block(map.tokens(), map.tokens(), width, width, c.expansion / 2.0);
      if (i == 0) size.linear(map.tokens(), in, c.expansion * width);  // its shortcut
      if (s && i == 0) map = halved(map);
      in = c.expansion * width;
    }
  }
  size.linear(1, in, c.num_classes);
  return p;
}

// ---- block -------------------------------------------------------------------------------------------------------------

Block::Block(const Scope& s, const Config& c, int in, int stride_, const Site& at)
    : conv1(s / "conv1", conv(in, at.dim, 1, 1)),
      bn1(s / "bn1", at.dim),
      qkv(s / "attn" / "qkv", at.dim, 3 * at.dim, false, {normal(1 / std::sqrt(static_cast<double>(at.dim)))}),
      attn_drop{c.attn_drop_rate, (s / "attn" / "attn_drop").key()},
      bn2(s / "bn2", at.dim),
      conv3(s / "conv3", conv(at.dim, c.expansion * at.dim, 1, 1)),
      bn3(c.zero_init_residual ? from_zero(s / "bn3") : s / "bn3", c.expansion * at.dim),
      stride(stride_),
      num_heads(at.heads),
      scale(at.scale),
      site(at),
      name(s.path()) {
  const int out = c.expansion * at.dim;
  if (stride != 1 || in != out) downsample.emplace(s / "downsample", in, out, stride);
}

Tensor Block::operator()(const Run& run, const Tensor& x, const PositionEncoding& position) const {
  const Crumb here(name);
  const Tensor inner = relu(bn1(run, conv1(run, x)));
  const auto [B, h, w, C] = inner.dims<4>();
  const Tensor tokens = inner.reshape({B, h * w, C}), packed = qkv(run, tokens);
  const Query query(heads(packed, num_heads, 0, 3), heads(packed, num_heads, 1, 3), heads(packed, num_heads, 2, 3),
                    global_pattern(h * w, h * w), scale, attn_drop);
  Tensor y = position.attend(site, Layout::global({h, w, 0}), query, {tokens, tokens}, run).reshape({B, h, w, C});
  if (stride != 1)  // of an odd map the last row and column are averaged alone
    y = avg_pool2d(y, {.kernel = stride, .stride = stride, .ceil_mode = true, .count_include_pad = false});
  y = bn3(run, conv3(run, relu(bn2(run, y))));
  return relu(add(downsample ? (*downsample)(run, x) : x, y));
}

// ---- model -------------------------------------------------------------------------------------------------------------

std::deque<std::deque<Block>> SasaNet::build(const Scope& s, const Config& c, const Places& at) {
  std::deque<std::deque<Block>> layers;
  int in = c.widths[0];
  for (int stage = 0; stage < c.stages(); ++stage) {
    auto& blocks = layers.emplace_back();
    for (int i = 0; i < c.depths[static_cast<size_t>(stage)]; ++i) {
      const Site& site = at.site(block_name(stage, i) + ".attn");
      blocks.emplace_back(s / block_name(stage, i), c, in, stage && i == 0 ? 2 : 1, site);
      in = c.expansion * site.dim;
    }
  }
  return layers;
}

SasaNet::SasaNet(const Scope& s, const Config& c, const MakePosition& position)
    : at_(places(c)),
      conv1_(s / "conv1", stem(c)),
      bn1_(s / "bn1", c.widths[0]),
      position_(position(s, at_)),
      layers_(build(s, c, at_)),
      head_drop_(s / "head_drop", c.drop_rate),
      fc_(s / "fc", c.expansion * c.widths.back(), c.num_classes, torch_init(c.expansion * c.widths.back())) {}

Output SasaNet::forward(const Run& run, const Input& input) const {
  Output out;
  Tensor x = relu(max_pool2d(bn1_(run, conv1_(run, input.x)), {.kernel = 3, .stride = 2, .padding = 1}));
  // f of the map as tokens
  const auto as_tokens = [](const Tensor& map, const auto& f) {
    const auto [B, h, w, C] = map.dims<4>();
    return f(Grid{h, w, 0}, map.reshape({B, h * w, C})).reshape({B, h, w, C});
  };
  const auto gap = [&](int stage, int block) {
    return as_tokens(
        x, [&](const Grid& g, const Tensor& t) { return position_->between(at_.gap(stage, block), g, t, run); });
  };
  x = as_tokens(x, [&](const Grid& g, const Tensor& t) { return position_->tokens(at_.tokens[0], g, t, run); });
  int s = 0;
  for (const auto& blocks : layers_) {
    for (const Block& block : blocks) x = block(run, gap(s, block.site.block), *position_);
    x = gap(s++, static_cast<int>(blocks.size()));
    if (input.features) out.stages.push_back(x);
  }
  out.logits = fc_(run, head_drop_(run, mean(x, {1, 2})));
  return out;
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "sasa_net",
                              .reference = "Ramachandran et al. 2019, arXiv 1906.05909",
                              .position = "sasa",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  // the paper's ResNet-26 with a convolutional stem
  const Config paper{.img_size = 224,
                     .num_classes = 1000,
                     .depths = {1, 2, 4, 1},
                     .widths = {64, 128, 256, 512},
                     .num_heads = 8,
                     .stem = "imagenet"};
  return {model_row<SasaNet>(family, "sasa_net", {}), model_row<SasaNet>(family, "sasa_net26", paper)};
}

}  // namespace TESSERA_NS
}  // namespace tessera::sasa_net
