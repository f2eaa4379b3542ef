#pragma once
// What coordinate-based encodings do on a grid that they were not trained on: the options, and the frequencies of one axis. Free of `real`.
//   L cells of an axis in training, n in the call, s = n / L; pair t turns by f_t radians a cell and r_t = L f_t / (2 pi) times over the axis
//     interpolate   positions times L / n, whether the grid is larger or smaller                      Chen et al. 2023, arXiv 2306.15595
//     ntk           f s^(-ln(f_max / f) / ln(f_max / f_min)): the fastest pair stays, the slowest is divided by s; on a geometric row this is
//                   base s^(m / (m - 1)) of m pairs                                                    bloc97 2023, "NTK-aware scaled RoPE"
//     yarn          f (g + (1 - g) / s): fast pairs stay (g = 1), slow ones are interpolated (g = 0)   Peng et al. 2024, arXiv 2309.00071
//                   ramp=rotations: g linear in r_t from beta_slow to beta_fast (the paper); ramp=index: linear in t (the authors' code)
//     clip          the slowest share of pairs is slowed down to rest: times (1 + cos(pi k / (n - 1))) / 2 (taper, "CoPE") or 0 (hard), on every
//                   grid, the trained one too                                                          Li et al. 2026, arXiv 2602.05258
//   ntk and yarn change nothing up to the trained size. The sources are about text; ours for images: each axis by itself, betas of 2 and 0.25
//   instead of 32 and 1 (on 14 cells no pair turns 32 times), and 5/16 of an axis clipped, as CoPE clips 20 of 64 pairs.
//
// An encoding uses it so:
//   struct Config : Scaling { ... };                                        and in fields(): joined<Config>({{...}, scaling_fields<Config>()})
//   check: check_scaling("rope", c)            refuses: scaling_refuses(c, pairs of an axis)           unit_warning: scaling_warning(...)
//   terms: const ScaledAxis x = scaled_axis(c, f, trained.w, now.w);        angle_t = x.at(p) * x.f[t]; tables times scaling_temperature(...)
#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/nn/options.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {

/// The options, part of an encoding's Config.
struct Scaling {
  std::string scaling = "none", ramp = "rotations", clip = "taper";
  double beta_fast = 2, beta_slow = 0.25, clip_share = 0.3125;
  bool temperature = false;
  auto operator<=>(const Scaling&) const = default;
};

/// The domain of `scaling`: for encodings with frequencies, and for those of distances, which can only be measured in other units.
constexpr Domain scaled_frequencies() { return one_of("none", "interpolate", "ntk", "yarn", "clip"); }
constexpr Domain scaled_distances() { return one_of("none", "interpolate"); }

/// Help of `scaling` where distances are what is scaled.
constexpr const char* distance_scaling =
    "on another grid than the trained one: none | interpolate (measure distances in cells of the trained grid)";

/// Rows of options for a Config that is a Scaling. `temperature` is of rotary encodings: it multiplies scores.
template <class C>
std::vector<Field<C>> scaling_fields(const Domain& modes = scaled_frequencies(), bool has_ramp = true,
                                     bool has_temperature = true) {
  std::vector<Field<C>> rows{
      {"scaling", &C::scaling,
       "on another grid than the trained one: none | interpolate positions | ntk (slow pairs slower) | yarn (only slow "
       "pairs interpolated) | clip (the slowest pairs at rest, on every grid)",
       modes},
      {"beta_fast", &C::beta_fast, "yarn: pairs that turn as often over the trained axis stay as they are",
       within(1e-3, 1e3).only_with("scaling", "yarn")},
      {"beta_slow", &C::beta_slow, "yarn: pairs that turn no more often than this are interpolated",
       within(1e-3, 1e3).only_with("scaling", "yarn")},
      {"clip", &C::clip, "clip: how the slowest pairs come to rest, along half a cosine (taper) or at once (hard)",
       one_of("taper", "hard").only_with("scaling", "clip")},
      {"clip_share", &C::clip_share, "clip: the share of pairs of an axis, rounded to whole ones",
       Domain{.low = 0, .high = 1, .open_low = true}.only_with("scaling", "clip")},
  };
  if (has_ramp)
    rows.push_back({"ramp", &C::ramp, "yarn: from fast to slow, linear in rotations (the paper) | index (the code)",
                    one_of("rotations", "index").only_with("scaling", "yarn")});
  if (has_temperature)
    rows.push_back({"temperature", &C::temperature, "yarn: sharpen scores on larger grids, (0.1 ln s + 1)^2 times",
                    anything().only_with("scaling", "yarn")});
  return rows;
}

/// Throws Error "[position NAME] ..." when the options do not go together. `rescale`: the older option that says scaling=interpolate.
void check_scaling(std::string_view name, const Scaling& c, bool rescale = false);
/// Why it cannot be done with so many pairs of an axis, or "".
std::string scaling_refuses(const Scaling& c, int pairs);
/// "NAME scaling=ntk: coordinates count in units of ...", or "": for PositionEncoding::unit_warning, of attentions or patch embeddings.
/// clip has none: it is the same on every grid.
std::string scaling_warning(std::string_view name, const Scaling& c, const Places& from, const Places& to,
                            bool rescale = false);
/// The same for what has the trained length of sequences for its unit, while maps have their own: warn_unit_of_sites() of sequences, else "".
std::string warn_unit_of_sequences(const Places& from, const Places& to);
std::string scaling_warning_of_tokens(std::string_view name, const Scaling& c, const Places& from, const Places& to);
/// Does a call look at the geometry that a model is built for?
inline bool looks_at_trained(const Scaling& c) { return c.scaling != "none" && c.scaling != "clip"; }

/// The geometry in whose cells a scaled call is measured: the trained one. Of two sequences the shorter begins the longer, and its length in a batch
/// may be that of the padding: up to the trained length it is measured in its own.
inline const Layout& measured_on(const Layout& trained, const Layout& now) {
  return now.k.sequence && now.k.w <= trained.k.w ? now : trained;
}
inline const Grid& measured_on(const Grid& trained, const Grid& now) {
  return now.sequence && now.w <= trained.w ? now : trained;
}

/// The distance of row r of unsigned_pairs(), on the raster or in the plane, in cells of a grid of `unit` laid over the one of `is`.
double measured(int r, const Extent& is, const Extent& unit, bool on_raster);

/// One axis of a call: where its cells stand, and how fast the pairs turn.
struct ScaledAxis {
  double unit = 1, cells = 1;
  std::vector<double> f;  ///< radians a unit
  double at(double cell) const { return cell * unit / cells; }
};
/// f: radians a cell, in any order, none 0; trained and now: cells.
ScaledAxis scaled_axis(const Scaling& c, std::vector<double> f, double trained, double now);

/// What cosines and sines are multiplied by, those of class tokens too: 0.1 ln s + 1 with s = sqrt(s_y s_x), or 1.
double scaling_temperature(const Scaling& c, double s_y, double s_x);

/// What the frequencies fy and fx of pairs that turn with both axes (angle = y fy + x fx) are multiplied by. Which pair is fast says |f|,
/// for ntk among the pairs given, for yarn on an axis of sqrt(h w) trained cells (ours); clip counts `of_rank` pairs of a rank: two where they
/// come as one an axis. interpolate changes positions alone: factors of 1.
struct MixedFactors {
  std::vector<double> y, x;
};
MixedFactors scaled_mixed(const Scaling& c, const std::vector<double>& magnitudes, const Grid& trained, const Grid& now,
                          int of_rank = 2);

}  // namespace tessera
