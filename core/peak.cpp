#include "tessera/core/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/precision.h"

namespace tessera {
namespace {

double best_of_runs(int runs) {
  using Clock = std::chrono::steady_clock;
  const auto burn = precision() == Precision::bf16 ? kernels().bf16_burn : kernels().fma_burn;
  double best = 0;
  for (int r = 0; r < runs; ++r) {
    double count = 0;
    real sink = 0;
    const auto start = Clock::now();
    burn(40000, &count, &sink);
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = std::max(best, count / seconds.count() * 1e-9);
  }
  return best;
}

}  // namespace

double fma_peak_gflops(int threads) {
  if (threads < 1) fail("peak", "{} threads: at least one is needed", threads);
  std::vector<double> each(static_cast<size_t>(threads));
  enum { waiting, started, given_up };
  std::atomic<int> state{waiting};
  std::exception_ptr wrong;
  kernels();  // chosen here, where an Error can leave
  {
    std::vector<std::jthread> workers;
    workers.reserve(each.size());
    try {
      for (double& mine : each)
        workers.emplace_back([&] {
          state.wait(waiting);
          if (state == started) mine = best_of_runs(1000);
        });
      state = started;
    } catch (const std::exception& e) {
      wrong = std::make_exception_ptr(Error(fmt::format("[peak] the system refuses thread {} of {} ({}); use fewer",
                                                        workers.size() + 1, threads, e.what())));
      state = given_up;
    }
    state.notify_all();
  }
  if (wrong) std::rethrow_exception(wrong);
  double sum = 0;
  for (double one : each) sum += one;
  return sum;
}

}  // namespace tessera
