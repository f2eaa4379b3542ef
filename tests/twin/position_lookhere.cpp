// LookHere: numbers of an independent oracle, fields of view that make each other up, and -inf tables as masks in the fused attention.
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/reduce.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr double never = -std::numeric_limits<double>::infinity();

/// LookHere alone, of H heads of width 4, with the slopes as they are written unless said otherwise.
struct Looking {
  Params params;
  Places places;
  std::unique_ptr<PositionEncoding> encoding;
  Layout layout;
  int H;

  Looking(int variant, int heads, const Layout& l, const Options& more = {}, int blocks = 1) : layout(l), H(heads) {
    for (int i = 0; i < blocks; ++i) places.sites.push_back({i, 0, i, 4 * H, H, 4, 0.5, l, fmt::format("{}.attn", i)});
    Options options{{"variant", variant}, {"layer_slopes", std::vector<double>{1, 1}}};
    for (const auto& [key, value] : more) options[key] = value;
    encoding = position("lookhere", options)(Scope(params), places);
  }
  Terms terms(int block = 0) const { return encoding->terms(places.sites[static_cast<size_t>(block)], layout, {}, {}); }
  /// What is added to the score of a pair.
  double bias(int head, int i, int j, int block = 0) const {
    const Terms t = terms(block);
    const Relative& r = t.relative[0];
    const int row = r.rho->at[static_cast<size_t>(i * r.rho->m + j)];
    return row < 0 ? 0 : static_cast<double>(r.table[static_cast<int64_t>(head) * r.rho->rows + row]);
  }
  bool sees(int head, int i, int j) const { return bias(head, i, j) != never; }
  double share(int head) const {
    const int n = layout.q.tokens();
    int seen = 0;
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) seen += sees(head, i, j);
    return static_cast<double>(seen) / n / n;
  }
};
Layout square(int h, int w, int prefix = 0) { return Layout::global({h, w, prefix}); }

TWIN_CASE("golden attention: LookHere") {
  const Looking twelve(90, 12, square(2, 2), {{"global_slope", 0.5}});
  Tensor q({1, 4, 48}), k(q.shape()), v(q.shape());
  for (int i = 0; i < 4; ++i)
    for (int c = 0; c < 48; ++c) {
      q[48 * i + c] = static_cast<real>(std::sin(0.3 * (i + 1) * (c % 4 + 1)));
      k[48 * i + c] = static_cast<real>(std::cos(0.2 * (i + 1) * (c % 4 + 2)));
      v[48 * i + c] = static_cast<real>((4 * i + c % 4) % 5 / 5.0 - 0.4);
    }
  const Query query(heads(q, 12), heads(k, 12), heads(v, 12), global_pattern(4, 4), 0.5);
  const Tensor w = attention_weights(query, twelve.terms()), o = attention(query, twelve.terms(), {});
  const double tolerance = sizeof(real) == 8 ? 1e-6 : 2e-5;
  const auto logits = [&](int head, int i, const std::vector<double>& want) {
    const auto* row = w.data() + (head * 4 + i) * 4;
    for (size_t j = 0; j < 4; ++j)
      if (want[j] == never) {
        CHECK(row[j] == 0);
      } else {
        const auto own = static_cast<size_t>(i);
        CHECK(std::abs(std::log(static_cast<double>(row[j] / row[own])) - (want[j] - want[own])) <= 2 * tolerance);
      }
  };
  const auto output = [&](int head, int i, const std::vector<double>& want) {
    for (int c = 0; c < 4; ++c)
      CHECK(std::abs(static_cast<double>(o[48 * i + 4 * head + c]) - want[static_cast<size_t>(c)]) <= tolerance);
  };
  logits(0, 0, {0.893772, never, never, never});  // corner, up and left
  logits(0, 3, {-0.422401, 0.160795, 0.248386, 0.283803});
  output(0, 1, {-0.089572, -0.277607, -0.077607, 0.122393});
  output(0, 3, {0.104499, 0.039987, -0.048739, -0.147874});
  logits(5, 0, {0.893772, never, -1.260768, -1.615209});  // triangle, down
  output(5, 0, {-0.314713, -0.114713, -0.011561, 0.120494});
  output(5, 3, {0, 0.2, 0.4, -0.4});
}

TWIN_CASE("LookHere: how much of 14 x 14 a head sees") {
  const auto near = [](double got, double want) { CHECK(std::abs(got - want) < 5e-5); };
  const Looking half(180, 12, square(14, 14)), quarter(90, 12, square(14, 14)), eighth(45, 12, square(14, 14));
  for (int h = 0; h < 4; ++h) {
    near(half.share(h), 0.5357), near(half.share(4 + h), 0.5239);
    near(quarter.share(h), 0.2870), near(quarter.share(4 + h), 0.2751);
    near(eighth.share(h), 0.1567), near(eighth.share(4 + h), 0.1567);
    CHECK(half.share(8 + h) == 1);
  }
}

TWIN_CASE("LookHere: eighths make up triangles, corners are two halves, triangles together see everything") {
  for (const Layout& l : {square(4, 6), square(5, 3)}) {
    const Looking half(180, 12, l), quarter(90, 12, l), eighth(45, 12, l);
    const int n = l.q.tokens();
    // up-left, up-right, down-left, down-right of up, down, left, right
    constexpr int corners[4][2] = {{0, 2}, {0, 3}, {1, 2}, {1, 3}};
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) {
        bool any = false;
        for (int h = 0; h < 4; ++h) {
          CHECK((eighth.sees(h, i, j) || eighth.sees(4 + h, i, j)) == quarter.sees(4 + h, i, j));
          CHECK(quarter.sees(h, i, j) == (half.sees(corners[h][0], i, j) && half.sees(corners[h][1], i, j)));
          any = any || quarter.sees(4 + h, i, j);
          CHECK((i != j || (half.sees(h, i, i) && half.sees(4 + h, i, i) && eighth.sees(h, i, i))));
        }
        CHECK(any);
      }
  }
}

