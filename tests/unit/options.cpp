#include "tessera/nn/options.h"

#include <doctest/doctest.h>

#include <cmath>

namespace tessera {
namespace {

struct Config {
  bool qkv_bias = true;
  int embed_dim = 128;
  double mlp_ratio = 2;
  std::string global_pool = "token";
  std::vector<int> depths = {2, 4};
  std::vector<double> betas = {0.9, 0.999};
};
Fields<Config> fields() {
  static const Field<Config> table[] = {
      {"qkv_bias", &Config::qkv_bias, ""},   {"embed_dim", &Config::embed_dim, ""},
      {"mlp_ratio", &Config::mlp_ratio, ""}, {"global_pool", &Config::global_pool, ""},
      {"depths", &Config::depths, ""},       {"betas", &Config::betas, ""}};
  return table;
}
std::string error_of(const Options& o) {
  Config c;
  try {
    assign(c, fields(), o, "vit");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("options: a table of fields reads and writes a configuration") {
  Config c;
  assign(c, fields(), {{"qkv_bias", "false"}, {"embed_dim", "64"}, {"mlp_ratio", 4}, {"depths", "[1, 2,3 ]"}}, "vit");
  CHECK_FALSE(c.qkv_bias);
  CHECK(c.embed_dim == 64);
  CHECK(c.mlp_ratio == 4);
  CHECK(c.depths == std::vector<int>{1, 2, 3});
  const Options all = read(c, fields());
  CHECK(all.size() == 6);
  CHECK(text(all.at("betas")) == "[0.9, 0.999]");
  CHECK(text(all.at("depths")) == "[1, 2, 3]");
  CHECK(text(all.at("global_pool")) == "token");
  Config again;
  Options as_text;
  for (const auto& [k, v] : all) as_text[k] = text(v);
  assign(again, fields(), as_text, "vit");
  CHECK(read(again, fields()) == all);
}

TEST_CASE("options: errors name the key, what was expected and the nearest name") {
  CHECK(error_of({{"embed_dimm", 3}}).find("did you mean \"embed_dim\"") != std::string::npos);
  CHECK(error_of({{"mpl_ratio", 3}}).find("did you mean \"mlp_ratio\"") != std::string::npos);
  CHECK(error_of({{"xyzzy", 3}}).find("known: qkv_bias, embed_dim") != std::string::npos);
  CHECK(error_of({{"embed_dim", "12x"}}).find("embed_dim is 12x, expected an integer") != std::string::npos);
  CHECK(error_of({{"embed_dim", 2.5}}).find("embed_dim is 2.5, expected an integer") != std::string::npos);
  CHECK(error_of({{"embed_dim", "99999999999"}}).find("expected an integer") != std::string::npos);
  CHECK(error_of({{"embed_dim", ""}}).find("embed_dim is empty") != std::string::npos);
  CHECK(error_of({{"mlp_ratio", "nan"}}).find("expected a number") != std::string::npos);
  CHECK(error_of({{"mlp_ratio", "1e999"}}).find("expected a number") != std::string::npos);
  CHECK(error_of({{"qkv_bias", "maybe"}}).find("expected true or false") != std::string::npos);
  CHECK(error_of({{"depths", "1,,2"}}).find("expected integers") != std::string::npos);
  CHECK(error_of({{"depths", "1,2,"}}).find("expected integers") != std::string::npos);
  CHECK(error_of({{"embed_dim", true}}).find("expected an integer") != std::string::npos);
}

TEST_CASE("options: values as text are exact and shortest") {
  CHECK(text(Value(0.1)) == "0.1");
  CHECK(text(Value(1e-6)) == "1e-06");
  CHECK(text(Value(true)) == "true");
  for (double d : {0.1 + 0.2, 1.0 / 3, 3e300, -0.0, 5e-324})
    CHECK(std::get<double>(parse("x", text(Value(d)), Value(0.0))) == d);
  CHECK(std::get<int>(convert("x", Value(4.0), Value(1))) == 4);
  CHECK(std::get<std::vector<int>>(convert("x", Value(4), Value(std::vector<int>{}))) == std::vector<int>{4});
  CHECK(std::get<std::vector<int>>(parse("x", "[]", Value(std::vector<int>{}))).empty());
  CHECK(std::get<int>(parse("x", " -7 ", Value(1))) == -7);
}

TEST_CASE("options: lists of numbers are values, whatever they are said in") {
  const auto betas = [](const Value& v) {
    Config c;
    assign(c, fields(), {{"betas", v}}, "optim");
    return c.betas;
  };
  using Reals = std::vector<double>;
  for (const char* s : {"[0.9, 1]", "[0.9,1.0]", " 0.9 , 1e0", "0.90,1"}) CHECK(betas(s) == Reals{0.9, 1});
  CHECK(betas(Reals{0.1 + 0.2, 1.0 / 3}) == Reals{0.1 + 0.2, 1.0 / 3});
  CHECK(betas(text(Value(Reals{0.1 + 0.2, -0.0, 5e-324}))) == Reals{0.1 + 0.2, -0.0, 5e-324});
  CHECK(betas(std::vector<int>{1, 2}) == Reals{1, 2});
  CHECK(betas(3) == Reals{3});
  CHECK(betas(0.5) == Reals{0.5});
  CHECK(betas("[]").empty());
  for (const char* s : {"[0.9, nan]", "inf,1", "[0.9,]", "[a]", "[[1], [2]]", "0.9 1"})
    CHECK(error_of({{"betas", s}}).find("betas is ") != std::string::npos);
  CHECK(error_of({{"betas", true}}).find("expected a list of numbers") != std::string::npos);
  CHECK(error_of({{"betas", Reals{0.9, std::nan("")}}}).find("finite") != std::string::npos);
  // integers written as reals are integers, and no others
  CHECK(std::get<std::vector<int>>(convert("x", Value(Reals{2, 4}), Value(std::vector<int>{}))) == std::vector{2, 4});
  CHECK(error_of({{"depths", Reals{2, 4.5}}}).find("expected integers") != std::string::npos);
  CHECK(text(within(0, 1), Value(Reals{})) == "[0, 1]");
}

TEST_CASE("options: rows that structs share stand once") {
  struct Other {
    int embed_dim = 3;
    bool extra = false;
  };
  static const Fields<Other> table =
      joined<Other>({{{"embed_dim", &Other::embed_dim, ""}}, {{"extra", &Other::extra, ""}}});
  CHECK(read(Other(), table) == Options{{"embed_dim", 3}, {"extra", false}});
}

TEST_CASE("options: the nearest name") {
  const std::vector<std::string> names{"learned", "sinusoidal", "sincos2d", "rope_axial", "none"};
  CHECK(nearest("lerned", names) == "learned");
  CHECK(nearest("sin_cos2d", names) == "sincos2d");
  CHECK(nearest("rope", names) == "rope_axial");
  CHECK(nearest("noen", names) == "none");
  CHECK(nearest("quaternion", names).empty());
  CHECK(nearest("", names).empty());
}

}  // namespace
}  // namespace tessera
