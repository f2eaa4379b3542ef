// Linear attention: rows of the op table, and value and gradients against all pairs written out.
#include "tessera/core/ops/linear_attention.h"

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/matmul.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tessera/core/ops/softmax.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Sizes {
  const char* name;
  int B, H, n, m, d, dv;
  bool causal = false, turned = false, halves = false;
  std::vector<int32_t> lengths = {};
};

// ---- rows of the op table -------------------------------------------------------------------------------------------

/// f of a row of d channels at x, turned by cosines and sines of d / 2 pairs unless null.
std::vector<double> feature(Similarity s, const double* x, int d, const double* cosine, const double* sine,
                            bool halves) {
  std::vector<double> f;
  double square = 0;
  for (int c = 0; c < d; ++c) square += x[c] * x[c];
  for (int c = 0; c < d; ++c)
    f.push_back(s == Similarity::taylor ? x[c] / std::sqrt(square) : x[c] > 0 ? x[c] + 1 : std::exp(x[c]));
  for (int t = 0; cosine && t < d / 2; ++t) {
    const auto a = static_cast<size_t>(halves ? t : 2 * t), b = static_cast<size_t>(halves ? t + d / 2 : 2 * t + 1);
    const double fa = f[a], fb = f[b];
    f[a] = fa * cosine[t] - fb * sine[t], f[b] = fa * sine[t] + fb * cosine[t];
  }
  if (s == Similarity::taylor) f.push_back(1);
  return f;
}

/// x: q, k, v, and the four tables of angles where keys and queries are turned. In the op's order: keys are summed first.
Array plain(const Sizes& z, Similarity s, const Arrays& x) {
  Array y({z.B, z.n, z.H * z.dv});
  const auto row = [&](size_t which, int b, int t, int h, int width) {
    return x[which].v.data() + (int64_t{b} * x[which].dim(1) + t) * x[which].dim(2) + h * width;
  };
  const auto angle = [&](size_t which, int h, int t) -> const double* {
    if (!z.turned) return nullptr;
    return x[which].v.data() + (int64_t{x[which].dim(0) == 1 ? 0 : h} * x[which].dim(1) + t) * (z.d / 2);
  };
  const auto F = static_cast<size_t>(z.d + (s == Similarity::taylor));
  for (int b = 0; b < z.B; ++b)
    for (int h = 0; h < z.H; ++h)
      for (int i = 0; i < z.n; ++i) {
        std::vector<double> S(F * static_cast<size_t>(z.dv)), sum(F);
        for (int j = 0; j < (z.lengths.empty() ? z.m : z.lengths[static_cast<size_t>(b)]) && !(z.causal && j > i);
             ++j) {
          const auto f = feature(s, row(1, b, j, h, z.d), z.d, nullptr, nullptr, false);
          const auto turned = feature(s, row(1, b, j, h, z.d), z.d, angle(5, h, j), angle(6, h, j), z.halves);
          for (size_t c = 0; c < F; ++c) {
            sum[c] += f[c];
            for (int e = 0; e < z.dv; ++e)
              S[c * static_cast<size_t>(z.dv) + static_cast<size_t>(e)] += turned[c] * row(2, b, j, h, z.dv)[e];
          }
        }
        const auto f = feature(s, row(0, b, i, h, z.d), z.d, nullptr, nullptr, false);
        const auto turned = feature(s, row(0, b, i, h, z.d), z.d, angle(3, h, i), angle(4, h, i), z.halves);
        if (!z.lengths.empty() && !z.lengths[static_cast<size_t>(b)]) continue;  // sees nothing
        double w = s == Similarity::elu ? 1e-6 : 0;
        for (size_t c = 0; c < F; ++c) w += f[c] * sum[c];
        for (int e = 0; e < z.dv; ++e) {
          double o = 0;
          for (size_t c = 0; c < F; ++c) o += turned[c] * S[c * static_cast<size_t>(z.dv) + static_cast<size_t>(e)];
          y.at(b, i, h * z.dv + e) = o / (w <= 1e-6 ? 1e-6 : w);
        }
      }
  return y;
}

