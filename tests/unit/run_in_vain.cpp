// What a run says of options that do nothing in it, and that it goes on all the same.
#include <algorithm>

#include "tessera/train/training/in_vain.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

struct Net {
  Params params{1};
  explicit Net(bool normalised) {
    const Scope s(params);
    s.param("head.weight", {2, 2}, constant(1));
    s.param("stem.weight", {2, 2}, constant(1)).leaf()->trainable = false;
    if (normalised) s.buffer("norm.running_mean", {2}, constant(0));
  }
};
const InputShape picture{.h = 8, .w = 8, .channels = 3};

/// All it says of a configuration that `change` made, one string.
template <class F>
std::string said(F change, bool normalised = false) {
  RunConfig c;
  c.train.epochs = 4, c.train.shard_size = 8;
  change(c);
  std::string all;
  for (const std::string& line : in_vain(c, picture, Net(normalised).params)) all += line + "\n";
  return all;
}
bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

}  // namespace

TEST_CASE("in vain: what is planned for a time after the last epoch is one line") {
  CHECK(said([](RunConfig&) {}).empty());
  const auto planned = [](RunConfig& c) {
    c.sched.warmup_epochs = 50, c.data.progressive = "16@0, 24@3.5, 32@20", c.augment.mix_off_epoch = 4;
  };
  CHECK(said(planned) ==
        "the run ends after 4 epochs; what never comes: the end of sched.warmup_epochs=50, data.progressive=32@20, "
        "augment.mix_off_epoch=4\n");
  CHECK(said([&](RunConfig& c) { planned(c), c.train.epochs = 51; }).empty());
  CHECK(said([](RunConfig& c) { c.sched.warmup_epochs = 3, c.sched.cooldown_epochs = 1; }).empty());
  CHECK(has(said([](RunConfig& c) { c.sched.warmup_epochs = 3, c.sched.cooldown_epochs = 2; }), "cooldown_epochs=2"));
  CHECK(has(said([](RunConfig& c) { c.sched.sched = "linear", c.sched.cooldown_epochs = 9; }), "cooldown_epochs=9"));
  CHECK(has(said([](RunConfig& c) { c.sched.sched = "step"; }), "sched.decay_epochs=30"));
  CHECK(said([](RunConfig& c) { c.sched.sched = "step", c.sched.decay_epochs = 3; }).empty());
}

TEST_CASE("in vain: options without an effect on this model are a line each") {
  const auto momentum = [](RunConfig& c) { c.train.bn_momentum = 0.4; };
  CHECK(has(said(momentum), "train.bn_momentum=0.4 does nothing: vit has no BatchNorm"));
  CHECK(said(momentum, true).empty());
  const auto batch = [](RunConfig& c) { c.train.batchnorm = "batch"; };
  CHECK(said(batch, true).empty());  // 8 is what config.toml says of it
  CHECK(has(said([&](RunConfig& c) { batch(c), c.train.shard_size = 4; }, true), "train.shard_size=4 does nothing"));
  CHECK(said([&](RunConfig& c) { c.train.shard_size = 4; }, true).empty());
  CHECK(said([](RunConfig& c) { c.optim.lr_scale = "*=3, head.*=2"; }).empty());
  CHECK(said([](RunConfig& c) { c.optim.lr_scale = "stem.*=3, head.*=2"; }) ==
        "optim.lr_scale=stem.*=3 does nothing: these parameters are frozen\n");
}

TEST_CASE("in vain: a run says it at its start and when it is resumed, and is the run that it was") {
  const Scratch scratch;
  const std::string dir = scratch / "run";
  RunConfig c = tiny(1);
  c.sched.warmup_epochs = 2, c.train.bn_momentum = 0.4, c.optim.freeze = "pos_embed", c.optim.lr_scale = "pos_embed=2";
  c.train.max_steps = 2;
  std::vector<std::string> warnings;
  Hooks hooks;
  hooks.say = [&](std::string_view line) {
    if (line.starts_with("warning: ")) warnings.emplace_back(line);
  };
  train_run(c, dir, false, hooks);
  CHECK(warnings.size() == 3);
  c.train.max_steps = 0;
  train_run(c, dir, true, hooks);
  CHECK(warnings.size() == 6);
  CHECK(warnings[3].find("what never comes: the end of sched.warmup_epochs=2") != std::string::npos);
  c.train.epochs = 3;
  train_run(c, dir, true, hooks);
  CHECK(warnings.size() == 8);
}

}  // namespace tessera::test
