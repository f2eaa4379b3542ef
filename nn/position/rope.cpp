// Rotary embeddings.  1-D: Su et al. 2021 (RoFormer); axial and mixed: Heo et al. 2024; grid variants of timm (EVA) and DINOv3.
//   (q_2t, q_2t+1) and (k_2t, k_2t+1) turn by an angle of their token; s_ij then depends on differences of angles only.
//     rope        angle_t = p base^(-2t/d)                                   p the raster index, d the head width
//     rope_axial  angle_t = x theta^(-4t/d) for the first d/4 pairs, y theta^(-4t/d) for the next d/4
//     rope_mixed  angle_t = x fx_t + y fy_t, fx and fy learned per block and head
//   hooks: rotary      parameters: none; mixed: heads d per block      cost: 2 multiplications per channel of q and k; mixed: a cosine and a sine per token and pair
//   class tokens: angle 0, or positions counted from `start`      windows: window-local coordinates      values are not turned
//   another resolution: recomputed (extrapolates); `rescale` divides the trained grid finer instead. Reduced keys: cell centres.
#include <cmath>
#include <numbers>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Point {
  double y = 0, x = 0;
  bool prefix = false;
};

/// Positions of the query and key slots of a call, in query cells; a reduced key sits at the centre of its cell.
std::pair<std::vector<Point>, std::vector<Point>> points(const Layout& now) {
  Layout full = now;
  full.reduce = 1;
  const auto all = [](const std::vector<Coords::Cell>& cells, int reduce) {
    std::vector<Point> p;
    for (const auto& c : cells) {
      if (c.prefix()) {
        p.push_back({0, 0, true});
      } else {
        p.push_back({(c.y + 0.5) * reduce - 0.5, (c.x + 0.5) * reduce - 0.5, false});
      }
    }
    return p;
  };
  const Coords c = coords(full);
  return {all(c.q, 1), all(c.k, now.reduce)};
}

Extent query_extent(const Layout& now) {
  return now.window.h ? Extent{now.window.h, now.window.w} : Extent{now.q.h, now.q.w};
}

/// The rotation of all slots from angle(point, pair) for d/2 pairs.
template <class Angle>
Rotary rotation(const Layout& now, int d, bool halves, Angle angle) {
  Rotary r;
  r.halves = halves;
  const auto fill = [&](const std::vector<Point>& at, Tensor& c, Tensor& s) {
    c = Tensor({1, static_cast<int>(at.size()), d / 2}), s = Tensor(c.shape());
    int64_t i = 0;
    for (const Point& p : at)
      for (int t = 0; t < d / 2; ++t, ++i) {
        const double a = p.prefix ? 0 : angle(p, t);
        c[i] = static_cast<real>(std::cos(a)), s[i] = static_cast<real>(std::sin(a));
      }
  };
  const auto [q, k] = points(now);
  fill(q, r.cos_q, r.sin_q), fill(k, r.cos_k, r.sin_k);
  return r;
}

std::string needs_width(const Places& at, int multiple) {
  for (const Site& s : at.sites)
    if (s.head_dim % multiple) return fmt::format("head width {} is not a multiple of {}", s.head_dim, multiple);
  return "";
}

// ---- one dimension ---------------------------------------------------------------------------------------------------

struct Rope final : PositionEncoding {
  struct Config {
    double base = 10000;
    std::string layout = "interleaved";
    int start = 0;
    bool rescale = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"base", &Config::base, "wavelengths grow from 2 pi to 2 pi base", within(1, 1e12)},
        {"layout", &Config::layout, "pairs of channels: interleaved (2t, 2t+1) | halves (t, t + d/2)",
         one_of("interleaved", "halves")},
        {"start", &Config::start, "position of the first patch (1 keeps it apart from a class token)",
         within(-65536, 65536)},
        {"rescale", &Config::rescale, "squeeze another resolution into the trained range of positions"},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config&) { return needs_width(at, 2); }
  Rope(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Run&) const override {
    static Memo<std::tuple<Layout, Extent, int, double, bool, int>, Rotary> memo;
    const Extent is = query_extent(now), unit = config.rescale ? query_extent(s.trained) : is;
    const bool halves = config.layout == "halves";
    Terms t;
    t.rotary = memo({now, unit, s.head_dim, config.base, halves, config.start}, [&] {
      const double shrink = static_cast<double>(unit.cells()) / is.cells();
      return rotation(now, s.head_dim, halves, [&](const Point& p, int pair) {
        return (config.start + (p.y * is.w + p.x) * shrink) * std::pow(config.base, -2.0 * pair / s.head_dim);
      });
    });
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.rescale ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : "rope rescale=true: " + unit;
  }
  Config config;
};

