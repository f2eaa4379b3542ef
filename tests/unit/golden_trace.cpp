// Ten steps of AdamW on a ViT and a Swin against PyTorch: tests/golden/vit.py and swin.py wrote the losses. Nothing of the trainer is used but the optimiser.
#include <doctest/doctest.h>

#include <cmath>

#include "tessera/nn/weights.h"
#include "tessera/train/training/optim.h"
#include "tests/twin/golden.h"

namespace tessera {
namespace {

/// Mean cross-entropy with label smoothing, and its gradient in dz, written out in double.
double loss_of(const Tensor& z, const Tensor& labels, double smoothing, Tensor& dz) {
  const auto [B, K] = z.dims<2>();
  double loss = 0;
  for (int b = 0; b < B; ++b) {
    const float* row = z.data() + b * K;
    double most = row[0], sum = 0;
    for (int k = 1; k < K; ++k) most = std::max<double>(most, row[k]);
    for (int k = 0; k < K; ++k) sum += std::exp(row[k] - most);
    for (int k = 0; k < K; ++k) {
      const double target = smoothing / K + (k == static_cast<int>(labels[b]) ? 1 - smoothing : 0);
      const double log_p = row[k] - most - std::log(sum);
      loss -= target * log_p / B;
      dz[b * K + k] = static_cast<float>((std::exp(log_p) - target) / B);
    }
  }
  return loss;
}

void check_trace(const std::string& name, const std::string& model_name, const Options& options) {
  const io::TensorFile file(golden_file(name, "golden"));
  const ModelRow& row = model(model_name);
  Params params(1);
  const auto net = row.make(Scope(params), options, position(row.position));
  io::load(params, golden_file(name, "weights"));
  AdamW optimiser(params, {.weight_decay = 0.05, .clip_grad = 1});
  const Tensor x = channels_last(io::TensorFile(golden_file(name, "input")).read("input")),
               labels = file.read("labels"), trace = file.read("trace");
  REQUIRE(trace.size() == 10);
  for (int64_t step = 0; step < trace.size(); ++step) {
    Tape tape;
    Grads grads;
    const Tensor z = net->forward({Mode::train, 0, static_cast<uint64_t>(step), 0}, x).logits;
    Tensor dz(z.shape());
    const double loss = loss_of(z, labels, 0.1, dz);
    tape.backward(z, dz, grads);
    optimiser.step(grads, 1e-2);
    CAPTURE(name);
    CAPTURE(step);
    CHECK(std::abs(loss - static_cast<double>(trace[step])) <= 1e-4);
  }
}

TEST_CASE("golden: ten AdamW steps of ViT and SimpleViT give PyTorch's losses") {
  const auto check = [](const std::string& name, const std::string& model, Options options) {
    for (const auto& [key, value] : Options{{"img_size", 16},
                                            {"patch_size", 4},
                                            {"embed_dim", 24},
                                            {"depth", 2},
                                            {"num_heads", 3},
                                            {"mlp_ratio", 2},
                                            {"num_classes", 5}})
      options.emplace(key, value);
    check_trace(name, model, options);
  };
  check("vit_token", "vit", {});
  check("vit_avg", "vit", {{"class_token", false}, {"global_pool", "avg"}, {"qkv_bias", false}});
  check("vit_layerscale", "vit",
        {{"img_size", 12}, {"img_width", 20}, {"init_values", 0.1}, {"no_embed_class", true}, {"global_pool", "avg"}});
  check("vit_resized", "vit", {});
  check("simple_vit", "simple_vit", {{"img_width", 12}});
}

TEST_CASE("golden: ten AdamW steps of Swin give timm's losses") {
  for (const char* name : {"swin", "swin_deep", "swin_wide"}) {
    Options options = swin_options(name);
    options.emplace("drop_path_rate", 0.0);
    check_trace(name, "swin", options);
  }
}

}  // namespace
}  // namespace tessera
