// Forgetting: a bias that is the sum of the gates between two tokens.  Lin et al. 2025 (FoX), arXiv 2503.02130; in both directions: data-
// dependent ALiBi as circulated with x-transformers; along the axes of an image: ours.          g = log sigmoid(w_h . x + c_h) <= 0
//   forget           order: the raster. F and R are running sums of two sets of gates, of F alone where a model is causal:
//                      s_ij += F_i - F_j for j <= i: the gates of j + 1 .. i          s_ij += R_j - R_i for j > i: those of i .. j - 1
//                    mirror = false sums i + 1 .. j in the second case, as the circulated code does; then reversed tokens have no
//                    reversed bias.
//   forget_profiles  the columns of a map have a gate each, the mean of its tokens' gx, and so have the rows, by gy; Cx, Cy their sums:
//                      s_ij -= |Cx[x_i] - Cx[x_j]| + |Cy[y_i] - Cy[y_j]|          constant gates -m: ALiBi with slope m and L1 distances
//   The bias of FoX stands outside of scale. Sums are products with fixed matrices of zeros and ones (or 1/h, 1/w), and the differences
//   that a pair sees are chosen by the order of its tokens: 2 rows, or 9 by the signs of the offset.
//   hooks: query and key, of side projections; causal: key      parameters: 2 heads (width + 1) per block, causal: half of that
//   cost: N^2 heads for each set of sums, then two terms of width 2; a causal one without class tokens is a row added to all scores, for
//   F_i is the same for all keys of a query
//   class tokens: no gate, no bias (ours)      windows: refused      reduced keys: gates of the keys, queries in their cells
//   another resolution: recomputed; a finer grid forgets faster, which scaling=interpolate undoes
#include <cmath>
#include <tuple>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/formulas.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Cell = Coords::Cell;

/// Which gates a running sum holds when it has come to a cell.
enum class Sum {
  raster,  ///< all up to it, itself included
  before,  ///< all before it
  rows,    ///< of its row and those above, each the mean over the row
  columns  ///< of its column and those to the left
};

double weight(Sum sum, const Cell& gate, const Cell& at, const Extent& is, const Extent& unit) {
  if (gate.prefix() || at.prefix()) return 0;
  const int to = raster(at, is), from = raster(gate, is);
  switch (sum) {
    case Sum::raster:
      return from <= to ? static_cast<double>(unit.cells()) / is.cells() : 0;
    case Sum::before:
      return from < to ? static_cast<double>(unit.cells()) / is.cells() : 0;
    case Sum::rows:
      return gate.y <= at.y ? static_cast<double>(unit.h) / is.h / is.w : 0;
    case Sum::columns:
      return gate.x <= at.x ? static_cast<double>(unit.w) / is.w / is.h : 0;
  }
  return 0;
}

/// The queries ask from the places of the keys.
bool same_places(const Layout& now) { return now.q == now.k && now.reduce == 1 && now.q_from == 0; }

/// (queries + keys, keys), or (keys, keys) where these are the same places.
Tensor sums(const Layout& now, Sum sum, const Extent& unit) {
  static Memo<std::tuple<Layout, Sum, Extent>, Tensor> memo;
  return memo({now, sum, unit}, [&] {
    const Coords c = coords(now);
    const Extent is = extent(now);
    std::vector<double> v;
    const auto add = [&](const std::vector<Cell>& cells) {
      for (const Cell& at : cells)
        for (const Cell& gate : c.k) v.push_back(weight(sum, gate, at, is, unit));
    };
    if (!same_places(now)) add(c.q);
    add(c.k);
    return tensor({static_cast<int>(v.size() / c.k.size()), static_cast<int>(c.k.size())}, v);
  });
}

// ---- what both have --------------------------------------------------------------------------------------------------

std::string refuse_windows(const Places& at, const char* why) {
  for (const Site& s : at.sites)
    if (s.trained.window.h) return why;
  return "";
}

constexpr const char* gates_help =
    "initial gates: half (FoX: a token halves what is before it) | open (x-transformers: sigmoid(5)) | alibi (the "
    "slope of the head)";
