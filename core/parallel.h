#pragma once
// The only door to oneTBB. Kernels are serial; parallelism is one fork-join over lanes per training step (shards()), and ops that cut
// their rows (rows()). A worker of a fork whose shards are all taken helps the ops of those that still run; it never takes up a shard
// while it waits in an op, which would record on another thread's tape.
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>

namespace tessera::parallel {

/// Cores this process may use, respecting affinity and cgroup quotas.
int available_cores();
/// The smallest CPU quota, in cores rounded up, of the cgroups (v1 or v2) that the file `membership` (/proc/self/cgroup) names below
/// `root` (/sys/fs/cgroup), and of those above them; the largest int without any.
int cgroup_cores(const std::string& membership, const std::string& root);
/// Worker count of shards() and rows() from the next of them on; default available_cores(), or TESSERA_THREADS. Results never depend
/// on it, nor does oneTBB's work outside of tessera. May be called at any time from any thread, as may the rest of this file. Throws
/// Error unless 1 <= n <= 4096, and if the system refuses to create that many threads; the count is then as before.
void set_threads(int n);
/// The count; creates no thread. Throws Error if TESSERA_THREADS is no number from 1 to 4096.
int threads();

/// Is this thread inside a shard, and of how many nested ones?
bool in_shard();
int shard_depth();
/// Marks this thread as inside a shard while it lives.
class Shard {
 public:
  Shard();
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;
};

/// A non-owning reference to a callable: no allocation. Only as a function's parameter: a variable of this type dangles when it is
/// made from a lambda on the spot.
template <class Sig>
class Ref;
template <class R, class... A>
class Ref<R(A...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Ref>) Ref(F&& f)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* o, A... a) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(o))(static_cast<A>(a)...);
        }) {}
  R operator()(A... a) const { return call_(object_, static_cast<A>(a)...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

/// f(i) for i in [0, n) on the workers, each call inside its own shard, begun in the order of i. The first exception is rethrown after
/// all ended.
void shards(int n, Ref<void(int)> f);

/// f(begin, end) over disjoint ranges that make up [0, n), all ends but the last multiples of `grain`: one call where no worker is idle.
/// How many there are depends on who is idle at the moment, so f must write the same bits however [0, n) is cut: cut what is written, never
/// a sum. Inside of f rows() is one call. The first exception is rethrown after all calls ended.
void rows(int64_t n, int64_t grain, Ref<void(int64_t, int64_t)> f);

/// A grain of some microseconds: a multiple of `unit`, of rows that read or write `width` numbers each.
int64_t grain(int64_t width, int64_t unit = 1);
/// The same for rows of so many multiply-adds.
inline int64_t grain_of_products(int64_t macs, int64_t unit = 1) { return grain(macs / 16 + 1, unit); }
/// The grain of a loop over single numbers: whole vectors.
inline int64_t numbers() { return grain(1, 64); }

/// For tests: while one of these lives, grains are single units and rows() calls f for each of them, the last one first, on this thread.
class CutAll {
 public:
  CutAll();
  ~CutAll();
  CutAll(const CutAll&) = delete;
  CutAll& operator=(const CutAll&) = delete;
};

}  // namespace tessera::parallel
