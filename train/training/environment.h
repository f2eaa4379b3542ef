#pragma once
// Where a run happens: what its bits depend on beside configuration and data, and what it costs. Free of `real`.
#include <cstdint>
#include <string>

namespace tessera {

/// "0.1.0"
std::string version();
/// The processor's name, or "unknown".
std::string cpu_name();
/// "GCC 12.2.0": what compiled this.
std::string compiler();
/// "cf9eaf0d1234", with "-dirty" after it if files had been changed since; "unknown" where the sources were no git work tree of
/// their own. Written by cmake/commit.cmake.
std::string commit();
/// "Intel ... / avx512 / OpenBLAS 0.3.21 ... / GCC 12.2.0 / commit cf9eaf0d1234": a run repeats bit for bit where this is equal.
std::string environment();
/// Bytes of memory this process occupies; 0 if the system does not tell.
int64_t resident_bytes();

}  // namespace tessera
