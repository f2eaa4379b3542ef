// Bootstrap intervals. Element e of resample r, of E elements in all, is drawn with number r E + e of the stream, so that a script can draw the
// same (tests/golden/study_statistics.py).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/lab/statistics.h"

namespace tessera::lab {
namespace {

/// Draws of one bootstrap, in order.
class Draws {
 public:
  explicit Draws(const Resampling& how) : stream_(how.seed) {}
  size_t below(size_t n) { return stream_.below(next_++, static_cast<uint32_t>(n)); }

 private:
  rng::Stream stream_;
  uint64_t next_ = 0;
};

/// The interval of statistic(draws), drawn anew each time.
template <class F>
Interval bootstrap(const Resampling& how, F statistic) {
  if (how.resamples < 1) fail("bootstrap", "{} resamples are too few", how.resamples);
  Draws draws(how);
  std::vector<double> statistics(static_cast<size_t>(how.resamples));
  for (double& s : statistics) s = statistic(draws);
  return percentile_interval(std::move(statistics));
}

bool some_task_has_fewer(const Scores& scores, size_t runs) {
  return scores.empty() || std::ranges::any_of(scores, [&](const auto& task) { return task.size() < runs; });
}
bool nothing_in(const Scores& scores) { return some_task_has_fewer(scores, 1); }
/// Drawn anew, one run is that run again: of its spread nothing is known.
bool no_spread_in(const Scores& scores) { return some_task_has_fewer(scores, 2); }

/// Every task's runs drawn anew from that task.
void redraw(const Scores& from, Draws& draws, Scores& to) {
  for (size_t task = 0; task < from.size(); ++task)
    for (double& score : to[task]) score = from[task][draws.below(from[task].size())];
}

/// Pairs that x wins, over all pairs.
double improvement(const std::vector<double>& x, const std::vector<double>& y) {
  double won = 0;
  for (const double a : x)
    for (const double b : y) won += a > b ? 1 : a == b ? 0.5 : 0;
  return won / (static_cast<double>(x.size()) * static_cast<double>(y.size()));
}

}  // namespace

Interval percentile_interval(std::vector<double> statistics) {
  if (statistics.empty()) return {};
  std::ranges::sort(statistics);
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(statistics.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, statistics.size() - 1);
    return statistics[below] + (place - std::floor(place)) * (statistics[above] - statistics[below]);
  };
  return {at(0.025), at(0.975)};
}

Interval over_images(std::span<const double> values, const Resampling& how) {
  if (values.empty()) return {};
  const size_t n = values.size();
  return bootstrap(how, [&](Draws& draws) {
    double sum = 0;
    for (size_t e = 0; e < n; ++e) sum += values[draws.below(n)];
    return sum / static_cast<double>(n);
  });
}

Interval over_seeds_and_images(const Scores& values, const Resampling& how) {
  if (nothing_in(values) || values.size() < 2) return {};
  const size_t seeds = values.size(), images = values[0].size();
  for (const auto& row : values)
    if (row.size() != images) fail("bootstrap", "{} and {} images: all seeds answer the same", images, row.size());
  std::vector<double> of_image(images);
  return bootstrap(how, [&](Draws& draws) {
    std::ranges::fill(of_image, 0);
    for (size_t s = 0; s < seeds; ++s) {
      const auto& row = values[draws.below(seeds)];
      for (size_t i = 0; i < images; ++i) of_image[i] += row[i];
    }
    double sum = 0;
    for (size_t e = 0; e < images; ++e) sum += of_image[draws.below(images)];
    return sum / static_cast<double>(seeds * images);
  });
}

double interquartile_mean(const Scores& scores) {
  std::vector<double> all;
  for (const auto& task : scores) all.insert(all.end(), task.begin(), task.end());
  if (all.empty()) return unknown_number;
  std::ranges::sort(all);
  const auto cut = static_cast<std::ptrdiff_t>(all.size() / 4);
  return std::accumulate(all.begin() + cut, all.end() - cut, 0.0) /
         static_cast<double>(static_cast<std::ptrdiff_t>(all.size()) - 2 * cut);
}

Interval interquartile_mean_interval(const Scores& scores, const Resampling& how) {
  if (no_spread_in(scores)) return {};
  Scores drawn = scores;
  return bootstrap(how, [&](Draws& draws) {
    redraw(scores, draws, drawn);
    return interquartile_mean(drawn);
  });
}

Middle middle_of(const Scores& scores) {
  Middle m;
  for (const auto& task : scores) m.n += static_cast<int>(task.size());
  if (m.n < Middle::fewest) return m;
  m.mean = interquartile_mean(scores);
  m.interval = interquartile_mean_interval(scores, {.resamples = 2000});
  return m;
}

double probability_of_improvement(const Scores& x, const Scores& y) {
  if (x.size() != y.size()) fail("probability of improvement", "{} tasks beside {}", x.size(), y.size());
  if (nothing_in(x) || nothing_in(y)) return unknown_number;
  double sum = 0;
  for (size_t task = 0; task < x.size(); ++task) sum += improvement(x[task], y[task]);
  return sum / static_cast<double>(x.size());
}

Interval probability_of_improvement_interval(const Scores& x, const Scores& y, const Resampling& how) {
  if (no_spread_in(x) || no_spread_in(y)) return {};
  Scores drawn_x = x, drawn_y = y;
  return bootstrap(how, [&](Draws& draws) {
    redraw(x, draws, drawn_x);
    redraw(y, draws, drawn_y);
    return probability_of_improvement(drawn_x, drawn_y);
  });
}

}  // namespace tessera::lab
