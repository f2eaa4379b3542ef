#include "tests/twin/golden.h"

#include <algorithm>
#include <cmath>

#include "tessera/nn/weights.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {

double difference(const Tensor& a, const Tensor& b) {
  if (a.size() != b.size()) return INFINITY;
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= most)) most = d;  // NaN stays
  }
  return most;
}

double largest(const Tensor& a) {
  double most = 0;
  for (real v : a.values()) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}

std::string golden_file(const std::string& name, const char* kind) {
  return std::string(TESSERA_SOURCE_DIR) + "/tests/golden/data/" + name + "." + kind + ".safetensors";
}

Options swin_options(const std::string& name) {
  if (name == "swin")
    return {{"patch_size", 4},
            {"embed_dim", 12},
            {"depths", std::vector<int>{2, 1}},
            {"num_heads", std::vector<int>{2, 3}},
            {"num_classes", 5}};
  if (name == "swin_deep")
    return {{"embed_dim", 4},
            {"depths", std::vector<int>{2, 2, 1}},
            {"num_heads", std::vector<int>{1, 2, 2}},
            {"num_classes", 5}};
  if (name == "swin_rectangle")
    return {{"img_size", 16},
            {"window_size", 2},
            {"window_width", 4},
            {"embed_dim", 8},
            {"depths", std::vector<int>{2, 2}},
            {"num_heads", std::vector<int>{2, 4}},
            {"num_classes", 5}};
  REQUIRE(name == "swin_wide");
  return {{"img_size", 16},
          {"img_width", 32},
          {"window_size", 8},
          {"embed_dim", 8},
          {"depths", std::vector<int>{2, 2}},
          {"num_heads", std::vector<int>{2, 4}},
          {"qkv_bias", false},
          {"num_classes", 5}};
}

Options swin_v2_options(const std::string& name) {
  if (name == "swin_v2")
    return {{"patch_size", 4},
            {"embed_dim", 8},
            {"depths", std::vector<int>{2, 1}},
            {"num_heads", std::vector<int>{2, 4}},
            {"num_classes", 5}};
  if (name == "swin_v2_point")
    return {{"img_size", 8},
            {"window_size", 2},
            {"embed_dim", 4},
            {"depths", std::vector<int>{2, 1, 1}},
            {"num_heads", std::vector<int>{1, 2, 4}},
            {"num_classes", 5}};
  if (name == "swin_v2_rectangle") return swin_options("swin_rectangle");
  REQUIRE(name == "swin_v2_wide");
  Options wide = swin_options("swin_wide");
  wide["depths"] = std::vector<int>{2, 1};
  return wide;
}

Options swin_v2_bias(const std::string& name) {
  Options bias{{"hidden", 24}};
  if (name == "swin_v2_wide") bias["pretrained_window_size"] = 4;
  return bias;
}

Tensor channels_last(const Tensor& x) {
  const auto [B, C, H, W] = x.dims<4>();
  Tensor y({B, H, W, C});
  int64_t i = 0;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t c = 0; c < C; ++c)
      for (int64_t p = 0; p < int64_t{H} * W; ++p) y[(b * H * W + p) * C + c] = x[i++];
  return y;
}

namespace {

Ints whole(const Tensor& t) {
  Ints n = t.rank() == 2 ? Ints(t.dim(0), t.dim(1)) : Ints(t.dim(0));
  for (int64_t i = 0; i < t.size(); ++i) n.data()[i] = static_cast<int32_t>(t[i]);
  return n;
}

/// A gradient or map of a file in our layout.
Tensor ours(const Tensor& t) { return t.rank() == 4 ? channels_last(t) : t; }

}  // namespace

Input golden_input(const std::string& name) {
  const io::TensorFile file(golden_file(name, "input"));
  Input in;
  const Tensor input = file.read("input");
  if (input.rank() == 2) {
    in.tokens = whole(input);
  } else {
    in.x = ours(input);
  }
  if (file.has("target")) in.target = whole(file.read("target"));
  if (file.has("lengths")) in.lengths = whole(file.read("lengths"));
  if (file.has("target_lengths")) in.target_lengths = whole(file.read("target_lengths"));
  return in;
}

GoldenErrors check_golden(const std::string& name, const std::string& model_name, const Options& options,
                          const GoldenRun& how) {
  const io::TensorFile file(golden_file(name, "golden")), given(golden_file(name, "input"));
  const ModelRow& row = model(model_name);
  Params params(1);
  const auto net = row.make(Scope(params), options,
                            position(how.position.empty() ? row.position : how.position, how.position_options));
  io::load(params, golden_file(name, "weights"));

  Tape tape;
  Grads grads;
  Input input = golden_input(name);
  if (input.x) input.x = tape.watch(input.x);
  input.features = file.has("feature.0");
  const Tensor x = input.x;
  std::vector<BatchStatistics> statistics;
  Collecting collecting(statistics);
  const Output out = net->forward(Run{.mode = how.mode}, input);
  GoldenErrors e;
  e.logits = difference(out.logits, file.read("logits"));
  for (size_t i = 0; file.has("feature." + std::to_string(i)); ++i) {
    const double d =
        i < out.stages.size() ? difference(out.stages[i], ours(file.read("feature." + std::to_string(i)))) : INFINITY;
    if (!(d <= e.logits)) e.logits = d;
  }
  tape.backward(out.logits, given.read("cotangent"), grads);

  const auto trained = [](const Params::Entry& p) { return !p.buffer && p.value.leaf()->trainable; };
  double scale = 0;
  for (const auto& p : params.entries())
    if (trained(p)) scale = std::max(scale, largest(file.read("grad." + p.name)));
  const auto compare = [&](const std::string& what, const Tensor& got, const Tensor& want) {
    const double error = difference(got, want) / std::max(largest(want), 1e-3 * scale);
    if (!(error <= e.gradients)) e.gradients = error, e.worst = what;
  };
  if (x) compare("input", tape.grad(x), ours(file.read("grad.input")));
  for (const auto& p : params.entries())
    if (trained(p)) compare(p.name, grads.of(p.value), file.read("grad." + p.name));
  return e;
}

}  // namespace TESSERA_NS
}  // namespace tessera
