#include "tessera/nn/weights.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <cmath>

#include "tessera/core/io/replace_file.h"
#include "tests/unit/scratch.h"

namespace tessera::io {
namespace {

struct Net {
  explicit Net(uint64_t seed) : params(seed) {
    const Scope s(params);
    w = (s / "fc").param("weight", {6, 4}, normal(1));
    b = (s / "fc").param("bias", {6}, normal(1));
    mean = (s / "bn").buffer("running_mean", {6}, normal(1));
  }
  Params params;
  Tensor w, b, mean;
};
bool equal(const Tensor& a, const Tensor& b) {
  return std::equal(a.values().begin(), a.values().end(), b.values().begin(), b.values().end());
}

TEST_CASE("weights: a round trip brings back every parameter and buffer") {
  const Scratch dir;
  Net one(1), two(2);
  REQUIRE(!equal(one.w, two.w));
  save(one.params, dir / "w", {{"model", "net"}});
  CHECK(load(two.params, dir / "w").at("model") == "net");
  CHECK(equal(one.w, two.w));
  CHECK(equal(one.b, two.b));
  CHECK(equal(one.mean, two.mean));
}

TEST_CASE("weights: what does not fit is listed in one error, and nothing is changed") {
  const Scratch dir;
  Net net(1);
  const Tensor before = net.w.copy();
  write_tensors(dir / "w", {{"fc.weight", full({6, 4}, 0)}, {"fc.bias", full({7}, 0)}, {"head.weight", full({1}, 0)}});
  std::string message;
  try {
    load(net.params, dir / "w");
  } catch (const Error& e) {
    message = e.what();
  }
  CAPTURE(message);
  CHECK(message.find("1 missing (bn.running_mean)") != std::string::npos);
  CHECK(message.find("1 unknown to the model ('head.weight')") != std::string::npos);
  CHECK(message.find("1 of another shape ('fc.bias' is (7,) in the file, (6,) in the model)") != std::string::npos);
  CHECK(equal(net.w, before));

  std::vector<NamedTensor> many;
  for (int i = 0; i < 1000; ++i) many.emplace_back(fmt::format("x{}", i), full({1}, 0));
  write_tensors(dir / "w", many);
  CHECK_THROWS_WITH_AS(load(net.params, dir / "w"), doctest::Contains("and 994 more"), Error);
}

TEST_CASE("weights: other programs' derived buffers are skipped, F64 narrows") {
  const Scratch dir;
  Net net(1);
  const std::vector<double> w(24, 0.1), six(6, 1.0 / 3);
  const std::vector<int64_t> index = {7};
  const auto bytes = [](const auto& v) {
    return std::span(reinterpret_cast<const char*>(v.data()), v.size() * sizeof v[0]);
  };
  write_safetensors(dir / "w", std::vector<TensorBytes>{{"fc.weight", DType::f64, {6, 4}, bytes(w)},
                                                        {"fc.bias", DType::f64, {6}, bytes(six)},
                                                        {"bn.running_mean", DType::f64, {6}, bytes(six)},
                                                        {"bn.num_batches_tracked", DType::i64, {}, bytes(index)},
                                                        {"attn_mask", DType::i64, {1}, bytes(index)},
                                                        {"a.relative_position_index", DType::i64, {1}, bytes(index)}});
  load(net.params, dir / "w");
  CHECK(net.w[0] == 0.1F);
  CHECK(net.b[5] == static_cast<float>(1.0 / 3));
}

TEST_CASE("weights: a dialect renames, drops and joins") {
  const Scratch dir;
  Net net(1);
  write_tensors(dir / "w", {{"layer.0.key.w", full({2, 4}, 2)},
                            {"layer.0.query.w", full({2, 4}, 1)},
                            {"layer.0.value.w", full({2, 4}, 3)},
                            {"layer.0.b", full({6}, 4)},
                            {"stats", full({6}, 5)},
                            {"optimizer.x", full({1}, 6)}});
  LoadOptions options;
  options.dialect = {{"layer.*.query.w", "fc.weight", 0, 3}, {"layer.*.key.w", "fc.weight", 1, 3},
                     {"layer.*.value.w", "fc.weight", 2, 3}, {"layer.*.b", "fc.bias"},
                     {"stats", "bn.running_mean"},           {"optimizer.*", ""}};
  load(net.params, dir / "w", options);
  CHECK(net.w[0] == 1);
  CHECK(net.w[8] == 2);
  CHECK(net.w[23] == 3);
  CHECK(net.b[0] == 4);
  CHECK(net.mean[5] == 5);

  options.dialect.erase(options.dialect.begin() + 1);  // without its key part the weight is not whole
  CHECK_THROWS_WITH_AS(load(net.params, dir / "w", options), doctest::Contains("1 missing (fc.weight)"), Error);
  CHECK(renamed("layers.3.blocks.1.norm.weight", {{"layers.*.blocks.*.norm.*", "s*.b*.n.*"}}).to == "s3.b1.n.weight");
}

/// The definition: each * takes as little as it can, the first one first.
bool plainly(std::string_view pattern, std::string_view name, std::vector<std::string>& wilds) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  name.remove_prefix(star);
  for (size_t n = 0; n <= name.size(); ++n) {
    wilds.emplace_back(name.substr(0, n));
    if (plainly(pattern.substr(star + 1), name.substr(n), wilds)) return true;
    wilds.pop_back();
  }
  return false;
}
std::string word(uint64_t code, std::string_view letters, int length) {
  std::string s;
  for (; length > 0; --length, code /= letters.size()) s += letters[code % letters.size()];
  return s;
}

TEST_CASE("weights: a pattern takes what its definition does, and a name of any length costs its length") {
  for (int p = 0; p <= 5; ++p)
    for (uint64_t i = 0; i < static_cast<uint64_t>(std::pow(3, p)); ++i)
      for (int n = 0; n <= 5; ++n)
        for (uint64_t k = 0; k < 1u << n; ++k) {
          const std::string pattern = word(i, "ab*", p), name = word(k, "ab", n);
          std::vector<std::string> wilds;
          const bool is = plainly(pattern, name, wilds);
          std::string to, filled;
          for (const std::string& w : wilds) to += "<*>", filled += "<" + w + ">";
          const Rename r = renamed(name, {{pattern, to}});
          INFO(pattern, " ", name);
          REQUIRE(matches(pattern, name) == is);
          REQUIRE(r.to == (is ? filled : name));
        }
  std::string long_name = "encoder.layers.";
  for (int i = 0; i < 200'000; ++i) long_name += ".blocks.";
  CHECK_FALSE(matches("encoder.layers.*.blocks.*.norm.weight", long_name));
  CHECK_FALSE(matches("*.blocks.*.blocks.*.blocks.*.blocks.*.bias", long_name));
  CHECK(matches("*.blocks.*", long_name));
}

TEST_CASE("weights: a table of another grid may be fitted") {
  const Scratch dir;
  Net net(1);
  write_tensors(dir / "w",
                {{"fc.weight", full({6, 4}, 1)}, {"fc.bias", full({3}, 2)}, {"bn.running_mean", full({6}, 1)}});
  LoadOptions options;
  options.fit = [](const Params::Entry& e, const Tensor& t) { return full(e.value.shape(), t[0] + 1); };
  load(net.params, dir / "w", options);
  CHECK(net.b[5] == 3);
}

}  // namespace
}  // namespace tessera::io
