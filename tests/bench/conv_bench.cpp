// The three products of convolutions, of 8 images each as in a shard: by Winograd's tiles, by the map read in lines and by gathered patches, in %
// of the multiply-add peak measured beside each call, counting the definition's multiply-adds (tiles do fewer and may exceed 100); and a linear
// layer of a ViT as the rate that products reach here. One thread, medians of rounds in turn.
//   ninja -C build conv_bench && build/tests/conv_bench [rounds [f32|bf16 [part of a name]]]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

#include "tessera/core/gemm.h"
#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/detail/conv_plan.h"
#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/core/tensor.h"

namespace {

using namespace tessera;

struct Layer {
  const char* name;
  int side, in, out, kernel, stride;
};

constexpr Layer layers[] = {
    {"stem 3 -> 64, 32x32", 32, 3, 64, 3, 1}, {"3x3 16, 32x32", 32, 16, 16, 3, 1},
    {"3x3 16 -> 32, /2", 32, 16, 32, 3, 2},   {"3x3 32, 16x16", 16, 32, 32, 3, 1},
    {"3x3 64, 8x8", 8, 64, 64, 3, 1},         {"3x3 64, 32x32", 32, 64, 64, 3, 1},
    {"3x3 64 -> 128, /2", 32, 64, 128, 3, 2}, {"3x3 128, 16x16", 16, 128, 128, 3, 1},
    {"3x3 256, 8x8", 8, 256, 256, 3, 1},      {"3x3 512, 4x4", 4, 512, 512, 3, 1},
    {"1x1 64 -> 128, /2", 32, 64, 128, 1, 2}, {"7x7 3 -> 64, /4", 32, 3, 64, 7, 4},
};

/// Of this thread: other processes may take turns with it.
double now() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}
double seconds(const auto& f) {
  const double start = now();
  f();
  return now() - start;
}
double median(std::vector<double> v) {
  const auto at = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), at, v.end());
  return *at;
}

bool bf16 = false;

/// The share of the peak that f's multiply-accumulates reach.
double share(double macs, const auto& f) {
  double count = 0;
  float sink = 0;
  const auto burn = [&] { (bf16 ? kernels().bf16_burn : kernels().fma_burn)(6000, &count, &sink); };
  burn();
  const double before = seconds(burn), mine = seconds(f), after = seconds(burn);
  return 2 * macs / mine / (count / std::min(before, after));
}

conv::Plan plan(const Layer& l) {
  const int pad = l.kernel / 2, out = (l.side + 2 * pad - l.kernel) / l.stride + 1;
  const ConvShape s{8, l.side, l.side, l.in, out, out, l.kernel, l.kernel, l.stride, l.stride, pad, pad, 1, 1};
  return {s, l.out, 1, l.in, l.out, int64_t{l.kernel} * l.kernel * l.in, false, l.kernel == 1 && l.stride == 1};
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 30;
  bf16 = argc > 2 && !std::strcmp(argv[2], "bf16");
  set_precision(bf16 ? Precision::bf16 : Precision::f32);
  parallel::set_threads(1);
  const parallel::Shard shard;
  Tensor a = full({520, 192}, 1), b = full({768, 192}, 1), c({520, 768});
  b.storage()->leaf = std::make_unique<Leaf>();
  std::vector<double> linear;
  fmt::print("{}, {}; % of the peak: tiles / lines / patches\n{:<24}{:>24}{:>24}{:>24}\n", name(isa()),
             bf16 ? "bf16" : "f32", "", "forward", "dx", "dw");
  for (const Layer& l : layers) {
    if (argc > 3 && std::string_view(l.name).find(argv[3]) == std::string_view::npos) continue;
    const conv::Plan p = plan(l);
    const int out = static_cast<int>(p.s.Ho);
    std::vector<Tensor> xs, ys;  // in turn, so that they are no nearer than in training
    for (int i = 0; i < 6; ++i)
      xs.push_back(full({8, l.side, l.side, l.in}, 1)), ys.push_back(full({8, out, out, l.out}, 1));
    Tensor w = full({l.out, l.in, l.kernel, l.kernel}, 1), dw(w.shape()), dx(xs[0].shape());
    w.storage()->leaf = std::make_unique<Leaf>();
    const double macs = static_cast<double>(ys[0].size()) * static_cast<double>(p.K);
    std::vector<double> got[9];
    const bool tiles = l.kernel == 3 && l.stride == 1 && l.in % 16 == 0;
    for (int r = 0; r < rounds; ++r) {
      const Tensor& x = xs[static_cast<size_t>(r % 6)];
      Tensor& y = ys[static_cast<size_t>(r % 6)];
      linear.push_back(share(520.0 * 768 * 192, [&] {
        gemm_nt(520, 768, 192, a.data(), 192, b.read().data(), 192, 0, c.data(), 768, nullptr, b.leaf());
      }));
      if (tiles) {
        got[0].push_back(share(macs, [&] { conv::forward_winograd(p, x, w, nullptr, y); }));
        got[3].push_back(share(macs, [&] { conv::input_gradient_winograd(p, w, y, {dx.data(), 0}); }));
        got[6].push_back(share(macs, [&] { conv::weight_gradient_winograd(p, x, y, {dw.data(), 1}); }));
      }
      got[1].push_back(share(macs, [&] { conv::forward_lines(p, x, w, nullptr, y); }));
      got[2].push_back(share(macs, [&] { conv::forward_patches(p, x, w, nullptr, y); }));
      got[4].push_back(share(macs, [&] { conv::input_gradient_lines(p, w, y, {dx.data(), 0}); }));
      got[5].push_back(share(macs, [&] { conv::input_gradient_patches(p, w, y, {dx.data(), 0}); }));
      got[7].push_back(share(macs, [&] { conv::weight_gradient_lines(p, x, y, {dw.data(), 1}); }));
      got[8].push_back(share(macs, [&] { conv::weight_gradient_patches(p, x, y, {dw.data(), 1}); }));
      std::fill_n(y.data(), y.size(), 1.F);
    }
    fmt::print("{:<24}", l.name);
    for (int i = 0; i < 9; i += 3)
      fmt::print("{:>12} / {:>3.0f} / {:>3.0f}", tiles ? fmt::format("{:.0f}", 100 * median(got[i])) : "-",
                 100 * median(got[i + 1]), 100 * median(got[i + 2]));
    fmt::print("\n");
    std::fflush(stdout);
  }
  fmt::print("{:<24}{:>12.0f}\n", "linear 192 -> 768", 100 * median(linear));
}