Tensor call(const Sizes& z, Similarity s, const Tensors& x) {
  LinearAttention how{.similarity = s, .causal = z.causal};
  if (z.turned) how.rotary = {x[3], x[4], x[5], x[6], z.halves, false};
  return linear_attention(heads(x[0], z.H), heads(x[1], z.H), heads(x[2], z.H), how, z.lengths);
}

const std::vector<Sizes>& sizes() {
  static const std::vector<Sizes> all{{"one query", 1, 1, 1, 3, 2, 1},
                                      {"two heads", 2, 2, 7, 7, 4, 4},
                                      {"cross", 1, 2, 3, 5, 4, 3},
                                      {"lengths", 3, 1, 4, 4, 3, 2, false, false, false, {4, 2, 0}},
                                      {"causal", 2, 2, 5, 5, 3, 4, true},
                                      {"causal, lengths", 2, 1, 5, 5, 2, 2, true, false, false, {3, 5}},
                                      {"turned", 1, 2, 5, 5, 4, 3, false, true},
                                      {"turned, causal, halves", 1, 1, 4, 4, 6, 2, true, true, true},
                                      {"wide", 1, 1, 33, 31, 32, 33}};
  return all;
}

OP_ROWS(linear_attention) {
  for (const Similarity s : {Similarity::elu, Similarity::taylor})
    for (const Sizes& z : sizes()) {
      Row row{.op = "linear_attention",
              .name = fmt::format("{}, {}", name(s), z.name),
              .in = {{{z.B, z.n, z.H * z.d}, 0.2, 2},
                     {{z.B, z.m, z.H * z.d}, s == Similarity::elu ? -2 : 0.1, 2},
                     {{z.B, z.m, z.H * z.dv}}},
              .run = [=](const Tensors& x) { return call(z, s, x); },
              .reference = [=](const Arrays& x) { return plain(z, s, x); },
              .K = static_cast<double>(std::max(z.n, z.m) * (z.d + 1))};
      for (int table = 0; z.turned && table < 4; ++table)  // angles of one head, or of all
        row.in.push_back({{z.causal ? 1 : z.H, table < 2 ? z.n : z.m, z.d / 2}});
      rows.push_back(row);
    }
  rows.push_back({.op = "linear_attention",
                  .name = "packed projection",
                  .in = {{{2, 5, 3 * 2 * 4}}},
                  .run =
                      [](const Tensors& x) {
                        return linear_attention(heads(x[0], 2, 0, 3), heads(x[0], 2, 1, 3), heads(x[0], 2, 2, 3));
                      },
                  .reference =
                      [](const Arrays& x) {
                        Arrays parts(3, Array({2, 5, 8}));
                        for (int b = 0; b < 2; ++b)
                          for (int t = 0; t < 5; ++t)
                            for (int c = 0; c < 24; ++c)
                              parts[static_cast<size_t>(c / 8)].at(b, t, c % 8) =
                                  x[0].v[static_cast<size_t>((b * 5 + t) * 24 + c)];
                        return plain({"", 2, 2, 5, 5, 4, 4}, Similarity::elu, parts);
                      },
                  .K = 25});
  const auto view = [](int B, int N, int C, int H) { return heads(zeros({B, N, C}), H); };
  const auto refused = [&](const char* name, std::function<void()> run, const char* says) {
    errors.push_back({"linear_attention", name, std::move(run), says});
  };
  refused(
      "widths", [=] { linear_attention(view(1, 3, 8, 2), view(1, 3, 6, 2), view(1, 3, 8, 2)); }, "heads of width 4");
  refused(
      "values", [=] { linear_attention(view(1, 3, 8, 2), view(1, 3, 8, 2), view(1, 4, 8, 2)); }, "3 keys but 4 values");
  refused(
      "causal", [=] { linear_attention(view(1, 3, 8, 2), view(1, 4, 8, 2), view(1, 4, 8, 2), {.causal = true}); },
      "one sequence");
  refused(
      "eps", [=] { linear_attention(view(1, 3, 8, 2), view(1, 3, 8, 2), view(1, 3, 8, 2), {.eps = 0}); }, "eps is 0");
  refused(
      "lengths",
      [=] { linear_attention(view(1, 3, 8, 2), view(1, 3, 8, 2), view(1, 3, 8, 2), {}, std::vector<int32_t>{4}); },
      "0 to 3");
  refused(
      "angles",
      [=] {
        linear_attention(view(1, 3, 8, 2), view(1, 3, 8, 2), view(1, 3, 8, 2),
                         {.rotary = {zeros({1, 3, 3}), {}, {}, {}}});
      },
      "cos_q");
}

