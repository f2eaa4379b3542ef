#include "tessera/models/weights_metadata.h"

#include <array>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr std::array<const char*, 4> keys{"img_size", "img_width", "patch_size", "window_size"};
constexpr int most = 16384;  // numbers of cells and offsets then stay far from the limits of an int

Options complete(const ModelRow& row, const Options& options) {
  Options all = row.defaults;
  for (const auto& [key, value] : options) all.insert_or_assign(key, value);
  return all;
}

}  // namespace

io::Metadata geometry(const ModelRow& row, const Options& options) {
  const Options all = complete(row, options);
  io::Metadata metadata;
  for (const char* key : keys)
    if (const auto it = all.find(key); it != all.end()) metadata["model." + it->first] = text(it->second);
  return metadata;
}

std::optional<Places> places_of(const io::Metadata& metadata, const ModelRow& row, const Options& options) {
  Options all = complete(row, options);
  if (!metadata.contains("model.img_size")) return {};
  for (const char* key : keys) {
    const auto said = metadata.find(std::string("model.") + key);
    const auto own = all.find(key);
    if (said == metadata.end() || own == all.end()) continue;
    own->second = parse("the weights' " + said->first, said->second, Value(0));
    const int size = std::get<int>(own->second);
    if (size < 0 || size > most) fail("weights", "the file's {} is {}, expected 0 to {}", said->first, size, most);
  }
  return row.places(all);
}

}  // namespace TESSERA_NS
}  // namespace tessera
