// Swin v2: how it starts, what saturates, one token alone, what must not leak; windows that are not square, and the stems, of both Swins.
#include "tessera/models/swin_v2.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tessera/core/ops/resize_grid.h"
#include "tessera/nn/position_weights.h"
#include "tests/error_of.h"
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Tensor wave(const Shape& shape, double step = 0.7) {
  Tensor t(shape);
  for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(std::sin(step * static_cast<double>(i + 1)));
  return t;
}

int64_t parameters(const char* name, const Options& options = {}) {
  const ModelRow& row = model(name);
  Params params(1, Draw::no);
  row.make(Scope(params), options, position(row.position));
  return params.count();
}

TWIN_CASE("swin_v2: parameter counts of the published networks, of both versions") {
  CHECK(parameters("swinv2_tiny_window8_256") == 28'347'154);
  CHECK(parameters("swinv2_small_window8_256") == 49'728'418);
  CHECK(parameters("swinv2_base_window8_256") == 87'918'816);
  CHECK(parameters("swin_small_patch4_window7_224") == 49'606'258);
  CHECK(parameters("swin_base_patch4_window7_224") == 87'768'224);
  CHECK(parameters("swin_v2") == parameters("swin_v2_cifar_small"));
}

TWIN_CASE("swin_v2: timm's names, and what decays") {
  Params params(1);
  model("swin_v2").make(Scope(params), {}, position("log_cpb"));
  for (const char* name :
       {"patch_embed.norm.weight", "layers.0.blocks.1.attn.qkv.weight", "layers.0.blocks.1.attn.proj.weight",
        "layers.1.blocks.3.mlp.fc1.weight", "layers.1.downsample.reduction.weight", "layers.1.downsample.norm.bias"})
    CHECK_MESSAGE(params.find(name), name);
  for (const char* name :
       {"logit_scale", "q_bias", "v_bias", "cpb_mlp.0.weight", "cpb_mlp.0.bias", "cpb_mlp.2.weight"}) {
    const auto* entry = params.find(std::string("layers.0.blocks.1.attn.") + name);
    REQUIRE_MESSAGE(entry, name);
    CHECK(entry->decay == Decay::no);
  }
  CHECK(params.find("layers.0.blocks.1.attn.qkv.weight")->decay == Decay::yes);
  CHECK_FALSE(params.find("layers.0.blocks.1.attn.qkv.bias"));
  CHECK(params.find("layers.0.blocks.1.attn.logit_scale")->value.shape() == Shape{3, 1, 1});
}

TWIN_CASE("swin_v2: at the start every block is the identity") {
  Params params(3);
  const auto net = model("swin_v2").make(Scope(params), {{"depths", std::vector<int>{3, 1}}}, position("log_cpb"));
  Params bare(3);
  const auto one = model("swin_v2").make(Scope(bare), {{"depths", std::vector<int>{1, 1}}}, position("log_cpb"));
  const Tensor x = wave({2, 32, 32, 3});
  CHECK(difference(net->forward(Run{}, x).logits, one->forward(Run{}, x).logits) == 0);
}

/// An attention of one block on a map, alone.
struct Bed {
  Params params{5};
  Places at;
  std::unique_ptr<PositionEncoding> position;
  std::unique_ptr<swin_v2::CosineAttention> attn;
  Layout now;
  Bed(Grid map, int window, bool shifted, const char* name = "log_cpb")
      : now(Layout::windowed(map, window_of(map, window, shifted))) {
    at.sites = {Site{0, 0, 0, 8, 2, 4, 1, now, "attn"}};
    position = tessera::position(name)(Scope(params), at);
    attn = std::make_unique<swin_v2::CosineAttention>(Scope(params) / "attn",
                                                      swin_v2::CosineAttention::Config{.dim = 8, .num_heads = 2});
  }
  Tensor operator()(const Tensor& x) const {
    return (*attn)({}, x, windows(now.q, now.window), *position, at.sites[0], now);
  }
};

TWIN_CASE("swin_v2: a saturated logit_scale has no gradient and counts as ln 100") {
  const Bed bed({4, 4, 0}, 4, false);
  const Tensor x = wave({2, 16, 8}), scale = bed.params.find("attn.logit_scale")->value;
  const auto run = [&](double first, double second, Grads& grads) {
    scale.rewrite()[0] = static_cast<real>(first), scale.rewrite()[1] = static_cast<real>(second);
    Tape tape;
    const Tensor y = bed(x);
    tape.backward(y, wave(y.shape(), 0.3), grads);
    return y.detach();
  };
  Grads at, above;
  const Tensor limit = run(std::log(100.0) - 1e-3, 2, at), saturated = run(7, 2, above);
  CHECK(at.of(scale)[0] != 0);
  CHECK(above.of(scale)[0] == 0);
  CHECK(above.of(scale)[1] != 0);
  Grads more;
  CHECK(difference(run(90, 2, more), saturated) == 0);
  CHECK(difference(limit, saturated) <= 1e-2);
  CHECK(difference(limit, saturated) > 0);
}

