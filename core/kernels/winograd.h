#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Some of the tiles that cover B maps of H x W cells of C channels (a multiple of 16, at most 1024), two cells from one to the next on both axes,
/// image after image; and 16 matrices (count, C), `plane` reals apart, with a row for each of these tiles.
struct WinogradTiles {
  int64_t H, W, C;
  int64_t top, left;  ///< tile (ty, tx) starts at the cell (2 ty - top, 2 tx - left)
  int64_t tiles_y, tiles_x, first, count, plane;
};

/// Winograd's F(2x2, 3x3) (Lavin and Gray 2015, arXiv 1509.09308): y = A^T [(G w G^T) * (B^T d B)] A for 2 x 2 outputs y of 4 x 4 cells d.
struct WinogradKernels {
  /// Matrix (i, j) = (B^T d B)[i][j] of the 4 x 4 cells of every tile; what lies beyond the map is 0.
  void (*winograd_cells)(const WinogradTiles& t, const real* x, real* planes);
  /// Matrix (i, j) = (A d A^T)[i][j] of 2 x 2 cells, the transpose of winograd_outputs.
  void (*winograd_cotangents)(const WinogradTiles& t, const real* dy, real* planes);
  /// 2 x 2 cells y = beta y + bias + A^T m A of every tile, of which those beyond the map are left out; bias may be null.
  void (*winograd_outputs)(const WinogradTiles& t, const real* planes, const real* bias, real beta, real* y);
  /// n numbers (a multiple of 16) of each of sixteen matrices, `plane` reals apart: form (i, j) = (G w G^T)[i][j] of the nine taps (k, l), which
  /// are n apart. In double.
  void (*winograd_weights)(const real* taps, int64_t n, int64_t plane, real* u);
  /// Nine matrices of n numbers, one after the other, tap (k, l) = (G^T u G)[k][l] of sixteen.
  void (*winograd_taps)(const real* u, int64_t n, real* taps);
};

}  // namespace TESSERA_NS
}  // namespace tessera
