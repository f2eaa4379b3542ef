#include "tessera/train/data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

/// Never larger than the set: batch_size may be given as "all".
size_t batch_of(const Source& source, const LoaderOptions& options) {
  return std::min(static_cast<size_t>(std::max(options.batch_size, 1)), source.size());
}

}  // namespace

Index epoch_order(const Source& source, const LoaderOptions& options, int e) {
  const uint64_t key = rng::mix(options.seed ^ rng::hash("order")) + static_cast<uint64_t>(e);
  Index order = permutation(source.size(), key);
  if (options.bucket < 1) return order;
  const auto length = [&](int32_t i) { return source.length(static_cast<size_t>(i)); };
  const size_t batch = batch_of(source, options), full = order.size() / batch, end = full * batch;
  const size_t pool = std::min(static_cast<size_t>(options.bucket), full) * batch;
  const auto at = [](Index& of, size_t i) { return of.begin() + static_cast<std::ptrdiff_t>(i); };
  // what does not fill a batch is as it was drawn: sorted, it would always be the longest
  for (size_t begin = 0; begin < end; begin += pool)
    std::stable_sort(at(order, begin), at(order, std::min(begin + pool, end)),
                     [&](int32_t a, int32_t b) { return length(a) < length(b); });
  Index mixed = order;  // what does not fill a batch stays last
  const Index batches = permutation(full, key ^ rng::hash("batches"));
  for (size_t b = 0; b < full; ++b)
    std::copy_n(at(order, static_cast<size_t>(batches[b]) * batch), batch, at(mixed, b * batch));
  return mixed;
}

double padding(const Source& source, const LoaderOptions& options) {
  const Index order = epoch_order(source, options, 0);
  const size_t batch = batch_of(source, options);
  double used = 0, all = 0;
  for (size_t begin = 0; begin < order.size(); begin += batch) {
    const size_t n = std::min(batch, order.size() - begin);
    int longest = 0;
    for (size_t j = begin; j < begin + n; ++j) {
      const int length = source.length(static_cast<size_t>(order[j]));
      used += length, longest = std::max(longest, length);
    }
    all += static_cast<double>(longest) * static_cast<double>(n);
  }
  return all > 0 ? 1 - used / all : 0;
}

// Batch b is made in slot b % slots by whichever worker is free; the consumer holds one slot, the workers may fill the
// others.
struct Loading {
  struct Made {
    BatchMemory memory;
    Tensor resized;
    Batch batch;
    bool ready = false;
    std::exception_ptr error;  // instead of a batch
  };

