// tessera bench train, tessera bench infer: images a second, as a share of what the machine can do, and whether a steady step
// asks the system for memory.
#include "tessera/train/cli/bench.h"

#include <sys/resource.h>

#include <numeric>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/core/peak.h"
#include "tessera/core/precision.h"
#include "tessera/train/cli/bench_turns.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/count_malloc.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/cli/profile.h"
#include "tessera/train/cli/stopwatch.h"
#include "tessera/train/data/source.h"
#include "tessera/train/training/environment.h"
#include "tessera/train/training/fine_tune.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/sequence_task.h"
#include "tessera/train/training/training.h"

namespace tessera::cli {
namespace {

constexpr std::string_view used_by_train[] = {"train.lanes", "train.shard_size",     "train.batchnorm",
                                              "optim.opt",   "optim.base_optimizer", "optim.ns_steps",
                                              "sched.sched"};
constexpr std::string_view used_by_infer[] = {"train.shard_size"};

struct Resources {
  int64_t faults, peak_rss_kb;
  double cpu_ms;  ///< of all threads
};
Resources usage() {
  rusage r{};
  getrusage(RUSAGE_SELF, &r);
  const auto ms = [](const timeval& t) {
    return 1e3 * static_cast<double>(t.tv_sec) + 1e-3 * static_cast<double>(t.tv_usec);
  };
  return {r.ru_minflt, r.ru_maxrss, ms(r.ru_utime) + ms(r.ru_stime)};
}

struct Measured {
  Spread ms, cpu_ms;
  size_t steps = 0;
  double peak = 0, faults = 0, mallocs = 0;
};

/// How often: so many times, and on until so many seconds have passed.
struct Often {
  int times = 0;
  double seconds = 0;
};
template <class F>
void repeat(const Often& often, F f) {
  const auto start = Clock::now();
  for (int i = 0; i < often.times || seconds_since(start) < often.seconds; ++i) f();
}

/// Runs `step`, first as often as `warm` says, and looks at the clock, the page faults and the allocations of each that is timed. The peak
/// is measured before and after, in the same run, and the better one counts.
template <class F>
Measured measure_steps(const Often& warm, const Often& timed, F step) {
  Measured m;
  m.peak = fma_peak_gflops(parallel::threads());
  repeat(warm, step);
  std::vector<double> ms, cpu_ms, faults, mallocs;
  repeat(timed, [&] {
    const Resources before = usage();
    const uint64_t mallocs_before = malloc_calls();
    const auto start = Clock::now();
    step();
    const double took = seconds_since(start);
    const uint64_t mallocs_after = malloc_calls();
    const Resources after = usage();
    ms.push_back(1e3 * took), mallocs.push_back(static_cast<double>(mallocs_after - mallocs_before));
    faults.push_back(static_cast<double>(after.faults - before.faults));
    cpu_ms.push_back(after.cpu_ms - before.cpu_ms);
  });
  m.steps = ms.size();
  m.ms = spread(ms), m.cpu_ms = spread(cpu_ms), m.faults = spread(faults).median, m.mallocs = spread(mallocs).median;
  m.peak = std::max(m.peak, fma_peak_gflops(parallel::threads()));
  return m;
}

/// Once, as often as the options say; or, --turns, whenever and for as long as stdin says, three steps at least: of fewer there is no middle.
template <class F, class Show>
int run(const BenchOptions& o, F step, Show show) {
  if (!o.turns) {
    show(measure_steps({.times = o.warmup}, {.times = o.steps}, step));
    return done;
  }
  repeat({.times = o.warmup}, step);
  return answer_turns([&](double seconds) {
    show(measure_steps({.times = 1, .seconds = seconds / 5}, {.times = 3, .seconds = seconds}, step));
  });
}

/// The model that the options name, of --length steps where sequences may have any number.
Network network(const BenchOptions& o, const RunConfig& config) {
  Network net = build(config, 1);
  if (o.length == 0) return net;
  if (!net.input.ragged()) wrong_usage("--length is of sequences, {} reads images", config.model);
  if (net.input.T > 0) wrong_usage("--length: {} reads sequences of {} steps only", config.model, net.input.T);
  net.input.T = o.length;
  return net;
}

/// Samples of noise, or tokens in turn, and labels in turn: what they show does not change how long they take.
struct Noise final : data::Source {
  InputShape sample;
  size_t count;
  Index answered;
  Noise(const InputShape& in, int n, int of_classes) : sample(in), count(static_cast<size_t>(n)) {
    classes = of_classes;
    if (sample.ragged()) sample.T = in.batch(1)[1];  // of any length: that of --length, or a usual one
    for (int t = 0; sample.target > 0 && t < sample.T - 1; ++t) answered.push_back(t % sample.target);
  }
  size_t size() const override { return count; }
  InputShape form() const override { return sample; }
  int label(size_t i) const override { return static_cast<int>(i) % classes; }
  std::span<const int32_t> answer(size_t) const override { return answered; }
  std::unique_ptr<data::Reader> reader(const data::Augment&) const override { return std::make_unique<Fill>(sample); }
  Batch batch() const {
    Index all(count);
    std::iota(all.begin(), all.end(), 0);
    return data::gather(*this, all);
  }

