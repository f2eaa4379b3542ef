// Configuration as a library, without a process: layers, shortcuts, and config.toml that reads back bit for bit.
#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/recipes.h"
#include "tests/cli/program.h"

namespace tessera::cli {

TEST_CASE("config.toml reads back to equal values, bit for bit") {
  ConfigLayers config;
  config.read_recipe("vit_cifar10_small");
  config.assign("optim.lr=0.1000000000000000055511151231257827");
  config.assign("optim.weight_decay=1e-300");
  config.assign("augment.erase=0.30000000000000004");
  config.assign("train.label_smoothing=0");
  config.assign("data.name=imagefolder:/a \"quoted\"\\path with spaces");
  const RunConfig first = config.resolve();
  ConfigLayers again;
  again.read(toml(first), "config.toml");
  const RunConfig second = again.resolve();
  CHECK(values(first) == values(second));  // doubles by ==, and none of them is NaN
  CHECK(toml(first) == toml(second));
}

TEST_CASE(
    "a list of numbers is said as TOML's, as text or on the command line, and a config.toml of any of them is the "
    "same") {
  std::string first;
  for (const char* said :
       {"optim.betas = [0.8, 0.99]", "optim.betas = \"[0.8, 0.99]\"", "[optim]\nbetas = \"0.8,0.99\"", ""}) {
    ConfigLayers config;
    if (*said) config.read(said, "r.toml");
    if (!*said) config.assign("optim.betas=[0.8,0.99]");
    const RunConfig c = config.resolve();
    CHECK(c.optim.betas == std::vector<double>{0.8, 0.99});
    if (first.empty()) first = toml(c);
    CHECK(toml(c) == first);
    ConfigLayers again;
    again.read(toml(c), "config.toml");
    CHECK(again.resolve().optim.betas == c.optim.betas);
  }
  for (const char* said : {"[0.8]", "[0.8, 1]", "[0, true]", "[\"a\", 0.9]", "[[0.8], [0.9]]", "[0.8, nan]", "0.9"}) {
    ConfigLayers config;
    CHECK_THROWS_AS((config.read(fmt::format("optim.betas = {}", said), "r.toml"), config.resolve()), Usage);
  }
}

TEST_CASE("every embedded recipe resolves") {
  REQUIRE(recipes().size() >= 2);
  for (const Recipe& r : recipes()) {
    CAPTURE(r.name);
    ConfigLayers config;
    config.read_recipe(r.name);
    CHECK_NOTHROW(config.resolve());
  }
}

TEST_CASE("layers: implied < recipe < command line") {
  ConfigLayers config;
  config.read("[model]\nname = \"vit\"\ndepth = 3\n[train]\nepochs = 7\nbatch_size = 16\n", "r.toml");
  config.imply("model.depth", 9);
  config.imply("model.num_classes", 17);
  config.imply("model.no_such_key", 17);
  config.set("train.batch_size", "32");
  const RunConfig c = config.resolve();
  const Options r = values(c);
  CHECK(r.at("model.depth") == Value(3));
  CHECK(r.at("model.num_classes") == Value(17));
  CHECK(r.at("train.epochs") == Value(7));
  CHECK(r.at("train.batch_size") == Value(32));
  CHECK(config.replaced().empty());
}

TEST_CASE("a model named on the command line replaces the recipe's [model] and [position]") {
  ConfigLayers config;
  config.read("model.depth = 3\nposition.name = \"sincos2d\"\ntrain.epochs = 7\n", "r.toml");
  config.set("model.name", "vit");
  const RunConfig c = config.resolve();
  const Options r = values(c);
  CHECK(r.at("model.depth") != Value(3));
  CHECK(c.position != "sincos2d");
  CHECK(r.at("train.epochs") == Value(7));
  CHECK(config.replaced().size() == 1);
}

TEST_CASE("a bare name is the model's key, and no other section's") {
  ConfigLayers config;
  config.assign("depth=2");
  CHECK(values(config.resolve()).at("model.depth") == Value(2));
  config.assign("weight_decay=0.5");
  CHECK_THROWS_WITH_AS(config.resolve(), doctest::Contains("optim.weight_decay"), Usage);
}

}  // namespace tessera::cli
