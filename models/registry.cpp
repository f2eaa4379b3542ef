// Every family of models. To add one: its .h and .cpp in this folder, which end with its rows, and its name in built_in().
#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <utility>

#include "tessera/models/airbench.h"
#include "tessera/models/cct.h"
#include "tessera/models/conformer.h"
#include "tessera/models/conformer_image.h"
#include "tessera/models/cpvt.h"
#include "tessera/models/cvt.h"
#include "tessera/models/pvt.h"
#include "tessera/models/resnet.h"
#include "tessera/models/row.h"
#include "tessera/models/sasa_net.h"
#include "tessera/models/simple_vit.h"
#include "tessera/models/swin.h"
#include "tessera/models/swin_v2.h"
#include "tessera/models/transformer.h"
#include "tessera/models/twins.h"
#include "tessera/models/vit.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

std::vector<ModelRow> built_in() {
  std::vector<ModelRow> all;
  for (const auto rows : {vit::rows, simple_vit::rows, cpvt::rows, swin::rows, swin_v2::rows, pvt::rows, twins::rows,
                          cvt::rows, cct::rows, sasa_net::rows, resnet::rows, airbench::rows, conformer::rows,
                          conformer_image::rows, transformer::rows})
    for (ModelRow& row : rows()) all.push_back(std::move(row));
  return all;
}

// A list is never changed or freed: who walks models(), or holds a row, may do so while another is added.
struct Table {
  std::mutex adding;
  std::deque<std::vector<ModelRow>> lists{built_in()};
  std::atomic<const std::vector<ModelRow>*> now{&lists.back()};
};
Table& table() {
  static auto* t = new Table;  // never destroyed: a model may be built after main
  return *t;
}

/// Do data of this shape go into a model that takes `model`?
bool takes(const InputShape& model, const InputShape& data) {
  InputShape like = data;
  if (model.T == 0 || (data.T > 0 && data.T <= model.T)) like.T = model.T;
  if (data.vocabulary <= model.vocabulary) like.vocabulary = model.vocabulary;
  if (model.target == 0 || (data.target > 0 && data.target <= model.target)) like.target = model.target;
  return like == model;
}

}  // namespace

const std::vector<ModelRow>& models() { return *table().now.load(std::memory_order_acquire); }

void add_model(ModelRow row) {
  if (row.name.empty() || row.name.find_first_of("+.") != std::string::npos)
    fail("add_model", "\"{}\" cannot be a name: it must not be empty or contain '+' or '.'", row.name);
  if (!row.make || !row.places || !row.input)
    fail("add_model", "{} has no `{}`: models/row.h makes a whole row", row.name,
         !row.make     ? "make"
         : !row.places ? "places"
                       : "input");
  if (row.family.empty()) row.family = row.name;
  if (row.position.empty()) row.position = "none";
  Table& t = table();
  std::lock_guard guard(t.adding);
  std::vector<ModelRow> rows = t.lists.back();
  if (std::ranges::any_of(rows, [&](const auto& r) { return row.name == r.name; }))
    fail("add_model", "{} exists", row.name);
  rows.push_back(std::move(row));
  t.now.store(&t.lists.emplace_back(std::move(rows)), std::memory_order_release);
}

std::string advice(std::string_view key) {
  static constexpr std::pair<std::string_view, const char*> known[] = {
      {"ape", "absolute positions beside the relative ones are --position learned+relative_position_bias"},
      {"use_abs_pos", "absolute positions beside the relative ones are --position learned+relative_position_bias"},
      {"pos_embed", "positions are --position learned, sincos2d, none, ... (tessera positions)"},
      {"use_rel_pos_bias", "relative positions are --position relative_position_bias (tessera positions)"},
      {"rel_pos_bias", "relative positions are --position relative_position_bias (tessera positions)"},
      {"img_height", "the height is model.img_size, the width model.img_width"},
      {"in_channels", "the channels of the image are model.in_chans"},
      {"drop_path", "stochastic depth is model.drop_path_rate"},
      {"dropout", "the rates are model.drop_rate, pos_drop_rate, proj_drop_rate and attn_drop_rate"},
      {"num_layers", "the blocks are model.depth, or model.depths of a model of stages"},
      {"hidden_size", "the width is model.embed_dim"},
  };
  for (const auto& [word, said] : known)
    if (key == word) return said;
  return "";
}

const ModelRow& model(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& r : models()) {
    if (r.name == name) return r;
    names.push_back(r.name);
  }
  unknown("model", name, names);
}

void follow(Options& said, const char* key, int value, const DataShape& data, const char* what) {
  if (value <= 0) return;
  const Value v = said.try_emplace(key, value).first->second;
  if (const int is = std::get<int>(convert(std::string("model.") + key, v, Value(0))); is != value)
    fail("train", "model.{} is {} but {} has {} {}: set model.{}={}", key, is, data.name, value, what, key, value);
}

void fit(const ModelRow& row, Options& said, const DataShape& data) {
  if (row.input({}).kind == data.input.kind && row.fit) row.fit(row, said, data);
  if (const InputShape eats = row.input(said); !takes(eats, data.input))
    fail("train", "{} takes {}, but {} holds {}: choose another model or other data", row.name, eats.str(), data.name,
         data.input.str());
  for (const auto& [key, value] : row.defaults) said.try_emplace(key, value);
}

}  // namespace TESSERA_NS
}  // namespace tessera
