#include "tessera/models/image.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// Why a named configuration does not follow the data by itself, and what does.
std::string made_for(const ModelRow& row, const InputShape& made, const DataShape& data) {
  const auto& [h, w] = std::pair(data.input.h, data.input.w);
  std::string others = row.family, patches;
  for (const ModelRow& r : models())
    if (r.family == row.family && r.name != r.family && r.input({}).h == h) others += ", " + r.name;
  if (const auto patch = row.defaults.find("patch_size"); patch != row.defaults.end()) {
    const int p = std::get<int>(patch->second);
    patches = fmt::format(", which makes {} x {} patches of {} (model.patch_size)", h / p, w / p, p);
  }
  return fmt::format(
      "{} is made for images of {} x {}, those of {} are {} x {}: choose a model for them ({}), or say "
      "model.img_size={}{}",
      row.name, made.h, made.w, data.name, h, w, others, h, patches);
}

}  // namespace

void fit_image(const ModelRow& row, Options& said, const DataShape& data) {
  const InputShape &is = data.input, made = row.input({});
  follow(said, "num_classes", data.classes, data, "classes");
  follow(said, "in_chans", is.channels, data, "channels");
  if (!said.contains("img_size")) {
    if (row.name != row.family && made.h != is.h) fail("train", "{}", made_for(row, made, data));
    said["img_size"] = is.h;
    if (is.w != is.h) said["img_width"] = is.w;
  }
  if (const InputShape now = row.input(said); now.h != is.h || now.w != is.w)
    fail("train", "the model is built for images of {} x {} but those of {} are {} x {}: set model.img_size={}{}",
         now.h, now.w, data.name, is.h, is.w, is.h, is.w == is.h ? "" : fmt::format(" model.img_width={}", is.w));
}

}  // namespace TESSERA_NS
}  // namespace tessera
