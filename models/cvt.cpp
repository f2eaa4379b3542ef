// CvT.  Wu et al. 2021, "CvT: introducing convolutions to vision transformers", arXiv 2103.15808; names of microsoft/CvT's cls_cvt.py.
//
//   image (B, H, W, 3)
//     -> stage s, width embed_dims[s]:
//          patch_embed: overlapping convolution, norm     the map becomes patch_strides[s] times smaller a side
//          last stage: cls_token, reg_token in front      (B, P + h w, C), P = 1 + reg_tokens     (0 + with global_pool = avg)
//          position.tokens, dropout                       nothing by default: zeros around the maps say where a token is
//          depths[s] x [ position.between,
//                        x += drop_path(attn(norm1 x)),
//                        x += drop_path(mlp(norm2 x)) ]
//          position.between
//     -> norm, row 0 (or the mean of the map)             (B, C)
//     -> dropout, head                                    logits (B, K)
//
//   attn: q = W_q bn(dw x), k = W_k bn(dw x), v = W_v bn(dw x), each with a depthwise 3 x 3 of its own; that of k and v has stride 2, so
//         that there are a quarter as many keys. The class token meets the W's alone.
//         MACs of N tokens: 2 N C^2 + 2 (N/4) C^2 for the W's and proj, 9 N C + 18 (N/4) C for the convolutions, 2 N (N/4) C to mix
//
// transformers' port of it has GELU where the official code has x sigmoid(1.702 x).
#include "tessera/models/cvt.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tessera/models/image.h"

