// Lie rotations.  Ostmeier et al. 2024 (LieRE).
//   q'_i = R_i q_i,  k'_j = R_j k_j,  R = exp(y A_y + x A_x) in blocks of b channels,  A_a = U_a - U_a^T,  U_a the strict upper triangle of a matrix
//   y, x run from 0 to 1 over the grid that the model is built for
//   b = 2 is mixed rotary embedding. Larger blocks do not commute: a score depends on where its tokens are, not on their offset alone.
//   hooks: shape      parameters: 2 heads d b per block, of which 2 heads d (b - 1) / 2 act
//   cost: heads d / b exponentials of b x b matrices for every cell, once a call and not an image; then 2 b multiplications a channel of q and k
//   class tokens: not turned      windows: window-local coordinates      values are not turned
//   another resolution: recomputed in the trained unit, so cells beyond the grid are extrapolated, or interpolated (scaling). Reduced keys:
//   cell centres.      in training: coords_aug.h
//   (The public code counts n / n0 (n - 1) a cell there, which is not 1 / (n0 - 1); and with a set a layer all layers use the first one's.)
#include <numbers>

#include "tessera/nn/position/coords_aug.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/rotated_heads.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Lie final : PositionEncoding {
  struct Config : CoordsAugmentation {
    int generator_dim = 0;
    bool rotary_embedding_per_head = true, rotary_embedding_per_layer = true;
    std::string scaling = "none";
  };
  static Fields<Config> fields() {
    static const std::vector<Field<Config>> own{
        {"generator_dim", &Config::generator_dim,
         "channels that turn together, b; the head width is one block, 0 the largest of 8, 4 and 2 that divides it",
         within(2, 4096).or_zero()},
        {"rotary_embedding_per_head", &Config::rotary_embedding_per_head, "generators for each head; else heads share"},
        {"rotary_embedding_per_layer", &Config::rotary_embedding_per_layer,
         "generators for each block; else the blocks of a stage share"},
        {"scaling", &Config::scaling,
         "on another grid than the trained one: none | interpolate (divide the trained grid finer or coarser)",
         scaled_distances()},
    };
    static const Fields<Config> table = joined<Config>({own, coords_fields<Config>()});
    return table;
  }
  static void check(const Config& c) { check_coords("lie", c); }
  static std::string refuses(const Places& at, const Config& c) { return needs_blocks(at, c.generator_dim); }

  Lie(const Scope& net, const Places& at, const Config& c) : config(c), interpolate(c.scaling == "interpolate") {
    for (const Site& s : at.sites) {
      const bool again =
          !c.rotary_embedding_per_layer && !generators.empty() && at.sites[generators.size() - 1].stage == s.stage;
      if (again) {
        generators.push_back(generators.back());
        continue;
      }
      const Scope shared = at.sites.back().stage ? net / "position" / "stages" / s.stage : net / "position",
                  own = c.rotary_embedding_per_layer ? net / s.path / "position" : shared;
      const int b = block_width(s.head_dim, c.generator_dim), H = c.rotary_embedding_per_head ? s.heads : 1;
      generators.push_back(own.param("generator_raw_params", {2, H, s.head_dim / b, b, b},
                                     uniform_between(0, 2 * std::numbers::pi), Decay::no));
    }
  }

  Query shape(const Site& s, const Layout& now, const Query& query, const Tokens&, const Run& run) const override {
    const CoordsDraw draw = draw_coords(config, run, s.path);
    const Tensor by_axis = permute(generators.at(static_cast<size_t>(s.id)), {1, 2, 3, 4, 0});
    const Tensor q = rotations(coordinates(s, now, draw, false), by_axis);
    return turned(query, q, same_slots(now) ? q : rotations(coordinates(s, now, draw, true), by_axis));
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    const std::string unit = warn_unit_of_sites(from, to);
    return unit.empty() ? "" : fmt::format("lie{}: {}", interpolate ? " scaling=interpolate" : "", unit);
  }

 private:
  /// (slots, 2): y and x of every slot; of class tokens 0, which turns nothing.
  Tensor coordinates(const Site& s, const Layout& now, const CoordsDraw& draw, bool keys) const {
    static Memo<std::tuple<Layout, Extent, bool, bool>, Tensor> memo;
    const Extent unit = query_extent(s.trained);
    const auto make = [&] {
      const Extent is = query_extent(now), on = interpolate ? query_extent(measured_on(s.trained, now)) : is;
      const auto of_grid = [](double cells, int n, int trained, int trained_cells) {
        return cells * trained / n / std::max(trained_cells - 1, 1);
      };
      const double half_y = of_grid(is.h, is.h, on.h, unit.h) / 2, half_x = of_grid(is.w, is.w, on.w, unit.w) / 2;
      const Points at = points(now);
      std::vector<double> v;
      for (const Point& p : keys ? at.k : at.q) {
        v.push_back(p.prefix ? 0 : draw.y(of_grid(p.y, is.h, on.h, unit.h), half_y));
        v.push_back(p.prefix ? 0 : draw.x(of_grid(p.x, is.w, on.w, unit.w), half_x));
      }
      return tensor({static_cast<int>(v.size() / 2), 2}, v);
    };
    return draw.still() ? memo({now, unit, keys, interpolate}, make) : make();
  }
  Config config;
  bool interpolate;
  std::vector<Tensor> generators;  // by Site::id; (2: rows and columns, heads or 1, blocks, b, b)
};

}  // namespace

Encoding lie() { return encoding<Lie>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
