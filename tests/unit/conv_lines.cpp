// Convolutions that read the map in lines, and those of gathered patches, against a plain loop in double: forward and both gradients, written and
// added, in both precisions, on memory full of NaN, over odd shapes. The op table holds the same in double against differences.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/nn/params.h"
#include "tests/unit/conv_cases.h"

namespace tessera {
namespace {

using namespace conv_cases;

bool lines_take(const Case& c) {
  const ConvOptions& o = c.o;
  return !(o.stride_y > 1 && o.dilation_y > 1) && !(o.stride_x > 1 && o.dilation_x > 1);
}

/// All ways in which this convolution can be computed.
void check_all(const Case& c) {
  for (const Precision p : {Precision::f32, Precision::bf16}) {
    check(c, p, conv::forward_patches, conv::input_gradient_patches, conv::weight_gradient_patches, "patches");
    const bool has = p == Precision::f32 || kernels().conv_lines_bf16.pair > 0;
    if (has && lines_take(c))
      check(c, p, conv::forward_lines, conv::input_gradient_lines, conv::weight_gradient_lines, "lines");
  }
  const bool plain_3x3 = c.kh == 3 && c.kw == 3 && c.o.stride_y == 1 && c.o.stride_x == 1 && c.o.dilation_y == 1 &&
                         c.o.dilation_x == 1 && c.o.groups == 1 && c.I % 16 == 0 && c.O % 16 == 0;
  if (plain_3x3)
    check(c, Precision::f32, conv::forward_winograd, conv::input_gradient_winograd, conv::weight_gradient_winograd,
          "Winograd");
}

TEST_CASE("conv: lines and patches against a plain loop, odd shapes") {
  for (const Case& c :
       std::vector<Case>{{2, 5, 7, 5, 7, 1, 1, conv_options(1, 0)},
                         {2, 5, 7, 5, 7, 1, 1, conv_options(2, 0)},
                         {1, 1, 1, 1, 1, 3, 3, conv_options(1, 1)},
                         {2, 2, 3, 2, 3, 5, 7, conv_options(1, 3)},  // a kernel larger than the map
                         {2, 9, 8, 3, 16, 3, 3, conv_options(1, 1)},
                         {3, 8, 8, 16, 16, 3, 3, conv_options(1, 1)},
                         {2, 6, 15, 33, 31, 3, 3, conv_options(1, 1)},
                         {2, 9, 11, 6, 40, 3, 3, conv_options(2, 1)},
                         {2, 10, 12, 4, 32, 3, 3, conv_options(3, 1)},
                         {1, 12, 9, 2, 3, 7, 7, conv_options(4, 2)},
                         {1, 11, 13, 3, 5, 2, 2, conv_options(3, 0)},  // inputs that no tap reaches
                         {1, 9, 9, 4, 6, 3, 3, conv_options(1, 2, 1, 2)},
                         {1, 9, 12, 3, 5, 3, 2, {2, 1, 0, 1, 3, 0, 1, 3, 1}},
                         {2, 6, 7, 2, 2, 2, 3, {2, 1, 1, 0, 2, 1, 1, 2, 1}},
                         {1, 7, 6, 4, 4, 3, 3, {2, 2, 1, 1, 1, 1, 2, 2, 1}},  // strides and dilations: patches only
                         {2, 6, 7, 6, 8, 3, 3, conv_options(1, 1, 2)},
                         {1, 7, 7, 9, 6, 3, 3, conv_options(2, 1, 3)},
                         {2, 5, 6, 12, 36, 1, 3, conv_options(1, 0, 2)},
                         {1, 4, 4, 3, 6, 3, 3, conv_options(1, 1, 3)},
                         {1, 5, 6, 2, 4, 3, 3, conv_options(1, 4)},  // more padding than the kernel reaches
                         {1, 1, 40, 5, 9, 1, 31, {1, 1, 0, 0, 15, 15, 1, 1, 1}},
                         {9, 4, 4, 70, 20, 3, 3, conv_options(1, 1)},
                         {1, 40, 45, 17, 8, 3, 3, conv_options(1, 1)},  // several strips of an image
                         {1, 6, 6, 600, 3, 3, 3, conv_options(1, 1)},   // a tap in several slices
                         {40, 8, 8, 24, 48, 3, 3, conv_options(2, 1)},
                         {1, 1, 1, 16, 16, 3, 3, conv_options(1, 1)},
                         {3, 7, 9, 32, 16, 3, 3, conv_options(1, 1)},
                         {2, 6, 5, 16, 48, 3, 3, conv_options(1, 0)},
                         {2, 5, 6, 16, 16, 3, 3, {1, 1, 3, 0, 1, 4, 1, 1, 1}},
                         {8, 16, 16, 32, 32, 3, 3, conv_options(1, 1)}})
    check_all(c);
}

TEST_CASE("conv: lines and patches against a plain loop, channels from 1 to 33") {
  for (int channels = 1; channels <= 33; ++channels)
    check_all({1, 4, 5, channels, 34 - channels, 3, 2, conv_options(1 + channels % 2, 1)});
}

TEST_CASE("conv: what a weight keeps for each way of reading it, in each precision, follows its values") {
  for (const int size : {1, 3}) {
    Params params(1);
    const Tensor w = Scope(params).param("w", {32, 16, size, size}, normal(1));
    const Leaf& leaf = *w.leaf();
    const auto outputs = [&](int groups, Precision precision, auto forward, auto input) {
      const Case c{2, 6, 7, 16 * groups, 32, size, size, conv_options(1, size / 2, groups)};
      const conv::Plan p = plan(c);
      const Computing in(precision);
      const Tensor x = random({c.B, c.H, c.W, c.I}, 1), dy = random({c.B, c.H, c.W, c.O}, 3);
      Tensor y = unwritten(dy.shape()), dx = unwritten(x.shape());
      forward(p, x, w, nullptr, y), input(p, w, dy, {dx.data(), 0});
      std::vector<float> all(y.values().begin(), y.values().end());
      all.insert(all.end(), dx.values().begin(), dx.values().end());
      return all;
    };
    const auto all_ways = [&] {
      std::vector<std::vector<float>> all;
      for (const Precision precision : {Precision::f32, Precision::bf16, Precision::f32})
        for (const int groups : {1, 2}) {
          all.push_back(outputs(groups, precision, conv::forward_patches, conv::input_gradient_patches));
          if (size == 1) continue;
          if (precision == Precision::f32 || kernels().conv_lines_bf16.pair > 0)
            all.push_back(outputs(groups, precision, conv::forward_lines, conv::input_gradient_lines));
          if (precision == Precision::f32 && groups == 1)
            all.push_back(outputs(groups, precision, conv::forward_winograd, conv::input_gradient_winograd));
        }
      return all;
    };
    CHECK(leaf.packed.load() == nullptr);
    outputs(1, Precision::bf16, conv::forward_patches, conv::input_gradient_patches);
    CHECK(leaf.packed.load() != nullptr);
    std::vector<std::vector<float>> want = all_ways();
    const auto doubled = [&] {  // exact, so everything doubles to the bit
      for (auto& way : want)
        for (float& v : way) v *= 2;
      return want;
    };
    CHECK(all_ways() == want);
    for (real& v : w.rewrite()) v *= 2;
    CHECK(all_ways() == doubled());
    CHECK(all_ways() == want);
    const std::span<real> lent = w.values();  // from now on it may change at any moment: nothing is kept
    CHECK(all_ways() == want);
    for (real& v : lent) v *= 2;
    CHECK(all_ways() == doubled());
  }
}

/// y and dx, and dw, of one call outside of a shard, where strips of outputs go to several workers.
std::vector<float> all_of(const Case& c, Precision precision, int threads) {
  const conv::Plan p = plan(c);
  const Computing in(precision);
  parallel::set_threads(threads);
  const Tensor x = random({c.B, c.H, c.W, c.I}, 1), w = random({c.O, c.I, c.kh, c.kw}, 2);
  const Tensor dy = random({c.B, static_cast<int>(p.s.Ho), static_cast<int>(p.s.Wo), c.O}, 3);
  Tensor y = unwritten(dy.shape()), dx = unwritten(x.shape()), dw = unwritten(w.shape());
  if (conv::by_winograd(p)) {
    conv::forward_winograd(p, x, w, nullptr, y), conv::input_gradient_winograd(p, w, dy, {dx.data(), 0});
    conv::weight_gradient_winograd(p, x, dy, {dw.data(), 0});
  } else {
    conv::forward_lines(p, x, w, nullptr, y), conv::input_gradient_lines(p, w, dy, {dx.data(), 0});
    conv::weight_gradient_lines(p, x, dy, {dw.data(), 0});
  }
  std::vector<float> all(y.values().begin(), y.values().end());
  all.insert(all.end(), dx.values().begin(), dx.values().end());
  all.insert(all.end(), dw.values().begin(), dw.values().end());
  return all;
}

TEST_CASE("conv: any number of threads gives the same bits") {
  const int before = parallel::threads();
  for (const Case& c : std::vector<Case>{{1, 17, 16, 16, 16, 3, 3, conv_options(1, 1)},
                                         {1, 17, 16, 5, 9, 3, 3, conv_options(2, 1)},
                                         {3, 12, 13, 48, 32, 3, 3, conv_options(1, 1)},
                                         {3, 9, 10, 64, 80, 3, 3, conv_options(1, 1)},
                                         {6, 40, 41, 20, 8, 5, 5, conv_options(1, 2)}})
    for (const Precision p : {Precision::f32, Precision::bf16}) {
      if (p == Precision::bf16 && kernels().conv_lines_bf16.pair == 0) continue;
      const std::vector<float> one = all_of(c, p, 1);
      for (const int threads : {2, 3, 5})
        CHECK_MESSAGE(all_of(c, p, threads) == one, text(c), ", ", threads, " threads");
    }
  parallel::set_threads(before);
}

}  // namespace
}  // namespace tessera
