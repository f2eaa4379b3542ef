#pragma once
// One-dimensional interpolation as a matrix: y = W x with W (out, in). A grid is resized by one matrix per axis, rows
// and columns. The rules are those of PyTorch's and timm's resizes, which differ even when they share a name. Free of
// `real`.
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

enum class Interpolation {
  bilinear,           ///< source (o + 0.5) in/out - 0.5, clamped at both ends (align_corners=False)
  bicubic,            ///< the same centres, four taps, border taps repeated, Keys' kernel with a = -0.75
  bicubic_antialias,  ///< a = -0.5, support widened by the shrinking factor, outside taps dropped and weights
                      ///< renormalised (timm)
  corner_aligned      ///< linear with first and last samples fixed (align_corners=True, scipy zoom(order=1))
};

/// "bilinear", "bicubic", "bicubic_antialias" (or "timm") and "corner_aligned". Throws Error on another word.
Interpolation interpolation(std::string_view name);
std::string_view name(Interpolation rule);

/// The matrix (out, in), row-major, whose rows sum to 1. Throws Error unless both sizes are positive.
std::vector<double> interpolation_matrix(int in, int out, Interpolation rule);

/// x (h0, w0, C) -> (h, w, C), for fixed tables. The differentiable form is resize_grid() in core/ops/resize_grid.h.
std::vector<double> interpolate(const std::vector<double>& x, int h0, int w0, int h, int w, int C, Interpolation rule);

}  // namespace tessera
