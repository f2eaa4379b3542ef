// Test-time augmentation: the mean of answers, against sums of answers to views that are made here pixel by pixel.
#include "tessera/train/training/views.h"

#include <algorithm>
#include <cmath>

#include "tessera/nn/weights.h"
#include "tessera/train/data/set.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/splits.h"
#include "tests/error_of.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

Tensor pictures(int B, int H, int W) {
  Tensor x({B, H, W, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(0.37 * static_cast<double>(i * i % 1009)));
  return x;
}

/// x moved down and to the right by so many pixels, the rest mirrored at the border, then mirrored left to right if asked for.
Tensor moved(const Tensor& x, int by, bool mirrored) {
  const auto [B, H, W, C] = x.dims<4>();
  const auto inside = [](int i, int n) {
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * n - 2 - i;
    return i;
  };
  Tensor y(x.shape());
  for (int b = 0; b < B; ++b)
    for (int i = 0; i < H; ++i)
      for (int j = 0; j < W; ++j)
        for (int c = 0; c < C; ++c) {
          const int to = mirrored ? W - 1 - j : j;
          y[((int64_t{b} * H + i) * W + to) * C + c] =
              x[((int64_t{b} * H + inside(i - by, H)) * W + inside(j - by, W)) * C + c];
        }
  return y;
}

/// Of three classes that noise does not tell apart, but the colour of the left half does.
data::Set noisy_pictures(size_t n) {
  data::Set set;
  set.name = "pictures", set.class_names = {"a", "b", "c"}, set.classes = 3;
  set.h = set.w = 32, set.channels = 3;
  set.stats.mean = {0.5f, 0.5f, 0.5f, 0}, set.stats.std = {0.3f, 0.3f, 0.3f, 1};
  const rng::Stream random(n);
  std::vector<uint8_t> pixels(n * set.bytes());
  Index labels;
  for (size_t i = 0; i < n; ++i) {
    labels.push_back(static_cast<int>(i % 3)), set.rows.push_back(static_cast<int>(i));
    for (size_t p = 0; p < set.bytes(); ++p) {
      const bool marked = p % 3 == i % 3 && p / 3 % 32 < 16;
      pixels[i * set.bytes() + p] = static_cast<uint8_t>(random.bits(i * set.bytes() + p) % 200 + (marked ? 55 : 0));
    }
  }
  set.pixels = std::make_shared<const std::vector<uint8_t>>(std::move(pixels));
  set.labels = std::make_shared<const Index>(std::move(labels));
  set.digest = "of the test";
  return set;
}

struct Net {
  Params params{1};
  std::unique_ptr<Model> model = tessera::model("vit").make(
      Scope(params), {{"img_size", 8}, {"img_width", 12}, {"embed_dim", 16}, {"depth", 1}, {"num_heads", 2}},
      position("learned"));
  Net() {
    const rng::Stream random(3);
    uint64_t n = 0;
    for (const auto& e : params.entries())
      for (real& v : e.value.values()) v += static_cast<real>(0.3 * random.normal(n++));
    params.commit();
  }
  std::vector<double> logits(const Tensor& x) const {
    const Tensor z = model->forward(Run{}, x).logits;
    return {z.values().begin(), z.values().end()};
  }
};

}  // namespace

TEST_CASE("tta: flip and flip_shift are the weighted sums of single answers") {
  const Net net;
  const Tensor x = pictures(3, 8, 12);
  const auto mean = [&](std::initializer_list<std::pair<double, Tensor>> parts) {
    std::vector<double> sum;
    for (const auto& [weight, view] : parts) {
      const auto z = net.logits(view);
      sum.resize(z.size());
      for (size_t i = 0; i < z.size(); ++i) sum[i] += weight * z[i];
    }
    return sum;
  };
  const auto check = [&](const char* tta, const std::vector<double>& expected) {
    CAPTURE(std::string(tta));
    const Tensor z = Views(*net.model, tta).forward(Run{}, x).logits;
    REQUIRE(z.shape() == Shape{3, 10});
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK(static_cast<double>(z[static_cast<int64_t>(i)]) == doctest::Approx(expected[i]).epsilon(1e-5));
  };
  CHECK(std::ranges::equal(moved(x, 0, false).values(), x.values()));
  check("none", mean({{1, x}}));
  check("flip", mean({{0.5, x}, {0.5, moved(x, 0, true)}}));
  check("flip_shift", mean({{0.25, x},
                            {0.25, moved(x, 0, true)},
                            {0.125, moved(x, -1, false)},
                            {0.125, moved(x, -1, true)},
                            {0.125, moved(x, 1, false)},
                            {0.125, moved(x, 1, true)}}));
  CHECK(mean({{1, x}}) != mean({{1, moved(x, 1, false)}}));  // the views are told apart
}

