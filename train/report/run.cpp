#include "tessera/train/report/run.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/training/report_json.h"

namespace tessera::report {
namespace {

namespace fs = std::filesystem;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr uint64_t small_file = uint64_t{1} << 26, large_file = uint64_t{1} << 30;
/// Beyond this nothing that a run measures is a measurement, and arithmetic of axes and means overflows.
constexpr double most = 1e30;

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

/// Is there something of this name in the run? Throws Error if it is there and no file: reading a pipe would wait for ever.
bool has_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    if (fs::is_symlink(fs::symlink_status(path, error)))
      fail("report", "{} is a symbolic link to nothing; remove it or restore the file", path.string());
    return false;
  }
  if (status.type() == fs::file_type::none) fail("report", "{}: {}", path.string(), io::explain(error.value()));
  if (!fs::is_regular_file(status))
    fail("report", "{} is no file but {}; remove it or restore the file", path.string(),
         fs::is_fifo(status)        ? "a pipe"
         : fs::is_directory(status) ? "a folder"
         : fs::is_socket(status)    ? "a socket"
                                    : "a device");
  return true;
}

/// Does the value end where its line ends? A file that was cut off or overwritten shows here.
bool whole_value(std::string_view value) {
  if (value.empty()) return false;
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    if (quote) {
      if (c == '\\' && quote == '"') ++i;
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[') {
      ++depth;
    } else if (c == ']') {
      --depth;
    } else if (c == '#') {
      break;
    }
  }
  return quote == 0 && depth == 0;
}

/// The keys of a resolved configuration, one a line; it is shown and compared, not interpreted.
std::map<std::string, std::string> flatten(std::string_view toml, const std::string& file) {
  std::map<std::string, std::string> config;
  std::string section;
  lines(toml, [&](std::string_view line, int n, bool) {
    line = trim(line);
    if (line.empty() || line[0] == '#') return;
    if (line[0] == '[' && line.find('=') == std::string_view::npos && line.find(']') != std::string_view::npos) {
      section = std::string(line.substr(1, line.find(']') - 1)) + ".";
      return;
    }
    // a quoted key may have an = of its own
    const size_t quote = line[0] == '"' || line[0] == '\'' ? line.find(line[0], 1) : 0;
    const size_t eq = quote == std::string_view::npos ? quote : line.find('=', quote);
    const std::string_view key = trim(line.substr(0, eq));
    const std::string_view value = eq == std::string_view::npos ? "" : trim(line.substr(eq + 1));
    if (key.empty() || line.find('\0') != std::string_view::npos || !whole_value(value))
      fail("report", "{}:{}: neither a [section] nor key = value; restore the file", file, n);
    config[section + std::string(key)] = value;
  });
  if (config.empty()) fail("report", "{}: no key in it; restore the file", file);
  return config;
}

/// Returns the splits on which a loss was not a number.
std::set<std::string> parse_metrics(RunFiles& run, const std::string& file) {
  std::set<std::string> lost;
  const std::string text = io::read_file(file, large_file);
  int first = 0, odd = 0;
  lines(text, [&](std::string_view line, int n, bool ends) {
    if (trim(line).empty()) return;
    Json j;
    try {
      j = parse_json(without_infinities(line), file);
    } catch (const Error&) {}
    if (!j.is_object()) {
      if (!ends) return;  // the process died while it wrote this line
      fail("report", "{}:{}: not a JSON object; remove the line", file, n);
    }
    bool finite = true;
    const auto value = [&](const char* key) {
      const auto it = j.find(key);
      if (it == j.end()) return nan;
      const double v = it->is_number() ? it->get<double>() : nan;
      if (std::abs(v) <= most) return v;
      if (it->is_number() || it->is_null()) finite = false;
      return nan;
    };
    const auto split = j.find("split");
    Metric m{value("epoch"),   value("step"),
             value("loss"),    value("acc1"),
             value("lr"),      value("images_per_s"),
             value("seconds"), split != j.end() && split->is_string() ? split->get<std::string>() : "train"};
    if (j.contains("loss") && !std::isfinite(m.loss))
      lost.insert(m.split), m.acc1 = nan;  // of logits that were no numbers
    if (!finite && odd++ == 0) first = n;
    run.metrics.push_back(std::move(m));
  });
  if (odd > 0)
    run.notes.push_back(fmt::format("{}:{}: {}, left out", file, first,
                                    odd == 1
                                        ? "a number that is not finite"
                                        : fmt::format("the first of {} lines with numbers that are not finite", odd)));
  return lost;
}

