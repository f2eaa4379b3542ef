// `tessera forward` on files that PyTorch wrote (tests/golden/vit.py, swin.py): logits, features and every gradient against timm's.
#include <algorithm>
#include <cmath>

#include "tessera/core/io/tensor_file.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

double largest(const Tensor& t) {
  double m = 0;
  for (const real v : t.values()) m = std::max(m, std::abs(static_cast<double>(v)));
  return m;
}

double difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  double m = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    m = std::max(m, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return m;
}

struct Golden {
  const char *name, *model;
  std::vector<std::string> options;
};

void check(const Golden& g, const std::vector<std::string>& shared) {
  CAPTURE(g.name);
  const Folder folder;
  const std::string base = TESSERA_SOURCE_DIR "/tests/golden/data/" + std::string(g.name);
  const io::TensorFile golden(base + ".golden.safetensors");
  std::vector<std::string> args = {"forward",
                                   "--model",
                                   g.model,
                                   "--weights",
                                   base + ".weights.safetensors",
                                   "--input",
                                   base + ".input.safetensors",
                                   "--output",
                                   folder / "y.safetensors",
                                   "--features"};
  args.insert(args.end(), shared.begin(), shared.end());
  args.insert(args.end(), g.options.begin(), g.options.end());
  const Result r = tessera(args);
  INFO(r.err);
  REQUIRE(r.code == 0);
  const io::TensorFile y(folder / "y.safetensors");
  CHECK(difference(y.read("logits"), golden.read("logits")) <= 1e-5);
  if (golden.has("feature.0")) CHECK(difference(y.read("feature.0"), golden.read("feature.0")) <= 1e-5);
  double most = 0;
  int gradients = 0;
  for (const std::string& name : golden.names())
    if (name.starts_with("grad.")) most = std::max(most, largest(golden.read(name))), ++gradients;
  CHECK(gradients > 10);
  for (const std::string& name : golden.names()) {
    if (!name.starts_with("grad.")) continue;
    CAPTURE(name);
    const Tensor want = golden.read(name);
    REQUIRE(y.has(name));
    // relative to the gradient's own size, or to a thousandth of the model's largest: key biases have true gradient 0
    CHECK(difference(y.read(name), want) <= 1e-4 * std::max(largest(want), 1e-3 * most));
  }
  for (const std::string& name : y.names())
    if (!name.starts_with("feature.")) CHECK_MESSAGE(golden.has(name), name);
}

}  // namespace

TEST_CASE("forward: logits and gradients of timm's ViT, through files") {
  const std::vector<std::string> small = {"img_size=16", "patch_size=4", "embed_dim=24", "depth=2",
                                          "num_heads=3", "mlp_ratio=2",  "num_classes=5"};
  for (const Golden& g : {
           Golden{"vit_token", "vit", {}},
           {"vit_avg", "vit", {"class_token=false", "global_pool=avg", "qkv_bias=false"}},
           {"vit_layerscale",
            "vit",
            {"img_size=12", "img_width=20", "init_values=0.1", "no_embed_class=true", "global_pool=avg"}},
           {"vit_resized", "vit", {}},
           {"simple_vit", "simple_vit", {"img_width=12"}},
       })
    check(g, small);
}

TEST_CASE("forward: logits and gradients of timm's Swin, through files") {
  for (const Golden& g : {
           Golden{"swin", "swin", {"patch_size=4", "embed_dim=12", "depths=[2,1]", "num_heads=[2,3]"}},
           {"swin_deep", "swin", {"embed_dim=4", "depths=[2,2,1]", "num_heads=[1,2,2]"}},
           {"swin_wide",
            "swin",
            {"img_size=16", "img_width=32", "window_size=8", "embed_dim=8", "depths=[2,2]", "num_heads=[2,4]",
             "qkv_bias=false"}},
       })
    check(g, {"num_classes=5"});
}

TEST_CASE("forward: logits and gradients of timm's Swin v2, through files") {
  check({"swin_v2", "swin_v2", {"patch_size=4", "embed_dim=8", "depths=[2,1]", "num_heads=[2,4]"}},
        {"num_classes=5", "position.hidden=24"});
}

TEST_CASE("forward: logits and gradients of torch's Transformer, through files with lengths and targets") {
  check({"transformer_post", "transformer", {"vocab_size=7"}}, {"d_model=8", "nhead=2", "dim_feedforward=12"});
  check({"transformer_pre",
         "transformer",
         {"vocab_size=9", "target_vocab_size=6", "tie=none", "num_decoder_layers=1", "norm_first=true",
          "activation=gelu"}},
        {"d_model=8", "nhead=2", "dim_feedforward=12"});
}

TEST_CASE("forward: Swin-T at 224 x 224 from seeded weights, logits and measures of timm's gradients") {
  // tests/golden/swin_tiny.py --write made the numbers from the same weights; element i is a multiple of 1/500
  const auto pattern = [](const Shape& shape, int64_t step) {
    Tensor t(shape);
    for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(static_cast<double>(i * step % 1000) / 500 - 1);
    return t;
  };
  const Folder folder;
  const std::string weights = folder / "w.safetensors", input = folder / "x.safetensors",
                    output = folder / "y.safetensors", name = "swin_tiny_patch4_window7_224";
  const RunOptions patient{.seconds = 600};  // 28 million parameters, under a sanitizer, on a busy machine
  REQUIRE(tessera({"init", "--model", name, "--seed", "1", "--output", weights}, patient).code == 0);
  io::write_tensors(input, {{"input", pattern({1, 3, 224, 224}, 7919)}, {"cotangent", pattern({1, 1000}, 6007)}});
  const Result r =
      tessera({"forward", "--model", name, "--weights", weights, "--input", input, "--output", output}, patient);
  INFO(r.err);
  REQUIRE(r.code == 0);
  const io::TensorFile golden(TESSERA_SOURCE_DIR "/tests/golden/data/swin_tiny.golden.safetensors"), y(output);
  CHECK(difference(y.read("logits"), golden.read("logits")) <= 2e-5);

  double most = 0;
  int gradients = 0;
  for (const std::string& n : golden.names())
    if (n.starts_with("grad.")) most = std::max(most, static_cast<double>(golden.read(n)[0])), ++gradients;
  CHECK(gradients == 173);
  for (const std::string& n : golden.names()) {
    if (!n.starts_with("grad.")) continue;
    CAPTURE(n);
    REQUIRE(y.has(n));
    const Tensor g = y.read(n), want = golden.read(n), p = pattern(g.shape(), 7919);
    double square = 0, product = 0;
    for (int64_t i = 0; i < g.size(); ++i) square += double{g[i]} * g[i], product += double{g[i]} * p[i];
    const double bound = 2e-4 * std::max<double>(want[0], 1e-3 * most);
    CHECK(std::abs(std::sqrt(square) - want[0]) <= bound);
    CHECK(std::abs(product - want[1]) <= bound);
  }
}

}  // namespace tessera::test
