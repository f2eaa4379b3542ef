// PVT, Twins and CPVT: what their attentions may see, maps that nothing divides, class tokens, positions, names and starts of weights.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "tessera/core/ops/slice.h"
#include "tessera/models/pvt.h"
#include "tessera/models/twins.h"
#include "tessera/nn/weights.h"
#include "tests/error_of.h"
#include "tests/twin/small_models.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Sizes = std::vector<int>;
using test::error_of;

Tensor waves(const Shape& shape) {
  Tensor x(shape);
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(0.7 * static_cast<double>(i % 1009)));
  return x;
}

std::unique_ptr<Model> make(Params& params, const char* name, const Options& options = {}, const char* encoding = "") {
  const ModelRow& row = model(name);
  return row.make(Scope(params), options, position(*encoding ? encoding : row.position));
}

bool equal(const Tensor& a, const Tensor& b) { return std::ranges::equal(a.values(), b.values()); }

/// Rows [from, to) of a token's channels, of (1, N, C).
bool same_token(const Tensor& a, const Tensor& b, int token) {
  const int64_t C = a.dim(2);
  return std::equal(a.data() + token * C, a.data() + (token + 1) * C, b.data() + token * C);
}

// ---- what attention sees ---------------------------------------------------------------------------------------------

struct Local {
  Params params{3};
  std::unique_ptr<PositionEncoding> position = tessera::position("none", {})(Scope(params), {});
  twins::LocalAttention attn;
  explicit Local(int window) : attn(Scope(params) / "attn", config(window), {}) {}
  static twins::LocalAttention::Config config(int window) {
    twins::LocalAttention::Config c;
    c.dim = 8, c.num_heads = 2, c.window = window;
    c.qkv_init.weight = normal(0.5);
    return c;
  }
  Tensor operator()(const Tensor& x, const Grid& map) const { return attn.mix({}, x, map, *position); }
};

TWIN_CASE("local attention: no token hears of another window, and every token of its own does") {
  const Local lsa(3);
  for (const Grid map : {Grid{6, 9, 0}, {7, 5, 0}, {3, 4, 0}, {2, 2, 0}, {1, 7, 0}}) {
    CAPTURE(map.h);
    const Tensor x = waves({1, map.tokens(), 8}), before = lsa(x, map);
    for (int token = 0; token < map.tokens(); ++token) {
      Tensor moved = x.copy();
      for (int c = 0; c < 8; ++c) moved[token * 8 + c] += 1;
      const Tensor after = lsa(moved, map);
      for (int t = 0; t < map.tokens(); ++t) {
        const bool together =
            t / map.w / 3 == token / map.w / 3 && t % map.w / 3 == token % map.w / 3;  // unshifted windows of 3 x 3
        CHECK(same_token(before, after, t) == !together);
      }
    }
  }
}

TWIN_CASE("local attention: a window at the border is attention among the cells it has, so that padding is no key") {
  const Local lsa(4);
  const Grid map{6, 9, 0};
  const Tensor x = waves({2, map.tokens(), 8}), whole = lsa(x, map).reshape({2, map.h, map.w, 8});
  for (const auto& [y0, y1, x0, x1] : {std::array{4, 6, 8, 9}, {4, 6, 0, 4}, {0, 4, 8, 9}, {0, 4, 4, 8}}) {
    const Grid part{y1 - y0, x1 - x0, 0};
    const auto cut = [&, a = y0, b = y1, c = x0, d = x1](const Tensor& m) {
      return slice(slice(m.reshape({2, map.h, map.w, 8}), 1, a, b), 2, c, d).reshape({2, part.tokens(), 8});
    };
    const Tensor alone = lsa(cut(x), part), among = cut(whole);
    for (int64_t i = 0; i < alone.size(); ++i)
      CHECK(static_cast<double>(alone[i]) == doctest::Approx(static_cast<double>(among[i])).epsilon(1e-5));
  }
}

