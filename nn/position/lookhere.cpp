// Heads that look one way.  Fuller et al. 2024 (LookHere), arXiv 2405.13985.
//   s_ij -= m ||(dy, dx)||, or minus infinity where j lies outside of what the head may see from i;   m = s_layer s_head s_global
//   variant=180: halves (up, down, left, right) and diagonal halves;   90: corners and triangles;   45: the eight halves of triangles.
//   Eight directions, borders and the own cell included, then heads that see everything. s_layer falls from 1.5 to 0.5 over the blocks.
//   s_head = 2^-p of the p-th round of eight directions, 2^-(2k + 1) of the k-th head that sees everything (the paper's, for s_global = 1)
//   hooks: bias      parameters: none      cost: one addition a pair; what is hidden is -inf in the table and weighs exactly 0
//   class tokens: no bias, seen by all and seeing all      windows: window-local      reduced keys: whole query cells over key cells
//   another resolution: recomputed; the paper tunes s_global there, scaling=interpolate measures distances in trained cells
//   other head counts (ours): 4 round(H / 6) heads are directed, at 12 the paper's 8; of H < 4 the first direction, its opposite and one that
//   sees everything, in this order, one alone sees everything. The order of directions of 180 and 45 is ours, of 90 that of a published run.
#include <cmath>
#include <limits>

#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// May a head see the cell at (y, x) from its own, key minus query?
using View = bool (*)(int y, int x);
struct Directions {
  int variant;
  std::array<View, 8> views;
  int opposite;  ///< of the first
};
constexpr View up = [](int y, int) { return y <= 0; }, down = [](int y, int) { return y >= 0; },
               left = [](int, int x) { return x <= 0; }, right = [](int, int x) { return x >= 0; };
constexpr View up_right = [](int y, int x) { return x >= y; }, up_left = [](int y, int x) { return -x >= y; },
               down_right = [](int y, int x) { return x >= -y; }, down_left = [](int y, int x) { return x <= y; };
constexpr View tri_up = [](int y, int x) { return std::abs(x) <= -y; },
               tri_down = [](int y, int x) { return std::abs(x) <= y; },
               tri_left = [](int y, int x) { return std::abs(y) <= -x; },
               tri_right = [](int y, int x) { return std::abs(y) <= x; };
template <auto a, auto b>
constexpr View both = [](int y, int x) { return a(y, x) && b(y, x); };

constexpr std::array<Directions, 3> variants{{
    {180, {up, down, left, right, up_right, up_left, down_right, down_left}, 1},
    {90,
     {both<up, left>, both<up, right>, both<down, left>, both<down, right>, tri_up, tri_down, tri_left, tri_right},
     3},
    {45,
     {both<tri_up, left>, both<tri_down, left>, both<tri_left, up>, both<tri_right, up>, both<tri_up, right>,
      both<tri_down, right>, both<tri_left, down>, both<tri_right, down>},
     5},
}};
const View everything = [](int, int) { return true; };

/// What each head sees and how fast its attention falls with the distance, in the first of the layers' units.
struct Head {
  View sees;
  double slope;
};
std::vector<Head> heads_of(int variant, int H) {
  const Directions& d = variant == 180 ? variants[0] : variant == 90 ? variants[1] : variants[2];
  if (H < 4) {
    std::vector<Head> few{{d.views[0], 1}, {d.views[static_cast<size_t>(d.opposite)], 1}, {everything, 0.5}};
    if (H == 1) return {few.back()};
    few.resize(static_cast<size_t>(H));
    return few;
  }
  const int directed = 4 * static_cast<int>(std::lround(H / 6.0));
  std::vector<Head> all;
  for (int h = 0; h < H; ++h) {
    if (h < directed) {
      all.push_back({d.views[static_cast<size_t>(h % 8)], std::exp2(-(h / 8))});
    } else {
      all.push_back({everything, std::exp2(-(2 * (h - directed) + 1))});
    }
  }
  return all;
}

struct LookHere final : PositionEncoding {
  struct Config {
    int variant = 90;
    double global_slope = 1;
    std::vector<double> layer_slopes = {1.5, 0.5};
    std::string scaling = "none";
  };
  static bool angle(const Value& v) {
    const int degrees = std::get<int>(v);
    return degrees == 180 || degrees == 90 || degrees == 45;
  }
  static bool two(const Value& v) {
    const auto& s = std::get<std::vector<double>>(v);
    return s.size() == 2 && s[0] >= 0 && s[1] >= 0 && s[0] <= 1e3 && s[1] <= 1e3;
  }
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"variant", &Config::variant, "how wide a directed head looks, in degrees", such_that(angle, "180, 90 or 45")},
        {"global_slope", &Config::global_slope,
         "of all distances, the paper's s_g; tune it at a larger size (the released code has half the slopes and twice "
         "this)",
         within(0, 1e3)},
        {"layer_slopes", &Config::layer_slopes, "of the first and of the last block, linear between",
         such_that(two, "two numbers in [0, 1000] such as [1.5, 0.5]")},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }

  LookHere(const Scope&, const Places& at, const Config& c) : config(c) {
    std::vector<std::pair<int, int>> blocks;  // stage and block of every attention
    for (const Site& s : at.sites) {
      if (blocks.empty() || blocks.back() != std::pair(s.stage, s.block)) blocks.emplace_back(s.stage, s.block);
      rank.push_back(static_cast<int>(blocks.size()) - 1);
    }
    last = std::max(static_cast<int>(blocks.size()) - 1, 1);
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    static Memo<std::tuple<Extent, Extent, int, int, double>, Tensor> memo;
    const double depth = static_cast<double>(rank.at(static_cast<size_t>(s.id))) / last,
                 slope = config.global_slope *
                         (config.layer_slopes[0] + (config.layer_slopes[1] - config.layer_slopes[0]) * depth);
    const Extent e = extent(now), unit = config.scaling == "none" ? e : extent(measured_on(s.trained, now));
    const Tensor t = memo({e, unit, s.heads, config.variant, slope}, [&] { return table(e, unit, s.heads, slope); });
    return Terms{}.add({Relative::bias, t, 0, index(now)});
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning("lookhere", {config.scaling}, from, to);
  }

 private:
  /// (heads, (2h - 1)(2w - 1), 1), by the offset key minus query.
  Tensor table(const Extent& e, const Extent& unit, int H, double slope) const {
    const double uy = static_cast<double>(unit.h) / e.h, ux = static_cast<double>(unit.w) / e.w;
    std::vector<double> v;
    for (const Head& head : heads_of(config.variant, H))
      for (int y = 1 - e.h; y < e.h; ++y)
        for (int x = 1 - e.w; x < e.w; ++x)
          v.push_back(head.sees(y, x) ? -slope * head.slope * std::hypot(y * uy, x * ux)
                                      : -std::numeric_limits<double>::infinity());
    return tensor({H, (2 * e.h - 1) * (2 * e.w - 1), 1}, v);
  }
  static RelativeIndex index(const Layout& now) {
    static Memo<Layout, RelativeIndex> memo;
    return memo(now, [&] {
      const Extent e = extent(now);
      return make_pairs(now, (2 * e.h - 1) * (2 * e.w - 1), [&](const auto& i, const auto& j) {
        if (i.prefix() || j.prefix()) return -1;
        return (j.y - i.y + e.h - 1) * (2 * e.w - 1) + j.x - i.x + e.w - 1;
      });
    });
  }
  Config config;
  std::vector<int> rank;  // of the block among the blocks, by Site::id
  int last = 1;
};

}  // namespace

Encoding lookhere() { return encoding<LookHere>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
