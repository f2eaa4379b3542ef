#pragma once
#include <stdint.h>

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

/// What is looked up for every pair of tokens of a block of scores s (rows x m), whose rows are ld apart.
struct AttentionPairKernels {
  /// s *= 0 or kept, by the bits of (name of the row, token of the column).
  void (*pair_drop)(real* s, int64_t ld, int64_t rows, int64_t m, const uint64_t* name, const int32_t* token,
                    uint32_t threshold, real kept);
  /// s_ij += t[i row + (rho_ij - base) step + j column]; rho_ij < 0: nothing.
  void (*pair_gather)(real* s, int64_t ld, int64_t rows, int64_t m, const real* t, int64_t row, int64_t step,
                      int64_t column, const int32_t* rho, int64_t ldrho, int32_t base);
  /// Its transpose: t[...] += s_ij.
  void (*pair_scatter)(const real* s, int64_t ld, int64_t rows, int64_t m, real* t, int64_t row, int64_t step,
                       int64_t column, const int32_t* rho, int64_t ldrho, int32_t base);
  /// s_ij = scale sum_c q_ic k_jc prod_t table_t[rho_t,ij + 1, c]: gates as wide as the head; rows of q, k, dq, dk and
  /// tables are d apart, whole vectors; row 0 of a table is 1.
  void (*gated_scores)(real* s, int64_t ld, int64_t rows, int64_t m, int64_t d, real scale, const real* q,
                       const real* k, const PairGate* gates, int64_t count);
  /// dq = ..., dk += ..., dtable_t += ... from ds, all without scale; row 0 of dtable takes what nobody wants.
  void (*gated_scores_backward)(const real* ds, int64_t ld, int64_t rows, int64_t m, int64_t d, const real* q,
                                const real* k, const PairGate* gates, int64_t count, real* dq, real* dk);
};

}  // namespace TESSERA_NS
}  // namespace tessera
