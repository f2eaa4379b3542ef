// Evaluation of a run on other data than its own, and single ops at a model's sizes.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace tessera::test {

using nlohmann::json;

TEST_CASE("eval: a folder of the same classes is judged by their names, whatever their order") {
  const Folder folder;
  const std::string run = folder / "run", pictures = folder / "pictures";
  // the run's own test pictures, once made in memory and once as a folder, whose classes are in alphabetical order
  const Result trained =
      tessera({"train", "--data", "where:quadrant", "--out", run, "--epochs", "1", "data.train_size=96",
               "data.test_size=200", "data.seed=3", "model.depth=1", "model.embed_dim=16", "model.num_heads=2",
               "model.patch_size=8", "--batch-size", "16"});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", pictures, "--train-size", "96", "--test-size", "200",
                   "--seed", "3"})
              .code == 0);
  const Result own = tessera({"eval", "--run", run, "--json"}),
               other = tessera({"eval", "--run", run, "--data", "imagefolder:" + pictures, "--json"});
  INFO(other.err);
  REQUIRE(own.code == 0);
  REQUIRE(other.code == 0);
  const json a = json::parse(own.out), b = json::parse(other.out);
  CHECK(b["classes"] == a["classes"]);
  CHECK(b["confusion"] == a["confusion"]);  // by label and prediction
  CHECK(b["acc1"] == a["acc1"]);
  CHECK(b["loss"].get<double>() == doctest::Approx(a["loss"].get<double>()));
  bool told_apart = false;  // else exchanged classes would not show
  for (size_t k = 1; k < 4; ++k) told_apart = told_apart || a["confusion"][k] != a["confusion"][0];
  CHECK(told_apart);
  check_refused(tessera({"eval", "--run", run, "--data", "where:relation"}), 1, {"\"left\"", "top left, top right"});
}

TEST_CASE("bench ops: at the sizes of the model that is asked for") {
  const Result r = tessera(
      {"bench", "ops", "--model", "vit", "--batch-size", "2", "--json", "embed_dim=32", "num_heads=4", "depth=1"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  const json list = json::parse(r.out);
  REQUIRE(list.size() > 5);
  CHECK(list[0]["op"] == "linear 32 -> 96 (qkv)");
  CHECK(list[3]["op"] == "attention 4 heads of 8");
  for (const auto& op : list) CHECK(op["forward_us"].get<double>() > 0);
}

}  // namespace tessera::test
