// Image relative position encoding against its authors' code: tests/golden/irpe.py wrote the numbers under their own names, which are ours.
#include <algorithm>

#include "tessera/nn/layers.h"
#include "tessera/nn/position/irpe_index.h"
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check(const std::string& name, const Options& options, bool class_token) {
  CAPTURE(name);
  const io::TensorFile file(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/attention_irpe_" + name +
                            ".safetensors");
  const Grid grid{5, 5, class_token ? 1 : 0};
  const Layout now{grid, grid, {}, 1, false};
  Attention::Config config;
  config.dim = 8, config.num_heads = 2;
  Params params(1);
  Places at;
  at.sites = {Site{0, 0, 0, 8, 2, 4, config.scale(), now, "attn"}};
  const auto position = tessera::position("irpe", options)(Scope(params), at);
  const Attention attn(Scope(params) / "attn", config);
  const auto theirs = [](const std::string& mine) { return mine.substr(std::string("attn.").size()); };
  for (const auto& e : params.entries()) {
    const Tensor value = file.read(theirs(e.name));
    REQUIRE_MESSAGE(value.shape() == e.value.shape(), e.name);
    std::copy_n(value.data(), value.size(), e.value.data());
  }
  params.commit();
  Tape tape;
  Grads grads;
  const Tensor x = tape.watch(file.read("x"));
  const Tensor y = attn({}, x, global_pattern(x.dim(1), x.dim(1)), *position, at.sites[0], now);
  tape.backward(y, file.read("cotangent"), grads);
  const double bound = sizeof(real) == 8 ? 1e-12 : 1e-5;
  CHECK(difference(y, file.read("y")) <= bound);
  const auto close = [&](const std::string& what, const Tensor& got) {
    const Tensor want = file.read("grad." + what);
    CAPTURE(what);
    CHECK(difference(got, want) <= 10 * bound * std::max(1.0, largest(want)));
  };
  close("x", tape.grad(x));
  for (const auto& e : params.entries()) close(theirs(e.name), grads.of(e.value));
}

TWIN_CASE("golden irpe: contextual tables on queries, keys and values, by every method") {
  check("product_qkv", {{"on", "qkv"}}, true);
  check("product_heads", {{"on", "qkv"}, {"shared_head", false}}, false);
  check("cross_qkv", {{"method", "cross"}, {"on", "qkv"}}, true);
  check("euclidean_qkv", {{"method", "euclidean"}, {"on", "qkv"}, {"shared_head", false}}, true);
  check("quant_qkv", {{"method", "quant_code"}, {"on", "qkv"}}, false);
}

TWIN_CASE("golden irpe: biases on queries are transposed, as the contextual tables are") {
  const Options bias{{"mode", "bias"}, {"on", "qk"}};
  const auto with = [&](Options more) {
    more.insert(bias.begin(), bias.end());
    return more;
  };
  check("bias_product_q", with({{"on", "q"}}), true);
  check("bias_product_qk", with({{"shared_head", false}}), false);
  check("bias_cross_qk", with({{"method", "cross"}}), true);
  check("bias_euclidean_qk", with({{"method", "euclidean"}, {"shared_head", false}}), false);
  check("bias_quant_qk", with({{"method", "quant_code"}}), true);
}

TWIN_CASE("golden irpe: buckets of other grids and ratios") {
  const io::TensorFile file(std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/attention_irpe_buckets.safetensors");
  const std::pair<const char*, IrpeMethod> methods[] = {{"product", IrpeMethod::product},
                                                        {"euclidean", IrpeMethod::euclidean},
                                                        {"quant", IrpeMethod::quant_code},
                                                        {"rows", IrpeMethod::rows},
                                                        {"columns", IrpeMethod::columns}};
  for (const auto& [name, method] : methods)
    for (const Grid& g : {Grid{3, 7, 0}, Grid{4, 16, 0}})
      for (const char* ratio : {"1.0", "1.5", "1.9", "2.0", "2.5", "3.0", "4.0"}) {
        const std::string what = fmt::format("{}_{}x{}_{}", name, g.h, g.w, ratio);
        CAPTURE(what);
        const Tensor want = file.read(what);
        const int N = g.h * g.w, step = std::max(1, N / 21);
        const RelativeIndex got = irpe_pairs({g, g, {}, 1, false}, method, std::stod(ratio), false);
        int wrong = 0;
        for (int64_t i = 0; i < want.size(); ++i)
          wrong += static_cast<int>(want[i]) != got->at[static_cast<size_t>(i / N * step * N + i % N)];
        CHECK(wrong == 0);
      }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
