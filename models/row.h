#pragma once
// What makes a row of the registry out of a model's own parts: its configuration and the table of its fields, its
// places, what it eats.
#include <algorithm>
#include <utility>

#include "tessera/models/model.h"

namespace tessera {
inline namespace TESSERA_NS {

/// What all rows of a family share.
template <class Config>
struct Family {
  std::string name, reference;
  std::string position;   ///< "learned"
  Fields<Config> fields;  ///< of a table that is never destroyed
  /// Throws Error on a configuration that makes no sense.
  Places (*places)(const Config&);
  InputShape (*input)(const Config&);
  void (*fit)(const ModelRow&, Options& said, const DataShape&) = nullptr;
  std::vector<Rename> dialect = {};
};

/// A row of the family; M is built from (Scope, Config, MakePosition), and `defaults` are this row's configuration.
template <class M, class Config>
ModelRow model_row(const Family<Config>& family, std::string name, const Config& defaults) {
  const auto fields = family.fields;
  const auto configured = [=](const Options& options) {
    Config c = defaults;
    for (const auto& [key, value] : options)
      if (const std::string known = advice(key);
          !known.empty() && std::ranges::none_of(fields, [&k = key](const auto& f) { return k == f.name; }))
        fail("model " + name, "there is no {}: {}", key, known);
    assign(c, fields, options, "model.");
    check_fields(c, fields, "model.", defaults);
    return c;
  };
  ModelRow row{.name = name,
               .family = family.name,
               .reference = family.reference,
               .position = family.position,
               .defaults = read(defaults, fields),
               .places = [=, places = family.places](const Options& o) { return places(configured(o)); },
               .make = [=](const Scope& s, const Options& o, const MakePosition& p) -> std::unique_ptr<Model> {
                 return std::make_unique<M>(s, configured(o), p);
               },
               .input = [=, input = family.input](const Options& o) { return input(configured(o)); },
               .fit = family.fit,
               .dialect = family.dialect,
               .domains = domains(fields)};
  for (const auto& f : fields) row.help[f.name] = f.help;
  return row;
}

/// For `fit`: an option that nobody said becomes what the data have ("10 classes"; 0: they have none); one that says otherwise throws
/// Error.
void follow(Options& said, const char* key, int value, const DataShape& data, const char* what);

}  // namespace TESSERA_NS
}  // namespace tessera
