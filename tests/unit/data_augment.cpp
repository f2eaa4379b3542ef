// Augmentation, one operation at a time, against what it must do by definition.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>

#include "tessera/train/data/augment.h"
#include "tessera/train/data/draw.h"

using namespace tessera;
using namespace tessera::data;

namespace {

// One picture whose pixel (y, x) has the channels (y, x, 7), so that moves can be read off; identity normalisation to
// v.
data::Set coordinates(int h, int w) {
  data::Set set;
  set.h = h, set.w = w, set.channels = 3, set.classes = 1;
  std::vector<uint8_t> pixels;
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      for (int v : {y + 1, x + 1, 7}) pixels.push_back(static_cast<uint8_t>(v));
  set.pixels = std::make_shared<const std::vector<uint8_t>>(pixels);
  set.labels = std::make_shared<const Index>(Index{0});
  set.rows = {0};
  set.stats.mean = {0, 0, 0, 0};
  set.stats.std = {1 / 255.0f, 1 / 255.0f, 1 / 255.0f, 1};
  return set;
}

size_t operation(const std::string& name) {
  const auto names = randaugment_operations();
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return i;
  FAIL("no operation " << name);
  return 0;
}

std::vector<uint8_t> run(const std::string& name, double magnitude, bool negative, int h, int w, int c,
                         std::vector<uint8_t> pixels) {
  std::vector<uint8_t> scratch;
  const std::vector<uint8_t> fill{9, 9, 9};
  randaugment_operation(operation(name), magnitude, negative, h, w, c, pixels.data(), fill, scratch);
  return pixels;
}

std::vector<uint8_t> random_picture(int n, uint64_t seed) {
  std::vector<uint8_t> p(static_cast<size_t>(n));
  const rng::Stream stream(seed);
  for (size_t i = 0; i < p.size(); ++i) p[i] = static_cast<uint8_t>(stream.bits(i));
  return p;
}

}  // namespace

TEST_CASE("augment: crop moves by up to its size in each direction, evenly, and brings in zeros; flip mirrors") {
  const int h = 9, w = 7;
  const data::Set set = coordinates(h, w);
  Pipeline pipeline({.crop = 2, .flip = true}, set);
  std::map<std::tuple<int, int, bool>, int> seen;
  std::vector<real> out(set.bytes());
  const int draws = 10'000;
  for (int n = 0; n < draws; ++n) {
    pipeline.apply(0, rng::Stream(rng::mix(static_cast<uint64_t>(n))), out.data());
    // the middle is always visible: read the move off it, then check every pixel
    const size_t middle = static_cast<size_t>((4 * w + 3) * 3), right = middle + 3;
    const int y = static_cast<int>(std::lround(out[middle])) - 1,
              x = static_cast<int>(std::lround(out[middle + 1])) - 1;
    const bool mirrored = out[right + 1] < out[middle + 1];
    const int dy = y - 4, dx = x - 3;
    ++seen[{dy, dx, mirrored}];
    for (int i = 0; i < h; ++i)
      for (int j = 0; j < w; ++j) {
        const int sy = i + dy, sx = (mirrored ? 3 - (j - 3) : j) + dx;
        const bool inside = sy >= 0 && sy < h && sx >= 0 && sx < w;
        const real* p = &out[static_cast<size_t>((i * w + j) * 3)];
        REQUIRE(std::lround(p[0]) == (inside ? sy + 1 : 0));
        REQUIRE(std::lround(p[1]) == (inside ? sx + 1 : 0));
        REQUIRE(std::lround(p[2]) == (inside ? 7 : 0));
      }
  }
  CHECK(seen.size() == 50);  // 25 moves, mirrored or not: 200 each, 5 sigma = 70
  for (const auto& [key, n] : seen) CHECK(std::abs(n - draws / 50) < 70);
}

TEST_CASE(
    "augment: a crop with reflected padding is a window of numpy's pad(mode = \"reflect\"), whichever way it is "
    "flipped") {
  const int h = 6, w = 5, pad = 4;  // as far as a mirror reaches in 5 columns
  const data::Set set = coordinates(h, w);
  // numpy: np.pad(np.arange(6), 4, "reflect") and np.pad(np.arange(5), 4, "reflect")
  const int rows[] = {4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 4, 3, 2, 1}, columns[] = {4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0};
  Pipeline pipeline({.crop = pad, .padding_mode = "reflect", .flip = true}, set),
      zeros({.crop = pad, .flip = true}, set);
  std::vector<real> out(set.bytes()), with_zeros(set.bytes());
  std::map<std::tuple<int, int, bool>, int> seen;
  for (uint64_t n = 0; n < 4000; ++n) {
    const rng::Stream stream(rng::mix(n));
    pipeline.apply(0, stream, out.data());
    zeros.apply(0, stream, with_zeros.data());
    // the draws are the first two numbers of the stream, and the coin is the third
    Draw draw(stream);
    const int top = static_cast<int>(draw.below(2 * pad + 1)), left = static_cast<int>(draw.below(2 * pad + 1));
    const bool mirrored = draw.coin(0.5);
    ++seen[{top, left, mirrored}];
    for (int i = 0; i < h; ++i)
      for (int j = 0; j < w; ++j) {
        const auto at = static_cast<size_t>((i * w + j) * 3);
        REQUIRE(std::lround(out[at]) == rows[top + i] + 1);
        REQUIRE(std::lround(out[at + 1]) == columns[left + (mirrored ? w - 1 - j : j)] + 1);
        REQUIRE((with_zeros[at + 2] == 0 || with_zeros[at] == out[at]));  // where there are no zeros nothing differs
      }
  }
  CHECK(seen.size() == 2 * (2 * pad + 1) * (2 * pad + 1));
}

