#include "tessera/train/data/loader.h"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {

// Batch b is made in slot b % slots by whichever worker is free; the consumer holds one slot, the workers may fill the
// others.
struct Loading {
  struct Slot {
    Tensor x, targets, labels;  // full size; batch views them. Labels are int32 in the tensor's bytes
    Batch batch;
    bool ready = false;
  };

  Loading(Set s, LoaderOptions o) : set(std::move(s)), options(o) {
    if (set.size() == 0) fail("loader", "{} is empty", set.name);
    if (options.batch_size < 1) fail("loader", "batch_size {} makes no sense; at least 1", options.batch_size);
    if (options.workers < 1 || options.workers > 256)
      fail("loader", "{} workers make no sense; 1 to 256", options.workers);
    check(options.augment, set);
    // never larger than the set: `batch_size` may be given as "all"
    size = static_cast<int>(std::min<size_t>(static_cast<size_t>(options.batch_size), set.size()));
    batches = (set.size() + static_cast<size_t>(size) - 1) / static_cast<size_t>(size);
    slots.resize(static_cast<size_t>(options.workers) + 1);
    try {
      for (int i = 0; i < options.workers; ++i)
        threads.emplace_back([this, p = std::make_unique<Pipeline>(options.augment, set)] { work(*p); });
    } catch (const std::system_error& e) {
      close();
      fail("loader",
           "the system refuses background thread {} of {} ({}); use fewer workers or raise the limit (ulimit -u, "
           "pids.max)",
           threads.size() + 1, options.workers, e.what());
    } catch (...) {
      close();
      throw;
    }
  }
  Loading(const Loading&) = delete;
  Loading& operator=(const Loading&) = delete;
  ~Loading() { close(); }

  void close() {
    {
      std::lock_guard guard(lock);
      stop = true;
    }
    wake.notify_all();
    for (std::thread& t : threads) t.join();
  }

  void work(Pipeline& pipeline) {
    std::unique_lock guard(lock);
    for (;;) {
      wake.wait(guard, [&] { return stop || (next < end && next < held + slots.size()); });
      if (stop) return;
      const size_t b = next++;
      ++busy;
      guard.unlock();
      std::exception_ptr wrong;
      try {
        make(pipeline, b, slots[b % slots.size()]);
      } catch (...) {
        wrong = std::current_exception();
      }
      guard.lock();
      --busy;
      slots[b % slots.size()].ready = true;
      if (wrong && !error) error = wrong;
      done.notify_all();
    }
  }

  // A buffer of which someone kept a copy is left to him.
  static void reserve(Tensor& t, const Shape& shape) {
    if (!t || !t.unique() || !(t.shape() == shape)) t = Tensor(shape);
  }

  void make(Pipeline& pipeline, size_t b, Slot& slot) {
    const size_t begin = b * static_cast<size_t>(size), n = std::min(static_cast<size_t>(size), set.size() - begin);
    slot.batch = {};
    reserve(slot.x, {size, set.h, set.w, set.channels});
    reserve(slot.labels, {size});
    static_assert(sizeof(real) == sizeof(int32_t));
    const std::span labels(reinterpret_cast<int32_t*>(slot.labels.data()), n);
    const uint64_t key = rng::mix(rng::mix(options.seed ^ rng::hash("augment")) + static_cast<uint64_t>(epoch));
    for (size_t j = 0; j < n; ++j) {
      const auto i = options.shuffle ? static_cast<size_t>(order[begin + j]) : begin + j;
      labels[j] = set.label(i);
      pipeline.apply(i, rng::Stream(rng::mix(key + i)), slot.x.data() + j * set.bytes());
    }
    const int rows = static_cast<int>(n);
    slot.batch.in.x = rows == size ? slot.x : slot.x.rows(0, rows);
    slot.batch.labels = labels;
    slot.batch.owner = slot.labels;
    slot.batch.of = rows;
    if (options.augment.mixes(epoch)) {
      reserve(slot.targets, {size, set.classes});
      slot.batch.targets = rows == size ? slot.targets : slot.targets.rows(0, rows);
      mix(options.augment, slot.batch.in.x, labels, slot.batch.targets,
          rng::Stream(rng::mix(key ^ rng::hash("mix")) + b));
    }
  }

  void begin_epoch(int e, size_t first_batch) {
    std::unique_lock guard(lock);
    if (active) fail("loader", "an epoch of {} is still running; one at a time", set.name);
    if (e < 0 || first_batch > batches)
      fail("loader", "epoch {}, batch {}: {} has {} batches an epoch", e, first_batch, set.name, batches);
    epoch = e;
    if (options.shuffle)
      order = permutation(set.size(), rng::mix(options.seed ^ rng::hash("order")) + static_cast<uint64_t>(e));
    for (Slot& slot : slots) slot.ready = false;
    held = next = first_batch;
    end = batches;
    active = true;
    started = false;
    wake.notify_all();
  }

  // The next batch, or null after the last one.
  const Batch* advance() {
    std::unique_lock guard(lock);
    if (started) {
      slots[held % slots.size()].ready = false;
      ++held;
      wake.notify_all();
    }
    started = true;
    if (held >= end) return nullptr;
    Slot& slot = slots[held % slots.size()];
    done.wait(guard, [&] { return slot.ready; });
    if (error) std::rethrow_exception(std::exchange(error, nullptr));
    return &slot.batch;
  }

  void end_epoch() {
    std::unique_lock guard(lock);
    end = 0;
    done.wait(guard, [&] { return busy == 0; });
    error = nullptr;
    active = false;
  }

  const Set set;
  const LoaderOptions options;
  int size = 0;
  size_t batches = 0;
  Index order;
  std::vector<Slot> slots;
  std::mutex lock;
  std::condition_variable wake, done;
  bool stop = false, active = false, started = false;
  int epoch = 0, busy = 0;
  size_t held = 0;           // the batch the consumer has or waits for
  size_t next = 0, end = 0;  // the batch made next, and one past the last
  std::exception_ptr error;
  std::vector<std::thread> threads;
};

Loader::Loader(Set set, LoaderOptions options) : impl_(std::make_shared<Loading>(std::move(set), options)) {}
Loader::~Loader() = default;
size_t Loader::batches() const { return impl_->batches; }
const Set& Loader::set() const { return impl_->set; }
const LoaderOptions& Loader::options() const { return impl_->options; }
Epoch Loader::epoch(int e, size_t first_batch) {
  impl_->begin_epoch(e, first_batch);
  return Epoch(impl_);
}

Epoch::Iterator::Iterator(Loading* from) : from_(from), batch_(from->advance()) {}
Epoch::Iterator& Epoch::Iterator::operator++() {
  batch_ = from_->advance();
  return *this;
}
Epoch::Iterator Epoch::begin() {
  if (!from_) fail("loader", "an epoch that has been moved from holds no batches");
  return Iterator(from_.get());
}
Epoch::~Epoch() {
  if (from_) from_->end_epoch();
}

}  // namespace tessera::data
