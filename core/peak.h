#pragma once

namespace tessera {

/// The multiply-add throughput of this machine in GFLOP/s (2 per FMA), measured in registers with the instruction set
/// and the precision in use: the best of several short runs on `threads` threads at once, summed over them. Takes about 0.1 s. What a
/// speed is a fraction of.
double fma_peak_gflops(int threads);

}  // namespace tessera
