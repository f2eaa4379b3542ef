// Bucketed relative bias.  Raffel et al. 2020 (T5).
//   s_ij += table[bucket(j - i), head]       t5: raster index;   t5_axial: table_y[bucket(y_j - y_i)] + table_x[bucket(x_j - x_i)]
//   bucket (bidirectional, n buckets): n/2 if the key comes after the query, plus |rel| below n/4, else n/4 + floor(ln(|rel| / (n/4)) / ln(max_distance / (n/4)) n/4),
//   at most n/2 - 1.      offsets are key minus query
//   causal (a sequence no token of which sees one after it): all n buckets are for i - j, so n/2 stands for n/4 and n for n/2, as in T5's decoder
//   hooks: bias      parameters: num_buckets heads (twice for axial), shared by all blocks of a stage      cost: one addition a pair
//   class tokens: no bias (ours: no source)      T5 itself has no 1/sqrt(d): model.qk_scale=1 gives that.
//   another resolution: offsets recomputed; buckets clip. scaling=interpolate counts offsets in cells of the trained grid, rounded.
#include <algorithm>
#include <cmath>

#include "tessera/core/ops/permute.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/formulas.h"
#include "tessera/nn/position/pairs.h"
#include "tessera/nn/position/scaling.h"

namespace tessera {
inline namespace TESSERA_NS {

namespace {

struct T5 final : PositionEncoding {
  struct Config {
    int num_buckets = 32, max_distance = 128;
    bool axial = false;
    std::string scaling = "none";
    std::string row = "t5";  ///< of the registry, for what is said
  };
  static bool fours(const Value& v) {
    const int n = std::get<int>(v);
    return n >= 4 && n <= 65536 && n % 4 == 0;
  }
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"num_buckets", &Config::num_buckets, "buckets per table, both directions together",
         such_that(fours, "a multiple of 4 up to 65536")},
        {"max_distance", &Config::max_distance, "distance from which all share the last bucket", within(2, 1 << 20)},
        {"axial", &Config::axial, "one table per axis instead of one over the raster"},
        {"scaling", &Config::scaling, distance_scaling, scaled_distances()},
    };
    return table;
  }
  static void check(const Config& c) {
    if (c.max_distance <= c.num_buckets / 4)
      fail("position " + c.row, "max_distance {} must exceed num_buckets/4", c.max_distance);
  }

  static std::string refuses(const Places& at, const Config& c) {
    for (const Site& s : at.sites)
      if (one_way(s) && c.max_distance <= c.num_buckets / 2)
        return fmt::format(
            "max_distance {} must exceed num_buckets/2 in a causal model, whose buckets are all for what came before",
            c.max_distance);
    return "";
  }

  T5(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      if (!table.empty() && stage == s.stage) {
        table.push_back(table.back());
        continue;
      }
      stage = s.stage;
      const Scope shared = at.sites.back().stage ? net / "position" / "stages" / s.stage : net / "position";
      const auto make = [&](const char* name) {
        return (shared / name)
            .param("weight", {c.num_buckets, s.heads}, normal(1 / std::sqrt(static_cast<double>(s.dim))), Decay::no);
      };
      if (c.axial) {
        table.push_back({make("relative_attention_bias_y"), make("relative_attention_bias_x")});
      } else {
        table.push_back({make("relative_attention_bias"), {}});
      }
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const auto& [first, second] = table.at(static_cast<size_t>(s.id));
    const auto term = [&](const Tensor& t, int axis) {
      return Relative{
          Relative::bias, permute(t, {1, 0}).reshape({s.heads, config.num_buckets, 1}), 0,
          index(now, extent(config.scaling == "none" ? now : measured_on(s.trained, now)), axis, one_way(s))};
    };
    Terms t;
    t.add(term(first, config.axial ? 1 : 0));
    if (second) t.add(term(second, 2));
    return t;
  }

  std::string unit_warning(const Places& from, const Places& to) const override {
    return scaling_warning(config.row, {config.scaling}, from, to);
  }

 private:
  /// Does no key come after its query? On a map that is so of the raster, but not of its columns.
  static bool one_way(const Site& s) { return s.causal && s.trained.q.h == 1; }
  /// axis 0: raster, 1: rows, 2: columns
  RelativeIndex index(const Layout& now, const Extent& unit, int axis, bool causal) const {
    static Memo<std::tuple<Layout, Extent, int, int, int, bool>, RelativeIndex> memo;
    return memo({now, unit, axis, config.num_buckets, config.max_distance, causal}, [&] {
      const Extent e = extent(now);
      const auto along = [axis](const Extent& of) { return axis == 0 ? of.cells() : axis == 1 ? of.h : of.w; };
      const double shrink = static_cast<double>(along(unit)) / along(e);
      return make_pairs(now, config.num_buckets, [&](const auto& i, const auto& j) {
        if (i.prefix() || j.prefix()) return -1;
        const int offset = axis == 0 ? raster(j, e) - raster(i, e) : axis == 1 ? j.y - i.y : j.x - i.x;
        return t5_bucket(static_cast<int>(std::lround(offset * shrink)), config.num_buckets, config.max_distance,
                         causal);
      });
    });
  }
  Config config;
  std::vector<std::pair<Tensor, Tensor>> table;  // by Site::id; (num_buckets, heads)
  int stage = -1;
};

}  // namespace

Encoding t5() { return encoding<T5>(); }
Encoding t5_axial() { return encoding<T5>({.axial = true, .row = "t5_axial"}); }

}  // namespace TESSERA_NS
}  // namespace tessera
