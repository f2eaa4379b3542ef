#pragma once
// A small run for the tests of runs: a few steps of a very small ViT on `where`.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "tessera/core/io/replace_file.h"
#include "tessera/core/io/tensor_file.h"
#include "tessera/train/training/trainer.h"
#include "tests/unit/scratch.h"

namespace tessera::test {

using nlohmann::json;

/// 72 images to train on, 16 to validate, 24 to test; everything on that has state.
inline RunConfig tiny(int epochs = 2) {
  RunConfig c;
  c.model = "vit";
  c.model_options = {{"embed_dim", 16},      {"depth", 2},       {"num_heads", 2},
                     {"patch_size", 8},      {"drop_rate", 0.1}, {"attn_drop_rate", 0.1},
                     {"drop_path_rate", 0.1}};
  c.position = "learned";
  c.data.name = "where", c.data.train_size = 72, c.data.val_size = 16, c.data.test_size = 24;
  c.train.epochs = epochs, c.train.batch_size = 20, c.train.ema_decay = 0.8;  // 3 batches of 20 and one of 12
  c.optim.clip_grad = 1, c.sched.warmup_epochs = 0.5;
  return c;
}

inline std::string bytes(const std::string& path) { return io::read_file(path); }
inline bool exists(const std::string& path) { return std::filesystem::exists(path); }
inline json summary(const std::string& rundir) { return json::parse(bytes(rundir + "/summary.json")); }
inline std::string said_by(const std::string& checkpoint, const char* key) {
  return io::TensorFile(checkpoint).metadata().at(key);
}

/// metrics.jsonl without what depends on the clock; every line must be JSON with all its keys.
inline std::vector<json> metrics(const std::string& rundir) {
  std::vector<json> rows;
  std::istringstream lines(bytes(rundir + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    rows.push_back(json::parse(line));
    for (const char* key : {"epoch", "step", "split", "loss", "acc1", "lr", "images_per_s", "seconds"})
      REQUIRE(rows.back().contains(key));
    rows.back().erase("images_per_s"), rows.back().erase("seconds");
  }
  return rows;
}

/// All tensors of a checkpoint, and its step.
inline std::vector<std::pair<std::string, std::string>> state(const std::string& path) {
  const io::TensorFile file(path);
  std::vector<std::pair<std::string, std::string>> all{{"step", file.metadata().at("step")}};
  for (const auto& t : file.tensors()) {
    std::string b(t.end - t.begin, '\0');
    file.read_bytes(t, b);
    all.emplace_back(t.name, std::move(b));
  }
  return all;
}

inline void check_equal_runs(const std::string& a, const std::string& b) {
  CHECK(bytes(a + "/weights.safetensors") == bytes(b + "/weights.safetensors"));
  CHECK(metrics(a) == metrics(b));
  for (const char* name : {"/last.ckpt", "/best.ckpt"}) CHECK((state(a + name) == state(b + name)));
}

/// What ends a run without its knowledge.
struct Death : std::runtime_error {
  Death() : std::runtime_error("death") {}
};

}  // namespace tessera::test
