// The statistics of the lab against scipy, statsmodels, autorank and rliable (tests/golden/study_statistics.py), and what they may claim.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tessera/core/io/json.h"
#include "tessera/core/rng.h"
#include "tessera/train/lab/statistics.h"
#include "tessera/train/report/groups.h"

using namespace tessera;
using namespace tessera::lab;

namespace {

constexpr double tolerance = 1e-6;

const io::Json& golden() {
  static const io::Json all = io::read_json(TESSERA_SOURCE_DIR "/tests/golden/data/statistics.json", 1 << 20);
  return all;
}

std::vector<double> list(const io::Json& j) { return j.get<std::vector<double>>(); }
Scores matrix(const io::Json& j) { return j.get<Scores>(); }
Resampling how(const io::Json& j) { return {j["resamples"].get<int>(), j["seed"].get<uint64_t>()}; }

/// Relative to the larger of the number and `scale`.
void near(double ours, const io::Json& theirs, double scale = 0) {
  const auto v = theirs.get<double>();
  CHECK(std::abs(ours - v) <= tolerance * std::max(std::abs(v), scale));
}
void near(const Interval& ours, const io::Json& theirs) {
  near(ours.low, theirs[0], 1e-3);
  near(ours.high, theirs[1], 1e-3);
}

/// Test accuracies of `n` seeds of one encoding, as they might be: seeds differ by 0.8 points, of 2000 images each is right or not.
std::vector<double> one_encoding(const rng::Stream& stream, size_t n, uint64_t& next) {
  std::vector<double> all;
  for (size_t i = 0; i < n; ++i) {
    const double skill = 0.7 + 0.008 * stream.normal(next++);
    int right = 0;
    for (int image = 0; image < 2000; ++image) right += stream.uniform(2 * next++) < skill;
    all.push_back(right / 2000.0);
  }
  return all;
}

}  // namespace

TEST_CASE("statistics: mean, spread and Student's interval are scipy's") {
  for (const io::Json& c : golden()["means"]) {
    const MeanOf m = mean_of(list(c["values"]));
    near(m.mean, c["mean"]), near(m.sd, c["sd"]);
    near(m.interval.low, c["interval"][0], 1e-9), near(m.interval.high, c["interval"][1], 1e-9);
  }
  CHECK(std::isnan(mean_of({}).mean));
  const std::vector<double> one{0.5};
  CHECK(mean_of(one).mean == 0.5);
  CHECK(std::isnan(mean_of(one).interval.low));
}

TEST_CASE("statistics: the pages of runs and of studies draw one interval") {
  for (int n = 2; n <= 60; ++n) {
    std::vector<double> values;
    for (int i = 0; i < n; ++i) values.push_back(0.7 + 0.01 * std::sin(i * 1.7));
    const MeanOf m = mean_of(values);
    const report::Statistics s = report::statistics(values);
    CHECK(s.mean == m.mean);
    CHECK(s.sd == m.sd);
    CHECK(s.mean - s.half == m.interval.low);
    CHECK(s.mean + s.half == m.interval.high);
  }
}

TEST_CASE("statistics: paired differences and their test are scipy's") {
  for (const io::Json& c : golden()["pairs"]) {
    const Difference d = paired(list(c["a"]), list(c["b"]));
    near(d.mean, c["mean"], 1e-3), near(d.sd, c["sd"]), near(d.t, c["t"]), near(d.p, c["p"]);
    near(d.interval, c["interval"]);
    CHECK(d.holm == d.p);
  }
}

TEST_CASE("statistics: Holm's correction is statsmodels', and what was not tested is not counted") {
  for (const io::Json& c : golden()["holm"]) {
    std::vector<double> p = list(c["p"]);
    p.insert(p.begin() + 1, unknown_number);
    const std::vector<double> corrected = holm(p);
    CHECK(std::isnan(corrected[1]));
    for (size_t i = 0; i < p.size(); ++i)
      if (i != 1) near(corrected[i], c["corrected"][i - (i > 1)]);
  }
}

TEST_CASE("statistics: the difference that would be seen, by noncentral t") {
  for (const io::Json& c : golden()["detectable"]) {
    const int n = c["n"].get<int>();
    const double sd = c["sd"].get<double>(), difference = detectable_difference(n, sd);
    near(difference, c["difference"]);
    CHECK(power_of(n, sd, difference) == doctest::Approx(0.8).epsilon(1e-9));
  }
  CHECK(std::isnan(detectable_difference(1, 0.1)));
  CHECK(power_of(5, 1, 0) == 0.05);
  CHECK(power_of(5, 1, 1e9) == 1);
}

