// tessera probe: what encodings can express, in minutes.
#include <stdlib.h>

#include <algorithm>
#include <filesystem>

#include "tessera/core/io/replace_file.h"
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/cli/json.h"
#include "tessera/train/lab/child.h"
#include "tessera/train/lab/commands.h"
#include "tessera/train/lab/plan.h"
#include "tessera/train/lab/probe.h"
#include "tessera/train/training/environment.h"

namespace tessera::lab {
using namespace cli;
namespace {

namespace fs = std::filesystem;

struct Request {
  std::string model, positions, tasks, pools, out;
  std::vector<std::string> assignments;
  int seeds = 1, threads = 0;
  bool json = false;
};

constexpr const char* standard = "none,learned,sincos2d,rope_axial,relative_position_bias,peg";

std::vector<std::string> split(const std::string& text, const char* option) {
  std::vector<std::string> all;
  for (size_t from = 0; from <= text.size();) {
    const size_t comma = std::min(text.find(',', from), text.size());
    if (comma == from) wrong_usage("{} {}: a name is missing between commas", option, text);
    all.push_back(text.substr(from, comma - from));
    if (std::ranges::count(all, all.back()) > 1) wrong_usage("{} names {} twice", option, all.back());
    from = comma + 1;
  }
  return all;
}

std::vector<std::string> positions_of(const std::string& text) {
  if (text != "all") return split(text.empty() ? standard : text, "--positions");
  std::vector<std::string> all;
  for (const PositionRow& row : positions()) all.emplace_back(row.name);
  return all;
}

/// "lie:generator_dim=4": an encoding and options of its own.
ProbePosition position_of(const std::string& label, ConfigLayers layers) {
  size_t colon = std::min(label.find(':'), label.size());
  ProbePosition p{label, label.substr(0, colon)};
  layers.set("position.name", p.name);
  while (colon < label.size()) {
    const size_t next = std::min(label.find(':', colon + 1), label.size());
    const std::string assignment = label.substr(colon + 1, next - colon - 1);
    if (assignment.find('=') == std::string::npos)
      wrong_usage("--positions {}: expected NAME:KEY=VALUE, with a colon before each KEY", label);
    layers.assign((assignment.starts_with("position.") ? "" : "position.") + assignment);
    colon = next;
  }
  if (p.name != label) p.options = layers.resolve(false).position_options;
  position(p.name);  // an unknown name is known now
  return p;
}

std::vector<std::string> pools_of(const std::string& text, const RunConfig& config) {
  if (text.empty()) return {""};
  const ModelRow& row = model(config.model);
  const std::vector<std::string> all = split(text, "--pool");
  for (const std::string& pool : all) {
    if (pool != "token" && pool != "avg") wrong_usage("--pool {}: expected token, avg or both", pool);
    if (!row.defaults.contains("global_pool") || (pool == "token" && !row.defaults.contains("class_token")))
      wrong_usage("--pool {}: {} has no such choice", pool, config.model);
  }
  return all;
}

std::vector<ProbeTask> tasks_of(const std::string& text) {
  if (text.empty() || text == "all") return probe_tasks();
  const std::vector<std::string> names = split(text, "--tasks");
  std::vector<std::string> known;
  for (const ProbeTask& t : probe_tasks()) known.emplace_back(t.name);
  for (const std::string& n : names)
    if (std::ranges::count(known, n) == 0) unknown("task of the probe", n, known);
  std::vector<ProbeTask> all;
  for (const ProbeTask& t : probe_tasks())
    if (std::ranges::count(names, t.name) > 0) all.push_back(t);
  return all;
}

bool is_probes(std::string_view key) {
  return (key.starts_with("data.") && key != "data.train_size" && key != "data.test_size") || key == "train.seed" ||
         key.starts_with("position.") || key == "model.num_classes" || key == "model.img_size" ||
         key == "model.img_width" || key == "model.global_pool";
}

ProbeOptions options_of(const Request& r) try {
  ConfigLayers layers;
  layers.read_recipe("where_probe");
  layers.set("data.test_size", "1000");
  if (!r.model.empty()) layers.set("model.name", r.model);
  const std::vector<std::string> own = layers.keys();
  for (const std::string& a : r.assignments) layers.assign(a);
  const std::vector<std::string> keys = layers.keys();
  for (size_t i = own.size(); i < keys.size(); ++i)
    if (is_probes(full_key(keys[i]))) wrong_usage("{} is what the probe itself decides: leave it out", keys[i]);
  ProbeOptions o;
  o.tasks = tasks_of(r.tasks), o.seeds = r.seeds, o.config = layers.resolve(false);
  o.train_size = o.config.data.train_size, o.test_size = o.config.data.test_size;
  o.config.position_options.clear();
  for (const std::string& p : positions_of(r.positions)) o.positions.push_back(position_of(p, layers));
  o.pools = pools_of(r.pools, o.config);
  return o;
} catch (const Error& e) {
  throw Usage(e.what());
}

/// The folder of the runs: the one that was named, or one that goes away.
class Place {
 public:
  explicit Place(const std::string& out) : path_(out), keep_(!out.empty()) {
    if (keep_) return;
    std::string pattern = (fs::temp_directory_path() / "tessera-probe-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) fail("probe", "{}: {}", pattern, io::explain(errno));
    path_ = pattern;
  }
  ~Place() {
    std::error_code none;
    if (!keep_) fs::remove_all(path_, none);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool keep_;
};

Json as_json(const ProbeOptions& o, const std::vector<ProbeCell>& cells) {
  Json tasks = Json::array(), rows = Json::array();
  for (const ProbeTask& t : o.tasks)
    tasks.push_back({{"name", t.name}, {"chance", t.chance()}, {"tokens", t.tokens}, {"question", t.question}});
  for (const ProbeCell& c : cells) {
    Json row{{"position", c.position}, {"task", c.task}, {"size", c.size}};
    if (!c.pool.empty()) row["pool"] = c.pool;
    if (c.absent.empty()) {
      row["accuracy"] = c.accuracy, row["low"] = c.interval.low, row["high"] = c.interval.high;
      row["above_chance"] = c.above_chance(), row["by_seed"] = c.by_seed;
    } else {
      row["absent"] = c.absent;
    }
    rows.push_back(row);
  }
  return {{"model", o.config.model},    {"epochs", o.config.train.epochs},
          {"train_size", o.train_size}, {"test_size", o.test_size},
          {"seeds", o.seeds},           {"sizes", o.sizes},
          {"tasks", std::move(tasks)},  {"cells", std::move(rows)}};
}

/// What a page tells of the trainings: the command that repeats them, the program, its arithmetic, and what they have in common.
std::string made(const Request& r, const ProbeOptions& o) {
  const auto quoted = [](const std::string& s) { return Json(s).dump(); };
  std::string command = "tessera probe --positions ";
  for (const ProbePosition& p : o.positions) command += (&p == o.positions.data() ? "" : ",") + p.label;
  for (const auto& [option, value] : {std::pair("--model", r.model), {"--tasks", r.tasks}, {"--pool", r.pools}})
    if (!value.empty()) command += fmt::format(" {} {}", option, value);
  if (o.seeds > 1) command += fmt::format(" --seeds {}", o.seeds);
  for (const std::string& a : r.assignments) command += " " + shell_word(a);
  RunConfig shared = o.config;
  shared.position.clear(), shared.data.name.clear();
  return fmt::format(
      "# What the answers in probe.csv are of; position.name, data.name and model.global_pool are those of each "
      "row.\n[made]\nby = {}\narithmetic = {}\ncommand = {}\n\n{}",
      quoted(fmt::format("tessera {}, commit {}", version(), commit())), quoted(arithmetic()), quoted(command),
      toml(shared));
}

int run(const Request& r) try {
  use_threads(r.threads);
  const ProbeOptions o = options_of(r);
  const Place place(r.out);
  if (!r.out.empty()) fs::create_directories(r.out);
  const Interrupt interrupt(Usr1::stop);
  Hooks hooks;
  hooks.stop = [&] { return interrupt.stop(); };
  hooks.stopped_by = [&] { return interrupt.name(); };
  if (stderr_is_lively()) hooks.progress = show_progress, hooks.columns = terminal_columns;
  const std::vector<ProbeCell> cells =
      probe(o, place.path() + "/runs", hooks, [](std::string_view line) { say(line); });
  if (cells.empty()) {
    say(r.out.empty() ? "stopped; with --out DIR a probe can go on"
                      : fmt::format("stopped; the same command goes on with what is in {}", r.out));
    return interrupted;
  }
  if (!r.out.empty()) {
    io::replace_file(r.out + "/probe.csv", probe_csv(cells));
    io::replace_file(r.out + "/probe.toml", made(r, o));
  }
  if (r.json)
    print_json(as_json(o, cells));
  else
    print(probe_table(cells));
  return done;
} catch (const fs::filesystem_error& e) {
  fail("probe", "{}: {}", e.path1().string(), e.code().message());
}

}  // namespace

void add_probe(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand("probe", "What position encodings can express: small models, eight questions");
  auto r = std::make_shared<Request>();
  sub->add_option(
      "key=value", r->assignments,
      fmt::format("Model, optimiser, train.epochs, data.train_size [{}] and data.test_size [{}]; else as the "
                  "recipe where_probe",
                  ProbeOptions{}.train_size, ProbeOptions{}.test_size));
  sub->add_option("--model", r->model, "A family or a named configuration [vit of the recipe where_probe]")
      ->type_name("NAME");
  sub->add_option("--positions", r->positions,
                  std::string("Encodings, with options as NAME:KEY=VALUE:KEY=VALUE, or all [") + standard + "]")
      ->type_name("A,B,...");
  sub->add_option("--tasks", r->tasks, "Questions [all eight]")->type_name("A,B,...");
  sub->add_option(
         "--pool", r->pools,
         "Who answers for a picture: token (class token), avg (mean of the patches), or both [the model's own]")
      ->type_name("token,avg");
  sub->add_option("--seeds", r->seeds, "Trainings of each; from two on intervals are over seeds [1]")
      ->check(CLI::Range(1, 100))
      ->type_name("N");
  sub->add_option("--out", r->out, "Keep the runs and write probe.csv there; a stopped probe goes on")
      ->type_name("DIR");
  sub->add_flag("--json", r->json, "One JSON document on stdout");
  sub->add_option("--threads", r->threads, "Worker threads; results do not depend on it [cores available]")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  sub->callback([&chosen, r] { chosen = [=] { return run(*r); }; });
}

}  // namespace tessera::lab