TWIN_CASE("swin_v2: a map of one token is finite, its gradients too, and queries of length 0") {
  const Bed bed({1, 1, 0}, 4, true);
  const Tensor w = bed.params.find("attn.qkv.weight")->value;
  for (real& v : w.rewrite().first(16 * 8)) v = 0;  // queries and keys
  const auto finite = [](const Tensor& t) {
    return std::ranges::all_of(t.values(), [](real v) { return std::isfinite(v); });
  };
  {
    Tape tape;
    Grads grads;
    const Tensor x = tape.watch(wave({2, 1, 8})), y = bed(x);
    tape.backward(y, wave(y.shape()), grads);
    CHECK(finite(y));
    CHECK(finite(tape.grad(x)));
    for (const auto& p : bed.params.entries()) CHECK_MESSAGE(finite(grads.of(p.value)), p.name);
  }
  const ModelRow& row = model("swin_v2");  // and in a model: 32 x 32 patches of 8 are 4 x 4, 2 x 2, 1 x 1
  Params params(1);
  const auto net =
      row.make(Scope(params),
               {{"patch_size", 8}, {"depths", std::vector<int>{1, 1, 1}}, {"num_heads", std::vector<int>{3, 6, 6}}},
               position("log_cpb"));
  CHECK(finite(net->forward(Run{}, wave({1, 32, 32, 3})).logits));
}

TWIN_CASE("swin_v2: no output depends on a token of another region, on a map that windows do not divide") {
  const Bed bed({7, 6, 0}, 4, true);
  const Pattern p = windows(bed.now.q, bed.now.window);
  const Tensor x = wave({1, 42, 8}), before = bed(x);
  for (int token : {0, 5, 17, 41}) {
    Tensor moved = x.copy();
    for (int c = 0; c < 8; ++c) moved[token * 8 + c] += static_cast<real>(0.1 * c + 0.3);
    const Tensor after = bed(moved);
    std::vector<char> may(42);
    for (int g = 0; g < p->groups; ++g)
      for (int i = 0; i < p->n; ++i)
        for (int j = 0; j < p->n; ++j) {
          const auto a = static_cast<size_t>(g * p->n + i), b = static_cast<size_t>(g * p->n + j);
          if (p->k[b] == token && p->q[a] >= 0 && p->label_q[a] == p->label_k[b]) may[static_cast<size_t>(p->q[a])] = 1;
        }
    for (int t = 0; t < 42; ++t) {
      bool same = true;
      for (int c = 0; c < 8; ++c) same = same && before[t * 8 + c] == after[t * 8 + c];
      CHECK(same == !may[static_cast<size_t>(t)]);
    }
  }
}

TWIN_CASE("swin_v2: cosine attention does not see how long its queries and keys are") {
  const Bed bed({4, 4, 0}, 2, true);
  const Tensor x = wave({1, 16, 8}), before = bed(x), w = bed.params.find("attn.qkv.weight")->value;
  for (real& v : w.rewrite().first(16 * 8)) v *= 8;  // a power of two: only the rounding of the length is left
  CHECK(difference(bed(x), before) <= (sizeof(real) == 8 ? 1e-14 : 1e-5));
}

TWIN_CASE("swin_v2: runs with every position encoding, or says why not") {
  const ModelRow& row = model("swin_v2");
  const Options small{{"img_size", 12},   {"embed_dim", 8},   {"depths", std::vector<int>{2, 1}},
                      {"num_classes", 3}, {"window_size", 3}, {"num_heads", std::vector<int>{2, 2}}};
  for (const PositionRow& encoding : positions()) {
    CAPTURE(encoding.name);
    Params params(1);
    std::unique_ptr<Model> net;
    const std::string refused = test::error_of([&] { net = row.make(Scope(params), small, position(encoding.name)); });
    const std::string_view name = encoding.name;
    CHECK(refused.empty() == (name != "sasa" && name != "forget" && name != "forget_profiles"));
    if (!net) continue;
    for (const auto& p : params.entries())
      if (!p.buffer && p.name.find("norm") != std::string::npos)
        for (real& v : p.value.rewrite()) v = static_cast<real>(0.5);  // else every block is the identity
    Tape tape;
    Grads grads;
    const Tensor y = net->forward(Run{}, wave({2, 12, 12, 3})).logits;
    tape.backward(y, wave(y.shape()), grads);
    CHECK(y.shape() == Shape{2, 3});
    for (real v : y.values()) CHECK(std::isfinite(v));
    for (const auto& p : params.entries())
      if (grads.has(p.value))
        for (real v : grads.of(p.value).values()) REQUIRE_MESSAGE(std::isfinite(v), p.name);
  }
}

