#include "tessera/core/memory.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/sanitizer.h"
#if TESSERA_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tessera {

struct alignas(Pool::alignment) Pool::Header {
  Pool* owner;
  Header* next;
  int32_t size_class;
};

namespace {

// AddressSanitizer knows only what malloc hands out. Under it no block is rounded up or kept, so that reading past the end of
// a tensor or after its release shows, and the header in front of a block is out of bounds, too.
constexpr bool keep_blocks = !TESSERA_ASAN;
#if TESSERA_ASAN
void hide(const void* header, size_t bytes) { __asan_poison_memory_region(header, bytes); }
void show(const void* header, size_t bytes) { __asan_unpoison_memory_region(header, bytes); }
#else
void hide(const void*, size_t) {}
void show(const void*, size_t) {}
#endif

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
  const size_t usable = keep_blocks ? bytes_of(c) : bytes;
  Header* h;
  {
    std::lock_guard guard(lock_);
    h = free_[c];
    if (h) free_[c] = h->next;
    const auto size = static_cast<int64_t>(bytes_of(c));
    if (!h) {
      void* fresh = nullptr;
      if (posix_memalign(&fresh, alignment, sizeof(Header) + usable) != 0)
        fail("pool", "out of memory: {} more bytes are needed; use a smaller batch or model", size);
      h = static_cast<Header*>(fresh);
      stats_.reserved += size;
    }
    stats_.live += size;
    if (stats_.live > stats_.peak) stats_.peak = stats_.live;
  }
  new (h) Header{this, nullptr, c};
  void* block = h + 1;
  if (poisoned.load(std::memory_order_relaxed)) std::memset(block, 0xff, usable);
  hide(h, sizeof(Header));
  return block;
}

void Pool::give(void* block) noexcept {
  Header* h = static_cast<Header*>(block) - 1;
  show(h, sizeof(Header));
  Pool& p = *h->owner;
  std::lock_guard guard(p.lock_);
  const auto size = static_cast<int64_t>(bytes_of(h->size_class));
  p.stats_.live -= size;
  if constexpr (!keep_blocks) {
    p.stats_.reserved -= size;
    return std::free(h);
  }
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
