#include "train/report/run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/nesting.h"
#include "core/io/replace_file.h"

namespace tessera::report {
namespace {

using nlohmann::ordered_json;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr uint64_t largest = uint64_t{1} << 30;

std::string_view trim(std::string_view s) {
  const size_t a = s.find_first_not_of(" \t\r"), b = s.find_last_not_of(" \t\r");
  return a == std::string_view::npos ? std::string_view() : s.substr(a, b - a + 1);
}

/// Calls f(line, number, whether it ends in a newline) for every line.
template <class F>
void lines(std::string_view text, F f) {
  for (int n = 1; !text.empty(); ++n) {
    const size_t end = text.find('\n');
    f(text.substr(0, end), n, end != std::string_view::npos);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

/// The keys of a resolved configuration, one a line; it is shown and compared, not interpreted.
std::map<std::string, std::string> flatten(std::string_view toml) {
  std::map<std::string, std::string> config;
  std::string section;
  lines(toml, [&](std::string_view line, int, bool) {
    line = trim(line);
    if (line.empty() || line[0] == '#') return;
    if (line[0] == '[') {
      section = std::string(line.substr(1, line.find(']') - 1)) + ".";
      return;
    }
    if (const size_t eq = line.find('='); eq != std::string_view::npos) {
      config[section + std::string(trim(line.substr(0, eq)))] = trim(line.substr(eq + 1));
    }
  });
  return config;
}

std::vector<Metric> parse_metrics(const std::string& file) {
  const std::string text = io::read_file(file, largest);
  std::vector<Metric> metrics;
  lines(text, [&](std::string_view line, int n, bool whole) {
    if (trim(line).empty()) return;
    io::check_nesting(line, file);
    const auto j = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
    if (!j.is_object()) {
      if (!whole) return;  // the process died while it wrote this line
      fail("report", "{}:{}: not a JSON object; remove the line", file, n);
    }
    const auto value = [&](const char* key) {
      const auto it = j.find(key);
      return it != j.end() && it->is_number() ? it->get<double>() : nan;
    };
    const auto split = j.find("split");
    metrics.push_back({value("epoch"), value("step"), value("loss"), value("acc1"), value("lr"), value("images_per_s"),
                       value("seconds"), split != j.end() && split->is_string() ? split->get<std::string>() : "train"});
  });
  return metrics;
}

void parse_summary(RunFiles& run, const std::string& file) {
  const std::string text = io::read_file(file, largest);
  io::check_nesting(text, file);
  const auto j = ordered_json::parse(text, nullptr, false);
  if (!j.is_object()) fail("report", "{}: not a JSON object; remove it, `tessera report` works without", file);
  for (const auto& [key, value] : j.items()) {
    if (value.is_object()) {  // "data": {"name": ..., "digest": ...}
      for (const auto& [inner, v] : value.items())
        run.summary.emplace_back(key + "." + inner, v.is_string() ? v.get<std::string>() : v.dump());
      continue;
    }
    run.summary.emplace_back(key, value.is_string()
                                      ? value.get<std::string>()
                                      : value.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    if (value.is_number()) run.numbers[key] = value.get<double>();
  }
}

/// Accuracies may be written as fractions; the page shows per cent. A negative one means that it was not measured.
void to_percent(RunFiles& run) {
  for (Metric& m : run.metrics)
    if (m.acc1 < 0) m.acc1 = nan;
  if (run.figure("test_acc1") < 0) run.numbers.erase("test_acc1");
  const bool fraction =
      std::all_of(run.metrics.begin(), run.metrics.end(), [](const Metric& m) { return !(m.acc1 > 1); });
  if (fraction)
    for (Metric& m : run.metrics) m.acc1 *= 100;
  if (const auto it = run.numbers.find("test_acc1");
      it != run.numbers.end() && it->second <= 1 && (fraction || run.metrics.empty()))
    it->second *= 100;
}

}  // namespace

std::string RunFiles::said(const std::string& key, const std::string& otherwise) const {
  for (const auto& [k, v] : summary)
    if (k == key) return v;
  return otherwise;
}

double RunFiles::figure(const std::string& key) const {
  const auto it = numbers.find(key);
  return it == numbers.end() ? nan : it->second;
}

double RunFiles::last(const std::string& split, double Metric::*measure) const {
  for (auto m = metrics.rbegin(); m != metrics.rend(); ++m)
    if (m->split == split && std::isfinite((*m).*measure)) return (*m).*measure;
  return nan;
}

RunFiles read_run(const std::string& dir) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(dir)) fail("report", "{}: there is no such run directory", dir);
  RunFiles run;
  run.dir = dir;
  fs::path path(dir);
  if (!path.has_filename()) path = path.parent_path();
  run.label = path.filename().string();
  if (run.label == "." || run.label == "..") run.label = fs::weakly_canonical(path).filename().string();
  for (const char* file : {"config.toml", "metrics.jsonl"}) {
    if (!fs::exists(path / file)) fail("report", "{} has no {}; is it a run directory of `tessera train`?", dir, file);
  }
  run.config_text = io::read_file((path / "config.toml").string(), largest);
  run.config = flatten(run.config_text);
  run.metrics = parse_metrics((path / "metrics.jsonl").string());
  if (fs::exists(path / "summary.json")) parse_summary(run, (path / "summary.json").string());
  if (fs::exists(path / "report_data.json")) run.data = load((path / "report_data.json").string());
  to_percent(run);
  return run;
}

}  // namespace tessera::report