TEST_CASE("augment: erasing touches one box of the allowed size") {
  const data::Set set = coordinates(32, 32);
  Pipeline plain({}, set), erasing({.erase = 1}, set), half({.erase = 0.5}, set);
  std::vector<real> x(set.bytes()), y(set.bytes());
  int touched = 0;
  for (uint64_t n = 0; n < 500; ++n) {
    const rng::Stream stream(rng::mix(n));
    plain.apply(0, stream, x.data());
    erasing.apply(0, stream, y.data());
    int top = 32, left = 32, bottom = -1, right = -1, changed = 0;
    for (int i = 0; i < 32 * 32; ++i)
      if (x[static_cast<size_t>(3 * i)] != y[static_cast<size_t>(3 * i)]) {
        top = std::min(top, i / 32), bottom = std::max(bottom, i / 32);
        left = std::min(left, i % 32), right = std::max(right, i % 32), ++changed;
      }
    CHECK(changed == (bottom - top + 1) * (right - left + 1));
    CHECK(changed >= 15);   // 2 % of 1024, less by rounding each side
    CHECK(changed <= 365);  // a third, more by rounding
    half.apply(0, stream, y.data());
    touched += x != y;
  }
  CHECK(std::abs(touched - 250) < 56);  // 5 sigma
}

TEST_CASE("randaugment: operations do what their names say") {
  const int h = 20, w = 18;
  const auto p = random_picture(h * w * 3, 4);
  CHECK(randaugment_operations().size() == 15);
  // strength 0 changes nothing where the operation has a strength that starts at nothing
  for (const char* name : {"Rotate", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness",
                           "ShearX", "ShearY", "TranslateX", "TranslateY"}) {
    CAPTURE(std::string(name));
    CHECK(run(name, 0, false, h, w, 3, p) == p);
  }
  // every operation changes a random picture at full strength, also a grey one (but for colour), and stays in its
  // memory
  const auto grey = random_picture(h * w, 5);
  for (const char* name : randaugment_operations()) {
    CAPTURE(std::string(name));
    auto low = p;  // no full range, so that AutoContrast has something to do
    for (auto& v : low) v = static_cast<uint8_t>(20 + v / 2);
    CHECK(run(name, 10, true, h, w, 3, low) != low);
    auto g = grey;
    for (auto& v : g) v = static_cast<uint8_t>(20 + v / 2);
    CHECK((run(name, 10, true, h, w, 1, g) != g) == (std::string(name) != "Color"));
  }
  auto inverted = run("Invert", 5, false, h, w, 3, p);
  for (size_t i = 0; i < p.size(); ++i) REQUIRE(inverted[i] == 255 - p[i]);
  auto posterized = run("Posterize", 5, false, h, w, 3, p);
  for (size_t i = 0; i < p.size(); ++i) REQUIRE(posterized[i] == (p[i] & 0xc0));
  auto solarized = run("Solarize", 5, false, h, w, 3, p);
  for (size_t i = 0; i < p.size(); ++i) REQUIRE(solarized[i] == (p[i] >= 128 ? 255 - p[i] : p[i]));
  auto dark = run("Brightness", 10, true, h, w, 3, p);
  for (size_t i = 0; i < p.size(); ++i) REQUIRE(std::abs(dark[i] - 0.1 * p[i]) <= 0.51);
}

TEST_CASE("randaugment: moves by whole pixels are exact, full turns keep the centre") {
  const int h = 10, w = 20;
  const auto p = random_picture(h * w * 3, 6);
  // 0.45 * 20 = 9 pixels at full strength
  const auto moved = run("TranslateX", 10, false, h, w, 3, p);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      for (int c = 0; c < 3; ++c) {
        const int expected = x + 9 < w ? p[static_cast<size_t>((y * w + x + 9) * 3 + c)] : 9;
        REQUIRE(moved[static_cast<size_t>((y * w + x) * 3 + c)] == expected);
      }
  std::vector<uint8_t> dot(11 * 11, 0);
  dot[5 * 11 + 5] = 255;
  CHECK(run("Rotate", 10, false, 11, 11, 1, dot)[5 * 11 + 5] == 255);
  CHECK(run("ShearX", 10, true, 11, 11, 1, dot)[5 * 11 + 5] == 255);
}