// ---- windows that are not square, stems: of both versions ---------------------------------------------------------------

TWIN_CASE("swin: windows of h x w, each axis shrunk and shifted by itself") {
  CHECK(window_of({8, 8, 0}, 2, 4, true) == Window{2, 4, 1, 2});
  CHECK(window_of({8, 4, 0}, 2, 4, true) == Window{2, 4, 1, 0});
  CHECK(window_of({2, 9, 0}, 4, 3, true) == Window{2, 3, 0, 1});
  CHECK(window_of({8, 8, 0}, 4, true) == window_of({8, 8, 0}, 4, 4, true));
  for (const char* name : {"swin", "swin_v2"}) {
    const Places at = model(name).places({{"window_size", 2}, {"window_width", 8}});
    CHECK(at.sites[1].trained.window == Window{2, 8, 1, 4});
    CHECK(at.sites[3].trained.window == Window{2, 8, 1, 0});
  }
}

TWIN_CASE("swin: weights move into windows of another shape, as they do between square ones") {
  const auto moved = [](const char* name, const Options& from, const Options& to) {
    const ModelRow& row = model(name);
    Params was(1), is(2);
    row.make(Scope(was), from, position(row.position));
    const std::string file = "swin_windows_" TESSERA_STRING(TESSERA_NS) ".safetensors";
    io::save(was, file);
    PositionTables tables;
    const auto net = row.make(Scope(is), to, remember_tables(position(row.position), tables));
    io::load(is, file, io::resampling(tables, row.places(from), {}, row.dialect));
    std::remove(file.c_str());
    return std::pair(was.entries(), is.entries());
  };
  const Options square{{"window_size", 4}}, wide{{"window_size", 2}, {"window_width", 8}};
  const auto [was, is] = moved("swin", square, wide);
  const auto table = [](const auto& entries) {
    return std::ranges::find(entries, "layers.0.blocks.0.attn.relative_position_bias_table", &Params::Entry::name)
        ->value;
  };
  CHECK(table(was).shape() == Shape{7 * 7, 3});
  REQUIRE(table(is).shape() == Shape{3 * 15, 3});
  const Tensor want = resize_grid(table(was), 7, 7, 3, 15, Interpolation::bicubic);
  CHECK(difference(table(is), want) == 0);
  const auto [v2_was, v2_is] = moved("swin_v2", square, wide);  // nothing in the MLP has the window's size
  for (size_t i = 0; i < v2_was.size(); ++i) CHECK(difference(v2_was[i].value, v2_is[i].value) == 0);
}

TWIN_CASE("swin: a deformable stem starts as the plain one; modulated, as half of it before the norm") {
  const Tensor x = wave({2, 32, 32, 3});
  for (const char* name : {"swin", "swin_v2"}) {
    const ModelRow& row = model(name);
    const auto run = [&](const char* stem, Grads* grads = nullptr) {
      Params params(4);
      const auto net = row.make(Scope(params), {{"stem", std::string(stem)}}, position(row.position));
      const bool moves = stem != std::string("conv");
      CHECK((params.find("patch_embed.offset.weight") != nullptr) == moves);
      Tape tape;
      const Tensor y = net->forward(Run{}, x).logits;
      Grads none;
      tape.backward(y, wave(y.shape()), grads ? *grads : none);
      if (grads) CHECK(largest(grads->of(params.find("patch_embed.offset.weight")->value)) > 0);
      return y.detach();
    };
    Grads grads;
    const Tensor plain = run("conv"), deformable = run("deformable", &grads);
    CHECK(difference(deformable, plain) <= (sizeof(real) == 8 ? 1e-13 : 1e-5));
    CHECK(difference(run("modulated"), plain) > 1e-6);  // the bias is not halved
  }
}

TWIN_CASE("swin_v2: configurations that make no sense are refused in one line") {
  const auto refusal = [](const Options& o) { return test::error_of([&] { model("swin_v2").places(o); }); };
  CHECK(refusal({{"num_heads", std::vector<int>{5, 6}}}).find("heads must divide the width") != std::string::npos);
  CHECK(refusal({{"depths", std::vector<int>{1}}}).find("one entry a stage") != std::string::npos);
  CHECK(refusal({{"img_size", 33}}).find("not made of patches") != std::string::npos);
  CHECK(refusal({{"stem", std::string("deformabel")}}).find("did you mean \"deformable\"") != std::string::npos);
  CHECK(refusal({{"window_width", -1}}).find("window_width is -1") != std::string::npos);
  CHECK(refusal({{"patch_size", 8192}, {"img_size", 8192}, {"stem", std::string("deformable")}}).find("2^30 weights") !=
        std::string::npos);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
