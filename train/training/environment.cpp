#include "tessera/train/training/environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "tessera/core/blas.h"
#include "tessera/core/kernels/kernels.h"

namespace tessera {

std::string version() { return TESSERA_VERSION; }

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos && line.starts_with("model name")) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string compiler() {
#ifdef __clang__
  return fmt::format("Clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("GCC {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

std::string environment() {
  return fmt::format("{} / {} / {} / {} / commit {}", cpu_name(), name(isa()), blas::description(), compiler(),
                     commit());
}

int64_t resident_bytes() {
  std::ifstream pages("/proc/self/statm");
  int64_t all = 0, resident = 0;
  return pages >> all >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace tessera
