#include "tessera/core/print.h"

#include <fmt/format.h>

#include <ostream>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr int most = 8, edge = 3;  // of a dimension: shown whole up to `most`, else `edge` from each end

/// Appends the part of x that begins at value `at` and spans dimensions d and on.
void append(std::string& to, const Tensor& x, int d, int64_t at) {
  if (d == x.rank()) {
    fmt::format_to(std::back_inserter(to), "{:.6g}", x.read()[static_cast<size_t>(at)]);
    return;
  }
  int64_t step = 1;
  for (int i = d + 1; i < x.rank(); ++i) step *= x.dim(i);
  to += '[';
  const int n = x.dim(d);
  for (int i = 0; i < n; ++i) {
    if (n > most && i == edge) {
      to += ", ...";
      i = n - edge;
    }
    if (i > 0) to += ", ";
    append(to, x, d + 1, at + i * step);
  }
  to += ']';
}

}  // namespace

std::string str(const Tensor& x) {
  if (!x) return "(empty)";
  std::string s = x.shape().str() + " ";
  append(s, x, 0, 0);
  return s;
}

std::ostream& operator<<(std::ostream& to, const Tensor& x) { return to << str(x); }

}  // namespace TESSERA_NS
}  // namespace tessera
