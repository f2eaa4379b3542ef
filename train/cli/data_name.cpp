#include "tessera/train/cli/data_name.h"

#include "tessera/core/io/text.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/data/named.h"

namespace tessera::cli {

void check_data_name(const std::string& spec) try {
  if (spec.empty()) return;  // what is found
  io::check_text("data", "the data set", spec);
  const data::Spec said = data::parse_spec(spec);
  const data::NamedData* row = data::find_named(spec);
  if (!row) {
    std::vector<std::string> names;
    for (const data::NamedData& known : data::named_data()) names.push_back(known.name);
    unknown("data set", said.name, names);
  }
  if (row->check && !said.rest.empty()) row->check(said.rest);
} catch (const Error& e) {
  throw Usage(e.what());
}

void check_data_dir(const std::string& spec, const std::string& dir) {
  const data::NamedData* row = data::find_named(spec);
  if (!dir.empty() && row && row->most_made > 0)
    wrong_usage("--data-dir {} does nothing with {}, which is made in memory: leave it out", dir, spec);
}

DefaultData default_data(const std::string& dir) {
  if (data::available("cifar10", dir)) return {"cifar10", "data: cifar10 (found)"};
  return {"where", "data: where, made in memory (cifar10 was not found; tessera data get cifar10 fetches it)"};
}

}  // namespace tessera::cli
