#include "tessera/core/error.h"
#include "tessera/nn/options.h"
#include "tessera/train/data/named.h"

namespace tessera::data {

Splits open_splits(std::string_view text, const std::string& dir, const OpenOptions& options) {
  const Spec spec = parse_spec(text);
  const NamedData* row = find_named(text);
  if (!row) {
    std::vector<std::string> names;
    for (const NamedData& r : named_data()) names.push_back(r.name);
    unknown("data set", spec.name, names);
  }
  return row->open(spec, dir, options);
}

TrainTest open(std::string_view spec, const std::string& dir, const OpenOptions& options) {
  const Splits s = open_splits(spec, dir, options);
  const auto* train = dynamic_cast<const Set*>(s.train.get());
  if (!train)
    fail("data", "{} holds {}, no pictures: data::open_splits opens it", s.train->name, s.train->form().str());
  // A split that is missing is an empty set of its own name.
  const auto set = [&](const std::shared_ptr<const Source>& source, const char* what) {
    if (source) return dynamic_cast<const Set&>(*source);
    Set none = subset(*train, {});
    none.name = std::string(spec) + what;
    return none;
  };
  return {*train, set(s.test, " test"), set(s.val, " val"), train->classes, s.note};
}

bool available(std::string_view text, const std::string& dir) {
  const NamedData* row = find_named(text);
  return row && row->available(parse_spec(text), dir);
}

}  // namespace tessera::data
