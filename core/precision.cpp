#include "tessera/core/precision.h"

#include <atomic>
#include <initializer_list>

#include "tessera/core/error.h"

namespace tessera {
namespace {
std::atomic<Precision> current{Precision::f32};
}

Precision precision() { return current.load(std::memory_order_relaxed); }
void set_precision(Precision p) { current.store(p, std::memory_order_relaxed); }

std::string_view name(Precision p) { return p == Precision::bf16 ? "bf16" : "f32"; }

Precision precision(std::string_view name) {
  for (const std::string_view same : {"f32", "fp32", "float32"})
    if (name == same) return Precision::f32;
  for (const std::string_view same : {"bf16", "bfloat16"})
    if (name == same) return Precision::bf16;
  fail("precision", "{} is neither f32 (fp32, float32) nor bf16 (bfloat16)", name);
}

}  // namespace tessera