namespace tessera::cvt {
inline namespace TESSERA_NS {

// ---- configuration ---------------------------------------------------------------------------------------------------

Fields<Config> fields() {
  static const Fields<Config> table = joined<Config>(
      {image_fields<Config>(),
       drop_fields<Config>(),
       {{"patch_sizes", &Config::patch_sizes, "kernel of each stage's embedding", within(1, most_side)},
        {"patch_strides", &Config::patch_strides, "its stride", within(1, most_side)},
        {"patch_paddings", &Config::patch_paddings, "zeros around its input, each side", within(0, most_side)},
        {"embed_dims", &Config::embed_dims, "width of each stage", within(1, most_width)},
        {"depths", &Config::depths, "blocks of each stage", within(1, most_depth)},
        {"num_heads", &Config::num_heads, "attention heads of each stage", within(1, most_heads)},
        {"mlp_ratio", &Config::mlp_ratio, "hidden width of the MLP over the stage's width", positive(1000)},
        {"method", &Config::method,
         "before the projections: dw_bn (depthwise convolution, BatchNorm) | avg (average of keys and values) | linear",
         one_of("dw_bn", "avg", "linear")},
        {"kernel_qkv", &Config::kernel_qkv, "side of the convolutions or averages before the projections",
         odd(1, 63).only_with("method", "dw_bn", "avg")},
        {"stride_kv", &Config::stride_kv, "their stride for keys and values",
         within(1, 64).only_with("method", "dw_bn", "avg")},
        {"qkv_bias", &Config::qkv_bias, "biases in the query, key and value projection"},
        {"qk_scale", &Config::qk_scale, "factor of the logits, 0: (width of the stage)^-1/2", scale_domain()},
        {"global_pool", &Config::global_pool, "token (class token of the last stage) | avg (mean of the last map)",
         one_of("token", "avg")},
        {"class_token", &Config::class_token, "false: global_pool = avg under its older name"},
        {"reg_tokens", &Config::reg_tokens,
         "registers: further learned tokens in front of the last stage, which no head reads", within(0, 1024)},
        {"act_layer", &Config::act_layer, "the nonlinearity of the MLP", activation_domain()},
        {"pos_drop_rate", &Config::pos_drop_rate, "dropout after the embeddings", below_one()},
        {"drop_path_rate", &Config::drop_path_rate,
         "stochastic depth of the last block, linear from 0 over the last stage; the others have none", below_one()}}});
  return table;
}

namespace {

constexpr double norm_eps = 1e-5;

template <class T>
T at(const std::vector<T>& list, int stage) {
  return list[static_cast<size_t>(stage)];
}

void check(const Config& c) {
  check_fields(c, fields(), "model.");
  if (c.depths.empty() || c.depths.size() > 8) fail("cvt", "depths has {} stages, expected 1 to 8", c.depths.size());
  const std::pair<const char*, const std::vector<int>*> lists[] = {{"embed_dims", &c.embed_dims},
                                                                   {"num_heads", &c.num_heads},
                                                                   {"patch_sizes", &c.patch_sizes},
                                                                   {"patch_strides", &c.patch_strides},
                                                                   {"patch_paddings", &c.patch_paddings}};
  for (const auto& [name, list] : lists)
    if (list->size() != c.depths.size())
      fail("cvt", "depths has {} stages and {} {}; both need one entry a stage", c.depths.size(), name, list->size());
  for (int s = 0; s < c.stages(); ++s) {
    if (at(c.embed_dims, s) % at(c.num_heads, s))
      fail("cvt", "stage {}: {} heads do not divide the width {}", s, at(c.num_heads, s), at(c.embed_dims, s));
    if (at(c.embed_dims, s) * c.mlp_ratio < 1)
      fail("cvt", "mlp_ratio {} makes the MLP of stage {} {} wide; expected at least 1", c.mlp_ratio, s,
           at(c.embed_dims, s) * c.mlp_ratio);
    if (at(c.patch_paddings, s) >= at(c.patch_sizes, s))
      fail("cvt", "stage {}: patches of {} with {} zeros around the map, which must be fewer", s, at(c.patch_sizes, s),
           at(c.patch_paddings, s));
  }
}

/// The map after the embedding of a stage. Throws Error if nothing is left of it.
Grid embedded(const Config& c, int stage, const Grid& map) {
  const auto side = [&](int n) {
    const int room = n + 2 * at(c.patch_paddings, stage) - at(c.patch_sizes, stage);
    if (room < 0)
      fail("cvt", "stage {} has patches of {} on a map of {} cells a side; choose a larger image or fewer stages",
           stage, at(c.patch_sizes, stage), n);
    return room / at(c.patch_strides, stage) + 1;
  };
  return {side(map.h), side(map.w), c.prefix(stage)};
}

/// Of a side of the map, how many cells the keys have.
int key_side(const Config& c, int n) {
  const int R = c.stride_kv, p = c.kernel_qkv / 2;
  if (c.method != "avg") return (n - 1) / R + 1;
  const int up = (n + 2 * p - c.kernel_qkv + R - 1) / R + 1;  // ceil_mode: a last window may hang over ...
  return (up - 1) * R >= n + p ? up - 1 : up;                 // ... but not begin outside
}

Layout layout_of(const Config& c, const Grid& map) {
  if (c.method == "linear" || c.stride_kv == 1) return Layout::global(map);
  return Layout::reduced(map, {key_side(c, map.h), key_side(c, map.w), map.prefix}, c.stride_kv);
}

double scale_of(const Config& c, int dim) { return c.qk_scale > 0 ? c.qk_scale : 1 / std::sqrt(double(dim)); }
std::string block_name(int stage, int i) { return fmt::format("stage{}.blocks.{}", stage, i); }

Mlp::Config mlp_of(const Config& c, int dim) {
  Mlp::Config m;
  m.dim = dim, m.hidden = static_cast<int>(dim * c.mlp_ratio), m.act = activation(c.act_layer);
  m.drop = c.proj_drop_rate;
  return m;
}

Conv2d::Config patches_of(const Config& c, int stage) {
  return {.in = stage ? at(c.embed_dims, stage - 1) : c.in_chans,
          .out = at(c.embed_dims, stage),
          .kernel = at(c.patch_sizes, stage),
          .options = conv_options(at(c.patch_strides, stage), at(c.patch_paddings, stage))};
}

}  // namespace

Places places(const Config& c) {
  check(c);
  Places p;
  Grid map{c.img_size, c.width(), 0};
  Extents size("cvt", c.img_size, c.width(), c.in_chans);
  for (int s = 0; s < c.stages(); ++s) {
    map = embedded(c, s, map);
    const int dim = at(c.embed_dims, s), heads = at(c.num_heads, s);
    const Layout now = layout_of(c, map);
    const double in = s ? at(c.embed_dims, s - 1) : c.in_chans, side = at(c.patch_sizes, s);
    size.linear(map.tokens(), in * side * side, dim);
    p.tokens.push_back({s, s, 0, dim, map, fmt::format("stage{}.pos_embed", s)});
    for (int i = 0; i <= at(c.depths, s); ++i) {
      p.between.push_back({static_cast<int>(p.between.size()), s, i, dim, map, fmt::format("pos_block.{}.{}", s, i)});
      if (i == at(c.depths, s)) continue;
      size.block(map.tokens(), now.k.tokens(), dim, dim, c.mlp_ratio);
      size.linear(map.tokens(), 3.0 * c.kernel_qkv * c.kernel_qkv, dim);
      p.sites.push_back({static_cast<int>(p.sites.size()), s, i, dim, heads, dim / heads, scale_of(c, dim), now,
                         block_name(s, i) + ".attn"});
    }
  }
  size.linear(1, c.embed_dims.back(), c.num_classes);
  return p;
}

// ---- parts -------------------------------------------------------------------------------------------------------------

ConvEmbed::ConvEmbed(const Scope& s, const Config& c, int stage)
    : proj(s / "proj", patches_of(c, stage)), norm(s / "norm", at(c.embed_dims, stage), norm_eps) {}

Tensor ConvEmbed::operator()(const Run& run, const Tensor& x, Grid& map) const {
  const Crumb here("patch_embed");
  const Tensor y = proj(run, x);
  const auto [B, h, w, C] = y.dims<4>();
  map.h = h, map.w = w;
  return norm(run, y.reshape({B, h * w, C}));
}

Projection::Projection(const Scope& s, const Config& c, int dim, bool keys) {
  if (keys && c.method != "linear") stride = c.stride_kv;
  if (c.method == "avg" && keys) average = c.kernel_qkv;
  if (c.method != "dw_bn") return;
  conv.emplace(s / "conv", Conv2d::Config{.in = dim,
                                          .out = dim,
                                          .kernel = c.kernel_qkv,
                                          .options = conv_options(stride, c.kernel_qkv / 2, dim),
                                          .bias = false});
  bn.emplace(s / "bn", dim);
}

Tensor Projection::operator()(const Run& run, const Tensor& map) const {
  if (conv) return (*bn)(run, (*conv)(run, map));
  if (average) return avg_pool2d(map, {.kernel = average, .stride = stride, .padding = average / 2, .ceil_mode = true});
  return map;
}

ConvAttention::ConvAttention(const Scope& s, const Config& c, int stage, const Site& place)
    : conv_proj_q(s / "conv_proj_q", c, place.dim, false),
      conv_proj_k(s / "conv_proj_k", c, place.dim, true),
      conv_proj_v(s / "conv_proj_v", c, place.dim, true),
      proj_q(s / "proj_q", place.dim, place.dim, c.qkv_bias),
      proj_k(s / "proj_k", place.dim, place.dim, c.qkv_bias),
      proj_v(s / "proj_v", place.dim, place.dim, c.qkv_bias),
      attn_drop{c.attn_drop_rate, (s / "attn_drop").key()},
      proj(s / "proj", place.dim, place.dim),
      proj_drop(s / "proj_drop", c.proj_drop_rate),
      num_heads(at(c.num_heads, stage)),
      scale(scale_of(c, place.dim)),
      site(place) {}

Tensor ConvAttention::mix(const Run& run, const Tensor& x, const Grid& grid, const PositionEncoding& position) const {
  const Crumb here("attn");
  const auto [B, N, C] = x.dims<3>();
  const Tensor cells = grid.prefix ? slice(x, 1, grid.prefix, N) : x;
  const Tensor map = cells.reshape({B, grid.h, grid.w, C});
  Grid keys = grid;
  const auto projected = [&, B_ = B, C_ = C](const Projection& p) {  // (B, h, w, C) -> tokens, the class token in front
    const Tensor y = p(run, map);
    if (&p == &conv_proj_k) keys.h = y.dim(1), keys.w = y.dim(2);
    const Tensor tokens = y.reshape({B_, y.dim(1) * y.dim(2), C_});
    return grid.prefix ? concat({slice(x, 1, 0, grid.prefix), tokens}, 1) : tokens;
  };
  const Tensor q = projected(conv_proj_q), k = projected(conv_proj_k), v = projected(conv_proj_v);
  const int R = conv_proj_k.stride;
  const Layout now = R == 1 ? Layout::global(grid) : Layout::reduced(grid, keys, R);
  const Query query(heads(proj_q(run, q), num_heads), heads(proj_k(run, k), num_heads),
                    heads(proj_v(run, v), num_heads), global_pattern(grid.tokens(), keys.tokens()), scale, attn_drop);
  return position.attend(site, now, query, {q, k}, run);
}

Block::Block(const Scope& s, const Config& c, int stage, double drop_path, const Site& place)
    : norm1(s / "norm1", place.dim, norm_eps),
      attn(s / "attn", c, stage, place),
      drop_path1(s / "drop_path1", drop_path),
      norm2(s / "norm2", place.dim, norm_eps),
      mlp(s / "mlp", mlp_of(c, place.dim)),
      drop_path2(s / "drop_path2", drop_path),
      name(s.path()) {}

Tensor Block::operator()(const Run& run, const Tensor& x, const Grid& map, const PositionEncoding& position) const {
  const Crumb here(name);
  const Tensor mixed = attn.mix(run, norm1(run, x), map, position);
  const Tensor y = add_branch(run, x, mixed, attn.proj, attn.proj_drop, {}, drop_path1);
  return add_branch(run, y, mlp.hidden(run, norm2(run, y)), mlp.fc2, mlp.drop2, {}, drop_path2);
}

// ---- model -------------------------------------------------------------------------------------------------------------

Cvt::Stage::Stage(const Scope& s, const Config& c, int stage, const Places& places)
    : patch_embed(s / "patch_embed", c, stage),
      cls_token(c.prefix(stage) > c.reg_tokens
                    ? s.param("cls_token", {1, 1, at(c.embed_dims, stage)}, tn02(), Decay::no)
                    : Tensor()),
      reg_token(c.prefix(stage) > 0 && c.reg_tokens > 0
                    ? s.param("reg_token", {1, c.reg_tokens, at(c.embed_dims, stage)}, tn02(), Decay::no)
                    : Tensor()),
      pos_drop(s / "pos_drop", c.pos_drop_rate) {
  const int depth = at(c.depths, stage);
  for (int i = 0; i < depth; ++i) {
    const double drop_path = stage + 1 == c.stages() ? c.drop_path_rate * i / std::max(1, depth - 1) : 0;
    blocks.emplace_back(s / "blocks" / i, c, stage, drop_path, places.site(block_name(stage, i) + ".attn"));
  }
}

std::deque<Cvt::Stage> Cvt::build(const Scope& s, const Config& c, const Places& at) {
  std::deque<Stage> stages;
  for (int i = 0; i < c.stages(); ++i) stages.emplace_back(s / fmt::format("stage{}", i), c, i, at);
  return stages;
}

Cvt::Cvt(const Scope& s, const Config& c, const MakePosition& position)
    : config_(c),
      at_(places(c)),
      position_(position(s, at_)),
      stages_(build(s, c, at_)),
      norm_(s / "norm", c.embed_dims.back(), norm_eps),
      head_drop_(s / "head_drop", c.drop_rate),
      head_(s / "head", c.embed_dims.back(), c.num_classes, {tn02(), torch_default(c.embed_dims.back())}) {}

Output Cvt::forward(const Run& run, const Input& input) const {
  const int B = input.x.rank() ? input.x.dim(0) : 0;
  Output out;
  Tensor x, map = input.x;  // a stage's tokens, and what its embedding takes
  for (int s = 0; s < config_.stages(); ++s) {
    const Stage& stage = stages_[static_cast<size_t>(s)];
    Grid grid{0, 0, config_.prefix(s)};
    x = stage.patch_embed(run, map, grid);
    if (stage.reg_token) x = prepend(stage.reg_token, x);
    if (stage.cls_token) x = prepend(stage.cls_token, x);
    x = stage.pos_drop(run, position_->tokens(at_.tokens[static_cast<size_t>(s)], grid, x, run));
    for (const Block& block : stage.blocks) {
      x = position_->between(at_.gap(s, block.attn.site.block), grid, x, run);
      x = block(run, x, grid, *position_);
    }
    x = position_->between(at_.gap(s, static_cast<int>(stage.blocks.size())), grid, x, run);
    if (grid.prefix == 0 || input.features)
      map = (grid.prefix ? slice(x, 1, grid.prefix, grid.tokens()) : x).reshape({B, grid.h, grid.w, -1});
    if (input.features) out.stages.push_back(map);
  }
  // A norm acts on each token alone, so the class token's row is taken first.
  const bool registers = config_.reg_tokens > 0 && !config_.pools_token();
  const Tensor cells = registers ? slice(x, 1, config_.reg_tokens, x.dim(1)) : x;
  const Tensor pooled = config_.pools_token() ? norm_(run, select_row(x, 1, 0)) : mean(norm_(run, cells), {1});
  out.logits = head_(run, head_drop_(run, pooled));
  return out;
}

// ---- names of other programs ---------------------------------------------------------------------------------------------

std::vector<Rename> dialect() {
  const std::string stage = "encoder.stages.*.", layer = stage + "layers.*.", attn = layer + "attention.",
                    block = "stage*.blocks.*.";
  std::vector<Rename> rows{{stage + "embedding.convolution_embeddings.projection.*", "stage*.patch_embed.proj.*"},
                           {stage + "embedding.convolution_embeddings.normalization.*", "stage*.patch_embed.norm.*"},
                           {stage + "cls_token", "stage*.cls_token"}};
  for (const auto& [theirs, ours] : {std::pair{"query", "q"}, {"key", "k"}, {"value", "v"}}) {
    const std::string conv = fmt::format("attention.convolution_projection_{}.convolution_projection.", theirs),
                      to = fmt::format("attn.conv_proj_{}.", ours);
    rows.push_back({attn + conv + "convolution.*", block + to + "conv.*"});
    rows.push_back({attn + conv + "normalization.*", block + to + "bn.*"});
    rows.push_back(
        {attn + fmt::format("attention.projection_{}.*", theirs), block + fmt::format("attn.proj_{}.*", ours)});
  }
  rows.push_back({attn + "output.dense.*", block + "attn.proj.*"});
  rows.push_back({layer + "intermediate.dense.*", block + "mlp.fc1.*"});
  rows.push_back({layer + "output.dense.*", block + "mlp.fc2.*"});
  rows.push_back({layer + "layernorm_before.*", block + "norm1.*"});
  rows.push_back({layer + "layernorm_after.*", block + "norm2.*"});
  std::vector<Rename> all{{"layernorm.*", "norm.*"}, {"classifier.*", "head.*"}};
  for (const Rename& r : rows) all.push_back({"cvt." + r.from, r.to}), all.push_back(r);
  return all;
}

// ---- rows ----------------------------------------------------------------------------------------------------------------

std::vector<ModelRow> rows() {
  const Family<Config> family{.name = "cvt",
                              .reference = "Wu et al. 2021, arXiv 2103.15808",
                              .position = "none",
                              .fields = fields(),
                              .places = places,
                              .input = image_input<Config>,
                              .fit = fit_image,
                              .dialect = dialect()};
  const auto imagenet = [](std::vector<int> depths) {
    return Config{.img_size = 224,
                  .num_classes = 1000,
                  .patch_sizes = {7, 3, 3},
                  .patch_strides = {4, 2, 2},
                  .patch_paddings = {2, 1, 1},
                  .embed_dims = {64, 192, 384},
                  .depths = std::move(depths),
                  .num_heads = {1, 3, 6},
                  .mlp_ratio = 4,
                  .drop_path_rate = 0.1};
  };
  return {model_row<Cvt>(family, "cvt", {}), model_row<Cvt>(family, "cvt_13", imagenet({1, 2, 10})),
          model_row<Cvt>(family, "cvt_21", imagenet({1, 4, 16}))};
}

}  // namespace TESSERA_NS
}  // namespace tessera::cvt
