#pragma once
// Which sanitizer this is compiled under: GCC defines macros, clang has another way to tell.
#if defined(__has_feature)
#define TESSERA_HAS_FEATURE(name) __has_feature(name)
#else
#define TESSERA_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || TESSERA_HAS_FEATURE(address_sanitizer)
#define TESSERA_ASAN 1
#else
#define TESSERA_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || TESSERA_HAS_FEATURE(thread_sanitizer)
#define TESSERA_TSAN 1
#else
#define TESSERA_TSAN 0
#endif
