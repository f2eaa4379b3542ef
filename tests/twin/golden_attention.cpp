// Attentions with their position encodings against timm and transformers: tests/golden/attention.py wrote the numbers under the
// libraries' own names. What differs in convention is said where a parameter of ours is made of theirs.
#include <algorithm>
#include <cmath>
#include <functional>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/slice.h"
#include "tessera/core/ops/softmax.h"
#include "tessera/nn/layers.h"
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// A tensor of the case by the library's name: a weight or its gradient.
using Theirs = std::function<Tensor(const std::string&)>;
/// A parameter of ours from theirs. Only reorders entries, so that it carries weights and gradients alike.
struct Mine {
  std::string name;
  std::function<Tensor(const Theirs&)> make;
};

/// The same entries in the same order.
Mine same(const std::string& ours, const std::string& theirs) {
  return {ours, [=](const Theirs& file) { return file(theirs); }};
}
/// Their tensors behind each other.
Mine behind(const std::string& ours, const std::vector<std::string>& theirs) {
  return {ours, [=](const Theirs& file) {
            std::vector<real> all;
            for (const auto& name : theirs) {
              const Tensor part = file(name);
              all.insert(all.end(), part.data(), part.data() + part.size());
            }
            Tensor joined({static_cast<int>(all.size())});
            std::copy(all.begin(), all.end(), joined.data());
            return joined;
          }};
}
/// Rows from the last to the first: their offsets are query minus key where ours are key minus query.
Mine reversed(const std::string& ours, const std::string& theirs) {
  return {ours, [=](const Theirs& file) {
            const Tensor t = file(theirs);
            const auto [R, d] = t.dims<2>();
            Tensor back({R, d});
            for (int r = 0; r < R; ++r) std::copy_n(t.data() + int64_t{R - 1 - r} * d, d, back.data() + int64_t{r} * d);
            return back;
          }};
}
/// Rows of LeViT's projection go by (head, part, channel), ours by (part, head, channel).
Mine by_part(const std::string& ours, const std::string& theirs, int heads, int d) {
  return {ours, [=](const Theirs& file) {
            const Tensor t = file(theirs);
            const int64_t width = t.size() / (3 * heads * d);
            Tensor mine({static_cast<int>(t.size())});
            for (int part = 0; part < 3; ++part)
              for (int h = 0; h < heads; ++h)
                std::copy_n(t.data() + (h * 3 + part) * d * width, d * width,
                            mine.data() + (part * heads + h) * d * width);
            return mine;
          }};
}

