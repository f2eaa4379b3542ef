// tessera report: the page and the table about one run or about all runs below a folder.
#include "train/report.h"

#include <spawn.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "core/io/replace_file.h"
#include "train/cli/commands.h"
#include "train/cli/console.h"
#include "train/cli/json.h"

extern char** environ;

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;

bool is_run(const fs::path& folder) {
  return fs::exists(folder / "config.toml") && fs::exists(folder / "metrics.jsonl");
}

/// The folder itself, or every run below it, sorted by path.
std::vector<std::string> runs_in(const std::string& folder) {
  if (!fs::is_directory(folder)) fail("report", "{} is no folder", folder);
  if (is_run(folder)) return {folder};
  std::vector<std::string> runs;
  for (const auto& e : fs::recursive_directory_iterator(folder))
    if (e.is_directory() && is_run(e.path())) runs.push_back(e.path().string());
  std::sort(runs.begin(), runs.end());
  if (runs.empty())
    fail("report", "{} is no run directory and holds none (config.toml and metrics.jsonl make one)", folder);
  return runs;
}

std::string cell(const std::string& s) {
  if (s.find_first_of(",\"\n") == std::string::npos) return s;
  std::string quoted = "\"";
  for (const char c : s) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

/// One row a finished run: what its summary says, without times, rates and the machine's description, so that equal work gives equal bytes.
std::string table(const std::vector<std::string>& runs, const std::string& root) {
  const std::set<std::string> temporal = {"seconds", "images_per_s", "threads", "isa", "version", "environment"};
  std::vector<std::map<std::string, std::string>> rows;
  std::set<std::string> columns;
  for (const std::string& run : runs) {
    if (!fs::exists(run + "/summary.json")) continue;
    const Json summary = Json::parse(io::read_file(run + "/summary.json", io::limit::summary), nullptr, false);
    if (!summary.is_object()) fail("report", "{}/summary.json is damaged", run);
    auto& row = rows.emplace_back();
    row["run"] = run == root ? "." : fs::relative(run, root).string();
    for (const auto& [key, value] : summary.items()) {
      if (temporal.contains(key)) continue;
      if (value.is_object()) {
        for (const auto& [inner, v] : value.items())
          row[key + "." + inner] = v.is_string() ? v.get<std::string>() : v.dump();
      } else {
        row[key] = value.is_string() ? value.get<std::string>() : value.dump();
      }
    }
    for (const auto& [key, value] : row) columns.insert(key);
  }
  const std::vector<std::string> first = {"run", "model", "position", "seed"};
  std::vector<std::string> order = first;
  for (const auto& c : columns)
    if (std::find(first.begin(), first.end(), c) == first.end()) order.push_back(c);
  std::string csv = fmt::format("{}\n", fmt::join(order, ","));
  for (auto& row : rows) {
    std::string line;
    for (const auto& c : order) line += (c == order[0] ? "" : ",") + cell(row[c]);
    csv += line + "\n";
  }
  return csv;
}

void open_page(const std::string& path) {
  std::string program = "xdg-open", file = fs::absolute(path).string();
  char* argv[] = {program.data(), file.data(), nullptr};
  pid_t child = 0;
  if (posix_spawnp(&child, program.c_str(), nullptr, nullptr, argv, environ) != 0)
    say_warning("xdg-open is missing; open " + file);
}

int report(const std::vector<std::string>& folders, std::string output, bool open) {
  std::vector<std::string> runs;
  for (const std::string& f : folders)
    for (std::string& r : runs_in(f)) runs.push_back(std::move(r));
  if (output.empty() && folders.size() > 1) output = "report.html";
  if (output.empty()) {
    output = folders[0] + "/report.html";
    io::replace_file(folders[0] + "/results.csv", table(runs, folders[0]));
  }
  report::write(runs, output);
  say("{}: {} run{}", output, runs.size(), runs.size() == 1 ? "" : "s");
  if (open) open_page(output);
  return done;
}

}  // namespace

void add_report(CLI::App& app, Action& chosen) {
  auto* sub =
      app.add_subcommand("report", "(Re)write report.html and results.csv of a run, or of all runs in a folder");
  struct Options {
    std::vector<std::string> folders;
    std::string output;
    bool open = false;
  };
  auto o = std::make_shared<Options>();
  sub->add_option("DIR", o->folders, "A run directory or a folder of them; several are compared in one page")
      ->required();
  sub->add_option("--output", o->output, "The page to write [DIR/report.html, of several ./report.html]")
      ->type_name("FILE.html");
  sub->add_flag("--open", o->open, "Show it with xdg-open");
  sub->callback([&chosen, o] { chosen = [=] { return report(o->folders, o->output, o->open); }; });
}

}  // namespace tessera::cli
