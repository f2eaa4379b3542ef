// Winograd's tiles in bf16, against plain loops that round where they round: cells, weights and cotangents after their transforms, sums in double.
#include <algorithm>
#include <array>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/precision.h"
#include "tests/unit/conv_cases.h"

namespace tessera {
namespace {

using namespace conv_cases;

using Four = std::array<float, 4>;
using Tile = std::array<Four, 4>;

Four turned_cells(const Four& v) { return {v[0] - v[2], v[1] + v[2], v[2] - v[1], v[1] - v[3]}; }  // B^T v
Four turned_pair(float a, float b) { return {a, a + b, a - b, -b}; }                               // A v
std::array<double, 4> turned_taps(double a, double b, double c) {
  return {a, (a + b + c) / 2, (a - b + c) / 2, c};
}  // G v

template <class F>
Tile by_columns_then_rows(F form) {  // form(column) is its transform, of columns first
  Tile t{}, out{};
  for (size_t j = 0; j < 4; ++j)
    for (size_t i = 0; i < 4; ++i) t[i][j] = form(j)[i];
  for (size_t i = 0; i < 4; ++i) out[i] = turned_cells(t[i]);
  return out;
}

/// Maps (B, H, W, C).
struct Map {
  const Tensor& x;
  float at(int b, int y, int x_, int c) const {
    if (y < 0 || x_ < 0 || y >= x.dim(1) || x_ >= x.dim(2)) return 0;
    return x[((int64_t{b} * x.dim(1) + y) * x.dim(2) + x_) * x.dim(3) + c];
  }
};

Tile cells(const Map& m, int b, int y, int x, int c) {
  Tile t = by_columns_then_rows([&](size_t j) {
    const int at = x + static_cast<int>(j);
    return turned_cells({m.at(b, y, at, c), m.at(b, y + 1, at, c), m.at(b, y + 2, at, c), m.at(b, y + 3, at, c)});
  });
  for (Four& row : t)
    for (float& v : row) v = rounded(v);
  return t;
}

Tile cotangents(const Map& m, int b, int y, int x, int c) {
  const Four top = turned_pair(m.at(b, y, x, c), m.at(b, y, x + 1, c)),
             low = turned_pair(m.at(b, y + 1, x, c), m.at(b, y + 1, x + 1, c));
  Tile t{};
  for (size_t j = 0; j < 4; ++j)
    for (size_t i = 0; i < 4; ++i) t[i][j] = turned_pair(top[j], low[j])[i];
  for (Four& row : t)
    for (float& v : row) v = rounded(v);
  return t;
}

Tile weights(const float* w, bool turned) {
  const auto tap = [&](size_t k, size_t l) { return double{w[turned ? 8 - 3 * k - l : 3 * k + l]}; };
  std::array<std::array<double, 4>, 3> columns{};
  for (size_t l = 0; l < 3; ++l) columns[l] = turned_taps(tap(0, l), tap(1, l), tap(2, l));
  Tile u{};
  for (size_t i = 0; i < 4; ++i) {
    const auto form = turned_taps(columns[0][i], columns[1][i], columns[2][i]);
    for (size_t j = 0; j < 4; ++j) u[i][j] = rounded(static_cast<float>(form[j]));
  }
  return u;
}

using Sums = std::array<std::array<double, 4>, 4>;
void add_products(Sums& to, const Tile& a, const Tile& b) {
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = 0; j < 4; ++j) to[i][j] += double{a[i][j]} * double{b[i][j]};
}

/// A map of N channels from one of K: tile (ty, tx) of 2 x 2 outputs reads cells from (2 ty - top, 2 tx - left).
std::vector<double> correlated(const Tensor& x, const Tensor& w, bool turned, int top, int left, int H, int W, int N) {
  const int B = x.dim(0), K = x.dim(3), I = w.dim(1);
  std::vector<double> y(static_cast<size_t>(B) * static_cast<size_t>(H * W * N));
  std::vector<Tile> u;
  for (int n = 0; n < N; ++n)
    for (int k = 0; k < K; ++k)
      u.push_back(weights(w.data() + (turned ? int64_t{k} * I + n : int64_t{n} * I + k) * 9, turned));
  for (int b = 0; b < B; ++b)
    for (int ty = 0; ty < (H + 1) / 2; ++ty)
      for (int tx = 0; tx < (W + 1) / 2; ++tx) {
        std::vector<Tile> v;
        for (int k = 0; k < K; ++k) v.push_back(cells({x}, b, 2 * ty - top, 2 * tx - left, k));
        for (int n = 0; n < N; ++n) {
          Sums m{};
          for (int k = 0; k < K; ++k)
            add_products(m, v[static_cast<size_t>(k)],
                         u[static_cast<size_t>(n) * static_cast<size_t>(K) + static_cast<size_t>(k)]);
          for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) {
              if (2 * ty + i >= H || 2 * tx + j >= W) continue;
              double sum = 0;  // A^T m A
              constexpr double A[2][4] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
              for (size_t r = 0; r < 4; ++r)
                for (size_t s = 0; s < 4; ++s) sum += A[i][r] * A[j][s] * m[r][s];
              y[static_cast<size_t>(((b * H + 2 * ty + i) * W + 2 * tx + j) * N + n)] = sum;
            }
        }
      }
  return y;
}