// ---- two axes --------------------------------------------------------------------------------------------------------

struct RopeAxial final : PositionEncoding {
  struct Config {
    double theta = 0, max_freq = 224;
    std::string variant = "rope_vit", bands = "linear", layout = "interleaved";
    int start = 0;
    bool rescale = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"theta", &Config::theta,
         "wavelengths grow from 2 pi to 2 pi theta; 0: 100 for global attention, 50 in windows; timm_language 10000",
         within(1, 1e12).or_zero().only_with("variant", "rope_vit", "timm_language", "dinov3")},
        {"variant", &Config::variant,
         "rope_vit | timm_language | timm_pixel (coordinates in [-1, 1]) | dinov3 (cell centres in [-1, 1])",
         one_of("rope_vit", "timm_language", "timm_pixel", "dinov3")},
        {"max_freq", &Config::max_freq, "timm_pixel: frequencies are spaced from pi to pi max_freq / 2",
         within(1e-3, 1e9).only_with("variant", "timm_pixel")},
        {"bands", &Config::bands, "timm_pixel: spacing of the frequencies, linear | log (timm's linear_bands=False)",
         one_of("linear", "log").only_with("variant", "timm_pixel")},
        {"layout", &Config::layout, "pairs of channels: interleaved | halves (dinov3 implies halves)",
         one_of("interleaved", "halves").only_with("variant", "rope_vit", "timm_language", "timm_pixel")},
        {"start", &Config::start, "coordinate of the first row and column (1 keeps it apart from a class token)",
         within(-65536, 65536).only_with("variant", "rope_vit", "timm_language")},
        {"rescale", &Config::rescale, "squeeze another resolution into the trained range of coordinates",
         anything().only_with("variant", "rope_vit", "timm_language")},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config&) { return needs_width(at, 4); }
  RopeAxial(const Scope&, const Places&, const Config& c) : config(c) {}

  Terms terms(const Site& s, const Layout& now, const Run&) const override {
    using Known = std::tuple<Layout, Extent, int, double, double, std::string, std::string, bool, int>;
    static Memo<Known, Rotary> memo;
    const Extent is = query_extent(now), unit = config.rescale ? query_extent(s.trained) : is;
    const bool halves = config.layout == "halves" || config.variant == "dinov3";
    const Known known{now,          unit,   s.head_dim,  config.theta, config.max_freq, config.variant,
                      config.bands, halves, config.start};
    Terms t;
    t.rotary = memo(known, [&] {
      return rotation(now, s.head_dim, halves, [&](const Point& p, int pair) {
        return angle(p, pair, s.head_dim / 4, is, unit, now.window.h > 0);
      });
    });
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.rescale && (config.variant == "rope_vit" || config.variant == "timm_language")
                                 ? warn_unit_of_sites(from, to)
                                 : "";
    return unit.empty() ? "" : "rope_axial rescale=true: " + unit;
  }

 private:
  double angle(const Point& p, int pair, int quarter, const Extent& is, const Extent& unit, bool windowed) const {
    const int t = pair % quarter;
    const double band = static_cast<double>(t) / quarter;
    const auto on = [&](bool rows, auto f) { return rows ? f(p.y, is.h, unit.h) : f(p.x, is.w, unit.w); };
    const bool second = pair >= quarter;
    if (config.variant == "rope_vit") {  // columns first
      const double theta = config.theta > 0 ? config.theta : windowed ? 50 : 100;
      return on(second, [&](double at, int n, int u) { return (config.start + at * u / n) * std::pow(theta, -band); });
    }
    if (config.variant == "timm_language") {  // rows first
      const double theta = config.theta > 0 ? config.theta : 10000;
      return on(!second, [&](double at, int n, int u) { return (config.start + at * u / n) * std::pow(theta, -band); });
    }
    if (config.variant == "timm_pixel") {
      const double most = config.max_freq / 2, step = quarter > 1 ? static_cast<double>(t) / (quarter - 1) : 0;
      const double f = config.bands == "log" ? std::pow(most, step) : 1 + (most - 1) * step;
      return on(!second,
                [&](double at, int n, int) { return (n > 1 ? 2 * at / (n - 1) - 1 : -1) * f * std::numbers::pi; });
    }
    const double theta = config.theta > 0 ? config.theta : 100;
    return on(!second, [&](double at, int n, int) {
      return 2 * std::numbers::pi * (2 * (at + 0.5) / n - 1) * std::pow(theta, -band);
    });
  }
  Config config;
};

