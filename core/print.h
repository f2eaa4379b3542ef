#pragma once
// A tensor for the eye: its shape, then its values row by row, the middle of long dimensions left out.
//   (2, 3) [[1, 2, 3], [4, 5, 6]]        (100,) [0, 1, 2, ..., 97, 98, 99]
#include <fmt/core.h>

#include <iosfwd>
#include <string>

#include "tessera/core/tensor.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Shape and values to six digits; of a dimension of more than 8 the first and last 3. "(empty)" for the empty tensor.
std::string str(const Tensor& x);
std::ostream& operator<<(std::ostream& to, const Tensor& x);

}  // namespace TESSERA_NS
}  // namespace tessera

template <>
struct fmt::formatter<tessera::TESSERA_NS::Tensor> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }  // "{}" and nothing else
  template <class Context>
  auto format(const tessera::TESSERA_NS::Tensor& x, Context& context) const {
    const std::string text = tessera::TESSERA_NS::str(x);
    auto out = context.out();
    for (const char c : text) *out++ = c;
    return out;
  }
};
