// Rows of add_table and resize_grid.
#include "tessera/core/ops/add_table.h"
#include "tessera/core/ops/resize_grid.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Array plain_add_table(const Array& x, const Array& table, int first, double scale) {
  Array y = map(x, [&](double v) { return scale * v; });
  const int B = x.dim(0), N = x.dim(1), C = x.dim(2);
  for (int b = 0; b < B; ++b)
    for (int t = first; t < N; ++t)
      for (int c = 0; c < C; ++c) y.at(b, t, c) += table[int64_t{t - first} * C + c];
  return y;
}

OP_ROWS(add_table) {
  for (const auto& [B, N, C, first] :
       std::vector<std::array<int, 4>>{{1, 1, 1, 0}, {3, 7, 5, 1}, {2, 4, 33, 0}, {2, 3, 4, 2}}) {
    for (const double scale : {1.0, 1.7}) {
      rows.push_back(
          {.op = "add_table",
           .name = fmt::format("{}x{}x{} from {} scale {}", B, N, C, first, scale),
           .in = {{{B, N, C}}, {{1, N - first, C}}},
           .run = [first = first, scale](const Tensors& x) { return add_table(x[0], x[1], first, scale); },
           .reference = [first = first, scale](const Arrays& x) { return plain_add_table(x[0], x[1], first, scale); },
           .K = static_cast<double>(std::max(1, B))});
    }
  }
  errors.push_back({"add_table", "rows", [] { add_table(zeros({2, 5, 4}), zeros({4, 4})); }, "(4, 4)"});
  errors.push_back({"add_table", "width", [] { add_table(zeros({2, 5, 4}), zeros({4, 5})); }, "(4, 5)"});
  errors.push_back({"add_table", "prefix", [] { add_table(zeros({2, 5, 4}), zeros({5, 4}), 1); }, "1 class tokens"});
}

Array plain_resize(const Array& x, std::array<int, 4> g, Interpolation rule, int before, int after) {
  const auto [h0, w0, h, w] = g;
  const int C = x.dim(-1);
  const std::vector<double> map(x.v.begin() + before * C, x.v.end() - after * C);
  const auto resized = interpolate(map, h0, w0, h, w, C, rule);
  Array y({before + h * w + after, C});
  std::copy_n(x.v.begin(), before * C, y.v.begin());
  std::copy(resized.begin(), resized.end(), y.v.begin() + before * C);
  std::copy_n(x.v.end() - after * C, after * C, y.v.end() - after * C);
  return y;
}

OP_ROWS(resize_grid) {
  for (const Interpolation rule : {Interpolation::bilinear, Interpolation::bicubic, Interpolation::bicubic_antialias,
                                   Interpolation::corner_aligned})
    for (const auto& g : std::vector<std::array<int, 4>>{{1, 1, 2, 3}, {2, 3, 5, 4}, {4, 3, 2, 7}, {3, 3, 3, 3}})
      for (const auto& [before, after] : {std::pair{0, 0}, std::pair{1, 0}, std::pair{2, 3}}) {
        const int n = before + g[0] * g[1] + after;
        rows.push_back(
            {.op = "resize_grid",
             .name =
                 fmt::format("{} {}x{} to {}x{}, {} and {} kept", name(rule), g[0], g[1], g[2], g[3], before, after),
             .in = {{{n, 3}}},
             .run = [=, b = before,
                     a = after](const Tensors& x) { return resize_grid(x[0], g[0], g[1], g[2], g[3], rule, b, a); },
             .reference = [=, b = before, a = after](const Arrays& x) { return plain_resize(x[0], g, rule, b, a); },
             .K = static_cast<double>(g[0] * g[1] + g[2] * g[3])});
      }
  errors.push_back({"resize_grid", "rows",
                    [] {
                      resize_grid(zeros({5, 4}), 2, 3, 4, 4, Interpolation::bilinear);
                    },
                    "2 x 3 cells"});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
