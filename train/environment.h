#pragma once
// Where a run happens: what its bits depend on beside configuration and data, and what it costs. Free of `real`.
#include <cstdint>
#include <string>

namespace tessera {

/// "0.1.0"
std::string version();
/// The processor's name, or "unknown".
std::string cpu_name();
/// "Intel ... / avx512 / OpenBLAS 0.3.21 ...": a run repeats bit for bit where this is equal.
std::string environment();
/// Bytes of memory this process occupies; 0 if the system does not tell.
int64_t resident_bytes();

}  // namespace tessera
