#pragma once
// The only door to oneTBB. Kernels are serial; parallelism is one fork-join over lanes per training step (shards()), and
// row-parallel ops outside of shards (rows()). Inside a shard rows() is a plain loop: a stolen task would otherwise record on
// another thread's tape.
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

/// f(i) for i in [0, n) on the workers, each call inside its own shard. The first exception is rethrown after all ended.
void shards(int n, Ref<void(int)> f);

/// f(begin, end) over [0, n) in blocks of `grain` rows: parallel outside of shards, one call inside. The blocks depend on n and
/// grain only, never on the thread count.
void rows(int64_t n, int64_t grain, Ref<void(int64_t, int64_t)> f);

}  // namespace tessera::parallel
