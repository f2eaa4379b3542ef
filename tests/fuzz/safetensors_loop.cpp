// The same target without libFuzzer: mutations of good files, drawn from a fixed seed, with every allocation counted. A
// reader that believes a length field shows here as an allocation far larger than its input.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>

#include "tests/fuzz/safetensors_fuzz.h"

namespace {
size_t largest = 0;  ///< the largest single allocation since it was set to 0; the program has one thread
}

void* operator new(size_t bytes) {
  largest = std::max(largest, bytes);
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace {

std::string file(const std::string& json, const std::string& data) {
  const uint64_t length = json.size();
  std::string s(8, '\0');
  std::memcpy(s.data(), &length, 8);
  return s + json + data;
}

const std::array<std::string, 4> seeds = {
    file(
        R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
        R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}} )",
        std::string(40, '\x11')),
    file(
        R"({"w":{"dtype":"U8","shape":[1,1,1,7],"data_offsets":[0,7]},"z":{"dtype":"F16","shape":[0],"data_offsets":[7,7]}})",
        std::string(7, '\x01')),
    file("{}", ""),
    file(R"({"x":{"data_offsets":[0,8],"shape":[1],"dtype":"F64"}})", std::string(8, '\x00')),
};
const std::array<const char*, 16> words = {"18446744073709551615",
                                           "9223372036854775807",
                                           "4294967296",
                                           "-1",
                                           "1e99",
                                           "0",
                                           "[",
                                           "]",
                                           "{",
                                           "}",
                                           "\"",
                                           "\\u",
                                           "F64",
                                           ",",
                                           "\xff",
                                           "null"};

std::string mutate(std::mt19937_64& random) {
  const auto below = [&](size_t n) { return n ? static_cast<size_t>(random() % n) : 0; };
  std::string s = seeds[below(seeds.size())];
  for (size_t n = 1 + below(4); n > 0; --n) {
    switch (below(7)) {
      case 0:
        s[below(s.size())] = static_cast<char>(random());
        break;
      case 1:
        s[below(s.size())] ^= static_cast<char>(1U << below(8));
        break;
      case 2:
        s.resize(below(s.size() + 1));
        break;
      case 3:
        s.insert(below(s.size() + 1), words[below(words.size())]);
        break;
      case 4:
        s.append(below(64), static_cast<char>(random()));
        break;
      case 5:
        s[below(std::min<size_t>(s.size(), 8))] = static_cast<char>(random());
        break;
      default: {  // a piece of the file again, elsewhere: duplicate keys, overlaps
        const std::string piece = s.substr(below(s.size()), below(80));
        s.insert(below(s.size() + 1), piece);
      }
    }
    if (s.empty()) return s;
  }
  // half of the time the length field is right, so that the mutation reaches the header's parser
  if (s.size() > 8 && random() % 2) {
    const size_t end = s.rfind('}');
    if (end != std::string::npos && end > 8) {
      const uint64_t length = end - 7;
      std::memcpy(s.data(), &length, 8);
    }
  }
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  const long runs = argc > 1 ? std::atol(argv[1]) : 100'000;
  std::mt19937_64 random(1);
  long taken = 0;
  for (long run = 0; run < runs; ++run) {
    std::string s = mutate(random);
    const size_t bound = 16 * s.size() + 4096;
    largest = 0;
    try {
      taken += tessera::io::fuzz_safetensors(std::move(s));
    } catch (const std::exception& e) {
      std::fprintf(stderr, "run %ld: %s\n", run, e.what());
      return 1;
    }
    if (largest > bound) {
      std::fprintf(stderr, "run %ld: one allocation of %zu bytes, the bound is %zu\n", run, largest, bound);
      return 1;
    }
  }
  std::printf("%ld mutated files, %ld of them taken\n", runs, taken);
  return taken > 0 && taken < runs ? 0 : 1;
}
