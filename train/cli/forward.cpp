// tessera forward: a model on the tensors of a file, for exchange with other programs. Files hold PyTorch's layouts (N,
// C, H, W).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/core/io/tensor_file.h"
#include "tessera/core/parallel.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/network.h"

namespace tessera::cli {
namespace {

struct Request {
  ModelOptions model;
  std::string weights, input, output, precision = "f32";
  bool train_mode = false, features = false;
};

/// (B, outer, inner) -> (B, inner, outer): channels-first to channels-last and back.
Tensor swapped(const Tensor& x, int outer, int inner, const Shape& shape) {
  Tensor y(shape);
  const int64_t block = int64_t{outer} * inner, n = x.size() / block;
  for (int64_t b = 0; b < n; ++b)
    for (int i = 0; i < outer; ++i)
      for (int j = 0; j < inner; ++j) y[b * block + int64_t{j} * outer + i] = x[b * block + int64_t{i} * inner + j];
  return y;
}

Tensor channels_last(const Tensor& x) {
  const auto [B, C, H, W] = x.dims<4>();
  return swapped(x, C, H * W, {B, H, W, C});
}
Tensor channels_first(const Tensor& x) {
  const auto [B, H, W, C] = x.dims<4>();
  return swapped(x, H * W, C, {B, C, H, W});
}

/// A stage's map of an image; that of a sequence (B, T, C) is as PyTorch has it.
Tensor file_layout(const Tensor& x) { return x.rank() == 4 ? channels_first(x) : x; }

/// What X holds, in our layout.
struct Sample {
  Input in;
  Tensor cotangent;
};

/// B images or sequences of any size and length, as the model takes them.
void check_shape(const std::string& path, const Shape& got, const InputShape& takes) {
  using Kind = InputShape::Kind;
  const bool image = takes.kind == Kind::image, tokens = takes.kind == Kind::tokens;
  if (got.rank != (image ? 4 : tokens ? 2 : 3) || got.size() < 1)
    fail(path, "input is {}, expected {}, none of them 0", got.str(),
         image    ? "(B, C, H, W)"
         : tokens ? "(B, T)"
                  : "(B, T, F)");
  const int width = image ? got[1] : got[-1], wanted = image ? takes.channels : takes.features;
  if (!tokens && width != wanted)
    fail(path, "input {} has {} {}, the model takes {}", got.str(), width, image ? "channels" : "features", wanted);
}

/// Every value is a whole number of [0, most].
void check_whole(const std::string& path, const char* name, const Tensor& t, int most) {
  for (const real v : t.values())
    if (const double n = static_cast<double>(v); !(n >= 0 && n <= most && n == std::trunc(n)))
      fail(path, "{} holds {}, expected integers from 0 to {}", name, n, most);
}

/// Whole numbers of [0, most], `rows` of them or of rows; none where the file has no such tensor.
Ints read_numbers(const io::TensorFile& file, const std::string& path, const char* name, int rank, int rows, int most) {
  if (!file.has(name)) return {};
  const Tensor t = file.read(name);
  if (t.rank() != rank || t.dim(0) != rows || t.size() < 1)
    fail(path, "{} is {}, expected ({}{})", name, t.shape().str(), rows, rank == 2 ? ", S" : "");
  check_whole(path, name, t, most);
  Ints n(rows, rank == 2 ? t.dim(1) : 1);
  std::transform(t.values().begin(), t.values().end(), n.data(), [](real v) { return static_cast<int32_t>(v); });
  return n;
}

Sample read_input(const std::string& path, const InputShape& takes) {
  const io::TensorFile file(path);
  if (!file.has("input"))
    fail(path, "there is no tensor named input; the file holds {}", fmt::join(file.names(), ", "));
  constexpr std::string_view read[] = {"input", "cotangent", "lengths", "target", "target_lengths"};
  for (const std::string& name : file.names())
    if (std::ranges::find(read, name) == std::end(read))
      say("{}: {} is not read; {} are", path, name, fmt::join(read, ", "));
  for (const char* name : {"input", "cotangent"}) {
    if (!file.has(name)) continue;
    const Tensor t = file.read(name);
    const auto bad = std::count_if(t.values().begin(), t.values().end(), [](real v) { return !std::isfinite(v); });
    if (bad > 0) fail(path, "{} holds NaN or infinity in {} of its {} values", name, bad, t.size());
  }
  Sample s;
  const bool image = takes.kind == InputShape::Kind::image;
  const Tensor x = file.read("input");
  const Shape got = x.shape();
  check_shape(path, got, takes);
  if (takes.kind == InputShape::Kind::tokens) {
    s.in.tokens = read_numbers(file, path, "input", 2, got[0], takes.vocabulary - 1);
  } else {
    s.in.x = image ? channels_last(x) : x;
  }
  if (file.has("cotangent")) s.cotangent = file.read("cotangent");
  if (file.has("lengths") && image)
    fail(path, "lengths belongs to padded sequences, but this model reads images; leave it out");
  s.in.lengths = read_numbers(file, path, "lengths", 1, got[0], got[1]);
  for (const char* name : {"target", "target_lengths"})
    if (file.has(name) && takes.target == 0) fail(path, "{} is for a decoder, which this model has not", name);
  s.in.target = read_numbers(file, path, "target", 2, got[0], takes.target - 1);
  s.in.target_lengths = read_numbers(file, path, "target_lengths", 1, got[0], s.in.target.width());
  return s;
}

int forward(const Request& r) {
  use_precision(r.precision);
  use_threads(r.model.threads);
  RunConfig config = r.model.resolve("forward");
  if (r.train_mode) without_dropout(config);
  const Network net = build(config, 0, Draw::no);
  load(net, config, r.weights);
  const Sample sample = read_input(r.input, net.input);

  std::vector<io::NamedTensor> out;
  const auto work = [&] {
    Input input = sample.in;
    input.features = r.features;
    Run run;
    run.mode = r.train_mode ? Mode::train : Mode::eval;
    std::vector<BatchStatistics> statistics;
    Collecting collecting(statistics);
    if (!sample.cotangent) {
      const Output y = net.model->forward(run, input);
      out.emplace_back("logits", y.logits);
      for (size_t i = 0; i < y.stages.size(); ++i)
        out.emplace_back("feature." + std::to_string(i), file_layout(y.stages[i]));
      return;
    }
    Tape tape;
    Grads grads;
    if (sample.in.x) input.x = tape.watch(sample.in.x);
    const Output y = net.model->forward(run, input);
    if (!(sample.cotangent.shape() == y.logits.shape()))
      fail(r.input, "cotangent is {}, the logits are {}", sample.cotangent.shape().str(), y.logits.shape().str());
    tape.backward(y.logits, sample.cotangent, grads);
    out.emplace_back("logits", y.logits.detach());
    for (size_t i = 0; i < y.stages.size(); ++i)
      out.emplace_back("feature." + std::to_string(i), file_layout(y.stages[i].detach()));
    if (input.x) {
      const Tensor dx = tape.grad(input.x) ? tape.grad(input.x) : zeros(input.x.shape());
      out.emplace_back("grad.input", file_layout(dx.reshape(input.x.shape())));
    }
    for (const auto& e : net.params->entries())
      if (!e.buffer && e.value.leaf()->trainable)
        out.emplace_back("grad." + e.name, grads.has(e.value) ? grads.of(e.value) : zeros(e.value.shape()));
  };
  // one shard: BatchNorm sees the whole batch
  if (r.train_mode) {
    parallel::shards(1, [&](int) { work(); });
  } else {
    work();
  }
  io::write_tensors(r.output, out);
  say("{}: logits {}{}", r.output, out[0].second.shape().str(), sample.cotangent ? " and gradients" : "");
  return done;
}

}  // namespace

void add_forward(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("forward", "Logits and gradients of the tensors in a file (PyTorch's layouts)");
  auto r = std::make_shared<Request>();
  r->model.add_to(*sub, true);
  sub->add_option("--weights", r->weights, "Weights under the original's names")
      ->required()
      ->type_name("W.safetensors");
  sub->add_option("--input", r->input,
                  "input (B,C,H,W), (B,T,F) or (B,T); optional cotangent, lengths, target (B,S), target_lengths")
      ->required()
      ->type_name("X.safetensors");
  sub->add_option("--output", r->output, "Receives logits, feature.N, grad.input, grad.NAME")
      ->required()
      ->type_name("Y.safetensors");
  sub->add_flag("--train-mode", r->train_mode, "Training mode with all dropout rates 0; the batch is one shard");
  sub->add_flag("--features", r->features, "Also write each stage's map (B,C,H,W)");
  sub->add_option("--precision", r->precision, "What matrix products compute in: f32 or bf16")->capture_default_str();
  sub->callback([&chosen, r] { chosen = [=] { return forward(*r); }; });
}

}  // namespace tessera::cli
