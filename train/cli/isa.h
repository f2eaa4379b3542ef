#pragma once
#include <string>

namespace tessera::cli {

/// OpenBLAS chooses its kernels when it is loaded, from OPENBLAS_CORETYPE. When TESSERA_ISA forces a smaller
/// instruction set than the CPU has, this sets that variable and starts the program anew, so that all arithmetic is of
/// the forced set. Returns at once otherwise.
void match_blas_to_isa(char** argv);

/// "tessera 0.1.0 (avx512, OpenBLAS ...)".
std::string version_line();

}  // namespace tessera::cli
