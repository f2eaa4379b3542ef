#pragma once
#include <stdint.h>

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Some lines of a map with zeros around it, from one image: line `first` and `lines` of them, `width` cells each, of I channels. The cell
/// (y, x) of what is written is (y - top, x - left) of the map, or 0 if that lies outside; top and left may be negative.
struct PaddedLines {
  const real* x;       ///< the map, H x W, at the first of the I channels
  int64_t H, W, C, I;  ///< C: from cell to cell
  int64_t top, left;
  int64_t first, lines, width;
  int64_t ahead;  ///< for `zip`: how many cells lie between the two numbers of a pair
};

/// One of the products of a convolution, over images x lines x pixels of its outputs, which are read from a padded map as they lie: tap
/// (ky, kx), channel i of output (image, line, pixel) stands at a + image a_image + line a_line + pixel a_pixel + ky step_y + kx step_x + i. The
/// depth is taps_y taps_x I in this order. In units: numbers, or pairs of them.
struct LineTask {
  int64_t images, lines, pixels;
  const real* a;
  int64_t a_image, a_line, a_pixel;
  int64_t taps_y, taps_x, I, step_y, step_x;
  int64_t N;
  /// multiply: the weight (depth, N), in panels as gemm_pack writes them. weigh: rows of dy, N rounded up to whole vectors,
  /// images x lines x pixels of them.
  const real* b;
  int64_t b_pixel;   ///< weigh: from row to row; lines and images follow on each other
  const real* bias;  ///< multiply: (N) or null
  real beta;
  real* c;                           ///< multiply: outputs, N numbers each; weigh: (depth, N)
  int64_t c_image, c_line, c_pixel;  ///< weigh: c_pixel from row to row
};

/// Convolutions whose patches are never written down.
struct LineProducts {
  int pair;  ///< numbers in a unit of the operands: 1, or 2; 0: this instruction set has better products of patches
  /// Padded lines as `multiply` reads them: ceil(I / pair) units a cell.
  void (*pad)(const PaddedLines& p, real* to);
  /// Padded lines as `weigh` reads them: I units a cell; with pairs, of this cell and the one `ahead` of it.
  void (*zip)(const PaddedLines& p, real* to);
  /// `rows` stretches of `pixels` rows of dy, N of every ld numbers: ceil(pixels / pair) rows a stretch, N rounded up to whole vectors.
  void (*zip_rows)(const real* dy, int64_t ld, int64_t rows, int64_t pixels, int64_t N, real* to);
  /// c = beta c + bias + sum over the depth of a b
  void (*multiply)(const LineTask& t);
  /// c = beta c + sum over images, lines and pixels of a^T b
  void (*weigh)(const LineTask& t);
};

struct ConvLineKernels {
  LineProducts conv_lines;
  /// dw (O, I, taps) = beta dw + the transpose of d (taps, I, ld), of whose ld columns O count.
  void (*add_transposed_taps)(const real* d, int64_t ld, int64_t taps, int64_t I, int64_t O, real* dw, real beta);
};

struct ConvLineBf16Kernels {
  LineProducts conv_lines_bf16;  ///< operands rounded to bfloat16, sums in fp32
};

}  // namespace TESSERA_NS
}  // namespace tessera
