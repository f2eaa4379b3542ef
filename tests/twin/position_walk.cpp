// Every position encoding in every kind of model: gradients, what moves the output, other resolutions, files, seeds and refusals.
#include "tests/twin/position_walk.h"

#include <unistd.h>

#include <filesystem>
#include <map>

#include "tessera/nn/weights.h"

// The twin that comes second compares its gradients with those of the first: float against double. Outside of the twin's namespace.
inline std::map<std::string, std::vector<double>>& walked_gradients() {
  static std::map<std::string, std::vector<double>> of;
  return of;
}

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr bool twin = sizeof(real) == 8;

const Bench& bench(int i) { return benches()[static_cast<size_t>(i)]; }
bool windows(const Bench& b) { return b.family == std::string_view("swin"); }
bool class_token(const Bench& b) { return &b == &bench(0); }
Tensor image_of(const Bench& b) {
  return random_image(2, std::get<int>(b.options.at("img_size")), std::get<int>(b.options.at("img_width")), 2);
}

/// f(variant, bench) for all that are not refused.
template <class F>
void everywhere(F f) {
  for (const Variant& v : variants())
    for (const Bench& b : benches()) {
      const std::string where = std::string(b.title) + ": " + v.label();
      CAPTURE(where);
      const bool works = refusal(b, v.name, v.options).empty();
      const bool refused =
          v.name == std::string_view("sasa") ? &b != &bench(1) : (v.wide || whole_maps(v.name)) && windows(b);
      CHECK(works != refused);
      if (works) f(v, b);
    }
}

/// Entries that the encoding brought along.
std::vector<const Params::Entry*> own_entries(const Net& net, const Net& plain) {
  std::vector<const Params::Entry*> own;
  for (const auto& e : net.params.entries())
    if (!plain.params.find(e.name)) own.push_back(&e);
  return own;
}

Tensor cotangent(const Tensor& y) {
  Tensor c(y.shape());
  for (int64_t i = 0; i < c.size(); ++i) c[i] = rounded(normal_at("cotangent", i));
  return c;
}
double loss(const Net& net, const Tensor& x, const Tensor& c) {
  const Tensor y = net(x);
  double sum = 0;
  for (int64_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(c[i]);
  return sum;
}

/// Analytic against central differences of fourth order along `direction` of one parameter. ReLUs (FIRE, log_cpb) have kinks that a
/// step must not reach: a shorter one, which the rounding of the loss disturbs more.
void check_slope(Net& net, const Params::Entry& e, const Tensor& x, const Tensor& c, const Tensor& gradient,
                 const std::vector<double>& direction, double least, bool kinks) {
  const Tensor at = e.value.copy();
  double analytic = 0;
  for (int64_t i = 0; i < at.size(); ++i)
    analytic += static_cast<double>(gradient[i]) * direction[static_cast<size_t>(i)];
  const auto moved = [&](double by) {
    for (int64_t i = 0; i < at.size(); ++i)
      e.value[i] = static_cast<real>(static_cast<double>(at[i]) + by * direction[static_cast<size_t>(i)]);
    net.params.commit();
    return loss(net, x, c);
  };
  CAPTURE(e.name);
  CAPTURE(analytic);
  bool agrees = false;
  for (const double step : kinks ? std::vector<double>{2e-5, 2e-6} : std::vector<double>{1e-3}) {
    const double numeric = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step);
    const double rounding = 4e-16 / step;
    CAPTURE(numeric);
    agrees = agrees || std::abs(analytic - numeric) <= 1e-6 * std::max(std::abs(analytic), least) + rounding;
  }
  moved(0);
  CHECK(agrees);
}

TWIN_CASE("walk: gradients of every parameter of every encoding") {
  everywhere([](const Variant& v, const Bench& b) {
    Net net(b, v.name, v.options);
    const Net plain(b, "none", {});
    const Tensor x = image_of(b), c = cotangent(net(x));
    Grads grads;
    {
      Tape tape;
      tape.backward(net(x), c, grads);
    }
    std::vector<double> all;
    for (const Params::Entry* e : own_entries(net, plain)) {
      CAPTURE(e->name);
      if (e->buffer) continue;
      REQUIRE(grads.has(e->value));
      const Tensor g = grads.of(e->value);
      double most = 0;
      int64_t where = 0;
      for (int64_t i = 0; i < g.size(); ++i) {
        all.push_back(static_cast<double>(g[i]));
        if (std::abs(static_cast<double>(g[i])) > most) most = std::abs(static_cast<double>(g[i])), where = i;
      }
      if (analytic_zero(e->name, v.label(), class_token(b))) {
        CHECK(most < (twin ? 1e-15 : 1e-6));
        continue;
      }
      CHECK(most > 1e-7);
      const std::string name = v.name;
      const bool kinks = name == "fire" || name == "log_cpb";
      if (!twin) continue;
      if (name == "log_cpb" && !v.options.contains("hidden"))
        continue;  // 512 kinks of ReLU lie in the way of differences; the variant with 5 is checked
      // a random direction, the largest entry and one at random
      std::vector<double> direction(static_cast<size_t>(g.size()));
      for (size_t i = 0; i < direction.size(); ++i) direction[i] = normal_at("direction", static_cast<int64_t>(i));
      check_slope(net, *e, x, c, g, direction, most, kinks);
      for (const int64_t entry : {where, static_cast<int64_t>(rng::hash(e->name) % static_cast<uint64_t>(g.size()))}) {
        std::vector<double> one(direction.size());
        one[static_cast<size_t>(entry)] = 1;
        check_slope(net, *e, x, c, g, one, 0.01 * most, kinks);
      }
    }
    auto& other = walked_gradients()[std::string(b.title) + v.label()];
    if (!other.empty() && other.size() == all.size()) {
      double most = 0, off = 0;
      for (size_t i = 0; i < all.size(); ++i)
        most = std::max(most, std::abs(all[i])), off = std::max(off, std::abs(all[i] - other[i]));
      CHECK(off <= 2e-4 * most);
    }
    other = all;
  });
}

