#pragma once
// The one number type. `real` is float in the library; core, nn and models are compiled a second time with
// TESSERA_REAL=double TESSERA_NS=f64 for the double twin, against which gradients and float results are tested.
// Everything that depends on `real` lives in the inline namespace TESSERA_NS; everything else stays outside of it.
#include "tessera/core/cxx20.h"
#ifndef TESSERA_REAL
#define TESSERA_REAL float
#define TESSERA_NS f32
#endif

namespace tessera {
inline namespace TESSERA_NS {
using real = TESSERA_REAL;
}
}  // namespace tessera
