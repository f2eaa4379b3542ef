#include <fmt/format.h>

#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/set.h"
#include "tessera/train/data/staged.h"

namespace tessera::data {

namespace fs = std::filesystem;

namespace {

void write_pictures(const TrainTest& data, const fs::path& dir, const std::function<bool()>& stop) {
  for (const Set* set : {&data.train, &data.test}) {
    const fs::path root = dir / (set == &data.train ? "train" : "test");
    for (const std::string& name : set->class_names) {
      std::error_code error;
      fs::create_directories(root / name, error);
      if (error) fail("data", "cannot make the folder {}: {}", (root / name).string(), io::explain(error.value()));
    }
    for (size_t i = 0; i < set->size(); ++i) {
      if (stop && stop()) fail("data", "stopped after {} pictures; nothing is left of them", i);
      const fs::path path = root / set->class_names[static_cast<size_t>(set->label(i))] / fmt::format("{:06}.png", i);
      const auto png = encode_png(set->h, set->w, set->channels, {set->image(i), set->bytes()});
      io::replace_file(path.string(), {reinterpret_cast<const char*>(png.data()), png.size()});
    }
  }
}

}  // namespace

void write_folder(const TrainTest& data, const std::string& dir, const std::function<bool()>& stop) {
  std::error_code error;
  if (fs::exists(dir, error) && !(fs::is_directory(dir, error) && fs::is_empty(dir, error)))
    fail("data", "{} exists and is not an empty folder; choose another", dir);
  // whole or not at all: half a data set would look like a smaller one
  fs::path target = fs::absolute(dir).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "made/"
  Staged staged(target, "data");
  write_pictures(data, staged.path(), stop);
  staged.publish();
}

}  // namespace tessera::data
