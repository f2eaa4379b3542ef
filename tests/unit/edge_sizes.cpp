// Sizes nobody means to have: maps without cells, layers without inputs, tables without rows, batches without samples, and numbers at the ends
// of their range. Each gives what the formula says, or says why not.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/concat.h"
#include "tessera/core/ops/conv.h"
#include "tessera/core/ops/deform_conv.h"
#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/pool.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/core/tape.h"
#include "tessera/nn/params.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using test::error_of;
bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

/// Memory as a pool may hand it out again.
void spoil() {
  for (const int n : {4, 12, 24, 48, 128}) full({n}, std::numeric_limits<double>::quiet_NaN());
}

TEST_CASE("edge sizes: a map without cells is pooled by nobody") {
  for (const Shape& s : {Shape{2, 0, 8, 16}, Shape{2, 8, 0, 16}}) {
    CHECK(has(error_of([&] { max_pool2d(Tensor(s), {.kernel = 2, .stride = 1, .padding = 1}); }), "without cells"));
    CHECK(has(error_of([&] { avg_pool2d(Tensor(s), {.kernel = 2, .stride = 1, .padding = 1}); }), "without cells"));
    CHECK(has(error_of([&] { adaptive_avg_pool2d(Tensor(s), 1, 1); }), "without cells"));
  }
  // a window of half the integers that holds the whole map
  constexpr int most = std::numeric_limits<int>::max();
  const PoolOptions all{.kernel = most, .stride = most, .padding = most / 2};
  const Tensor x = full({1, 4, 4, 1}, 2);
  const Tensor largest = max_pool2d(x, all), mean = avg_pool2d(x, all);
  REQUIRE(largest.shape() == Shape{1, 1, 1, 1});
  CHECK(largest[0] == 2);
  CHECK(mean[0] > 0);
  CHECK(mean[0] < 1e-16);
}

TEST_CASE("edge sizes: without an input a layer's output is its bias, and the bias has a gradient") {
  Params params(1);
  const Tensor b = Scope(params).param("b", {4}, constant(1));
  for (const bool convolution : {false, true}) {
    spoil();
    Tape tape;
    const Tensor y = convolution ? conv2d(Tensor(Shape{1, 3, 5, 0}), Tensor(Shape{4, 0, 1, 1}), b, conv_options(2, 0))
                                 : linear(Tensor(Shape{6, 0}), Tensor(Shape{4, 0}), b);
    REQUIRE(y.size() == 24);
    for (const real v : y.values()) CHECK(v == 1);
    Grads grads;
    tape.backward(sum(y), grads);
    for (const real v : grads.of(b).values()) CHECK(v == 6);
  }
}

TEST_CASE("edge sizes: a kernel that is larger than the map by more than an int holds is refused") {
  const Tensor x = zeros({1, 8, 8, 1}), w = zeros({1, 1, 5, 5});
  const ConvOptions o = conv_options(1, 0, 1, 1 << 30);
  CHECK(has(error_of([&] { conv2d(x, w, {}, o); }), "larger than the padded"));
  CHECK(has(error_of([&] { deform_conv2d(x, zeros({1, 8, 8, 50}), {}, w, {}, o); }), "larger than the padded"));
}

TEST_CASE("edge sizes: reshape takes one -1 and no other extent below 0") {
  const Tensor x = zeros({6});
  CHECK(x.reshape({-1, 3}).shape() == Shape{2, 3});
  CHECK(has(error_of([&] { x.reshape({-1, -1}); }), "-1"));
  CHECK(has(error_of([&] { x.reshape({-2, -3}); }), "-2"));
}

TEST_CASE(
    "edge sizes: rows of a table that has none are zeros; a class token before no sample has a gradient of zeros") {
  spoil();
  const Tensor rows = embedding(Tensor(Shape{0, 4}), std::vector<int32_t>{-1, -1, -1});
  REQUIRE(rows.shape() == Shape{3, 4});
  for (const real v : rows.values()) CHECK(v == 0);
  Params params(1);
  const Tensor token = Scope(params).param("token", {1, 1, 8}, constant(1));
  Tape tape;
  const Tensor y = prepend(token, Tensor(Shape{0, 3, 8}));
  CHECK(y.shape() == Shape{0, 4, 8});
  Grads grads;
  spoil();
  tape.backward(sum(y), grads);
  for (const real v : grads.of(token).values()) CHECK(v == 0);
}

TEST_CASE("edge sizes: a table that is looked up is not lent, so that a product with it keeps its panels") {
  Params params(1);
  const Tensor table = Scope(params).param("table", {4, 8}, constant(1));
  params.commit();
  REQUIRE(!table.leaf()->lent);
  embedding(table, std::vector<int32_t>{0, 3, -1});
  CHECK(!table.leaf()->lent);
}

TEST_CASE("edge sizes: logarithms of the smallest numbers, and squares that fp32 does not hold") {
  const std::vector<real> x = {std::numeric_limits<real>::denorm_min(), real(1e-42), real(1e-40), real(1.1e-38),
                               std::numeric_limits<real>::min(),        0,           -1,          1};
  std::vector<real> y(x.size());
  const std::vector<real> huge(1100, real(3e19));
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    const Kernels* k = kernels(isa);
    if (!k) continue;
    INFO("registers of " << k->lanes);
    k->log(x.data(), y.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < 5; ++i)
      CHECK(static_cast<double>(y[i]) == doctest::Approx(std::log(static_cast<double>(x[i]))).epsilon(1e-6));
    CHECK(y[5] == -std::numeric_limits<real>::infinity());
    CHECK(std::isnan(y[6]));
    CHECK(y[7] == 0);
    for (const int64_t n : {1, 64, 1024, 1100}) {
      double sum = 0;
      k->square_sum(huge.data(), &sum, n);
      CHECK(sum == doctest::Approx(static_cast<double>(n) * 9e38).epsilon(1e-6));
    }
  }
}

}  // namespace
}  // namespace tessera