std::vector<double> weight_gradient(const Case& c, const conv::Plan& p, const Tensor& x, const Tensor& dy) {
  std::vector<double> dw(static_cast<size_t>(c.O * c.I * 9));
  const int H = static_cast<int>(p.s.Ho), W = static_cast<int>(p.s.Wo);
  for (int o = 0; o < c.O; ++o)
    for (int i = 0; i < c.I; ++i) {
      Sums u{};
      for (int b = 0; b < c.B; ++b)
        for (int y = 0; y < H; y += 2)
          for (int left = 0; left < W; left += 2)
            add_products(u, cells({x}, b, y - c.o.top, left - c.o.left, i), cotangents({dy}, b, y, left, o));
      constexpr double G[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
      for (size_t k = 0; k < 3; ++k)
        for (size_t l = 0; l < 3; ++l)
          for (size_t r = 0; r < 4; ++r)
            for (size_t s = 0; s < 4; ++s)
              dw[static_cast<size_t>(o * c.I + i) * 9 + 3 * k + l] += G[r][k] * G[s][l] * u[r][s];
    }
  return dw;
}

double rms(const Tensor& got, const std::vector<double>& want) {
  double sum = 0;
  for (int64_t i = 0; i < got.size(); ++i) sum += std::pow(double{got[i]} - want[static_cast<size_t>(i)], 2);
  return std::sqrt(sum / static_cast<double>(got.size()));
}

struct Drawn {
  Tensor x, w, dy;
};
Drawn draw(const Case& c, const conv::Plan& p) {
  return {random({c.B, c.H, c.W, c.I}, 1), random({c.O, c.I, 3, 3}, 2),
          random({c.B, static_cast<int>(p.s.Ho), static_cast<int>(p.s.Wo), c.O}, 3)};
}

const std::vector<Case> shapes{
    {1, 1, 1, 16, 16, 3, 3, conv_options(1, 1)}, {3, 7, 9, 32, 16, 3, 3, conv_options(1, 1)},
    {2, 6, 5, 16, 48, 3, 3, conv_options(1, 0)}, {2, 5, 6, 16, 16, 3, 3, {1, 1, 3, 0, 1, 4, 1, 1, 1}},
    {4, 8, 8, 64, 64, 3, 3, conv_options(1, 1)}, {2, 4, 4, 80, 128, 3, 3, conv_options(1, 1)}};

}  // namespace

TEST_CASE("conv: Winograd's tiles in bf16 against plain loops that round where they do") {
  const Computing in(Precision::bf16);
  for (const Case& c : shapes) {
    const conv::Plan p = plan(c);
    const auto [x, w, dy] = draw(c, p);
    const std::string at = text(c) + ": ";
    const int Ho = static_cast<int>(p.s.Ho), Wo = static_cast<int>(p.s.Wo);
    for (const bool add : {false, true}) {
      const real beta = add ? 1 : 0;
      const Tensor bias = full({c.O}, 0.25F);
      Tensor y = unwritten(dy.shape()), dx = add ? full(x.shape(), 1) : unwritten(x.shape()),
             dw = add ? full(w.shape(), 1) : unwritten(w.shape());
      conv::forward_winograd(p, x, w, add ? bias.data() : nullptr, y);
      conv::input_gradient_winograd(p, w, dy, {dx.data(), beta});
      conv::weight_gradient_winograd(p, x, dy, {dw.data(), beta});
      compare(at + "y", y, correlated(x, w, false, c.o.top, c.o.left, Ho, Wo, c.O), add ? 0.25 : 0, c.I);
      compare(at + "dx", dx, correlated(dy, w, true, 2 - c.o.top, 2 - c.o.left, c.H, c.W, c.I), add ? 1 : 0, c.O);
      compare(at + "dw", dw, weight_gradient(c, p, x, dy), add ? 1 : 0, static_cast<double>(dy.size() / c.O));
    }
  }
}

TEST_CASE(
    "conv: Winograd's tiles in bf16 are no further from the exact sums than twice what rounding every product's "
    "operands costs") {
  const Computing in(Precision::bf16);
  for (const Case& c :
       {Case{4, 8, 8, 64, 64, 3, 3, conv_options(1, 1)}, Case{2, 8, 8, 128, 128, 3, 3, conv_options(1, 1)}}) {
    const conv::Plan p = plan(c);
    const auto [x, w, dy] = draw(c, p);
    const Plain exact(c, p, x, w, dy);
    Tensor y[2], dx[2], dw[2];
    for (size_t way = 0; way < 2; ++way) {
      y[way] = unwritten(dy.shape()), dx[way] = unwritten(x.shape()), dw[way] = unwritten(w.shape());
      (way ? conv::forward_winograd : conv::forward_patches)(p, x, w, nullptr, y[way]);
      (way ? conv::input_gradient_winograd : conv::input_gradient_patches)(p, w, dy, {dx[way].data(), 0});
      (way ? conv::weight_gradient_winograd : conv::weight_gradient_patches)(p, x, dy, {dw[way].data(), 0});
    }
    const double of[] = {rms(y[1], exact.y) / rms(y[0], exact.y), rms(dx[1], exact.dx) / rms(dx[0], exact.dx),
                         rms(dw[1], exact.dw) / rms(dw[0], exact.dw)};
    MESSAGE(text(c), ": rounding of tiles over that of products: y ", of[0], ", dx ", of[1], ", dw ", of[2]);
    for (const double ratio : of) {
      CHECK(ratio < 2);
      CHECK(ratio > 0.3);  // both do round
    }
  }
}

}  // namespace tessera