  Loading(std::shared_ptr<const Source> s, LoaderOptions o) : source(std::move(s)), options(o) {
    if (!source || source->size() == 0) fail("loader", "{} is empty", source ? source->name : "the data");
    if (source->size() > static_cast<size_t>(INT32_MAX))
      fail("loader", "{} has {} samples, expected at most 2^31 - 1", source->name, source->size());
    if (options.batch_size < 1) fail("loader", "batch_size {} makes no sense; at least 1", options.batch_size);
    if (options.workers < 1 || options.workers > 256)
      fail("loader", "{} workers make no sense; 1 to 256", options.workers);
    size = batch_of(*source, options);
    batches = (source->size() + (options.drop_last ? 0 : size - 1)) / size;
    if (options.bucket < 0) fail("loader", "bucket {} makes no sense; 0 (off) or a number of batches", options.bucket);
    check_sizes();
    order.resize(source->size());
    std::iota(order.begin(), order.end(), 0);
    slots.resize(static_cast<size_t>(options.workers) + 1);
    std::vector<std::unique_ptr<Reader>> readers;
    for (int i = 0; i < options.workers; ++i) readers.push_back(source->reader(options.augment));
    try {
      for (auto& r : readers) threads.emplace_back([this, r = std::move(r)] { work(*r); });
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

  void work(Reader& reader) {
    std::unique_lock guard(lock);
    for (;;) {
      wake.wait(guard, [&] { return stop || (next < end && next < held + slots.size()); });
      if (stop) return;
      const size_t b = next++;
      ++busy;
      guard.unlock();
      Made& slot = slots[b % slots.size()];
      std::exception_ptr error;
      try {
        make(reader, b, slot);
      } catch (...) {
        error = std::current_exception();
      }
      guard.lock();
      --busy;
      slot.ready = true, slot.error = std::move(error);
      done.notify_all();
    }
  }

  void make(Reader& reader, size_t b, Made& to) {
    const size_t begin = b * size, n = std::min(size, source->size() - begin);
    const uint64_t key = rng::mix(rng::mix(options.seed ^ rng::hash("augment")) + static_cast<uint64_t>(epoch));
    reader.begin(options.seed, epoch);
    to.batch = {};  // gives its memory back
    to.batch = to.memory.gather(*source, reader, std::span(order).subspan(begin, n), key);
    if (options.augment.mixes(epoch)) {
      to.batch.targets = to.memory.targets(to.batch.size(), source->classes);
      reader.mix(to.batch, rng::Stream(rng::mix(key ^ rng::hash("mix")) + b));
    }
    if (const int now = size_at(options.progressive, epoch + static_cast<double>(b) / static_cast<double>(batches)))
      to.batch.in.x = resize_images(to.batch.in.x, now, to.resized);
  }

  void check_sizes() const {
    if (options.progressive.empty()) return;
    const InputShape form = source->form();
    if (form.kind != InputShape::Kind::image)
      fail("data", "data.progressive resizes images, and {} holds none: leave it out", source->name);
    if (form.h != form.w)
      fail("data", "data.progressive resizes square images, those of {} are {} x {}", source->name, form.h, form.w);
    for (const SizeFrom& s : options.progressive)
      if (s.size > form.h)
        fail("data", "data.progressive: {} is larger than the images of {}, which are {} x {}", s.size, source->name,
             form.h, form.w);
  }

  void begin_epoch(int e, size_t first_batch) {
    std::unique_lock guard(lock);
    if (active) fail("loader", "an epoch of {} is still running; one at a time", source->name);
    if (e < 0 || first_batch > batches)
      fail("loader", "epoch {}, batch {}: {} has {} batches an epoch", e, first_batch, source->name, batches);
    epoch = e;
    if (options.shuffle) order = epoch_order(*source, options, e);
    for (Made& slot : slots) slot.ready = false;
    held = next = first_batch;
    end = batches;
    active = true;
    started = false;
    wake.notify_all();
  }

  // The next batch, or null after the last one. What went wrong in a batch is thrown in its turn, whichever worker was faster.
  const Batch* advance() {
    std::unique_lock guard(lock);
    if (started) {
      slots[held % slots.size()].ready = false;
      ++held;
      wake.notify_all();
    }
    started = true;
    if (held >= end) return nullptr;
    Made& slot = slots[held % slots.size()];
    done.wait(guard, [&] { return slot.ready; });
    if (slot.error) std::rethrow_exception(std::exchange(slot.error, nullptr));
    return &slot.batch;
  }

  void end_epoch() {
    std::unique_lock guard(lock);
    end = 0;
    done.wait(guard, [&] { return busy == 0; });
    for (Made& slot : slots) slot.error = nullptr;
    active = false;
  }

  const std::shared_ptr<const Source> source;
  const LoaderOptions options;
  size_t size = 0;  // of a batch
  size_t batches = 0;
  Index order;
  std::vector<Made> slots;
  std::mutex lock;
  std::condition_variable wake, done;
  bool stop = false, active = false, started = false;
  int epoch = 0, busy = 0;
  size_t held = 0;           // the batch the consumer has or waits for
  size_t next = 0, end = 0;  // the batch made next, and one past the last
  std::vector<std::thread> threads;
};

Loader::Loader(Set set, LoaderOptions options) : Loader(std::make_shared<const Set>(std::move(set)), options) {}
Loader::Loader(std::shared_ptr<const Source> source, LoaderOptions options)
    : impl_(std::make_shared<Loading>(std::move(source), options)) {}
Loader::~Loader() = default;
size_t Loader::batches() const { return impl_->batches; }
const Source& Loader::source() const { return *impl_->source; }
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
