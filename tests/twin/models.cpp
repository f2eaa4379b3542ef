// The registry of models: sizes, names, places, errors, and what every model promises.
#include <cmath>
#include <cstdio>

#include "tessera/core/ops/slice.h"
#include "tessera/models/model.h"
#include "tessera/models/vit.h"
#include "tests/twin/small_models.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

int64_t parameters(const char* name, const Options& options = {}) {
  const ModelRow& row = model(name);
  Params params(1, Draw::no);
  row.make(Scope(params), options, position(row.position));
  return params.count();
}

TWIN_CASE("models: parameter counts of the published networks") {
  CHECK(parameters("vit_tiny_patch16_224") == 5'717'416);
  CHECK(parameters("vit_small_patch16_224") == 22'050'664);
  CHECK(parameters("vit_base_patch16_224") == 86'567'656);
  CHECK(parameters("vit_cifar_small") == 811'146);
  CHECK(parameters("vit") == 811'146);
  // One class row less in pos_embed, no cls_token; fc_norm instead of norm.
  CHECK(parameters("vit_cifar_small", {{"class_token", false}, {"global_pool", "avg"}}) == 811'146 - 2 * 128);
  CHECK(parameters("vit_cifar_small", {{"init_values", 1e-5}}) == 811'146 + 6 * 2 * 128);
}

TWIN_CASE("models: timm's names") {
  Params params(1);
  model("vit").make(Scope(params), {{"depth", 1}, {"init_values", 0.1}}, position("learned"));
  std::vector<std::string> names;
  for (const auto& e : params.entries()) names.push_back(e.name);
  CHECK(names == std::vector<std::string>{"cls_token",
                                          "pos_embed",
                                          "patch_embed.proj.weight",
                                          "patch_embed.proj.bias",
                                          "blocks.0.norm1.weight",
                                          "blocks.0.norm1.bias",
                                          "blocks.0.attn.qkv.weight",
                                          "blocks.0.attn.qkv.bias",
                                          "blocks.0.attn.proj.weight",
                                          "blocks.0.attn.proj.bias",
                                          "blocks.0.ls1.gamma",
                                          "blocks.0.norm2.weight",
                                          "blocks.0.norm2.bias",
                                          "blocks.0.mlp.fc1.weight",
                                          "blocks.0.mlp.fc1.bias",
                                          "blocks.0.mlp.fc2.weight",
                                          "blocks.0.mlp.fc2.bias",
                                          "blocks.0.ls2.gamma",
                                          "norm.weight",
                                          "norm.bias",
                                          "head.weight",
                                          "head.bias"});
  Params avg(1);
  model("vit").make(Scope(avg), {{"depth", 0}, {"global_pool", "avg"}}, position("none"));
  CHECK(avg.find("fc_norm.weight"));
  CHECK_FALSE(avg.find("norm.weight"));
  CHECK_FALSE(avg.find("pos_embed"));
  for (const char* name : {"cls_token", "patch_embed.proj.bias", "fc_norm.weight"})
    CHECK(avg.find(name)->decay == Decay::no);
  CHECK(avg.find("patch_embed.proj.weight")->decay == Decay::yes);
}

TWIN_CASE("models: places need no weights") {
  const Places p =
      model("vit").places({{"img_size", 16}, {"img_width", 24}, {"embed_dim", 64}, {"head_dim", 8}, {"depth", 3}});
  REQUIRE(p.sites.size() == 3);
  REQUIRE(p.tokens.size() == 1);
  REQUIRE(p.between.size() == 4);
  CHECK(p.sites[2].path == "blocks.2.attn");
  CHECK(p.sites[2].head_dim == 8);
  CHECK(p.sites[2].scale == doctest::Approx(1 / std::sqrt(8.0)));
  CHECK(p.sites[2].trained.q == Grid{4, 6, 1});
  CHECK(p.tokens[0].name == "pos_embed");
  CHECK(model("vit").places({{"no_embed_class", true}}).tokens[0].trained == Grid{8, 8, 0});
  CHECK(model("simple_vit").places({}).tokens[0].trained == Grid{8, 8, 0});
}

std::string refusal(const char* name, const Options& options) {
  try {
    model(name).places(options);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TWIN_CASE("models: configurations that make no sense are refused with one clear line") {
  CHECK(refusal("vit_tinny", {}).find("unknown name \"vit_tinny\"") != std::string::npos);
  CHECK(refusal("vit", {{"embed_dimm", 3}}).find("did you mean \"embed_dim\"") != std::string::npos);
  CHECK(refusal("vit", {{"patch_size", 5}}).find("32 x 32") != std::string::npos);
  CHECK(refusal("vit", {{"num_heads", 5}}).find("5 heads do not divide the width 128") != std::string::npos);
  CHECK(refusal("vit", {{"num_heads", 5}, {"head_dim", 8}}) == "");
  CHECK(refusal("vit", {{"class_token", false}}).find("global_pool = avg") != std::string::npos);
  CHECK(refusal("vit", {{"global_pool", "agv"}}).find("did you mean \"avg\"") != std::string::npos);
  CHECK(refusal("vit", {{"drop_path_rate", 1.0}}).find("[0, 1)") != std::string::npos);
  CHECK(refusal("vit", {{"depth", -1}}).find("depth is -1") != std::string::npos);
  CHECK(refusal("vit", {{"act_layer", "gleu"}}).find("did you mean \"gelu\"") != std::string::npos);
  CHECK(refusal("vit", {{"embed_dim", 0}}).find("embed_dim is 0, expected 1 to") != std::string::npos);
}

Tensor image(int B, int H, int W, int C = 3) {
  Tensor x({B, H, W, C});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(0.7 * static_cast<double>(i)));
  return x;
}

TWIN_CASE("models: every row runs on a small image, also of another size, and gives its stages") {
  for (const auto& row : models()) {
    CAPTURE(row.name);
    if (row.input({}).kind != InputShape::Kind::image) continue;
    Options small = small_options(row);
    Params params(1);
    const auto net = row.make(Scope(params), small, position(row.position));
    for (const auto& [H, W] : {std::pair{32, 32}, std::pair{64, 48}}) {
      Input input(image(2, H, W, 2));
      input.features = true;
      const Output out = net->forward(Run{}, input);
      CHECK(out.logits.shape() == Shape{2, 3});
      for (real v : out.logits.values()) CHECK(std::isfinite(v));
      REQUIRE_FALSE(out.stages.empty());
      CHECK(out.stages[0].rank() == 4);
      CHECK(out.stages[0].dim(0) == 2);
      const int skew = std::abs(out.stages[0].dim(1) * W - out.stages[0].dim(2) * H);
      CHECK(skew < (row.family == "airbench" ? std::max(H, W) : 1));  // whose first layer does not pad: a cell
    }
    small["num_classes"] = 0;  // features instead of logits
    Params headless(1);
    const auto features = row.make(Scope(headless), small, position(row.position));
    CHECK(features->forward(Run{}, image(2, 32, 32, 2)).logits.dim(-1) > 3);
    CHECK(headless.count() < params.count());
  }
}

TWIN_CASE("vit: without pooling every token has logits") {
  Params params(1);
  const auto net = model("vit").make(Scope(params), {{"global_pool", "none"}, {"depth", 1}}, position("learned"));
  CHECK(net->forward(Run{}, image(2, 32, 32)).logits.shape() == Shape{2, 65, 10});
}

TWIN_CASE("vit: without positions and class token, permuting patches changes nothing; with them it does") {
  const auto moved = [](const char* pos) {
    Params params(1);
    const auto net = model("vit").make(
        Scope(params), {{"global_pool", "avg"}, {"class_token", false}, {"img_size", 8}, {"depth", 2}},
        position(pos, pos == std::string("learned") ? Options{{"std", 1.0}} : Options{}));
    const Tensor x = image(1, 8, 8);
    Tensor swapped = x.copy();  // the two upper patches exchanged
    for (int y = 0; y < 4; ++y)
      for (int i = 0; i < 12; ++i) std::swap(swapped[y * 24 + i], swapped[y * 24 + 12 + i]);
    const Tensor a = net->forward(Run{}, x).logits, b = net->forward(Run{}, swapped).logits;
    double most = 0;
    for (int64_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i] - b[i])));
    return most;
  };
  CHECK(moved("none") < 1e-6);
  CHECK(moved("learned") > 1e-4);
  CHECK(moved("sincos2d") > 1e-4);
  CHECK(moved("sinusoidal") > 1e-4);
}

TWIN_CASE("vit: errors name the layer") {
  Params params(1);
  const auto net = model("vit").make(Scope(params), {}, position("learned"));
  const auto error = [&](const Tensor& x) -> std::string {
    try {
      net->forward(Run{}, x);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(error(image(1, 30, 32)).find("30 x 32") != std::string::npos);
  CHECK(error(image(1, 32, 32, 4)).find("in_chans = 3") != std::string::npos);
  CHECK(error(zeros({1, 3, 32})) != "");
}

TWIN_CASE("vit: the same seed gives the same backbone under every encoding") {
  Params a(7), b(7);
  model("vit").make(Scope(a), {{"depth", 1}}, position("learned"));
  model("vit").make(Scope(b), {{"depth", 1}}, position("sincos2d"));
  for (const auto& e : b.entries()) {
    const auto* other = a.find(e.name);
    REQUIRE(other);
    for (int64_t i = 0; i < e.value.size(); ++i) REQUIRE(e.value[i] == other->value[i]);
  }
}

TWIN_CASE("vit: weights under Hugging Face's names give the same model") {
  const Options small{{"img_size", 8}, {"embed_dim", 12}, {"num_heads", 2}, {"depth", 2}, {"num_classes", 3}};
  const ModelRow& row = model("vit");
  Params ours(1), theirs(2);
  const auto a = row.make(Scope(ours), small, position("learned"));
  const auto b = row.make(Scope(theirs), small, position("learned"));
  std::vector<io::NamedTensor> file;
  const auto put = [&](const std::string& name, const Tensor& t) { file.emplace_back("vit." + name, t); };
  const auto take = [&](const std::string& name) { return ours.find(name)->value; };
  put("embeddings.cls_token", take("cls_token"));
  put("embeddings.position_embeddings", take("pos_embed"));
  put("pooler.dense.weight", zeros({12, 12}));
  for (const std::string kind : {"weight", "bias"}) {
    put("embeddings.patch_embeddings.projection." + kind, take("patch_embed.proj." + kind));
    for (int i = 0; i < 2; ++i) {
      const std::string layer = "encoder.layer." + std::to_string(i) + ".", block = "blocks." + std::to_string(i) + ".";
      const Tensor qkv = take(block + "attn.qkv." + kind);
      int part = 0;
      for (const std::string which : {"query", "key", "value"}) {
        put(layer + "attention.attention." + which + "." + kind, slice(qkv, 0, 12 * part, 12 * (part + 1)));
        ++part;
      }
      put(layer + "attention.output.dense." + kind, take(block + "attn.proj." + kind));
      put(layer + "intermediate.dense." + kind, take(block + "mlp.fc1." + kind));
      put(layer + "output.dense." + kind, take(block + "mlp.fc2." + kind));
      put(layer + "layernorm_before." + kind, take(block + "norm1." + kind));
      put(layer + "layernorm_after." + kind, take(block + "norm2." + kind));
    }
    put("layernorm." + kind, take("norm." + kind));
    file.emplace_back("classifier." + kind, take("head." + kind));
  }
  const std::string path = "vit_dialect_" TESSERA_STRING(TESSERA_NS) ".safetensors";
  io::write_tensors(path, file);
  io::load(theirs, path, {.dialect = row.dialect});
  std::remove(path.c_str());
  const Tensor x = image(2, 8, 8), y = a->forward(Run{}, x).logits, z = b->forward(Run{}, x).logits;
  for (int64_t i = 0; i < y.size(); ++i) CHECK(y[i] == z[i]);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