TWIN_CASE("reduced attention: rows and columns that the ratio leaves over ask, and are no keys") {
  const Grid map{5, 7, 0};
  Params params(3);
  const ReducedAttention attn(Scope(params), {.dim = 8, .num_heads = 2, .sr_ratio = 2}, {});
  const auto none = position("none", {})(Scope(params), {});
  const Tensor x = waves({1, map.tokens(), 8}), before = attn({}, x, map, *none);
  for (int token = 0; token < map.tokens(); ++token) {
    Tensor moved = x.copy();
    for (int c = 0; c < 8; ++c) moved[token * 8 + c] += static_cast<real>(1 + c);
    const Tensor after = attn({}, moved, map, *none);
    const bool left_over = token / map.w == 4 || token % map.w == 6;
    for (int t = 0; t < map.tokens(); ++t) CHECK(same_token(before, after, t) == (left_over && t != token));
  }
}

// ---- sizes and class tokens --------------------------------------------------------------------------------------------

const std::vector<std::pair<const char*, Options>>& smalls() {
  static const auto all = [] {
    const Options pvt = small_options(model("pvt")), twins = small_options(model("twins"));
    Options mean = pvt, pcpvt = twins;
    mean["global_pool"] = "avg", pcpvt["wss"] = Sizes{1, 1};
    return std::vector<std::pair<const char*, Options>>{
        {"pvt", pvt}, {"pvt", mean}, {"twins", twins}, {"twins", pcpvt}, {"cpvt", small_options(model("cpvt"))}};
  }();
  return all;
}

TWIN_CASE("pyramids: images of any size, whatever patches, windows and reductions leave over") {
  for (const auto& [name, options] : smalls()) {
    if (name == std::string("cpvt")) continue;  // a ViT takes whole patches
    Params params(1);
    const auto net = make(params, name, options);
    for (const auto& [H, W] : {std::pair{32, 32}, {33, 35}, {29, 41}, {64, 48}, {9, 70}}) {
      CAPTURE(H);
      Input in(waves({2, H, W, 2}));
      in.features = true;
      const Output out = net->forward({}, in);
      CHECK(out.logits.shape() == Shape{2, 3});
      for (real v : out.logits.values()) CHECK(std::isfinite(v));
      REQUIRE(out.stages.size() == 2);
      CHECK(out.stages[0].shape() == Shape{2, H / 4, W / 4, 16});
      CHECK(out.stages[1].shape() == Shape{2, H / 4 / 2, W / 4 / 2, 24});
    }
    for (const auto& [H, W] : {std::pair{3, 32}, {32, 7}, {4, 4}})
      CHECK(error_of([&, h = H, w = W] { net->forward({}, waves({1, h, w, 2})); }) != "");
    CHECK(error_of([&] { net->forward({}, waves({2, 32, 32})); }).find("(B, H, W, 2)") != std::string::npos);
    CHECK(error_of([&] { net->forward({}, waves({2, 32, 32, 3})); }).find("in_chans = 2") != std::string::npos);
  }
}

TWIN_CASE("pvt: the class token stands in the last stage alone") {
  const Places at = model("pvt").places({});
  REQUIRE(at.tokens.size() == 3);
  CHECK(at.tokens[1].trained == Grid{8, 8, 0});
  CHECK(at.tokens[2].trained == Grid{4, 4, 1});
  for (const Site& s : at.sites) {
    CHECK(s.trained.q.prefix == (s.stage == 2 ? 1 : 0));
    CHECK(s.trained.k.tokens() == (s.stage == 2 ? 17 : 16));
  }
  CHECK(model("pvt").places({{"global_pool", "avg"}}).tokens[2].trained == Grid{4, 4, 0});

  Params params(1), mean(1);
  const auto net = make(params, "pvt");
  Input in(waves({2, 32, 32, 3}));
  in.features = true;
  const Output before = net->forward({}, in);
  CHECK(before.stages[2].shape() == Shape{2, 4, 4, 192});
  for (real& v : params.find("cls_token")->value.values()) v += 1;
  params.commit();
  const Output after = net->forward({}, in);
  for (size_t s = 0; s < 2; ++s) CHECK(equal(before.stages[s], after.stages[s]));
  CHECK_FALSE(equal(before.stages[2], after.stages[2]));
  CHECK_FALSE(equal(before.logits, after.logits));
  make(mean, "pvt", {{"global_pool", "avg"}});
  CHECK_FALSE(mean.find("cls_token"));
  CHECK(params.count() - mean.count() == 2 * 192);  // and its row of the last table
}