TWIN_CASE("walk: an encoding changes the logits, and then the order of the patches does") {
  // rounding of the sums over tokens
  const double rounding = twin ? 1e-13 : 1e-5, least = twin ? 1e-6 : 3e-6;
  everywhere([&](const Variant& v, const Bench& b) {
    const Net net(b, v.name, v.options), plain(b, "none", {});
    const Tensor x = image_of(b), y = net(x);
    const bool none = v.name == std::string_view("none");
    CHECK((farthest(y, plain(x)) > least) == !none);
    if (windows(b)) return;  // windows and merged patches tell tokens apart without any encoding
    const Tensor moved = net(permuted(x, 2, {7, 3, 10, 0, 5, 11, 1, 8, 2, 9, 4, 6}));
    if (none) {
      CHECK(farthest(y, moved) < rounding);
    } else {
      CHECK(farthest(y, moved) > least);
    }
  });
}

/// The geometry that a parameter of the encoding was made for.
Layout made_for(const Places& at, const std::string& parameter) {
  for (const Site& s : at.sites)
    if (parameter.starts_with(s.path + ".")) return s.trained;
  for (const Spot& s : at.tokens)
    if (parameter == s.name || parameter.starts_with(s.name + "_")) return {s.trained, s.trained, {}, 1, false};
  return {};
}

TWIN_CASE("walk: other resolutions do what the row says") {
  everywhere([](const Variant& v, const Bench& b) {
    const Net net(b, v.name, v.options);
    const std::vector<std::pair<int, int>> grids = windows(b) ? std::vector<std::pair<int, int>>{{8, 14}, {16, 16}}
                                                              : std::vector<std::pair<int, int>>{{10, 6}, {12, 12}};
    bool any_differs = false;
    for (const auto& grid : grids) {
      const int H = grid.first, W = grid.second;
      CAPTURE(H);
      CAPTURE(W);
      const Tensor x = random_image(2, H, W, 2), y = net(x);
      CHECK(y.shape() == Shape{2, 3});
      for (real logit : y.values()) CHECK(std::isfinite(logit));

      // The same encoding built for this grid, with the trained weights, cannot tell the difference once its tables have been resampled.
      const Net other(b, v.name, v.options, {{"img_size", H}, {"img_width", W}});
      Params again;  // an encoding by itself, for its resample()
      const auto encoding = position(v.name, v.options)(Scope(again), net.places);
      for (const auto& e : other.params.entries()) {
        const Tensor trained = net.params.find(e.name)->value;
        const bool own = again.find(e.name) != nullptr;
        const Tensor now =
            own ? encoding->resample(e.name, trained, made_for(net.places, e.name), made_for(other.places, e.name))
                : trained;
        REQUIRE(now.shape() == e.value.shape());
        for (int64_t i = 0; i < now.size(); ++i) e.value[i] = now[i];
      }
      const double off = farthest(y, other(x));
      if (v.size == Variant::as_row) CHECK(off <= (twin ? 1e-14 : 1e-6));
      any_differs = any_differs || off > 1e-7;
    }
    if (v.size == Variant::trained_unit || (v.size == Variant::larger_unit && !windows(b))) CHECK(any_differs);
  });
}

TWIN_CASE("walk: weights survive a file; one seed gives one backbone") {
  const std::string file = (std::filesystem::temp_directory_path() /
                            fmt::format("tessera_walk_{}_{}.safetensors", TESSERA_STRING(TESSERA_NS), getpid()))
                               .string();
  everywhere([&](const Variant& v, const Bench& b) {
    Net net(b, v.name, v.options, {}, 5, true);
    const Net plain(b, "none", {}, {}, 5, true);
    for (const auto& e : plain.params.entries()) {
      CAPTURE(e.name);
      REQUIRE(net.params.find(e.name));
      CHECK(same_bits(net.params.find(e.name)->value, e.value));
    }
    const Tensor x = image_of(b), y = net(x);
    io::save(net.params, file);
    Net other(b, v.name, v.options, {}, 6, true);
    io::load(other.params, file);
    CHECK(same_bits(y, other(x)));
  });
  std::filesystem::remove(file);
}

