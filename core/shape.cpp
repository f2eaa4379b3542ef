#include "tessera/core/shape.h"

#include <algorithm>

#include "tessera/core/error.h"

namespace tessera {

Shape::Shape(std::initializer_list<int> extents) : Shape(std::span<const int>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int> extents) {
  if (extents.size() > max_rank) fail("shape", "{} extents, but a tensor has at most {}", extents.size(), max_rank);
  int64_t elements = 1;
  for (int e : extents) {
    if (e < 0) fail("shape", "extent {} is negative", e);
    d[rank++] = e;
    // a quarter of what an address can tell, so that bytes and strides do not overflow either
    if (e > 0 && elements > (int64_t{1} << 46) / e) fail("shape", "{}... has too many elements for any memory", str());
    elements *= std::max(e, 1);
  }
}

std::string Shape::str() const {
  std::string s = "(";
  for (int i = 0; i < rank; ++i) s += (i ? ", " : "") + std::to_string(d[i]);
  return s + (rank == 1 ? ",)" : ")");
}

}  // namespace tessera