// ---- positions ---------------------------------------------------------------------------------------------------------

TWIN_CASE("pyramids: every encoding reaches all its parameters and runs at another size, or is refused with a reason") {
  std::string refused;
  for (const auto& row : positions())
    for (const auto& [name, options] : smalls()) {
      CAPTURE(row.name);
      CAPTURE(name);
      const std::string why =
          error_of([&, n = name, &o = options] { check_position(row.name, {}, model(n).places(o)); });
      if (!why.empty()) {
        refused += fmt::format("{} in {}; ", row.name, name);
        CHECK(why.find('\n') == std::string::npos);
        continue;
      }
      Params params(1);
      const auto net = make(params, name, options, row.name);
      Grads grads;
      {
        Tape tape;
        const Tensor y = net->forward({}, waves({2, 32, 32, 2})).logits;
        tape.backward(y, waves(y.shape()), grads);
      }
      for (const auto& e : params.entries()) {
        CAPTURE(e.name);
        if (e.buffer) continue;
        REQUIRE(grads.has(e.value));
        for (real v : grads.of(e.value).values()) REQUIRE(std::isfinite(v));
      }
      const Tensor y = net->forward({}, waves({1, 40, 28, 2})).logits;
      for (real v : y.values()) CHECK(std::isfinite(v));
    }
  // a neighbourhood of the query's own map takes the place of global attention, which windows and reduced keys are not; gates are summed
  // over whole maps, which windows cut
  CHECK(refused ==
        "sasa in pvt; sasa in pvt; sasa in twins; sasa in twins; forget in twins; forget_profiles in twins; ");
}

TWIN_CASE("twins and cpvt: PEG after the first block, and after others when asked for") {
  const auto convolutions = [](const char* name, const Options& options, const Sizes& after) {
    Params params(1, Draw::no);
    model(name).make(Scope(params), options, position("peg", {{"after", after}}));
    std::vector<std::string> names;
    for (const auto& e : params.entries())
      if (e.name.starts_with("pos_block") && e.name.ends_with("weight")) {
        CHECK(e.decay == Decay::no);
        names.push_back(e.name);
      }
    return names;
  };
  using Names = std::vector<std::string>;
  const Options depths{{"depths", Sizes{1, 2, 3}}};
  CHECK(convolutions("twins", depths, {0}) ==
        Names{"pos_block.0.proj.0.weight", "pos_block.1.proj.0.weight", "pos_block.2.proj.0.weight"});
  CHECK(convolutions("twins", depths, {0, 1}) == Names{"pos_block.0.proj.0.weight", "pos_block.1.proj.0.weight",
                                                       "pos_block.1.2.proj.0.weight", "pos_block.2.proj.0.weight",
                                                       "pos_block.2.2.proj.0.weight"});
  CHECK(convolutions("cpvt", {}, {0, 2}) == Names{"pos_block.1.proj.0.weight", "pos_block.3.proj.0.weight"});
  CHECK(convolutions("pvt", {}, {0}).size() == 3);
}

// ---- weights -----------------------------------------------------------------------------------------------------------

TWIN_CASE("pyramids: parameter counts of the authors' code and timm's") {
  const std::pair<const char*, int64_t> published[] = {
      {"pvt_tiny", 13'229'288},
      {"pvt_small", 24'485'864},
      {"pvt_medium", 44'208'104},
      {"pvt_large", 61'369'320},
      {"twins_pcpvt_small", 24'106'216},
      {"twins_pcpvt_base", 43'828'456},
      {"twins_pcpvt_large", 60'989'672},
      {"twins_svt_small", 24'060'776},
      {"twins_svt_base", 56'070'952},
      {"twins_svt_large", 99'271'400},
      // a ViT's, without pos_embed, with PEG
      {"cpvt_tiny_patch16_224", 5'717'416 - 197 * 192 + 10 * 192},
      {"cpvt_small_patch16_224", 22'050'664 - 197 * 384 + 10 * 384},
      {"cpvt_base_patch16_224", 86'567'656 - 197 * 768 + 10 * 768},
      {"cpvt_tiny_gap_patch16_224", 5'717'416 - 198 * 192 + 10 * 192},
      {"cpvt_small_gap_patch16_224", 22'050'664 - 198 * 384 + 10 * 384}};
  for (const auto& [name, count] : published) {
    CAPTURE(name);
    Params params(1, Draw::no);
    make(params, name);
    CHECK(params.count() == count);
  }
}

