#include "tessera/train/cli/isa.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>

#include "tessera/core/blas.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/train/training/environment.h"

namespace tessera::cli {

namespace {

/// The core that OpenBLAS is to compute for, where TESSERA_ISA asks for another than it would choose; else null.
const char* core_of_isa() {
  const char* isa = std::getenv("TESSERA_ISA");
  if (!isa || !*isa || std::getenv("OPENBLAS_CORETYPE")) return nullptr;
  const char* core = nullptr;
#if defined(__x86_64__)
  const std::string_view wanted = isa;
  // the oldest core of each set that OpenBLAS's dynamic builds know
  if (wanted == "scalar") core = "Prescott";
  if (wanted == "avx2") core = "Haswell";
  if (wanted.starts_with("avx512") || wanted == "amx") core = "SkylakeX";
#endif
  return core;
}

/// OpenBLAS starts threads of its own as it is loaded, which we never use. Each of them asks for a buffer again and again until the
/// system gives it one, and the program's end waits for them: under ulimit -v, for ever.
bool limited_address_space() {
  rlimit limit{};
  return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && !std::getenv("OPENBLAS_NUM_THREADS");
}

}  // namespace

void prepare_blas(char** argv) {
  const char* core = core_of_isa();
  const bool limited = limited_address_space();
  if (core) setenv("OPENBLAS_CORETYPE", core, 1);
  if (limited) setenv("OPENBLAS_NUM_THREADS", "1", 1);
  if (core || limited)
    execv("/proc/self/exe",
          argv);  // returns only on failure: then OpenBLAS keeps its own choice, and --version shows it
}

std::string version_line() { return fmt::format("tessera {} ({}, {})", version(), name(isa()), blas::description()); }

}  // namespace tessera::cli
