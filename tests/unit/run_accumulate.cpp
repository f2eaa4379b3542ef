// Accumulated batches are one batch.
#include "tessera/train/data/set.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

/// The way of a run: losses, accuracies and rates of every epoch, and the weights at its end, bit for bit.
void check_equal(RunConfig a, const RunConfig& b) {
  const Scratch scratch;
  train_run(a, scratch / "a", false);
  train_run(b, scratch / "b", false);
  CHECK(metrics(scratch / "a") == metrics(scratch / "b"));
  CHECK(bytes(scratch / "a/weights.safetensors") == bytes(scratch / "b/weights.safetensors"));
}

RunConfig parts(int batch_size, int accumulate) {
  RunConfig c = tiny(3);
  c.train.batch_size = batch_size, c.train.accumulate = accumulate;
  return c;
}

}  // namespace

TEST_CASE("k accumulated batches of b are, to the bit, one batch of k b: rates, order, dropout, weights") {
  for (const char* sched : {"cosine", "step", "constant"}) {
    CAPTURE(sched);
    const auto with = [&](RunConfig c) {
      c.sched.sched = sched;
      if (c.sched.sched == "step") c.sched.decay_epochs = 0.7;
      return c;
    };
    check_equal(with(parts(4, 6)), with(parts(24, 1)));  // 72 images: three steps
    check_equal(with(parts(5, 4)), with(parts(20, 1)));  // the last step is shorter, and 5 is no multiple of a shard
  }
  check_equal(parts(16, 4), parts(64, 1));
  check_equal(parts(1, 72), parts(72, 1));
}

TEST_CASE("mixup and CutMix are drawn once a step, however many batches make it") {
  const Scratch scratch;  // the labels of `where` itself do not survive CutMix
  data::write_folder(data::open("where", "", {.train_size = 72, .test_size = 16}), scratch / "pictures");
  for (const auto& [mixup, cutmix] : {std::pair{0.8, 0.0}, {0.0, 1.0}, {0.8, 1.0}}) {
    const auto with = [&, m = mixup, k = cutmix](RunConfig c) {
      c.data = {}, c.data.name = "imagefolder:" + scratch / "pictures";
      c.augment.mixup = m, c.augment.cutmix = k;
      return c;
    };
    CAPTURE(mixup);
    CAPTURE(cutmix);
    check_equal(with(parts(5, 4)), with(parts(20, 1)));
  }
}

TEST_CASE("the rate of the last step does not depend on how its batches are cut") {
  double rates[2];
  for (int i = 0; i < 2; ++i) {
    const Scratch scratch;
    RunConfig c = parts(i == 0 ? 4 : 16, i == 0 ? 4 : 1);
    c.sched.warmup_epochs = 0;
    train_run(c, scratch / "run", false);
    const auto rows = metrics(scratch / "run");
    rates[i] = rows[rows.size() - 3]["lr"].get<double>();
  }
  CHECK(rates[0] == rates[1]);
}

TEST_CASE("batches, shards and steps beyond all images are all images, and no number overflows") {
  RunConfig c = tiny(2);
  c.train.batch_size = 1 << 20, c.train.accumulate = 1 << 10, c.train.shard_size = 1 << 20;
  const RunResult r = train_run(c, "", false);
  CHECK(r.steps == 2);
  CHECK(r.train_loss > 0.1);
}

}  // namespace tessera::test
