#include "tessera/train/data/hashes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace tessera::data {
namespace {

/// The first 32 bits after the point of f(n).
template <class F>
uint32_t fraction(F f, int n) {
  const long double x = f(n);
  return static_cast<uint32_t>((x - std::floor(x)) * 4294967296.0L);
}

/// Constants of SHA-256: of the cube roots of the first 64 primes, then of the square roots of the first 8.
struct Primes {
  std::array<uint32_t, 64> cube{};
  std::array<uint32_t, 8> square{};
  Primes() {
    size_t found = 0;
    for (int n = 2; found < cube.size(); ++n) {
      bool prime = true;
      for (int d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
      if (!prime) continue;
      cube[found] = fraction([](int p) { return std::cbrt(static_cast<long double>(p)); }, n);
      if (found < square.size())
        square[found] = fraction([](int p) { return std::sqrt(static_cast<long double>(p)); }, n);
      ++found;
    }
  }
};
const Primes& primes() {
  static const Primes p;
  return p;
}

void sha256_block(std::array<uint32_t, 8>& state, const uint8_t* bytes) {
  std::array<uint32_t, 64> w{};
  for (size_t t = 0; t < 16; ++t)
    w[t] = uint32_t{bytes[4 * t]} << 24 | uint32_t{bytes[4 * t + 1]} << 16 | uint32_t{bytes[4 * t + 2]} << 8 |
           uint32_t{bytes[4 * t + 3]};
  for (size_t t = 16; t < 64; ++t) {
    const uint32_t a = w[t - 15], b = w[t - 2];
    w[t] = w[t - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) + w[t - 7] +
           (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (size_t t = 0; t < 64; ++t) {
    const uint32_t first =
        h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + primes().cube[t] + w[t];
    const uint32_t second = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
  }
  const std::array<uint32_t, 8> now{a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < 8; ++i) state[i] += now[i];
}

void md5_block(std::array<uint32_t, 8>& state, const uint8_t* bytes) {
  static constexpr int turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
  static const std::array<uint32_t, 64> sines = [] {
    std::array<uint32_t, 64> k{};
    for (size_t i = 0; i < 64; ++i)
      k[i] = static_cast<uint32_t>(std::abs(std::sin(static_cast<long double>(i + 1))) * 4294967296.0L);
    return k;
  }();
  std::array<uint32_t, 16> w{};
  for (size_t t = 0; t < 16; ++t)
    w[t] = uint32_t{bytes[4 * t]} | uint32_t{bytes[4 * t + 1]} << 8 | uint32_t{bytes[4 * t + 2]} << 16 |
           uint32_t{bytes[4 * t + 3]} << 24;
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  for (size_t t = 0; t < 64; ++t) {
    const size_t round = t / 16;
    const uint32_t mixed = round == 0   ? (b & c) | (~b & d)
                           : round == 1 ? (d & b) | (~d & c)
                           : round == 2 ? b ^ c ^ d
                                        : c ^ (b | ~d);
    const size_t word = round == 0 ? t : round == 1 ? (5 * t + 1) % 16 : round == 2 ? (3 * t + 5) % 16 : 7 * t % 16;
    const uint32_t sum = a + mixed + sines[t] + w[word];
    a = d, d = c, c = b, b += std::rotl(sum, turns[round][t % 4]);
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

}  // namespace

BlockHash::BlockHash(Kind kind) : kind_(kind) {
  if (kind == sha256)
    state_ = primes().square;
  else
    state_ = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
}

void BlockHash::block(const uint8_t* bytes) {
  if (kind_ == sha256)
    sha256_block(state_, bytes);
  else
    md5_block(state_, bytes);
}

void BlockHash::add(std::span<const uint8_t> bytes) {
  size_t kept = bytes_ % 64;
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    if (kept == 0 && bytes.size() >= 64) {
      block(bytes.data());
      bytes = bytes.subspan(64);
      continue;
    }
    const size_t n = std::min(64 - kept, bytes.size());
    std::memcpy(rest_.data() + kept, bytes.data(), n);
    bytes = bytes.subspan(n);
    kept += n;
    if (kept == 64) block(rest_.data()), kept = 0;
  }
}

std::string BlockHash::hex() {
  const uint64_t bits = 8 * bytes_;
  const std::array<uint8_t, 64> end{0x80};
  add(std::span(end).first(1 + (119 - bytes_ % 64) % 64));  // until 8 bytes are left for the length
  std::array<uint8_t, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> 8 * (kind_ == sha256 ? 7 - i : i));
  add(length);
  std::string text;
  for (size_t i = 0; i < (kind_ == sha256 ? 8u : 4u); ++i)
    for (size_t b = 0; b < 4; ++b) {
      const auto byte = static_cast<uint8_t>(state_[i] >> 8 * (kind_ == sha256 ? 3 - b : b));
      text += "0123456789abcdef"[byte / 16];
      text += "0123456789abcdef"[byte % 16];
    }
  return text;
}

}  // namespace tessera::data
