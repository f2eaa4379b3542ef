#pragma once
// The table of hot loops. Each kernel is written once under core/kernels and compiled per instruction set; at start the
// best set this CPU has is chosen (TESSERA_ISA forces one). A family is a pair of files: NAME.h has its struct of
// pointers and says what each computes, NAME.cpp defines them and ends with the struct's value. Kernels are serial, know
// no tensors and never allocate. Names: x input, y output, d<name> a gradient, n a count.
#include <string_view>

#include "tessera/core/kernels/families.h"
#include "tessera/core/real.h"

namespace tessera {

/// scalar: the baseline of the architecture, SSE2 or ("neon") NEON. avx512_bf16 and amx: AVX-512, and dot
/// products of pairs, or tiles, for the products in bf16.
enum class Isa { scalar, avx2, avx512, avx512_bf16, amx };
/// The instruction set in use, after TESSERA_ISA; throws Error if that one is unknown or missing on this CPU.
Isa isa();
std::string_view name(Isa isa);

inline namespace TESSERA_NS {

/// The table of the chosen instruction set.
const Kernels& kernels();
/// A given set's table, for tests; null if this build or CPU lacks it.
const Kernels* kernels(Isa isa);

}  // namespace TESSERA_NS
}  // namespace tessera