constexpr const char* rescale_help = "scaling=interpolate under its older name";
constexpr const char* scaling_help =
    "on another grid than the trained one: none | interpolate (measure in cells of the trained grid: gates of a finer "
    "grid are as much weaker)";

/// The grid in whose cells gates are counted.
Extent unit_of(const Site& s, const Layout& now, bool rescale, const std::string& scaling) {
  return extent(rescale || scaling == "interpolate" ? measured_on(s.trained, now) : now);
}

struct Gates {
  Tensor weight, bias;  // (sets heads, width), (sets heads)

  Gates(const Scope& p, const Site& s, int sets, const std::string& start, double std)
      : weight(p.param("weight", {sets * s.heads, s.dim}, normal(std), Decay::no)),
        bias(p.param("bias", {sets * s.heads}, constant(start == "open" ? 5 : 0), Decay::no)) {
    if (start != "alibi") return;
    const std::vector<double> slopes = alibi_slopes(s.heads);
    for (int i = 0; i < sets * s.heads; ++i)  // -log sigmoid(-ln(e^m - 1)) = m
      bias[i] = static_cast<real>(-std::log(std::expm1(slopes[static_cast<size_t>(i % s.heads)])));
  }

  /// The running sums of the log gates of x (B, keys, width), one for each set: (B, queries + keys or keys, heads sets).
  Tensor operator()(const Tensor& x, const Layout& now, int H, const std::vector<Sum>& kinds,
                    const Extent& unit) const {
    const Tensor g = permute(neg(softplus(neg(exact_linear(x, weight, bias)))), {0, 2, 1});  // (B, sets heads, keys)
    std::vector<Tensor> all;
    for (size_t i = 0; i < kinds.size(); ++i) {
      const int from = static_cast<int>(i) * H;
      all.push_back(exact_linear(slice(g, 1, from, from + H), sums(now, kinds[i], unit)));  // (B, heads, places)
    }
    const Tensor t = permute(stack(all, 3), {0, 2, 1, 3});
    return t.reshape({t.dim(0), t.dim(1), -1});
  }
};

/// s_ij += u_i . row + u_j . (-row), the row by `index`.
Terms differences(const Tensor& u, const Layout& now, int H, const Tensor& rows, const RelativeIndex& index) {
  const int n = now.q.tokens(), all = u.dim(1);
  const bool same = same_places(now);
  const Heads of_q = heads(same ? u : slice(u, 1, 0, n), H), of_k = heads(same ? u : slice(u, 1, n, all), H);
  return Terms{}
      .add({Relative::query, rows, 0, index, of_q, true})
      .add({Relative::key, neg(rows), 0, index, of_k, true});
}

// ---- along the raster ------------------------------------------------------------------------------------------------

struct Forget final : PositionEncoding {
  struct Config {
    std::string gates = "half";
    double std = 0.02;
    bool mirror = true, rescale = false;
    std::string scaling = "none";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"gates", &Config::gates, gates_help, one_of("half", "open", "alibi")},
        {"std", &Config::std, "standard deviation of the initial weights", within(0, 1000)},
        {"mirror", &Config::mirror,
         "gates of later tokens are the mirror image of those before; causal models have none"},
        {"rescale", &Config::rescale, rescale_help},
        {"scaling", &Config::scaling, scaling_help, scaled_distances()},
    };
    return table;
  }
  static void check(const Config& c) { check_scaling("forget", {c.scaling}, c.rescale); }
  static std::string refuses(const Places& at, const Config&) {
    return refuse_windows(
        at,
        "gates are summed along the raster of the whole map, which windows cut: take forget to a model of global "
        "attention");
  }

  Forget(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites)
      own.emplace_back(net / s.path / "position" / "forget", s, s.causal ? 1 : 2, c.gates, c.std);
  }

  Terms terms(const Site& s, const Layout& now, const Tokens& x, const Run&) const override {
    const Gates& gates = own.at(static_cast<size_t>(s.id));
    const Extent unit = unit_of(s, now, config.rescale, config.scaling);
    if (!s.causal) {
      const std::vector<Sum> kinds{Sum::raster, config.mirror ? Sum::before : Sum::raster};
      const Tensor rows = tensor({1, 2, 2}, std::vector<double>{1, 0, 0, -1});  // F_i - F_j, R_j - R_i
      return differences(gates(x.k, now, s.heads, kinds, unit), now, s.heads, rows, index(now));
    }
    const Tensor F = gates(x.k, now, s.heads, {Sum::raster}, unit);
    const Tensor one = full({1, 1, 1}, 1);
    if (now.k.prefix) return differences(F, now, s.heads, one, single_row(now, true));
    const Tensor of_k = same_places(now) ? F : slice(F, 1, now.q.tokens(), F.dim(1));
    return Terms{}.add({Relative::key, neg(one), 0, single_row(now), heads(of_k, s.heads), true});
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("forget", {config.scaling}, from, to, config.rescale);
  }

 private:
  /// Row 0: the key is the query or before it; 1: after it.
  static RelativeIndex index(const Layout& now) {
    static Memo<Layout, RelativeIndex> memo;
    return memo(now, [&] {
      const Extent e = extent(now);
      return make_pairs(now, 2, [&](const auto& i, const auto& j) {
        return i.prefix() || j.prefix() ? -1 : raster(j, e) <= raster(i, e) ? 0 : 1;
      });
    });
  }
  Config config;
  std::vector<Gates> own;  // by Site::id
};

