// The model of docs/add_a_model.md, from the code on that page: frames of different lengths in, classes out. Its row is all that trainer,
// evaluation and registry need of it.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "tessera/core/io/replace_file.h"
#include "tessera/core/ops.h"
#include "tessera/models/row.h"
#include "tessera/nn/layers.h"
#include "tessera/train/data/memory.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/trainer.h"

// header, source and row of the page
#include "add_a_model.0.inc"
#include "add_a_model.1.inc"
namespace tessera {
#include "add_a_model.2.inc"
namespace {

// In a process of its own, which ctest starts with TESSERA_ADDED_MODEL set: the walks over all models elsewhere shall not meet its row.
const bool added = std::getenv("TESSERA_ADDED_MODEL") && (add_model(frame_net_row()), true);

/// Sequences of 5 to 30 frames whose class is the frame rate of a wave in noise.
data::Sequences waves(int n, uint64_t seed) {
  std::vector<std::vector<float>> all;
  Index labels;
  for (int i = 0; i < n; ++i) {
    const rng::Stream random(rng::mix(seed + static_cast<uint64_t>(i)));
    const int label = i % 3, T = 5 + static_cast<int>(random.below(0, 26));
    std::vector<float> x;
    for (int t = 0; t < T; ++t)
      for (int f = 0; f < 4; ++f)
        x.push_back(static_cast<float>(std::sin((0.3 + label) * t + f) +
                                       0.1 * random.normal(static_cast<uint64_t>(1 + t * 4 + f))));
    all.push_back(std::move(x)), labels.push_back(label);
  }
  return data::sequences(all, 4, labels);
}

}  // namespace

TEST_CASE("docs/add_a_model.md: files that it names exist") {
  const std::string page = io::read_file(TESSERA_SOURCE_DIR "/docs/add_a_model.md");
  for (const char* file : {"models/registry.cpp", "docs/matrix.md"}) {
    CHECK(page.find(file) != std::string::npos);
    CHECK(!io::read_file(std::string(TESSERA_SOURCE_DIR "/") + file).empty());
  }
}

TEST_CASE(
    "docs/add_a_model.md: the logits of a padded batch are those of each sample alone, and padding does not matter") {
  const auto source = data::from_memory(waves(12, 7), {"slow", "middle", "fast"});
  const ModelRow row = frame_net_row();
  for (const char* name : {"rope", "none", "shaw", "alibi", "t5", "transformer_xl", "sinusoidal"}) {
    INFO(name);
    Params params(3);
    Options said;
    fit(row, said, {source->name, source->form(), source->classes});
    CHECK(said.at("input_dim") == Value(4));
    const auto net = row.make(Scope(params), said, position(name, {}));
    std::vector<int32_t> all(source->size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
    Batch batch = data::gather(*source, all);
    REQUIRE(batch.in.lengths.count() == 12);
    const Tensor together = net->forward({}, batch.in).logits;
    for (int32_t i = 0; i < 12; ++i) {
      const int32_t which[] = {i};
      const Tensor alone = net->forward({}, data::gather(*source, which).in).logits;
      for (int k = 0; k < 3; ++k)
        CHECK(static_cast<double>(together[i * 3 + k]) == doctest::Approx(static_cast<double>(alone[k])).epsilon(1e-5));
    }
    Input dirty = batch.in;  // what stands in the padding is not looked at
    dirty.x = batch.in.x.copy();
    const auto [B, T, F] = dirty.x.dims<3>();
    for (int b = 0; b < B; ++b)
      for (int t = dirty.lengths[static_cast<size_t>(b)]; t < T; ++t)
        for (int f = 0; f < F; ++f) dirty.x[(b * T + t) * F + f] = 100;
    const Tensor again = net->forward({}, dirty).logits;
    for (int64_t i = 0; i < again.size(); ++i) CHECK(again[i] == together[i]);
  }
}

TEST_CASE("docs/add_a_model.md: it trains, by its row alone, on sequences of all lengths" * doctest::skip(!added)) {
  RunConfig config;
  config.model = "frame_net";
  config.train.epochs = 40, config.train.batch_size = 16, config.optim.lr = 3e-3;
  const std::vector<std::string> names{"slow", "middle", "fast"};
  RunParts parts;
  parts.train = data::from_memory(waves(192, 1), names), parts.test = data::from_memory(waves(60, 1000), names);
  const RunResult result = train_run(config, "", false, {}, parts);
  CHECK(result.finished);
  CHECK(result.test_acc1 > 0.8);  // chance is 0.33
  // threads are no part of the arithmetic, nor are lengths of other shards
  CHECK(train_run(config, "", false, {}, parts).train_loss == result.train_loss);
}

}  // namespace tessera
