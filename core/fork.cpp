#include "tessera/core/fork.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace tessera::parallel {
namespace {

/// The fork whose shard this thread runs, and the thread's slot of it.
struct Here {
  Fork* fork = nullptr;
  size_t slot = 0;
};
thread_local Here here;

constexpr uint64_t next_mask = 0xffff;
constexpr int most_parts = 0xffff;
uint64_t word_of(uint64_t number, int parts) { return number << 32 | static_cast<uint64_t>(parts) << 16; }

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Fork* Fork::mine() { return here.fork; }

void Fork::Job::run(int part) {
  const int64_t units = (n + grain - 1) / grain, from = units * part / parts, to = units * (part + 1) / parts;
  try {
    f(from * grain, std::min(n, to * grain));
  } catch (...) {
    std::lock_guard guard(lock);
    if (!error) error = std::current_exception();
  }
}

/// Counts up the slot's word if there is a part left. From then on its job stays until `open` has been counted down for the part.
bool Fork::take(Slot& slot, int& part) {
  uint64_t w = slot.word.load(std::memory_order_acquire);
  while ((w & next_mask) < (w >> 16 & next_mask))
    if (slot.word.compare_exchange_weak(w, w + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      part = static_cast<int>(w & next_mask);
      return true;
    }
  return false;
}

bool Fork::share(int64_t n, int64_t grain, Ref<void(int64_t, int64_t)> f) {
  const int idle = idle_.load(std::memory_order_relaxed);
  if (idle == 0 || here.slot >= most_slots) return false;
  const int64_t units = (n + grain - 1) / grain;
  const int parts = static_cast<int>(std::min({units, int64_t{2} * (idle + 1), int64_t{most_parts}}));
  Slot& slot = slots_[here.slot];
  Job job{f, n, grain, parts, parts, {}, {}};
  slot.job.store(&job, std::memory_order_relaxed);
  slot.word.store(word_of((slot.word.load(std::memory_order_relaxed) >> 32) + 1, parts), std::memory_order_release);
  tell();
  for (int part; take(slot, part);) {
    job.run(part);
    job.open.fetch_sub(1, std::memory_order_relaxed);
  }
  // what helpers still work on: at most a part each, all of a size
  for (int round = 0; job.open.load(std::memory_order_acquire) > 0; ++round)
    if (round < 1000) {
      pause();
    } else {
      std::this_thread::yield();
    }
  if (job.error) std::rethrow_exception(job.error);
  return true;
}

bool Fork::help() {
  bool helped = false;
  const auto owners = std::min(static_cast<size_t>(owners_.load(std::memory_order_acquire)), most_slots);
  for (size_t i = 0; i < owners; ++i)
    for (int part; take(slots_[i], part); helped = true) {
      idle_.fetch_sub(1, std::memory_order_relaxed);
      Job& job = *slots_[i].job.load(std::memory_order_relaxed);
      job.run(part);
      idle_.fetch_add(1, std::memory_order_relaxed);
      job.open.fetch_sub(1, std::memory_order_release);  // the last word about it: its owner may be gone from here on
    }
  return helped;
}

void Fork::tell() {
  told_.fetch_add(1);
  told_.notify_all();
}

void Fork::wait_for_jobs() {
  // Ops follow each other within microseconds; so watch for a while, and only then sleep, which costs tens of them to wake from.
  using Clock = std::chrono::steady_clock;
  int seen = told_;
  auto since = Clock::now();
  while (running_.load(std::memory_order_acquire) > 0) {
    if (help()) {
      since = Clock::now();
    } else if (const int now = told_; now != seen) {
      seen = now;
    } else if (Clock::now() - since < std::chrono::microseconds(100)) {
      for (int i = 0; i < 16; ++i) pause();
    } else {
      told_.wait(seen);
    }
  }
}

void Fork::work() {
  const auto slot = static_cast<size_t>(owners_.fetch_add(1, std::memory_order_acq_rel));
  const Shard marked;
  for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) {
    here = {this, slot};
    int skipped = 0;
    Watch* const watch = watching.load(std::memory_order_relaxed);
    const double start = watch ? thread_seconds() : 0;
    try {
      f_(i);
      if (watch) watch->shards[static_cast<size_t>(i)] = thread_seconds() - start;
    } catch (...) {
      std::lock_guard guard(lock_);
      if (!error_) error_ = std::current_exception();
      skipped = std::max(0, n_ - next_.exchange(n_, std::memory_order_relaxed));  // no other begins
    }
    here = {};
    if (running_.fetch_sub(1 + skipped, std::memory_order_release) == 1 + skipped) tell();
  }
  idle_.fetch_add(1, std::memory_order_relaxed);
  wait_for_jobs();
  idle_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace tessera::parallel
