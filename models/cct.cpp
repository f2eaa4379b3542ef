// Compact convolutional transformers.  Hassani et al. 2021, "Escaping the big data paradigm with compact transformers", arXiv 2104.05704;
// names of SHI-Labs' Compact-Transformers.
//
//   image (B, H, W, 3)
//     -> n_conv_layers x [ conv k x k without bias, max pooling 3 x 3 of stride 2, relu ]
//                                     map (B, h, w, C), 8 x 8 of CIFAR's 32 x 32 with two convolutions, 16 x 16 with one
//     -> tokens (B, h w, C)           with global_pool = token a class token in front, then reg_tokens registers
//     -> position.tokens, dropout
//     -> depth x [ position.between,
//                  x += drop_path(self_attn(pre_norm x)),
//                  x = norm1(x)                               the residual stream itself, neither pre-norm nor post-norm
//                  x += drop_path(linear2(gelu(linear1 x))) ]
//     -> position.between, norm
//     -> seq: softmax over tokens of attention_pool(x), the sum of x so weighted      (B, C)        or row 0
//     -> dropout, fc                  logits (B, K)
//
// A CCT-L/KxN has L layers behind N convolutions of K x K. Without pooling and with stride = kernel the tokenizer is ViT's: CVT (compact)
// then pools the sequence, ViT-Lite has a class token.
#include "tessera/models/cct.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/matmul.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/slice.h"
#include "tessera/core/ops/softmax.h"
#include "tessera/models/image.h"

namespace tessera::cct {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       block_fields<Config>(),
       attention_fields<Config>(),
       drop_fields<Config>(),
       {{"n_conv_layers", &Config::n_conv_layers, "convolutions of the tokenizer", within(1, 4)},
        {"kernel_size", &Config::kernel_size, "side of their kernels", within(1, 64)},
        {"stride", &Config::stride, "their stride", within(1, 64)},
        {"padding", &Config::padding, "zeros around their input, each side", within(0, 64)},
        {"in_planes", &Config::in_planes, "channels between them",
         within(1, most_width).only_with("n_conv_layers", "2", "3", "4")},
        {"max_pool", &Config::max_pool, "ReLU and 3 x 3 max pooling of stride 2 after every convolution"},
        {"conv_bias", &Config::conv_bias, "biases in the convolutions"},
        {"global_pool", &Config::global_pool, "seq (tokens weighted by a learned score) | token (class token)",
         one_of("seq", "token")},
        {"reg_tokens", &Config::reg_tokens,
         "registers: learned tokens after the class token, which no head reads (Darcet et al. 2024)", within(0, 1024)},
        {"pos_drop_rate", &Config::pos_drop_rate, "dropout after the positions", below_one()},
        {"drop_path_rate", &Config::drop_path_rate,
         "stochastic depth of the last layer; the first has 0, linear between", below_one()}}});
  return table;
}

namespace {

constexpr PoolOptions pooling{.kernel = 3, .stride = 2, .padding = 1};

/// The side of the map after the tokenizer. Throws Error if nothing is left of it.
int tokens_of(const Config& c, int side) {
  for (int i = 0; i < c.n_conv_layers; ++i) {
    const int room = side + 2 * c.padding - c.kernel_size;
    if (room < 0)
      fail("cct",
           "convolution {} of the tokenizer has a kernel of {} on a map of {} cells a side; choose a larger image", i,
           c.kernel_size, side);
    side = room / c.stride + 1;
    if (c.max_pool) side = (side + 1) / 2;
  }
  return side;
}

Grid grid_of(const Config& c, int height, int width) { return {tokens_of(c, height), tokens_of(c, width), c.prefix()}; }

/// torch's kaiming_normal_: variance 2 / fan_in.
Conv2d::Config conv_of(const Config& c, int i) {
  Conv2d::Config conv{.in = i ? c.in_planes : c.in_chans,
                      .out = i + 1 < c.n_conv_layers ? c.in_planes : c.embed_dim,
                      .kernel = c.kernel_size,
                      .options = conv_options(c.stride, c.padding),
                      .bias = c.conv_bias,
                      .init = {}};
  conv.init = {normal(std::sqrt(2 / Conv2d::inputs(conv))), torch_default(static_cast<int>(Conv2d::inputs(conv)))};
  return conv;
}

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.embed_dim * c.mlp_ratio < 1)
    fail("cct", "mlp_ratio {} makes the MLP {} wide; expected at least 1", c.mlp_ratio, c.embed_dim * c.mlp_ratio);
  grid_of(c, c.img_size, c.width());
}

