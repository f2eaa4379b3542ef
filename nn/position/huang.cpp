// Four methods of relative encoding.  Huang, Liang, Xu, Xiang 2020 (arXiv 2009.13658).          offsets are key minus query
//   1: s_ij = scale (q_i . k_j) w[|j - i|]                2: s_ij = scale (q_i . k_j) w[j - i]
//   3: s_ij = scale sum_c q_ic k_jc w[j - i, c]           4: s_ij = scale (q_i . k_j + q_i . a[j - i] + k_j . a[j - i])
//   hooks: gate (1-3); query and key (4)      parameters: offsets x 1 (1, 2) or d (3, 4) per block, shared by its heads
//   cost: 1, 2 one multiplication a pair; 3 d a pair; 4 as two Shaw tables. Gates start at 1 (0 would stop every gradient), vectors at N(0, 0.02).
//   The paper fixes no clipping and no 2-D form; ours: `index` = raster clips at max_distance, product has a row for every (dy, dx).
//   class tokens: factor 1, vector 0 (ours)          another resolution: raster clips; product clips each axis to the trained offsets

#include <cmath>

#include "tessera/core/ops/embedding.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/learned_scale.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct HuangHead {
  int max_distance = 0;
  std::string index = "raster";
};

template <int Method>
struct Huang final : PositionEncoding {
  using Config = HuangHead;
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"max_distance", &Config::max_distance, "raster offsets are clipped to this; 0: the trained grid's largest",
         within(0, 65536).only_with("index", "raster")},
        {"index", &Config::index, "raster | product (one row per pair of row and column offsets)",
         one_of("raster", "product")},
    };
    return table;
  }

  static std::string refuses(const Places& at, const Config&) {
    return Method == 4 ? refuses_learned_scale(at, "method 4 also adds products of keys alone") : "";
  }

  Huang(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites) {
      const int rows = span(s.trained).rows, width = Method <= 2 ? 1 : s.head_dim;
      table.push_back((net / s.path / "position")
                          .param(Method == 4 ? "distance_embedding" : "weight", {rows, width},
                                 Method == 4 ? normal(0.02) : constant(1), Decay::no));
    }
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Tensor& own = table.at(static_cast<size_t>(s.id));
    const Tensor t = own.reshape({1, own.dim(0), own.dim(1)});
    const RelativeIndex& rho = index(now, span(s.trained));
    Terms all;
    if (Method < 4) return all.add({Relative::gate, t, 0, rho});
    all.add({Relative::query, t, 0, rho});
    return all.add({Relative::key, t, 0, rho});
  }

  /// Offsets that the table was not made for have the row they would be clipped to.
  Tensor resample(std::string_view, const Tensor& t, const Layout& from, const Layout& to) const override {
    const Span was = span(from), is = span(to);
    if (was == is) return t;
    if (t.dim(0) != was.rows)
      fail("position huang", "a table of {} does not hold the {} offsets of a {}x{} grid", t.shape().str(), was.rows,
           extent(from).h, extent(from).w);
    const int least = Method == 1 ? 0 : -1, columns = row(was.x, was.x) + 1;
    std::vector<int32_t> rows;
    for (int y = least * is.y; y <= is.y; ++y)
      for (int x = least * is.x; x <= is.x; ++x) rows.push_back(row(y, was.y) * columns + row(x, was.x));
    return embedding(t, rows);
  }

 private:
  struct Span {
    bool product;
    int y, x, rows;  // the largest offset of each axis (raster: x only)
    auto operator<=>(const Span&) const = default;
  };
  Span span(const Layout& trained) const {
    const Extent e = extent(trained);
    const auto rows = [](int most) { return Method == 1 ? most + 1 : 2 * most + 1; };
    if (config.index == "product") return {true, e.h - 1, e.w - 1, rows(e.h - 1) * rows(e.w - 1)};
    const int most = config.max_distance ? config.max_distance : e.cells() - 1;
    return {false, 0, most, rows(most)};
  }
  /// The row of an offset of one axis.
  static int row(int offset, int most) {
    return Method == 1 ? std::min(std::abs(offset), most) : clip(offset, most) + most;
  }
  static RelativeIndex index(const Layout& now, const Span& span) {
    static Memo<std::tuple<Layout, Span>, RelativeIndex> memo;
    return memo({now, span}, [&] {
      const Extent e = extent(now);
      const int columns = Method == 1 ? span.x + 1 : 2 * span.x + 1;
      return make_pairs(now, span.rows, [&](const auto& i, const auto& j) {
        if (i.prefix() || j.prefix()) return -1;
        if (!span.product) return row(raster(j, e) - raster(i, e), span.x);
        return row(j.y - i.y, span.y) * columns + row(j.x - i.x, span.x);
      });
    });
  }
  Config config;
  std::vector<Tensor> table;  // by Site::id
};

}  // namespace

Encoding huang1() { return encoding<Huang<1>>(); }
Encoding huang2() { return encoding<Huang<2>>(); }
Encoding huang3() { return encoding<Huang<3>>(); }
Encoding huang4() { return encoding<Huang<4>>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
