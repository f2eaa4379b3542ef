#include "tessera/train/lab/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <new>
#include <system_error>
#include <thread>

#include "tessera/core/io/json.h"
#include "tessera/core/io/read_file.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/data/named.h"
#include "tessera/train/data/set.h"
#include "tessera/train/lab/results.h"
#include "tessera/train/lab/seams.h"
#include "tessera/train/training/splits.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// Epoch -> accuracy in validation, and the steps by then.
struct Validated {
  double acc1;
  int64_t steps;
};
/// Those of a metrics.jsonl up to the first line that cannot be read.
struct Validations {
  std::map<int, Validated> of;
  int damaged = 0;  ///< that line; 0: there is none
};
Validations validations(const std::string& metrics) {
  Validations all;
  size_t from = 0;
  int line = 1;
  for (size_t end; (end = metrics.find('\n', from)) != std::string::npos; from = end + 1, ++line) try {
      const auto j = io::parse_json(metrics.substr(from, end - from), "metrics.jsonl");
      if (j.value("split", "") == "val")
        all.of[j.at("epoch").get<int>()] = {j.at("acc1").get<double>(), j.at("step").get<int64_t>()};
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception&) {
      all.damaged = line;
      break;
    }
  return all;
}

std::string metrics_of(const std::string& rundir) {
  const std::string file = rundir + "/metrics.jsonl";
  std::error_code none;
  return fs::exists(file, none) ? io::read_file(file) : "";
}

/// Of a finished run that others are judged by. Throws Error where it is damaged.
std::string whole_metrics_of(const std::string& rundir) {
  const std::string all = metrics_of(rundir);
  const int damaged = validations(all).damaged;
  if (all.empty() || damaged > 0)
    fail("ablate",
         "{}/metrics.jsonl, which stop_worse judges this run by, {}; remove {} and go on with --retry: both are then "
         "trained anew",
         rundir, all.empty() ? "holds nothing" : fmt::format("is damaged in line {}", damaged), rundir);
  return all;
}

/// Tells the claim how far the run is.
struct Meter final : Listener {
  Claim& claim;
  std::function<void()> epoch_ended;
  int64_t steps = 0;  ///< by this process
  explicit Meter(Claim& of) : claim(of) {}
  void step(const RunState& r) override {
    ++steps;
    const double part = static_cast<double>(r.at.batch) / static_cast<double>(std::max<size_t>(r.batches, 1));
    claim.progress((r.at.epoch + part) / r.config.train.epochs);
  }
  void epoch(const RunState&, const EpochScores&) override { epoch_ended(); }
};

/// Does a line name the folder of a study, or something in it? A path begins where no path goes on, and with --out . the data may be
/// below it, too.
bool names_folder(const std::string& line, const Study& study) {
  constexpr std::string_view before = " '\"([:=";
  for (size_t at = 0; (at = line.find(study.dir, at)) != std::string::npos; ++at) {
    if (at > 0 && before.find(line[at - 1]) == std::string_view::npos) continue;
    const std::string path = line.substr(at, line.find_first_of(": '\"", at + study.dir.size()) - at);
    if (path.size() == study.dir.size()) return true;
    if (path[study.dir.size()] != '/') continue;
    const std::string inside = path.substr(study.dir.size() + 1);
    if (inside.find('/') == std::string::npos) return true;
    for (const std::string& folder : {study.cells(), study.work(), study.claims(), study.failures()})
      if (path.starts_with(folder + "/")) return true;
  }
  return false;
}

}  // namespace

bool of_the_disk(const std::string& what, const Study& study) {
  if (!names_folder(what, study)) return false;
  for (const int error : {ENOSPC, EDQUOT, EROFS, EACCES, EPERM, EIO, EFBIG, EMFILE, ENFILE, ENOLCK, ENOSYS, EOPNOTSUPP})
    if (what.find(std::generic_category().message(error)) != std::string::npos) return true;
  return false;
}

namespace {

class Worker {
 public:
  Worker(const Study& study, const Plan& plan, const WorkerOptions& options)
      : study_(study),
        plan_(plan),
        options_(options),
        measuring_(measure_options(plan.report)),
        claims_(study.claims(), options.patience) {}

