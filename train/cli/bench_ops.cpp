// tessera bench ops: single ops at the sizes of a model's first attention (by default ViT-Ti/4: a shard of 8 images, 65 tokens, width
// 192), on one thread and inside a shard, as a training step runs them.
#include <functional>
#include <string>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/attention/attention.h"
#include "tessera/core/ops/batchnorm.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/deform_conv.h"
#include "tessera/core/ops/dropout.h"
#include "tessera/core/ops/layernorm.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/linear_attention.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/rotate_blocks.h"
#include "tessera/core/ops/skew_exp.h"
#include "tessera/core/ops/softmax.h"
#include "tessera/core/parallel.h"
#include "tessera/models/model.h"
#include "tessera/nn/params.h"
#include "tessera/train/cli/bench.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/cli/stopwatch.h"

namespace tessera::cli {
namespace {

struct Case {
  std::string name;
  Tensor x;
  std::function<Tensor(const Tensor&)> op;
  double bytes;  ///< read and written by forward, when memory and not arithmetic bounds it
};

struct Macs : Observer {
  double total = 0;
  void saw(const Seen& s) override { total += s.op.macs; }
};

/// Best times in seconds of forward, and of forward and backward.
struct Timing {
  double forward = 0, both = 0, macs = 0;
};

double best_seconds(const std::function<void()>& run) {
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) run();
  const auto start = Clock::now();
  while (times.size() < 15 || (seconds_since(start) < 0.15 && times.size() < 2000)) {
    const auto one = Clock::now();
    run();
    times.push_back(seconds_since(one));
  }
  return spread(std::move(times)).min;  // the best: what is slower was disturbed
}

Timing measure(const Case& c) {
  Timing t;
  Grads grads;
  const auto forward = [&] { return c.op(c.x); };
  const auto both = [&] {
    Tape tape;
    grads.next_step();
    const Tensor x = tape.watch(c.x);
    const Tensor y = c.op(x);
    tape.backward(y, grads);
  };
  {
    Macs macs;
    Observing on(macs);
    forward();
    t.macs = macs.total;
  }
  t.forward = best_seconds(forward), t.both = best_seconds(both);
  return t;
}

}  // namespace

