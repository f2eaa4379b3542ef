#pragma once
#include <stdint.h>

// Pieces of attention on small row-major matrices in scratch memory: rows start on whole vectors and are padded to them with zeros
// ("ld" is such a row stride), s is a block of scores or weights (rows x m).

// clang-format off
#define TESSERA_ATTENTION_KERNELS(ROW)                                                                                       \
  /* C (M x N) = A (M x K) B (K x N), or += when `add`. N is rounded up to whole vectors: so far B is read and C written. */ \
  ROW(product, int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C, int64_t ldc, bool add) \
  /* the same with A given as (K x M) */                                                                                     \
  ROW(product_tn, int64_t M, int64_t N, int64_t K, const real* A, int64_t lda, const real* B, int64_t ldb, real* C, int64_t ldc, bool add) \
  /* y (n x d) = rows of x; at[i] = -1: a row of zeros; at null: row i. Rows `ahead` elements further on are fetched into L2. */                                                    \
  ROW(gather_rows, const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real* y, int64_t ld, int64_t ahead)  \
  /* row at[i] of y = beta times itself + scale each[i] x[i]; at[i] = -1: nothing; each may be null */                       \
  ROW(scatter_rows, const real* x, int64_t ld, const int32_t* at, int64_t n, int64_t d, real scale, const real* each, real* y, \
      int64_t stride, real beta, int64_t ahead)                                                                                             \
  /* y (d x n) = scale rows of x, transposed; padded with zeros to whole vectors of n */                                     \
  ROW(transpose_rows, const real* x, int64_t stride, const int32_t* at, int64_t n, int64_t d, real scale, real* y, int64_t ld, \
      int64_t ahead) \
  /* s + bias + column -> e^(s - shift), with shift, the maximum, and 1 / sum per row; bias (rows x ld) may be null; column (ld) \
     counts from vector `from`; -inf in one of them hides the pair whatever s is; a row of -inf: zeros */                    \
  ROW(softmax_rows, real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, real* shift,      \
      real* inverse)                                                                                                         \
  /* s + bias + column -> e^(s - shift) inverse, from what softmax_rows left */                                              \
  ROW(weight_rows, real* s, int64_t ld, int64_t rows, const real* bias, const real* column, int64_t from, const real* shift, \
      const real* inverse)                                                                                                   \
  /* d = p (d - sum_j p d), and p times the factors of pair_drop are its caller's */                                                \
  ROW(dscore_rows, const real* p, real* d, int64_t ld, int64_t rows)                                                   \
  /* s *= 0 or kept, by the bits of (name of the row, token of the column) */                                                \
  ROW(pair_drop, real* s, int64_t ld, int64_t rows, int64_t m, const uint64_t* name, const int32_t* token, uint32_t threshold, real kept) \
  /* s_ij += t[i row + (rho_ij - base) step + j column] and its transpose, t[...] += s_ij; rho_ij < 0: nothing */            \
  ROW(pair_gather, real* s, int64_t ld, int64_t rows, int64_t m, const real* t, int64_t row, int64_t step, int64_t column, \
      const int32_t* rho, int64_t ldrho, int32_t base)                                                                       \
  ROW(pair_scatter, const real* s, int64_t ld, int64_t rows, int64_t m, real* t, int64_t row, int64_t step, int64_t column, \
      const int32_t* rho, int64_t ldrho, int32_t base)                                                                       \
  /* turns the pairs of channels of x (n x d) by the angles cos, sin (n x d / 2) */                                          \
  ROW(rotate, real* x, int64_t ld, int64_t n, int64_t d, const real* cosine, const real* sine, bool halves)                  \
  /* dx turned back in place; dcos, dsin += scale (...) from the unrotated x, unless null */                                 \
  ROW(rotate_backward, const real* x, real* dx, int64_t ld, int64_t n, int64_t d, const real* cosine, const real* sine,      \
      bool halves, real scale, real* dcos, real* dsin)                                                                       \
  /* s_ij = scale sum_c q_ic k_jc prod_t table_t[rho_t,ij + 1, c]: gates as wide as the head; rows of q, k, dq, dk and tables  \
     are d apart, whole vectors; row 0 of a table is 1 */                                                                   \
  ROW(gated_scores, real* s, int64_t ld, int64_t rows, int64_t m, int64_t d, real scale, const real* q, const real* k,       \
      const PairGate* gates, int64_t count)                                                                                  \
  /* dq = ..., dk += ..., dtable_t += ... from ds, all without scale; row 0 of dtable takes what nobody wants */              \
  ROW(gated_scores_backward, const real* ds, int64_t ld, int64_t rows, int64_t m, int64_t d, const real* q, const real* k,   \
      const PairGate* gates, int64_t count, real* dq, real* dk)
// clang-format on

#include "tessera/core/real.h"

namespace tessera {
inline namespace TESSERA_NS {
/// One gate as wide as the head, of a block of scores.
struct PairGate {
  const real* table;   ///< (1 + rows, d): a row of ones, then the table
  real* dtable;        ///< its gradient, likewise
  const int32_t* rho;  ///< of the block's first row; -1: no row
  int64_t ldrho;
};
}  // namespace TESSERA_NS
}  // namespace tessera
