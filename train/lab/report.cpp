// tessera report: the page and the tables about one run, about all runs below a folder, or about an ablation.
#include "tessera/train/report/report.h"

#include <spawn.h>

#include <algorithm>
#include <filesystem>

#include "tessera/core/io/replace_file.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/cli/tensorboard.h"
#include "tessera/train/lab/commands.h"
#include "tessera/train/lab/page.h"
#include "tessera/train/report/event_file.h"
#include "tessera/train/report/results.h"

extern char** environ;

namespace tessera::lab {
using namespace cli;
namespace {

namespace fs = std::filesystem;

bool is_run(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.toml", error) && fs::exists(folder / "metrics.jsonl", error);
}

/// Left by a run, of which something may be missing by now: what is damaged is named, not passed over. A link to nothing counts.
bool was_run(const fs::path& folder) {
  std::error_code error;
  for (const char* file : {"config.toml", "metrics.jsonl", "summary.json", "last.ckpt"})
    if (fs::symlink_status(folder / file, error).type() != fs::file_type::not_found && !error) return true;
  return false;
}

/// The folder itself, or every run below it, sorted by path.
std::vector<std::string> runs_in(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    fail("report",
         "{} is no folder; name one that `tessera train --out` or `tessera ablate --out` made, or one that holds such",
         folder);
  if (is_run(folder)) return {folder};
  std::vector<std::string> runs;
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator e(folder, options, error), end; e != end && !error; e.increment(error)) {
    std::error_code gone;
    if (e->is_directory(gone) && was_run(e->path())) runs.push_back(e->path().string());
  }
  if (error) fail("report", "{}: {}", folder, io::explain(error.value()));
  std::sort(runs.begin(), runs.end());
  if (!runs.empty()) return runs;
  if (was_run(folder)) return {folder};
  fail("report", "{} is no run directory and holds none; name a folder with the config.toml and metrics.jsonl of a run",
       folder);
}

void open_page(const std::string& path) {
  std::string program = "xdg-open", file = fs::absolute(path).string();
  char* argv[] = {program.data(), file.data(), nullptr};
  pid_t child = 0;
  if (posix_spawnp(&child, program.c_str(), nullptr, nullptr, argv, environ) != 0)
    say_warning("xdg-open is missing; open " + file);
}

struct Request {
  std::vector<std::string> folders;
  std::string output;
  bool open = false, tensorboard = false;
};

/// Of runs that can be read; the others have been named.
void events(const std::vector<std::string>& rundirs) {
  for (const std::string& dir : rundirs) write_events(dir);
  say("{}/{}: the curves of {} run{} for TensorBoard", rundirs.size() == 1 ? rundirs[0] : "RUN", report::event_file,
      rundirs.size(), rundirs.size() == 1 ? "" : "s");
}

int report_study(const Request& r) {
  const std::string& folder = r.folders[0];
  const auto [skipped, partial] = write_study(folder, r.output);
  for (const std::string& line : skipped) say_warning(line + "; this run is skipped");
  for (const std::string& line : partial) say_warning(line);
  const std::string page = r.output.empty() ? folder + "/report.html" : r.output;
  say("{}: an ablation{}", page, skipped.empty() ? "" : fmt::format(", {} skipped", skipped.size()));
  std::error_code none;
  if (r.tensorboard && fs::is_directory(folder + "/cells", none)) {
    std::vector<std::string> dirs;
    for (const auto& run : report::read_runs(runs_in(folder + "/cells")).runs) dirs.push_back(run.dir);
    events(dirs);
  }
  if (r.open) open_page(page);
  return done;
}

int report(const Request& r) {
  const std::vector<std::string>& folders = r.folders;
  if (folders.size() == 1 && is_study(folders[0])) return report_study(r);
  std::string output = r.output;
  std::vector<std::string> dirs;
  for (const std::string& f : folders)
    for (std::string& dir : runs_in(f)) dirs.push_back(std::move(dir));
  const report::Readable read = report::read_runs(dirs);
  const auto fatal = read.runs.empty() ? read.skipped.back() : std::string();
  for (const std::string& line : read.skipped)
    if (line != fatal) say_warning(line + "; this run is skipped");
  if (!fatal.empty()) throw Error(fatal);
  for (const auto& run : read.runs)
    for (const std::string& note : run.notes) say_warning("[report] " + note);
  const bool tables = output.empty() && folders.size() == 1;
  if (output.empty()) output = folders.size() > 1 ? "report.html" : folders[0] + "/report.html";
  report::write(read.runs, output);
  if (tables) {
    io::replace_file(folders[0] + "/results.csv", report::results_csv(read.runs, folders[0]));
    io::replace_file(folders[0] + "/timings.csv", report::timings_csv(read.runs, folders[0]));
  }
  const size_t n = read.runs.size();
  say("{}: {} run{}{}", output, n, n == 1 ? "" : "s",
      read.skipped.empty() ? "" : fmt::format(", {} skipped", read.skipped.size()));
  if (r.tensorboard) {
    std::vector<std::string> those;
    for (const auto& run : read.runs) those.push_back(run.dir);
    events(those);
  }
  if (r.open) open_page(output);
  return done;
}

}  // namespace

void add_report(CLI::App& app, Action& chosen) {
  auto* sub = app.add_subcommand(
      "report", "(Re)write report.html and the tables of a run, of all runs in a folder, or of an ablation");
  auto o = std::make_shared<Request>();
  sub->add_option("DIR", o->folders,
                  "A run directory, a folder of them, or that of an ablation (also if only its tables are left); "
                  "several are compared in one page")
      ->required();
  sub->add_option("--output", o->output, "The page to write [DIR/report.html, of several ./report.html]")
      ->type_name("FILE.html");
  sub->add_flag("--open", o->open, "Show it with xdg-open");
  sub->add_flag("--tensorboard", o->tensorboard, "Also write the curves for TensorBoard, into each run directory");
  sub->callback([&chosen, o] { chosen = [=] { return report(*o); }; });
}

}  // namespace tessera::lab
