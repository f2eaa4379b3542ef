#include "tessera/core/parallel.h"

#include <sched.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/fork.h"
#include "tessera/core/sanitizer.h"
#if TESSERA_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace tessera::parallel {
namespace {

thread_local int depth = 0;
thread_local bool in_rows = false;
std::atomic<int> cutting_all{0};
constexpr int most_threads = 4096;

// What a fork-join promises: tasks see all that came before the fork, and what comes after the join sees all that the tasks did.
// oneTBB keeps the promise, but its library is not built with ThreadSanitizer, which therefore has to be told. Nothing is
// promised between tasks: a race of two lanes is found.
#if TESSERA_TSAN
char forked, ended;  // not members of Joined: a task would have to read where they are before it may
void release(char& point) { __tsan_release(&point); }
void acquire(char& point) { __tsan_acquire(&point); }
struct Joined {
  Joined() { release(forked); }
  ~Joined() { acquire(ended); }
};
struct Task {
  Task() { acquire(forked); }
  ~Task() { release(ended); }
};
#else
struct Joined {};
struct Task {};
#endif

struct Workers {
  std::mutex lock;            // of all below but count
  std::atomic<int> count{0};  // 0: nobody has asked yet
  int created = 1;            // threads that are known to exist, the caller's included
  std::shared_ptr<tbb::task_arena> arena;
  std::unique_ptr<tbb::global_control> limit;
};
Workers& workers() {
  static auto* w = new Workers;  // never destroyed: oneTBB ends by itself
  return *w;
}

/// oneTBB ends the process where the system refuses a thread. So ask before it does, all threads at once as it would have them, and
/// say what can be done.
void try_threads(int first, int last) {
  std::vector<std::thread> alive;
  std::atomic<bool> over{false};
  std::string why;
  try {
    alive.reserve(static_cast<size_t>(std::max(0, last - first)));
    for (int i = first; i < last; ++i) alive.emplace_back([&] { over.wait(false); });
  } catch (const std::exception& e) {
    why = e.what();
  }
  const int got = first + static_cast<int>(alive.size());
  over = true;
  over.notify_all();
  for (std::thread& t : alive) t.join();
  if (!why.empty()) {
    fail("threads",
         "the system refuses thread {} of {} ({}); use fewer (--threads, TESSERA_THREADS) or raise the limit "
         "(ulimit -u, ulimit -v, pids.max)",
         got + 1, last, why);
  }
}

/// Has oneTBB create its threads now, right after they were seen to be possible, rather than at some later moment. Where the host
/// allows it fewer, they never all meet: hence the deadline.
void meet(tbb::task_arena& arena, int n) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(20);
  std::atomic<int> here{0};
  const auto task = [&](int) {
    [[maybe_unused]] const Task in_order;
    ++here;
    while (here < n && Clock::now() < deadline) std::this_thread::yield();
  };
  const auto all = [&] {
    [[maybe_unused]] const Task in_order;
    tbb::this_task_arena::isolate([&] { tbb::parallel_for(0, n, task, tbb::simple_partitioner()); });
  };
  [[maybe_unused]] const Joined joined;  // after all that the tasks look at, as in shards()
  arena.execute(all);
}

/// Under the lock: an arena of n threads in place of the one there is, which lives on where it is in use.
void make_arena(Workers& w, int n) {
  try_threads(w.created, n);
  // oneTBB's own limit, the number of cores, can only be raised; a lower one that the host has set wins over this
  using tbb::global_control;
  if (static_cast<size_t>(n) > global_control::active_value(global_control::max_allowed_parallelism))
    w.limit = std::make_unique<global_control>(global_control::max_allowed_parallelism, static_cast<size_t>(n));
  const int slots = static_cast<int>(
      std::min(static_cast<size_t>(n), global_control::active_value(global_control::max_allowed_parallelism)));
  auto arena = std::make_shared<tbb::task_arena>(slots);
  if (slots > w.created) meet(*arena, slots);
  w.arena = std::move(arena);
  w.created = std::max(w.created, slots);
}