Attention::Config attention_of(const Config& c) {
  Attention::Config a;
  a.dim = c.embed_dim, a.num_heads = c.num_heads, a.qk_scale = c.qk_scale, a.qkv_bias = c.qkv_bias;
  a.attn_drop = c.attn_drop_rate, a.proj_drop = c.proj_drop_rate;
  return a;
}

int hidden_of(const Config& c) { return static_cast<int>(c.embed_dim * c.mlp_ratio); }
std::string block_name(int i) { return "classifier.blocks." + std::to_string(i); }

}  // namespace

Places places(const Config& c) {
  check(c);
  const Attention::Config a = attention_of(c);
  Extents size("cct", c.img_size, c.width(), c.in_chans);
  Config part = c;  // the tokenizer up to convolution i, without its pooling
  for (int i = 0; i < c.n_conv_layers; ++i) {
    part.n_conv_layers = i + 1;
    const Grid map = grid_of(part, c.img_size, c.width());
    const double pooled = c.max_pool ? 4 : 1;
    size.linear(pooled * map.h * map.w, Conv2d::inputs(conv_of(c, i)), conv_of(c, i).out);
  }
  const Grid grid = grid_of(c, c.img_size, c.width());
  for (int i = 0; i < c.depth; ++i) size.block(grid.tokens(), grid.tokens(), a.dim, a.inner(), c.mlp_ratio);
  size.linear(1, c.embed_dim, c.num_classes);
  Places p;
  p.tokens.push_back({0, 0, 0, c.embed_dim, grid, "classifier.positional_emb"});
  for (int i = 0; i <= c.depth; ++i)
    p.between.push_back({i, 0, i, c.embed_dim, grid, "pos_block." + std::to_string(i)});
  for (int i = 0; i < c.depth; ++i)
    p.sites.push_back({i, 0, i, c.embed_dim, c.num_heads, a.width_of_head(), a.scale(), Layout::global(grid),
                       block_name(i) + ".self_attn"});
  return p;
}

// ---- parts -------------------------------------------------------------------------------------------------------------

Tokenizer::Tokenizer(const Scope& s, const Config& c) : max_pool(c.max_pool) {
  for (int i = 0; i < c.n_conv_layers; ++i) convs.emplace_back(s / "conv_layers" / i / 0, conv_of(c, i));
}

/// The paper has ReLU in front of the pooling. It never falls: the order changes no bit of what comes out or goes back (but for the sign of a
/// zero), and a step of CCT-2 on two threads takes 3 % less time.
Tensor Tokenizer::operator()(const Run& run, const Tensor& image) const {
  const Crumb here("tokenizer");
  Tensor x = image;
  for (const Conv2d& conv : convs) {
    x = conv(run, x);
    if (max_pool) x = relu(max_pool2d(x, pooling));
  }
  return x;
}

Layer::Layer(const Scope& s, const Config& c, double drop_path, const Site& at)
    : pre_norm(s / "pre_norm", c.embed_dim, c.norm_eps),
      self_attn(s / "self_attn", attention_of(c)),
      drop_path1(s / "drop_path1", drop_path),
      norm1(s / "norm1", c.embed_dim, c.norm_eps),
      linear1(s / "linear1", c.embed_dim, hidden_of(c)),
      drop1(s / "dropout1", c.proj_drop_rate),
      linear2(s / "linear2", hidden_of(c), c.embed_dim),
      drop2(s / "dropout2", c.proj_drop_rate),
      drop_path2(s / "drop_path2", drop_path),
      act(activation(c.act_layer)),
      site(at),
      name(s.path()) {}

Tensor Layer::operator()(const Run& run, const Tensor& x, const PositionEncoding& position, const Layout& now) const {
  const Crumb here(name);
  const Pattern all = global_pattern(now.q.tokens(), now.k.tokens());
  const Tensor mixed = self_attn.mix(run, pre_norm(run, x), all, position, site, now);
  const Tensor y = norm1(run, add_branch(run, x, mixed, self_attn.proj, self_attn.proj_drop, {}, drop_path1));
  return add_branch(run, y, drop1(run, activate(act, linear1(run, y))), linear2, drop2, {}, drop_path2);
}

