// Rows of patches.
#include "tessera/core/ops/patches.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Array plain_patches(const Array& x, int p) {
  const int B = x.dim(0), h = x.dim(1) / p, w = x.dim(2) / p, C = x.dim(3);
  Array y({B, h * w, C * p * p});
  for (int b = 0; b < B; ++b)
    for (int i = 0; i < h * p; ++i)
      for (int j = 0; j < w * p; ++j)
        for (int c = 0; c < C; ++c) y.at(b, i / p * w + j / p, (c * p + i % p) * p + j % p) = x.at(b, i, j, c);
  return y;
}

OP_ROWS(patches) {
  for (const auto& [B, H, W, C, p] :
       std::vector<std::array<int, 5>>{{1, 1, 1, 1, 1}, {2, 4, 6, 3, 2}, {3, 3, 3, 7, 3}, {9, 2, 4, 1, 1}})
    rows.push_back({.op = "patches",
                    .name = fmt::format("{}x{}x{}x{} by {}", B, H, W, C, p),
                    .in = {{{B, H, W, C}}},
                    .run = [p = p](const Tensors& x) { return patches(x[0], p); },
                    .reference = [p = p](const Arrays& x) { return plain_patches(x[0], p); }});
  errors.push_back({"patches", "height", [] { patches(zeros({1, 5, 4, 3}), 2); }, "5 x 4"});
  errors.push_back({"patches", "width", [] { patches(zeros({1, 4, 5, 3}), 2); }, "4 x 5"});
  errors.push_back({"patches", "zero", [] { patches(zeros({1, 4, 4, 3}), 0); }, "0 x 0"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
