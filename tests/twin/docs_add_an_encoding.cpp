// The encoding of docs/add_an_encoding.md, from the code on that page: a query term with a projection of its own. It must be what the page
// says, in every model, by its row alone.
#include <cmath>

#include "tessera/core/io/replace_file.h"
#include "tessera/core/ops/activation.h"
#include "tessera/nn/position/encoding.h"
#include "tessera/nn/position/exact_linear.h"
#include "tessera/nn/position/pairs.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// file and row of the page, each a part of this file
#include "add_an_encoding.0.inc"
#include "add_an_encoding.1.inc"

// In a process of its own, which ctest starts with TESSERA_WALK=my_alibi: the tests of the registry then walk it and nothing else. (In
// the others its row, which has no page, would be in their way.)
const bool added = walk::walked_alone() == "my_alibi" && (add_position(my_alibi_row()), true);
const auto alone = doctest::skip(!added);

TWIN_CASE("docs/add_an_encoding.md: files and functions that it names exist") {
  const std::string page = io::read_file(TESSERA_SOURCE_DIR "/docs/add_an_encoding.md");
  for (const char* file : {"nn/position/registry.cpp", "nn/position/encoding.h", "docs/positions/index.md",
                           "tests/twin/position_walk.h", "tests/twin/position_goldens.cpp"}) {
    CHECK(page.find(file) != std::string::npos);
    CHECK(!io::read_file(std::string(TESSERA_SOURCE_DIR "/") + file).empty());
  }
}

TWIN_CASE_THAT(alone, "docs/add_an_encoding.md: golden numbers of its formula") {
  // a 2 x 2 grid, d = 4: logits of query 3, from an independent program
  const Layout grid = Layout::global({2, 2, 0});
  Params params;
  Places at;
  at.sites = {Site{0, 0, 0, 4, 1, 4, 0.5, grid, "attn"}};
  const auto encoding = position("my_alibi", {})(Scope(params), at);
  const double w[] = {0.5, -1, 0.25, 0.75};
  for (int c = 0; c < 4; ++c) params.find("attn.position.slope.weight")->value[c] = static_cast<real>(w[c]);
  params.commit();
  const auto input = [](double (*f)(int, int)) {
    Tensor t({1, 4, 4});
    for (int i = 0; i < 16; ++i) t[i] = static_cast<real>(f(i / 4, i % 4));
    return t;
  };
  const Tensor x = input([](int i, int c) { return std::cos(0.4 * (i + 1) * (c + 1)); });
  const Tensor q = input([](int i, int c) { return std::sin(0.3 * (i + 1) * (c + 1)); });
  const Tensor k = input([](int i, int c) { return std::cos(0.2 * (i + 1) * (c + 2)); });
  const Tensor p = attention_weights({heads(q, 1), heads(k, 1), heads(k, 1), global_pattern(4, 4), 0.5},
                                     encoding->terms(at.sites[0], grid, {x, x}, {}));
  const double L3[] = {-2.417311, -1.249820, -1.162229, 0.283803};
  for (int j = 0; j < 3; ++j)
    CHECK(std::abs(std::log(static_cast<double>(p[12 + j]) / static_cast<double>(p[15])) - (L3[j] - L3[3])) <
          (walk::twin ? 2.1e-6 : 1e-5));
}

TWIN_CASE_THAT(
    alone, "docs/add_an_encoding.md: it runs in every model, with gradients for all its weights, alone and composed") {
  for (const walk::Bench& bench : walk::benches())
    for (const char* name : {"my_alibi", "rope_axial+my_alibi", "relative_position_bias+my_alibi"}) {
      const std::string what = std::string(bench.title) + " " + name;
      INFO(what);
      Params params(3);
      const ModelRow& row = model(bench.family);
      const auto net = row.make(Scope(params), bench.options, position(name, {}));
      walk::redraw(params);
      const auto size = [&](const char* key) { return std::get<int>(bench.options.at(key)); };
      Tensor x({2, size("img_size"), size("img_width"), 2});
      for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(walk::normal_at("image", i));
      const auto loss = [&] {
        const NoGrad no_tape;
        const Tensor y = net->forward({}, x);
        double s = 0;
        for (int64_t i = 0; i < y.size(); ++i) s += static_cast<double>(y[i]) * std::cos(static_cast<double>(i));
        return s;
      };
      Tape tape;
      Grads grads;
      const Tensor y = net->forward({}, x);
      Tensor dy(y.shape());
      for (int64_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<real>(std::cos(static_cast<double>(i)));
      tape.backward(y, dy, grads);
      int slopes = 0;
      for (const auto& e : params.entries()) {
        if (!e.name.ends_with("slope.weight")) continue;
        ++slopes;
        REQUIRE(grads.has(e.value));
        if (!walk::twin) continue;
        const int64_t i = e.value.size() / 2;
        const auto at = [&](double by) {
          e.value[i] += static_cast<real>(by);
          params.commit();
          return loss();
        };
        const double h = 1e-5, up = at(h), down = at(-2 * h), analytic = static_cast<double>(grads.of(e.value)[i]);
        at(h);
        CHECK((up - down) / (2 * h) == doctest::Approx(analytic).epsilon(1e-6).scale(1e-2));
      }
      CHECK(slopes == static_cast<int>(row.places(bench.options).sites.size()));
    }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
