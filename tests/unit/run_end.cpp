// Why a run ends, and how it goes on from there.
#include <algorithm>

#include "tessera/models/model.h"
#include "tessera/nn/weights.h"
#include "tessera/train/data/set.h"
#include "tessera/train/training/environment.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/splits.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

/// What it says, one string.
struct Listener {
  std::string all;
  Hooks hooks;
  Listener() {
    hooks.say = [this](std::string_view line) { all += std::string(line) + "\n"; };
  }
  bool heard(std::string_view what) const { return all.find(what) != std::string::npos; }
};

/// No step changes anything, so that no validation is better than the first.
RunConfig standing_still(int epochs) {
  RunConfig c = tiny(epochs);
  c.optim.lr = 0, c.train.patience = 2;
  return c;
}

}  // namespace

TEST_CASE("why a run ended is in its result, its summary and what it says") {
  const Scratch scratch;
  RunConfig c = tiny(2);
  CHECK(train_run(c, scratch / "epochs", false).ended == "epochs");
  CHECK(summary(scratch / "epochs")["ended"] == "epochs");
  for (const int limit : {4, 6}) {  // at the end of an epoch, and inside of one
    Listener listener;
    const std::string dir = scratch / std::to_string(limit);
    c.train.max_steps = limit;
    CHECK(train_run(c, dir, false, listener.hooks).ended == "max_steps");
    CHECK(summary(dir)["ended"] == "max_steps");
    CHECK(listener.heard("ended by train.max_steps=" + std::to_string(limit)));
  }
  c.train.max_steps = 0, c.train.max_minutes = 1e-9;
  CHECK(train_run(c, scratch / "minutes", false).ended == "max_minutes");
  CHECK(summary(scratch / "minutes")["ended"] == "max_minutes");
  c.train.max_minutes = 0;
  Listener listener;
  listener.hooks.stop = [] { return true; };
  listener.hooks.stopped_by = [] { return std::string("SIGTERM"); };
  CHECK(train_run(c, scratch / "stop", false, listener.hooks).ended == "interrupted by SIGTERM");
  CHECK(summary(scratch / "stop")["ended"] == "interrupted by SIGTERM");
  CHECK(summary(scratch / "stop")["finished"] == false);
}

TEST_CASE("patience: the run ends when no validation is better, and goes on when it is lifted") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  Listener listener;
  RunResult r = train_run(standing_still(9), dir, false, listener.hooks);
  CHECK(r.finished);
  CHECK(r.ended == "patience");
  CHECK(r.epochs == 3);
  CHECK(listener.heard("no better validation in 2 epochs after epoch 1 "));
  CHECK(summary(dir)["best_epoch"] == 1);
  CHECK(exists(dir + "/weights.safetensors"));
  CHECK(train_run(standing_still(9), dir, true).epochs == 3);  // says its result again
  RunConfig on = standing_still(5);
  on.train.patience = 0;
  r = train_run(on, dir, true);
  CHECK(r.epochs == 5);
  CHECK(r.ended == "epochs");
  RunConfig seldom = standing_still(9);
  seldom.train.eval_every = 2;
  CHECK(train_run(seldom, "", false).epochs == 4);  // validated after 2 and 4
  RunConfig without = standing_still(9);
  without.data.val_size = 0;
  CHECK_THROWS_WITH_AS(train_run(without, scratch / "without", false), doctest::Contains("data.val_size"), Misfit);
  CHECK_FALSE(exists(scratch / "without"));
  without.train.patience = -1;
  CHECK_THROWS_WITH_AS(train_run(without, "", false), doctest::Contains("patience"), Error);
}

TEST_CASE(
    "a finished run is extended: to equal bits where the rate does not follow the length, and it says so where it "
    "does") {
  const Scratch scratch;
  for (const char* sched : {"constant", "step", "cosine"}) {
    CAPTURE(sched);
    const std::string dir = scratch / sched, whole = scratch / (std::string("whole-") + sched);
    const auto of = [&](int epochs) {
      RunConfig c = tiny(epochs);
      c.sched.sched = sched;
      return c;
    };
    train_run(of(2), dir, false);
    Listener listener;
    const RunResult r = train_run(of(4), dir, true, listener.hooks);
    CHECK(r.finished);
    CHECK(r.epochs == 4);
    CHECK(summary(dir)["epochs"] == 4);
    CHECK(metrics(dir).size() == 9);
    train_run(of(4), whole, false);
    const bool follows = sched == std::string("cosine");
    CHECK(listener.heard("train.epochs is 4 from here on, it was 2") == follows);
    CHECK((bytes(dir + "/config.toml").find("the plan was 2 epochs until step 8") != std::string::npos) == follows);
    if (!follows) check_equal_runs(whole, dir);
    CHECK(metrics(dir)[6]["lr"] == metrics(whole)[6]["lr"]);
    const std::string text = bytes(dir + "/config.toml");
    train_run(of(4), dir, true);
    CHECK(bytes(dir + "/config.toml") == text);
    CHECK_THROWS_WITH_AS(train_run(of(3), dir, true), doctest::Contains("train.epochs=3 is over already"), Misfit);
  }
}

