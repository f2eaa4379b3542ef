#include "core/pool.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "core/error.h"

namespace tessera {

struct alignas(Pool::alignment) Pool::Header {
  Pool* owner;
  Header* next;
  int32_t size_class;
};

namespace {

std::atomic<bool> poisoned{false};

struct Registry {  // all pools, and those whose thread has ended
  std::mutex lock;
  std::vector<Pool*> all, idle;
};
Registry& registry() {
  static auto* r = new Registry;  // never destroyed: blocks may be freed after main
  return *r;
}

// class c holds blocks of (8 + c % 8) << (c / 8) units of 64 bytes
int class_of(size_t bytes) {
  const size_t units = bytes / Pool::alignment + (bytes % Pool::alignment != 0);
  if (units <= 8) return 0;
  const int shift = static_cast<int>(std::bit_width(units)) - 4;
  const size_t step = size_t{1} << shift, mantissa = (units + step - 1) >> shift;  // 8..16
  return static_cast<int>((mantissa - 8) + 8 * static_cast<size_t>(shift));
}
size_t bytes_of(int c) { return (size_t{8} + static_cast<size_t>(c % 8)) * Pool::alignment << (c / 8); }

struct Mine {
  Pool* pool;
  Mine() {
    auto& r = registry();
    std::lock_guard guard(r.lock);
    if (r.idle.empty()) {
      r.all.push_back(new Pool);
      pool = r.all.back();
    } else {
      pool = r.idle.back();
      r.idle.pop_back();
    }
  }
  ~Mine() {
    auto& r = registry();
    std::lock_guard guard(r.lock);
    r.idle.push_back(pool);
  }
};

}  // namespace

Pool& Pool::mine() {
  thread_local Mine mine;
  return *mine.pool;
}

void* Pool::take(size_t bytes) {
  const int c = class_of(bytes);
  if (c < 0 || c >= classes) fail("pool", "{} bytes are more than this machine can address", bytes);
  Header* h;
  {
    std::lock_guard guard(lock_);
    h = free_[c];
    if (h) free_[c] = h->next;
    const auto size = static_cast<int64_t>(bytes_of(c));
    if (!h) {
      h = static_cast<Header*>(std::aligned_alloc(alignment, sizeof(Header) + static_cast<size_t>(size)));
      if (!h) fail("pool", "out of memory: {} more bytes are needed; use a smaller batch or model", size);
      stats_.reserved += size;
    }
    stats_.live += size;
    if (stats_.live > stats_.peak) stats_.peak = stats_.live;
  }
  new (h) Header{this, nullptr, c};
  void* block = h + 1;
  if (poisoned.load(std::memory_order_relaxed)) std::memset(block, 0xff, bytes_of(c));
  return block;
}

void Pool::give(void* block) noexcept {
  Header* h = static_cast<Header*>(block) - 1;
  Pool& p = *h->owner;
  std::lock_guard guard(p.lock_);
  p.stats_.live -= static_cast<int64_t>(bytes_of(h->size_class));
  h->next = p.free_[h->size_class];
  p.free_[h->size_class] = h;
}

Pool::Stats Pool::stats() const {
  std::lock_guard guard(lock_);
  return stats_;
}

Pool::Stats Pool::total() {
  auto& r = registry();
  std::lock_guard guard(r.lock);
  Stats sum;
  for (const Pool* p : r.all) {
    const Stats s = p->stats();
    sum.live += s.live, sum.peak += s.peak, sum.reserved += s.reserved;
  }
  return sum;
}

void Pool::reset_peaks() {
  auto& r = registry();
  std::lock_guard guard(r.lock);
  for (Pool* p : r.all) {
    std::lock_guard inner(p->lock_);
    p->stats_.peak = p->stats_.live;
  }
}

void Pool::poison(bool on) { poisoned = on; }

}  // namespace tessera