// ---- both axes mixed, learned ----------------------------------------------------------------------------------------

struct RopeMixed final : PositionEncoding {
  struct Config {
    double theta = 10;
    bool rotate = true, rescale = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"theta", &Config::theta, "spacing of the initial frequencies", within(1, 1e12)},
        {"rotate", &Config::rotate, "turn each head's initial frequencies by a random angle"},
        {"rescale", &Config::rescale, "squeeze another resolution into the trained range of coordinates"},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config&) { return needs_width(at, 4); }

  RopeMixed(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope own = net / s.path / "position";
      freqs.push_back(own.param("freqs", {2, s.heads, s.head_dim / 2}, constant(0), Decay::no));
      start(freqs.back(), s, rng::Stream(rng::mix(net.params().seed() ^ rng::hash((own / "freqs").path()))));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Run&) const override {
    const Tensor& f = freqs.at(static_cast<size_t>(s.id));
    const int pairs = s.head_dim / 2;
    const Tensor per_axis =
        permute(f.reshape({2, s.heads * pairs}), {1, 0});  // (heads pairs, 2): a linear map from (x, y)
    const auto angles = [&](bool keys) {
      const Tensor& at = coordinates(s, now, keys);
      return permute(exact_linear(at, per_axis).reshape({at.dim(0), s.heads, pairs}),
                     {1, 0, 2});  // (heads, tokens, pairs)
    };
    Terms t;
    const Tensor q = angles(false);
    t.rotary.cos_q = cos(q), t.rotary.sin_q = sin(q);
    if (now.q == now.k && now.reduce == 1) {
      t.rotary.cos_k = t.rotary.cos_q, t.rotary.sin_k = t.rotary.sin_q;
    } else {
      const Tensor k = angles(true);
      t.rotary.cos_k = cos(k), t.rotary.sin_k = sin(k);
    }
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.rescale ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : "rope_mixed rescale=true: " + unit;
  }

 private:
  void start(const Tensor& f, const Site& s, const rng::Stream& random) const {
    const int quarter = s.head_dim / 4;
    for (int h = 0; h < s.heads; ++h) {
      const double phi = config.rotate ? 2 * std::numbers::pi * random.uniform(static_cast<uint64_t>(h)) : 0;
      for (int t = 0; t < 2 * quarter; ++t) {
        const double magnitude = std::pow(config.theta, -static_cast<double>(t % quarter) / quarter);
        const double direction = phi + (t < quarter ? 0 : std::numbers::pi / 2);
        const auto put = [&](int axis, double v) {
          f[(static_cast<int64_t>(axis) * s.heads + h) * 2 * quarter + t] = static_cast<real>(static_cast<float>(v));
        };
        put(0, magnitude * std::cos(direction)), put(1, magnitude * std::sin(direction));
      }
    }
  }
  /// (tokens, 2): x and y of every slot.
  const Tensor& coordinates(const Site& s, const Layout& now, bool keys) const {
    static Memo<std::tuple<Layout, Extent, bool>, Tensor> memo;
    const Extent is = query_extent(now), unit = config.rescale ? query_extent(s.trained) : is;
    return memo({now, unit, keys}, [&] {
      const auto [q, k] = points(now);
      std::vector<double> v;
      for (const Point& p : keys ? k : q) v.push_back(p.x * unit.w / is.w), v.push_back(p.y * unit.h / is.h);
      return tensor({static_cast<int>(v.size() / 2), 2}, v);
    });
  }
  Config config;
  std::vector<Tensor> freqs;  // by Site::id; [0] fx, [1] fy
};

}  // namespace

Encoding rope() { return encoding<Rope>(); }
Encoding rope_axial() { return encoding<RopeAxial>(); }
Encoding rope_mixed() { return encoding<RopeMixed>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
