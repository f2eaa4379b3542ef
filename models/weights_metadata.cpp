#include "tessera/models/weights_metadata.h"

#include <algorithm>

namespace tessera {
inline namespace TESSERA_NS {
namespace {

Options complete(const ModelRow& row, const Options& options) {
  Options all = row.defaults;
  for (const auto& [key, value] : options) all.insert_or_assign(key, value);
  return all;
}

}  // namespace

io::Metadata weights_metadata(const ModelRow& row, const Options& options) {
  io::Metadata metadata;
  for (const auto& [key, value] : complete(row, options)) metadata["model." + key] = text(value);
  return metadata;
}

std::optional<Places> places_of(const io::Metadata& metadata, const ModelRow& row, const Options& options) {
  if (const auto whose = metadata.find("model"); whose != metadata.end() && whose->second != row.name) {
    const auto other = std::ranges::find(models(), whose->second, &ModelRow::name);
    if (other != models().end() && other->family != row.family) return {};  // its options are not this row's
  }
  Options all = complete(row, options);
  bool says = false;
  for (const auto& [key, standard] : row.defaults) {
    const auto said = metadata.find("model." + key);
    if (said == metadata.end()) continue;
    const auto domain = row.domains.find(key);
    all[key] = convert("the file's " + said->first, said->second, standard,
                       domain == row.domains.end() ? Domain{} : domain->second, "weights");
    says = true;
  }
  return says ? std::optional(row.places(all)) : std::nullopt;
}

}  // namespace TESSERA_NS
}  // namespace tessera