TWIN_CASE("twins: convolutions start with variance 2 / fan_out, PVT's as torch does") {
  const auto deviation = [](const char* name, const char* parameter) {
    Params params(1);
    make(params, name);
    const Params::Entry* e = params.find(parameter);
    REQUIRE(e);
    double sum = 0;
    for (real v : e->value.values()) sum += static_cast<double>(v) * static_cast<double>(v);
    return std::sqrt(sum / static_cast<double>(e->value.size()));
  };
  const auto near = [](double value) { return doctest::Approx(value).epsilon(0.05); };
  CHECK(deviation("twins", "patch_embeds.1.proj.weight") == near(std::sqrt(2.0 / (4 * 96))));
  CHECK(deviation("twins", "blocks.0.1.attn.sr.weight") == near(std::sqrt(2.0 / (16 * 48))));
  CHECK(deviation("twins", "blocks.0.1.attn.sr.bias") == 0);
  CHECK(deviation("twins", "patch_embeds.0.proj.bias") == 0);
  CHECK(deviation("twins", "blocks.0.0.attn.qkv.weight") == near(0.02));
  CHECK(deviation("pvt", "block1.1.attn.sr.weight") == near(1 / std::sqrt(3.0 * 48 * 16)));  // U(+-fan_in^-1/2)
  CHECK(deviation("pvt", "patch_embed2.proj.weight") == near(1 / std::sqrt(3.0 * 48 * 4)));
  CHECK(deviation("pvt", "block3.0.attn.kv.weight") == near(0.02));
  CHECK(deviation("pvt", "pos_embed3") == near(0.02));
}

TWIN_CASE("pvt: what decays is what the authors decay") {
  Params params(1, Draw::no);
  make(params, "pvt");
  for (const auto& e : params.entries()) {
    CAPTURE(e.name);
    CHECK((e.decay == Decay::yes) == (e.value.rank() > 1 && e.name != "cls_token"));
  }
}

TWIN_CASE("pvt: weights under transformers' names give the same model") {
  const Options small = small_options(model("pvt"));
  Params ours(1), theirs(2);
  const auto a = make(ours, "pvt", small), b = make(theirs, "pvt", small);
  std::vector<io::NamedTensor> file;
  const std::map<std::string, std::string> in_block{{"norm1", "layer_norm_1"},
                                                    {"norm2", "layer_norm_2"},
                                                    {"attn.q", "attention.self.query"},
                                                    {"attn.sr", "attention.self.sequence_reduction"},
                                                    {"attn.norm", "attention.self.layer_norm"},
                                                    {"attn.proj", "attention.output.dense"},
                                                    {"mlp.fc1", "mlp.dense1"},
                                                    {"mlp.fc2", "mlp.dense2"}};
  for (const auto& e : ours.entries()) {
    const auto put = [&](const std::string& name, const Tensor& t) { file.emplace_back(name, t); };
    const std::string kind = e.name.substr(e.name.rfind('.') + 1);
    const auto starts = [&](const char* with) { return e.name.starts_with(with); };
    const auto stage = [&](const char* word) { return std::to_string(e.name[std::string(word).size()] - '1'); };
    if (starts("head.")) put("classifier." + kind, e.value);
    if (starts("norm.")) put("pvt.encoder.layer_norm." + kind, e.value);
    if (starts("cls_token")) put("pvt.encoder.patch_embeddings.1.cls_token", e.value);
    if (starts("pos_embed"))
      put("pvt.encoder.patch_embeddings." + stage("pos_embed") + ".position_embeddings", e.value);
    if (starts("patch_embed"))
      put("pvt.encoder.patch_embeddings." + stage("patch_embed") +
              (e.name.find(".proj.") != std::string::npos ? ".projection." : ".layer_norm.") + kind,
          e.value);
    if (!starts("block")) continue;
    const std::string block = "pvt.encoder.block." + stage("block") + "." + e.name.substr(7, 2);  // "block1.0."
    const std::string part = e.name.substr(9, e.name.rfind('.') - 9);
    if (part == "attn.kv") {
      const int half = e.value.dim(0) / 2;
      put(block + "attention.self.key." + kind, slice(e.value, 0, 0, half));
      put(block + "attention.self.value." + kind, slice(e.value, 0, half, 2 * half));
    } else {
      put(block + in_block.at(part) + "." + kind, e.value);
    }
  }
  const std::string path = "pvt_dialect_" TESSERA_STRING(TESSERA_NS) ".safetensors";
  io::write_tensors(path, file);
  io::load(theirs, path, {.dialect = model("pvt").dialect});
  std::remove(path.c_str());
  const Tensor x = waves({2, 32, 32, 2});
  CHECK(equal(a->forward({}, x).logits, b->forward({}, x).logits));
}