// ---- along the axes --------------------------------------------------------------------------------------------------

struct ForgetProfiles final : PositionEncoding {
  struct Config {
    std::string gates = "alibi";
    double std = 0.02;
    bool rescale = false;
    std::string scaling = "none";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"gates", &Config::gates, gates_help, one_of("half", "open", "alibi")},
        {"std", &Config::std, "standard deviation of the initial weights", within(0, 1000)},
        {"rescale", &Config::rescale, rescale_help},
        {"scaling", &Config::scaling, scaling_help, scaled_distances()},
    };
    return table;
  }
  static void check(const Config& c) { check_scaling("forget_profiles", {c.scaling}, c.rescale); }
  static std::string refuses(const Places& at, const Config&) {
    for (const Site& s : at.sites)
      if (s.causal && extent(s.trained).h > 1)
        return "a column's gate is the mean of all its tokens, and a causal model may not look ahead";
    return refuse_windows(
        at,
        "rows and columns have their gates from the whole map, which windows cut: take forget_profiles to a model of "
        "global attention");
  }

  ForgetProfiles(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) own.emplace_back(net / s.path / "position" / "forget", s, 2, c.gates, c.std);
  }

  Terms terms(const Site& s, const Layout& now, const Tokens& x, const Run&) const override {
    const Tensor C = own.at(static_cast<size_t>(s.id))(x.k, now, s.heads, {Sum::columns, Sum::rows},
                                                       unit_of(s, now, config.rescale, config.scaling));
    // sums of gates fall, so -|C_i - C_j| = sign(x_i - x_j) (C_i - C_j)
    // row 3 (sign dy + 1) + sign dx + 1: sign dx, sign dy
    const Tensor signs =
        tensor({1, 9, 2}, std::vector<double>{-1, -1, 0, -1, 1, -1, -1, 0, 0, 0, 1, 0, -1, 1, 0, 1, 1, 1});
    return differences(C, now, s.heads, signs, index(now));
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("forget_profiles", {config.scaling}, from, to, config.rescale);
  }

 private:
  static RelativeIndex index(const Layout& now) {
    static Memo<Layout, RelativeIndex> memo;
    return memo(now, [&] {
      const auto sign = [](int d) { return d < 0 ? -1 : d > 0 ? 1 : 0; };
      return make_pairs(now, 9, [&](const auto& i, const auto& j) {
        return i.prefix() || j.prefix() ? -1 : 3 * (sign(i.y - j.y) + 1) + sign(i.x - j.x) + 1;
      });
    });
  }
  Config config;
  std::vector<Gates> own;  // by Site::id
};

}  // namespace

Encoding forget() { return encoding<Forget>(); }
Encoding forget_profiles() { return encoding<ForgetProfiles>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
