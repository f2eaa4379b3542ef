#include "tessera/train/cli/data_name.h"

#include <algorithm>

#include "tessera/core/io/text.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/data/get.h"
#include "tessera/train/data/where.h"

namespace tessera::cli {

void check_data_name(const std::string& spec) try {
  if (spec.empty()) return;  // what is found
  io::check_text("data", "the data set", spec);
  const size_t colon = std::min(spec.find(':'), spec.size());
  const std::string name = spec.substr(0, colon);
  std::vector<std::string> names = data::downloads();
  names.insert(names.end(), {"imagefolder", "where"});
  if (std::find(names.begin(), names.end(), name) == names.end()) unknown("data set", name, names);
  if (name == "where" && colon + 1 < spec.size()) data::where::task(spec.substr(colon + 1));
} catch (const Error& e) {
  throw Usage(e.what());
}

}  // namespace tessera::cli
