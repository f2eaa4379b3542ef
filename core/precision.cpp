#include "tessera/core/precision.h"

#include <atomic>

#include "tessera/core/error.h"

namespace tessera {
namespace {
std::atomic<Precision> current{Precision::f32};
}

Precision precision() { return current.load(std::memory_order_relaxed); }
void set_precision(Precision p) { current.store(p, std::memory_order_relaxed); }

std::string_view name(Precision p) { return p == Precision::bf16 ? "bf16" : "f32"; }

Precision precision(std::string_view name) {
  for (const Precision p : {Precision::f32, Precision::bf16})
    if (name == tessera::name(p)) return p;
  fail("precision", "{} is neither f32 nor bf16", name);
}

}  // namespace tessera
