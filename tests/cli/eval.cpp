// Evaluation of a run on other data than its own, and single ops at a model's sizes.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace tessera::test {

using nlohmann::json;

namespace {

bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

}  // namespace

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

TEST_CASE("eval --model --weights: what the run says, from its weights alone; what the data decide need not be said") {
  const Folder folder;
  const std::string run = folder / "run", weights = run + "/weights.safetensors";
  const std::vector<std::string> same = {"--data",        "where:relation",      "--model",
                                         "vit",           "--position",          "rope_axial",
                                         "model.depth=1", "model.embed_dim=16",  "model.num_heads=2",
                                         "patch_size=8",  "class_token=false",   "global_pool=avg",
                                         "data.seed=3",   "data.train_size=500", "data.test_size=400"};
  const auto with = [](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return tessera(words);
  };
  const Result trained = with({"train", "--out", run, "--epochs", "1", "--batch-size", "16"}, same);
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  for (const std::vector<std::string>& how : {std::vector<std::string>{}, {"--img-size", "48"}, {"--split", "train"}}) {
    std::vector<std::string> words = {"eval", "--weights", weights, "--json"};
    words.insert(words.end(), how.begin(), how.end());
    const Result of_run = with({"eval", "--run", run, "--json"}, how), of_weights = with(words, same);
    INFO(of_weights.err);
    REQUIRE(of_run.code == 0);
    REQUIRE(of_weights.code == 0);
    json a = json::parse(of_weights.out), b = json::parse(of_run.out);
    CHECK(a["model"] == "vit");
    CHECK(a["position"] == "rope_axial");
    CHECK(a["weights"] == weights);
    CHECK(a["epoch"].is_null());
    for (const char* key : {"model", "position", "run", "weights", "seconds"}) a.erase(key), b.erase(key);
    CHECK(a == b);  // loss, accuracy, every cell of the confusion, to the bit
  }
  check_refused(with({"eval", "--weights", weights, "num_classes=7"}, same), 2, {"num_classes is 7", "4 classes"});
  check_refused(tessera({"eval", "--weights", weights, "--model", "vit", "--data", "where"}), 1,
                {weights, "missing", "blocks.1"});
  // what is said of data in vain, and what no memory holds
  for (const auto& [word, key] : {std::pair("data.img_size=64", "data.img_size"),
                                  {"data.n_mels=80", "data.n_mels"},
                                  {"data.test_size=300000000", "samples of where"}}) {
    std::vector<std::string> words = {"eval", "--weights", weights};
    words.insert(words.end(), same.begin(), same.end());
    check_refused(with(words, {word}), 2, {key});
  }
  // of a data folder that is not there, the set that is made instead is named, and has no folder
  const Result elsewhere = tessera({"eval", "--weights", weights, "--model", "vit", "--data-dir", folder / "typo"},
                                   {.env = {"TESSERA_DATA=" + (folder / "none")}, .folder = folder.path()});
  check_refused(elsewhere, 2, {"--data-dir", "where"});
  check_refused(tessera({"eval", "--json"}), 2, {"--run RUNDIR", "--model NAME --weights FILE"});
  check_refused(tessera({"eval", "--run", run, "--weights", weights, "--model", "vit"}), 2, {"either"});
  check_refused(tessera({"eval", "--weights", weights}), 2, {"--model NAME"});
  check_refused(tessera({"eval", "--weights", weights, "--model", "vit", "--best"}), 2, {"--best"});
  for (const std::string word : {"--model=vit", "--position=none", "depth=3", "--precision=bf16"})
    check_refused(tessera({"eval", "--run", run, word}), 2, {"go with --weights"});
  check_refused(tessera({"eval", "--weights", run, "--model", "vit"}), 1, {"not a regular file"});
  check_refused(tessera({"eval", "--weights", weights, "--model", "vit", "train.epochs=3"}), 2, {"train.epochs"});
}

TEST_CASE("eval --weights --img-size: a model made for that size is asked at it, its table as it is in the file") {
  const Folder folder;
  const std::string weights = folder / "w.safetensors";
  const std::vector<std::string> model = {
      "--model",           "vit",           "model.depth=1",     "model.embed_dim=16",
      "model.num_heads=2", "patch_size=16", "model.img_size=64", "num_classes=4"};
  std::vector<std::string> init = {"init", "--output", weights},
                           eval = {"eval", "--weights", weights, "--data", "where"};
  init.insert(init.end(), model.begin(), model.end()), eval.insert(eval.end(), model.begin(), model.end());
  REQUIRE(tessera(init).code == 0);
  check_refused(tessera(eval), 2, {"64 x 64", "32 x 32"});
  eval.insert(eval.end(), {"--img-size", "64", "data.test_size=16"});
  const Result r = tessera(eval);
  INFO(r.err);
  CHECK(r.code == 0);
  CHECK_FALSE(has(r.err, "resampled"));
  CHECK(has(r.out, "16 images of 64 x 64"));
}

TEST_CASE("eval --tta: the plain figure and that of the views; refused where a mirror has another label") {
  const Folder folder;
  const std::string run = folder / "run", pictures = folder / "pictures";
  REQUIRE(
      tessera({"data", "make", "where:distance", "--out", pictures, "--train-size", "48", "--test-size", "40"}).code ==
      0);
  const Result trained = tessera({"train", "--data", "imagefolder:" + pictures, "--out", run, "--epochs", "1",
                                  "--model", "vit", "model.depth=1", "model.embed_dim=16", "model.num_heads=2",
                                  "model.patch_size=8", "--batch-size", "16", "train.tta=flip"});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(has(trained.err, "test (flip) "));
  const json summary = json::parse(read(run + "/summary.json"));
  CHECK(summary["tta"] == "flip");
  const Result plain = tessera({"eval", "--run", run, "--json"}),
               flip = tessera({"eval", "--run", run, "--json", "--tta", "flip"}),
               shift = tessera({"eval", "--run", run, "--json", "--tta", "flip_shift"});
  for (const Result* r : {&plain, &flip, &shift}) {
    INFO(r->err);
    REQUIRE(r->code == 0);
    CHECK(json::parse(r->out)["acc1"] == summary["test_acc1"]);
  }
  CHECK_FALSE(json::parse(plain.out).contains("tta"));
  CHECK(json::parse(flip.out)["tta_acc1"] == summary["tta_test_acc1"]);
  const json views = json::parse(shift.out);
  CHECK(views["tta"] == "flip_shift");
  CHECK(views["tta_loss"] != views["loss"]);
  CHECK(has(tessera({"eval", "--run", run, "--tta", "flip_shift"}).out, "with flip_shift"));
  check_refused(tessera({"eval", "--run", run, "--tta", "shift"}), 2, {"--tta", "flip_shift"});
  const std::string where = folder / "where";
  REQUIRE(tessera({"train", "--data", "where:relation", "--out", where, "--epochs", "1", "data.train_size=32",
                   "data.test_size=16", "model.depth=1", "model.embed_dim=16", "model.num_heads=2",
                   "model.patch_size=8", "--batch-size", "16"})
              .code == 0);
  check_refused(tessera({"eval", "--run", where, "--tta", "flip"}), 1, {"--tta=flip", "destroy the labels"});
  check_refused(tessera({"train", "--data", "where:relation", "--out", folder / "none", "train.tta=flip"}), 2,
                {"train.tta=flip", "destroy the labels"});
  check_refused(tessera({"train", "--data", "sequences:reverse", "--out", folder / "none", "train.tta=flip"}), 2,
                {"train.tta=flip", "views of an image"});
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
