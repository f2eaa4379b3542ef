// The Transformer: names, sizes, masks and padding under every encoding, an encoder that need not run twice.
#include "tessera/models/transformer.h"

#include <algorithm>
#include <cmath>

#include "tessera/nn/weights.h"
#include "tests/twin/position_walk.h"
#include "tests/twin/small_models.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

const ModelRow& family() { return model("transformer"); }

/// A small one under an encoding, with weights at which every parameter matters.
struct Net {
  Params params{1};
  std::unique_ptr<Model> net;
  explicit Net(const std::string& encoding, Options more = {}, const Options& of_encoding = {}) {
    for (const auto& [key, value] : small_options(family())) more.emplace(key, value);
    net = family().make(Scope(params), more, position(encoding, of_encoding));
    double i = 0;
    for (const auto& e : params.entries())
      for (real& v : e.value.values()) v += static_cast<real>(0.2 * std::sin(1.7 * ++i));
    params.commit();
  }
  Output operator()(const Input& in) const { return net->forward(Run{}, in); }
};

Ints numbers(int rows, int width, int from) {
  Ints n(rows, width);
  for (size_t i = 0; i < n.size(); ++i) n.data()[i] = static_cast<int32_t>((i * 7 + static_cast<size_t>(from)) % 12);
  return n;
}

/// Three questions of up to 7 tokens, and three answers of up to 5.
Input padded() {
  Input in;
  in.tokens = numbers(3, 7, 1), in.target = numbers(3, 5, 2);
  in.lengths = Ints{7, 3, 5}, in.target_lengths = Ints{2, 5, 4};
  return in;
}

Ints first(const Ints& row, int n) { return Ints(row.view().first(static_cast<size_t>(n))).reshape(1, n); }

/// f under every encoding that runs in the model; the names of the others.
template <class F>
std::vector<std::string> under_every_encoding(F f, const Options& options = {}) {
  std::vector<std::string> refused;
  for (const auto& row : positions()) {
    CAPTURE(std::string(row.name));
    try {
      f(Net(row.name, options));
    } catch (const Error&) {
      refused.emplace_back(row.name);
    }
  }
  return refused;
}

double largest_difference(const Tensor& a, int64_t from, const Tensor& b, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; ++i)
    most = std::max(most, std::abs(static_cast<double>(a[from + i]) - static_cast<double>(b[i])));
  return most;
}

/// Trained lengths that hold all of padded(), some of it, and next to nothing of it.
constexpr int trained_lengths[] = {16, 4, 2};

TWIN_CASE(
    "transformer: a padded batch says of each sample what is said of it alone, under every encoding, also beyond the "
    "trained length") {
  const auto check = [](const Net& net) {
    const Input in = padded();
    const Tensor all = net(in).logits;
    REQUIRE(all.shape() == Shape{3, 5, 12});
    for (int b = 0; b < 3; ++b) {
      const auto i = static_cast<size_t>(b);
      Input one;
      one.tokens = first(in.tokens.rows(b, b + 1), in.lengths[i]);
      one.target = first(in.target.rows(b, b + 1), in.target_lengths[i]);
      const Tensor alone = net(one).logits;
      CHECK(largest_difference(all, b * 60, alone, alone.size()) <= (sizeof(real) == 8 ? 1e-12 : 1e-5));
    }
  };
  for (const int trained : trained_lengths) {
    CAPTURE(trained);
    CHECK(under_every_encoding(check, {{"max_length", trained}}) == std::vector<std::string>{"sasa"});
  }
}

TWIN_CASE("transformer: padding says nothing whatever the options of an encoding are") {
  int ran = 0;
  for (const walk::Variant& v : walk::variants())
    for (const int trained : trained_lengths) {
      CAPTURE(v.label());
      CAPTURE(trained);
      std::unique_ptr<Net> net;
      try {
        net = std::make_unique<Net>(v.name, Options{{"max_length", trained}}, v.options);
      } catch (const Error&) {
        continue;  // no heads of this width
      }
      const Input in = padded();
      const Tensor all = (*net)(in).logits;
      Input one;
      one.tokens = first(in.tokens.rows(1, 2), 3), one.target = first(in.target.rows(1, 2), 5);
      const Tensor alone = (*net)(one).logits;
      CHECK(largest_difference(all, 60, alone, alone.size()) <= (sizeof(real) == 8 ? 1e-12 : 1e-5));
      ++ran;
    }
  CHECK((ran > 240 || !walk::walked_alone().empty()));
}

TWIN_CASE("transformer: no logit depends on what the decoder is given later, under every encoding") {
  under_every_encoding([](const Net& net) {
    Input in = padded();
    in.target_lengths = {};
    const Tensor before = net(in).logits;
    Input other = in;
    other.target = Ints(in.target.view()).reshape(3, 5);
    for (int b = 0; b < 3; ++b) other.target.data()[5 * b + 3] = 11 - other.target.data()[5 * b + 3];
    const Tensor after = net(other).logits;
    for (int b = 0; b < 3; ++b) {
      for (int64_t i = 0; i < 36; ++i) CHECK(before[60 * b + i] == after[60 * b + i]);
      CHECK(largest_difference(before, 60 * b + 36, after.rows(b, b + 1).reshape({60}).rows(36, 48), 12) > 1e-4);
    }
  });
}

