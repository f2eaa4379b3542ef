// Weights under the names of other programs give what those programs gave: tests/golden/names.py wrote both.
#include <algorithm>

#include "tessera/models/model.h"
#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check_names(const std::string& name, const char* model, const Options& options, const char* position = nullptr,
                 double double_bound = 1e-12) {
  CAPTURE(name);
  const ModelRow& row = tessera::model(model);
  Params params(7);
  const auto net = row.make(Scope(params), options, tessera::position(position ? position : row.position));
  io::load(params, golden_file("names_" + name, "weights"), {.dialect = row.dialect});
  const io::TensorFile golden(golden_file("names_" + name, "golden"));
  const Tensor logits = net->forward(Run{}, channels_last(golden.read("input"))).logits, want = golden.read("logits");
  CHECK(difference(logits, want) <= (sizeof(real) == 8 ? double_bound : 2e-5) * std::max(1.0, largest(want)));
}

const std::vector<int> depths{2, 1, 1}, heads{1, 2, 2};
const Options three_stages{{"img_size", 32},   {"patch_size", 2},    {"window_size", 4}, {"embed_dim", 4},
                           {"depths", depths}, {"num_heads", heads}, {"num_classes", 3}, {"mlp_ratio", 2.0}};

TWIN_CASE(
    "golden names: the official Swin, merging behind the blocks, head without fc, masks and indices in the file") {
  check_names("swin_official", "swin", three_stages);
  Options two = three_stages;
  two["img_size"] = 16, two["depths"] = std::vector<int>{2, 1}, two["num_heads"] = std::vector<int>{1, 2};
  check_names("swin_official_ape", "swin", two, "learned+relative_position_bias");
}

TWIN_CASE("golden names: transformers, as version 5 has them in memory and as it saves them") {
  check_names("swin_transformers", "swin", three_stages);
  check_names("swin_transformers_saved", "swin", three_stages);
  check_names(
      "vit_transformers", "vit",
      {{"img_size", 8}, {"patch_size", 4}, {"embed_dim", 8}, {"depth", 2}, {"num_heads", 2}, {"num_classes", 3}});
}

TWIN_CASE("golden names: Swin v2, the official code's and transformers', which round its coordinates to 32 bits") {
  Options two = three_stages;
  two["img_size"] = 16, two["depths"] = std::vector<int>{2, 1}, two["num_heads"] = std::vector<int>{1, 2};
  two["mask_value"] = -100.0;
  check_names("swin_v2_official", "swin_v2", two, nullptr, 1e-6);
  check_names("swin_v2_transformers", "swin_v2", two, nullptr, 1e-6);
}

/// `params` in a file, each tensor under the name that `name` gives it.
template <class Name>
void write_as(const Params& params, const std::string& path, Name name) {
  std::vector<io::NamedTensor> tensors;
  for (const auto& e : params.entries()) tensors.emplace_back(name(e.name), e.value);
  io::write_tensors(path, tensors);
}

TWIN_CASE("golden names: a Swin's merging is counted by the file it stands in") {
  const ModelRow& row = tessera::model("swin");
  Params mine(1), read(2);
  row.make(Scope(mine), three_stages, tessera::position(row.position));
  row.make(Scope(read), three_stages, tessera::position(row.position));
  const std::string path = "names_" TESSERA_STRING(TESSERA_NS) ".safetensors";
  const auto same = [&] {
    return std::ranges::all_of(mine.entries(),
                               [&](const auto& e) { return difference(e.value, read.find(e.name)->value) == 0; });
  };
  SUBCASE("ours and timm's: before the blocks") {
    write_as(mine, path, [](const std::string& name) { return name; });
  }
  SUBCASE("the official one: behind those of the stage before") {
    write_as(mine, path, [](std::string name) {
      if (name.find("downsample") != std::string::npos) --name[std::string("layers.").size()];
      return name.starts_with("head.fc") ? name.erase(4, 3) : name;
    });
  }
  io::load(read, path, {.dialect = row.dialect});
  std::remove(path.c_str());
  CHECK(same());
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
