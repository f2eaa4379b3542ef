// The three products of every linear layer of two vision transformers, ours beside OpenBLAS (one thread each) and the
// FMA peak, interleaved in one run, in steps of 8 shards as in training: weights are packed by the first shard of a step and serve the
// others. One and two threads, each with weights and shards of its own.
//   ninja -C build gemm_bench && build/tests/gemm_bench [steps]
#include <fmt/format.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tessera/core/blas.h"
#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/core/peak.h"
#include "tessera/core/tensor.h"

namespace {

using namespace tessera;

struct Layer {
  const char* name;
  int M, in, out;
};

constexpr Layer layers[] = {
    {"0.8M patch", 512, 48, 128}, {"0.8M qkv", 520, 128, 384}, {"0.8M proj", 520, 128, 128},
    {"0.8M fc1", 520, 128, 256},  {"0.8M fc2", 520, 256, 128}, {"0.8M head", 8, 128, 10},
    {"Ti/4 patch", 512, 48, 192}, {"Ti/4 qkv", 520, 192, 576}, {"Ti/4 proj", 520, 192, 192},
    {"Ti/4 fc1", 520, 192, 768},  {"Ti/4 fc2", 520, 768, 192}, {"S/4 fc1", 520, 384, 1536},
    {"S/4 fc2", 520, 1536, 384},
};

double seconds(const auto& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

constexpr int shards = 8;  // of a step: a batch of 64

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

/// What a product costs, in times that the FMA units would need at the throughput measured right before each call, because the clock moves:
/// by the first shard of a step, which packs, and by those after it.
struct Share {
  std::vector<double> first, later;
  /// The share of that throughput that a step has; of all steps the medians.
  double of_step() const { return shards / (median(first) + (shards - 1) * median(later)); }
};
struct Shares {
  Share ours[3], blas[3];
};

Shares measure(const Layer& l, int steps, std::barrier<>& start) {
  const parallel::Shard shard;
  // as in training: in forward the output is memory not touched for long, in backward the layer's input has long left L2
  std::vector<Tensor> saved, fresh;
  for (int i = 0; i < 12; ++i) saved.push_back(full({l.M, l.in}, 1)), fresh.push_back(full({l.M, l.out}, 1));
  Tensor x = full({l.M, l.in}, 1), y = full({l.M, l.out}, 1), b = full({l.out}, 1), dW = full({l.out, l.in}, 1);
  Tensor W = full({l.out, l.in}, 1);
  W.storage()->leaf = std::make_unique<Leaf>();
  const real* w = W.read().data();  // only read, or its panels would not be kept
  Shares shares;
  const double flops = 2.0 * l.M * l.in * l.out;
  const int repeat = std::max(1, static_cast<int>(2e6 / flops));  // too short for a clock: packed once in all of them
  size_t turn = 0;
  size_t turn_of_fresh = 0;
  const auto next_fresh = [&]() -> const Tensor& { return fresh[turn_of_fresh++ % fresh.size()]; };
  const auto next = [&]() -> const Tensor& { return saved[turn++ % saved.size()]; };
  start.arrive_and_wait();
  for (int call = 0; call < steps * shards; ++call) {
    const auto time = [&](Share& to, const auto& f) {
      double count = 0;
      float sink = 0;
      kernels().fma_burn(12000, &count, &sink);  // some 20 us: the clock settles
      const double peak = seconds([&] { kernels().fma_burn(6000, &count, &sink); });
      const double mine = seconds([&] {
        for (int k = 0; k < repeat; ++k) f();
      });
      (call % shards == 0 ? to.first : to.later).push_back(mine * (count / peak) / (flops * repeat));
    };
    if (call % shards == 0) drop_packed(*W.leaf());  // the optimiser has changed the weight
    time(shares.blas[0], [&] {
      blas::gemm(false, true, l.M, l.out, l.in, 1.F, x.data(), l.in, w, l.in, 0.F, next_fresh().data(), l.out);
    });
    time(shares.blas[1],
         [&] { blas::gemm(false, false, l.M, l.in, l.out, 1.F, y.data(), l.out, w, l.in, 0.F, x.data(), l.in); });
    time(shares.blas[2], [&] {
      blas::gemm(true, false, l.out, l.in, l.M, 1.F, y.data(), l.out, next().data(), l.in, 1.F, dW.data(), l.in);
    });
    time(shares.ours[0], [&] {
      gemm_nt(l.M, l.out, l.in, x.data(), l.in, w, l.in, 0, next_fresh().data(), l.out, b.data(), W.leaf());
    });
    time(shares.ours[1], [&] {
      gemm_nn(l.M, l.in, l.out, y.data(), l.out, w, l.in, 0, x.data(), l.in, W.leaf(),
              saved[turn % saved.size()].values());
    });
    time(shares.ours[2], [&] { gemm_tn(l.out, l.in, l.M, y.data(), l.out, next().data(), l.in, 1, dW.data(), l.in); });
    std::fill_n(x.data(), x.size(), 1.F), std::fill_n(dW.data(), dW.size(), 1.F);
  }
  if (W.leaf()->lent) fmt::print("the weight was lent: its panels were not kept\n");
  return shares;
}

void table(int threads, int steps) {
  const double peak = fma_peak_gflops(threads) / threads;
  fmt::print(
      "\n{} thread(s), {}, FMA peak at best {:.0f} GFLOP/s each; ours / OpenBLAS in % of the peak beside each call\n",
      threads, name(isa()), peak);
  fmt::print("{:<12}{:>16}{:>16}{:>16}\n", "", "forward nt", "input nn", "weight tn");
  for (const Layer& l : layers) {
    std::vector<Shares> each(static_cast<size_t>(threads));
    std::barrier start(threads);
    {
      std::vector<std::jthread> workers;
      for (Shares& mine : each) workers.emplace_back([&] { mine = measure(l, steps, start); });
    }
    fmt::print("{:<12}", l.name);
    for (int p = 0; p < 3; ++p) {
      double ours = 0, blas = 0;
      for (const Shares& b : each) ours += b.ours[p].of_step() / threads, blas += b.blas[p].of_step() / threads;
      fmt::print("{:>10.0f} / {:>3.0f}", 100 * ours, 100 * blas);
    }
    fmt::print("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 12;
  fmt::print("{}\n", blas::description());
  for (int threads : {1, 2}) table(threads, steps);
}
