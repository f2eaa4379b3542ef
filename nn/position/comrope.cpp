// Rotations by commuting matrices.  Yu et al. 2025 (ComRoPE).
//   q'_i = R_i q_i,  k'_j = R_j k_j,  R = exp(y A_y + x A_x) in blocks of b channels,  S = P - P^T for each block
//     comrope_ld   A_a = theta_a S                      one matrix, a factor an axis (linearly dependent)
//     comrope_ap   A_a = S in every second block, else 0     rows in the even ones, columns in the odd (axial partition)
//   A_y and A_x commute, so R_i^T R_j depends on the offset alone: in the basis of S this is mixed (ld) or axial (ap) rotary embedding.
//   y = (row + 1/2) / rows of the call, x likewise; of sequences, and with scaling=none, of the grid that the model is built for
//   hooks: shape      parameters: heads d b per block, ld 2 d / b more, which heads share
//   cost: heads d / b exponentials of b x b matrices for every cell, once a call and not an image; then 2 b multiplications a channel of q and k
//   class tokens: not turned, or (prefix = centre, as in the public code) at (1/2, 1/2)      values are not turned
//   another resolution: recomputed; the same part of the image keeps its coordinates, unless scaling=none. Windows: window-local.
//   Reduced keys: cell centres.      in training: coords_aug.h
//   perturbation_intensity moves every cell of a training step by a random part of itself, the same for all blocks and images. (The public
//   code can also move all tokens together, which no score sees.)
#include <algorithm>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/rotated_heads.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

enum class Commuting { linearly_dependent, axial_partition };

template <Commuting kind>
struct ComRope final : PositionEncoding {
  static constexpr bool ld = kind == Commuting::linearly_dependent;
  static constexpr int axes = ld ? 1 : 2;  ///< that blocks are dealt to
  static constexpr const char* title = ld ? "comrope_ld" : "comrope_ap";

  struct Config : CoordsAugmentation {
    int block_size = 0;
    double init_std = 1, perturbation_intensity = 0;
    std::string prefix = "identity", scaling = "interpolate";
  };
  static Fields<Config> fields() {
    static const std::vector<Field<Config>> mine{
        {"block_size", &Config::block_size,
         "channels that turn together, b; 0: the largest of 8, 4 and 2 of which heads hold whole blocks (ap: an even "
         "number)",
         within(2, 4096).or_zero()},
        {"init_std", &Config::init_std, "standard deviation of the initial matrices", within(0, 1000)},
        {"perturbation_intensity", &Config::perturbation_intensity,
         "in training, cells move by N(0, half of this), at most half a cell", within(0, 1000)},
        {"prefix", &Config::prefix, "class tokens: identity (not turned) | centre (turned as the middle of the image)",
         one_of("identity", "centre")},
        {"scaling", &Config::scaling,
         "on another grid than the trained one: interpolate (cells are shares of the grid of the call, of sequences of "
         "the trained length) | none (shares of the trained grid, which larger ones exceed)",
         scaled_distances()},
    };
    static const Fields<Config> table = joined<Config>({mine, coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) { check_coords(title, c); }
  static std::string refuses(const Places& at, const Config& c) { return needs_blocks(at, c.block_size, axes); }

  ComRope(const Scope& net, const Places& at, const Config& c) : config(c), draws((net / "position").key()) {
    for (const Site& s : at.sites) {
      const Scope p = net / s.path / "position";
      const int b = block_width(s.head_dim, c.block_size, axes), blocks = s.head_dim / b;
      own.push_back({p.param("freqs", {s.heads, 1, blocks, b, b}, normal(c.init_std), Decay::no), {}});
      own.back().by_axis = ld ? p.param("multiplier", {1, 2, blocks, 1, 1}, normal(1), Decay::no) : partition(blocks);
    }
  }

  Query shape(const Site& s, const Layout& now, const Query& query, const Tokens&, const Run& run) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    const Tensor skew = sub(o.freqs, permute(o.freqs, {0, 1, 2, 4, 3}));
    const Tensor by_axis = permute(mul(skew, o.by_axis), {0, 2, 3, 4, 1});  // (heads, blocks, b, b, axes)
    const Tensor q = rotations(coordinates(s, now, false, run), by_axis);
    return turned(query, q, same_slots(now) ? q : rotations(coordinates(s, now, true, run), by_axis));
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const bool none = config.scaling == "none";
    const std::string unit = none ? warn_unit_of_sites(from, to) : warn_unit_of_sequences(from, to);
    return unit.empty() ? "" : fmt::format("{}{}: {}", title, none ? " scaling=none" : "", unit);
  }

 private:
  struct Own {
    Tensor freqs, by_axis;  ///< (heads, 1, blocks, b, b) and (1, 2: rows and columns, blocks, 1, 1)
  };

  /// Block j turns with axis j mod 2.
  static Tensor partition(int blocks) {
    std::vector<double> v;
    for (int axis = 0; axis < 2; ++axis)
      for (int j = 0; j < blocks; ++j) v.push_back(j % 2 == axis);
    return tensor({1, 2, blocks, 1, 1}, v);
  }

  /// (slots, 2): y and x of every slot.
  Tensor coordinates(const Site& s, const Layout& now, bool keys, const Run& run) const {
    const Extent unit = query_extent(now.q.sequence || config.scaling == "none" ? s.trained : now);
    const bool centre = config.prefix == "centre";
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const Extent is = query_extent(now);
    const double half_y = is.h / 2.0 / unit.h, half_x = is.w / 2.0 / unit.w;
    const auto make = [&](auto moved) {
      const Points at = points(now);
      const std::vector<Point>& slots = keys ? at.k : at.q;
      std::vector<double> v;
      for (size_t i = 0; i < slots.size(); ++i)
        for (const int axis : {0, 1}) {
          const double cell = axis ? slots[i].x : slots[i].y, cells = axis ? unit.w : unit.h,
                       share = (cell + moved(2 * i + static_cast<size_t>(axis)) + 0.5) / cells;
          v.push_back(slots[i].prefix ? (centre ? 0.5 : 0) : axis ? draw.x(share, half_x) : draw.y(share, half_y));
        }
      return tensor({static_cast<int>(slots.size()), 2}, v);
    };
    if (run.training() && config.perturbation_intensity > 0) {
      // of sample 0 of the whole batch, so that all shards agree; keys of another grid draw for themselves
      const rng::Stream random = stream(run, {draws.value + (keys && !same_slots(now))}, -run.first);
      return make(
          [&](size_t i) { return std::clamp(random.normal(i) * config.perturbation_intensity / 2, -0.5, 0.5); });
    }
    const auto as_they_are = [&] { return make([](size_t) { return 0.0; }); };
    static Memo<std::tuple<Layout, Extent, bool, bool>, Tensor> memo;
    return draw.still() ? memo({now, unit, keys, centre}, as_they_are) : as_they_are();
  }

  Config config;
  Key draws;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding comrope_ld() { return encoding<ComRope<Commuting::linearly_dependent>>(); }
Encoding comrope_ap() { return encoding<ComRope<Commuting::axial_partition>>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