  WorkEnd run() {
    for (;;) {
      bool worked = false;
      int open = 0, elsewhere = 0;
      std::string data;
      std::erase_if(found_, [](const auto& asked) { return !asked.second; });
      const Standing now = standing(study_);
      for (const Cell& cell : plan_.cells) {
        if (now.finished.contains(cell.name) || now.failed.contains(cell.name)) continue;
        ++open;
        if (stop()) return WorkEnd::stopped;
        if (is_for_others(cell, now)) {
          ++elsewhere, data = cell.config.data.name;
          continue;
        }
        if (!ready(cell)) continue;
        const auto claim = claims_.take(cell.name);
        if (!claim || done(cell)) continue;
        worked = true;
        work_on(cell, *claim);
        if (stop()) return WorkEnd::stopped;
      }
      if (open == 0) break;
      if (open == elsewhere)
        fail("ablate", "{} was not found on this machine: {} left to those that have it; set TESSERA_DATA", data,
             plural(open, "run"));
      if (!worked) wait();
    }
    return WorkEnd::all_done;
  }

 private:
  bool stop() const { return options_.hooks.stop && options_.hooks.stop(); }
  void say(const std::string& line) const {
    if (options_.hooks.say) options_.hooks.say(line);
  }
  bool done(const Cell& cell) const { return study_.finished(cell.name) || study_.failed(cell.name); }

  /// Asked once a round: data may be fetched while others work.
  bool found(const DataConfig& data) {
    const auto [it, fresh] = found_.try_emplace({data.name, data.dir});
    if (fresh) {
      DataConfig c = data;
      follow(c);  // imagefolder:DIR below data.dir
      it->second = !data::find_named(c.name) || data::available(c.name, c.dir);
    }
    return it->second;
  }
  /// Are there data for this cell, and not on this machine?
  bool is_for_others(const Cell& cell, const Standing& now) {
    if (found(cell.config.data)) return false;
    return !options_.of_a_crew || std::ranges::any_of(plan_.cells, [&](const Cell& c) {
      return c.config.data.name == cell.config.data.name && now.finished.contains(c.name);
    });
  }

  const Cell* reference_of(const Cell& cell) const {
    return plan_.stop.margin == 0 || cell.reference < 0 ? nullptr : &plan_.cells[static_cast<size_t>(cell.reference)];
  }

  /// A rule that compares with a reference needs the whole of it first: whoever is stopped then does not depend on who was faster.
  bool ready(const Cell& cell) const {
    const Cell* reference = reference_of(cell);
    return reference == nullptr || done(*reference);
  }

  /// For others to finish, or for their claims to stand still.
  void wait() const {
    const int tenths = std::clamp(static_cast<int>(options_.patience / 4 * 10), 1, 10);
    for (int i = 0; i < tenths && !stop(); ++i) std::this_thread::sleep_for(100ms);
  }

  void tables() const try { write_tables(study_, false); } catch (const Error& e) {
    if (of_the_disk(e.what(), study_)) throw;
    say(fmt::format("warning: {}", e.what()));
  }

  void work_on(const Cell& cell, Claim& claim) {
    const std::string rundir = adopt_work(study_, cell.name, claim.owner());
    try {
      if (!cell.refused.empty()) return give_up(cell, cell.refused);
      if (const Cell* reference = reference_of(cell); reference && study_.failed(reference->name))
        return give_up(cell,
                       fmt::format("stop_worse judges it beside {}, which failed: nothing says whether it would be "
                                   "stopped; --retry tries both",
                                   reference->name));
      if (train(cell, claim, rundir)) finish(cell, claim, rundir);
    } catch (const std::exception& e) {
      if (claim.lost() || !claim.check()) return leave(cell);
      if (of_the_disk(e.what(), study_)) throw;
      give_up(cell, dynamic_cast<const std::bad_alloc*>(&e)
                        ? "out of memory: use a smaller batch or model, or fewer --jobs"
                        : e.what());
    }
  }

  void give_up(const Cell& cell, const std::string& reason) const {
    record_failure(study_, cell, reason);
    say(fmt::format("{}: failed: {}", cell.name, reason));
    tables();
  }

  void leave(const Cell& cell) const { say(fmt::format("{}: another worker has it by now", cell.name)); }

  /// Goes on, or begins; what is there and cannot be read begins anew.
  RunResult train_from(const RunConfig& config, const std::string& rundir, const Hooks& hooks,
                       const std::shared_ptr<Meter>& meter, const Cell& cell) const {
    RunParts parts;
    parts.listeners = {meter};
    std::error_code none;
    const bool begun = fs::exists(rundir + "/config.toml", none);
    if (begun) try {
        return train_run(config, rundir, true, hooks, parts);
      } catch (const Misfit&) {
        throw;
      } catch (const Error& e) {
        if (meter->steps > 0 || !meter->claim.check() || of_the_disk(e.what(), study_)) throw;
        say(fmt::format("{}: begins anew: {}", cell.name, e.what()));
      }
    fs::remove_all(rundir, none);
    return train_run(config, rundir, false, hooks, parts);
  }

