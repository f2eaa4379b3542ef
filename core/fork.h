#pragma once
// One fork-join: shards that workers take in order, and ops inside of them that ask the workers who found none left for help. Internal to
// core/parallel.cpp.
//
// A worker runs work(): it takes shards, by a counter, while there are any; then it helps until the last shard has ended. An op that wants
// help publishes a job in its worker's slot: [0, n) in parts, each taken by whoever counts it first, the owner included. The owner returns
// when all parts have ended, so jobs and what they refer to live on its stack. A slot is one atomic word, (job number, parts, next part):
// a helper reads the rest only after it has counted up that word of that very job, and the owner waits for it from then on.
// Nobody who waits takes another shard, nothing is allocated, and a worker that comes late, or never, is not waited for.
#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "tessera/core/parallel.h"

namespace tessera::parallel {

/// For benches: the processor seconds of the tasks of one fork, and of all rows() outside of shards.
struct Watch {
  std::vector<double> shards;  ///< of the last fork, by number
  std::atomic<double> rows{0};
};
/// What is watched, or null. Changed between forks only.
inline std::atomic<Watch*> watching{nullptr};
/// Processor time of this thread, in seconds.
double thread_seconds();

class Fork {
 public:
  /// f(i) for i in [0, n), on the threads that call work().
  Fork(int n, Ref<void(int)> f) : f_(f), n_(n), running_(n) {
    if (Watch* w = watching) w->shards.assign(static_cast<size_t>(n), 0);
  }
  Fork(const Fork&) = delete;
  Fork& operator=(const Fork&) = delete;

  /// Takes shards, then helps; returns when all shards have ended. Throws nothing: see rethrow().
  void work();
  /// The first exception of a shard, if there was one.
  void rethrow() {
    if (error_) std::rethrow_exception(error_);
  }

  /// The fork whose shard this thread runs, or null.
  static Fork* mine();
  /// Does [0, n) together with idle helpers, in parts that end at multiples of grain; false where nobody is idle, and nothing was done.
  bool share(int64_t n, int64_t grain, Ref<void(int64_t, int64_t)> f);

 private:
  struct Job {
    Ref<void(int64_t, int64_t)> f;
    int64_t n, grain;
    int parts;
    std::atomic<int> open;  // parts that have not ended
    std::mutex lock;        // of error
    std::exception_ptr error;
    void run(int part);
  };
  struct alignas(64) Slot {
    std::atomic<uint64_t> word{0};
    std::atomic<Job*> job{nullptr};
  };
  static constexpr size_t most_slots = 64;  // later workers do without help

  bool help();
  static bool take(Slot& slot, int& part);
  void wait_for_jobs();
  void tell();

  Ref<void(int)> f_;
  const int n_;
  std::atomic<int> next_{0}, running_, idle_{0}, owners_{0};
  std::atomic<int> told_{0};  // changes with every job and at the end
  std::array<Slot, most_slots> slots_;
  std::mutex lock_;  // of error_
  std::exception_ptr error_;
};

}  // namespace tessera::parallel
