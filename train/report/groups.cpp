#include "tessera/train/report/groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <set>

namespace tessera::report {
namespace {

bool is_seed(std::string_view key) { return key == "seed" || key.ends_with(".seed"); }

std::string value(const RunFiles& run, const std::string& key) {
  const auto it = run.config.find(key);
  return it == run.config.end() ? "" : it->second;
}

/// t with P(|T| <= t) = 0.95 for so many degrees of freedom: with tan a = t / sqrt(freedom) the probability is a finite sum of powers of
/// cos a (Abramowitz and Stegun 26.7.3 and 26.7.4). The library does without Boost, by which train/lab tests.
double student(int freedom) {
  constexpr double pi = std::numbers::pi;
  const bool odd = freedom % 2 == 1;
  double low = 0, high = pi / 2;
  for (int i = 0; i < 60; ++i) {
    const double a = (low + high) / 2, c = std::cos(a);
    double sum = 0, term = odd ? c : 1;
    for (int k = odd ? 3 : 2; k <= freedom; k += 2) sum += term, term *= c * c * (k - 1) / k;
    const double inside = odd ? 2 / pi * (a + std::sin(a) * sum) : std::sin(a) * sum;
    (inside < 0.95 ? low : high) = a;
  }
  return std::sqrt(freedom) * std::tan(low);
}

}  // namespace

std::string plain(std::string_view v) {
  if (v.size() >= 2 && (v.front() == '"' || v.front() == '\'') && v.back() == v.front()) v = v.substr(1, v.size() - 2);
  return std::string(v);
}

std::vector<std::string> differing(const Runs& runs) {
  std::set<std::string> keys;
  std::vector<std::string> different;
  for (const RunFiles& r : runs)
    for (const auto& [key, v] : r.config) keys.insert(key);
  for (const std::string& key : keys) {
    if (is_seed(key) || key == "data.dir") continue;
    // Each model and encoding has keys of its own, which its name brings along: they tell runs of one name apart.
    const std::string name = key.substr(0, key.find('.')) + ".name";
    std::map<std::string, std::string> first;
    for (const RunFiles& r : runs) {
      const std::string of = key == name ? "" : value(r, name), here = value(r, key);
      if (first.try_emplace(of, here).first->second == here) continue;
      different.push_back(key);
      break;
    }
  }
  return different;
}

std::string seeds(const RunFiles& run) {
  std::string all;
  for (const auto& [key, v] : run.config)
    if (is_seed(key)) all += key + "=" + v + "\n";
  return all;
}

std::vector<Group> groups(const Runs& runs) {
  const std::vector<std::string> keys = differing(runs);
  std::vector<std::string> values;  // of each group
  std::vector<Group> all;
  for (size_t i = 0; i < runs.size(); ++i) {
    std::string here, label;
    for (const std::string& key : keys) {
      const std::string v = value(runs[i], key);
      here += key + "=" + v + "\n";
      if (v.empty()) continue;
      if (!label.empty()) label += ", ";
      label += key.ends_with(".name") ? plain(v) : key + " = " + plain(v);
    }
    const auto at = static_cast<size_t>(std::find(values.begin(), values.end(), here) - values.begin());
    if (at == values.size()) {
      values.push_back(here);
      const bool told = keys.size() <= 3 && !label.empty();
      all.push_back({told ? label : runs[i].label, {}});
    }
    all[at].runs.push_back(i);
  }
  if (all.size() == runs.size())
    for (size_t i = 0; i < runs.size(); ++i) all[i].label = runs[i].label;
  else if (all.size() == 1)
    all[0].label = fmt::format("all {} runs", runs.size());
  return all;
}

std::vector<double> measured(const Runs& runs, const Group& group, const std::function<double(const RunFiles&)>& get) {
  std::vector<double> values;
  std::set<std::string> seen;
  for (const size_t i : group.runs)
    if (const double v = get(runs[i]); std::isfinite(v) && seen.insert(seeds(runs[i])).second) values.push_back(v);
  return values;
}

Statistics statistics(const std::vector<double>& values) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  Statistics s{static_cast<int>(values.size()), nan, nan, nan};
  if (values.empty()) return s;
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  s.mean = sum / s.count;
  for (const double v : values) squares += (v - s.mean) * (v - s.mean);
  if (s.count > 1) {
    s.sd = std::sqrt(squares / (s.count - 1));
    s.half = student(s.count - 1) * s.sd / std::sqrt(s.count);
  }
  return s;
}

}  // namespace tessera::report
