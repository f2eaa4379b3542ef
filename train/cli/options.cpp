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
    const CLI::App* above = app.get_parent();
    const std::string command = (above && above->get_parent() ? above->get_name() + " " : "") + app.get_name();
    ModelOptions names, none;
    names.model = model, names.position = position;
    return help_of_keys(
        "Keys and their values", [&] { return layers(command, used); }, [&] { return names.layers(command, used); },
        [&] { return none.layers(command, used); });
  });
}

RunConfig ModelOptions::resolve(std::string_view command, std::span<const std::string_view> used) const {
  return layers(command, used).resolve();
}

RunConfig ModelOptions::said(std::string_view command, std::span<const std::string_view> used) const {
  return layers(command, used).resolve(false);
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

std::string help_of_keys(const std::string& title, const SaidSo& said, const SaidSo& names, const SaidSo& none) {
  std::string wrong;
  for (const SaidSo* so : {&said, &names}) try {
      return fmt::format("{}{}, as said here or by default:\n{}", wrong, title, (*so)().help());
    } catch (const Error& e) {
      if (wrong.empty()) wrong = fmt::format("{}\n\nWithout what is wrong:\n\n", e.what());
    }
  return fmt::format("{}{}, by default:\n{}", wrong, title, none().help());
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
