#include <doctest/doctest.h>

#include <algorithm>

#include "tessera/train/training/training.h"

using namespace tessera;

TEST_CASE("a configuration survives the way through its named values") {
  RunConfig c;
  c.model = "vit", c.position = "learned";
  c.model_options = {{"depth", 3}, {"mlp_ratio", 2.0}};
  c.optim.lr = 0.1 + 0.2;  // needs all 17 digits
  c.data.name = "imagefolder:a \"b\"\\c";
  c.augment.flip = true;
  const RunConfig back = config(values(c));
  CHECK(back.model == "vit");
  CHECK(back.position == "learned");
  CHECK(std::get<int>(back.model_options.at("depth")) == 3);
  CHECK(back.optim.lr == c.optim.lr);
  CHECK(back.data.name == c.data.name);
  CHECK(back.augment.flip);
  CHECK(values(back) == values(c));
  const std::string text = toml(c);
  CHECK(text.find("lr = 0.30000000000000004\n") != std::string::npos);
  CHECK(text.find("name = \"imagefolder:a \\\"b\\\"\\\\c\"\n") != std::string::npos);
  CHECK(text.find("mlp_ratio = 2.0\n") != std::string::npos);
  CHECK(text.find("\n[train]\nepochs = 30\n") != std::string::npos);
}

TEST_CASE("the text of a configuration, of which a run's digest is made, is that of the runs there are") {
  RunConfig c;
  CHECK(config_digest(c) ==
        "ebf16d1937517996");  // of the commit before betas were numbers: checkpoints of that time go on
  c.position = "learned", c.optim.betas = {0.8, 0.99};
  c.model_options = {
      {"depths", std::vector<int>{2, 4}}, {"mlp_ratio", 2.0}, {"qkv_bias", true}, {"global_pool", "avg"}};
  CHECK(config_digest(c) == "d85087aa532f759e");
  CHECK(toml(c).find("betas = \"[0.8, 0.99]\"\n") != std::string::npos);
  CHECK(config(values(c)).optim.betas == c.optim.betas);
  for (const char* word : {"[0.8, 0.99]", "[0.8,0.99]", "0.8, 0.99"})
    CHECK(config_digest(config([&] {
            Options all = values(c);
            all["optim.betas"] = word;
            return all;
          }())) == "d85087aa532f759e");
}

TEST_CASE("keys that are younger than some runs: in the digest when they change bits, refused where they do nothing") {
  const auto digest = [](auto change) {
    RunConfig c;
    change(c);
    return config_digest(c);
  };
  const std::string standard = digest([](RunConfig&) {});
  CHECK(digest([](RunConfig& c) { c.train.tta = "flip"; }) == standard);  // it changes no bit of what is to come
  std::vector<std::string> others{standard};
  others.push_back(digest([](RunConfig& c) { c.augment.crop = 2; }));
  others.push_back(digest([](RunConfig& c) { c.augment.crop = 2, c.augment.padding_mode = "reflect"; }));
  others.push_back(digest([](RunConfig& c) { c.augment.flip = true; }));
  others.push_back(digest([](RunConfig& c) { c.augment.flip = true, c.augment.flip_mode = "alternate"; }));
  others.push_back(digest([](RunConfig& c) { c.train.bn_momentum = 0.4; }));
  others.push_back(digest([](RunConfig& c) { c.optim = optim_config("muon"); }));
  others.push_back(digest([](RunConfig& c) { c.optim = optim_config("muon"), c.optim.normalize_weights = true; }));
  std::ranges::sort(others);
  CHECK(std::ranges::adjacent_find(others) == others.end());
  RunConfig c;
  c.train.bn_momentum = 0.4;
  CHECK(lanes_of(c.train, 100).bn_momentum == 0.4);
  const auto refused = [](auto change, const char* words) {
    RunConfig in_vain;
    change(in_vain);
    CHECK_THROWS_WITH_AS(check(in_vain), doctest::Contains(words), Error);
  };
  refused([](RunConfig& r) { r.augment.padding_mode = "reflect"; }, "augment.padding_mode");
  refused([](RunConfig& r) { r.augment.flip_mode = "alternate"; }, "augment.flip_mode");
  refused([](RunConfig& r) { r.augment.flip = true, r.augment.flip_mode = "sometimes"; }, "random | alternate");
  refused([](RunConfig& r) { r.optim.normalize_weights = true; }, "optim.opt");
  refused([](RunConfig& r) { r.train.tta = "shift"; }, "none | flip | flip_shift");
  refused([](RunConfig& r) { r.train.bn_momentum = 1.5; }, "train.bn_momentum");
}

TEST_CASE("every key of the run is listed once, with its default and help") {
  Options defaults = values(RunConfig());
  defaults.erase("model.name"), defaults.erase("position.name");
  CHECK(run_keys().size() == defaults.size());
  for (const auto& key : run_keys()) {
    CHECK(defaults.at(key.name) == key.value);
    CHECK(!key.help.empty());
  }
}

TEST_CASE("what makes no sense is refused by name") {
  CHECK_THROWS_WITH_AS(config({{"optim.learning_rate", 1.0}}), doctest::Contains("learning_rate"), Error);
  CHECK_THROWS_WITH_AS(config({{"optimizer.lr", 1.0}}), doctest::Contains("optim"), Error);
  const auto refused = [](auto change, const char* key) {
    RunConfig c;
    change(c);
    CHECK_THROWS_WITH_AS(check(c), doctest::Contains(key), Error);
  };
  CHECK_NOTHROW(check(RunConfig()));
  refused([](RunConfig& c) { c.optim.opt = "adam"; }, "optim.opt");
  refused([](RunConfig& c) { c.optim.betas = {0.9}; }, "betas");
  refused([](RunConfig& c) { c.optim.betas = {0.9, 1.5}; }, "betas");
  refused([](RunConfig& c) { c.train.accumulate = 0; }, "train.accumulate");
  refused([](RunConfig& c) { c.data.fraction = 0; }, "data.fraction");
  refused([](RunConfig& c) { c.train.label_smoothing = 1; }, "label_smoothing");
}