std::vector<Mine> operator+(std::vector<Mine> a, const std::vector<Mine>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const std::vector<Mine> qkv{same("attn.qkv.weight", "qkv.weight")};
const std::vector<Mine> qkv_bias{same("attn.qkv.bias", "qkv.bias")};
const std::vector<Mine> proj{same("attn.proj.weight", "proj.weight"), same("attn.proj.bias", "proj.bias")};
const std::vector<Mine> bert{behind("attn.qkv.weight", {"query.weight", "key.weight", "value.weight"}),
                             behind("attn.qkv.bias", {"query.bias", "key.bias", "value.bias"})};

struct Case {
  static constexpr int dim = 16;
  std::string file, position;
  Options options;
  Grid grid;
  std::vector<Mine> parameters;
  /// What the library rounds to 32 bits whatever its type (angles, log coordinates, T5's softmax) is compared to that precision.
  double double_bound = 1e-12;
  double scale = 0;          ///< 0: d^-1/2
  bool cosine = false;       ///< Swin v2: scaled cosines instead of scaled products
  Grid trained = {0, 0, 0};  ///< 0 x 0: as grid
  int heads = 2;

  bool has(std::string_view name) const {
    return std::ranges::any_of(parameters, [&](const Mine& m) { return m.name == name; });
  }
};

/// Cosine attention of Swin v2: q and k of unit length, the product of each head times exp(min(logit_scale, ln 100)).
Tensor cosine_attention(const Case& c, const Attention& attn, const Tensor& logit_scale, const Tensor& x,
                        const PositionEncoding& position, const Site& site, const Layout& now) {
  const auto [B, N, C] = x.dims<3>();
  const Tensor packed = attn.qkv({}, x).reshape({B, N, 3, c.heads, C / c.heads});
  const auto part = [&](int i) { return select_row(packed, 2, i); };
  const Tensor tau = exp(clamp(logit_scale, -1e9, std::log(100.0))).reshape({c.heads, 1});
  const Tensor q = mul(normalize(part(0)), tau).reshape({B, N, C}), k = normalize(part(1)).reshape({B, N, C}),
               v = part(2).reshape({B, N, C});
  return attn.proj(
      {}, position.attend(site, now, {heads(q, c.heads), heads(k, c.heads), heads(v, c.heads), global_pattern(N, N), 1},
                          {x, x}, {}));
}

void check(const Case& c) {
  CAPTURE(c.file);
  CAPTURE(c.position);
  const io::TensorFile file(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/attention_" + c.file +
                            ".safetensors");
  const Layout now{c.grid, c.grid, {}, 1, false};
  const Layout trained = c.trained.h ? Layout{c.trained, c.trained, {}, 1, false} : now;
  Attention::Config config;
  config.dim = c.dim, config.num_heads = c.heads, config.qk_scale = c.scale;
  config.qkv_bias = c.has("attn.qkv.bias"), config.proj_bias = c.has("attn.proj.bias");

  Params params(1);
  Places at;
  at.sites = {Site{0, 0, 0, c.dim, c.heads, c.dim / c.heads, config.scale(), trained, "attn"}};
  const auto position = tessera::position(c.position, c.options)(Scope(params), at);
  const Attention attn(Scope(params) / "attn", config);
  const Tensor logit_scale =
      c.cosine ? (Scope(params) / "attn").param("logit_scale", {c.heads}, constant(0)) : Tensor();

  const bool projects = c.has("attn.proj.weight");
  for (const auto& p : params.entries())
    if (projects || !p.name.starts_with("attn.proj.")) REQUIRE_MESSAGE(c.has(p.name), p.name);
  for (const Mine& m : c.parameters) {
    REQUIRE_MESSAGE(params.find(m.name), m.name);
    const Tensor value = m.make([&](const std::string& name) { return file.read(name); });
    const Tensor mine = params.find(m.name)->value;
    REQUIRE_MESSAGE(value.size() == mine.size(), m.name);
    std::copy_n(value.data(), value.size(), mine.data());
  }
  params.commit();

  Tape tape;
  Grads grads;
  const Tensor x = tape.watch(file.read("x"));
  const Pattern who = global_pattern(x.dim(1), x.dim(1));
  const Tensor y = c.cosine   ? cosine_attention(c, attn, logit_scale, x, *position, at.sites[0], now)
                   : projects ? attn({}, x, who, *position, at.sites[0], now)
                              : attn.mix({}, x, who, *position, at.sites[0], now);
  tape.backward(y, file.read("cotangent"), grads);

  const auto theirs = [&](const std::string& name) { return file.read("grad." + name); };
  double most = 0, gradients = 0;
  for (const Mine& m : c.parameters) most = std::max(most, largest(m.make(theirs)));
  std::string worst;
  const auto compare = [&](const std::string& what, const Tensor& got, const Tensor& want) {
    const double error = difference(got, want) / std::max(largest(want), 1e-3 * most);
    if (!(error <= gradients)) gradients = error, worst = what;
  };
  compare("x", tape.grad(x), file.read("grad.x"));
  for (const Mine& m : c.parameters) compare(m.name, grads.of(params.find(m.name)->value), m.make(theirs));
  CAPTURE(worst);
  const double output = difference(y, file.read("y"));
  CHECK(output <= (sizeof(real) == 8 ? c.double_bound : 1e-5));
  CHECK(gradients <= (sizeof(real) == 8 ? c.double_bound : 1e-4));
}

const Grid plain{3, 4, 0}, classes{3, 4, 1}, square{4, 4, 0};

TWIN_CASE("golden attention: timm's relative-position ViT and BEiT, tables with and without class rows") {
  const Mine table = same("attn.relative_position_bias_table", "rel_pos.relative_position_bias_table");
  check({"relpos", "relative_position_bias", {}, plain, qkv + qkv_bias + proj + std::vector{table}});
  check({"relpos_class", "relative_position_bias", {}, classes, qkv + qkv_bias + proj + std::vector{table}});
  check({"beit",
         "relative_position_bias",
         {},
         classes,
         qkv + proj + std::vector{same("attn.relative_position_bias_table", "relative_position_bias_table")}});
}

TWIN_CASE("golden attention: Swin v2's cosines and log-spaced bias, timm's; the same bias in timm's ViT") {
  const std::vector<Mine> mlp{
      same("attn.cpb_mlp.0.weight", "cpb_mlp.0.weight"), same("attn.cpb_mlp.0.bias", "cpb_mlp.0.bias"),
      same("attn.cpb_mlp.2.weight", "cpb_mlp.2.weight"), same("attn.logit_scale", "logit_scale")};
  const double rounded = 1e-6;
  check({"swin_v2", "log_cpb", {{"hidden", 32}}, square, qkv + proj + mlp, rounded, 0, true});
  check({"swin_v2_finetuned",
         "log_cpb",
         {{"hidden", 32}, {"pretrained_window_size", 3}},
         square,
         qkv + proj + mlp,
         rounded,
         0,
         true});
  check({"relpos_mlp",
         "log_cpb",
         {{"hidden", 32}},
         plain,
         qkv + qkv_bias + proj +
             std::vector{same("attn.cpb_mlp.0.weight", "rel_pos.mlp.fc1.weight"),
                         same("attn.cpb_mlp.0.bias", "rel_pos.mlp.fc1.bias"),
                         same("attn.cpb_mlp.2.weight", "rel_pos.mlp.fc2.weight")},
         rounded});
}

TWIN_CASE("golden attention: LeViT's bias and ConViT's gates, timm's") {
  check({"levit",
         "levit",
         {},
         plain,
         {by_part("attn.qkv.weight", "qkv.linear.weight", 2, 8), by_part("attn.qkv.bias", "qkv.bn.bias", 2, 8),
          same("attn.proj.weight", "proj.ln.linear.weight"), same("attn.proj.bias", "proj.ln.bn.bias"),
          same("attn.attention_biases", "attention_biases")}});
  check({"gpsa",
         "gpsa",
         {},
         square,
         proj + std::vector{behind("attn.qkv.weight", {"qk.weight", "v.weight"}),
                            behind("attn.qkv.bias", {"qk.bias", "v.bias"}),
                            same("attn.pos_proj.weight", "pos_proj.weight"),
                            same("attn.pos_proj.bias", "pos_proj.bias"), same("attn.gating_param", "gating_param")}});
}

TWIN_CASE("golden attention: T5's buckets, transformers'") {
  const std::vector<Mine> all{behind("attn.qkv.weight", {"q.weight", "k.weight", "v.weight"}),
                              same("attn.proj.weight", "o.weight"),
                              same("position.relative_attention_bias.weight", "relative_attention_bias.weight")};
  const double rounded = 2e-6;
  check({"t5_default", "t5", {}, {12, 12, 0}, all, rounded, 1});
  check({"t5_small", "t5", {{"num_buckets", 12}, {"max_distance", 20}}, {1, 30, 0}, all, rounded, 1});
}

TWIN_CASE("golden attention: BERT's relative_key and relative_key_query, transformers'") {
  // BERT counts query minus key in a table of 2 max_position_embeddings - 1 rows
  const Options reach{{"max_distance", 11}}, same_sign{{"max_distance", 11}, {"offset", "query_minus_key"}};
  const char* table = "distance_embedding.weight";
  check({"bert_relative_key", "shaw", same_sign, plain, bert + std::vector{same("attn.position.key", table)}});
  check({"bert_relative_key", "shaw", reach, plain, bert + std::vector{reversed("attn.position.key", table)}});
  check({"bert_relative_key_query", "huang4", reach, plain,
         bert + std::vector{reversed("attn.position.distance_embedding", table)}});
}

TWIN_CASE("golden attention: rotary embeddings of timm (EVA, rope-vit, DINOv3) and of RoFormer") {
  const double rounded = 2e-6;
  const auto eva = [&](const char* file, const Options& options, Grid trained = {0, 0, 0}, int heads = 2) {
    check({file, "rope_axial", options, classes, qkv + proj, rounded, 0, false, trained, heads});
  };
  eva("eva_language", {{"variant", "timm_language"}});
  eva("eva_resized", {{"variant", "timm_language"}, {"rescale", true}}, {2, 2, 1});
  eva("eva_pixel", {{"variant", "timm_pixel"}, {"max_freq", 16.0}}, {0, 0, 0}, 1);
  eva("eva_pixel_log", {{"variant", "timm_pixel"}, {"max_freq", 16.0}, {"bands", "log"}}, {0, 0, 0}, 1);
  eva("rope_vit_axial", {});
  eva("dinov3", {{"variant", "dinov3"}});
  check({"rope_vit_mixed",
         "rope_mixed",
         {},
         classes,
         qkv + proj + std::vector{same("attn.position.freqs", "rope.freqs")},
         rounded});
  check({"roformer", "rope", {}, plain, bert, rounded});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
