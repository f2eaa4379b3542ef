// The Conformer's rows: parameter counts, names, refusals, encodings, and its blocks on images.
#include <cstdio>

#include "tessera/nn/weights.h"
#include "tests/twin/conformer_bed.h"
#include "tests/twin/small_models.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace conformer_test;
using test::error_of;

// ---- sizes and names --------------------------------------------------------------------------------------------------

int64_t parameters(const char* name, const Options& options, const char* encoding) {
  Params params(1, Draw::no);
  model(name).make(Scope(params), options, position(encoding));
  return params.count();
}

TWIN_CASE("conformer: parameter counts of torchaudio's and lucidrains' blocks and of the paper's encoders") {
  const Options alone{{"input_linear", false}, {"num_classes", 0}, {"num_layers", 1}};
  const auto block = [&](Options more, const char* encoding) {
    more.insert(alone.begin(), alone.end());
    return parameters("conformer", more, encoding);
  };
  const Options torchaudio{{"input_dim", 80}, {"embed_dim", 80}, {"ffn_dim", 128}};
  CHECK(block(torchaudio, "none") == 90'256);
  Options without = torchaudio;
  without["conv_bias"] = false;
  CHECK(block(without, "none") == 89'936);
  CHECK(block({{"input_dim", 512},
               {"embed_dim", 512},
               {"num_heads", 8},
               {"head_dim", 64},
               {"qkv_bias", false},
               {"conv_expansion", 2}},
              "conformer_shaw") == 6'929'472);
  // without the transducer's decoder, which is the rest of the paper's 10.3, 30.7 and 118.8 millions
  CHECK(parameters("conformer_s", {{"num_classes", 0}}, "transformer_xl") == 8'692'416);
  CHECK(parameters("conformer_m", {{"num_classes", 0}}, "transformer_xl") == 27'266'048);
  CHECK(parameters("conformer_l", {{"num_classes", 0}}, "transformer_xl") == 114'857'984);
}

TWIN_CASE("conformer: torchaudio's names, also where the Conformer is a member") {
  const Options alone = small(
      {{"input_dim", 16}, {"input_linear", false}, {"num_classes", 0}, {"num_layers", 1}, {"global_pool", "none"}});
  Net net("conformer", alone, "none"), other("conformer", alone, "none");
  std::vector<std::string> names;
  std::vector<io::NamedTensor> file;
  for (const auto& e : net.params.entries()) {
    names.push_back(e.name.substr(std::string("conformer_layers.0.").size()));
    if (!e.buffer)
      for (real& v : e.value.values()) v *= 2;
    file.emplace_back("conformer." + e.name, e.value);
  }
  net.params.commit();
  CHECK(names == std::vector<std::string>{"ffn1.sequential.0.weight",
                                          "ffn1.sequential.0.bias",
                                          "ffn1.sequential.1.weight",
                                          "ffn1.sequential.1.bias",
                                          "ffn1.sequential.4.weight",
                                          "ffn1.sequential.4.bias",
                                          "self_attn_layer_norm.weight",
                                          "self_attn_layer_norm.bias",
                                          "self_attn.in_proj_weight",
                                          "self_attn.in_proj_bias",
                                          "self_attn.out_proj.weight",
                                          "self_attn.out_proj.bias",
                                          "conv_module.layer_norm.weight",
                                          "conv_module.layer_norm.bias",
                                          "conv_module.sequential.0.weight",
                                          "conv_module.sequential.0.bias",
                                          "conv_module.sequential.2.weight",
                                          "conv_module.sequential.2.bias",
                                          "conv_module.sequential.3.weight",
                                          "conv_module.sequential.3.bias",
                                          "conv_module.sequential.3.running_mean",
                                          "conv_module.sequential.3.running_var",
                                          "conv_module.sequential.5.weight",
                                          "conv_module.sequential.5.bias",
                                          "ffn2.sequential.0.weight",
                                          "ffn2.sequential.0.bias",
                                          "ffn2.sequential.1.weight",
                                          "ffn2.sequential.1.bias",
                                          "ffn2.sequential.4.weight",
                                          "ffn2.sequential.4.bias",
                                          "final_layer_norm.weight",
                                          "final_layer_norm.bias"});
  file.emplace_back("conformer.conformer_layers.0.conv_module.sequential.3.num_batches_tracked", zeros({1}));
  const std::string path = "conformer_names_" TESSERA_STRING(TESSERA_NS) ".safetensors";
  io::write_tensors(path, file);
  io::load(other.params, path, {.dialect = model("conformer").dialect});
  std::remove(path.c_str());
  CHECK(distance(net(frames(2, 7, 16)), other(frames(2, 7, 16))) == 0);
}

TWIN_CASE("conformer: configurations and frames that make no sense are refused with one clear line") {
  const auto refusal = [](const char* name, const Options& options) {
    return error_of([&] { model(name).places(options); });
  };
  const auto has = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  CHECK(has(refusal("conformer", {{"subsampling", 3}}), "1, 2 or 4"));
  CHECK(has(refusal("conformer", {{"subsampling", 4}, {"input_dim", 6}}), "at least 7"));
  CHECK(has(refusal("conformer", {{"input_linear", false}}), "set embed_dim=40"));
  CHECK(has(refusal("conformer", {{"causal", true}, {"use_group_norm", true}}), "use_group_norm"));
  CHECK(has(refusal("conformer", {{"num_heads", 7}}), "7 heads do not divide the width 64"));
  CHECK(has(refusal("conformer", {{"embed_dim", 65536}, {"num_layers", 1}}), "2^30"));
  CHECK(has(refusal("conformer", {{"depth", 3}}), "depth"));
  CHECK(has(refusal("conformer_image", {{"patch_size", 5}}), "32 x 32"));
  CHECK(has(refusal("conformer_image", {{"global_pool", "token"}}), "class_token"));
  const Net net("conformer", small({{"subsampling", 4}}), "none");
  const auto said = [&](const Tensor& x, const Ints& lengths) {
    Input in(x);
    in.lengths = lengths;
    return error_of([&] { net(in); });
  };
  CHECK(has(said(frames(1, 9, 8), {}), "(B, T, 9)"));
  CHECK(has(said(frames(1, 6, 9), {}), "6 frames"));
  CHECK(has(said(frames(2, 9, 9), {9, 5}), "sample 1 has 5 frames"));
}

TWIN_CASE("conformer: a row follows the features and classes of its data") {
  for (const char* name : {"conformer", "conformer_fsdd", "conformer_s"}) {
    Options said;
    fit(model(name), said, {"digits", {.kind = InputShape::Kind::frames, .T = 90, .features = 64}, 7});
    CHECK(said.at("input_dim") == Value(64));
    CHECK(said.at("num_classes") == Value(7));
  }
}

// ---- encodings, images ------------------------------------------------------------------------------------------------

/// Built, a training step's gradient for every parameter, evaluated at another size; or one line that refuses.
void walk(const std::string& name, const Options& options, const std::string& encoding, const Input& in,
          const Input& other) {
  CAPTURE(name);
  CAPTURE(encoding);
  const std::string why = error_of([&] {
    const Net net(name.c_str(), options, encoding.c_str());
    Grads grads;
    {
      std::vector<BatchStatistics> seen;
      const Collecting collect(seen);
      Tape tape;
      const Tensor y = net(in, Mode::train);
      tape.backward(y, full(y.shape(), 1), grads);
    }
    for (const auto& e : net.params.entries()) {
      CAPTURE(e.name);
      if (!e.buffer) CHECK(grads.has(e.value));
    }
    for (real v : net(other).values()) CHECK(std::isfinite(v));
  });
  CAPTURE(why);
  const bool refused = encoding == "sasa" && options.contains("class_token");  // a neighbourhood has no place for it
  CHECK(why.empty() != refused);
  CHECK(why.find('\n') == std::string::npos);
}

TWIN_CASE("conformer: every encoding runs on frames and on image tokens, but for sasa beside a class token") {
  Input in(frames(2, 9, 8)), other(frames(2, 13, 8));
  in.lengths = Ints{9, 6}, other.lengths = Ints{13, 10};
  Tensor image({2, 32, 32, 2}), wide({1, 64, 48, 2});
  for (const Tensor& t : {image, wide})
    for (int64_t i = 0; i < t.size(); ++i) t[i] = static_cast<real>(noise(i));
  for (const PositionRow& row : positions()) {
    walk("conformer", small_options(model("conformer")), row.name, in, other);
    Options options = small_options(model("conformer_image"));
    walk("conformer_image", options, row.name, image, wide);
    options["class_token"] = true, options["conv_over"] = "map", options["depthwise_conv_kernel_size"] = 3;
    walk("conformer_image", options, row.name, image, wide);
  }
}

TWIN_CASE("conformer_image: on a map of one row, k x k taps are the k of their middle row along the raster") {
  for (const int k : {3, 4}) {
    const Options shape{{"img_size", 4},  {"img_width", 24}, {"embed_dim", 8},
                        {"num_heads", 2}, {"num_layers", 1}, {"depthwise_conv_kernel_size", k},
                        {"in_chans", 2}};
    Options over = shape;
    over["conv_over"] = "map";
    Net raster("conformer_image", shape, "none"), map("conformer_image", over, "none");
    for (const auto& e : raster.params.entries()) {
      const Tensor& to = map.params.find(e.name)->value;
      const bool taps = e.name.ends_with("sequential.2.weight");
      for (int64_t i = 0; i < e.value.size(); ++i) to[taps ? (i / k * k + k / 2) * k + i % k : i] = e.value[i];
    }
    map.params.commit();
    Tensor x({2, 4, 24, 2});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(noise(i));
    CHECK(distance(raster(x), map(x)) <= (twin ? 1e-12 : 1e-5));
  }
}

TWIN_CASE("conformer_image: the class token passes by the convolution") {
  const Options o{
      {"embed_dim", 8}, {"num_heads", 2}, {"num_layers", 1}, {"class_token", true}, {"global_pool", "token"}};
  Net net("conformer_image", o, "none");
  Tensor x({2, 32, 32, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(noise(i));
  const Tensor before = net(x);
  for (const auto& e : net.params.entries())
    if (e.name.find("conv_module") != std::string::npos && !e.buffer)
      for (real& v : e.value.values()) v *= 3;
  net.params.commit();
  CHECK(distance(before, net(x)) == 0);  // in one block it has only met the patches before their convolution
  CHECK(parameters("conformer_image", o, "none") ==
        parameters("conformer_image", {{"embed_dim", 8}, {"num_heads", 2}, {"num_layers", 1}}, "none") + 8);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
