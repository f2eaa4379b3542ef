#pragma once
// Patches as rows of pixels, normalised before they are projected. A row is (row, column, channel), channels last, as einops writes
// "p1 p2 c"; a convolution's weight has (channel, row, column).
#include <optional>

#include "tessera/nn/layers.h"

namespace tessera {
inline namespace TESSERA_NS {

/// (B, H, W, C) -> (B, H, W, 5 C): the image, and it moved by `by` pixels down-right, down-left, up-right and up-left, zeros behind it.
/// Shifted patch tokenization, Lee, Lee, Song 2021, arXiv 2112.13492, in the order of the authors' code.
Tensor with_diagonal_shifts(const Tensor& image, int by);
/// (B, H, W, C) -> (B, H/p W/p, p p C).
Tensor flat_patches(const Tensor& image, int p);

/// norm(proj(pre_norm(patches))): images (B, H, W, in_chans) -> tokens (B, H/p W/p, dim). The norms have torch's eps, 1e-5.
struct FlatPatches {
  struct Config {
    int patch_size = 4, in_chans = 3, dim = 0;
    bool shifted = false;     ///< of the image and its four diagonal shifts by half a patch (SPT)
    bool norm_after = false;  ///< another LayerNorm over dim (lucidrains' ViTs)
    LinearInit init = {};
    int pixels() const { return patch_size * patch_size * in_chans * (shifted ? 5 : 1); }
  };
  int patch_size, in_chans, shift;
  LayerNorm pre_norm;
  Linear proj;
  std::optional<LayerNorm> norm;
  FlatPatches(const Scope& s, const Config& c);
  Tensor operator()(const Run&, const Tensor& image) const;
  /// The grid of a batch of images; throws Error if it has other channels or is not made of whole patches.
  Grid grid(const Tensor& image, int prefix = 0) const;
};

}  // namespace TESSERA_NS
}  // namespace tessera
