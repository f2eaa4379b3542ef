#include "tessera/nn/flat_patches.h"

#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/pad.h"
#include "tessera/core/ops/permute.h"
#include "tessera/core/ops/slice.h"

namespace tessera {
inline namespace TESSERA_NS {

Tensor with_diagonal_shifts(const Tensor& image, int by) {
  const auto [B, H, W, C] = image.dims<4>();
  const Tensor framed = pad(pad(image, 1, by, by), 2, by, by);
  const auto moved = [&, h = H, w = W](int y, int x) { return slice(slice(framed, 1, y, y + h), 2, x, x + w); };
  return concat({image, moved(0, 0), moved(0, 2 * by), moved(2 * by, 0), moved(2 * by, 2 * by)}, 3);
}

Tensor flat_patches(const Tensor& image, int p) {
  const auto [B, H, W, C] = image.dims<4>();
  if (p < 1 || H % p || W % p)
    fail("flat_patches", "an image of {} x {} is not made of patches of {} x {}", H, W, p, p);
  const Tensor cut = image.reshape({B, H / p, p, W / p, p * C});
  return permute(cut, {0, 1, 3, 2, 4}).reshape({B, (H / p) * (W / p), p * p * C});
}

FlatPatches::FlatPatches(const Scope& s, const Config& c)
    : patch_size(c.patch_size),
      in_chans(c.in_chans),
      shift(c.shifted ? c.patch_size / 2 : 0),
      pre_norm(s / "pre_norm", c.pixels(), 1e-5),
      proj(s / "proj", c.pixels(), c.dim, true, c.init) {
  if (c.norm_after) norm.emplace(s / "norm", c.dim, 1e-5);
}

Tensor FlatPatches::operator()(const Run& run, const Tensor& image) const {
  const Crumb here("patch_embed");
  grid(image);
  const Tensor rows = flat_patches(shift ? with_diagonal_shifts(image, shift) : image, patch_size);
  const Tensor x = proj(run, pre_norm(run, rows));
  return norm ? (*norm)(run, x) : x;
}

Grid FlatPatches::grid(const Tensor& image, int prefix) const {
  if (image.rank() != 4 || image.dim(3) != in_chans)
    fail("patch_embed", "images are {}, expected (B, H, W, in_chans = {}), channels last", image.shape().str(),
         in_chans);
  const auto [B, H, W, C] = image.dims<4>();
  if (H < patch_size || W < patch_size || H % patch_size || W % patch_size)
    fail("patch_embed",
         "an image of {} x {} is not made of patches of {} x {}; choose an img_size that patch_size divides", H, W,
         patch_size, patch_size);
  return {H / patch_size, W / patch_size, prefix};
}

}  // namespace TESSERA_NS
}  // namespace tessera
