#pragma once
#include <string>

namespace tessera::cli {

/// OpenBLAS chooses its kernels and starts its threads when it is loaded. When TESSERA_ISA forces a smaller instruction set than the CPU
/// has, or ulimit -v a smaller address space, this sets OPENBLAS_CORETYPE or OPENBLAS_NUM_THREADS and starts the program anew. Returns at
/// once otherwise.
void prepare_blas(char** argv);

/// "tessera 0.1.0 (avx512, OpenBLAS ...)".
std::string version_line();

}  // namespace tessera::cli