namespace {

/// The power of a paired t-test without the noncentral t of a library: of a normal over an independent chi, integrated over the chi.
double power_by_integration(int n, double delta, double critical) {
  const double nc = delta * std::sqrt(n), k = n - 1;
  const auto below = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  constexpr int steps = 20000;  // Simpson's
  constexpr double far = 14;
  double sum = 0;
  for (int i = 0; i <= steps; ++i) {
    const double s = far * i / steps, chi = std::pow(s, k - 1) * std::exp(-s * s / 2);
    const double seen = below(nc - critical * s / std::sqrt(k)) + below(-critical * s / std::sqrt(k) - nc);
    sum += (i == 0 || i == steps ? 1 : i % 2 ? 4 : 2) * chi * seen;
  }
  return sum * far / steps / 3 * std::pow(2, 1 - k / 2) / std::tgamma(k / 2);
}

}  // namespace

TEST_CASE(
    "statistics: among many comparisons the difference that would be seen is the one that the corrected test sees") {
  // Student's quantiles of 1 - alpha / 2
  for (const auto& [n, alpha, critical] : {std::tuple(2, 0.05 / 4, 50.923037),
                                           {2, 0.05 / 100, 1273.239284},
                                           {3, 0.05 / 4, 8.8602},
                                           {3, 0.05 / 20, 19.962480},
                                           {5, 0.05 / 4, 4.314656},
                                           {10, 0.05 / 20, 4.145789}}) {
    INFO(n, " pairs at level ", alpha);
    const double difference = detectable_difference(n, 1, alpha);
    CHECK(power_by_integration(n, difference, critical) == doctest::Approx(0.8).epsilon(2e-3));
    CHECK(difference > detectable_difference(n, 1));
  }
  Difference d = paired(std::vector{0.71, 0.70, 0.72}, std::vector{0.70, 0.71, 0.70});
  const Unit points{100, " points", 2, Good::higher};
  const std::string alone = in_words(d, points);
  std::vector<Difference> table(4, d);
  holm(table);
  const std::string among = in_words(table[0], points);
  CHECK(alone.find(fmt::format("; one of {:.2f} would", 100 * detectable_difference(3, d.sd))) != std::string::npos);
  CHECK(among.find(fmt::format("; one of {:.2f} would", 100 * detectable_difference(3, d.sd, 0.05 / 4))) !=
        std::string::npos);
}

TEST_CASE("statistics: one run, drawn anew, is that run again, and tells no interval") {
  const Scores one{{0.7}}, two{{0.7, 0.72}}, both{{0.7, 0.71}, {0.6}};
  CHECK(probability_of_improvement(two, one) == 0.75);
  for (const auto& [x, y] : {std::pair(one, two), {two, one}, {one, one}, {both, both}})
    CHECK(std::isnan(probability_of_improvement_interval(x, y).low));
  CHECK(std::isfinite(probability_of_improvement_interval(two, two).low));
  CHECK(std::isnan(interquartile_mean_interval(one).low));
  CHECK(std::isnan(interquartile_mean_interval(both).low));
  CHECK(std::isnan(over_seeds_and_images({{1, 0, 1}}).low));
}

TEST_CASE(
    "statistics: an interquartile mean is told where a quarter can be cut, with runs resampled within their tasks") {
  CHECK(std::isnan(middle_of({}).mean));
  CHECK(std::isnan(middle_of({{0.7, 0.71, 0.72}}).mean));
  const Scores two{{0.7, 0.9}, {0.1, 0.3}};
  const Middle m = middle_of(two);
  CHECK(m.n == 4);
  CHECK(m.mean == doctest::Approx(0.5));
  const Interval i = interquartile_mean_interval(two, {.resamples = 2000});
  CHECK(m.interval.low == i.low);
  CHECK(m.interval.high == i.high);
  CHECK(m.interval.low > 0.25);  // as one task the resamples would hold four of 0.1 and 0.3
  const Middle one_run = middle_of({{0.7, 0.71, 0.72}, {0.1}});
  CHECK(std::isfinite(one_run.mean));
  CHECK(std::isnan(one_run.interval.low));
}

TEST_CASE("statistics: resampling picks what numpy and rliable would have picked by the same draws") {
  for (const io::Json& c : golden()["images"]) near(over_images(list(c["values"]), how(c)), c["interval"]);
  for (const io::Json& c : golden()["seeds_and_images"])
    near(over_seeds_and_images(matrix(c["values"]), how(c)), c["interval"]);
  for (const io::Json& c : golden()["middle"]) {
    near(interquartile_mean(matrix(c["scores"])), c["mean"]);
    near(interquartile_mean_interval(matrix(c["scores"]), how(c)), c["interval"]);
  }
  for (const io::Json& c : golden()["improvement"]) {
    near(probability_of_improvement(matrix(c["x"]), matrix(c["y"])), c["probability"]);
    near(probability_of_improvement_interval(matrix(c["x"]), matrix(c["y"]), how(c)), c["interval"]);
  }
}