int bench_ops(const BenchOptions& o) {
  use_precision(o.precision);
  const RunConfig config = o.model.resolve("bench ops");
  const Places places = tessera::model(config.model).places(config.model_options);
  if (places.sites.empty()) wrong_usage("bench ops: {} has no attention to take its sizes from", config.model);
  const Site& site = places.sites.front();
  const int B = o.batch_size, N = site.trained.q.tokens(), D = site.heads * site.head_dim, H = site.heads;
  Params params(1);
  const Scope s(params);
  const auto random = [&](const char* name, const Shape& shape) { return s.param(name, shape, normal(0.5)).copy(); };
  const Tensor x = random("x", {B, N, D}), hidden = random("hidden", {B, N, 4 * D}), qkv = random("qkv", {B, N, 3 * D});
  const Tensor image = random("image", {B, 16, 16, 64}), scores = random("scores", {B, H, N, N});
  const auto weight = [&](const char* name, const Shape& shape) { return s.param(name, shape, normal(0.02)); };
  const Tensor W3 = weight("w3", {3 * D, D}), W4 = weight("w4", {4 * D, D}), W1 = weight("w1", {D, 4 * D}),
               b4 = weight("b4", {4 * D});
  const Tensor g = weight("g", {D}), b = weight("b", {D}), K = weight("k", {64, 64, 3, 3}),
               dw = weight("dw", {64, 1, 3, 3}), samples = weight("samples", {B, 16, 16, 18}),
               grouped = weight("grouped", {64, 8, 3, 3}), g64 = full({64}, 1), b64 = zeros({64});
  const int block = site.head_dim % 8 ? 1 : 8;
  const Tensor rotations = weight("rotations", {N, H, site.head_dim / block, block, block});
  const Pattern who = global_pattern(N, N);
  const double mb = double(B) * N * D * sizeof(real), map = static_cast<double>(image.size()) * sizeof(real);

  const std::vector<Case> cases = {
      {fmt::format("linear {} -> {} (qkv)", D, 3 * D), x, [&](const Tensor& t) { return linear(t, W3); }, 0},
      {fmt::format("linear {} -> {} (fc1)", D, 4 * D), x, [&](const Tensor& t) { return linear(t, W4, b4); }, 0},
      {fmt::format("linear {} -> {} (fc2)", 4 * D, D), hidden, [&](const Tensor& t) { return linear(t, W1); }, 0},
      {fmt::format("attention {} heads of {}", H, site.head_dim), qkv,
       [&](const Tensor& t) {
         return attention({heads(t, H, 0, 3), heads(t, H, 1, 3), heads(t, H, 2, 3), who, site.scale}, {}, Run{});
       },
       0},
      {"linear attention, elu", qkv,
       [&](const Tensor& t) { return linear_attention(heads(t, H, 0, 3), heads(t, H, 1, 3), heads(t, H, 2, 3)); }, 0},
      {"linear attention, taylor", qkv,
       [&](const Tensor& t) {
         return linear_attention(heads(t, H, 0, 3), heads(t, H, 1, 3), heads(t, H, 2, 3),
                                 {.similarity = Similarity::taylor});
       },
       0},
      {fmt::format("exponentials of {} {}x{}", rotations.size() / block / block, block, block), rotations.copy(),
       [&](const Tensor& t) { return skew_exp(t); }, 0},
      {fmt::format("rotate_blocks {}x{}", block, block), x,
       [&](const Tensor& t) { return rotate_blocks(heads(t, H), rotations); }, 0},
      {"conv 3x3 64 -> 64 on 16x16", image, [&](const Tensor& t) { return conv2d(t, K, {}, conv_options(1, 1)); }, 0},
      {"deformable 3x3 64 -> 64", image,
       [&](const Tensor& t) { return deform_conv2d(t, samples, {}, K, {}, conv_options(1, 1)); }, 0},
      {"depthwise 3x3 on 16x16x64", image, [&](const Tensor& t) { return conv2d(t, dw, {}, conv_options(1, 1, 64)); },
       0},
      {"grouped 3x3, 8 of 8 -> 8", image,
       [&](const Tensor& t) { return conv2d(t, grouped, {}, conv_options(1, 1, 8)); }, 0},
      {"max pooling 3x3 /2", image,
       [&](const Tensor& t) { return max_pool2d(t, {.kernel = 3, .stride = 2, .padding = 1}); }, 1.25 * map},
      {"batchnorm 64", image,
       [&](const Tensor& t) {
         return batchnorm(t, g64, b64, b64, g64, 1e-5, Run{Mode::train, 0, 0, 0});
       },
       2 * map},
      {"softmax", scores, [&](const Tensor& t) { return softmax(t); }, 2 * mb * N * H / D},
      {"dropout", x,
       [&](const Tensor& t) {
         return dropout(t, 0.1, key("bench"), Run{Mode::train, 1, 1, 0});
       },
       2 * mb},
      {fmt::format("layernorm {}", D), x, [&](const Tensor& t) { return layernorm(t, g, b, 1e-6); }, 2 * mb},
      {fmt::format("gelu {}", 4 * D), hidden, [&](const Tensor& t) { return gelu(t); }, 8 * mb},
      {"silu", x, [&](const Tensor& t) { return silu(t); }, 2 * mb},
      {"add", x, [&](const Tensor& t) { return add(t, x); }, 3 * mb},
  };
  Json list = Json::array();
  if (!o.json) {
    print(fmt::format("one thread, {}, shard of {} x {} tokens x {}; best times\n", name(isa()), B, N, D));
    print(fmt::format("{:<28} {:>12} {:>16} {:>14} {:>14}\n", "op", "forward us", "fwd+bwd us", "GFLOP/s fwd",
                      "GB/s fwd"));
  }
  for (const Case& c : cases) {
    Timing t;
    parallel::shards(1, [&](int) { t = measure(c); });
    const double gflops = 2e-9 * t.macs / t.forward, gbs = 1e-9 * c.bytes / t.forward;
    if (o.json) {
      list.push_back(Json{{"op", c.name},
                          {"forward_us", 1e6 * t.forward},
                          {"forward_backward_us", 1e6 * t.both},
                          {"gflops", c.bytes > 0 ? Json() : Json(gflops)},
                          {"gb_per_s", c.bytes > 0 ? Json(gbs) : Json()}});
    } else {
      print(fmt::format("{:<28} {:>12.1f} {:>16.1f} {:>14} {:>14}\n", c.name, 1e6 * t.forward, 1e6 * t.both,
                        c.bytes > 0 ? "" : fmt::format("{:.1f}", gflops),
                        c.bytes > 0 ? fmt::format("{:.1f}", gbs) : ""));
    }
  }
  if (o.json) print_json(list);
  return done;
}

}  // namespace tessera::cli