TEST_CASE("randaugment: contrast operations on known distributions") {
  std::vector<uint8_t> ramp(256);
  std::iota(ramp.begin(), ramp.end(), 0);
  CHECK(run("AutoContrast", 0, false, 16, 16, 1, ramp) == ramp);
  CHECK(run("Equalize", 0, false, 16, 16, 1, ramp) == ramp);
  std::vector<uint8_t> narrow(ramp);
  for (auto& v : narrow) v = static_cast<uint8_t>(100 + v / 4);
  const auto stretched = run("AutoContrast", 0, false, 16, 16, 1, narrow);
  CHECK(stretched.front() == 0);
  CHECK(stretched.back() == 255);
  const std::vector<uint8_t> flat(64 * 3, 77);
  for (const char* name : {"AutoContrast", "Equalize", "Color", "Contrast", "Sharpness"}) {
    CAPTURE(std::string(name));
    CHECK(run(name, 10, false, 8, 8, 3, flat) == flat);
  }
  const auto mean_of = [](const std::vector<uint8_t>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
  };
  const auto softened = run("Contrast", 10, true, 16, 16, 1, ramp);
  CHECK(mean_of(softened) == doctest::Approx(mean_of(ramp)).epsilon(0.01));
  CHECK(softened.back() - softened.front() <= 27);
}

TEST_CASE("randaugment: each operation with its probability, none when it is zero") {
  const auto p = random_picture(16 * 16 * 3, 8);
  const std::vector<uint8_t> fill{9, 9, 9};
  std::vector<uint8_t> scratch;
  int changed = 0, never = 0;
  for (uint64_t n = 0; n < 1000; ++n) {
    auto a = p, b = p;
    randaugment({.randaug_n = 1}, 16, 16, 3, a.data(), fill, rng::Stream(rng::mix(n)), scratch);
    randaugment({.randaug_n = 3, .randaug_prob = 0}, 16, 16, 3, b.data(), fill, rng::Stream(rng::mix(n)), scratch);
    changed += a != p;
    never += b != p;
  }
  // half of the draws run; AutoContrast and one or two others may leave a picture of full range as it is
  CHECK(changed > 380);
  CHECK(changed < 580);
  CHECK(never == 0);
}

TEST_CASE("mix: targets are shares, cutmix's share is the area that stayed") {
  const int B = 7, h = 8, w = 8, K = 10;
  std::vector<int32_t> labels{0, 1, 2, 3, 4, 5, 6};
  int mixups = 0, cuts = 0;
  for (uint64_t n = 0; n < 200; ++n) {
    Tensor x({B, h, w, 1}), t({B, K});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(i / (h * w));  // sample b is all b
    mix({.mixup = 0.8, .cutmix = 1}, x, labels, t, rng::Stream(rng::mix(n)));
    bool cut = true;
    for (int64_t i = 0; i < x.size(); ++i) cut = cut && x[i] == std::round(x[i]);
    (cut ? cuts : mixups)++;
    for (int b = 0; b < B; ++b) {
      double sum = 0, own = 0;
      for (int k = 0; k < K; ++k) sum += static_cast<double>(t[b * K + k]);
      for (int i = 0; i < h * w; ++i) own += static_cast<double>(x[b * h * w + i]);
      CHECK(sum == doctest::Approx(1));
      // the mean pixel is lambda b + (1 - lambda) (B - 1 - b), and so is the mean of the target's classes
      const double lambda = static_cast<double>(t[b * K + b]);
      const double expected = b == B - 1 - b ? b : lambda * b + (1 - lambda) * (B - 1 - b);
      CHECK(own / (h * w) == doctest::Approx(expected).epsilon(1e-5));
    }
  }
  CHECK(std::abs(cuts - 100) < 36);  // 5 sigma
}

TEST_CASE("mix: without luck the batch stays and targets are one-hot") {
  Tensor x({2, 1, 1, 1}), t({2, 3});
  x[0] = 1, x[1] = 2;
  const std::vector<int32_t> labels{2, 0};
  mix({.mixup = 1, .mix_prob = 0}, x, labels, t, rng::Stream(1));
  CHECK(x[0] == 1);
  CHECK(t[2] == 1);
  CHECK(t[3] == 1);
  CHECK(t[0] + t[1] + t[4] + t[5] == 0);
}

TEST_CASE("draw: gamma and beta have their means and variances") {
  for (double alpha : {0.2, 0.8, 1.0, 4.0}) {
    Draw draw(rng::Stream(rng::mix(static_cast<uint64_t>(alpha * 10))));
    const int n = 40'000;
    double sum = 0, squares = 0, gammas = 0;
    for (int i = 0; i < n; ++i) {
      const double b = draw.beta(alpha, alpha);
      CHECK(b >= 0);
      CHECK(b <= 1);
      sum += b, squares += b * b, gammas += draw.gamma(alpha);
    }
    const double variance = 1 / (4 * (2 * alpha + 1));
    CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(variance / n));
    CHECK(squares / n - 0.25 == doctest::Approx(variance).epsilon(0.03));
    CHECK(std::abs(gammas / n - alpha) < 5 * std::sqrt(alpha / n));
  }
}