TEST_CASE("a validation that only the end of a run brought is of that end: what goes on is a run that never ended") {
  const Scratch scratch;
  const auto of = [](int epochs, int max_steps = 0) {
    RunConfig c = tiny(epochs);
    c.train.eval_every = 2, c.train.max_steps = max_steps, c.sched.sched = "constant", c.optim.lr = 0.02;
    return c;
  };
  const auto validated = [&](const std::string& dir) {
    std::vector<int> epochs;
    for (const auto& row : metrics(dir))
      if (row["split"] == "val") epochs.push_back(row["epoch"]);
    return epochs;
  };
  const std::string whole = scratch / "whole";
  train_run(of(9), whole, false);
  CHECK(validated(whole) == std::vector<int>{2, 4, 6, 8, 9});
  const std::string dir = scratch / "run";
  int moved = 0;  // best.ckpt by a validation of an end
  for (const int epochs : {1, 3, 5, 7}) {
    Listener listener;
    const RunResult r = train_run(of(epochs), dir, exists(dir), listener.hooks);
    CHECK(listener.heard("validation after epoch " + std::to_string(epochs)));
    CHECK(validated(dir).back() == epochs);
    CHECK(r.ended == "epochs");
    CHECK(r.val_acc1 == metrics(dir).rbegin()[1]["acc1"]);
    CHECK(said_by(dir + "/last.ckpt", "val_epoch") == std::to_string(epochs - 1));
    moved += summary(dir)["best_epoch"] == epochs;
    const auto before = metrics(dir);
    const std::string weights = bytes(dir + "/weights.safetensors");
    const auto best = state(dir + "/best.ckpt");
    const RunResult again = train_run(of(epochs), dir, true);  // nothing is left to train
    CHECK(metrics(dir) == before);
    CHECK(again.val_acc1 == r.val_acc1);
    CHECK(again.best_val_acc1 == r.best_val_acc1);
    CHECK(bytes(dir + "/weights.safetensors") == weights);
    CHECK((state(dir + "/best.ckpt") == best));
  }
  CHECK(moved > 0);
  train_run(of(9), dir, true);
  check_equal_runs(whole, dir);
  const std::string cut = scratch / "cut";  // by a limit: at the ends of epochs, and inside of them
  for (const int steps : {4, 10, 12, 14, 20}) CHECK(train_run(of(9, steps), cut, exists(cut)).ended == "max_steps");
  train_run(of(9), cut, true);
  check_equal_runs(whole, cut);
}

TEST_CASE("a validation that only the end of a run brought says nothing to its patience") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  RunConfig c = standing_still(9);
  c.train.eval_every = 2, c.train.patience = 1, c.train.max_steps = 12;  // after the third epoch
  CHECK(train_run(c, dir, false).ended == "max_steps");
  c.train.max_steps = 0;
  CHECK(train_run(c, dir, true).epochs == 4);
  CHECK(summary(dir)["ended"] == "patience");
}

TEST_CASE("best.safetensors holds the weights that validated best, the averaged ones, and can be had later") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  train_run(tiny(6), dir, false);
  CHECK_FALSE(exists(dir + "/best.safetensors"));
  RunConfig c = tiny(6);
  c.train.best_weights = true;
  const RunResult r = train_run(c, dir, true);
  Params params;
  c.model_options["num_classes"] = 4;
  const auto model = tessera::model("vit").make(Scope(params), c.model_options, position("learned"));
  const io::Metadata said = io::load(params, dir + "/best.safetensors");
  CHECK(said.at("epoch") == summary(dir)["best_epoch"].dump());
  CHECK(evaluate(*model, *open_splits(c.data).val).acc1 == r.best_val_acc1);
  c.data.val_size = 0;
  CHECK_THROWS_WITH_AS(train_run(c, "", false), doctest::Contains("best_weights"), Misfit);
}

TEST_CASE("data of a SPEC with a folder are followed to where they are now") {
  const Scratch scratch;
  data::write_folder(data::open("where", "", {.train_size = 40, .test_size = 16}), scratch / "pictures");
  RunConfig c = tiny(3);
  c.data = {}, c.data.name = "imagefolder:" + scratch / "pictures";
  c.train.max_steps = 2;
  const std::string dir = scratch / "run";
  train_run(c, dir, false);
  std::filesystem::create_directory(scratch / "elsewhere");
  std::filesystem::rename(scratch / "pictures", scratch / "elsewhere/pictures");
  c.train.max_steps = 4;
  CHECK_THROWS_AS(train_run(c, dir, true), Error);
  SUBCASE("the folder itself") { c.data.dir = scratch / "elsewhere/pictures"; }
  SUBCASE("the folder that it is in") { c.data.dir = scratch / "elsewhere"; }
  CHECK(train_run(c, dir, true).steps == 4);
  CHECK(summary(dir)["data"]["name"] == "imagefolder:" + scratch / "elsewhere/pictures");
  c.data.dir.clear(), c.data.name = "imagefolder:" + scratch / "other";
  data::write_folder(data::open("where", "", {.seed = 1, .train_size = 40, .test_size = 16}), scratch / "other");
  CHECK_THROWS_WITH_AS(train_run(c, dir, true), doctest::Contains("other data"), Error);
}

TEST_CASE("the environment of a run names the compiler and the commit") {
  CHECK(environment().find(compiler()) != std::string::npos);
  CHECK(environment().ends_with(" / commit " + commit()));
  CHECK((compiler().starts_with("GCC ") || compiler().starts_with("Clang ")));
  CHECK(!commit().empty());
}

}  // namespace tessera::test
