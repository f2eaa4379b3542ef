// Data of one's own: what from_memory() refuses, ragged batches, and lengths on their way from a source to a model.
#include "tessera/train/data/source.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/core/ops/linear.h"
#include "tessera/train/data/loader.h"
#include "tessera/train/data/memory.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/splits.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

using data::from_memory;
using data::Samples;
using data::Sequences;

/// n sequences of 1 to 5 frames of two numbers: frame t of sequence i is (i + 1, t + 1).
Sequences ragged(int n) {
  Sequences s{.features = 2, .values = {}, .lengths = {}, .labels = {}};
  for (int i = 0; i < n; ++i) {
    s.lengths.push_back(1 + i * 3 % 5), s.labels.push_back(i % 3);
    for (int t = 0; t < s.lengths.back(); ++t)
      s.values.insert(s.values.end(), {static_cast<float>(i + 1), static_cast<float>(t + 1)});
  }
  return s;
}
const std::vector<std::string> three{"a", "b", "c"};

/// Classes of the mean frame.
struct MeanFrame final : Model {
  Tensor W;
  explicit MeanFrame(Params& params) : W(Scope(params).param("weight", {3, 2}, normal(0.5))) {}
  Output forward(const Run&, const Input& in) const override {
    const auto [B, T, F] = in.x.dims<3>();
    REQUIRE(in.lengths.count() == B);
    Tensor mean = zeros({B, F});
    for (int b = 0; b < B; ++b)
      for (int t = 0; t < in.lengths[static_cast<size_t>(b)]; ++t)
        for (int f = 0; f < F; ++f)
          mean[b * F + f] += in.x[(b * T + t) * F + f] / static_cast<real>(in.lengths[static_cast<size_t>(b)]);
    Output out;
    out.logits = linear(mean, W, {});
    return out;
  }
};

Samples pictures(int n, int label = 0, size_t missing = 0) {
  return {2, 3, 1, std::vector<uint8_t>(static_cast<size_t>(n) * 6 - missing, 7), Index(static_cast<size_t>(n), label)};
}

}  // namespace

TEST_CASE("ints: copies share, rows are views, other widths the same memory") {
  const Ints a{1, 2, 3, 4, 5, 6};
  const Ints b = a.reshape(3, 2);
  CHECK(b.rows(1, 3) == Index{3, 4, 5, 6});
  CHECK(b.rows(1, 2).count() == 1);
  CHECK(b.rows(1, 2).data() == a.data() + 2);
  CHECK_FALSE(a.unique());
  CHECK_FALSE(Ints());
  CHECK(Ints().rows(2, 5).empty());
  CHECK(Ints(Index{}).empty());
  for (const auto& [from, to] : {std::pair{-1, 1}, {2, 1}, {0, 7}}) CHECK_THROWS_AS(a.rows(from, to), Error);
  CHECK_THROWS_AS(a.reshape(4, 2), Error);
}

TEST_CASE("from_memory: pictures are checked") {
  const data::TrainTest d = from_memory(pictures(5, 1), {"x", "y"}, pictures(2), {}, "mine");
  CHECK(d.train.size() == 5);
  CHECK(d.train.name == "mine train");
  CHECK(d.test.label(1) == 0);
  CHECK(d.val.size() == 0);
  CHECK(d.train.digest.size() == 64);
  CHECK(d.train.digest != from_memory(pictures(5, 0), {"x", "y"}, pictures(2)).train.digest);
  CHECK(from_memory(pictures(1), {"x"}).test.size() == 0);
  const auto refused = [](Samples train, std::vector<std::string> names, const char* why, Samples test = {}) {
    CAPTURE(why);
    CHECK_THROWS_WITH_AS(from_memory(std::move(train), std::move(names), std::move(test), {}, "mine"),
                         doctest::Contains(why), Error);
  };
  refused(pictures(4, 0, 1), {"x"}, "[data] mine: 4 training labels need as many images of 6 bytes, but there are 23");
  refused(pictures(4, 7), {"x", "y"}, "training image 0 has label 7, but labels are 0 to 1");
  refused(pictures(4, -1), {"x", "y"}, "has label -1");
  refused(pictures(4), {"x"}, "test image 0 has label 1", pictures(1, 1));
  refused({}, {"x"}, "no training images");
  refused(pictures(4), {}, "0 classes");
  refused(pictures(4), std::vector<std::string>(data::most_classes + 1, "x"), "100001 classes; 1 to 100000 can be");
  refused(pictures(4), {"caf\xe9"}, "no UTF-8");
  Samples other = pictures(1);
  other.h = 3, other.w = 2;
  refused(pictures(4), {"x"}, "test images 3x2x1", other);
  other.channels = 0;
  refused(other, {"x"}, "3x2x0");
}

