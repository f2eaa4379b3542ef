// Swin: windows as index lists and labels, merging, parameter counts, and what must not leak.
#include "tessera/models/swin.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/ops/slice.h"
#include "tessera/nn/windows.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

TWIN_CASE("windows: region labels of the shifted map") {
  // the label of map cell (y, x) of the shifted map, read off the window that holds it
  const auto labels = [](int n, int M, int s) {
    const Pattern p = windows({n, n, 0}, {M, M, s, s});
    Index map(static_cast<size_t>(n * n));
    for (int g = 0, i = 0; g < p->groups; ++g)
      for (int a = 0; a < M; ++a)
        for (int b = 0; b < M; ++b, ++i)
          map[static_cast<size_t>((g / (n / M) * M + a) * n + g % (n / M) * M + b)] =
              p->label_q[static_cast<size_t>(i)];
    return map;
  };
  CHECK(labels(4, 2, 1) == Index{0, 0, 1, 2, 0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8});
  const Index eight = labels(8, 4, 2);
  const auto row = [&](int y) { return Index(eight.begin() + 8 * y, eight.begin() + 8 * y + 8); };
  for (int y = 0; y < 4; ++y) CHECK(row(y) == Index{0, 0, 0, 0, 1, 1, 2, 2});
  for (int y = 4; y < 6; ++y) CHECK(row(y) == Index{3, 3, 3, 3, 4, 4, 5, 5});
  for (int y = 6; y < 8; ++y) CHECK(row(y) == Index{6, 6, 6, 6, 7, 7, 8, 8});
  // masks of 4 x 4, M = 2, s = 1: window 0 free, 1 same column, 2 same row, 3 only itself
  const Pattern p = windows({4, 4, 0}, {2, 2, 1, 1});
  for (int w = 0; w < 4; ++w)
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        const bool sees = p->label_q[static_cast<size_t>(4 * w + i)] == p->label_k[static_cast<size_t>(4 * w + j)];
        const bool want = w == 0 || (w == 1 ? i % 2 == j % 2 : w == 2 ? i / 2 == j / 2 : i == j);
        CHECK(sees == want);
      }
}

TWIN_CASE("windows: every token once, shrinking, padding") {
  for (const auto& [h, w, M] :
       {std::tuple(8, 8, 4), {7, 9, 4}, {5, 3, 4}, {4, 4, 4}, {2, 2, 7}, {1, 1, 4}, {3, 16, 4}}) {
    for (bool shifted : {false, true}) {
      const Window window = window_of({h, w, 0}, M, shifted);
      CHECK(window.h == std::min(h, M));
      CHECK((h > M && shifted) == (window.shift_y > 0));
      const Pattern p = windows({h, w, 0}, window);
      std::vector<int> seen(static_cast<size_t>(h * w));
      for (int t : p->q)
        if (t >= 0) ++seen[static_cast<size_t>(t)];
      CHECK(seen == std::vector<int>(seen.size(), 1));
      // tokens that see each other are neighbours on the map: no wrap-around, whatever the size
      for (int g = 0; g < p->groups; ++g)
        for (int i = 0; i < p->n; ++i)
          for (int j = 0; j < p->n; ++j) {
            const auto a = static_cast<size_t>(g * p->n + i), b = static_cast<size_t>(g * p->n + j);
            if (p->q[a] < 0 || p->k[b] < 0 || (!p->label_q.empty() && p->label_q[a] != p->label_k[b])) continue;
            CHECK(std::abs(p->q[a] / w - p->k[b] / w) < window.h);
            CHECK(std::abs(p->q[a] % w - p->k[b] % w) < window.w);
          }
    }
  }
}

TWIN_CASE("windows: a perturbed token changes exactly the tokens that may see it") {
  const Grid map{7, 6, 0};
  const Window window = window_of(map, 4, true);
  const Pattern p = windows(map, window);
  Tensor x({1, 42, 24});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(static_cast<double>(i * i % 101)));
  const auto run = [&](const Tensor& t) {
    return attention({heads(t, 2, 0, 3), heads(t, 2, 1, 3), heads(t, 2, 2, 3), p, 0.5}, {}, {});
  };
  const Tensor before = run(x);
  for (int token : {0, 5, 17, 41}) {
    Tensor y = x.copy();
    for (int c = 0; c < 24; ++c) y[token * 24 + c] += 1;
    const Tensor after = run(y);
    std::vector<char> may(42);
    for (int g = 0; g < p->groups; ++g)
      for (int j = 0; j < p->n; ++j) {
        const auto b = static_cast<size_t>(g * p->n + j);
        if (p->k[b] != token) continue;
        for (int i = 0; i < p->n; ++i) {
          const auto a = static_cast<size_t>(g * p->n + i);
          if (p->q[a] >= 0 && (p->label_q.empty() || p->label_q[a] == p->label_k[b]))
            may[static_cast<size_t>(p->q[a])] = 1;
        }
      }
    for (int t = 0; t < 42; ++t) {
      bool same = true;
      for (int c = 0; c < 8; ++c) same = same && before[t * 8 + c] == after[t * 8 + c];
      CHECK(same == !may[static_cast<size_t>(t)]);
    }
  }
}

