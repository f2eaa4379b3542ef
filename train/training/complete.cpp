#include "tessera/train/training/complete.h"

#include <algorithm>

#include "tessera/models/model.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/training/trainer.h"

namespace tessera {
namespace {

/// Why a named configuration does not follow the data by itself, and what does.
std::string made_for(const ModelRow& row, int size, int patch, const data::Set& set) {
  std::string others = row.family;
  for (const ModelRow& r : models())
    if (r.family == row.family && r.name != r.family && r.defaults.at("img_size") == Value(set.h))
      others += ", " + r.name;
  return fmt::format(
      "{} is made for images of {} x {}, those of {} are {} x {}: choose a model for them ({}), or say "
      "model.img_size={}, "
      "which makes {} x {} patches of {} (model.patch_size)",
      row.name, size, size, set.name, set.h, set.w, others, set.h, set.h / std::max(patch, 1),
      set.w / std::max(patch, 1), patch);
}

}  // namespace

void complete(RunConfig& c, const data::Set& set) try {
  check(c);  // once more: now it is known which data
  const ModelRow& row = model(c.model);
  if (c.position.empty()) c.position = row.position;
  Options& o = c.model_options;
  const auto follow = [&](const char* key, int value, const char* what) {
    if (!row.defaults.contains(key)) return;
    if (!o.contains(key)) o[key] = value;
    if (const int said = std::get<int>(convert(std::string("model.") + key, o[key], Value(0))); said != value)
      fail("train", "model.{} is {} but {} has {} {}: set model.{}={}", key, said, set.name, value, what, key, value);
  };
  follow("num_classes", set.classes, "classes");
  follow("in_chans", set.channels, "channels");
  if (row.defaults.contains("img_size")) {
    const auto side = [&](const Options& from, const char* key) {
      const auto it = from.find(key);
      return it == from.end() ? 0 : std::get<int>(convert(std::string("model.") + key, it->second, Value(0)));
    };
    // a family takes the size of the data; a named configuration is made for one, which only the user may change
    if (!o.contains("img_size") && row.name != row.family && side(row.defaults, "img_size") != set.h)
      fail("train", "{}", made_for(row, side(row.defaults, "img_size"), side(row.defaults, "patch_size"), set));
    if (!o.contains("img_size")) {
      o["img_size"] = set.h;
      if (set.w != set.h && row.defaults.contains("img_width")) o["img_width"] = set.w;
    }
    const int h = side(o, "img_size"), w = side(o, "img_width") > 0 ? side(o, "img_width") : h;
    if (h != set.h || w != set.w) {
      fail("train", "the model is built for images of {} x {} but those of {} are {} x {}: set model.img_size={}{}", h,
           w, set.name, set.h, set.w, set.h, set.w == set.h ? "" : fmt::format(" model.img_width={}", set.w));
    }
  }
  for (const auto& [key, value] : row.defaults) o.try_emplace(key, value);
  check_position(c.position, c.position_options, row.places(o));  // looks at every value of both
  data::check(c.augment, set);
} catch (const Error& e) {
  throw Misfit(e.what());
}

}  // namespace tessera
