// What a training step spends beside the network, and whether it asks the system for anything: time of the lanes (forward and
// backward), of their sum, of the optimiser with clipping, and calls of malloc and minor page faults in a steady step.
//
//   train_step [MODEL] [BATCH] [STEPS] [opt=NAME] [precision=bf16] [position=NAME] [lanes=N] [shard_size=N] [batchnorm=batch] [KEY=INT ...]
//
// Exit code 1 if a steady step asks: of the last half of the steps one in ten may (whoever helps with an op for the first time takes pages).
// The share of everything but the lanes is printed; below 5 % is the aim for ViT-Ti/4 (vit_tiny_patch4_32) with batch 64.
#include <sys/resource.h>
#include <tessera/tessera.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tessera/core/sanitizer.h"
#include "tessera/train/cli/count_malloc.h"
#include "tessera/train/training/training.h"

using namespace tessera;

namespace {

using Clock = std::chrono::steady_clock;

int64_t faults() {  // of all threads: only the workers and this one run
  rusage r{};
  getrusage(RUSAGE_SELF, &r);
  return r.ru_minflt;
}

template <class T>
T quantile(std::vector<T> v, double q) {
  const auto at = static_cast<size_t>(q * static_cast<double>(v.size()));
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(at), v.end());
  return v[at];
}
template <class T>
T median(const std::vector<T>& v) {
  return quantile(v, 0.5);
}
/// What nine in ten of the later half do not exceed.
template <class T>
T steady(const std::vector<T>& v) {
  return quantile(std::vector<T>(v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end()), 0.9);
}

}  // namespace

int main(int argc, char** argv) try {
  const char* name = argc > 1 ? argv[1] : "vit_tiny_patch4_32";
  const int size = argc > 2 ? std::atoi(argv[2]) : 64, steps = argc > 3 ? std::atoi(argv[3]) : 20;
  Options options;
  OptimConfig optim;
  TrainConfig train;
  std::string encoding = "learned";
  for (int i = 4; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = std::min(word.find('='), word.size() - 1);
    const std::string key = word.substr(0, equals), value = word.substr(equals + 1);
    if (key == "opt") {
      optim = optim_config(value);
    } else if (key == "position") {
      encoding = value;
    } else if (key == "precision") {
      train.precision = value;
    } else if (key == "batchnorm") {
      train.batchnorm = value;
    } else if (key == "lanes") {
      train.lanes = std::atoi(value.c_str());
    } else if (key == "shard_size") {
      train.shard_size = std::atoi(value.c_str());
    } else {
      options[key] = std::atoi(value.c_str());
    }
  }
  train.batch_size = size;
  const Computing computing(precision(train.precision));
  Params params(1);
  const auto net = model(name).make(Scope(params), options, position(encoding));
  optim.clip_grad = 1;
  Optimiser optimiser(params, optimiser_of(optim, 0.999));
  train.shard_size = shard_for(train, {.h = 32, .w = 32, .channels = 3}, params);
  Lanes lanes(lanes_of(train, size));
  Tensor x({size, 32, 32, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(rng::Stream(1).normal(static_cast<uint64_t>(i)));
  const Index labels(static_cast<size_t>(size), 3);
  const Batch batch{x, labels, Tensor(), 0, size};

  std::vector<double> in_lanes, in_sum, in_optimiser;
  std::vector<uint64_t> mallocs;
  std::vector<int64_t> page_faults;
  const int warm = 4;
  for (int step = 0; step < warm + steps; ++step) {
    const uint64_t mallocs_before = cli::malloc_calls();
    const int64_t faults_before = faults();
    const auto t0 = Clock::now();
    const auto pass = [&] {
      lanes.add({Mode::train, 1, static_cast<uint64_t>(step)}, batch, [&](const Run& run, const Batch& shard) {
        return soft_cross_entropy(net->forward(run, shard.in), shard, 0.1);
      });
    };
    pass();
    const auto t1 = Clock::now();
    const auto [value, grads] = lanes.finish();
    const auto t2 = Clock::now();
    if (optim.opt == "sam") {
      optimiser.climb(grads, optim.rho);
      pass(), lanes.finish(Lanes::Statistics::keep);
      optimiser.back();
    }
    optimiser.step(grads, 1e-4);
    const auto t3 = Clock::now();
    if (step < warm) continue;
    const auto ms = [](auto d) { return std::chrono::duration<double, std::milli>(d).count(); };
    mallocs.push_back(cli::malloc_calls() - mallocs_before), page_faults.push_back(faults() - faults_before);
    in_lanes.push_back(ms(t1 - t0)), in_sum.push_back(ms(t2 - t1)), in_optimiser.push_back(ms(t3 - t2));
  }
  const double a = median(in_lanes), b = median(in_sum), c = median(in_optimiser);
  std::printf("%s: %lld parameters, batch %d, %d threads: %.1f images/s\n", name,
              static_cast<long long>(params.count()), size, parallel::threads(), 1e3 * size / (a + b + c));
  std::printf("lanes %.2f ms, their sum %.2f ms, optimiser %.2f ms: %.2f %% beside the lanes\n", a, b, c,
              100 * (b + c) / (a + b + c));
  std::printf("malloc calls %llu, minor faults %lld a step (nine in ten of the last %d)\n",
              static_cast<unsigned long long>(steady(mallocs)), static_cast<long long>(steady(page_faults)),
              steps - steps / 2);
  if (TESSERA_ASAN || TESSERA_TSAN) {  // its malloc is not ours, and touches pages as it likes
    std::printf("not judged under this sanitizer\n");
    return 0;
  }
  return steady(mallocs) == 0 && steady(page_faults) == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 2;
}
