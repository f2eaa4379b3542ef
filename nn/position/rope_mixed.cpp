// Mixed rotary embedding.  Heo et al. 2024; its polar form after the abstract of Compass-RoPE (2026), without what that adds to it.
//   angle_t = x fx_t + y fy_t, of frequencies that are learned per block and head
//     rope_mixed  fx, fy themselves
//     polar       fx = a_t cos(al_t), fy = a_t sin(al_t): how fast and in which direction, learned apart
//   hooks: rotary      parameters: heads d per block      cost: 2 multiplications per channel of q and k (values=true: of v and o, too), a cosine
//   and a sine per token, head and pair
//   class tokens: angle 0      windows: window-local coordinates      another resolution: recomputed (extrapolates); `rescale` divides the
//   trained grid finer instead. Reduced keys: cell centres.
#include <cmath>
#include <numbers>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct RopeMixed final : PositionEncoding {
  struct Config {
    std::string parameters = "cartesian";
    double theta = 10;
    bool rotate = true, rescale = false, values = false;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"parameters", &Config::parameters, "what is learned: cartesian (fx, fy) | polar (magnitude and direction)",
         one_of("cartesian", "polar")},
        {"theta", &Config::theta, "spacing of the initial frequencies", within(1, 1e12)},
        {"rotate", &Config::rotate, "turn each head's (polar: each pair's) initial frequencies by a random angle"},
        {"rescale", &Config::rescale, "squeeze another resolution into the trained range of coordinates"},
        {"values", &Config::values,
         "values travel as seen from the query: turned as keys are, and back with the query"},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    const std::string width = needs_width(at, 4);
    return width.empty() && c.values ? needs_values(at) : width;
  }

  RopeMixed(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const Scope scope = net / s.path / "position";
      const Shape pairs{s.heads, s.head_dim / 2};
      if (polar()) {
        own.push_back({{},
                       scope.param("magnitude", pairs, constant(0), Decay::no),
                       scope.param("direction", pairs, constant(0), Decay::no)});
      } else {
        own.push_back({scope.param("freqs", {2, pairs[0], pairs[1]}, constant(0), Decay::no), {}, {}});
      }
      const char* drawn = polar() ? "direction" : "freqs";
      start(own.back(), s, rng::Stream(rng::mix(net.params().seed() ^ rng::hash((scope / drawn).path()))));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const int pairs = s.head_dim / 2;
    const Tensor per_axis =
        permute(frequencies(s).reshape({2, s.heads * pairs}), {1, 0});  // (heads pairs, 2): a linear map from (x, y)
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
    t.rotary.values = config.values;
    return t;
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = config.rescale ? warn_unit_of_sites(from, to) : "";
    return unit.empty() ? "" : fmt::format("{} rescale=true: {}", polar() ? "polar" : "rope_mixed", unit);
  }

 private:
  struct Own {
    Tensor freqs;                 // (2, heads, pairs): fx, fy
    Tensor magnitude, direction;  // (heads, pairs)
  };
  bool polar() const { return config.parameters == "polar"; }

  /// (2, heads, pairs): fx and fy in radians per cell.
  Tensor frequencies(const Site& s) const {
    const Own& o = own.at(static_cast<size_t>(s.id));
    if (!polar()) return o.freqs;
    return stack({mul(o.magnitude, cos(o.direction)), mul(o.magnitude, sin(o.direction))}, 0);
  }
  /// Two pairs of every magnitude. As the authors: at right angles, each head turned as a whole; polar: in directions of their own.
  void start(const Own& o, const Site& s, const rng::Stream& random) const {
    const int quarter = s.head_dim / 4, pairs = 2 * quarter;
    for (int h = 0; h < s.heads; ++h)
      for (int t = 0; t < pairs; ++t) {
        const int64_t at = int64_t{h} * pairs + t;
        const double draw = random.uniform(static_cast<uint64_t>(polar() ? at : h));
        const double magnitude = std::pow(config.theta, -static_cast<double>(t % quarter) / quarter);
        const double direction =
            (config.rotate ? 2 * std::numbers::pi * draw : 0) + (t < quarter ? 0 : std::numbers::pi / 2);
        const auto put = [&](const Tensor& to, int64_t i, double v) {
          to[i] = static_cast<real>(static_cast<float>(v));
        };
        if (polar()) {
          put(o.magnitude, at, magnitude), put(o.direction, at, std::fmod(direction, 2 * std::numbers::pi));
        } else {
          put(o.freqs, at, magnitude * std::cos(direction));
          put(o.freqs, int64_t{s.heads} * pairs + at, magnitude * std::sin(direction));
        }
      }
  }
  /// (tokens, 2): x and y of every slot.
  Tensor coordinates(const Site& s, const Layout& now, bool keys) const {
    static Memo<std::tuple<Layout, Extent, bool>, Tensor> memo;
    const Extent is = query_extent(now), unit = config.rescale ? query_extent(s.trained) : is;
    return memo({now, unit, keys}, [&] {
      const Points all = points(now);
      std::vector<double> v;
      for (const Point& p : keys ? all.k : all.q) v.push_back(p.x * unit.w / is.w), v.push_back(p.y * unit.h / is.h);
      return tensor({static_cast<int>(v.size() / 2), 2}, v);
    });
  }
  Config config;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding rope_mixed() { return encoding<RopeMixed>(); }
Encoding polar() { return encoding<RopeMixed>({.parameters = "polar"}); }

}  // namespace TESSERA_NS
}  // namespace tessera
