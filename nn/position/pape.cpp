// Parabolic position encoding.  Koo Ohrstrom et al. 2026 (PaPE), arXiv 2602.01418.          d = (dx, dy), query minus key, columns first
//   pape     s_ij += scale sum_p (-a_ip (P_p d)^2 + b_ip P_p d),     a = softplus(W_a x),  b = W_b x,  n parabolas (P_p, a_p, b_p) a head
//   pape_ri  s_ij += scale (-a_i lambda^2 |d|^2),                    one a and one lambda a head: the same for every direction
//   x: the input of the projections. However many parabolas there are, their sum is a quadratic form of two coordinates (the authors' later
//   code says so, too), five numbers a token and head:
//     sum_p ... = -d^T M_i d + m_i . d,      M_i = sum_p a_ip P_p P_p^T,      m_i = sum_p b_ip P_p
//   and these five meet a fixed table of the offsets (dx^2, 2 dx dy, dy^2, dx, dy). The sources put it into more channels of q and k
//   instead, as differences of large squares that half precision does not hold; a table of offsets has nothing to lose.
//   hooks: query, of a side projection      parameters: heads n (2 + 2 width) per block; pape_ri: heads (width + 1)
//   cost: heads n outputs more of the projections, then a product of width 5 with the table and a look-up a pair; pape_ri: 1 and width 1
//   class tokens: cell (0, 0), one before the first row and column (the authors count cells from 1), or none (class_cell = none)
//   another resolution: recomputed in cells, so it extrapolates; scaling=interpolate measures in cells of the trained grid.
//   windows: offsets inside. Reduced keys: cells of the key map.
#include <cmath>
#include <tuple>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/learned_scale.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr const char* class_help =
    "where class tokens are: origin (before the first row and column) | none (their pairs add nothing)";
constexpr const char* parabolas_alone = "its parabolas come from projections of their own";
constexpr const char* unit_help = "offsets in units of the grid: the far corner is 1 away in both directions";

/// The largest offset of a call either way, class tokens included.
Extent reach(const Layout& now, bool class_has_cell) {
  const Extent e = extent(now);
  const int more = class_has_cell && (now.q.prefix || now.k.prefix) && !now.window.h ? 1 : 0;
  return {e.h - 1 + more, e.w - 1 + more};
}

RelativeIndex offsets(const Layout& now, bool class_has_cell) {
  static Memo<std::tuple<Layout, bool>, RelativeIndex> memo;
  return memo({now, class_has_cell}, [&] {
    const Extent r = reach(now, class_has_cell);
    return make_pairs(now, (2 * r.h + 1) * (2 * r.w + 1), [&](const auto& i, const auto& j) {
      if (!class_has_cell && (i.prefix() || j.prefix())) return -1;
      return (i.y - j.y + r.h) * (2 * r.w + 1) + i.x - j.x + r.w;  // a class token's cell is (-1, -1)
    });
  });
}

/// The options of both: what offsets are measured in.
struct Measure {
  std::string scaling = "none";
  bool normalize = false;
};
/// Shares of the call's own grid know no trained one.
constexpr Domain scaling_domain() { return scaled_distances().only_with("normalize", "false"); }

struct Unit {
  double y = 1, x = 1;
  auto operator<=>(const Unit&) const = default;
};
/// What offsets are divided by. The length of a sequence, padding included, is no unit: the trained one is.
Unit unit_of(const Site& s, const Layout& now, const Measure& c) {
  if (c.normalize) {
    const Extent e = extent(now.k.sequence ? s.trained : now);
    return {static_cast<double>(e.h), static_cast<double>(e.w)};
  }
  if (c.scaling == "none") return {};
  const Extent is = extent(now), unit = extent(measured_on(s.trained, now));
  return {static_cast<double>(is.h) / unit.h, static_cast<double>(is.w) / unit.w};
}

/// Shares of a map have the unit of the call, those of a sequence that of the model.
std::string unit_moved(const char* name, const Measure& c, const Places& from, const Places& to) {
  if (!c.normalize) return scaling_warning(name, {c.scaling}, from, to);
  const std::string unit = warn_unit_of_sequences(from, to);
  return unit.empty() ? "" : fmt::format("{} normalize=true: {}", name, unit);
}

/// f(dy, dx) for every row of offsets(): (1, rows, width).
template <class F>
Tensor table_of(const Extent& r, const Unit& unit, int width, F f) {
  std::vector<double> v;
  for (int dy = -r.h; dy <= r.h; ++dy)
    for (int dx = -r.w; dx <= r.w; ++dx) f(v, dy / unit.y, dx / unit.x);
  return tensor({1, (2 * r.h + 1) * (2 * r.w + 1), width}, v);
}

// ---- n parabolas -----------------------------------------------------------------------------------------------------

