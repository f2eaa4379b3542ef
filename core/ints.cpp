#include "tessera/core/ints.h"

#include <algorithm>

namespace tessera {
inline namespace TESSERA_NS {

Ints::Ints(int count, int width) : count_(count), width_(width) {
  constexpr auto per_real = static_cast<int64_t>(sizeof(real) / sizeof(int32_t));
  const int64_t n = Shape{count, width}.size();  // checks both
  if (n == 0) return;
  owner_ = Tensor({static_cast<int>((n + per_real - 1) / per_real)});
  values_ = reinterpret_cast<int32_t*>(owner_.data());
}

Ints::Ints(std::span<const int32_t> values) : Ints(static_cast<int>(values.size())) {
  std::copy(values.begin(), values.end(), values_);
}
Ints::Ints(const Index& values) : Ints(std::span(values)) {}
Ints::Ints(std::initializer_list<int32_t> values) : Ints(std::span(values.begin(), values.size())) {}

Ints Ints::rows(int a, int b) const {
  if (!*this) return {};
  if (a < 0 || b < a || b > count_) fail("rows", "rows {} to {} of {} rows of numbers", a, b, count_);
  Ints part = *this;
  part.values_ += static_cast<int64_t>(a) * width_, part.count_ = b - a;
  return part;
}

Ints Ints::reshape(int count, int width) const {
  if (Shape{count, width}.size() != static_cast<int64_t>(size()))
    fail("reshape", "{} x {} numbers as {} x {}", count_, width_, count, width);
  Ints same = *this;
  same.count_ = count, same.width_ = width;
  return same;
}

bool Ints::equals(const int32_t* values, size_t n) const {
  return n == size() && std::equal(values, values + n, values_);
}

}  // namespace TESSERA_NS
}  // namespace tessera
