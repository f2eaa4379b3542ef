#pragma once
// Batches in a background thread. The content of batch b of epoch e is a function of (seed, e, b) only, so a run
// resumes at any batch and thread counts do not matter. Buffers are reused: a steady step neither allocates nor faults
// a page (data.progressive makes two small tables of weights for every batch).
#include <iterator>
#include <memory>

#include "tessera/train/data/augment.h"
#include "tessera/train/data/progressive.h"
#include "tessera/train/data/set.h"

namespace tessera::data {

struct LoaderOptions {
  int batch_size = 128;
  uint64_t seed = 0;
  Augment augment = {};
  bool shuffle = true;                     ///< a new order every epoch; false: the order of the set
  int workers = 1;                         ///< background threads
  bool drop_last = false;                  ///< leave out the samples of an epoch that do not fill a batch
  int bucket = 0;                          ///< so many batches are filled by length; 0: samples come as they are drawn
  std::vector<SizeFrom> progressive = {};  ///< sizes of images by epoch, of square ones; none: their own
};

/// The samples of epoch `e`, batch by batch: a function of (seed, e) alone. With a bucket, samples are drawn as ever, each `bucket` batches of
/// them are sorted by length, and the full batches come in an order that is drawn again.
Index epoch_order(const Source& source, const LoaderOptions& options, int e);
/// The share of the steps of a batch that are padding, on the average of epoch 0.
double padding(const Source& source, const LoaderOptions& options);

struct Loading;  // threads and buffers of a loader; its epoch keeps them alive, too

/// One pass over the set: `for (const Batch& batch : loader.epoch(e))`. A batch is valid until the next one is asked
/// for (copies of the batch or its tensors stay valid). Leaving the loop early is fine. One Epoch of a loader lives at a
/// time; it may outlive the loader, as in `for (const Batch& batch : Loader(set, options).epoch(0))`.
class Epoch {
 public:
  class Iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = Batch;
    const Batch& operator*() const { return *batch_; }
    const Batch* operator->() const { return batch_; }
    Iterator& operator++();
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return batch_ == nullptr; }

   private:
    friend class Epoch;
    explicit Iterator(Loading* from);
    Loading* from_;
    const Batch* batch_ = nullptr;
  };
  /// Throws Error if this epoch has been moved from, and whatever went wrong in a background thread.
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }
  Epoch(Epoch&&) noexcept = default;
  Epoch& operator=(Epoch&&) = delete;
  ~Epoch();

 private:
  friend class Loader;
  explicit Epoch(std::shared_ptr<Loading> from) : from_(std::move(from)) {}
  std::shared_ptr<Loading> from_;
};

class Loader {
 public:
  /// Throws Error on empty data, a batch size below 1, workers outside of 1 to 256, an augmentation outside of its domain or one the
  /// set's labels do not survive, progressive sizes of what are no square images or are smaller ones, and if the system refuses a thread.
  Loader(std::shared_ptr<const Source> source, LoaderOptions options);
  Loader(Set set, LoaderOptions options);
  Loader(Loader&&) = delete;
  ~Loader();
  /// ceil(size / batch_size): the last short batch is kept, unless drop_last.
  size_t batches() const;
  /// Epoch e from batch `first_batch` on.
  Epoch epoch(int e, size_t first_batch = 0);
  const Source& source() const;
  const LoaderOptions& options() const;

 private:
  std::shared_ptr<Loading> impl_;
};

}  // namespace tessera::data
