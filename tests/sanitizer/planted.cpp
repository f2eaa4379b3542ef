// Mistakes on purpose, each of which its sanitizer must report: that runs of the tests are clean says something only if the
// pool's blocks and the forks of core/parallel.cpp hide nothing, and no suppression does.
#include <atomic>
#include <cstdio>
#include <string_view>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/parallel.h"

using namespace tessera;

namespace {

float read(const Tensor& x, int64_t i) { return *static_cast<const volatile float*>(x.data() + i); }

int two_lanes() {
  parallel::set_threads(2);
  int64_t sum = 0;
  std::atomic<int> waiting{2};
  parallel::shards(2, [&](int i) {
    --waiting;
    for (int spin = 0; waiting > 0 && spin < 1'000'000'000; ++spin) {}  // so that both are under way
    for (int k = 0; k < 1000; ++k) sum += i;
  });
  return sum < 0;
}

int tensor(std::string_view what) {
  const Tensor x = zeros({5, 5});
  if (what == "past_end") return read(x, 25) > 1;
  if (what == "before") return read(x, -1) > 1;
  const float* gone = nullptr;
  {
    const Tensor y = zeros({5, 5});
    gone = y.data();
  }
  return *static_cast<const volatile float*>(gone) > 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const int result = what == "two_lanes" ? two_lanes() : tensor(what);
  std::puts("nothing was reported");
  return result;
}