TEST_CASE("from_memory: sequences are checked") {
  const auto refused = [](Sequences s, const char* why, std::vector<std::string> names = three) {
    CAPTURE(why);
    CHECK_THROWS_WITH_AS(from_memory(std::move(s), std::move(names), "mine"), doctest::Contains(why), Error);
  };
  const auto with = [](auto change) {
    Sequences s = ragged(4);  // of 1, 4, 2 and 5 frames
    change(s);
    return s;
  };
  CHECK(from_memory(ragged(4), three)->form().T == 5);
  refused(with([](Sequences& s) { s.features = 0; }), "frames of 0 features");
  refused(with([](Sequences& s) { s.lengths.clear(); }), "0 sequences");
  refused(with([](Sequences& s) { s.lengths[2] = 0; }), "[data] mine: sequence 2 has 0 frames");
  refused(with([](Sequences& s) { s.lengths[2] = -3; }), "sequence 2 has -3 frames");
  refused(with([](Sequences& s) { s.lengths[3] = 6; }),
          "sequence 3 needs 6 frames of 2 features, but 10 numbers are left of 24");
  refused(with([](Sequences& s) { s.lengths[0] = INT32_MAX; }), "sequence 0 needs");
  refused(with([](Sequences& s) { s.lengths[3] = 4; }), "have 22 numbers, but there are 24");
  refused(with([](Sequences& s) { s.values[5] = std::nanf(""); }), "sequence 1 has nan in frame 1, feature 1");
  refused(with([](Sequences& s) { s.values[0] = -HUGE_VALF; }), "sequence 0 has -inf in frame 0, feature 0");
  refused(with([](Sequences& s) { s.labels[1] = 3; }), "sequence 1 has label 3, but labels are 0 to 2");
  refused(with([](Sequences& s) { s.labels.pop_back(); }), "3 labels for 4 sequences");
  refused(ragged(4), "0 classes", {});
  refused(with([](Sequences& s) { s.labels.clear(); }), "0 labels for 4 sequences");
  CHECK(from_memory(with([](Sequences& s) { s.labels.clear(); }))->classes == 0);  // for a task of one's own
  const std::vector<std::vector<float>> own{{1, 2, 3, 4}, {5, 6}};
  const Sequences s = data::sequences(own, 2, {0, 1});
  CHECK(s.lengths == Index{2, 1});
  CHECK(s.values == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK_THROWS_WITH_AS(data::sequences(own, 4), doctest::Contains("sequence 1 has 2 numbers"), Error);
  CHECK_THROWS_AS(from_memory(data::sequences(own, 0)), Error);
  CHECK_THROWS_WITH_AS(data::Loader(from_memory(ragged(4), three), {.augment = {.mixup = 1}}),
                       doctest::Contains("mixup works on images"), Error);
}

TEST_CASE("loader: sequences are padded with zeros to the longest of their batch, whatever the number of workers") {
  for (const int workers : {1, 3}) {
    data::Loader loader(from_memory(ragged(23), three), {.batch_size = 4, .seed = 2, .workers = workers});
    std::vector<int> seen(23);
    for (int e = 0; e < 3; ++e)
      for (const Batch& b : loader.epoch(e)) {
        const auto [B, T, F] = b.in.x.dims<3>();
        const std::span<const int32_t> lengths = b.in.lengths;
        REQUIRE(lengths.size() == static_cast<size_t>(B));
        CHECK(*std::max_element(lengths.begin(), lengths.end()) == T);
        for (int i = 0; i < B; ++i) {
          const auto which = static_cast<int>(b.in.x[i * T * F]) - 1;
          ++seen[static_cast<size_t>(which)];
          CHECK(lengths[static_cast<size_t>(i)] == 1 + which * 3 % 5);
          CHECK(b.labels[static_cast<size_t>(i)] == which % 3);
          for (int t = 0; t < T; ++t) {
            const bool valid = t < lengths[static_cast<size_t>(i)];
            CHECK(b.in.x[(i * T + t) * F] == static_cast<real>(valid ? which + 1 : 0));
            CHECK(b.in.x[(i * T + t) * F + 1] == static_cast<real>(valid ? t + 1 : 0));
          }
        }
      }
    CHECK(seen == std::vector<int>(23, 3));
  }
}

TEST_CASE("loader: tokens are padded, and a source may be a struct of one's own") {
  struct Counting final : data::Source {  // sample i: i + 1 tokens, 10 i, 10 i + 1, ...
    size_t size() const override { return 6; }
    InputShape form() const override { return {.kind = InputShape::Kind::tokens, .T = 6, .vocabulary = 60}; }
    int label(size_t) const override { return 0; }
    int length(size_t i) const override { return static_cast<int>(i) + 1; }
    std::unique_ptr<data::Reader> reader(const data::Augment&) const override {
      struct Fill final : data::Reader {
        void fill(size_t i, rng::Stream, const data::Slot& slot) override {
          std::iota(slot.tokens, slot.tokens + i + 1, static_cast<int32_t>(10 * i));
        }
      };
      return std::make_unique<Fill>();
    }
  };
  data::Loader loader(std::make_shared<const Counting>(), {.batch_size = 3, .shuffle = false});
  std::vector<Batch> all;
  for (const Batch& b : loader.epoch(0)) all.push_back(b);
  REQUIRE(all.size() == 2);
  CHECK(all[0].in.tokens == Index{0, 0, 0, 10, 11, 0, 20, 21, 22});
  CHECK(all[1].in.rows(1, 2).tokens == Index{40, 41, 42, 43, 44, 0});
  CHECK(all[1].in.lengths == Index{4, 5, 6});
  CHECK(all[1].size() == 3);
  CHECK(all[1].labels.empty());
}

TEST_CASE("loader: drop_last leaves out what fills no batch, and never everything") {
  const auto source = from_memory(ragged(23), three);
  for (const auto& [size, batches] : {std::pair{4, 5}, {23, 1}, {22, 1}, {1, 23}, {100, 1}}) {
    data::Loader loader(source, {.batch_size = size, .drop_last = true});
    CHECK(loader.batches() == static_cast<size_t>(batches));
    for (const Batch& b : loader.epoch(0)) CHECK(b.size() == std::min(size, 23));
  }
}

TEST_CASE("lanes: every shard has the lengths of its samples, and padding changes no gradient") {
  const auto source = from_memory(ragged(23), three);
  Index all(23);
  std::iota(all.begin(), all.end(), 0);
  const Batch batch = data::gather(*source, all);
  Params params(3);
  const MeanFrame model(params);
  const Classification task(3, 0.1);
  Lanes lanes({.lanes = 3, .shard_size = 4});
  const auto [value, grads] = lanes({Mode::train, 1, 0}, batch, [&](const Run& run, const Batch& shard) {
    CHECK(shard.in.lengths == shard.in.lengths.rows(0, shard.size()));
    for (int i = 0; i < shard.size(); ++i)
      CHECK(shard.in.lengths[static_cast<size_t>(i)] == 1 + (shard.first + i) * 3 % 5);
    Tally tally;
    return task.loss(model, run, shard, tally);
  });
  Grads alone;
  double sum = 0;
  for (const int32_t i : all) {  // each sample by itself has no padding
    Batch one = data::gather(*source, std::span(&i, 1));
    CHECK(one.in.x.dim(1) == 1 + i * 3 % 5);
    one.of = 23;
    Tape tape;
    Tally tally;
    const Tensor loss = task.loss(model, {Mode::train, 1, 0, i}, one, tally);
    sum += static_cast<double>(loss[0]);
    tape.backward(loss, alone);
  }
  CHECK(value == doctest::Approx(sum).epsilon(1e-6));
  for (int i = 0; i < 6; ++i)
    CHECK(grads.of(model.W)[i] == doctest::Approx(static_cast<double>(alone.of(model.W)[i])).epsilon(1e-4));
}

TEST_CASE("evaluation of sequences says of each what it says of it alone") {
  const auto source = from_memory(ragged(23), three);
  Params params(3);
  const MeanFrame model(params);
  const Evaluation e = evaluate(model, *source);
  int right = 0;
  for (int32_t i = 0; i < 23; ++i) {
    const Tensor z = model.forward({}, data::gather(*source, std::span(&i, 1)).in).logits;
    CHECK(e.predictions[static_cast<size_t>(i)] == named_class(z.read()));
    right += named_class(z.read()) == i % 3;
  }
  CHECK(e.acc1 == right / 23.0);
  CHECK(e.confusion.size() == 3);
  const int32_t none = 23;
  CHECK_THROWS_WITH_AS(data::gather(*source, std::span(&none, 1)), doctest::Contains("number 23"), Error);
}

TEST_CASE("a run on data that are handed over is the run that opens them, and resumes on no others") {
  const Scratch scratch;
  train_run(tiny(1), scratch / "opened", false);
  RunConfig c = tiny(1);
  data::Splits s = open_splits(c.data);
  RunParts parts;
  parts.train = s.train, parts.val = s.val, parts.test = s.test;
  CHECK_THROWS_WITH_AS(train_run(c, "", false, {}, parts), doctest::Contains("leave train_size"), Error);
  c.data = {};
  train_run(c, scratch / "handed", false, {}, parts);
  CHECK(bytes(scratch / "opened/weights.safetensors") == bytes(scratch / "handed/weights.safetensors"));
  CHECK(metrics(scratch / "opened") == metrics(scratch / "handed"));
  CHECK(bytes(scratch / "opened/report_data.json") == bytes(scratch / "handed/report_data.json"));
  CHECK(summary(scratch / "handed")["data"]["name"] == s.train->name);
  auto other = dynamic_cast<const data::Set&>(*s.train);
  other.digest = "other";
  parts.train = std::make_shared<const data::Set>(other);
  CHECK_THROWS_WITH_AS(train_run(c, scratch / "handed", true, {}, parts), doctest::Contains("other data"), Error);
  parts.train = from_memory(ragged(23), three);
  CHECK_THROWS_WITH_AS(train_run(c, "", false, {}, parts), doctest::Contains("not of one kind"), Error);
  parts.val = parts.test = nullptr;
  CHECK_THROWS_WITH_AS(train_run(c, "", false, {}, parts), doctest::Contains("vit takes images of 32 x 32"), Misfit);
  parts.val.swap(parts.train);
  CHECK_THROWS_WITH_AS(train_run(c, "", false, {}, parts), doctest::Contains("none to train on"), Error);
}

TEST_CASE("train.drop_last: whole steps only; at its default no checkpoint knows of it") {
  const Scratch scratch;
  RunConfig c = tiny(1);  // 72 images in steps of 20
  c.train.drop_last = true;
  CHECK(train_run(c, scratch / "whole", false).steps == 3);
  c.train.drop_last = false;
  CHECK(train_run(c, scratch / "all", false).steps == 4);
  CHECK(said_by(scratch / "whole/last.ckpt", "config") != said_by(scratch / "all/last.ckpt", "config"));
  CHECK_FALSE(io::TensorFile(scratch / "all/last.ckpt").metadata().contains("asked"));
}

}  // namespace tessera::test