// ---- what makes no sense -------------------------------------------------------------------------------------------------

TWIN_CASE("pyramids: configurations that make no sense are refused with one clear line") {
  const auto has = [](const char* name, const Options& options, const char* words) {
    const std::string why = error_of([&] { model(name).places(options); });
    CAPTURE(why);
    CHECK(why.find(words) != std::string::npos);
    CHECK(why.find('\n') == std::string::npos);
  };
  for (const char* name : {"pvt", "twins"}) {
    has(name, {{"depths", Sizes{2, 2}}}, "depths has 2 stages and embed_dims 3");
    has(name, {{"sr_ratios", Sizes{4, 2, 1, 1}}}, "depths has 3 stages and sr_ratios 4");
    has(name, {{"num_heads", Sizes{1, 2, 5}}}, "stage 3: 5 heads do not divide the width 192");
    has(name, {{"mlp_ratios", std::vector<double>{4, 0.001, 4}}}, "stage 2: mlp_ratio 0.001");
    has(name, {{"depths", Sizes{2, 0, 2}}}, "depths");
    has(name, {{"sr_ratios", Sizes{4, 0, 1}}}, "sr_ratios");
    has(name, {{"sr_ratios", Sizes{32, 2, 1}}}, "stage 1 has a map of 16 x 16, of which sr_ratio 32 leaves no key");
    has(name, {{"img_size", 6}, {"img_width", 32}}, "stage 1 has a map of 3 x 16");
    has(name, {{"img_size", 6}, {"sr_ratios", Sizes{1, 1, 1}}}, "stage 3 cuts a map of 1 x 1 into patches of 2 x 2");
    has(name, {{"patch_size", 64}}, "stage 1 cuts a map of 32 x 32 into patches of 64 x 64");
    has(name, {{"embed_dims", Sizes{65536, 65536, 65536}}, {"num_heads", Sizes{1, 1, 1}}}, "more than 2^30 weights");
    has(name, {{"img_size", 16384}, {"patch_size", 1}}, "more than 2^28 numbers");
    has(name, {{"img_size", 8192}, {"patch_size", 1}, {"sr_ratios", Sizes{1, 1, 1}}}, "multiply-accumulates");
    has(name, {{"img_size", 256}, {"embed_dims", Sizes{2048, 2048, 2048}}, {"sr_ratios", Sizes{64, 2, 1}}},
        "more than 2^30 weights");
    has(name, {{"qk_scale", -1.0}}, "qk_scale");
    has(name, {{"global_pool", "max"}}, "global_pool");
  }
  has("pvt", {{"sr_ratios", Sizes{4, 2, 2}}}, "choose global_pool = avg");
  CHECK(error_of([] { model("pvt").places({{"sr_ratios", Sizes{4, 2, 2}}, {"global_pool", "avg"}}); }) == "");
  has("twins", {{"wss", Sizes{4, 4}}}, "depths has 3 stages and wss 2");
  has("twins", {{"wss", Sizes{4, 0, 4}}}, "wss");
}

TWIN_CASE("pyramids: qk_scale is the factor of all logits") {
  for (const char* name : {"pvt", "twins"}) {
    for (const Site& s : model(name).places({{"qk_scale", 0.5}}).sites) CHECK(s.scale == 0.5);
    Params a(1), b(1);
    const Tensor x = waves({1, 32, 32, 3});
    const Tensor usual = make(a, name)->forward({}, x).logits,
                 other = make(b, name, {{"qk_scale", 5.0}})->forward({}, x).logits;
    CHECK_FALSE(equal(usual, other));
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
