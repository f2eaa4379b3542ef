#pragma once
// Small formulas of single encodings that tests and pictures ask for, free of `real`.
#include <vector>

namespace tessera {

/// ALiBi's slope of every head (Press et al. 2022): 2^(-8 (i + 1) / n) for n a power of two; else those of the power below, then every
/// second one of the doubled set. The order is therefore not monotone.
std::vector<double> alibi_slopes(int heads);

/// T5's bucket of a key-minus-query offset (Raffel et al. 2020). Of a decoder, where no key comes after its query, `causal`: all buckets are
/// for those before it.
int t5_bucket(int relative, int num_buckets, int max_distance, bool causal = false);

/// Swin v2's log coordinate of offset d for a window of M cells: sign(d') log2(|d'| + 1) / log2 8 with d' = 8 d / (M - 1); 0 for M = 1, where
/// the official code divides 0 by 0.
double cpb_coordinate(int d, int M);

}  // namespace tessera