TWIN_CASE("patch merging: row before column") {
  Params params;
  swin::PatchMerging merge(Scope(params), 1);
  // reduction that reads each of the four positions; the norm's input order shows in its weight's gradient
  Tensor x({1, 4, 1});
  for (int i = 0; i < 4; ++i) x[i] = static_cast<real>(i * i + 1);  // a b / c d = 1 2 / 5 10
  const Tensor w = params.find("reduction.weight")->value;
  for (int o = 0; o < 2; ++o)
    for (int i = 0; i < 4; ++i) w[4 * o + i] = i == o;
  params.commit();
  Grid map{2, 2, 0};
  const Tensor y = merge({}, x, map);
  CHECK(map == Grid{1, 1, 0});
  const double mean = 4.5, sd = std::sqrt((12.25 + 6.25 + 0.25 + 30.25) / 4 + 1e-5);
  CHECK(static_cast<double>(y[0]) == doctest::Approx((1 - mean) / sd).epsilon(1e-5));
  CHECK(static_cast<double>(y[1]) == doctest::Approx((5 - mean) / sd).epsilon(1e-5));  // c comes second
}

TWIN_CASE("swin: parameter count of Swin-T, names, odd sizes") {
  const ModelRow& tiny = model("swin_tiny_patch4_window7_224");
  Params params(1);
  const auto net = tiny.make(Scope(params), {}, position(tiny.position));
  CHECK(params.count() == 28'288'354);
  for (const char* name : {"patch_embed.norm.weight", "layers.1.downsample.reduction.weight",
                           "layers.3.blocks.1.attn.relative_position_bias_table", "head.fc.bias"})
    CHECK_MESSAGE(params.find(name), name);

  Params small(1);
  const ModelRow& row = model("swin");
  const auto cifar = row.make(Scope(small), {{"img_size", 20}, {"img_width", 28}}, position("relative_position_bias"));
  Tensor image({2, 20, 28, 3});
  for (int64_t i = 0; i < image.size(); ++i) image[i] = static_cast<real>(std::sin(static_cast<double>(i % 977)));
  Input input(image);
  input.features = true;
  const Output out = cifar->forward({}, input);
  CHECK(out.logits.shape() == Shape{2, 10});
  REQUIRE(out.stages.size() == 2);
  CHECK(out.stages[1].shape() == Shape{2, 5, 7, 96});
}

Options two_stages(int img_size, int window_size) {
  return {{"img_size", img_size},
          {"patch_size", 2},
          {"window_size", window_size},
          {"num_classes", 3},
          {"embed_dim", 8},
          {"depths", std::vector<int>{2, 2}},
          {"num_heads", std::vector<int>{2, 2}}};
}

TWIN_CASE("swin: built for one window a map, on a larger image each part is a picture of its own") {
  for (const char* family : {"swin", "swin_v2"}) {
    CAPTURE(family);
    const ModelRow& row = model(family);
    Params params(1);
    const auto net = row.make(Scope(params), two_stages(16, 8), position(row.position));  // maps of 8 and 4
    walk::redraw(params);
    const auto maps = [&](const Tensor& image) {
      Input in(image);
      in.features = true;
      return net->forward({}, in).stages;
    };
    const auto part = [](const Tensor& map, int y, int x, int side) {
      return slice(slice(map, 1, y * side, (y + 1) * side), 2, x * side, (x + 1) * side);
    };
    const Tensor image = walk::random_image(1, 32, 32, 3);
    const auto whole = maps(image);
    for (int y = 0; y < 2; ++y)
      for (int x = 0; x < 2; ++x) {
        const auto alone = maps(part(image, y, x, 16));
        for (size_t s = 0; s < 2; ++s)
          CHECK(walk::farthest(part(whole[s], y, x, 8 >> s), alone[s]) <= (sizeof(real) == 8 ? 1e-13 : 1e-5));
      }
  }
}

TWIN_CASE("swin: windows and shifts are those of the built model, unless a map is smaller") {
  struct Watcher final : PositionEncoding {
    int* calls;
    explicit Watcher(int* count) : calls(count) {}
    Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
      const Window &is = now.window, &built = s.trained.window;
      CHECK(is.h == std::min(now.q.h, built.h));
      CHECK(is.w == std::min(now.q.w, built.w));
      CHECK(is.shift_y == (now.q.h > built.h ? built.shift_y : 0));
      CHECK(is.shift_x == (now.q.w > built.w ? built.shift_x : 0));
      ++*calls;
      return {};
    }
  };
  for (const char* family : {"swin", "swin_v2"})
    for (const int built : {8, 16, 32}) {
      Params params(1);
      int calls = 0;
      const auto net = model(family).make(Scope(params), two_stages(built, 4), [&](const Scope&, const Places&) {
        return std::make_unique<Watcher>(&calls);
      });
      walk::redraw(params);
      for (const auto& [h, w] : {std::pair(8, 8), {4, 12}, {16, 16}, {24, 40}, {64, 32}})
        for (const real v : net->forward({}, walk::random_image(1, h, w, 3)).logits.values()) CHECK(std::isfinite(v));
      CHECK(calls == 5 * 4);
    }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