TWIN_CASE("transformer: what a source token says reaches every logit, and the order of tokens only through positions") {
  const auto moved = [](const char* encoding) {
    const Net net(encoding);
    Input in = padded();
    in.lengths = {}, in.target_lengths = {};
    const Tensor before = net(in).logits;
    Input other = in;
    other.tokens = Ints(in.tokens.view()).reshape(3, 7);
    for (int b = 0; b < 3; ++b) std::reverse(other.tokens.data() + 7 * b, other.tokens.data() + 7 * b + 7);
    return largest_difference(before, 0, net(other).logits, before.size());
  };
  CHECK(moved("none") <= 1e-5);
  for (const char* encoding : {"sinusoidal", "learned", "rope", "transformer_xl", "t5", "shaw"}) {
    CAPTURE(encoding);
    CHECK(moved(encoding) > 1e-3);
  }
}

TWIN_CASE("transformer: a second call goes on from the encoder's answer of the first") {
  const Net net("sinusoidal");
  Input in = padded();
  const Output whole = net(in);
  REQUIRE(whole.state.size() == 1);
  in.state = whole.state;
  in.features = true;
  const Output again = net(in);
  for (int64_t i = 0; i < whole.logits.size(); ++i) CHECK(whole.logits[i] == again.logits[i]);
  REQUIRE(again.stages.size() == 2);
  CHECK(again.stages[0].shape() == Shape{3, 7, 24});
  CHECK(again.stages[1].shape() == Shape{3, 5, 24});
}

TWIN_CASE("transformer: torch's names, and the sizes of the paper's two") {
  Params params(1);
  family().make(Scope(params), {{"num_encoder_layers", 1}, {"num_decoder_layers", 1}}, position("none"));
  std::vector<std::string> names;
  for (const auto& e : params.entries()) names.push_back(e.name);
  std::vector<std::string> expected{"embed.weight"};
  const auto add = [&](const std::string& scope, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
      for (const char* kind : {"weight", "bias"})
        expected.push_back(scope + part + (part[std::string_view(part).size() - 1] == '_' ? "" : ".") + kind);
  };
  add("encoder.layers.0.", {"self_attn.in_proj_", "self_attn.out_proj", "linear1", "linear2", "norm1", "norm2"});
  add("decoder.layers.0.", {"self_attn.in_proj_", "self_attn.out_proj", "multihead_attn.in_proj_",
                            "multihead_attn.out_proj", "linear1", "linear2", "norm1", "norm2", "norm3"});
  add("encoder.", {"norm"}), add("decoder.", {"norm"});
  std::sort(names.begin(), names.end()), std::sort(expected.begin(), expected.end());
  CHECK(names == expected);
  for (const char* name : {"encoder.layers.0.self_attn.in_proj_bias", "encoder.norm.weight"})
    CHECK(params.find(name)->decay == Decay::no);
  const auto count = [](const char* row) {
    Params p(1, Draw::no);
    model(row).make(Scope(p), {}, position("sinusoidal"));
    return p.count();
  };
  // Of one layer: 4 (C^2 + C) an attention, 2 C F + F + C of the MLP, 2 C a norm; the embedding once.
  constexpr int64_t C = 512, F = 2048, attention = 4 * (C * C + C), mlp = 2 * C * F + F + C, norm = 2 * C;
  CHECK(count("transformer_base") ==
        37000 * C + 6 * (attention + mlp + 2 * norm) + 6 * (2 * attention + mlp + 3 * norm));
  CHECK(count("transformer_base") == 63'082'496);
  CHECK(count("transformer_big") == 214'245'376);
}

TWIN_CASE("transformer: weights under the names of PyTorch's tutorial give the same model") {
  const Options separate{{"tie", "none"}, {"target_vocab_size", 9}};
  const Net ours("sinusoidal", separate), theirs("none", {{"tie", "none"}, {"target_vocab_size", 9}, {"dropout", 0.0}});
  std::vector<io::NamedTensor> file;
  for (const auto& e : ours.params.entries()) {
    std::string name = e.name;
    if (name.starts_with("encoder.") || name.starts_with("decoder.")) name = "transformer." + name;
    if (name == "src_embed.weight") name = "src_tok_emb.embedding.weight";
    if (name == "tgt_embed.weight") name = "tgt_tok_emb.embedding.weight";
    file.emplace_back(name, e.value);
  }
  file.emplace_back("positional_encoding.pos_embedding", zeros({5, 1, 24}));
  const std::string path = "transformer_dialect_" TESSERA_STRING(TESSERA_NS) ".safetensors";
  io::write_tensors(path, file);
  Params params(2);
  Options options = small_options(family());
  options.insert(separate.begin(), separate.end());
  const auto net = family().make(Scope(params), options, position("sinusoidal"));
  io::load(params, path, {.dialect = family().dialect});
  std::remove(path.c_str());
  Input in = padded();
  in.target = Ints{1, 2, 3}.reshape(3, 1), in.target_lengths = {};
  const Tensor a = ours(in).logits, b = net->forward(Run{}, in).logits;
  REQUIRE(a.shape() == Shape{3, 1, 9});
  for (int64_t i = 0; i < a.size(); ++i) CHECK(a[i] == b[i]);
}

TWIN_CASE("transformer: what makes no sense is refused with one line") {
  const auto refusal = [](const Options& options) -> std::string {
    try {
      family().places(options);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(refusal({{"nhead", 5}}).find("5 heads do not divide the width 64") != std::string::npos);
  CHECK(refusal({{"target_vocab_size", 5}}).find("tie=output") != std::string::npos);
  CHECK(refusal({{"target_vocab_size", 5}, {"tie", "output"}}).empty());
  CHECK(refusal({{"d_model", 65536}, {"nhead", 1}, {"dim_feedforward", 65536}}) != "");
  const Net net("sinusoidal");
  Input in = padded();
  in.target = {};
  CHECK_THROWS_WITH_AS(net(in), doctest::Contains("the encoder and the decoder need one each"), Error);
  in = padded(), in.tokens.data()[3] = 12;
  CHECK_THROWS_AS(net(in), Error);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
