#include "train/cli/isa.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "core/blas.h"
#include "core/kernels/kernels.h"
#include "train/environment.h"

namespace tessera::cli {

void match_blas_to_isa(char** argv) {
  const char* isa = std::getenv("TESSERA_ISA");
  if (!isa || !*isa || std::getenv("OPENBLAS_CORETYPE")) return;
  const char* core = nullptr;
#if defined(__x86_64__)
  const std::string_view wanted = isa;
  // the oldest core of each set that OpenBLAS's dynamic builds know
  if (wanted == "scalar") core = "Prescott";
  if (wanted == "avx2") core = "Haswell";
  if (wanted.starts_with("avx512") || wanted == "amx") core = "SkylakeX";
#endif
  if (!core) return;
  setenv("OPENBLAS_CORETYPE", core, 1);
  execv("/proc/self/exe", argv);  // returns only on failure: then OpenBLAS keeps its own choice, and --version shows it
}

std::string version_line() { return fmt::format("tessera {} ({}, {})", version(), name(isa()), blas::description()); }

}  // namespace tessera::cli
