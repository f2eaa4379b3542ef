// Relative position representations.  Shaw, Uszkoreit, Vaswani 2018; keys only, as circulated with the Conformer (lucidrains); in two
// dimensions with half of the channels per axis (s-chh's ablation) or with full-width tables added (tensor2tensor 2-D, iRPE cross).
//   s_ij = scale q_i . (k_j + aK[clip(j - i)]),     o_i = sum_j p_ij (v_j + aV[clip(j - i)])        offsets are key minus query
//   axes: raster  offsets of the raster index          concat  (aX[clip(dx)] | aY[clip(dy)]), x half first          sum  aX + aY, full width
//   hooks: query (and value)      parameters: (2 K + 1) d per table and block, shared by its heads; class tokens add a row 0
//   cost: q aK^T, N (2K + 1) d a head, then a lookup a pair; for values the same again. Never N^2 d.
//   class tokens: every pair with one uses row 0; patch offsets start at row 1          another resolution: offsets clip
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Shaw final : PositionEncoding {
  struct Config {
    int max_distance = 16;
    bool values = false;
    std::string axes = "raster", offset = "key_minus_query";
    double std = 0.02;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"max_distance", &Config::max_distance, "K: offsets are clipped to [-K, K]", within(0, 65536)},
        {"values", &Config::values, "a second set of tables on the values"},
        {"axes", &Config::axes, "along the raster, or rows and columns beside each other or summed",
         one_of("raster", "concat", "sum")},
        {"offset", &Config::offset,
         "key_minus_query (Shaw) | query_minus_key (lucidrains' Conformer): the table reversed",
         one_of("key_minus_query", "query_minus_key")},
        {"std", &Config::std, "standard deviation of the initial tables", within(0, 1000)},
    };
    return table;
  }
  static std::string refuses(const Places& at, const Config& c) {
    for (const Site& s : at.sites)
      if (c.axes == "concat" && s.head_dim % 2)
        return fmt::format("head width {} cannot be halved between two axes", s.head_dim);
    return "";
  }

  struct Tables {
    Tensor first, second;  // raster: one; else x and y
  };
  struct Own {
    Tables key, value;
  };

  Shaw(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const int rows = 2 * c.max_distance + 1 + class_row(s.trained);
      const auto make = [&](const char* what) {
        const Scope own_scope = net / s.path / "position";
        const auto table = [&](const std::string& name, int width) {
          return own_scope.param(name, {rows, width}, normal(c.std), Decay::no);
        };
        if (c.axes == "raster") return Tables{table(what, s.head_dim), {}};
        const int width = c.axes == "concat" ? s.head_dim / 2 : s.head_dim;
        return Tables{table(std::string(what) + "_x", width), table(std::string(what) + "_y", width)};
      };
      own.push_back({make("key"), c.values ? make("value") : Tables{}});
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Own& o = own.at(static_cast<size_t>(s.id));
    Terms t;
    add(t, Relative::query, o.key, s, now);
    if (config.values) add(t, Relative::value, o.value, s, now);
    return t;
  }

 private:
  static int class_row(const Layout& l) { return l.q.prefix && !l.window.h; }

  void add(Terms& t, Relative::Kind kind, const Tables& tables, const Site& s, const Layout& now) const {
    const bool with_class = class_row(s.trained);
    // only the rows that this grid can reach: a Conformer table has 1025, an 8 x 8 raster uses 127
    const auto term = [&](const Tensor& table, int axis, int first) {
      const int reach = std::min(config.max_distance, reachable(now, axis)), K = config.max_distance;
      const Tensor middle = reach == K ? table
                            : with_class
                                ? concat({slice(table, 0, 0, 1), slice(table, 0, 1 + K - reach, 2 + K + reach)}, 0)
                                : slice(table, 0, K - reach, K + reach + 1);
      const Relative r{kind, middle.reshape({1, middle.dim(0), middle.dim(1)}), first,
                       index(now, axis, reach, with_class)};
      t.add(r);
    };
    if (config.axes == "raster") return term(tables.first, 0, 0);
    term(tables.first, 2, 0);
    term(tables.second, 1, config.axes == "concat" ? s.head_dim / 2 : 0);
  }

  /// axis 0: raster, 1: rows, 2: columns
  RelativeIndex index(const Layout& now, int axis, int reach, bool with_class) const {
    const bool reversed = config.offset == "query_minus_key";
    static Memo<std::tuple<Layout, int, int, bool, bool>, RelativeIndex> memo;
    return memo({now, axis, reach, with_class, reversed}, [&] {
      const Extent e = extent(now);
      return make_pairs(now, 2 * reach + 1 + with_class, [&](const auto& i, const auto& j) {
        if (i.prefix() || j.prefix()) return with_class ? 0 : -1;
        const int offset = axis == 0 ? raster(j, e) - raster(i, e) : axis == 1 ? j.y - i.y : j.x - i.x;
        return clip(reversed ? -offset : offset, reach) + reach + with_class;
      });
    });
  }

  Config config;
  std::vector<Own> own;  // by Site::id
};

}  // namespace

Encoding shaw() { return encoding<Shaw>(); }
Encoding shaw_kv() { return encoding<Shaw>({16, true, "raster", "key_minus_query", 0.02}); }
Encoding shaw_axial() { return encoding<Shaw>({2, false, "concat", "key_minus_query", 0.02}); }
Encoding shaw_axial_kv() { return encoding<Shaw>({2, true, "concat", "key_minus_query", 0.02}); }
Encoding axial_sum() { return encoding<Shaw>({7, false, "sum", "key_minus_query", 0.02}); }
Encoding conformer_shaw() { return encoding<Shaw>({512, false, "raster", "query_minus_key", 1.0}); }

}  // namespace TESSERA_NS
}  // namespace tessera
