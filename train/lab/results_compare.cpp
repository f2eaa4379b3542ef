// Groups beside their baselines, and beside each other.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/train/lab/results.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
namespace {

/// Runs of two groups with the same seed, both with a number: by index of Results::runs.
std::vector<std::pair<size_t, size_t>> shared(const Results& all, const CellGroup& a, const CellGroup& b,
                                              const std::string& measure) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (const size_t i : a.runs)
    for (const size_t j : b.runs)
      if (all.runs[i].seed == all.runs[j].seed && std::isfinite(all.runs[i].number(measure)) &&
          std::isfinite(all.runs[j].number(measure)))
        pairs.emplace_back(i, j);
  return pairs;
}

Difference difference(const Results& all, const std::vector<std::pair<size_t, size_t>>& pairs,
                      const std::string& measure) {
  std::vector<double> a, b;
  for (const auto& [i, j] : pairs) {
    a.push_back(all.runs[i].number(measure));
    b.push_back(all.runs[j].number(measure));
  }
  return paired(a, b);
}

/// right of one less right of the other, [pair][image]; empty unless all answered as many images.
Scores differences_by_image(const Results& all, const std::vector<std::pair<size_t, size_t>>& pairs) {
  Scores scores;
  for (const auto& [i, j] : pairs) {
    const auto &a = all.runs[i].right, &b = all.runs[j].right;
    if (a.empty() || a.size() != b.size() || (!scores.empty() && scores[0].size() != a.size())) return {};
    auto& row = scores.emplace_back(a.size());
    for (size_t e = 0; e < a.size(); ++e) row[e] = static_cast<double>(a[e]) - static_cast<double>(b[e]);
  }
  return scores;
}

void ask_images(const Scores& scores, Comparison& c) {
  if (scores.empty()) return;
  std::vector<double> mean(scores[0].size());
  for (const auto& row : scores)
    for (size_t e = 0; e < row.size(); ++e) mean[e] += row[e] / static_cast<double>(scores.size());
  constexpr Resampling how{.resamples = 2000};
  c.images = over_images(mean, how);
  if (scores.size() >= 3) c.seeds_and_images = over_seeds_and_images(scores, how);
}

}  // namespace

Unit unit_of(std::string_view measure) {
  const auto is = [&](std::string_view end) { return measure == end || measure.ends_with(end); };
  if (is("acc1") || is("consistency")) return {100, " points", 2, Good::higher};
  if (measure.starts_with("params") || measure.starts_with("macs")) return {1, "", 0, Good::lower};
  if (is("_mb")) return {1, " MB", 1, Good::lower};
  if (measure == "images_per_s") return {1, " images/s", 0, Good::higher};
  if (measure == "images_per_s_vs_none") return {1, "", 3, Good::higher};
  if (measure == "peak_tensors_vs_none") return {1, "", 3, Good::lower};
  return {1, "", 4, Good::neither};
}

namespace {

/// "; 2 of its 3 runs were stopped early", and the same of the baseline: a difference to a shorter training is no difference of encodings alone.
std::string stopped_in_words(const Results& all, const Comparison& c) {
  std::string words;
  const auto add = [&](int stopped, size_t of, const char* whose) {
    if (stopped > 0)
      words += fmt::format("; {} of {} {} {} stopped early, after fewer epochs", stopped,
                           plural(static_cast<int64_t>(all.groups[of].runs.size()), "run"), whose,
                           stopped == 1 ? "was" : "were");
  };
  add(c.stopped, c.group, "here");
  add(c.baseline_stopped, c.baseline, "of the baseline");
  return words;
}

}  // namespace

std::vector<Comparison> compare(const Results& results, const std::string& measure) {
  std::vector<Comparison> table;
  std::vector<Difference> differences;
  for (size_t g = 0; g < results.groups.size(); ++g) {
    Comparison& c = table.emplace_back();
    c.group = g, c.baseline = results.baseline_of(g);
    c.stopped = results.stopped(results.groups[g]);
    if (c.baseline != g && c.baseline != results.groups.size())
      c.baseline_stopped = results.stopped(results.groups[c.baseline]);
    const std::vector<double> values = results.of(results.groups[g], measure);
    c.mean = mean_of(values), c.middle = middle_of({values});
    if (c.baseline != g && c.baseline != results.groups.size()) {
      const auto pairs = shared(results, results.groups[g], results.groups[c.baseline], measure);
      c.difference = difference(results, pairs, measure);
      if (measure == "last_acc1") ask_images(differences_by_image(results, pairs), c);
    }
    differences.push_back(c.difference);
  }
  holm(differences);
  for (Comparison& c : table) {
    c.difference = differences[c.group];
    if (c.baseline == c.group) {
      c.words = "the baseline";
    } else if (c.baseline == results.groups.size()) {
      c.verdict = Verdict::untested, c.words = "there is no baseline";
    } else {
      const Unit unit = unit_of(measure);
      c.verdict = judged(c.difference, unit.good), c.words = in_words(c.difference, unit);
    }
    c.words += stopped_in_words(results, c);
  }
  return table;
}

std::vector<std::vector<Difference>> pairwise(const Results& results, const std::string& measure) {
  std::vector<std::vector<Difference>> matrix;
  for (const CellGroup& a : results.groups) {
    auto& row = matrix.emplace_back();
    for (const CellGroup& b : results.groups)
      row.push_back(difference(results, shared(results, a, b, measure), measure));
  }
  return matrix;
}

}  // namespace tessera::lab
