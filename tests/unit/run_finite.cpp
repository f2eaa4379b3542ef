// What is no number is never right, never best and never written.
#include <cmath>
#include <limits>

#include "tessera/core/ops/activation.h"
#include "tessera/core/ops/arithmetic.h"
#include "tessera/core/ops/linear.h"
#include "tessera/core/ops/reduce.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/finite.h"
#include "tessera/train/training/loss.h"
#include "tessera/train/training/report_collect.h"
#include "tessera/train/training/run_folder.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

constexpr real nan = std::numeric_limits<real>::quiet_NaN(), infinity = std::numeric_limits<real>::infinity();

/// Answers 1 to everything, but what `spoil` writes into the logits of image 0 of every shard.
struct Spoilt final : Model {
  std::vector<real> first;
  Output forward(const Run&, const Input& in) const override {
    Output o;
    o.logits = zeros({in.x.dim(0), 3});
    for (int i = 0; i < in.x.dim(0); ++i) o.logits[i * 3 + 1] = 1;
    for (size_t k = 0; k < 3; ++k) o.logits[static_cast<int64_t>(k)] = first[k];
    return o;
  }
};

data::Set labelled(int label, int n = 8) {
  data::Set set;
  set.h = set.w = 1, set.channels = 1, set.classes = 3;
  set.pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(n));
  set.labels = std::make_shared<Index>(static_cast<size_t>(n), label);
  for (int i = 0; i < n; ++i) set.rows.push_back(i);
  return set;
}

/// One step an epoch: small ones in the first epoch, then one that no weight survives.
RunConfig explodes_in_the_second_epoch(double lr) {
  RunConfig c = tiny(4);
  c.train.batch_size = 72, c.train.ema_decay = 0, c.optim.clip_grad = 0;
  c.optim.lr = lr, c.sched.warmup_epochs = 2, c.sched.warmup_lr = 1e-3;
  return c;
}

}  // namespace

TEST_CASE("logits name no class when one of them is not finite") {
  const auto named = [](std::vector<real> z) { return named_class(z); };
  CHECK(named({0, 2, 1}) == 1);
  CHECK(named({2, 2, 1}) == 0);
  CHECK(named({-3e38F, 3e38F}) == 1);
  CHECK(named({}) == no_class);
  for (const real bad : {nan, infinity, -infinity})
    for (size_t at = 0; at < 3; ++at) {
      std::vector<real> z = {0, 2, 1};
      z[at] = bad;
      CHECK(named(z) == no_class);
      CHECK_THROWS_WITH_AS(probabilities(z), doctest::Contains("not finite"), Error);
    }
  const std::vector<double> p = probabilities(std::vector<real>{-3e38F, 3e38F});
  CHECK((p[0] == 0 && p[1] == 1));
}

TEST_CASE("evaluation: an answer that is not finite is wrong whatever the label, and the loss is no number") {
  for (const real bad : {nan, infinity, -infinity})
    for (size_t at = 0; at < 3; ++at)
      for (int label = 0; label < 3; ++label) {
        Spoilt model;
        model.first = {0, 1, 0};
        model.first[at] = bad;
        const Evaluation e = evaluate(model, labelled(label));
        CAPTURE(at);
        CAPTURE(label);
        CHECK(e.undecided == 1);
        CHECK(e.predictions[0] == no_class);
        CHECK(e.probabilities[0] == 0);
        CHECK(e.acc1 == (label == 1 ? 7.0 / 8 : 0.0));
        CHECK(e.acc5 == 7.0 / 8);
        CHECK(std::isnan(e.loss));
        CHECK(e.confusion[static_cast<size_t>(label)][1] == 7);
      }
  Spoilt far;
  far.first = {3e38F, -3e38F, 0};  // their difference is infinite in float
  const Evaluation e = evaluate(far, labelled(1));
  CHECK(e.undecided == 0);
  CHECK(std::isfinite(e.loss));
}

TEST_CASE("a report shows no image whose answer is not finite") {
  Spoilt model;
  model.first = {nan, nan, nan};
  const data::Set set = labelled(0, 16);
  for (const auto& s : report::collect(evaluate(model, set), set, Params(), {}).samples) CHECK(s.predicted == 1);
}

TEST_CASE("a validation that is not finite ends the run: best.ckpt and last.ckpt stay, no result is written") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  std::string best, last;
  Hooks hooks;
  int steps = 0;
  hooks.stop = [&] {
    if (++steps == 3) best = bytes(dir + "/best.ckpt"), last = bytes(dir + "/last.ckpt");
    return false;
  };
  CHECK_THROWS_WITH_AS(train_run(explodes_in_the_second_epoch(1e30), dir, false, hooks),
                       doctest::Contains("validation after epoch 2 (step 2)"), Error);
  CHECK(steps == 3);  // asked after a step, and after an epoch
  CHECK(bytes(dir + "/best.ckpt") == best);
  CHECK(bytes(dir + "/last.ckpt") == last);
  CHECK(metrics(dir).size() == 2);  // train and val of the first epoch
  for (const char* name : {"/summary.json", "/weights.safetensors", "/report_data.json"})
    CHECK_FALSE(exists(dir + name));
}

TEST_CASE("a test that is not finite ends the run without a result") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  RunConfig c = explodes_in_the_second_epoch(1e30);
  c.data.val_size = 0, c.train.epochs = 2;
  CHECK_THROWS_WITH_AS(train_run(c, dir, false), doctest::Contains("test images are not finite; first "), Error);
  for (const char* name : {"/summary.json", "/weights.safetensors", "/report_data.json"})
    CHECK_FALSE(exists(dir + name));
  CHECK(metrics(dir).size() == 2);
}

