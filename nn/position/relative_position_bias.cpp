// Relative position bias table.  Liu et al. 2021 (Swin); with class rows: Bao et al. 2022 (BEiT).
//   s_ij += table[(y_i - y_j + h - 1)(2w - 1) + (x_i - x_j + w - 1), head]           offsets are query minus key
//   hooks: bias      parameters: (2h - 1)(2w - 1) heads per block, h x w the window (or the grid)      cost: one addition a pair
//   class tokens: three more rows: class to patch, patch to class, class to class
//   another window: the table is resized by `resize`; another image with the same window needs nothing. A shorter sequence has the
//   entries of its own offsets.
#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/resize_grid.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct RelativePositionBias final : PositionEncoding {
  struct Config {
    double std = 0.02;
    std::string resize = "bicubic";
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {
        {"std", &Config::std, "standard deviation of the initial table", within(0, 1000)},
        {"resize", &Config::resize,
         "for another window: bicubic (official) | bilinear | bicubic_antialias | corner_aligned | crop (keep the "
         "entries)",
         one_of("bicubic", "bilinear", "bicubic_antialias", "corner_aligned", "crop")},
    };
    return table;
  }

  RelativePositionBias(const Scope& net, const Places& at, const Config& c) : config(c) {
    for (const Site& s : at.sites)
      table.push_back(
          (net / s.path).param("relative_position_bias_table", {rows(s.trained), s.heads}, normal(c.std), Decay::no));
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Tensor t = resample("", table.at(static_cast<size_t>(s.id)), s.trained, now);
    return Terms{}.add({Relative::bias, permute(t, {1, 0}).reshape({s.heads, t.dim(0), 1}), 0, index(now)});
  }

  Tensor resample(std::string_view, const Tensor& param, const Layout& from, const Layout& to) const override {
    const Extent was = extent(from), is = extent(to);
    if (was == is) return param;
    if (config.resize == "crop" || (to.k.sequence && was.h == is.h && is.w < was.w))
      return cropped(param, was, is, class_rows(from));
    return resize_grid(param, 2 * was.h - 1, 2 * was.w - 1, 2 * is.h - 1, 2 * is.w - 1, interpolation(config.resize), 0,
                       class_rows(from));
  }

  static int class_rows(const Layout& l) { return l.q.prefix && !l.window.h ? 3 : 0; }
  static int rows(const Layout& l) {
    const Extent e = extent(l);
    return (2 * e.h - 1) * (2 * e.w - 1) + class_rows(l);
  }

  static RelativeIndex index(const Layout& now) {
    static Memo<Layout, RelativeIndex> memo;
    return memo(now, [&] {
      const Extent e = extent(now);
      const int base = (2 * e.h - 1) * (2 * e.w - 1);
      return make_pairs(now, base + class_rows(now), [&](const auto& i, const auto& j) {
        if (i.prefix() && j.prefix()) return base + 2;
        if (i.prefix()) return base;
        if (j.prefix()) return base + 1;
        return (i.y - j.y + e.h - 1) * (2 * e.w - 1) + i.x - j.x + e.w - 1;
      });
    });
  }

 private:
  /// The entries of the offsets that a smaller window has, and the class rows.
  static Tensor cropped(const Tensor& t, const Extent& was, const Extent& is, int after) {
    if (is.h > was.h || is.w > was.w)
      fail("position relative_position_bias", "resize=crop cannot enlarge a {}x{} table to {}x{}", was.h, was.w, is.h,
           is.w);
    const int columns = 2 * was.w - 1, base = (2 * was.h - 1) * columns;
    if (t.dim(0) != base + after)
      fail("position relative_position_bias", "a table of {} is not one of {}x{}", t.shape().str(), was.h, was.w);
    std::vector<int32_t> kept;
    for (int y = was.h - is.h; y < was.h + is.h - 1; ++y)
      for (int x = was.w - is.w; x < was.w + is.w - 1; ++x) kept.push_back(y * columns + x);
    for (int i = 0; i < after; ++i) kept.push_back(base + i);
    return embedding(t, kept);
  }

  Config config;
  std::vector<Tensor> table;  // by Site::id, (rows, heads) as in the files of Swin and timm
};

}  // namespace

Encoding relative_position_bias() { return encoding<RelativePositionBias>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
