#pragma once
// Calls of malloc and its relatives (operator new among them), counted in the program only: the library replaces no
// allocator.
#include <cstdint>

namespace tessera::cli {

/// Calls by all threads since the start; always 0 under a sanitizer or a C library other than glibc.
uint64_t malloc_calls();

}  // namespace tessera::cli
