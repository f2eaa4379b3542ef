#include "tessera/train/cli/count_malloc.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "tessera/core/sanitizer.h"

namespace {
std::atomic<uint64_t> calls{0};
}

namespace tessera::cli {
uint64_t malloc_calls() { return calls.load(std::memory_order_relaxed); }
}  // namespace tessera::cli

// glibc lets a program bring its own malloc and keeps its own under other names. Sanitizers bring theirs.
#if defined(__GLIBC__) && !TESSERA_ASAN && !TESSERA_TSAN
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

static inline void count() { calls.fetch_add(1, std::memory_order_relaxed); }

void* malloc(size_t bytes) {
  count();
  return __libc_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  count();
  return __libc_calloc(n, bytes);
}
void* realloc(void* block, size_t bytes) {
  count();
  return __libc_realloc(block, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  count();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  count();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, size_t alignment, size_t bytes) {
  count();
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  void* got = __libc_memalign(alignment, bytes);
  if (!got) return ENOMEM;
  *block = got;
  return 0;
}
}
#endif
