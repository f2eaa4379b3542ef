#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "core/io/replace_file.h"
#include "train/data/image.h"
#include "train/data/set.h"

namespace tessera::data {

namespace fs = std::filesystem;

void write_folder(const Named& data, const std::string& dir) {
  std::error_code none;
  if (fs::exists(dir, none) && !(fs::is_directory(dir, none) && fs::is_empty(dir, none)))
    fail("data", "{} exists and is not an empty folder; choose another", dir);
  for (const Set* set : {&data.train, &data.test}) {
    const fs::path root = fs::path(dir) / (set == &data.train ? "train" : "test");
    for (const std::string& name : set->class_names) {
      std::error_code error;
      fs::create_directories(root / name, error);
      if (error) fail("data", "cannot make the folder {}: {}", (root / name).string(), error.message());
    }
    for (size_t i = 0; i < set->size(); ++i) {
      const fs::path path = root / set->class_names[static_cast<size_t>(set->label(i))] / fmt::format("{:06}.png", i);
      const auto png = encode_png(set->h, set->w, set->channels, {set->image(i), set->bytes()});
      io::replace_file(path.string(), {reinterpret_cast<const char*>(png.data()), png.size()});
    }
  }
}

}  // namespace tessera::data
