#pragma once
// Counter-based random numbers: a draw is a pure function of (stream, counter), so any thread may compute any of them and a
// resumed run continues exactly. The generator is SplitMix64 (Steele, Lea, Flood 2014) addressed by counter.
#include <cstdint>
#include <string_view>

namespace tessera::rng {

/// SplitMix64's output function: a bijection of 64 bits.
constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// FNV-1a of a name, mixed.
constexpr uint64_t hash(std::string_view s) {
  uint64_t h = 14695981039346656037ULL;
  for (char c : s) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return mix(h);
}

class Stream {
 public:
  explicit constexpr Stream(uint64_t seed) : seed_(seed) {}
  /// 64 random bits number `counter`.
  constexpr uint64_t bits(uint64_t counter) const { return mix(seed_ + 0x9e3779b97f4a7c15ULL * counter); }
  /// 32 random bits number `i`, two of one draw: what masks are made of (kernels().dropout computes the same).
  constexpr uint32_t bits32(uint64_t i) const { return static_cast<uint32_t>(i % 2 ? bits(i / 2) >> 32 : bits(i / 2)); }
  /// Uniform in [0, 1), 53 bits.
  constexpr double uniform(uint64_t counter) const { return static_cast<double>(bits(counter) >> 11) * 0x1p-53; }
  /// Uniform integer in [0, n), n < 2^32; the bias is below n / 2^32.
  constexpr uint32_t below(uint64_t counter, uint32_t n) const {
    return static_cast<uint32_t>(((bits(counter) >> 32) * n) >> 32);
  }
  /// Standard normal (Box-Muller on counters 2c and 2c + 1).
  double normal(uint64_t counter) const;
  constexpr uint64_t seed() const { return seed_; }

 private:
  uint64_t seed_;
};

}  // namespace tessera::rng
