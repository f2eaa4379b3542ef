#pragma once
// The extents of a tensor: up to six, row-major, the last one contiguous. Free of `real`.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace tessera {

using Index = std::vector<int32_t>;  ///< indices and labels live on the host, outside of the tape

struct Shape {
  static constexpr int max_rank = 6;
  int rank = 0;
  std::array<int, max_rank> d{};

  Shape() = default;
  /// Throws Error on a negative extent, more than max_rank of them, or more than 2^46 elements.
  Shape(std::initializer_list<int> extents);
  explicit Shape(std::span<const int> extents);

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= d[i];
    return n;
  }
  /// Extent i; negative i counts from the end.
  int operator[](int i) const { return d[i < 0 ? rank + i : i]; }
  int& operator[](int i) { return d[i < 0 ? rank + i : i]; }
  bool operator==(const Shape& o) const {
    if (rank != o.rank) return false;
    for (int i = 0; i < rank; ++i)
      if (d[i] != o.d[i]) return false;
    return true;
  }
  const int* begin() const { return d.data(); }
  const int* end() const { return d.data() + rank; }
  /// "(8, 65, 192)"
  std::string str() const;
};

}  // namespace tessera
