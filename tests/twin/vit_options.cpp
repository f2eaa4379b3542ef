// What the options of ViT promise beside their golden numbers: sizes of the published networks, names, refusals.
#include <algorithm>
#include <cmath>

#include "tessera/models/model.h"
#include "tests/error_of.h"
#include "tests/twin/position_walk.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using test::error_of;

int64_t parameters(const char* name, const Options& options = {}) {
  const ModelRow& row = model(name);
  Params params(1, Draw::no);
  row.make(Scope(params), options, position(row.position));
  return params.count();
}

TWIN_CASE("vit options: parameter counts of the networks that repositories train on CIFAR") {
  CHECK(parameters("vit_cifar_omihub") == 6'268'810);
  CHECK(parameters("vit_cifar_kentaroy47") == 9'523'722);
  CHECK(parameters("vit_cifar_spt") == 2'692'426);
  CHECK(parameters("vit_cifar_schh") == 811'018);
  // patches of 5 images and their norm; a temperature per head
  CHECK(parameters("vit_cifar_spt_lsa") == 2'692'426 + 4 * 48 * 192 + 2 * 240 + 9 * 12);
  CHECK(parameters("vit", {{"reg_tokens", 4}}) == 811'146 + 2 * 4 * 128);
  CHECK(parameters("vit", {{"qk_norm", true}}) == 811'146 + 6 * 4 * 32);
  CHECK(parameters("vit", {{"lepe", 3}}) == 811'146 + 6 * 10 * 128);
  CHECK(parameters("vit", {{"attention", "elu"}}) == 811'146);
  CHECK(parameters("vit", {{"mlp", "mix_ffn"}}) == 811'146 + 6 * 10 * 256);
  CHECK(parameters("vit", {{"mlp", "conv_ff"}, {"extra_pointwise", true}}) == 811'146 + 6 * (10 * 256 + 256 * 257));
  // no biases and no norm2, but three batch norms
  CHECK(parameters("vit", {{"mlp", "local"}}) == 811'146 + 6 * (9 * 256 - 256 - 128 - 2 * 128 + 2 * (256 + 256 + 128)));
  CHECK(parameters("simple_vit_lucidrains") ==
        2 * 48 + 49 * 128 + 2 * 128 + 6 * (4 * 128 + 4 * 128 * 256 + 2 * 128 * 256 + 256 + 128) + 2 * 128 + 1290);
}

TWIN_CASE("vit options: names are timm's and LocalViT's, in their order") {
  const auto names = [](const Options& options) {
    Params params(1, Draw::no);
    Options small = options;
    small.insert({{"depth", 1}, {"embed_dim", 8}, {"num_heads", 2}});
    model("vit").make(Scope(params), small, position("learned"));
    std::vector<std::string> all;
    for (const auto& e : params.entries()) all.push_back(e.name);
    return all;
  };
  const auto registers = names({{"reg_tokens", 2}, {"qk_norm", true}});
  CHECK(std::vector(registers.begin(), registers.begin() + 3) ==
        std::vector<std::string>{"cls_token", "reg_token", "pos_embed"});
  CHECK(std::vector(registers.begin() + 7, registers.begin() + 13) ==
        std::vector<std::string>{"blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias", "blocks.0.attn.q_norm.weight",
                                 "blocks.0.attn.q_norm.bias", "blocks.0.attn.k_norm.weight",
                                 "blocks.0.attn.k_norm.bias"});
  const auto local = names({{"mlp", "local"}});
  for (const char* name : {"blocks.0.conv.conv.0.weight", "blocks.0.conv.conv.1.running_mean",
                           "blocks.0.conv.conv.3.weight", "blocks.0.conv.conv.6.weight", "blocks.0.conv.conv.7.bias"})
    CHECK(std::ranges::count(local, name) == 1);
  CHECK(std::ranges::count(local, "blocks.0.norm2.weight") == 0);
  const auto excited = names({{"mlp", "local"}, {"se_reduction", 4}});  // the official code's
  for (const char* name : {"blocks.0.conv.conv.6.fc.0.weight", "blocks.0.conv.conv.6.fc.2.bias",
                           "blocks.0.conv.conv.7.weight", "blocks.0.conv.conv.8.running_var"})
    CHECK(std::ranges::count(excited, name) == 1);
}

TWIN_CASE("vit options: what makes no sense is refused with one clear line") {
  const auto refused = [](const Options& options) { return error_of([&] { model("vit").places(options); }); };
  const auto says = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  CHECK(says(refused({{"attention", "linear"}}), "softmax | elu | taylor"));
  CHECK(says(refused({{"attention", "elu"}, {"attn_drop_rate", 0.1}}), "no weights to drop"));
  CHECK(says(refused({{"attention", "taylor"}, {"qk_scale", 0.5}}), "no logits to scale"));
  CHECK(says(refused({{"attention", "elu"}, {"lsa", true}}), "lsa"));
  CHECK(says(refused({{"patch", "spt"}, {"patch_size", 1}}), "half a patch"));
  CHECK(says(refused({{"extra_pointwise", true}}), "extra_pointwise"));
  CHECK(says(refused({{"mlp", "local"}, {"act_layer", "relu"}}), "hardswish"));
  CHECK(says(refused({{"mlp", "conv_ff"}, {"se_reduction", 4}}), "se_reduction"));
  CHECK(says(refused({{"mlp", "local"}, {"se_reduction", 300}}), "hidden channels"));
  CHECK(says(refused({{"mlp", "local"}, {"mlp_act_out", true}}), "mlp_act_out"));
  CHECK(says(refused({{"lepe", 4}}), "odd"));
  CHECK(says(refused({{"lsa", true}, {"patch_size", 32}, {"class_token", false}, {"global_pool", "avg"}}),
             "but one token"));
  CHECK(refused({{"lsa", true}, {"patch_size", 32}}).empty());
}

TWIN_CASE("vit options: vit_cifar_schh starts as its source does, from N(0, 0.02) and zeros, with torch's norms") {
  const ModelRow& row = model("vit_cifar_schh");
  Params params(1);
  row.make(Scope(params), {}, position(row.position));
  CHECK(row.defaults.at("norm_eps") == Value(1e-5));
  for (const auto& e : params.entries()) {
    CAPTURE(e.name);
    double squares = 0;
    for (const real v : e.value.values()) squares += static_cast<double>(v) * static_cast<double>(v);
    const double size = std::sqrt(squares / static_cast<double>(e.value.size()));
    if (e.name.ends_with("bias")) {
      CHECK(size == 0);
    } else if (e.name.find("norm") != std::string::npos) {
      CHECK(size == 1);
    } else {
      CHECK(size == doctest::Approx(0.02).epsilon(e.value.size() < 1000 ? 0.25 : 0.08));
    }
  }
}

TWIN_CASE("vit options: under lsa every logit has the learned factor, or the encoding is refused") {
  const walk::Bench& bench = walk::benches()[1];
  Options learned = bench.options;
  learned.insert({"lsa", true});
  const Places places = model("vit").places(bench.options), masked = model("vit").places(learned);
  const Site& site = places.sites[0];
  const Tensor x = zeros({1, site.trained.q.tokens(), site.dim});
  int refused = 0, ran = 0;
  for (const walk::Variant& v : walk::variants()) {
    CAPTURE(v.label());
    const std::string_view name = v.name;
    bool alone = name.find("pope") != std::string_view::npos;  // inside of scale without q, or nonlinear in it
    {
      Params params(1);
      const Terms all = position(v.name, v.options)(Scope(params), places)->terms(site, site.trained, {x, x}, {});
      for (int t = 0; t < all.count; ++t) {
        const Relative& r = all.relative[static_cast<size_t>(t)];
        alone |= (r.kind == Relative::key || r.side) && !r.outside;
      }
    }
    const std::string why = error_of([&] { check_position(v.name, v.options, masked); });
    CAPTURE(why);
    CHECK((why.find("model.lsa learns") != std::string::npos) == alone);
    if (!why.empty()) {
      CHECK((alone || why.find("model.lsa hides") != std::string::npos));
      ++refused;
      continue;
    }
    ++ran;  // a factor of 0 leaves nothing of what keys say
    const auto answer = [&](bool other_keys) {
      walk::Net net(bench, v.name, v.options, {{"lsa", true}});
      for (const auto& e : net.params.entries()) {
        if (e.name.ends_with("temperature")) std::ranges::fill(e.value.values(), real(0));
        if (other_keys && e.name.ends_with("qkv.weight"))
          for (int64_t i = e.value.size() / 3; i < 2 * e.value.size() / 3; ++i) e.value[i] += 1;
      }
      net.params.commit();
      return net(walk::random_image(2, 6, 8, 2));
    };
    CHECK(walk::same_bits(answer(false), answer(true)));
  }
  if (walk::walked_alone().empty()) CHECK((refused >= 14 && ran >= 80));
}

TWIN_CASE(
    "vit options: linear attention runs under encodings of tokens, rotations and convolutions, and refuses the "
    "others") {
  walk::Bench bench = walk::benches()[0];
  bench.options.insert_or_assign("attention", Value(std::string("elu")));
  int works = 0, refuses = 0;
  for (const PositionRow& row : positions()) {
    CAPTURE(row.name);
    const bool logits =
        std::ranges::any_of(row.hooks, [](const auto& h) { return h != "tokens" && h != "between" && h != "rotary"; });
    const std::string why = error_of([&] {
      const walk::Net net(bench, row.name, {});
      Grads grads;
      {
        Tape tape;
        const Tensor y = net(walk::random_image(2, 6, 8, 2));
        tape.backward(y, full(y.shape(), 1), grads);
      }
      for (const auto& e : net.params.entries())
        if (!e.buffer) CHECK_MESSAGE(grads.has(e.value), e.name);
      for (const real v : net(walk::random_image(1, 16, 12, 2)).values()) CHECK(std::isfinite(v));
    });
    const bool turns_values = row.name == std::string_view("gta");
    CHECK((why.find("linear attention has none") != std::string::npos) == logits);
    CHECK((why.find("only softmax does") != std::string::npos) == turns_values);
    if (!logits && !turns_values) CHECK(why == "");
    ++(logits || turns_values ? refuses : works);
  }
  CHECK(works >= 11);
  CHECK(refuses >= 20);
  CHECK(error_of([&] {
          check_position("learned+alibi_2d", {}, model("vit").places(bench.options));
        }).find("alibi_2d") != std::string::npos);
}

TWIN_CASE("vit options: without positions linear attention does not know the order of patches, and a Mix-FFN does") {
  const auto moved = [](const Options& options) {
    Params params(1);
    Options all = options;
    all.insert({{"img_size", 8}, {"depth", 2}});
    const auto net = model("vit").make(Scope(params), all, position("none"));
    walk::redraw(params);
    const Tensor x = walk::random_image(1, 8, 8, 3);
    Tensor swapped = x.copy();  // the two upper patches exchanged
    for (int y = 0; y < 4; ++y)
      for (int i = 0; i < 12; ++i) std::swap(swapped[y * 24 + i], swapped[y * 24 + 12 + i]);
    const Tensor a = net->forward(Run{}, x).logits, b = net->forward(Run{}, swapped).logits;
    double most = 0;
    for (int64_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i] - b[i])));
    return most;
  };
  CHECK(moved({{"attention", "elu"}}) < 1e-4);
  CHECK(moved({{"attention", "taylor"}}) < 1e-4);
  CHECK(moved({{"mlp", "mix_ffn"}}) > 1e-3);
  CHECK(moved({{"mlp", "conv_ff"}}) > 1e-3);
  CHECK(moved({{"lepe", 3}}) > 1e-3);
}

TWIN_CASE("vit options: every one runs in training and at another size") {
  for (const Options& option :
       {Options{{"reg_tokens", 2}, {"qk_norm", true}}, Options{{"mlp", "local"}, {"drop_path_rate", 0.2}},
        Options{{"mlp", "conv_ff"}, {"proj_drop_rate", 0.1}, {"drop_path_rate", 0.2}},
        Options{{"mlp", "mix_ffn"}, {"init_values", 0.1}}, Options{{"patch", "spt"}, {"lsa", true}},
        Options{{"attention", "taylor"}, {"lepe", 3}, {"class_token", false}, {"global_pool", "avg"}},
        Options{{"global_pool", "none"}, {"reg_tokens", 1}, {"num_classes", 0}}}) {
    Options all = option;
    all.insert({{"img_size", 16}, {"embed_dim", 16}, {"num_heads", 2}, {"depth", 2}});
    Params params(1);
    const auto net = model("vit").make(Scope(params), all, position("learned"));
    for (const auto& [h, w] : {std::pair{16, 16}, std::pair{24, 12}}) {
      Grads grads;
      Tape tape;
      std::vector<BatchStatistics> statistics;
      Collecting collecting(statistics);
      Input in(walk::random_image(2, h, w, 3));
      in.features = true;
      const Output out = net->forward(Run{.mode = Mode::train}, in);
      CHECK(out.stages[0].shape() == Shape{2, h / 4, w / 4, 16});
      tape.backward(out.logits, full(out.logits.shape(), 1), grads);
      for (const auto& e : params.entries())
        if (!e.buffer) CHECK_MESSAGE(grads.has(e.value), e.name);
    }
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