 private:
  struct Fill final : data::Reader {
    InputShape of;
    explicit Fill(const InputShape& sample) : of(sample) {}
    void fill(size_t, rng::Stream stream, const data::Slot& slot) override {
      if (of.kind == InputShape::Kind::tokens) {
        for (int t = 0; t < of.T; ++t) slot.tokens[t] = t % of.vocabulary;
      } else {
        const int64_t n = of.batch(1).size();
        for (int64_t k = 0; k < n; ++k) slot.x[k] = static_cast<real>(stream.normal(static_cast<uint64_t>(k)));
      }
    }
  };
};

/// Of training: the losses of the first steps, and bytes of gradients, those of the lanes and their sum.
struct OfTraining {
  std::span<const double> losses;
  int64_t gradients = 0;
};

void show(const BenchOptions& o, const RunConfig& config, const Network& net, const Measured& m, double macs_per_image,
          const OfTraining& training = {}) {
  const double images = 1e3 * o.batch_size / m.ms.median;
  const double gflops = 2e-9 * macs_per_image * images;
  if (o.json || o.turns) {
    Json document{{"model", config.model},
                  {"position", config.position},
                  {"params", net.params->count()},
                  {"precision", std::string(name(precision()))},
                  {"threads", parallel::threads()},
                  {"isa", name(isa())},
                  {"commit", commit()},
                  {"batch_size", o.batch_size},
                  {"images_per_s", images},
                  {"steps", m.steps},
                  {"ms_per_step", {{"min", m.ms.min}, {"median", m.ms.median}, {"max", m.ms.max}}},
                  {"cpu_ms_per_step", m.cpu_ms.median},
                  {"gflops", gflops},
                  {"peak_gflops_measured", m.peak},
                  {"fraction_of_peak", gflops / m.peak},
                  {"page_faults_per_step", m.faults},
                  {"allocations_per_step", m.mallocs},
                  {"peak_rss_mb", static_cast<double>(usage().peak_rss_kb) / 1024}};
    if (training.gradients > 0) document["gradients_mb"] = static_cast<double>(training.gradients) / (1 << 20);
    if (!training.losses.empty()) document["losses"] = training.losses;
    print_json(document);
    return;
  }
  print(fmt::format("{} with {} positions, {} parameters, batch {}, {} threads, {}\n", config.model, config.position,
                    net.params->count(), o.batch_size, parallel::threads(), name(isa())));
  print(fmt::format("{:<18}{:>10.1f}\n", fmt::format("{}s/s", net.input.unit()), images));
  print(fmt::format("ms a step         {:>10.2f}   min {:.2f}, max {:.2f}, {} steps\n", m.ms.median, m.ms.min, m.ms.max,
                    m.steps));
  print(fmt::format("GFLOP/s           {:>10.1f}   {:.0f} % of the {} peak measured in this run, {:.1f}\n", gflops,
                    100 * gflops / m.peak, name(precision()), m.peak));
  print(fmt::format("page faults       {:>10}   a step (median)\n", m.faults));
  print(fmt::format("allocations       {:>10}   a step (median)\n", m.mallocs));
  const std::string gradients =
      training.gradients > 0
          ? fmt::format(", {:.1f} of them gradients", static_cast<double>(training.gradients) / (1 << 20))
          : "";
  print(fmt::format("peak memory       {:>10.1f} MB{}\n", static_cast<double>(usage().peak_rss_kb) / 1024, gradients));
}

}  // namespace

int bench_train(const BenchOptions& o) {
  use_precision(o.precision);
  use_threads(o.model.threads);
  const RunConfig config = o.model.resolve("bench train", used_by_train);
  const Network net = network(o, config);
  const double macs = measure(net).macs;
  const int classes = net.model->forward(Run{}, net.input.zeros(1)).logits.dim(-1);
  const Noise noise(net.input, o.batch_size, classes);
  const Batch batch = noise.batch();
  const auto task = task_of(net.input, noise, 0.1);
  TrainConfig how = config.train;
  how.batch_size = o.batch_size, how.shard_size = shard_for(how, net.input, *net.params);
  Lanes lanes(lanes_of(how, o.batch_size));
  OptimConfig optim = config.optim;
  optim.clip_grad = 1;  // as recipes have it
  Optimiser optimiser(*net.params, optimiser_of(optim, 0, not_hidden(config, net.positions, *net.params)));
  uint64_t step = 0;
  std::vector<double> losses;  // of the first three steps: they tell whether another program does the same work
  losses.reserve(3);
  const auto one_step = [&] {
    const Run now{Mode::train, 1, step++, 0};
    const auto pass = [&] {
      return lanes(now, batch, [&](const Run& run, const Batch& shard) {
        Tally said;
        return task->loss(*net.model, run, shard, said);
      });
    };
    const auto [loss, grads] = pass();
    if (losses.size() < 3) losses.push_back(loss);
    if (optim.opt == "sam") {
      optimiser.climb(grads, optim.rho);
      pass();
      optimiser.back();
    }
    optimiser.step(grads, 1e-4);
  };
  const double forward_and_backward = 3 * macs;  // the backward pass multiplies twice as much as the forward pass
  return run(o, one_step, [&](const Measured& m) {
    show(o, config, net, m, forward_and_backward, {losses, lanes.bytes()});
  });
}

int bench_infer(const BenchOptions& o) {
  use_precision(o.precision);
  use_threads(o.model.threads);
  const RunConfig config = o.model.resolve("bench infer", used_by_infer);
  const Network net = network(o, config);
  const double macs = measure(net).macs;
  const Noise noise(net.input, o.batch_size, 1);
  const Batch batch = noise.batch();
  const auto task = task_of(net.input, noise, 0);
  const int size = shard_for(config.train, net.input, *net.params), shards = (o.batch_size - 1) / size + 1;
  const auto one_step = [&] {
    parallel::shards(shards, [&](int s) {
      const Batch shard = batch.rows(s * size, s * size + std::min(size, o.batch_size - s * size));
      net.model->forward(Run{}, task->input(shard));
    });
  };
  return run(o, one_step, [&](const Measured& m) { show(o, config, net, m, macs); });
}

void add_bench(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("bench", "Speed on this machine: bench train | infer | ops");
  sub->require_subcommand(1);
  auto o = std::make_shared<BenchOptions>();
  const auto add = [&](const char* name, const char* help, int (*run)(const BenchOptions&),
                       std::span<const std::string_view> used = {}) {
    const bool steps = run != bench_ops;
    auto* s = sub->add_subcommand(name, help);
    o->model.add_to(*s, false, used);
    s->add_option("--batch-size", o->batch_size, "Images a step")->check(CLI::Range(1, 1 << 16))->capture_default_str();
    s->add_option("--precision", o->precision, "What matrix products compute in: f32 or bf16")->capture_default_str();
    if (steps) {
      auto* timed = s->add_option("--steps", o->steps, "Steps that are timed");
      timed->check(CLI::Range(1, 1 << 20))->capture_default_str();
      s->add_option("--warmup", o->warmup, "Steps before")->check(CLI::Range(0, 1 << 20))->capture_default_str();
      s->add_option("--length", o->length, "Frames or tokens of a sequence [128]")->check(CLI::Range(1, 1 << 20));
      s->add_flag("--turns", o->turns,
                  "For every line of stdin, a number of seconds, steps of that time and a line of JSON")
          ->excludes(timed);
    }
    for (const char* option : {"--position", "--threads"})  // attention without positions, on one thread
      if (!steps) s->remove_option(s->get_option(option));
    s->add_flag("--json", o->json, "One JSON document on stdout");
    s->callback([&chosen, o, run] { chosen = [=] { return run(*o); }; });
  };
  add("train", "Training steps on synthetic images", bench_train, used_by_train);
  add("infer", "Forward passes in evaluation mode", bench_infer, used_by_infer);
  o = std::make_shared<BenchOptions>();  // its own defaults: a shard of ViT-Ti/4
  o->batch_size = 8, o->model.model = "vit_tiny_patch4_32";
  add("ops", "Single ops on one thread, at the sizes of the model's first attention", bench_ops);
}

}  // namespace tessera::cli
