// `tessera forward` on files that PyTorch wrote (tests/golden/vit.py): logits, features and every gradient against timm's.
#include <algorithm>
#include <cmath>

#include "core/io/tensor_file.h"
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

}  // namespace

TEST_CASE("forward: logits and gradients of timm's models, through files") {
  const std::vector<std::string> small = {"img_size=16", "patch_size=4", "embed_dim=24", "depth=2",
                                          "num_heads=3", "mlp_ratio=2",  "num_classes=5"};
  const Golden cases[] = {
      {"vit_token", "vit", {}},
      {"vit_avg", "vit", {"class_token=false", "global_pool=avg", "qkv_bias=false"}},
      {"vit_layerscale",
       "vit",
       {"img_size=12", "img_width=20", "init_values=0.1", "no_embed_class=true", "global_pool=avg"}},
      {"vit_resized", "vit", {}},
      {"simple_vit", "simple_vit", {"img_width=12"}},
  };
  for (const Golden& g : cases) {
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
    args.insert(args.end(), small.begin(), small.end());
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
}

}  // namespace tessera::test
