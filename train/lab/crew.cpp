#include "tessera/train/lab/crew.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <memory>
#include <thread>

#include "tessera/core/io/json.h"
#include "tessera/core/parallel.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/lab/child.h"
#include "tessera/train/lab/view.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
using namespace cli;
namespace {

/// What `tessera bench train --json` says of a few steps of the cell's model with its encoding.
struct Speed {
  double images_per_s = 0, peak_rss_mb = 0;
};

std::vector<std::string> bench_words(const RunConfig& c, int threads) {
  std::vector<std::string> words{"bench",
                                 "train",
                                 "--json",
                                 "--steps",
                                 "5",
                                 "--warmup",
                                 "1",
                                 "--threads",
                                 std::to_string(threads),
                                 "--model",
                                 c.model,
                                 "--precision",
                                 c.train.precision,
                                 "--batch-size",
                                 std::to_string(std::min(c.train.batch_size, 256))};
  if (!c.position.empty()) words.insert(words.end(), {"--position", c.position});
  for (const auto& [key, value] : c.model_options) words.push_back("model." + key + "=" + text(value));
  for (const auto& [key, value] : c.position_options) words.push_back("position." + key + "=" + text(value));
  words.push_back(fmt::format("train.lanes={}", c.train.lanes));
  words.push_back(fmt::format("train.shard_size={}", c.train.shard_size));
  words.push_back("train.batchnorm=" + c.train.batchnorm);
  return words;
}

/// So many at the same time; the sum of their speeds, and the largest of their memories. Zero if one of them could not.
Speed measure(const RunConfig& config, int jobs, int threads, const Interrupt& interrupt) {
  std::vector<std::unique_ptr<Child>> all;
  for (int i = 0; i < jobs; ++i) all.push_back(std::make_unique<Child>(bench_words(config, threads), true));
  std::vector<std::string> said(all.size());
  for (bool running = true; running && !interrupt.stop();) {
    running = false;
    for (size_t i = 0; i < all.size(); ++i) {
      running = all[i]->running() || running;
      for (const std::string& line : all[i]->lines()) said[i] += line + "\n";
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  Speed sum;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i]->code() != 0) return {};
    const auto j = io::parse_json(said[i], "bench");
    sum.images_per_s += j.at("images_per_s").get<double>();
    sum.peak_rss_mb = std::max(sum.peak_rss_mb, j.at("peak_rss_mb").get<double>());
  }
  return sum;
}

/// Megabytes that new processes may take; a lot where the system does not tell.
double available_mb() {
  std::ifstream info("/proc/meminfo");
  std::string word;
  for (int64_t kb = 0; info >> word;)
    if (word == "MemAvailable:" && info >> kb) return static_cast<double>(kb) / 1024;
  return 1e9;
}

}  // namespace

Split widest_split(int runs, int cores, int threads) {
  const int jobs = std::max(1, std::min(runs, threads > 0 ? cores / threads : cores));
  return {jobs, threads > 0 ? threads : std::max(1, cores / jobs), ""};
}

Split best_split(const Cell& cell, int runs, int cores, int threads, const Interrupt& interrupt) {
  const Split one = widest_split(1, cores, threads), widest = widest_split(runs, cores, threads);
  if (widest.jobs < 2) return one;
  const Speed together = measure(cell.config, 1, one.threads, interrupt);
  const int fit = static_cast<int>(0.8 * available_mb() / (together.peak_rss_mb + 250));  // and its data
  const Split most = widest_split(std::min(fit, runs), cores, threads);
  if (most.jobs < 2 || together.images_per_s == 0) return one;
  const Speed apart = measure(cell.config, most.jobs, most.threads, interrupt);
  Split best = apart.images_per_s > together.images_per_s ? most : one;
  best.why =
      fmt::format("{} (measured: {} at a time {:.0f} images/s in all, one with {} {:.0f}; --jobs says otherwise)",
                  best.jobs > 1 ? fmt::format("{} runs at a time", best.jobs) : "one run at a time", most.jobs,
                  apart.images_per_s, plural(one.threads, "thread"), together.images_per_s);
  return best;
}

int run_crew(const Study& study, const Plan& plan, const CrewOptions& o, const Interrupt& interrupt) {
  const Standing before = standing(study);
  int runs = 0;
  const Cell* example = nullptr;
  for (const Cell& c : plan.cells) {
    if (before.finished.contains(c.name) || before.failed.contains(c.name) || !c.refused.empty()) continue;
    ++runs;
    if (!example) example = &c;
  }
  const int cores = parallel::available_cores();
  Split split{std::max(o.jobs, 1), 1, ""};
  if (o.jobs == 0 && example) split = best_split(*example, runs, cores, o.threads, interrupt);
  if (interrupt.stop()) return interrupted;
  if (o.jobs > 0) split.threads = o.threads > 0 ? o.threads : std::max(1, cores / o.jobs);
  if (!split.why.empty()) say(split.why);

  View view(study, plan);
  std::vector<std::unique_ptr<Child>> workers;
  for (int i = 0; i < split.jobs; ++i) {
    std::vector<std::string> words{"ablate",        "--worker",
                                   "--out",         study.dir,
                                   "--threads",     std::to_string(split.threads),
                                   "--stale-after", fmt::format("{}", o.patience),
                                   "--parent",      std::to_string(::getpid())};
    if (o.allow_mixed) words.push_back("--allow-mixed-isa");
    workers.push_back(std::make_unique<Child>(std::move(words)));
  }
  std::string error;
  bool told = false;
  const auto listen = [&](Child& w) {
    constexpr std::string_view mark = "tessera: error: ";
    for (const std::string& line : w.lines()) {
      const size_t at = line.find(mark);
      if (at == std::string::npos)
        view.say(line);
      else if (error.empty())
        error = line.substr(at + mark.size());  // said once, at the end, if nobody could go on
    }
  };
  for (bool running = true; running;) {
    std::vector<pollfd> pipes;
    running = false;
    for (auto& w : workers) {
      const bool lives = w->running();
      listen(*w);
      running = running || lives;
      if (lives) pipes.push_back({w->pipe(), POLLIN, 0});
    }
    if (interrupt.stop() && !told) {
      told = true;
      for (auto& w : workers) w->signal(SIGTERM);
    }
    view.update();
    if (running) ::poll(pipes.data(), pipes.size(), told ? 50 : 250);
  }
  if (interrupt.stop()) return interrupted;
  const Standing after = standing(study);
  const auto open = std::count_if(plan.cells.begin(), plan.cells.end(), [&](const Cell& c) {
    return !after.finished.contains(c.name) && !after.failed.contains(c.name);
  });
  if (open == 0) return done;
  if (!error.empty()) throw Error(error);
  fail("ablate",
       "the workers ended (exit code {}; 137 is often a lack of memory) with {} not done; run the same again to "
       "go on, --jobs 1 needs the least memory",
       workers[0]->code(), plural(open, "run"));
}

}  // namespace tessera::lab
