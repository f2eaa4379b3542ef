// What a training step would take on more cores than this machine has: a model of it, from processor times alone.
//
//   cores [MODEL] [STEPS] [KEY=INT ...]
//
// A step of batch B is L lanes, then the sum of their gradients and the optimiser (both cut into chunks), and what is left, which is serial:
//   time on C cores = lanes dealt to C workers in order, each taking the next when it is free, + (sum + optimiser) / C + serial
// and where there are fewer lanes than cores, each lane is helped by C / L - 1 others, which Amdahl's law of one shard on two threads says what it is
// worth. Lanes and chunks are timed one by one on their own thread's clock, with T = 1, 2, 4, 8, 16 threads alive: where all those
// agree, a lane does not cost more because others exist, and the model may be used. Wall time beside it is this machine's.
#include <tessera/tessera.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tessera/core/fork.h"

using namespace tessera;

namespace {

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Step {
  std::vector<double> lanes;  // processor seconds of each
  double chunks, serial, wall;
  double total() const {
    double t = chunks + serial;
    for (double l : lanes) t += l;
    return t;
  }
  /// With shares of a shard's work that nobody can help with.
  double on(int cores, double alone) const {
    std::vector<double> free(static_cast<size_t>(cores), 0);
    for (double l : lanes) {
      const double helpers = std::max(1.0, static_cast<double>(cores) / static_cast<double>(lanes.size()));
      *std::min_element(free.begin(), free.end()) += l * (alone + (1 - alone) / helpers);
    }
    return *std::max_element(free.begin(), free.end()) + chunks / cores + serial;
  }
};

struct Bench {
  Params params{1};
  std::unique_ptr<Model> net;
  AdamW optimiser;
  Bench(const std::string& name, const Options& options)
      : net(model(name).make(Scope(params), options, position("learned"))),
        optimiser(params, {.weight_decay = 0.05, .clip_grad = 1}) {}

  Step run(int batch_size, LanesOptions how, int threads, int steps) {
    parallel::set_threads(threads);
    Lanes lanes(how);
    Tensor x({batch_size, 32, 32, 3});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(rng::Stream(1).normal(static_cast<uint64_t>(i)));
    const Index labels(static_cast<size_t>(batch_size), 3);
    const Batch batch{x, labels, Tensor(), 0, batch_size};
    std::vector<std::vector<double>> by_lane;
    std::vector<double> chunks, serial, wall;
    parallel::Watch watch;
    for (int s = 0; s < steps + 2; ++s) {
      watch.rows = 0;
      parallel::watching = &watch;
      const double start = now(), own = parallel::thread_seconds();
      lanes.add({Mode::train, 1, static_cast<uint64_t>(s)}, batch, [&](const Run& run, const Batch& shard) {
        return soft_cross_entropy(net->forward(run, shard.in), shard, 0.1);
      });
      const double forked = parallel::thread_seconds();
      const auto [value, grads] = lanes.finish();
      optimiser.step(grads, 1e-4);
      const double end = parallel::thread_seconds();
      parallel::watching = nullptr;
      if (s < 2) continue;
      by_lane.push_back(watch.shards), chunks.push_back(watch.rows), wall.push_back(now() - start);
      // with one thread all of it is this one's; what is neither a lane nor a chunk is serial
      double lanes_total = 0;
      for (double l : watch.shards) lanes_total += l;
      serial.push_back(std::max(0.0, (forked - own - lanes_total) + (end - forked - watch.rows)));
    }
    Step step{{}, median(chunks), median(serial), median(wall)};
    for (size_t l = 0; l < by_lane[0].size(); ++l) {
      std::vector<double> t;
      for (const auto& one : by_lane) t.push_back(one[l]);
      step.lanes.push_back(median(t));
    }
    return step;
  }
};

}  // namespace

int main(int argc, char** argv) try {
  const std::string name = argc > 1 ? argv[1] : "vit_cifar_small";
  const int steps = argc > 2 ? std::atoi(argv[2]) : 5;
  Options options;
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    const size_t equals = std::min(word.find('='), word.size() - 1);
    options[word.substr(0, equals)] = std::atoi(word.c_str() + equals + 1);
  }
  Bench bench(name, options);
  // how much of a shard nobody can help with: one shard on one thread and on two
  const double one = bench.run(8, {.lanes = 1}, 1, steps).wall, two = bench.run(8, {.lanes = 1}, 2, steps).wall;
  const double alone = std::clamp(2 * two / one - 1, 0.0, 1.0);
  std::printf("%s: a shard of 8 images %.1f ms on one thread, %.1f ms on two: %.0f %% of it is done alone\n\n",
              name.c_str(), 1e3 * one, 1e3 * two, 100 * alone);
  std::printf(
      "processor time with T threads alive, batch 128, in ms\n  T   lanes, all of them   longest   chunks   wall\n");
  for (const int threads : {1, 2, 4, 8, 16}) {
    const Step s = bench.run(128, {}, threads, steps);
    double all = 0;
    for (double l : s.lanes) all += l;
    std::printf("%3d %21.1f %9.1f %8.2f %6.1f\n", threads, 1e3 * all,
                1e3 * *std::max_element(s.lanes.begin(), s.lanes.end()), 1e3 * s.chunks, 1e3 * s.wall);
  }
  std::printf(
      "\npredicted, from one thread: ms a step, and efficiency in %%\n batch lanes  serial %%  sum and optimiser %%");
  for (const int cores : {1, 2, 4, 8, 16, 32}) std::printf(" %10d", cores);
  std::printf("\n");
  for (const int batch : {64, 128, 256, 512, 1024})
    for (const int lanes : {8, 32}) {
      if (lanes * 8 > batch) continue;
      const Step s = bench.run(batch, {.lanes = lanes}, 1, std::max(2, steps * 64 / batch));
      std::printf("%6d %5d %9.2f %20.2f", batch, lanes, 100 * s.serial / s.total(), 100 * s.chunks / s.total());
      for (const int cores : {1, 2, 4, 8, 16, 32})
        std::printf(" %6.1f %3.0f", 1e3 * s.on(cores, alone), 100 * s.total() / cores / s.on(cores, alone));
      std::printf("\n");
    }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "cores: %s\n", e.what());
  return 1;
}