std::string shown(const Json& v) {
  if (v.is_null()) return "";
  return v.is_string() ? v.get<std::string>() : v.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void parse_summary(RunFiles& run, const std::string& file, const std::set<std::string>& lost) {
  const std::string text = io::read_file(file, small_file);
  const Json j = parse_json(text, file);
  if (!j.is_object()) fail("report", "{}: not a JSON object; train the run again or remove the file", file);
  for (const auto& [key, value] : j.items()) {
    if (value.is_object()) {  // "data": {"name": ..., "digest": ...}
      for (const auto& [inner, v] : value.items()) run.summary.emplace_back(key + "." + inner, shown(v));
      continue;
    }
    run.summary.emplace_back(key, shown(value));
    if (value.is_number() && std::abs(value.get<double>()) <= most) run.numbers[key] = value.get<double>();
  }
  // An accuracy beside a loss that is not a number was counted on logits that are none: it is not measured.
  const auto forget = [&](const char* key) {
    for (auto& [k, v] : run.summary)
      if (k == key && !v.empty()) {
        v.clear();
        run.numbers.erase(key);
        run.notes.push_back(fmt::format("{}: {} belongs to a loss that is not a number, left out", file, key));
      }
  };
  if ((j.contains("test_loss") && !run.numbers.contains("test_loss")) || lost.contains("test")) forget("test_acc1");
  if (lost.contains("val")) forget("val_acc1"), forget("best_val_acc1");
}

/// Accuracies may be written as fractions; the page shows per cent. A negative one means that it was not measured.
void to_percent(RunFiles& run) {
  for (Metric& m : run.metrics)
    if (m.acc1 < 0) m.acc1 = nan;
  const bool fraction =
      std::all_of(run.metrics.begin(), run.metrics.end(), [](const Metric& m) { return !(m.acc1 > 1); });
  if (fraction)
    for (Metric& m : run.metrics) m.acc1 *= 100;
  for (const char* key : {"test_acc1", "val_acc1", "best_val_acc1"}) {
    const auto it = run.numbers.find(key);
    if (it == run.numbers.end()) continue;
    if (it->second < 0)
      run.numbers.erase(it);
    else if (it->second <= 1 && (fraction || run.metrics.empty()))
      it->second *= 100;
  }
}

}  // namespace

std::string RunFiles::said(const std::string& key, const std::string& otherwise) const {
  for (const auto& [k, v] : summary)
    if (k == key && !v.empty()) return v;
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
  std::error_code error;
  if (!fs::is_directory(dir, error)) fail("report", "{}: there is no such run directory", dir);
  RunFiles run;
  run.dir = dir;
  fs::path path(dir);
  if (!path.has_filename()) path = path.parent_path();
  run.label = path.filename().string();
  if (run.label == "." || run.label == "..") run.label = fs::weakly_canonical(path, error).filename().string();
  const auto file = [&](const char* name) { return (path / name).string(); };
  for (const char* name : {"config.toml", "metrics.jsonl"}) {
    if (!has_file(file(name))) fail("report", "{} has no {}; is it a run directory of `tessera train`?", dir, name);
  }
  run.config_text = io::read_file(file("config.toml"), small_file);
  run.config = flatten(run.config_text, file("config.toml"));
  const std::set<std::string> lost = parse_metrics(run, file("metrics.jsonl"));
  if (has_file(file("summary.json"))) parse_summary(run, file("summary.json"), lost);
  if (has_file(file("report_data.json"))) run.data = load(file("report_data.json"));
  to_percent(run);
  return run;
}

}  // namespace tessera::report