TEST_CASE("statistics: many resamples come to what all possible ones say") {
  const io::Json& mean = golden()["enumerated"][0];
  const Interval i = over_images(list(mean["scores"]), {20000, 11});
  CHECK(i.low == doctest::Approx(mean["quantiles"][0].get<double>()).epsilon(1e-9));
  CHECK(i.high == doctest::Approx(mean["quantiles"][1].get<double>()).epsilon(1e-9));
  const io::Json& middle = golden()["enumerated"][1];
  const Interval m = interquartile_mean_interval({list(middle["scores"])}, {20000, 11});
  CHECK(m.low == doctest::Approx(middle["quantiles"][0].get<double>()).epsilon(1e-9));
  CHECK(m.high == doctest::Approx(middle["quantiles"][1].get<double>()).epsilon(1e-9));
}

TEST_CASE("statistics: McNemar's exact test is statsmodels'") {
  for (const io::Json& c : golden()["mcnemar"]) near(mcnemar(c["a"].get<int64_t>(), c["b"].get<int64_t>()), c["p"]);
  CHECK(mcnemar(0, 0) == 1);
}

TEST_CASE("statistics: of 200 experiments in which nothing differs at most 7 % are called a difference") {
  const rng::Stream stream(20);
  uint64_t next = 0;
  int called = 0, alarms = 0;
  for (int experiment = 0; experiment < 200; ++experiment) {
    std::vector<Difference> table;  // seven encodings, all of them the baseline once more
    const std::vector<double> baseline = one_encoding(stream, 5, next);
    for (int i = 0; i < 7; ++i) table.push_back(paired(one_encoding(stream, 5, next), baseline));
    called += judged(table[0]) != Verdict::unsettled;
    holm(table);
    alarms += std::ranges::any_of(table, [](const Difference& d) { return judged(d) != Verdict::unsettled; });
  }
  INFO(called << " of 200 comparisons, " << alarms << " of 200 tables");
  CHECK(called <= 14);
  CHECK(alarms <= 14);
}

TEST_CASE("statistics: nothing is called better without its interval, and what was not tested says why") {
  const Unit points{100, " points", 2, Good::higher};
  const std::vector<double> low{0.70, 0.71, 0.69, 0.70}, high{0.75, 0.755, 0.742, 0.751}, same = low;
  Difference d = paired(high, low);
  CHECK(judged(d) == Verdict::better);
  CHECK(judged(d, Good::lower) == Verdict::worse);
  CHECK(judged(d, Good::neither) == Verdict::higher);
  CHECK(in_words(d, points).starts_with("better: +4.95 points [+4.46, +5.44] (4 pairs, p < 0.0001)"));
  CHECK(in_words(paired(low, high), points).starts_with("worse: -4.95 points [-5.44, -4.46]"));

  const Difference twice = paired(same, low);
  CHECK(twice.identical);
  CHECK(std::isnan(twice.p));
  CHECK(judged(twice) == Verdict::identical);
  CHECK(in_words(twice, points) == "identical in 4 pairs");

  const std::vector<double> shifted{0.71, 0.72, 0.70, 0.71};
  CHECK(judged(paired(shifted, low)) == Verdict::untested);  // all differences 0.01: no spread, no test
  CHECK(in_words(paired(shifted, low), points) == "all of 4 pairs differ by +1.00 points: no test is defined");
  CHECK(in_words(paired(std::vector{0.7}, std::vector{0.6}), points) ==
        "one pair: +10.00 points, of which no interval can be told");
  CHECK(in_words(paired(std::vector<double>{}, std::vector<double>{}), points) == "no seed in common");

  d = paired(std::vector{0.71, 0.70, 0.72}, std::vector{0.70, 0.71, 0.70});
  const std::string unsettled = in_words(d, points);
  CHECK(unsettled.starts_with("no difference seen: +0.67 points [-3.13, +4.46] (3 pairs, p = 0.53); one of "));
  CHECK(unsettled.ends_with(" would be seen 4 times in 5"));

  std::vector<Difference> table(20, d);  // among twenty, p = 0.02 is nothing to write home about
  table[0] = paired(std::vector{0.72, 0.715, 0.732}, std::vector{0.70, 0.70, 0.71});
  REQUIRE(table[0].p < 0.05);
  holm(table);
  CHECK(judged(table[0]) == Verdict::unsettled);
  CHECK(in_words(table[0], points).starts_with("not settled, for it is one of many comparisons: +1.90 points [+"));
  for (const Difference& any : {d, table[0], twice, paired(high, low)}) {
    const std::string words = in_words(any, points);
    CHECK((words.find("better") == std::string::npos || words.find('[') != std::string::npos));
  }
}