TEST_CASE("tta: weights of the views sum to 1, an unknown word is refused with the nearest") {
  for (const char* tta : {"none", "flip", "flip_shift"}) {
    double sum = 0;
    for (const ImageView& v : views(tta)) sum += v.weight;
    CHECK(sum == 1);
  }
  CHECK(evaluations("none") == 1);
  CHECK(evaluations("flip") == 3);
  CHECK(evaluations("flip_shift") == 7);
  CHECK(has(error_of([] { views("flipshift"); }), "flip_shift"));
  CHECK(has(error_of([] { seen({.down = 3}, pictures(1, 3, 5)); }), "cannot be moved"));
}

TEST_CASE("tta: a run tells the plain figure and that of the views, which changes no bit of it") {
  const Scratch scratch;
  RunConfig c = tiny(1);
  c.data = {};
  RunParts parts;
  parts.train = std::make_shared<const data::Set>(noisy_pictures(72)),
  parts.test = std::make_shared<const data::Set>(noisy_pictures(40));
  const RunResult plain = train_run(c, scratch / "plain", false, {}, parts);
  CHECK(plain.tta_test_acc1 == -1);
  CHECK_FALSE(summary(scratch / "plain").contains("tta"));
  c.train.tta = "flip_shift";
  std::string said;
  Hooks hooks;
  hooks.say = [&](std::string_view line) { said += std::string(line) + "\n"; };
  const RunResult views = train_run(c, scratch / "views", false, hooks, parts);
  CHECK(views.test_acc1 == plain.test_acc1);
  CHECK(summary(scratch / "views")["test_acc1"] == plain.test_acc1);
  CHECK(summary(scratch / "views")["tta"] == "flip_shift");
  CHECK(summary(scratch / "views")["tta_test_acc1"] == views.tta_test_acc1);
  CHECK(has(said, "test (flip_shift) "));
  CHECK(bytes(scratch / "views" + "/weights.safetensors") == bytes(scratch / "plain" + "/weights.safetensors"));
  CHECK(said_by(scratch / "views/last.ckpt", "config") == said_by(scratch / "plain/last.ckpt", "config"));
  // the figure is that of the final weights
  Params params(9);
  const ModelRow& row = tessera::model("vit");
  Options options = c.model_options;
  fit(row, options, {"pictures", parts.test->form(), 3});
  const auto net = row.make(Scope(params), options, position("learned"));
  io::load(params, scratch / "views" + "/weights.safetensors");
  CHECK(evaluate(Views(*net, "flip_shift"), *parts.test).acc1 == views.tta_test_acc1);
}

TEST_CASE("tta: what has no views is refused with one line") {
  const auto refused = [](const char* spec, const char* tta) {
    DataConfig data;
    data.name = spec, data.train_size = 24, data.test_size = 8;
    return error_of([&] { check_views(tta, *open_splits(data).test, "train.tta"); });
  };
  CHECK(has(refused("sequences:reverse", "flip"), "train.tta=flip is a mean over views of an image"));
  CHECK(has(refused("where:quadrant", "flip"), "flip would destroy the labels"));
  CHECK(has(refused("where:quadrant", "flip_shift"), "; leave it out"));
  CHECK(refused("where:quadrant", "none").empty());
  RunConfig c = tiny(1);
  c.data = {}, c.train.tta = "flip";
  RunParts parts;
  parts.train = std::make_shared<const data::Set>(noisy_pictures(72));
  CHECK(has(error_of([&] { train_run(c, "", false, {}, parts); }), "there are no test samples"));
}

}  // namespace tessera::test
