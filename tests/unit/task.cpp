// What a task counts, and what a run makes of it.
#include "tessera/train/training/task.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tessera/train/training/evaluate.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

/// Answers what it is given: x holds the logits.
struct Echo final : Model {
  Output forward(const Run&, const Input& in) const override {
    Output out;
    out.logits = in.x;
    return out;
  }
};

/// Classification that counts mistakes, and asks every question twice.
struct Mistakes final : Task {
  Classification classes{4, 0.1};
  std::span<const Metric> metrics() const override {
    static constexpr Metric all[] = {{"mistakes", false}};
    return all;
  }
  static void turn(Tally& t) { t.of[0] = {2 * (t.of[0].of - t.of[0].count), 2 * t.of[0].of}; }
  Tensor loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const override {
    const Tensor l = classes.loss(model, run, shard, tally);
    turn(tally);
    return l;
  }
  void judge(const Output& out, const Batch& batch, Tally& tally, std::span<Outcome> said) const override {
    classes.judge(out, batch, tally, said);
    turn(tally);
  }
};

}  // namespace

TEST_CASE("classification counts in training from the logits of its loss") {
  const real nan = std::numeric_limits<real>::quiet_NaN();
  const Tensor z = tensor({4, 3}, std::vector<double>{2, 1, 0, 0, 1, 2, 5, 5, 0, 0, 0, 1});
  z[11] = nan;
  const Batch batch{z, Index{0, 1, 0, 2}, Tensor(), 0, 4};
  Tally t;
  Classification(3).loss(Echo(), {}, batch, t);
  CHECK(t.of[0].count == 2);  // the first, and the third, of two equal ones
  CHECK(t.of[0].of == 4);
  CHECK(t.samples == 4);
  CHECK(t.undecided == 1);
  const Batch more{z, Index{0, 1, 0, 2, 1}, Tensor(), 0, 5};
  CHECK_THROWS_WITH_AS(Classification(3).loss(Echo(), {}, more, t), doctest::Contains("for 5 labels"), Error);
}

TEST_CASE("classification refuses answers that do not fit, in evaluation") {
  const auto judge = [](const Tensor& z, const Index& labels, int classes) {
    const Batch batch{z, labels, Tensor(), 0, static_cast<int>(labels.size())};
    std::vector<Outcome> said(labels.size());
    Tally t;
    Classification(classes).judge(Output{z, {}, {}}, batch, t, said);
    return t;
  };
  CHECK(judge(zeros({2, 3}), {0, 1}, 3).of[0].count == 1);  // ties are lost
  CHECK(judge(zeros({2, 7}), {4, 5}, 0).of[1].count == 1);
  CHECK_THROWS_WITH_AS(judge(zeros({2, 3}), {0, 1}, 4), doctest::Contains("(2, 3) for 2 samples of 4 classes"), Error);
  CHECK_THROWS_AS(judge(zeros({2, 3, 1}), {0, 1}, 0), Error);
  CHECK_THROWS_WITH_AS(judge(zeros({2, 3}), {0, 3}, 3), doctest::Contains("sample 1 has label 3"), Error);
}

TEST_CASE("tallies add up, and nothing asked is a share of 0") {
  Tally a, b;
  a.loss = 1, a.samples = 2, a.of[1] = {1, 2};
  b.loss = 0.5, b.samples = 3, b.undecided = 1, b.of[1] = {2, 3};
  a.add(b);
  CHECK((a.loss == 1.5 && a.samples == 5 && a.undecided == 1));
  CHECK(a.of[1].value() == 0.6);
  CHECK(a.of[0].value() == 0);
}

TEST_CASE("a run follows the first metric of its task, where less is better, too") {
  const Scratch scratch;
  RunParts parts;
  parts.task = std::make_shared<const Mistakes>();
  train_run(tiny(4), scratch / "right", false);
  train_run(tiny(4), scratch / "wrong", false, {}, parts);
  CHECK(bytes(scratch / "right/weights.safetensors") == bytes(scratch / "wrong/weights.safetensors"));
  const json a = summary(scratch / "right"), b = summary(scratch / "wrong");
  CHECK(a["best_epoch"] == b["best_epoch"]);
  CHECK(b["best_val_acc1"].get<double>() == doctest::Approx(1 - a["best_val_acc1"].get<double>()));
  const auto x = metrics(scratch / "right"), y = metrics(scratch / "wrong");
  for (size_t i = 0; i < x.size(); ++i)
    CHECK(y[i]["acc1"].get<double>() == doctest::Approx(1 - x[i]["acc1"].get<double>()));

  int steps = 0;  // and a checkpoint in the midst of an epoch knows what was asked
  Hooks hooks;
  hooks.stop = [&] { return ++steps == 6; };
  train_run(tiny(4), scratch / "parts", false, hooks, parts);
  CHECK(said_by(scratch / "parts/last.ckpt", "asked") != said_by(scratch / "parts/last.ckpt", "seen"));
  train_run(tiny(4), scratch / "parts", true, {}, parts);
  check_equal_runs(scratch / "wrong", scratch / "parts");
}

}  // namespace tessera::test
