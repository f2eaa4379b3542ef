#include "tessera/train/lab/study.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "tessera/core/io/json.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/cli/config_file.h"
#include "tessera/train/training/training.h"

namespace tessera::lab {
using namespace cli;
namespace fs = std::filesystem;

namespace {

void make_folder(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("ablate", "cannot make {}: {}", path, io::explain(error.value()));
}

/// Names in a folder, without `suffix` and only those that have it; none where there is no folder.
std::set<std::string> names_in(const std::string& folder, std::string_view suffix = "") {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator e(folder, error), end; e != end && !error; e.increment(error)) {
    std::string name = e->path().filename().string();
    if (name.starts_with(".") || !name.ends_with(suffix)) continue;
    names.insert(name.substr(0, name.size() - suffix.size()));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    fail("ablate", "cannot read {}: {}", folder, io::explain(error.value()));
  return names;
}

void sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

bool Study::finished(const std::string& name) const {
  std::error_code error;
  return fs::exists(cell(name), error);
}
bool Study::failed(const std::string& name) const {
  std::error_code error;
  return fs::exists(failure(name), error);
}

bool is_begun(const Study& study) {
  std::error_code error;
  return fs::exists(study.plan(), error);
}

Plan plan_of(const Study& study) {
  if (!is_begun(study))
    wrong_usage("{} holds no study (no plan.toml): begin one with a PLAN.toml or --positions", study.dir);
  const Words words = read_plan_file(study.plan());
  if (words.run.empty() && words.grid.empty() && words.extra.empty() && words.recipe.empty())
    wrong_usage(
        "{} says nothing of any run: it was emptied; write it again from a copy, or give the whole plan and another "
        "--out",
        study.plan());
  return make_plan(words);
}

namespace {

constexpr const char* plan_claim = "@plan";  // no cell's name has an @

/// Makes plan.toml unless there is one, however many processes try in the same moment; false: another's is there.
bool first_plan(const Study& study, const std::string& text) {
  const std::string mine = fmt::format("{}/.plan.toml.{}", study.dir, myself().id);
  io::replace_file(mine, text);
  const bool made = ::link(mine.c_str(), study.plan().c_str()) == 0;
  const int error = errno;
  ::unlink(mine.c_str());
  if (!made && error == EEXIST) return false;
  if (!made && error != EPERM && error != EOPNOTSUPP && error != ENOSYS && error != EMLINK)
    fail("ablate", "cannot make {}: {}", study.plan(), io::explain(error));
  if (!made) io::replace_file(study.plan(), text);  // a file system without hard links
  sync_folder(study.dir);
  return true;
}

/// Held while plan.toml is compared and rewritten: a claim as those of cells, which needs no file locks between machines. It is a moment;
/// one who died in it is told as ever.
std::unique_ptr<Claim> claim_on_the_plan(const Study& study) {
  constexpr double patience = 20;  // seconds that a claim of another machine may stand still
  Claims claims(study.claims(), patience);
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);;) {
    if (auto claim = claims.take(plan_claim)) return claim;
    if (std::chrono::steady_clock::now() > end)
      fail("ablate", "{} is being changed by {}; try again when it is done", study.plan(),
           claims.holder(plan_claim).id);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void refuse_another(const Study& study, const Plan& before, const Plan& plan) {
  if (const std::string what = differs(before, plan); !what.empty())
    wrong_usage("{} is another study's: {}; choose another --out, or leave the plan out to go on with the one there",
                study.dir, what);
}

/// A folder without a plan has to be new, or empty.
void refuse_filled(const Study& study) {
  std::error_code error;
  if (fs::exists(study.dir, error) && !fs::is_directory(study.dir, error)) wrong_usage("{} is no directory", study.dir);
  const std::set<std::string> there = names_in(study.dir);
  if (!there.empty() && !is_begun(study))  // it may have been begun since it was asked
    wrong_usage("{} holds {} and no plan.toml: choose a folder that is new or empty", study.dir, *there.begin());
}

/// The plan that is there may grow by cells, and nothing else. Of two that grow it in the same moment the second one sees what the first
/// one made of it.
void grow_plan(const Study& study, const Plan& plan) {
  const auto claim = claim_on_the_plan(study);
  const Plan before = plan_of(study);
  refuse_another(study, before, plan);
  if (before.arithmetic != plan.arithmetic)
    fail("ablate", "{} was begun on {} in this moment; give the same command again", study.dir, before.arithmetic);
  const bool grown = before.cells.size() != plan.cells.size() || before.baseline_key != plan.baseline_key ||
                     before.baseline_value != plan.baseline_value;
  if (!grown) return;
  if (!claim->check()) fail("ablate", "{} is another process's by now; give the same command again", study.plan());
  io::replace_file(study.plan(), plan.text);
}

}  // namespace

void check_study(const Study& study, const Plan& plan) {
  if (is_begun(study))
    refuse_another(study, plan_of(study), plan);
  else
    refuse_filled(study);
}

void open_study(const Study& study, const Plan& plan) {
  if (!is_begun(study)) {
    refuse_filled(study);
    make_folder(study.dir);
  }
  if (is_begun(study) || !first_plan(study, plan.text)) grow_plan(study, plan);
  for (const std::string& folder : {study.cells(), study.work(), study.claims(), study.failures()}) make_folder(folder);
}

Standing standing(const Study& study) { return {names_in(study.cells()), names_in(study.failures(), ".json")}; }

std::string fingerprint(const Cell& cell) {
  return fmt::format("{} epochs={} max_steps={}", config_digest(cell.config), cell.config.train.epochs,
                     cell.config.train.max_steps);
}

bool of_another_plan(const Study& study, const Cell& cell) try {
  const std::string made = io::read_json(study.cell(cell.name) + "/cell.json", 1 << 20).value("config", "");
  return !made.empty() && made != fingerprint(cell);
} catch (const std::exception&) {
  return false;
}

void record_failure(const Study& study, const Cell& cell, const std::string& reason) {
  std::string line = reason;
  std::replace(line.begin(), line.end(), '\n', ' ');
  io::Json keys = io::Json::object();
  for (const auto& [key, value] : cell.keys) keys[key] = value;
  const io::Json all{{"format", 1}, {"keys", keys}, {"seed", cell.seed}, {"reason", line}};
  io::replace_file(study.failure(cell.name), all.dump(2, ' ', false, io::Json::error_handler_t::replace) + "\n");
}

std::string reason_of(const Study& study, const Cell& cell) try {
  return io::read_json(study.failure(cell.name), 1 << 20).at("reason");
} catch (const std::exception&) {
  return "its reason cannot be read: " + study.failure(cell.name);
}

int forget_failures(const Study& study) {
  int n = 0;
  for (const std::string& name : names_in(study.failures(), ".json")) {
    std::error_code error;
    n += fs::remove(study.failure(name), error);
    if (error) fail("ablate", "cannot remove {}: {}", study.failure(name), io::explain(error.value()));
  }
  return n;
}

std::string adopt_work(const Study& study, const std::string& cell, const Owner& owner) {
  const std::string to = fmt::format("{}/{}@{}", study.work(), cell, owner.id);
  std::error_code error;
  for (const std::string& name : names_in(study.work())) {
    if (!name.starts_with(cell + "@")) continue;  // no cell's name has an @
    const std::string from = study.work() + "/" + name;
    fs::rename(from, to, error);
    if (error == std::errc::directory_not_empty || error == std::errc::file_exists) {  // two of them: one is enough
      fs::remove_all(from, error);
    } else if (error && error != std::errc::no_such_file_or_directory) {
      fail("ablate", "cannot rename {}: {}", from, io::explain(error.value()));
    }
  }
  // A lock that its process still holds goes with that process: the next one here is a new file. Its owner lost the cell.
  fs::remove(to + "/.lock", error);
  return to;
}

bool deliver(const Study& study, const std::string& rundir, const std::string& cell) {
  if (::rename(rundir.c_str(), study.cell(cell).c_str()) == 0) {
    sync_folder(study.cells());
    return true;
  }
  const int error = errno;
  if (error != EEXIST && error != ENOTEMPTY)
    fail("ablate", "cannot move {} to {}: {}", rundir, study.cell(cell), io::explain(error));
  std::error_code ignored;
  fs::remove_all(rundir, ignored);
  return false;
}

void tidy(const Study& study, const Plan& plan) {
  const Standing now = standing(study);
  std::error_code gone;  // another one tidies, too
  for (const std::string& name : names_in(study.work()))
    if (now.finished.contains(name.substr(0, name.find('@')))) fs::remove_all(study.work() + "/" + name, gone);
  std::set<std::string> done;  // names of claims, and what names of their makings begin with (claim.cpp)
  for (const Cell& cell : plan.cells) {
    if (!now.finished.contains(cell.name) && !now.failed.contains(cell.name)) return;
    done.insert(cell.name), done.insert("." + io::short_name(cell.name));
  }
  std::vector<fs::path> left;
  for (fs::directory_iterator e(study.claims(), gone), end; e != end && !gone; e.increment(gone))
    left.push_back(e->path());
  for (const fs::path& claim : left) {
    const std::string name = claim.filename().string();
    const bool making = name.starts_with(".");
    if (done.contains(making ? name.substr(0, name.rfind('.')) : name)) fs::remove(claim, gone);
  }
}

}  // namespace tessera::lab
