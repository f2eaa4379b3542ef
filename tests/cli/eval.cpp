// Evaluation of a run on other data than its own, and single ops at a model's sizes.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace tessera::test {

using nlohmann::json;

TEST_CASE("eval: a folder of the same classes is judged by their names, whatever their order") {
  const Folder folder;
  const std::string run = folder / "run", pictures = folder / "pictures";
  // large enough to be right on nearly all, so that exchanged classes would show
  const Result trained = tessera({"train", "--data", "where:quadrant", "--out", run, "--epochs", "6", "data.train_size=1600",
                                  "data.test_size=80", "model.depth=1", "model.embed_dim=32", "model.num_heads=2", "--batch-size",
                                  "16", "optim.lr=3e-3", "model.class_token=false", "model.global_pool=avg"});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  const double own = json::parse(read(run + "/summary.json"))["test_acc1"];
  REQUIRE(own > 0.6);
  REQUIRE(tessera({"data", "make", "where:quadrant", "--out", pictures, "--train-size", "80", "--test-size", "200"}).code == 0);
  const Result r = tessera({"eval", "--run", run, "--data", "imagefolder:" + pictures, "--json"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  const json said = json::parse(r.out);
  CHECK(said["images"] == 200);
  CHECK(said["classes"][0] == "top left");  // the run's order; the folder's is alphabetical
  CHECK(said["acc1"].get<double>() > 0.6);
  check_refused(tessera({"eval", "--run", run, "--data", "where:relation"}), 1, {"\"left\"", "top left, top right"});
}

TEST_CASE("bench ops: at the sizes of the model that is asked for") {
  const Result r = tessera({"bench", "ops", "--model", "vit", "--batch-size", "2", "--json", "embed_dim=32", "num_heads=4", "depth=1"});
  INFO(r.err);
  REQUIRE(r.code == 0);
  const json list = json::parse(r.out);
  REQUIRE(list.size() > 5);
  CHECK(list[0]["op"] == "linear 32 -> 96 (qkv)");
  CHECK(list[3]["op"] == "attention 4 heads of 8");
  for (const auto& op : list) CHECK(op["forward_us"].get<double>() > 0);
}

}  // namespace tessera::test
