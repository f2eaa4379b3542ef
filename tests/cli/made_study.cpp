#include "tests/cli/made_study.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tessera/core/io/safetensors.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using nlohmann::json;

/// In [0, 1), from whole numbers alone.
double drawn(int a, int b, int c = 0) {
  return std::fmod(std::abs(std::sin(a * 12.9898 + b * 78.233 + c * 37.719) * 43758.5453), 1.0);
}

json measures(int e, int seed, double acc) {
  json numbers{{"last_acc1", acc},
               {"best_val_acc1", acc + 0.01},
               {"best_val.test_acc1", acc - 0.002},
               {"subset_acc1", acc},
               {"params", 100000 + 1000 * e},
               {"params_added", 1000 * e},
               {"macs", 5000000 + 100 * e},
               {"macs_added", 100 * e},
               {"positions.zeroed.acc1", acc / 2},
               {"permuted.each.acc1", e == 0 ? acc : acc / 3},
               {"flip.consistency", 0.9},
               {"grid_shuffle.2.acc1", acc - 0.1}};
  json absent = json::object();
  for (const char* size : {"24x24", "32x32", "48x48", "32x48"}) {
    const std::string name = fmt::format("resolution.{}.acc1", size);
    if (e == 1 && std::string(size) != "32x32")
      absent[name] = "its table is of 8 x 8 tokens";
    else
      numbers[name] = acc - 0.02 * std::abs(std::atoi(size) - 32) / 8.0;
  }
  for (int s = 1; s <= 4; ++s)
    for (const char* kind : {"circular", "crop"})
      numbers[fmt::format("shift.{}.{}.consistency", kind, s)] = 1 - 0.02 * s + 0.01 * drawn(e, seed, s);
  for (int b = 0; b < 2; ++b)
    for (int h = 0; h < 2; ++h) numbers[fmt::format("attention_distance.{}.{}", b, h)] = 1 + b + h;
  return {{"format", 1},
          {"numbers", numbers},
          {"timed",
           {{"images_per_s", 900.5 - e},
            {"images_per_s_vs_none", 1 - 0.01 * e},
            {"peak_tensors_mb", 12.5 + e},
            {"peak_tensors_vs_none", 1 + 0.02 * e}}},
          {"absent", absent}};
}

json pictures(int e) {
  std::vector<double> offsets, map;
  for (int i = 0; i < 49; ++i) offsets.push_back(1.0 / (1 + std::abs(i % 7 - 3) + std::abs(i / 7 - 3) + e));
  for (int i = 0; i < 16; ++i) map.push_back(1.0 / (1 + i));
  const json block{
      {"block", 0},
      {"path", "blocks.0.attn"},
      {"q", {4, 4, 1}},
      {"k", {4, 4, 1}},
      {"entropy", {0.5}},
      {"distance", {nullptr}},
      {"maps", {{{"head", 0}, {"query", {0, 0}}, {"values", map}}, {{"head", 0}, {"query", "class"}, {"values", map}}}},
      {"offsets", {{"h", 7}, {"w", 7}, {"values", offsets}}}};
  return {{"format", 1}, {"images", 8}, {"blocks", {block}}};
}

void make_run(const std::string& dir, const std::string& position, int e, int seed) {
  const double acc = 0.5 + (e == 0 ? 0 : 0.01 + 0.02 * e) + 0.004 * drawn(e, seed);
  std::filesystem::create_directories(dir);
  write(dir + "/config.toml", fmt::format("# tessera 0.1.0 on a machine / commit 0123456789ab\n[model]\nname = "
                                          "\"vit\"\nimg_size = 32\n[position]\nname = {}\n[data]\nname = "
                                          "\"cifar10\"\n[optim]\nlr = 0.001\n[train]\nepochs = 3\nseed = {}\n",
                                          json(position).dump(), seed));
  std::string metrics;
  for (int epoch = 1; epoch <= 3; ++epoch)
    for (const char* split : {"train", "val"})
      metrics += fmt::format(
          "{{\"epoch\":{0},\"step\":{1},\"split\":\"{2}\",\"loss\":{3},\"acc1\":{4},\"lr\":0.001,\"images_per_s\":1000."
          "5,\"seconds\":{0}.5}}\n",
          epoch, 10 * epoch, split, 2.0 - 0.3 * epoch, acc - 0.1 * (3 - epoch));
  write(dir + "/metrics.jsonl", metrics);
  write(dir + "/summary.json", json{{"model", "vit"},
                                    {"position", position},
                                    {"seed", seed},
                                    {"test_acc1", acc},
                                    {"finished", true},
                                    {"seconds", 3.5},
                                    {"threads", 2},
                                    {"images_per_s", 1000.5}}
                                   .dump());
  write(dir + "/cell.json", json{{"format", 1}, {"keys", {{"position.name", position}}}, {"seed", seed}}.dump());
  write(dir + "/measures.json", measures(e, seed, acc).dump());
  write(dir + "/pictures.json", pictures(e).dump());
  const json table{{"name", "pos_embed"},
                   {"kind", "embedding"},
                   {"h", 2},
                   {"w", 2},
                   {"channels", 2},
                   {"prefix", 1},
                   {"values", {0, 0, 1, 0.5, -1, 0.25, 0.5, 0.5, 1, 1}}};
  if (e == 1)
    write(dir + "/report_data.json", json{{"split", "test"},
                                          {"classes", json::array({"a", "b"})},
                                          {"confusion", {{3, 1}, {0, 4}}},
                                          {"samples", json::array()},
                                          {"tables", {table}}}
                                         .dump());
}

}  // namespace

void make_study(const std::string& dir, const std::vector<std::string>& encodings, int seeds) {
  namespace fs = std::filesystem;
  fs::create_directories(dir + "/cells"), fs::create_directories(dir + "/failed");
  std::string values;
  for (const std::string& name : encodings) values += (values.empty() ? "" : ", ") + json(name).dump();
  write(dir + "/plan.toml", "[run]\nmodel = \"vit\"\nseeds = [1, 2, 3]\n[grid]\nposition = [" + values +
                                "]\n[report]\nbaseline = \"none\"\n");
  for (size_t e = 0; e < encodings.size(); ++e)
    for (int seed = 1; seed <= seeds; ++seed) {
      const std::string cell = fmt::format("position={},seed={}", e, seed);
      if (e + 1 < encodings.size() || seed < seeds)
        make_run(dir + "/cells/" + cell, encodings[e], static_cast<int>(e), seed);
      else
        write(dir + "/failed/" + cell + ".json", json{{"format", 1},
                                                      {"keys", {{"position.name", encodings[e]}}},
                                                      {"seed", seed},
                                                      {"reason", "[train] the loss of step 7 is nan"}}
                                                     .dump());
    }
}

void make_answers(const std::string& cell, const std::vector<uint8_t>& right) {
  const auto bytes = std::span(reinterpret_cast<const char*>(right.data()), right.size());
  const std::array tensors{io::TensorBytes{"right", io::DType::u8, {static_cast<int64_t>(right.size())}, bytes}};
  io::write_safetensors(cell + "/answers.safetensors", tensors);
  json measures = json::parse(read(cell + "/measures.json"));
  measures["numbers"]["last_acc1"] =
      std::accumulate(right.begin(), right.end(), 0.0) / static_cast<double>(right.size());
  write(cell + "/measures.json", measures.dump());
}

}  // namespace tessera::test
