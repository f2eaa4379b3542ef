#pragma once
// A run directory as the report sees it.
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tessera/train/training/report_data.h"

namespace tessera::report {

/// A line of metrics.jsonl; what a line does not say, or says as nan or inf, is NaN.
struct Metric {
  double epoch, step, loss, acc1, lr, images_per_s, seconds;  ///< acc1 in percent
  std::string split;
};

struct RunFiles {
  std::string dir, label;
  std::string config_text;
  std::map<std::string, std::string> config;  ///< "optim.lr" -> "0.001"
  std::vector<Metric> metrics;
  std::vector<std::pair<std::string, std::string>> summary;  ///< in the file's order, values as text; null is ""
  std::map<std::string, double> numbers;                     ///< summary's numbers; accuracies in percent
  std::optional<Data> data;
  std::vector<std::string> notes;  ///< a line for what is odd in files that can be read

  /// A value of the summary, or `otherwise`.
  std::string said(const std::string& key, const std::string& otherwise = "") const;
  /// A number of the summary, or NaN.
  double figure(const std::string& key) const;
  /// The last value of a measure on a split, or NaN.
  double last(const std::string& split, double Metric::*measure) const;
};
using Runs = std::vector<RunFiles>;

/// Reads what a run left. metrics.jsonl and config.toml have to be there; summary.json (a run still under way) and report_data.json
/// may be absent; a last line of metrics.jsonl that was cut off is skipped. An accuracy whose loss is not a number counts as not
/// measured, with a note. Throws Error naming the file, and the line, that is missing, damaged or no file.
RunFiles read_run(const std::string& dir);

}  // namespace tessera::report
