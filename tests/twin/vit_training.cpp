// What a ViT promises in training: masks that depend on nothing but seed, step and sample, and gradients of what it computed.
#include <cmath>

#include "tessera/core/memory.h"
#include "tessera/models/model.h"
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

const Options noisy{{"img_size", 8},        {"embed_dim", 12},       {"depth", 3},
                    {"num_heads", 2},       {"head_dim", 4},         {"qk_scale", 0.3},
                    {"num_classes", 3},     {"init_values", 0.5},    {"drop_rate", 0.2},
                    {"pos_drop_rate", 0.2}, {"proj_drop_rate", 0.3}, {"attn_drop_rate", 0.3},
                    {"drop_path_rate", 0.5}};

Tensor images(int B) {
  Tensor x({B, 8, 8, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(0.9 * static_cast<double>(i)));
  return x;
}

/// Weights large enough that every layer matters.
void redraw(Params& params) {
  const rng::Stream random(5);
  uint64_t c = 0;
  for (const auto& e : params.entries())
    for (real& v : e.value.values()) v += static_cast<real>(0.3 * random.normal(c++));
  params.commit();
}

struct Net {
  Params params{1};
  std::unique_ptr<Model> model;
  explicit Net(const Options& o = noisy, const char* name = "vit") {
    model = tessera::model(name).make(Scope(params), o, position("learned"));
    redraw(params);
  }
  Tensor logits(const Run& run, const Tensor& x) const { return model->forward(run, x).logits; }
};

TWIN_CASE("vit training: a batch cut into shards draws the same masks") {
  const Net net;
  const Tensor x = images(5);
  const Run run{Mode::train, 11, 3, 0};
  const Tensor whole = net.logits(run, x);
  Run second = run;
  second.first = 2;
  const Tensor a = net.logits(run, x.rows(0, 2)), b = net.logits(second, x.rows(2, 5));
  CHECK(difference(whole.rows(0, 2), a) <= (sizeof(real) == 8 ? 1e-13 : 1e-5));
  CHECK(difference(whole.rows(2, 5), b) <= (sizeof(real) == 8 ? 1e-13 : 1e-5));
}

TWIN_CASE("vit training: seed and step change the masks, evaluation has none") {
  const Net net;
  const Tensor x = images(3), y = net.logits({Mode::train, 11, 3, 0}, x);
  CHECK(difference(y, net.logits({Mode::train, 11, 3, 0}, x)) == 0);
  CHECK(difference(y, net.logits({Mode::train, 11, 4, 0}, x)) > 1e-3);
  CHECK(difference(y, net.logits({Mode::train, 12, 3, 0}, x)) > 1e-3);
  CHECK(difference(net.logits({Mode::eval, 1, 1, 0}, x), net.logits({Mode::eval, 2, 2, 7}, x)) == 0);
}

TWIN_CASE("vit training: each rate acts alone") {
  Options quiet = noisy;
  for (const char* key : {"drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"})
    quiet[key] = 0.0;
  const Tensor x = images(3);
  const Run run{Mode::train, 11, 3, 0};
  CHECK(difference(Net(quiet).logits(run, x), Net(quiet).logits(Run{}, x)) == 0);
  for (const char* key : {"drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate"}) {
    Options one = quiet;
    one[key] = 0.5;
    CAPTURE(key);
    const Net net(one);
    CHECK(difference(net.logits(run, x), net.logits(Run{}, x)) > 1e-3);
  }
}

TWIN_CASE("vit training: a step reads no memory that nobody wrote") {
  const auto step = [](bool poisoned) {  // logits, then every gradient
    const Net net;
    Pool::poison(poisoned);
    Tape tape;
    Grads grads;
    const Tensor x = tape.watch(images(3)), y = net.logits({Mode::train, 11, 3, 0}, x);
    tape.backward(y, images(1).reshape({64, 3}).rows(0, 3).copy(), grads);
    std::vector<real> all(y.values().begin(), y.values().end());
    const auto append = [&](const Tensor& t) { all.insert(all.end(), t.values().begin(), t.values().end()); };
    append(tape.grad(x));
    for (const auto& e : net.params.entries()) append(grads.of(e.value));
    Pool::poison(false);
    return all;
  };
  const std::vector<real> clean = step(false);
  for (const real v : clean) REQUIRE(std::isfinite(v));
  CHECK(step(true) == clean);
}

TWIN_CASE("vit training: drop_path rates rise linearly from 0 in the first block") {
  // With one block the ramp is its first value; with two, only the last block can be dropped.
  Options o{{"img_size", 8}, {"embed_dim", 12}, {"num_heads", 2}, {"depth", 1}, {"drop_path_rate", 0.9}};
  const Tensor x = images(4);
  const Net one(o);
  CHECK(difference(one.logits({Mode::train, 1, 1, 0}, x), one.logits(Run{}, x)) == 0);
  o["depth"] = 2;
  const Net two(o);
  CHECK(difference(two.logits({Mode::train, 1, 1, 0}, x), two.logits(Run{}, x)) > 1e-3);
}

TWIN_CASE("vit training: gradients through every kind of dropout agree with differences") {
  if (sizeof(real) == 4) return;
  for (const char* pool : {"token", "avg", "none"}) {
    Options o = noisy;
    o["global_pool"] = std::string(pool);
    o["act_layer"] = std::string("gelu_tanh");
    const Net net(o);
    const Tensor x = images(3);
    const Run run{Mode::train, 11, 3, 4};
    Tape tape;
    Grads grads;
    const Tensor y = net.logits(run, x);
    Tensor dy(y.shape());
    for (int64_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<real>(std::cos(static_cast<double>(i)));
    tape.backward(y, dy, grads);
    // Along one random direction over all parameters at once.
    const rng::Stream random(9);
    const auto project = [&](double step) {
      const NoGrad values;  // the tape has been walked
      uint64_t c = 0;
      for (const auto& e : net.params.entries())
        for (real& v : e.value.values()) v += static_cast<real>(step * random.normal(c++));
      const Tensor z = net.logits(run, x);
      double sum = 0;
      for (int64_t i = 0; i < z.size(); ++i) sum += static_cast<double>(z[i] * dy[i]);
      return sum;
    };
    uint64_t c = 0;
    double slope = 0;
    for (const auto& e : net.params.entries())
      for (int64_t i = 0; i < e.value.size(); ++i)
        slope += static_cast<double>(grads.of(e.value)[i]) * random.normal(c++);
    const double h = 1e-6;
    const double up = project(h), down = project(-2 * h);
    CAPTURE(pool);
    CHECK((up - down) / (2 * h) == doctest::Approx(slope).epsilon(1e-6));
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