TEST_CASE("weights that are not finite do not replace a checkpoint, and are named") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  RunConfig c = explodes_in_the_second_epoch(1e30);
  c.sched.warmup_lr = 0, c.optim.weight_decay = 1e10;  // their product is no float
  c.data.val_size = 0;
  CHECK_THROWS_WITH_AS(train_run(c, dir, false), doctest::Contains("] is "), Error);
  CHECK(said_by(dir + "/last.ckpt", "step") == "1");
}

TEST_CASE("a loss that is not finite names the place") {
  RunConfig c = explodes_in_the_second_epoch(1e30);
  c.data.val_size = 0;
  CHECK_THROWS_WITH_AS(train_run(c, "", false), doctest::Contains("the loss of step 3 (epoch 3"), Error);
  CHECK_THROWS_WITH_AS(train_run(c, "", false), doctest::Contains(": output (8, "), Error);
}

/// A step of 12 images, in shards of 8 and 4, of a ViT of four blocks.
struct Step {
  Params params{1};
  std::unique_ptr<Model> net;
  Tensor x = zeros({12, 16, 16, 3});
  const Index labels = Index(12, 1);

  explicit Step(std::string_view encoding = "learned") {
    const Options options{{"img_size", 16},       {"patch_size", 4},  {"embed_dim", 16},  {"depth", 4},
                          {"num_heads", 2},       {"mlp_ratio", 2.0}, {"num_classes", 5}, {"class_token", false},
                          {"global_pool", "avg"}, {"drop_rate", 0.1}};
    net = model("vit").make(Scope(params), options, position(encoding));
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(static_cast<double>(i)));
  }
  void plant(const char* name, real value) {
    for (real& w : params.find(name)->value.values()) w = value;
  }
  Tensor logits(const Run& run, const Batch& shard) const { return net->forward(run, shard.in).logits; }
  std::string first(Lanes::Loss loss) const {
    return first_not_finite(params, {Mode::train, 1, 7}, {x, labels, {}, 0, 12}, 8, loss);
  }
  std::string first() const {
    return first([&](const Run& run, const Batch& shard) { return soft_cross_entropy(logits(run, shard), shard); });
  }
};
constexpr const char* none = "the sum over its shards, each of which is finite";

TEST_CASE("what is not finite is named by op, layer and shapes") {
  for (const std::string encoding : {"learned", "sasa"}) {  // sasa hides pairs behind a constant of minus infinity
    CAPTURE(encoding);
    Step step(encoding);
    CHECK(step.first() == none);
    CHECK(first_not_finite(*step.net, step.params, {}, step.x) == "");
    step.plant("blocks.3.mlp.fc1.bias", 10), step.plant("blocks.3.mlp.fc2.weight", 3e38F);
    const std::string rest = ", 16, 16) from (8, 16, 32), (16, 32), (16,), (8, 16, 16)";
    CHECK(step.first() == "linear_add of blocks.3.mlp.fc2: output (8" + rest);
    CHECK(first_not_finite(*step.net, step.params, {}, step.x.rows(0, 8)) ==
          "linear_add of blocks.3.mlp.fc2: output (8" + rest);
    step.plant("blocks.3.mlp.fc2.weight", nan);
    CHECK(step.first() == "blocks.3.mlp.fc2.weight[0] is nan");
  }
  Step step;
  step.x[9 * 16 * 16 * 3] = 3e38F, step.plant("patch_embed.proj.weight", 10);
  CHECK(step.first() == "linear of patch_embed.proj: output (4, 16, 16) from (4, 16, 48), (16, 3, 4, 4), (16,)");
  step.x[9 * 16 * 16 * 3] = infinity;
  CHECK(step.first() == "the input[6912] is inf");
}

TEST_CASE("the loss, gradients of values and those of parameters are looked at, too") {
  Step step;
  const Tensor hides = tensor({5}, std::vector<double>{-HUGE_VAL, 0, 0, 0, 0});
  CHECK(step.first([&](const Run& run, const Batch& shard) {  // what is given with intention is passed on
    return soft_cross_entropy(add(step.logits(run, shard), hides), shard);
  }) == none);
  CHECK(step.first([&](const Run& run, const Batch& shard) { return log(scale(sum(step.logits(run, shard)), 0)); }) ==
        "log: output () from ()");
  CHECK(step.first([&](const Run& run, const Batch& shard) {  // the slope of a root at 0
    return sum(sqrt(scale(step.logits(run, shard), 0)));
  }) == "scale: gradient of its output (8, 5) from (8, 5)");
  const Tensor w = Scope(step.params).param("w", {1, 2}, constant(0));
  const Tensor large = full({4, 2}, 3e38F);
  CHECK(step.first([&](const Run&, const Batch&) { return sum(linear(large, w)); }) == "the gradient of w[0] is inf");
}

TEST_CASE("metrics refuse what JSON cannot say") {
  const Scratch scratch;
  const RunFolder folder(scratch / "run", false);
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    Metrics m(folder);
    CHECK_THROWS_WITH_AS(m.add({1, 2, "val", bad, 0.5, 1e-3, 1, 1}),
                         doctest::Contains("loss of the val split in epoch 1"), Error);
    CHECK_THROWS_AS(m.add({1, 2, "val", 0.5, bad, 1e-3, 1, 1}), Error);
    CHECK_THROWS_AS(m.add({1, 2, "val", 0.5, 0.5, bad, 1, 1}), Error);
    CHECK(m.bytes() == 0);
    m.add({1, 2, "val", 0.5, 0.5, 1e-3, bad, 1});  // no time had passed
    m.write();
    CHECK(json::parse(bytes(folder / "metrics.jsonl"))["images_per_s"].is_null());
  }
}

}  // namespace tessera::test
