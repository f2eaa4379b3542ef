// Models that look at training images before their first step: the whitening of the speedrun's network.
#include "tessera/train/training/calibrate.h"

#include <cmath>

#include "tessera/models/airbench.h"
#include "tessera/nn/weights.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/splits.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

const Options small{{"widths", std::vector<int>{4, 6}}, {"num_classes", 4}};

std::shared_ptr<const data::Source> pictures(int n = 96) {
  DataConfig c;
  c.name = "where:quadrant", c.train_size = n, c.test_size = 16;
  return open_splits(c).train;
}

struct Net {
  Params params{1};
  std::unique_ptr<Model> model;
  explicit Net(Options more = {}) {
    more.insert(small.begin(), small.end());
    model = tessera::model("airbench").make(Scope(params), more, position("none"));
  }
  std::vector<real> filters() const {
    const auto w = params.find("whiten.weight")->value.read();
    return {w.begin(), w.end()};
  }
};

/// The mean of f_a f_b over all patches of the images, for all filters a and b of a kernel of k x k.
std::vector<double> moments(const std::vector<real>& filters, int k, const Tensor& x) {
  const auto [B, H, W, C] = x.dims<4>();
  const int n = C * k * k, width = static_cast<int>(filters.size()) / n;
  std::vector<double> sum(static_cast<size_t>(width * width)), f(static_cast<size_t>(width));
  double patches = 0;
  for (int b = 0; b < B; ++b)
    for (int y = 0; y + k <= H; ++y)
      for (int left = 0; left + k <= W; ++left, ++patches) {
        for (int a = 0; a < width; ++a) {
          f[static_cast<size_t>(a)] = 0;
          for (int c = 0; c < C; ++c)
            for (int i = 0; i < k; ++i)
              for (int j = 0; j < k; ++j)
                f[static_cast<size_t>(a)] +=
                    static_cast<double>(filters[static_cast<size_t>(((a * C + c) * k + i) * k + j)]) *
                    static_cast<double>(x[((int64_t{b} * H + y + i) * W + left + j) * C + c]);
        }
        for (int a = 0; a < width; ++a)
          for (int e = 0; e < width; ++e)
            sum[static_cast<size_t>(a * width + e)] += f[static_cast<size_t>(a)] * f[static_cast<size_t>(e)];
      }
  for (double& v : sum) v /= patches;
  return sum;
}

}  // namespace

TEST_CASE("calibrate: patches are white behind the first half of the filters, the second half is its negative") {
  const auto train = pictures();
  Index all(train->size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
  const Tensor images = data::gather(*train, all).in.x;
  for (const int k : {1, 2}) {
    CAPTURE(k);
    Net net({{"whiten_kernel_size", k}, {"whiten_eps", 1e-6}});
    std::vector<std::string> said;
    calibrate(*net.model, *train, said);
    CHECK(said == std::vector<std::string>{"calibrated on 96 training images"});
    const std::vector<real> w = net.filters();
    const size_t half = w.size() / 2, n = static_cast<size_t>(3 * k * k);
    for (size_t i = 0; i < half; ++i) CHECK(w[half + i] == -w[i]);
    const auto m = moments({w.begin(), w.begin() + static_cast<std::ptrdiff_t>(half)}, k, images);
    for (size_t a = 0; a < n; ++a)
      for (size_t b = 0; b < n; ++b) {
        // v' M v / (l + eps): 1 where the variance l is far above eps; where there is none it is less
        if (a != b) CHECK(std::abs(m[a * n + b]) < 1e-3);
        if (a == b) CHECK((m[a * n + a] > -1e-3 && m[a * n + a] < 1 + 1e-3));
      }
    CHECK(m[n * n - 1] == doctest::Approx(1).epsilon(1e-3));  // the largest variance is the last
  }
}

TEST_CASE(
    "calibrate: not all images need be shown; those that are lie evenly in the set; models that ask for none stay") {
  const auto train = pictures();
  Net all, some({{"whiten_images", 24}}), none({{"whiten_images", 0}}), by_hand;
  std::vector<std::string> said;
  calibrate(*all.model, *train, said), calibrate(*some.model, *train, said), calibrate(*none.model, *train, said);
  CHECK(said == std::vector<std::string>{"calibrated on 96 training images", "calibrated on 24 training images"});
  CHECK(all.filters() != some.filters());
  CHECK(none.filters() == by_hand.filters());
  Index every_fourth;
  for (int i = 0; i < 96; i += 4) every_fourth.push_back(i);
  int calls = 0;
  dynamic_cast<Calibrated&>(*by_hand.model).calibrate([&] {  // one by one: how they come does not matter
    const int i = calls++;
    return i < 24 ? data::gather(*train, std::span(every_fourth).subspan(static_cast<size_t>(i), 1)).in : Input();
  });
  CHECK(by_hand.filters() == some.filters());
  Params params(1);
  const auto vit = model("vit").make(Scope(params), {}, position("learned"));
  said.clear();
  calibrate(*vit, *train, said);
  CHECK(said.empty());
}

TEST_CASE("calibrate: a run does it once, for fresh weights; its filters are never trained, their bias is") {
  const Scratch scratch;
  RunConfig c;
  c.model = "airbench", c.position = "none", c.model_options = {{"widths", std::vector<int>{4, 6}}};
  c.data.name = "where:quadrant", c.data.train_size = 48, c.data.test_size = 16;
  c.train.epochs = 2, c.train.batch_size = 16, c.train.batchnorm = "batch";
  const auto weights = [&](const std::string& run, const char* name) {
    const Tensor t = io::TensorFile(run + "/weights.safetensors").read(name);
    return std::vector<real>(t.values().begin(), t.values().end());
  };
  std::string said;
  Hooks hooks;
  hooks.say = [&](std::string_view line) { said += std::string(line) + "\n"; };
  const std::string whole = scratch / "whole", parts = scratch / "parts", tuned = scratch / "tuned";
  train_run(c, whole, false, hooks);
  CHECK(said.find("calibrated on 48 training images") != std::string::npos);
  CHECK_FALSE(exists(whole + "/started_from.json"));
  Net fresh({{"num_classes", 4}});
  CHECK(weights(whole, "whiten.weight") != fresh.filters());
  std::vector<std::string> lines;
  calibrate(*fresh.model, *pictures(48), lines);
  CHECK(weights(whole, "whiten.weight") == fresh.filters());
  const auto value = [&](const char* name) { return fresh.params.find(name)->value.read(); };
  CHECK(!std::ranges::equal(weights(whole, "whiten.bias"), value("whiten.bias")));
  CHECK(std::ranges::equal(weights(whole, "layers.1.norm1.weight"), value("layers.1.norm1.weight")));
  CHECK(!std::ranges::equal(weights(whole, "layers.1.norm1.bias"), value("layers.1.norm1.bias")));
  // stopped and resumed: the filters are those of the checkpoint, and nothing is computed again
  c.train.max_steps = 2;
  train_run(c, parts, false);
  c.train.max_steps = 0, said.clear();
  train_run(c, parts, true, hooks);
  CHECK(said.find("calibrated") == std::string::npos);
  CHECK(bytes(parts + "/weights.safetensors") == bytes(whole + "/weights.safetensors"));
  // from weights: theirs, although the data are others
  c.train.weights = whole, c.data.seed = 7, said.clear();
  train_run(c, tuned, false, hooks);
  CHECK(said.find("calibrated") == std::string::npos);
  CHECK(weights(tuned, "whiten.weight") == weights(whole, "whiten.weight"));
}

}  // namespace tessera::test