std::shared_ptr<tbb::task_arena> arena() {
  const int n = threads();
  Workers& w = workers();
  std::lock_guard guard(w.lock);
  if (!w.arena) make_arena(w, n);
  return w.arena;
}

int default_threads() {
  if (const char* e = std::getenv("TESSERA_THREADS"); e && *e) {
    char* end = nullptr;
    const long n = std::strtol(e, &end, 10);
    if (*end || n < 1 || n > most_threads)
      fail("threads", "TESSERA_THREADS={} is not a number from 1 to {}", e, most_threads);
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
  if (n < 1 || n > most_threads) fail("threads", "{} threads: expected 1 to {}", n, most_threads);
  Workers& w = workers();
  std::lock_guard guard(w.lock);
  if (w.arena && w.count == n) return;
  make_arena(w, n);
  w.count = n;
}

int threads() {
  Workers& w = workers();
  if (const int n = w.count) return n;
  const int n = default_threads();
  int unset = 0;
  return w.count.compare_exchange_strong(unset, n) ? n : unset;
}

bool in_shard() { return depth > 0; }
int shard_depth() { return depth; }
Shard::Shard() { ++depth; }
Shard::~Shard() { --depth; }

int64_t grain(int64_t width, int64_t unit) {
  constexpr int64_t least = 16384;  // numbers
  return cutting_all ? unit : unit * std::max<int64_t>(1, least / std::max<int64_t>(1, unit * width));
}

CutAll::CutAll() { ++cutting_all; }
CutAll::~CutAll() { --cutting_all; }

void shards(int n, Ref<void(int)> f) {
  if (in_shard()) fail("parallel", "a fork inside of a shard would record on another thread's tape");
  if (n <= 0) return;
  Fork fork(n, f);
  const int most = threads();
  const auto task = [&](int) {
    [[maybe_unused]] const Task in_order;
    fork.work();
  };
  // isolated: a thread that waits here takes no task of another fork, which would run amid this one's thread-local state
  const auto all = [&] {
    [[maybe_unused]] const Task in_order;  // where the arena is full, one of its threads runs this for ours
    tbb::this_task_arena::isolate([&] { tbb::parallel_for(0, most, task, tbb::simple_partitioner()); });
  };
  {
    const auto workers = arena();
    [[maybe_unused]] const Joined joined;  // after all that the tasks look at
    workers->execute(all);
  }
  fork.rethrow();
}

void rows(int64_t n, int64_t grain, Ref<void(int64_t, int64_t)> f) {
  if (n <= 0) return;
  if (grain < 1) fail("parallel", "blocks of {} rows: at least one is needed", grain);
  if (n <= grain || in_rows) return f(0, n);
  struct Inside {  // rows() inside of f is one call
    Inside() { in_rows = true; }
    ~Inside() { in_rows = false; }
  };
  const auto part = [&](int64_t begin, int64_t end) {
    const Inside inside;
    Watch* const watch = in_shard() ? nullptr : watching.load(std::memory_order_relaxed);
    const double start = watch ? thread_seconds() : 0;
    f(begin, end);
    if (watch) watch->rows.fetch_add(thread_seconds() - start, std::memory_order_relaxed);
  };
  if (cutting_all > 0) {
    for (int64_t end = n; end > 0;) {  // from the last to the first
      const int64_t begin = (end - 1) / grain * grain;
      part(begin, end), end = begin;
    }
    return;
  }
  if (in_shard()) {
    Fork* fork = Fork::mine();
    if (!fork || !fork->share(n, grain, part)) f(0, n);
    return;
  }
  if (threads() == 1) return part(0, n);
  const auto task = [&](int64_t i) {
    [[maybe_unused]] const Task in_order;
    part(i * grain, std::min(n, (i + 1) * grain));
  };
  const auto all = [&] {
    [[maybe_unused]] const Task in_order;
    tbb::this_task_arena::isolate(
        [&] { tbb::parallel_for(int64_t{0}, (n + grain - 1) / grain, task, tbb::static_partitioner()); });
  };
  const auto workers = arena();
  [[maybe_unused]] const Joined joined;
  workers->execute(all);
}

}  // namespace tessera::parallel
