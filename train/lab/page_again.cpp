// The commands that give a run of a study once more.
#include <fmt/format.h>

#include "tessera/core/error.h"
#include "tessera/train/lab/baseline.h"
#include "tessera/train/lab/child.h"
#include "tessera/train/lab/page_parts.h"
#include "tessera/train/lab/results.h"

namespace tessera::lab {
namespace {

/// Would `ablate` take it for several values?
bool is_list(const std::string& value) {
  int depth = 0;
  for (const char c : value) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth <= 0) return true;
  }
  return false;
}

}  // namespace

Again::Again(const Findings& study) : study_(study) {
  try {
    if (!study.plan.empty()) plan_ = plan_says(study.plan, "plan.toml");
  } catch (const Error&) {  // the page shows it as it is
  }
}

std::string Again::by_plan(const StudyGroup& group, const StudyRun& run) const {
  if (!plan_) return "";
  const KeyValues used = in_use(study_.grid, group.keys);
  std::string words = "tessera ablate plan.toml --out again";
  for (size_t k = 0; k < used.size(); ++k) {
    const std::string& key = study_.grid[k];
    if (used[k].empty() && plan_->is_axis(key)) return "";  // an [[extra]] cell: the list would stay one
    if (used[k].empty()) continue;
    if (is_list(used[k])) return "";
    words += key == "position.name" ? " --positions " + shell_word(used[k]) : " " + shell_word(key + "=" + used[k]);
  }
  words += " --seeds " + shell_word(run.seed);
  if (!plan_->extra.empty()) words += " --no-extra";
  if (plan_->stops) words += " --stop-worse 0";  // there is no baseline to wait for
  if (!run.numbers.contains(stopped_epoch)) return words;
  const std::string steps = setting(study_, group, run.seed, "train.max_steps");
  return steps.empty() ? "" : words + " " + shell_word("train.max_steps=" + steps);
}

std::string Again::by_config(const StudyGroup& group, const StudyRun& run) const {
  const std::string cell = setting(study_, group, run.seed, "cell");
  return cell.empty() ? "" : "tessera train " + shell_word("cells/" + cell + "/config.toml") + " --out again";
}

}  // namespace tessera::lab
