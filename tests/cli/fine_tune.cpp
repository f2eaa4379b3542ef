// Fine-tuning from the command line: weights that timm wrote, and those of a run.
#include <nlohmann/json.hpp>

#include "tessera/core/io/checksum.h"
#include "tessera/core/io/tensor_file.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;

bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

const std::string timm_file = TESSERA_SOURCE_DIR "/tests/golden/data/vit_token.weights.safetensors";

std::vector<std::string> from_timm(const std::string& out, const std::vector<std::string>& more = {}) {
  std::vector<std::string> args{"train",
                                "--data",
                                "where:quadrant",
                                "--epochs",
                                "1",
                                "--model",
                                "vit",
                                "data.train_size=32",
                                "data.test_size=16",
                                "embed_dim=24",
                                "model.depth=2",
                                "num_heads=3",
                                "mlp_ratio=2",
                                "patch_size=4",
                                "--out",
                                out};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

}  // namespace

TEST_CASE(
    "train --weights: timm's weights, a new head for other classes, another resolution, lower blocks slower, parts "
    "frozen") {
  const Folder folder;
  const std::string run = folder / "run";
  const Result r =
      tessera(from_timm(run, {"--weights", timm_file, "optim.layer_decay=0.75", "optim.freeze=patch_embed.*"}));
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(has(r.err, "the file's is for other classes, head.bias (5,)"));
  CHECK(has(r.err, "pos_embed resampled"));
  CHECK(has(r.err, "are frozen"));
  CHECK(json::parse(read(run + "/summary.json")).contains("test_acc1"));
  CHECK(has(read(run + "/config.toml"), "layer_decay = 0.75"));
}

TEST_CASE(
    "train --weights: the run knows the checksum of the weights it began from, also when they are others by then") {
  const Folder folder;
  const std::string run = folder / "run", weights = folder / "w.safetensors";
  const std::string bytes = read(timm_file);
  write(weights, bytes);
  io::Checksum sum;
  sum.add(bytes.data(), bytes.size());
  const std::string checksum = "fnv1a-64:" + sum.hex();
  REQUIRE(tessera(from_timm(run, {"--weights", weights, "--max-steps", "1"})).code == 0);
  const json from = json::parse(read(run + "/started_from.json"));
  CHECK(from.at("checksum") == checksum);
  CHECK(from.at("weights") == weights);
  CHECK(from.at("bytes") == bytes.size());
  CHECK(json::parse(read(run + "/summary.json")).at("weights_checksum") == checksum);
  CHECK(has(read(run + "/report.html"), "began from weights " + checksum));
  write(weights, "something else");
  REQUIRE(tessera({"train", "--resume", run, "--max-steps", "2"}).code == 0);
  CHECK(json::parse(read(run + "/summary.json")).at("weights_checksum") == checksum);
  REQUIRE(tessera({"report", run}).code == 0);
  CHECK(has(read(run + "/results.csv"), checksum));
  REQUIRE(tessera(tiny_run(folder / "fresh")).code == 0);
  CHECK_FALSE(exists(folder / "fresh/started_from.json"));
  CHECK_FALSE(json::parse(read(folder / "fresh/summary.json")).contains("weights_checksum"));
}

TEST_CASE("train --weights RUN: the model and its positions come along; the recipe and other data decide the rest") {
  const Folder folder;
  const std::string first = folder / "first", second = folder / "second";
  REQUIRE(tessera(tiny_run(first, {"--position", "rope_axial", "position.theta=50"})).code == 0);
  const Result r = tessera({"train", "--data", "where:border", "--epochs", "1", "data.train_size=32",
                            "data.test_size=16", "--weights", first, "--out", second});
  INFO(r.err);
  REQUIRE(r.code == 0);
  const std::string config = read(second + "/config.toml");
  CHECK(has(config, "embed_dim = 16"));
  CHECK(has(config, "name = \"rope_axial\""));
  CHECK(has(config, "theta = 50.0"));
  CHECK(has(r.err, "weights: those of " + first + "/weights.safetensors"));
  CHECK(has(r.err, "the head (head.weight, head.bias) is fresh"));  // quadrants are no border
  CHECK(has(r.err, "--weights replaces the recipe's [model] section"));
  CHECK_FALSE(has(r.err, "--model"));
  const Result again = tessera({"train", "--data", "where:border", "--epochs", "1", "data.train_size=32",
                                "data.test_size=16", "--weights", second, "--reset-head", "--out", folder / "third"});
  CHECK(again.code == 0);
  CHECK(has(again.err, "the head (head.weight, head.bias) is fresh"));
}

TEST_CASE(
    "train --weights RUN of another family than the recipe's; and its own config.toml repeats the run to the bit") {
  const Folder folder;
  const std::string first = folder / "first", second = folder / "second", third = folder / "third";
  const std::vector<std::string> few{"--data", "where:border",       "--epochs",
                                     "1",      "data.train_size=32", "data.test_size=16"};
  const auto train = [&](std::vector<std::string> words, const std::string& out) {
    words.insert(words.begin(), "train");
    words.insert(words.end(), few.begin(), few.end());
    words.insert(words.end(), {"--out", out});
    const Result r = tessera(words);
    INFO(r.err);
    REQUIRE(r.code == 0);
  };
  train({"--model", "swin", "model.embed_dim=12", "model.depths=[1,1]", "model.num_heads=[2,2]"}, first);
  train({"--weights", first, "model.drop_path_rate=0.3"}, second);
  CHECK(has(read(second + "/config.toml"), "name = \"swin\""));
  CHECK(has(read(second + "/config.toml"), "drop_path_rate = 0.3"));
  train({second + "/config.toml"}, third);
  CHECK(read(second + "/config.toml").substr(read(second + "/config.toml").find('\n')) ==
        read(third + "/config.toml").substr(read(third + "/config.toml").find('\n')));
  CHECK(read(second + "/weights.safetensors") == read(third + "/weights.safetensors"));
}

TEST_CASE("train: configurations of runs that are older than some options have the digests they had") {
  const Folder folder;
  for (const auto& [family, digest] : {std::pair("vit", "2eb4df0f0e0e07f1"),
                                       {"swin", "724a78c0fc4ff2fe"},
                                       {"simple_vit", "24d2ef90db50186e"},
                                       {"rope", "287eadc2493b142b"}}) {
    CAPTURE(std::string(family));
    const std::string run = folder / family;
    REQUIRE(tessera({"train", std::string(TESSERA_SOURCE_DIR "/tests/cli/data/older_") + family + ".toml",
                     "--max-steps", "1", "--out", run})
                .code == 0);
    CHECK(io::TensorFile(run + "/last.ckpt").metadata().at("config") == digest);
  }
}

TEST_CASE("train --weights: what does not fit is one line and leaves no run") {
  const Folder folder;
  const auto refused = [&](const std::vector<std::string>& more, const std::vector<std::string>& words) {
    check_refused(tessera(from_timm(folder / "run", more)), 1, words);
    CHECK(!exists(folder / "run/metrics.jsonl"));
  };
  refused({"--weights", "nowhere.safetensors"}, {"nowhere.safetensors"});
  refused({"--weights", timm_file, "model.depth=3"}, {"missing", "blocks.2.norm1.weight"});
  refused({"--weights", timm_file, "optim.freeze=blocks.9.*"}, {"optim.freeze", "blocks.9.*"});
  check_refused(tessera(from_timm(folder / "run", {"--reset-head"})), 2, {"train.reset_head", "does nothing"});
}

}  // namespace tessera::test
