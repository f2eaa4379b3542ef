#include "core/parallel.h"

#include <sched.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/sanitizer.h"
#if TESSERA_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace tessera::parallel {
namespace {

thread_local int shard_depth = 0;

// What a fork-join promises: tasks see all that came before the fork, and what comes after the join sees all that the tasks did.
// oneTBB keeps the promise, but its library is not built with ThreadSanitizer, which therefore has to be told. Nothing is
// promised between tasks: a race of two lanes is found.
#if TESSERA_TSAN
char forked, ended;  // not members of Fork: a task would have to read where they are before it may
void release(char& point) { __tsan_release(&point); }
void acquire(char& point) { __tsan_acquire(&point); }
struct Fork {
  Fork() { release(forked); }
  ~Fork() { acquire(ended); }
};
struct Task {
  Task() { acquire(forked); }
  ~Task() { release(ended); }
};
#else
struct Fork {
  ~Fork() {}  // not trivial, so that an object of it counts as used
};
struct Task {
  ~Task() {}
};
#endif

struct Workers {
  int count = 0;
  std::unique_ptr<tbb::global_control> limit;
  std::unique_ptr<tbb::task_arena> arena;
};
Workers& workers() {
  static auto* w = new Workers;  // never destroyed: oneTBB ends by itself
  return *w;
}

int default_threads() {
  if (const char* e = std::getenv("TESSERA_THREADS"); e && *e) {
    char* end = nullptr;
    const long n = std::strtol(e, &end, 10);
    if (*end || n < 1 || n > 4096) fail("threads", "TESSERA_THREADS={} is not a number from 1 to 4096", e);
    return static_cast<int>(n);
  }
  return available_cores();
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (std::ifstream quota("/sys/fs/cgroup/cpu.max"); quota) {  // cgroup v2: "max 100000" or "200000 100000"
    std::string most;
    double period = 0;
    if (quota >> most >> period && most != "max" && period > 0)
      cores = std::min(cores, std::max(1, static_cast<int>(std::ceil(std::atof(most.c_str()) / period))));
  }
  return std::max(cores, 1);
}

void set_threads(int n) {
  if (n < 1) fail("threads", "{} threads: at least one is needed", n);
  Workers& w = workers();
  if (w.count == n) return;
  w.count = n;
  w.arena.reset();
  w.limit = std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(n));
  w.arena = std::make_unique<tbb::task_arena>(n);
}

int threads() {
  if (workers().count == 0) set_threads(default_threads());
  return workers().count;
}

bool in_shard() { return shard_depth > 0; }
Shard::Shard() { ++shard_depth; }
Shard::~Shard() { --shard_depth; }

void shards(int n, Ref<void(int)> f) {
  if (in_shard()) fail("parallel", "a fork inside of a shard would record on another thread's tape");
  threads();
  const auto task = [&](int i) {
    const Task in_order;
    Shard here;
    f(i);
  };
  const Fork fork;
  workers().arena->execute([&] { tbb::parallel_for(0, n, task, tbb::simple_partitioner()); });
}

void rows(int64_t n, int64_t grain, Ref<void(int64_t, int64_t)> f) {
  if (n <= 0) return;
  if (in_shard() || n <= grain || threads() == 1) {
    if (in_shard()) return f(0, n);
    for (int64_t a = 0; a < n; a += grain) f(a, std::min(n, a + grain));
    return;
  }
  const auto task = [&](int64_t i) {
    const Task in_order;
    f(i * grain, std::min(n, (i + 1) * grain));
  };
  const Fork fork;
  workers().arena->execute(
      [&] { tbb::parallel_for(int64_t{0}, (n + grain - 1) / grain, task, tbb::static_partitioner()); });
}

}  // namespace tessera::parallel
