// What a recipe may hold, and what of it gives way to a model or an optimiser that is named beside it.
#include <doctest/doctest.h>

#include <algorithm>

#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/recipes.h"

namespace tessera::cli {
namespace {

std::string refusal(const std::string& toml) {
  try {
    ConfigLayers().read(toml, "r.toml");
  } catch (const Usage& e) {
    return e.what();
  }
  return "";
}

/// "a.a.a = 1" in brackets behind `before`. An array of tables is no value, which is said when all of it has been parsed.
std::string nested(const std::string& before, int levels) {
  std::string text = "x = [" + before + ", {";
  for (int i = 1; i < levels; ++i) text += "a.";
  return text + "a = 1}]\n";
}
bool was_parsed(const std::string& error) { return error.find("must be true or false") != std::string::npos; }

/// The table of keys of [optim] that mean something with some optimisers only.
std::vector<Key> of_optimisers() {
  std::vector<Key> keys;
  std::ranges::copy_if(run_keys(), std::back_inserter(keys),
                       [](const Key& k) { return k.domain.with && k.domain.with == std::string_view("opt"); });
  return keys;
}

constexpr const char* optimisers[] = {"adamw", "sgd", "lion", "muon", "schedule_free_adamw", "sam"};

RunConfig with_optimiser(ConfigLayers config, const std::string& opt) {
  config.set("optim.opt", opt);
  if (opt == "schedule_free_adamw")
    for (const char* said : {"sched.sched=constant", "train.ema_decay=0", "sched.min_lr=0"}) config.assign(said);
  return config.resolve();
}

}  // namespace

TEST_CASE("recipes: no word in quotes hides what is nested too deeply, whatever its quotes") {
  int words = 0;
  for (const std::string letters : {"\"x", "'x", "\"'", "\"\\", "\"\n", "'\n"})
    for (unsigned length = 1; length <= 9; ++length)
      for (unsigned code = 0; code < (1u << length); ++code) {
        std::string word;
        for (unsigned i = 0; i < length; ++i) word += letters[code >> i & 1];
        words += was_parsed(refusal(nested(word, 3)));
        const std::string deep = refusal(nested(word, 100));
        INFO(word);
        REQUIRE(!deep.empty());
        REQUIRE(!was_parsed(deep));
      }
  CHECK(words > 100);
  for (const char* word : {"\"\"\"x\"\"\"", "\"\"\"x\"\"\"\"", "\"\"\"x\"\"\"\"\"", "'''x'''", "'''x'''''", "\"\"",
                           "\"\\\"\"", "'\\'", "\"\"\"\n\\\"\"\"\"", "\"\"\"\"\"\""}) {
    INFO(word);
    CHECK(was_parsed(refusal(nested(word, 3))));
    CHECK(refusal(nested(word, 200'000)).find("levels of brackets") != std::string::npos);
  }
}

TEST_CASE("recipes: what stands in quotes or in a comment nests nothing") {
  const std::string many(100, '['), dots(100, '.');
  for (const std::string& word :
       {"\"" + many + dots + "\"", "'" + many + dots + "'", "\"\"\"\n" + many + "\"\"" + dots + "\"\"\"",
        "'''" + dots + "\n'" + many + "'''", "1 # " + many + dots})
    CHECK(refusal("x = " + word + "\n").empty());
}

TEST_CASE("recipes: an optimiser named on the command line takes the place of any other, with all that is that one's") {
  REQUIRE(of_optimisers().size() >= 5);
  for (const Recipe& r : recipes())
    for (const std::string opt : optimisers) {
      INFO(r.name, " ", opt);
      ConfigLayers config;
      config.read_recipe(r.name);
      CHECK(with_optimiser(config, opt).optim.opt == opt);
    }
  for (const std::string was : optimisers) {
    std::string text = "[optim]\nopt = \"" + was + "\"\nlr = 0.123\n";
    for (const Key& k : of_optimisers()) {
      if (std::ranges::none_of(k.domain.is, [&](const char* name) { return name && name == was; })) continue;
      const std::string name = k.name.substr(k.name.find('.') + 1);
      text += name + (name == "adjust_lr_fn"        ? " = \"match_rms_adamw\"\n"
                      : name == "base_optimizer"    ? " = \"sgd\"\n"
                      : name == "normalize_weights" ? " = true\n"
                      : name == "ns_steps"          ? " = 3\n"
                                                    : " = 0.25\n");
    }
    if (was == "schedule_free_adamw") text += "[sched]\nsched = \"constant\"\n";
    ConfigLayers config;
    config.read(text, "r.toml");
    REQUIRE(config.resolve().optim.lr == 0.123);
    for (const std::string opt : optimisers) {
      INFO(was, " ", opt);
      const RunConfig c = with_optimiser(config, opt);
      const std::string had = was == "sam" ? "sgd" : was, has = opt != "sam" ? opt : was == "sam" ? "sgd" : "adamw";
      CHECK((c.optim.lr == 0.123) == (had == has));  // sam has another one take the steps
      ConfigLayers named = config;
      named.set("optim.opt", opt);
      CHECK(named.replaced().empty() == (opt == was || (was == "adamw" && opt == "sam")));
    }
  }
  ConfigLayers same;  // sam is AdamW here, whose rate stays; only what is its own goes
  same.read("[optim]\nopt = \"sam\"\nlr = 0.123\nrho = 0.2\n", "r.toml");
  CHECK(with_optimiser(same, "adamw").optim.lr == 0.123);
}

TEST_CASE("recipes: patterns of parameters go with the family of models they are for") {
  const auto with_model = [](const std::string& name) {
    ConfigLayers config;
    config.read("[model]\nname = \"airbench94\"\n[optim]\nlr = 0.02\nlr_scale = \"whiten.bias=0.3\"\nfreeze = \"x\"\n",
                "r.toml");
    if (!name.empty()) config.set("model.name", name);
    return std::pair(config.resolve().optim, config.replaced());
  };
  for (const char* kin : {"", "airbench", "airbench94"}) CHECK(with_model(kin).first.lr_scale == "whiten.bias=0.3");
  const auto [optim, lines] = with_model("resnet20");
  CHECK(optim.lr_scale.empty());
  CHECK(optim.freeze.empty());
  CHECK(optim.lr == 0.02);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find("--model leaves out optim.lr_scale") == 0);
  ConfigLayers no_model;  // for whatever model is named
  no_model.read("optim.lr_scale = \"head.*=10\"\n", "r.toml");
  no_model.set("model.name", "swin");
  CHECK(no_model.resolve().optim.lr_scale == "head.*=10");
}

TEST_CASE("recipes: who replaces a section is said by the option that did") {
  ConfigLayers config;
  config.read("[model]\nname = \"vit\"\ndepth = 3\n[position]\nname = \"rope_axial\"\ntheta = 5.0\n", "r.toml");
  CHECK(config.replaced().empty());
  ConfigLayers weights = config, model = config, position = config;
  weights.adapt("model.name", "swin"), weights.adapt("position.name", "none");
  CHECK(weights.replaced() == std::vector<std::string>{"--weights replaces the recipe's [model] section",
                                                       "--weights replaces the recipe's [position] section"});
  model.set("model.name", "swin");
  CHECK(model.replaced() == std::vector<std::string>{"--model replaces the recipe's [model] section",
                                                     "--model replaces the recipe's [position] section"});
  position.set("position.name", "none");
  CHECK(position.replaced() == std::vector<std::string>{"--position replaces the recipe's [position] section"});
}

}  // namespace tessera::cli
