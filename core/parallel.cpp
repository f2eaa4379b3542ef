#include "core/parallel.h"

#include <sched.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
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
struct Fork {};
struct Task {};
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

/// quota / period of one cgroup folder, rounded up; v2 says "max 100000" or "200000 100000" in one file, v1 uses two.
int cores_of(const std::string& folder) {
  constexpr int unlimited = std::numeric_limits<int>::max();
  double quota = -1, period = 0;
  if (std::ifstream v2(folder + "/cpu.max"); v2) {
    std::string most;
    v2 >> most >> period;
    if (most != "max") std::from_chars(most.data(), most.data() + most.size(), quota);
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : unlimited;
}

}  // namespace

int cgroup_cores(const std::string& membership, const std::string& root) {
  int cores = cores_of(root);  // where a container sees its own group as the root
  std::ifstream in(membership);
  for (std::string line; std::getline(in, line);) {  // "0::/user.slice/job", or in v1 "4:cpu,cpuacct:/job"
    const size_t a = line.find(':'), b = line.find(':', a + 1);
    if (b == std::string::npos) continue;
    const std::string controllers = "," + line.substr(a + 1, b - a - 1) + ",";
    const bool v2 = controllers == ",,";
    if (!v2 && controllers.find(",cpu,") == std::string::npos) continue;
    // every group above limits, too
    if (b + 1 >= line.size() || line[b + 1] != '/') continue;
    for (std::string path = line.substr(b + 1); path.size() > 1; path = path.substr(0, path.rfind('/')))
      for (const char* mount : {"", "/cpu", "/cpu,cpuacct"})
        if (v2 == !*mount) cores = std::min(cores, cores_of(root + mount + path));
  }
  return cores;
}

int available_cores() {
  cpu_set_t set;
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min(cores, cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup")));
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
    [[maybe_unused]] const Task in_order;
    Shard here;
    f(i);
  };
  [[maybe_unused]] const Fork fork;
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
    [[maybe_unused]] const Task in_order;
    f(i * grain, std::min(n, (i + 1) * grain));
  };
  [[maybe_unused]] const Fork fork;
  workers().arena->execute(
      [&] { tbb::parallel_for(int64_t{0}, (n + grain - 1) / grain, task, tbb::static_partitioner()); });
}

}  // namespace tessera::parallel
