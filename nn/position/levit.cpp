// Attention bias by unsigned offset.  Graham et al. 2021 (LeViT).
//   s_ij += attention_biases[head, |dy| w + |dx|]          a symmetric control: does direction matter?
//   hooks: bias      parameters: heads h w per block, zero at the start      cost: one addition a pair      class tokens: no bias
//   another resolution: the table is interpolated with its corners fixed, so that offset 0 stays offset 0. A shorter sequence has the
//   first entries.
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/resize_grid.h"
#include "tessera/core/ops/slice.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/pairs.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct Levit final : PositionEncoding {
  struct Config {};
  static Fields<Config> fields() { return {}; }
  std::vector<Tensor> table;  // by Site::id, (heads, h w)

  Levit(const Scope& net, const Places& at, const Config&) {
    for (const Site& s : at.sites)
      table.push_back(
          (net / s.path).param("attention_biases", {s.heads, extent(s.trained).cells()}, constant(0), Decay::no));
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Tensor t = resample("", table.at(static_cast<size_t>(s.id)), s.trained, now);
    static Memo<Layout, RelativeIndex> memo;
    const RelativeIndex& rho = memo(now, [&] { return unsigned_pairs(now, false); });
    return Terms{}.add({Relative::bias, t.reshape({s.heads, t.dim(1), 1}), 0, rho});
  }

  Tensor resample(std::string_view, const Tensor& t, const Layout& from, const Layout& to) const override {
    const Extent was = extent(from), is = extent(to);
    if (was == is) return t;
    if (to.k.sequence && was.h == is.h && is.w < was.w) return slice(t, 1, 0, is.w);
    return permute(resize_grid(permute(t, {1, 0}), was.h, was.w, is.h, is.w, Interpolation::corner_aligned), {1, 0});
  }
};

}  // namespace

Encoding levit() { return encoding<Levit>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