struct Pape final : PositionEncoding {
  struct Config : Measure {
    int parabolas = 50;
    std::string class_cell = "origin";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"parabolas", &Config::parabolas, "n, of each head", within(1, 4096)},
        {"class_cell", &Config::class_cell, class_help, one_of("origin", "none")},
        {"normalize", &Config::normalize, unit_help},
        {"scaling", &Config::scaling, distance_scaling, scaling_domain()},
    };
    return table;
  }

  static std::string refuses(const Places& at, const Config&) { return refuses_learned_scale(at, parabolas_alone); }

  Pape(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position";
      const int all = s.heads * c.parabolas;
      own.push_back({(p / "parabolas").param("weight", {all, 2}, torch_default(2), Decay::no),
                     (p / "ab").param("weight", {2 * all, s.dim}, torch_default(s.dim), Decay::yes)});
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens& tokens, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    const int all = s.heads * config.parabolas, B = tokens.q.dim(0), N = tokens.q.dim(1);
    const Tensor P = permute(o.parabolas, {1, 0}), x = slice(P, 0, 0, 1), y = slice(P, 0, 1, 2);  // (2, all)
    const Tensor a = softplus(exact_linear(tokens.q, slice(o.ab, 0, 0, all)));                    // (B, N, all)
    const Tensor M = exact_linear(a, by_head(concat({mul(x, x), mul(x, y), mul(y, y)}, 0), s.heads));
    // b is linear in the token, so P goes into W_b first: heads 2 outputs instead of heads n
    const Tensor W_b = permute(slice(o.ab, 0, all, 2 * all), {1, 0});
    const Tensor m = exact_linear(tokens.q, exact_linear(by_head(P, s.heads), W_b));
    const Tensor u = concat({M.reshape({B, N, s.heads, 3}), m.reshape({B, N, s.heads, 2})}, 3);
    const bool with_class = config.class_cell == "origin";
    return Terms{}.add({Relative::query, powers(reach(now, with_class), unit_of(s, now, config)), 0,
                        offsets(now, with_class), heads(u.reshape({B, N, 5 * s.heads}), s.heads)});
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return unit_moved("pape", config, from, to);
  }

 private:
  struct Own {
    Tensor parabolas, ab;  // (heads n, 2): x, y; (a | b, heads, n; width)
  };
  /// t (f, heads n), which a head may only use its own columns of -> (heads f, heads n), with zeros elsewhere.
  Tensor by_head(const Tensor& t, int H) const {
    const int f = t.dim(0), n = config.parabolas;
    static Memo<int, Tensor> memo;
    const Tensor& own_columns = memo(H, [&] {
      Tensor eye = zeros({H, 1, H, 1});
      for (int h = 0; h < H; ++h) eye[int64_t{h} * H + h] = 1;
      return eye;
    });
    return mul(own_columns, t.reshape({1, f, H, n})).reshape({H * f, H * n});
  }
  static Tensor powers(const Extent& r, const Unit& unit) {
    static Memo<std::tuple<Extent, Unit>, Tensor> memo;
    return memo({r, unit}, [&] {
      return table_of(r, unit, 5, [](std::vector<double>& v, double dy, double dx) {
        v.insert(v.end(), {-dx * dx, -2 * dx * dy, -dy * dy, dx, dy});
      });
    });
  }
  Config config;
  std::vector<Own> own;  // by Site::id
};

// ---- the same in every direction ---------------------------------------------------------------------------------------

struct PapeRi final : PositionEncoding {
  struct Config : Measure {
    std::string class_cell = "origin";
    bool frozen = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"class_cell", &Config::class_cell, class_help, one_of("origin", "none")},
        {"normalize", &Config::normalize, unit_help},
        {"scaling", &Config::scaling, distance_scaling, scaling_domain()},
        {"frozen", &Config::frozen,
         "lambda is drawn from U(-1/sqrt 2, 1/sqrt 2) and never trained, as the authors do; else it starts at 0.5"},
    };
    return table;
  }

  static std::string refuses(const Places& at, const Config&) { return refuses_learned_scale(at, parabolas_alone); }

  PapeRi(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position";
      const char* name = "position_scales";
      own.push_back({c.frozen ? p.buffer(name, {s.heads, 1, 1}, torch_default(2))
                              : p.param(name, {s.heads, 1, 1}, constant(0.5), Decay::no),
                     (p / "a").param("weight", {s.heads, s.dim}, torch_default(s.dim), Decay::yes)});
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens& tokens, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    const bool with_class = config.class_cell == "origin";
    const Tensor squares = distances(reach(now, with_class), unit_of(s, now, config));
    return Terms{}.add({Relative::query, mul(squares, mul(o.lambda, o.lambda)), 0, offsets(now, with_class),
                        heads(softplus(exact_linear(tokens.q, o.a)), s.heads)});
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return unit_moved("pape_ri", config, from, to);
  }

 private:
  struct Own {
    Tensor lambda, a;
  };
  /// -|d|^2
  static Tensor distances(const Extent& r, const Unit& unit) {
    static Memo<std::tuple<Extent, Unit>, Tensor> memo;
    return memo({r, unit}, [&] {
      return table_of(r, unit, 1,
                      [](std::vector<double>& v, double dy, double dx) { v.push_back(-dx * dx - dy * dy); });
    });
  }
  Config config;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding pape() { return encoding<Pape>(); }
Encoding pape_ri() { return encoding<PapeRi>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
