#pragma once
// Memory that is taken once and never given back: the first touch of a page costs more than most ops, so a steady
// training step must neither call malloc nor fault a page. A Pool keeps freed blocks in lists by size class (8 classes per
// doubling: at most 12.5 % waste). Every thread has its own pool; a block always returns to the pool it came from.
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace tessera {

class Pool {
 public:
  static constexpr size_t alignment = 64;

  /// The calling thread's pool. Pools never die; a new thread takes over the pool of one that has ended.
  static Pool& mine();
  /// At least `bytes` bytes, aligned to 64, contents undefined (NaN bytes while poison is on).
  void* take(size_t bytes);
  /// Returns a block from take() to its pool; any thread may call it.
  static void give(void* block) noexcept;

  struct Stats {
    int64_t live = 0;      ///< bytes handed out now
    int64_t peak = 0;      ///< the most since reset_peak()
    int64_t reserved = 0;  ///< bytes obtained from the system
  };
  Stats stats() const;
  static Stats total();  ///< summed over all pools (peak: sum of the peaks)
  static void reset_peaks();
  /// While on, every block is filled with NaN when taken, so that reading unwritten memory shows. For tests.
  static void poison(bool on);

 private:
  struct Header;
  static constexpr int classes = 8 * 44;
  mutable std::mutex lock_;
  Header* free_[classes] = {};
  Stats stats_;
};

}  // namespace tessera
