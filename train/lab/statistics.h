#pragma once
// How sure one may be of what a few runs say. Pure functions of numbers; what is resampled is drawn by counter (core/rng.h), so equal numbers
// give equal bits everywhere. Held to scipy, statsmodels, autorank and rliable by tests/golden/study_statistics.py. The level is 95 % throughout.
// NaN stands for what the numbers do not tell: the spread of one run, the p of a test that is not defined.
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::lab {

constexpr double unknown_number = std::numeric_limits<double>::quiet_NaN();
/// Of every test; an interval is of one minus it.
constexpr double level = 0.05;

struct Interval {
  double low = unknown_number, high = unknown_number;
};

// ---- seeds: repeats of one experiment ----------------------------------------------------------------------------------------------

/// Of n runs: sd is that of the sample (n - 1), the interval Student's for the mean; both NaN for fewer than two.
struct MeanOf {
  int n = 0;
  double mean = unknown_number, sd = unknown_number;
  Interval interval{};
};
MeanOf mean_of(std::span<const double> values);

/// a - b of runs that share a seed: its mean and sd, Student's interval, and the two-sided paired t-test.
struct Difference {
  int n = 0;  ///< pairs
  double mean = unknown_number, sd = unknown_number;
  Interval interval{};
  double t = unknown_number, p = unknown_number;
  double holm = unknown_number;  ///< p corrected for the comparisons it stands among; holm() fills it in
  int among = 0;                 ///< how many these are
  bool identical = false;        ///< every difference is exactly 0: the same run twice, about which a test says nothing
};
/// Of equally many values, a[i] and b[i] with the same seed. Without p and interval where they are not defined: for one pair, for identical
/// runs, and where all differences are the same number, to rounding: two equal differences are no sign of certainty.
Difference paired(std::span<const double> a, std::span<const double> b);

/// Holm's step-down correction (1979): holds the chance of any false alarm among the comparisons at the level. NaN stays NaN and is not
/// counted.
std::vector<double> holm(std::span<const double> p);
/// The same of the comparisons of one table.
void holm(std::span<Difference> table);

/// The smallest true difference that a paired t-test at level `alpha` (two-sided) would see with probability `power` in n pairs whose
/// differences have the standard deviation `sd`; NaN for fewer than two pairs. Among m comparisons that is for
/// certain only at level / m: so small a p Holm's correction lets through whatever the others are.
double detectable_difference(int n, double sd, double alpha = level, double power = 0.8);
/// The probability that this test sees the difference `delta`.
double power_of(int n, double sd, double delta, double alpha = level);

// ---- words -------------------------------------------------------------------------------------------------------------------------

/// Which way of a measure is the good one; neither: of an entropy nobody can say.
enum class Good { higher, lower, neither };

/// What a comparison may be called. unsettled: no difference was seen, which is not that there is none. higher and lower are of measures
/// without a good way.
enum class Verdict { baseline, untested, identical, unsettled, better, worse, higher, lower };
std::string_view name(Verdict verdict);

/// Anything but untested, identical and unsettled only where the corrected p (without a correction, p) is below 5 %.
Verdict judged(const Difference& d, Good good = Good::higher);

/// How a measure is written: 0.0123 as "1.23 points" with scale 100 and name " points".
struct Unit {
  double scale = 1;
  std::string_view name = "";
  int decimals = 4;
  Good good = Good::higher;
};
/// The one place where "better" is written, never without its interval: "better: +1.23 points [+0.41, +2.05] (5 pairs, p = 0.002, 0.012 after Holm
/// among 6)", "no difference seen: +0.20 points [-0.51, +0.91] (5 pairs, p = 0.48); one of 0.94 would be seen 4 times in 5".
std::string in_words(const Difference& d, const Unit& unit);

// ---- resampling --------------------------------------------------------------------------------------------------------------------

struct Resampling {
  int resamples = 10000;
  uint64_t seed = 0;
};

/// The percentile interval of some resampled statistics, interpolated as numpy does.
Interval percentile_interval(std::vector<double> statistics);

/// The interval of a mean over test images under resampling of the images: of accuracy, with values[i] = 1 where image i was answered
/// right (its share of the seeds); of a paired difference, with values[i] = right of a - right of b.
Interval over_images(std::span<const double> values, const Resampling& how = {});

/// Scores of one encoding: in each task (stratum), of each run.
using Scores = std::vector<std::vector<double>>;

/// The same with seeds resampled, too, values[seed][image]: both are drawn anew and independently of each other, the images alike for all
/// seeds (they are crossed: every seed answered the same images). Wider than over_images(): it speaks of other seeds as well.
Interval over_seeds_and_images(const Scores& values, const Resampling& how = {});

/// The mean of the middle half: a quarter (rounded down) of all scores is cut from either end. As rliable defines it.
double interquartile_mean(const Scores& scores);
/// Its interval, runs resampled within each task (stratified); none where a task has one run, which resampling can only repeat.
Interval interquartile_mean_interval(const Scores& scores, const Resampling& how = {});

/// Both as the tables and the page have them. Nothing of fewer than `fewest` runs in all, of which no quarter can be cut: it would be the mean
/// once more, with an interval that few resamples make narrower than it is.
struct Middle {
  static constexpr int fewest = 4;
  int n = 0;  ///< runs in all tasks
  double mean = unknown_number;
  Interval interval{};
};
Middle middle_of(const Scores& scores);

/// P(a run of x beats a run of y), ties half, averaged over tasks. As rliable defines it (Mann-Whitney's U over the number of pairs): of
/// unpaired runs.
double probability_of_improvement(const Scores& x, const Scores& y);
/// None where a task has one run of either. Of fewer than about five it is degenerate: so few runs have few resamples, and where all of x
/// beat all of y it is [1, 1], which is no certainty.
Interval probability_of_improvement_interval(const Scores& x, const Scores& y, const Resampling& how = {});

/// McNemar's exact test of two runs on the same images, two-sided: `only_a` were answered right by a alone, `only_b` by b alone. Of two
/// trained networks, not of two encodings: the seed is part of each. 1 if they never differ.
double mcnemar(int64_t only_a, int64_t only_b);

}  // namespace tessera::lab