  /// Trains to the end; false: it was stopped from outside, or the claim was lost.
  bool train(const Cell& cell, Claim& claim, const std::string& rundir) {
    RunConfig config = cell.config;
    StopAt at;
    std::string reference;
    if (const Cell* of = reference_of(cell)) reference = whole_metrics_of(study_.cell(of->name));
    const auto judge = [&] {
      if (at.epoch == 0 && !reference.empty()) at = stops_at(plan_.stop, metrics_of(rundir), reference);
      if (at.epoch >= config.train.epochs) at = {};  // it is over in any case
    };
    judge();
    bool cut = false;
    const auto meter = std::make_shared<Meter>(claim);
    meter->epoch_ended = judge;
    Hooks hooks;
    hooks.stop = [&] { return stop() || claim.lost() || (at.epoch > 0 && !cut); };
    hooks.stopped_by = options_.hooks.stopped_by;
    RunResult result;
    for (;;) {
      // to the bit what `tessera train` gives with this limit of steps, which the cell's config.toml has
      if (at.epoch > 0) cut = true, config.train.max_steps = static_cast<int>(at.steps);
      result = train_from(config, rundir, hooks, meter, cell);
      if (claim.lost()) return leave(cell), false;
      if (!result.interrupted) break;
      if (at.epoch == 0 || stop()) return false;
    }
    write_cell(cell, rundir, cut ? at : StopAt{});
    stopped_ = cut ? at.epoch : 0;
    return true;
  }

  void write_cell(const Cell& cell, const std::string& rundir, const StopAt& at) const {
    io::Json keys = io::Json::object();
    for (const auto& [key, value] : cell.keys) keys[key] = value;
    io::Json all{{"format", 1}, {"keys", keys}, {"seed", cell.seed}, {"config", fingerprint(cell)}};
    if (at.epoch > 0)
      all["stopped"] = {
          {"epoch", at.epoch},
          {"reason", fmt::format("{} validations in a row at least {:g} below {}", plan_.stop.epochs, plan_.stop.margin,
                                 plan_.cells[static_cast<size_t>(cell.reference)].name)}};
    io::replace_file(rundir + "/cell.json", all.dump(2) + "\n");
  }

  void finish(const Cell& cell, Claim& claim, const std::string& rundir) const {
    Hooks hooks;
    hooks.stop = [&] { return stop() || claim.lost(); };
    hooks.say = options_.hooks.say;
    claim.progress(1);
    const bool measured = measure(rundir, measuring_, hooks);
    if (claim.lost() || !claim.check()) return leave(cell);
    if (!measured) return;
    if (stopped_ > 0) label(rundir);
    const std::string line = headline(rundir);
    if (deliver(study_, rundir, cell.name)) say(fmt::format("{}: {}", cell.name, line));
    tables();
  }

  /// A column of results.csv: the epoch after which it was stopped.
  void label(const std::string& rundir) const {
    const std::string file = rundir + "/measures.json";
    io::Json measures = io::read_json(file, uint64_t{1} << 24);
    measures["numbers"][stopped_epoch] = stopped_;
    io::replace_file(file, measures.dump(2) + "\n");
  }

  const Study& study_;
  const Plan& plan_;
  const WorkerOptions& options_;
  const MeasureOptions measuring_;
  Claims claims_;
  std::map<std::pair<std::string, std::string>, bool>
      found_;        ///< data by name and folder; those not found are of this round
  int stopped_ = 0;  ///< the run that was trained last, by the rule, after this epoch; 0: it was not
};

}  // namespace

StopAt stops_at(const StopRule& rule, const std::string& metrics, const std::string& reference) {
  const auto mine = validations(metrics), other = validations(reference);
  int worse = 0;
  for (const auto& [epoch, v] : mine.of) {
    const auto theirs = other.of.find(epoch);
    if (theirs == other.of.end()) continue;
    worse = theirs->second.acc1 - v.acc1 >= rule.margin ? worse + 1 : 0;
    if (worse >= rule.epochs) return {epoch, v.steps};
  }
  return {};
}

WorkEnd work(const Study& study, const Plan& plan, const WorkerOptions& options) {
  return Worker(study, plan, options).run();
}

}  // namespace tessera::lab