TWIN_CASE("walk: what has no meaning is refused with a sentence that says why") {
  const auto says = [](const Bench& b, const char* name, const Options& options, const char* words,
                       const Options& changes = {}) {
    const std::string why = refusal(b, name, options, changes);
    INFO(name);
    CAPTURE(why);
    CHECK(why.find(words) != std::string::npos);
    CHECK(why.find('\n') == std::string::npos);
  };
  const Bench &token = bench(0), &avg = bench(1), &swin = bench(2);
  says(avg, "rope+rope_axial", {}, "both rotate queries and keys");
  says(avg, "rope_mixed+rope", {}, "both rotate queries and keys");
  says(avg, "gpsa+sasa", {}, "both replace the attention");
  says(avg, "gpsa+shaw", {}, "gpsa computes the attention itself and would ignore the terms of shaw");
  says(avg, "rope_axial+gpsa", {}, "would ignore the terms of rope_axial");
  says(avg, "sasa+alibi", {}, "would ignore the terms of alibi");
  says(avg, "shaw+shaw", {}, "named twice");
  says(avg, "learned+pvt", {}, "pvt cannot stand beside learned");
  says(avg, "shaw+conformer_shaw", {}, "attn.position.key");
  says(avg, "pope+lie", {}, "pope and lie do not fit each other in this order");
  says(swin, "pope+comrope_ld", {}, "pope and comrope_ld do not fit each other in this order");
  says(avg, "pope+huang3", {}, "pope and huang3 do not fit each other in this order");
  for (const char* fits : {"lie+pope", "pope+huang1", "lie+harope", "pope+shaw_kv"}) CHECK(refusal(avg, fits).empty());
  says(avg, "rope_axal", {}, "did you mean \"rope_axial\"");
  says(avg, "learned+rope_axal", {}, "did you mean \"rope_axial\"");
  says(avg, "shaw", {{"max_distanc", 3}}, "did you mean \"max_distance\"");
  says(avg, "shaw", {{"max_distance", -1}}, "max_distance is -1, expected 0 to 65536");
  says(avg, "shaw", {{"axes", "both"}}, "both");
  says(avg, "learned+shaw", {{"max_distance", 3}}, "say whose option");
  says(token, "sasa", {}, "class_token=false");
  says(swin, "sasa", {}, "windows");
  says(swin, "forget", {}, "which windows cut");
  says(swin, "forget_profiles", {}, "which windows cut");
  says(avg, "sasa", {{"kernel", 4}}, "must be odd");
  says(avg, "sasa", {}, "leave out qk_scale", {{"qk_scale", 0.5}});
  CHECK(refusal(avg, "sasa", {{"scaled", true}}, {{"qk_scale", 0.5}}).empty());
  says(avg, "irpe", {{"on", "w"}}, "letters of q, k, v");
  says(avg, "irpe", {{"mode", "bias"}, {"on", "v"}}, "bias on values");
  says(avg, "irpe", {{"ratio", 0.5}}, "[1, 64]");
  says(avg, "peg", {{"kernel", 2}}, "must be odd");
  says(avg, "peg", {{"after", std::vector<int>{7}}}, "no stage has a block 7");
  says(avg, "peg", {{"padding", "reflect"}, {"kernel", 7}}, "needs a map larger than");
  says(avg, "peg", {{"padding", "wrap"}}, "wrap");
  says(avg, "t5", {{"num_buckets", 6}}, "multiple of 4");
  says(avg, "log_cpb", {{"hidden", 0}}, "hidden is 0, expected 1 to");
  says(avg, "fire", {{"init_c", 0.0}}, "init_c is 0, expected");
  says(avg, "rope", {{"base", -1.0}}, "base is -1, expected");
  // heads of width 5 and 6
  const Options five{{"embed_dim", 10}}, six{{"embed_dim", 12}};
  says(avg, "rope", {}, "head width 5 is not a multiple of 2", five);
  says(avg, "rope_axial", {}, "head width 6 is not a multiple of 4", six);
  says(avg, "rope_mixed", {}, "head width 6 is not a multiple of 4", six);
  says(avg, "shaw_axial", {}, "head width 5 cannot be halved", five);
  says(avg, "sasa", {}, "head width 5 cannot be halved", five);
  says(avg, "sincos2d", {}, "not a multiple of 4", five);
  says(avg, "music_transformer", {{"max_relative_position", -1}}, "max_relative_position is -1, expected");
  says(avg, "huang2", {{"index", "axial"}}, "axial");
  says(avg, "transformer_xl", {}, "even", {{"embed_dim", 9}, {"num_heads", 1}});
  says(avg, "gpsa", {{"gate", 1.0}, {"local_up_to_layer", -1}}, "local_up_to_layer is -1, expected");
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