// ---- model -------------------------------------------------------------------------------------------------------------

std::deque<Layer> Cct::build(const Scope& s, const Config& c, const Places& at) {
  std::deque<Layer> blocks;
  for (int i = 0; i < c.depth; ++i)
    blocks.emplace_back(s / block_name(i), c, c.drop_path_rate * i / std::max(1, c.depth - 1),
                        at.site(block_name(i) + ".self_attn"));
  return blocks;
}

Cct::Cct(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      tokenizer_(s / "tokenizer", c),
      class_emb_(c.class_token() ? s.param("classifier.class_emb", {1, 1, c.embed_dim}, constant(0), Decay::no)
                                 : Tensor()),
      reg_token_(c.reg_tokens ? s.param("reg_token", {1, c.reg_tokens, c.embed_dim}, tn02(), Decay::no) : Tensor()),
      attention_pool_(c.class_token()
                          ? std::nullopt
                          : std::optional<Linear>(std::in_place, s / "classifier.attention_pool", c.embed_dim, 1)),
      position_(position(s, at_)),
      pos_drop_(s / "pos_drop", c.pos_drop_rate),
      blocks_(build(s, c, at_)),
      norm_(s / "classifier.norm", c.embed_dim, c.norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      fc_(s / "classifier.fc", c.embed_dim, c.num_classes) {}

/// (B, P + N, C) -> (B, C): row 0, or sum_i softmax_i(w . x_i + b) x_i of the N cells.
Tensor Cct::pool(const Run& run, const Tensor& x) const {
  if (!attention_pool_) return select_row(x, 1, 0);
  const Tensor cells = config_.reg_tokens ? slice(x, 1, config_.reg_tokens, x.dim(1)) : x;
  const auto [B, N, C] = cells.dims<3>();
  const Tensor share = softmax((*attention_pool_)(run, cells).reshape({B, 1, N}));
  return matmul(share, cells).reshape({B, C});
}

Output Cct::forward(const Run& run, const Input& input) const {
  const Tensor map = tokenizer_(run, input.x);
  const auto [B, h, w, C] = map.dims<4>();
  const Grid grid{h, w, config_.prefix()};
  const Layout now = Layout::global(grid);
  Tensor x = map.reshape({B, h * w, C});
  if (reg_token_) x = prepend(reg_token_, x);
  if (class_emb_) x = prepend(class_emb_, x);
  x = pos_drop_(run, position_->tokens(at_.tokens[0], grid, x, run));
  for (const Layer& block : blocks_) {
    x = position_->between(at_.gap(0, block.site.block), grid, x, run);
    x = block(run, x, *position_, now);
  }
  x = position_->between(at_.between.back(), grid, x, run);
  Output out;
  if (input.features) out.stages.push_back(slice(x, 1, grid.prefix, grid.tokens()).reshape({B, h, w, C}));
  out.logits = fc_(run, head_drop_(run, pool(run, norm_(run, x))));
  return out;
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "cct",
                              .reference = "Hassani et al. 2021, arXiv 2104.05704",
                              .position = "learned",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image};
  const auto narrow = [](int depth) { return Config{.depth = depth}; };
  const auto wide = [](int depth, int convs) {
    return Config{.n_conv_layers = convs, .embed_dim = 256, .depth = depth, .num_heads = 4, .mlp_ratio = 2};
  };
  Config cvt = wide(7, 1);  // a ViT's patches
  cvt.kernel_size = cvt.stride = 4, cvt.padding = 0, cvt.max_pool = false, cvt.conv_bias = true;
  Config lite = cvt;
  lite.global_pool = "token";
  return {model_row<Cct>(family, "cct", {}),
          model_row<Cct>(family, "cct_2_3x2_32", narrow(2)),
          model_row<Cct>(family, "cct_4_3x2_32", narrow(4)),
          model_row<Cct>(family, "cct_6_3x1_32", wide(6, 1)),
          model_row<Cct>(family, "cct_7_3x1_32", wide(7, 1)),
          model_row<Cct>(family, "cct_cvt_7_4_32", cvt),
          model_row<Cct>(family, "vit_lite_7_4_32", lite)};
}

}  // namespace TESSERA_NS
}  // namespace tessera::cct
