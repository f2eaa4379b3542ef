// Options that several subcommands share.
#include <tuple>

#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/train/cli/commands.h"
#include "tessera/train/training/spellings.h"

namespace tessera::cli {

void ModelOptions::add_to(CLI::App& app, bool model_required, std::span<const std::string_view> used) {
  auto* m = app.add_option("--model", model, "A family or a named configuration (tessera models)")->type_name("NAME");
  if (model_required) m->required();
  app.add_option("--position", position, "The position encoding, or several joined by + (tessera positions)")
      ->type_name("NAME");
  app.add_option("--threads", threads, "Worker threads; results do not depend on it [cores available]")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  app.add_option("key=value", assignments,
                 "Options of the model (depth=2, model.depth=2) or the encoding (position.KEY=...)");
  app.footer([this, &app, used] {
    try {
      const CLI::App* above = app.get_parent();
      const std::string command = (above && above->get_parent() ? above->get_name() + " " : "") + app.get_name();
      return "Keys and their values, as said here or by default:\n" + layers(command, used).help();
    } catch (const Error& e) {
      return std::string(e.what());
    }
  });
}

RunConfig ModelOptions::resolve(std::string_view command, std::span<const std::string_view> used) const {
  return layers(command, used).resolve();
}

ConfigLayers ModelOptions::layers(std::string_view command, std::span<const std::string_view> used) const {
  ConfigLayers config;
  if (!model.empty()) config.set("model.name", model);
  if (!position.empty()) config.set("position.name", position);
  for (const std::string& a : assignments) {
    for (const auto& [option, key, value] :
         {std::tuple("--model", "model.name=", model), {"--position", "position.name=", position}})
      if (!value.empty() && a.starts_with(key) && a != key + value)
        wrong_usage("{} {} and {} name two: leave one of them out", option, shown(value), shown(a));
    config.assign(a);
  }
  config.only(command, used);
  return config;
}

void use_threads(int threads) {
  if (threads > 0) parallel::set_threads(threads);
}

void use_precision(const std::string& name) {
  const std::string canonical = canonical_precision(name);
  if (canonical != "f32" && canonical != "bf16") wrong_usage("--precision {}: expected f32 or bf16", shown(name));
  set_precision(precision(canonical));
}

}  // namespace tessera::cli
