// Runs that begin from weights: of another program, of another head, of another size; frozen parts; lower rates below.
#include "tessera/train/training/fine_tune.h"

#include <filesystem>

#include "tessera/core/ops/arithmetic.h"
#include "tessera/models/model.h"
#include "tessera/train/data/memory.h"
#include "tests/error_of.h"
#include "tests/twin/golden.h"
#include "tests/unit/run_bed.h"

namespace tessera {
namespace {

using test::error_of;
namespace fs = std::filesystem;

bool has(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

/// Weights that timm wrote: a ViT of 24 channels, 2 blocks, 16 x 16 images, 5 classes.
const std::string timm_file = golden_file("vit_token", "weights");
const Options timm_options{{"patch_size", 4}, {"embed_dim", 24}, {"depth", 2}, {"num_heads", 3}, {"mlp_ratio", 2}};

RunConfig from_timm() {
  RunConfig c = test::tiny(1);
  c.model_options = timm_options;
  c.train.weights = timm_file;
  c.train.ema_decay = 0;
  return c;
}

struct Said {
  std::string text;
  Hooks hooks;
  Said() {
    hooks.say = [this](std::string_view line) { text += std::string(line) + "\n"; };
  }
};

TEST_CASE("fine-tuning: the head is what the number of classes shapes, in every family") {
  CHECK(head_of("vit", {}) == std::vector<std::string>{"head.weight", "head.bias"});
  CHECK(head_of("swin", {{"num_classes", 1}}) == std::vector<std::string>{"head.fc.weight", "head.fc.bias"});
  for (const ModelRow& row : models())
    if (row.name == row.family && row.defaults.contains("num_classes")) {
      CAPTURE(row.name);
      CHECK(!head_of(row.name, {}).empty());
      CHECK(head_of(row.name, {{"num_classes", 0}}).empty());
    }
}

TEST_CASE("fine-tuning: rates fall from the head down as timm's param_groups_layer_decay has them") {
  RunConfig c;
  const auto rates = [&](const char* name, const Options& options, const char* encoding) {
    c.model = name, c.model_options = options;
    Params params(1);
    PositionTables tables;
    model(name).make(Scope(params), options, remember_tables(position(encoding), tables));
    std::map<std::string, double> all;
    const std::vector<double> r = learning_rates(c, tables, params);
    for (size_t i = 0; i < r.size(); ++i) all[params.entries()[i].name] = r[i];
    return all;
  };
  CHECK(rates("vit", {}, "learned").empty());
  c.optim.layer_decay = 0.5;
  auto vit = rates("vit", {{"depth", 2}}, "learned");
  for (const char* stem : {"cls_token", "pos_embed", "patch_embed.proj.weight"}) CHECK(vit.at(stem) == 0.125);
  CHECK(vit.at("blocks.0.attn.qkv.weight") == 0.25);
  CHECK(vit.at("blocks.1.mlp.fc2.bias") == 0.5);
  CHECK(vit.at("norm.weight") == 0.5);
  CHECK(vit.at("head.weight") == 1);
  auto swin = rates("swin", {{"depths", std::vector{1, 2}}, {"num_heads", std::vector{2, 2}}, {"embed_dim", 8}},
                    "relative_position_bias");
  CHECK(swin.at("patch_embed.norm.weight") == 0.0625);
  CHECK(swin.at("layers.0.blocks.0.attn.relative_position_bias_table") == 0.125);
  CHECK(swin.at("layers.1.downsample.reduction.weight") == 0.25);
  CHECK(swin.at("layers.1.blocks.0.attn.relative_position_bias_table") == 0.25);
  CHECK(swin.at("layers.1.blocks.1.attn.qkv.weight") == 0.5);
  CHECK(swin.at("norm.weight") == 0.5);
  CHECK(swin.at("head.fc.bias") == 1);
}

TEST_CASE("fine-tuning: a rate of a parameter is the learning rate times its factor") {
  Params params(1);
  const Scope s(params);
  const Tensor a = s.param("a", {2}, constant(1)), b = s.param("b", {2}, constant(1));
  Optimiser o(params, SgdOptions{.momentum = 0}, {1, 0.25});
  Tape tape;
  Grads grads;
  const Tensor y = add(a, b);
  tape.backward(y, full({2}, 1), grads);
  o.step(grads, 0.5);
  CHECK(a[0] == 0.5f);
  CHECK(b[0] == 0.875f);
  CHECK(has(error_of([&] { Optimiser(params, SgdOptions{}, {1}); }), "1 learning rates for 2 parameters"));
}

TEST_CASE("fine-tuning: weights of timm start a run for other classes and another size, which says so") {
  const Scratch dir;
  RunConfig c = from_timm();
  c.optim.lr = 0, c.optim.weight_decay = 0, c.train.max_steps = 1;
  c.sched.warmup_epochs = 0;
  Said said;
  train_run(c, dir / "run", false, said.hooks);
  CHECK(has(said.text, "weights: those of"));
  CHECK(has(said.text, "the head (head.weight, head.bias) is fresh: the file's is for other classes, head.bias (5,)"));
  CHECK(has(said.text, "pos_embed resampled from (1, 17, 24) for 4x4 to (1, 65, 24) for 8x8"));
  const io::TensorFile theirs(timm_file), ours(dir / "run/weights.safetensors");
  int same = 0;
  for (const auto& info : theirs.tensors()) {
    const Tensor w = theirs.read(info.name), now = ours.read(info.name);
    if (info.name == "pos_embed" || info.name.starts_with("head.")) continue;
    ++same;
    REQUIRE(now.shape() == w.shape());
    for (int64_t i = 0; i < w.size(); ++i) REQUIRE(now[i] == w[i]);
  }
  CHECK(same == static_cast<int>(theirs.tensors().size()) - 3);
  // the run, now a directory of weights, starts another: nothing to resample, its head fits
  RunConfig again = c;
  again.train.weights = dir / "run";
  Said more;
  train_run(again, dir / "again", false, more.hooks);
  CHECK(!has(more.text, "resampled"));
  CHECK(!has(more.text, "fresh"));
  CHECK(test::bytes(dir / "again/weights.safetensors") == test::bytes(dir / "run/weights.safetensors"));
  again.train.reset_head = true;
  Said reset;
  again.train.seed = 7;
  train_run(again, dir / "reset", false, reset.hooks);
  CHECK(has(reset.text, "the head (head.weight, head.bias) is fresh\n"));
}

TEST_CASE("fine-tuning: weights for one channel see the same in three, and those for three in one") {
  const Scratch dir;
  RunConfig c = from_timm();
  c.optim.lr = 0, c.optim.weight_decay = 0, c.train.max_steps = 1, c.sched.warmup_epochs = 0;
  const auto grey = data::from_memory(data::Samples{8, 8, 1, std::vector<uint8_t>(64 * 4), {0, 1, 0, 1}}, {"a", "b"});
  const auto train = [&](const std::string& weights, const data::TrainTest& on, const std::string& out) {
    RunConfig r = c;
    r.data = {}, r.train.weights = weights;
    Said said;
    RunParts parts;
    parts.train = std::make_shared<const data::Set>(on.train);
    train_run(r, out, false, said.hooks, parts);
    return said.text;
  };
  CHECK(has(train(timm_file, grey, dir / "one"), "patch_embed.proj.weight goes from 3 to 1 channels"));
  const Tensor three = io::TensorFile(timm_file).read("patch_embed.proj.weight"),
               one = io::TensorFile(dir / "one/weights.safetensors").read("patch_embed.proj.weight");
  for (int64_t o = 0; o < 24; ++o)
    for (int64_t i = 0; i < 16; ++i)
      CHECK(one[o * 16 + i] == doctest::Approx(three[o * 48 + i] + three[o * 48 + 16 + i] + three[o * 48 + 32 + i]));
  const auto colour =
      data::from_memory(data::Samples{8, 8, 3, std::vector<uint8_t>(192 * 4), {0, 1, 0, 1}}, {"a", "b"});
  CHECK(has(train(dir / "one", colour, dir / "three"), "goes from 1 to 3 channels"));
  const Tensor again = io::TensorFile(dir / "three/weights.safetensors").read("patch_embed.proj.weight");
  for (int64_t o = 0; o < 24; ++o)
    for (int64_t i = 0; i < 48; ++i) CHECK(again[o * 48 + i] == doctest::Approx(one[o * 16 + i % 16] / 3));
}

TEST_CASE("fine-tuning: a first layer of no channels is of another shape") {
  const Scratch dir;
  const io::TensorFile theirs(timm_file);
  std::vector<std::string> bytes(theirs.tensors().size());
  std::vector<io::TensorBytes> all;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto& info = theirs.tensors()[i];
    const bool stem = info.name == "patch_embed.proj.weight";
    bytes[i].resize(stem ? 0 : info.end - info.begin);
    if (!stem) theirs.read_bytes(info, bytes[i]);
    all.push_back({info.name, info.dtype, stem ? std::vector<int64_t>{24, 0, 4, 4} : info.shape, bytes[i]});
  }
  io::write_safetensors(dir / "none.safetensors", all);
  RunConfig c = from_timm();
  c.train.weights = dir / "none.safetensors";
  CHECK(has(error_of([&] { train_run(c, dir / "run", false); }), "patch_embed.proj.weight"));
}

TEST_CASE(
    "fine-tuning: a head of as many classes is kept where they are the same, and where nobody knows, which is said") {
  const Scratch dir;
  RunConfig c = from_timm();
  c.optim.lr = 0, c.optim.weight_decay = 0, c.train.max_steps = 1, c.sched.warmup_epochs = 0, c.data = {};
  const auto train = [&](const std::string& weights, std::vector<std::string> classes, const std::string& out) {
    const data::Samples pixels{8, 8, 3, std::vector<uint8_t>(192 * 4), {0, 1, 0, 1}};
    c.train.weights = weights;
    RunParts parts;
    parts.train = std::make_shared<const data::Set>(data::from_memory(pixels, std::move(classes)).train);
    Said said;
    train_run(c, out, false, said.hooks, parts);
    return said.text;
  };
  const auto head = [&](const std::string& run) {
    const Tensor w = io::TensorFile(run + "/weights.safetensors").read("head.weight");
    return std::vector<real>(w.values().begin(), w.values().end());
  };
  train(timm_file, {"cat", "dog"}, dir / "pets");
  c.train.seed = 7;
  CHECK(!has(train(dir / "pets", {"cat", "dog"}, dir / "again"), "the head"));
  CHECK(head(dir / "again") == head(dir / "pets"));
  for (const std::vector<std::string>& others : {std::vector<std::string>{"car", "bus"}, {"dog", "cat"}}) {
    CHECK(has(train(dir / "pets", others, dir / others[0]), "is fresh: the run's is for other classes, cat, dog"));
    CHECK(head(dir / others[0]) != head(dir / "pets"));
  }
  const char* kept = "the head (head.weight, head.bias) is kept, though nothing says for which classes it is";
  CHECK(has(train(dir / "pets/weights.safetensors", {"car", "bus"}, dir / "file"), kept));
  CHECK(head(dir / "file") == head(dir / "pets"));
  fs::remove(dir / "pets/summary.json");
  CHECK(has(train(dir / "pets", {"car", "bus"}, dir / "unknown"), kept));
}

TEST_CASE("fine-tuning: frozen parameters keep their bits, the others move") {
  const Scratch dir;
  RunConfig c = from_timm();
  c.optim.freeze = "patch_embed.*, blocks.0.* cls_token";
  Said said;
  train_run(c, dir / "run", false, said.hooks);
  CHECK(has(said.text, "are frozen"));
  const io::TensorFile theirs(timm_file), ours(dir / "run/weights.safetensors");
  for (const auto& info : theirs.tensors()) {
    if (info.name == "pos_embed" || info.name.starts_with("head.")) continue;
    const Tensor w = theirs.read(info.name), now = ours.read(info.name);
    bool equal = true;
    for (int64_t i = 0; i < w.size(); ++i) equal = equal && now[i] == w[i];
    CAPTURE(info.name);
    CHECK(equal ==
          (info.name.starts_with("patch_embed.") || info.name.starts_with("blocks.0.") || info.name == "cls_token"));
  }
  const auto refused = [&](const char* patterns) {
    c.optim.freeze = patterns;
    return error_of([&] { train_run(c, dir / "no", false); });
  };
  CHECK(has(refused("patch_embd.proj.weight"), "did you mean \"patch_embed.proj.weight\""));
  CHECK(has(refused("*"), "leaves nothing to train"));
  CHECK(!fs::exists(dir / "no/metrics.jsonl"));
}

TEST_CASE("fine-tuning: a resumed run needs the file no more and has the bits of one that never stopped") {
  const Scratch dir;
  RunConfig c = from_timm();
  c.train.epochs = 2, c.optim.layer_decay = 0.75, c.optim.freeze = "pos_embed";
  fs::copy_file(timm_file, dir / "w.safetensors");
  c.train.weights = dir / "w.safetensors";
  train_run(c, dir / "whole", false);
  int steps = 0;
  Hooks stop;
  stop.stop = [&] { return ++steps == 3; };
  CHECK(train_run(c, dir / "part", false, stop).interrupted);
  fs::remove(dir / "w.safetensors");
  CHECK(train_run(c, dir / "part", true).finished);
  CHECK(test::bytes(dir / "part/weights.safetensors") == test::bytes(dir / "whole/weights.safetensors"));
}

TEST_CASE("fine-tuning: what cannot be is one line, and no run begins") {
  const Scratch dir;
  const auto refused = [&](auto change) {
    RunConfig c = from_timm();
    change(c);
    const std::string why = error_of([&] { train_run(c, dir / "run", false); });
    CHECK(!fs::exists(dir / "run/metrics.jsonl"));
    CHECK(why.find('\n') == std::string::npos);
    fs::remove_all(dir / "run");
    return why;
  };
  CHECK(has(refused([](RunConfig& c) { c.train.weights = "no/such.safetensors"; }), "no/such.safetensors"));
  CHECK(has(refused([&](RunConfig& c) { c.train.weights = dir.path(); }), "has no weights.safetensors"));
  CHECK(has(refused([](RunConfig& c) { c.model_options["embed_dim"] = 48; }), "of another shape"));
  CHECK(has(refused([](RunConfig& c) { c.model_options["depth"] = 3; }), "missing (blocks.2.norm1.weight"));
  CHECK(has(refused([](RunConfig& c) { c.model = "swin", c.model_options = {}; }), "unknown to the model"));
  CHECK(has(refused([](RunConfig& c) { c.train.weights.clear(), c.train.reset_head = true; }), "reset_head"));
  CHECK(has(refused([](RunConfig& c) { c.optim.layer_decay = 1.5; }), "layer_decay"));
}

}  // namespace
}  // namespace tessera