// ---- all pairs, by small ops ----------------------------------------------------------------------------------------

/// (B, N, H d) -> (B, H, N, d)
Tensor split_heads(const Tensor& x, int H) {
  const auto [B, N, C] = x.dims<3>();
  return permute(x.reshape({B, N, H, C / H}), {0, 2, 1, 3});
}
Tensor feature_of(Similarity s, const Tensor& x) {
  return s == Similarity::elu ? relu(x) + exp(neg(relu(neg(x)))) : normalize(x, 1e-6);
}
/// Pairs (2t, 2t + 1) of x (B, H, N, d) turned by cos, sin (H, N, d / 2).
Tensor turned(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
  const auto [B, H, N, d] = x.dims<4>();
  const Tensor pairs = x.reshape({B * H, N, d / 2, 2}).reshape({B, H, N, d}).reshape({B, H, N * d / 2, 2});
  const Tensor a = select_row(pairs, 3, 0).reshape({B, H, N, d / 2}),
               b = select_row(pairs, 3, 1).reshape({B, H, N, d / 2});
  const Tensor y = a * cosine - b * sine, z = a * sine + b * cosine;
  return stack({y.reshape({B, H, N * d / 2}), z.reshape({B, H, N * d / 2})}, 3).reshape({B, H, N, d});
}
Tensor all_pairs(const Sizes& z, Similarity s, const Tensors& x) {
  const Tensor q = feature_of(s, split_heads(x[0], z.H)), k = feature_of(s, split_heads(x[1], z.H));
  Tensor seen = full({z.B, 1, z.n, z.m}, 1);
  for (int b = 0; b < z.B; ++b)
    for (int i = 0; i < z.n; ++i)
      for (int j = 0; j < z.m; ++j)
        if ((z.causal && j > i) || (!z.lengths.empty() && j >= z.lengths[static_cast<size_t>(b)]))
          seen[(b * z.n + i) * z.m + j] = 0;
  const double one = s == Similarity::taylor ? 1 : 0, eps = s == Similarity::taylor ? 0 : 1e-6;
  const Tensor below = mul(matmul(q, k, false, true) + one, seen);
  const Tensor above =
      z.turned ? mul(matmul(turned(q, x[3], x[4]), turned(k, x[5], x[6]), false, true) + one, seen) : below;
  const Tensor o = div(matmul(above, split_heads(x[2], z.H)), sum(below, {3}, true) + eps);
  return permute(o, {0, 2, 1, 3}).reshape({z.B, z.n, z.H * z.dv});
}