TWIN_CASE("LookHere: heads that see everything are ALiBi in the plane; blocks and heads share the slopes out") {
  const Layout l = square(4, 5, 1);
  const Looking twelve(90, 12, l, {{"global_slope", 0.5}});
  Params none;
  Places four;
  four.sites = {Site{0, 0, 0, 16, 4, 4, 0.5, l, "attn"}};
  const Terms alibi = position("alibi_2d")(Scope(none), four)->terms(four.sites[0], l, {}, {});
  const Relative& r = alibi.relative[0];
  for (int h = 0; h < 4; ++h)
    for (int i = 0; i < 21; ++i)
      for (int j = 0; j < 21; ++j) {
        const int row = r.rho->at[static_cast<size_t>(i * 21 + j)];
        const double want = row < 0 ? 0 : static_cast<double>(r.table[static_cast<int64_t>(h) * r.rho->rows + row]);
        CHECK(twelve.bias(8 + h, i, j) == want);
      }
  // neighbours below the first cell: the slope itself
  const auto slopes = [](int H, int variant, const Options& more = {}, int blocks = 1, int block = 0) {
    const Looking net(variant, H, square(3, 3), more, blocks);
    std::vector<double> all;
    for (int h = 0; h < H; ++h) {
      double most = 0;
      for (const int j : {1, 3, 5, 7})
        if (net.sees(h, 4, j)) most = std::max(most, -net.bias(h, 4, j, block));
      all.push_back(most);
    }
    return all;
  };
  using Row = std::vector<double>;
  CHECK(slopes(12, 180) == Row{1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.125, 0.03125, 0.0078125});
  CHECK(slopes(16, 90) == Row{1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.125, 0.03125, 0.0078125});
  CHECK(slopes(6, 90) == Row{1, 1, 1, 1, 0.5, 0.125});
  CHECK(slopes(3, 90) == Row{1, 1, 0.5});
  CHECK(slopes(1, 90) == Row{0.5});
  const Options falling{{"layer_slopes", std::vector<double>{1.5, 0.5}}};
  for (int block = 0; block < 3; ++block) CHECK(slopes(6, 90, falling, 3, block)[0] == 1.5 - 0.5 * block);
  CHECK(slopes(6, 90, falling)[0] == 1.5);
}

TWIN_CASE("LookHere: no row is blind over reduced keys and in windows; class tokens see and are seen") {
  for (const int variant : {180, 90, 45})
    for (const Layout& l : {Layout::reduced({5, 7, 1}, {2, 3, 1}, 2), Layout::reduced({5, 7, 0}, {3, 4, 0}, 2),
                            Layout::windowed({6, 8, 0}, {3, 4, 1, 2}), square(3, 5, 2)}) {
      const Looking net(variant, 12, l);
      const Terms t = net.terms();
      const RelativeIndex& rho = t.relative[0].rho;
      for (int h = 0; h < 12; ++h)
        for (int i = 0; i < rho->n; ++i) {
          int seen = 0;
          for (int j = 0; j < rho->m; ++j) seen += net.sees(h, i, j);
          CHECK(seen > (l.q.prefix ? l.q.prefix : 0));
          for (int j = 0; j < l.k.prefix; ++j) CHECK(net.bias(h, i, j) == 0);
          if (i < l.q.prefix) CHECK(seen == rho->m);
        }
    }
}

TWIN_CASE("LookHere: -inf in its table hides a pair as a mask does, forward and backward") {
  const Layout l = square(5, 7, 1);
  const Looking net(45, 12, l);
  const int n = l.q.tokens();
  Terms masked = net.terms();
  std::vector<bool> sees;
  for (int h = 0; h < 12; ++h)
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) sees.push_back(net.sees(h, i, j));
  masked.visible = HeadMask(12, n, n, sees);
  masked.relative[0].table = masked.relative[0].table.copy();
  for (real& b : masked.relative[0].table.values())
    if (std::isinf(b)) b = 0;
  Tensor q({2, n, 48}), k(q.shape()), v(q.shape()), weight(q.shape());
  for (int64_t i = 0; i < q.size(); ++i) {
    q[i] = rounded(normal_at("q", i)), k[i] = rounded(normal_at("k", i)), v[i] = rounded(normal_at("v", i));
    weight[i] = rounded(normal_at("weight", i));
  }
  const auto all = [&](const Terms& terms, bool fused) {
    Tape tape;
    Grads none;
    const Tensor a = tape.watch(q), b = tape.watch(k), c = tape.watch(v);
    const Query query(heads(a, 12), heads(b, 12), heads(c, 12), global_pattern(n, n), 0.5);
    const Tensor o = fused ? attention(query, terms, {}) : plain_attention(query, terms, {});
    tape.backward(o, weight, none);
    return std::vector<Tensor>{o, tape.grad(a), tape.grad(b), tape.grad(c)};
  };
  const auto table = all(net.terms(), true), mask = all(masked, true), plain = all(net.terms(), false);
  for (size_t i = 0; i < table.size(); ++i) {
    for (const real x : table[i].values()) CHECK(std::isfinite(x));
    CHECK(same_bits(table[i], mask[i]));
    CHECK(farthest(table[i], plain[i]) < (sizeof(real) == 8 ? 1e-13 : 2e-5));
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
