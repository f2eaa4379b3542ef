#pragma once
// The bucket index of iRPE (Wu et al. 2021), free of `real`.
#include "tessera/nn/position/pairs.h"

namespace tessera {

enum class IrpeMethod { product, rows, columns, euclidean, quant_code, quant_paper };

/// g(x): identity (rounded half to even) up to alpha, logarithmic up to beta, truncated to an integer; odd in x. beta = 2 alpha, gamma = 8 alpha.
int irpe_piecewise(double x, double alpha);
/// Rows of a table of one method, without the class bucket.
int irpe_buckets(IrpeMethod method, double alpha);
/// I(i, j), or I(j, i) if `transposed`. With class tokens one more row, for every pair with one. From a Memo.
const RelativeIndex& irpe_pairs(const Layout& now, IrpeMethod method, double alpha, bool transposed);

}  // namespace tessera