Tensor drawn(const Shape& shape, int seed) {
  Tensor x(shape);
  for (int64_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<real>(std::sin(0.37 * static_cast<double>(i * (seed + 2)) + seed));
  return x;
}

TWIN_CASE("linear attention: value and every gradient are those of all pairs written out") {
  for (const Similarity s : {Similarity::elu, Similarity::taylor})
    for (const Sizes& z :
         {Sizes{"self", 2, 3, 9, 9, 6, 5}, Sizes{"cross", 2, 2, 4, 7, 4, 3}, Sizes{"causal", 2, 2, 8, 8, 4, 4, true},
          Sizes{"padding", 3, 2, 6, 6, 4, 2, false, false, false, {6, 1, 3}},
          Sizes{"causal padding", 2, 1, 6, 6, 4, 2, true, false, false, {2, 6}},
          Sizes{"turned", 2, 2, 6, 6, 4, 3, false, true}, Sizes{"turned, causal", 2, 2, 6, 6, 4, 3, true, true}}) {
      CAPTURE(z.name);
      const auto run = [&](bool pairs) {
        Tape tape;
        Grads none;
        Tensors x{tape.watch(drawn({z.B, z.n, z.H * z.d}, 1)), tape.watch(drawn({z.B, z.m, z.H * z.d}, 2)),
                  tape.watch(drawn({z.B, z.m, z.H * z.dv}, 3))};
        for (int t = 0; z.turned && t < 4; ++t)
          x.push_back(tape.watch(drawn({z.H, t < 2 ? z.n : z.m, z.d / 2}, 4 + t)));
        const Tensor y = pairs ? all_pairs(z, s, x) : call(z, s, x);
        tape.backward(y, drawn(y.shape(), 9), none);
        Tensors all{y.detach()};
        for (const Tensor& t : x) all.push_back(tape.grad(t));
        return all;
      };
      const Tensors is = run(false), want = run(true);
      for (size_t t = 0; t < is.size(); ++t) {
        CAPTURE(t);
        double size = 0, most = 0;
        for (int64_t i = 0; i < is[t].size(); ++i) {
          size = std::max(size, std::abs(static_cast<double>(want[t][i])));
          most = std::max(most, std::abs(static_cast<double>(is[t][i] - want[t][i])));
        }
        CHECK(most <= (sizeof(real) == 8 ? 1e-12 : 2e-5) * size);
      }
    }
}

TWIN_CASE("linear attention: the numbers of an independent computation") {
  // four tokens of one head of 4: q = sin(0.3 (i + 1) (c + 1)), k = cos(0.2 (i + 1) (c + 2)), v = ((4 i + c) mod 5) / 5 - 0.4
  Tensor q({1, 4, 4}), k({1, 4, 4}), v({1, 4, 4});
  for (int i = 0; i < 4; ++i)
    for (int c = 0; c < 4; ++c) {
      q[i * 4 + c] = static_cast<real>(std::sin(0.3 * (i + 1) * (c + 1)));
      k[i * 4 + c] = static_cast<real>(std::cos(0.2 * (i + 1) * (c + 2)));
      v[i * 4 + c] = static_cast<real>((4 * i + c) % 5 / 5.0 - 0.4);
    }
  const auto check = [&](Similarity s, std::array<double, 8> want) {
    const Tensor o = linear_attention(heads(q, 1), heads(k, 1), heads(v, 1), {.similarity = s});
    for (int c = 0; c < 4; ++c) {
      CHECK(std::abs(static_cast<double>(o[c]) - want[static_cast<size_t>(c)]) < 2e-6);
      CHECK(std::abs(static_cast<double>(o[12 + c]) - want[static_cast<size_t>(4 + c)]) < 2e-6);
    }
  };
  check(Similarity::elu, {-0.025531, -0.097904, -0.068045, -0.004260, 0.003671, -0.083620, -0.080785, -0.019633});
  check(Similarity::taylor, {-0.101788, -0.227803, -0.077528, 0.103559, 0.101586, -0.013358, -0.093387, -0.097421});
}

TWIN_CASE("linear attention: a query that may see nothing, or only its opposite, gets finite numbers") {
  const Tensor q = drawn({1, 2, 4}, 1), v = drawn({1, 1, 3}, 2);
  for (const Similarity s : {Similarity::elu, Similarity::taylor}) {
    Tape tape;
    Grads none;
    const Tensor k = tape.watch(neg(slice(q, 1, 0, 1))), w = tape.watch(v);
    const Tensor y = linear_attention(heads(tape.watch(q), 1), heads(k, 1), heads(w, 1), {.similarity = s});
    tape.backward(y, full(y.shape(), 1), none);
    for (const Tensor& t : {y, tape.grad(k), tape.grad(w)})
      for (const real x : t.values()) CHECK(std::isfinite(x));
    const Tensor nothing =
        linear_attention(heads(q, 1), heads(q, 1), heads(q, 1), {.similarity = s}, std::vector<int32_t>{0});
    for (const real x : nothing.values()) CHECK(x == 0);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
