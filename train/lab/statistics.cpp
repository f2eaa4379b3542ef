#include "tessera/train/lab/statistics.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/train/report/groups.h"

namespace tessera::lab {
namespace {

namespace math = boost::math;

/// Equal differences are equal to a rounding or two of the numbers they come from.
constexpr double rounding = 1e-12;

/// The two-sided quantile of Student's t for n values.
double student(int n, double alpha) { return math::quantile(math::complement(math::students_t(n - 1), alpha / 2)); }

}  // namespace

MeanOf mean_of(std::span<const double> values) {
  const report::Statistics s = report::statistics({values.begin(), values.end()});
  return {s.count, s.mean, s.sd, {s.mean - s.half, s.mean + s.half}};
}

Difference paired(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) fail("paired", "{} values beside {}: they come in pairs", a.size(), b.size());
  std::vector<double> differences(a.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    differences[i] = a[i] - b[i];
    largest = std::max({largest, std::abs(a[i]), std::abs(b[i])});
  }
  const MeanOf m = mean_of(differences);
  Difference d{.n = m.n, .mean = m.mean, .sd = m.sd};
  d.identical = d.n > 0 && std::ranges::all_of(differences, [](double v) { return v == 0; });
  if (d.n < 2 || d.identical || !(m.sd > rounding * largest)) return d;
  d.interval = m.interval;
  d.t = m.mean / (m.sd / std::sqrt(m.n));
  d.p = std::min(1.0, 2 * math::cdf(math::complement(math::students_t(m.n - 1), std::abs(d.t))));
  d.holm = d.p, d.among = 1;
  return d;
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order;
  for (size_t i = 0; i < p.size(); ++i)
    if (!std::isnan(p[i])) order.push_back(i);
  std::ranges::stable_sort(order, {}, [&](size_t i) { return p[i]; });
  std::vector<double> corrected(p.size(), unknown_number);
  double least = 0;  // a larger p is never corrected to a smaller one
  for (size_t k = 0; k < order.size(); ++k) {
    least = std::max(least, std::min(1.0, p[order[k]] * static_cast<double>(order.size() - k)));
    corrected[order[k]] = least;
  }
  return corrected;
}

void holm(std::span<Difference> table) {
  std::vector<double> p;
  for (const Difference& d : table) p.push_back(d.p);
  const std::vector<double> corrected = holm(p);
  const auto tested = static_cast<int>(std::ranges::count_if(p, [](double v) { return !std::isnan(v); }));
  for (size_t i = 0; i < table.size(); ++i) {
    table[i].holm = corrected[i];
    table[i].among = std::isnan(p[i]) ? 0 : tested;
  }
}

double power_of(int n, double sd, double delta, double alpha) {
  if (n < 2 || !std::isfinite(sd) || !std::isfinite(delta) || sd < 0) return unknown_number;
  if (delta == 0) return alpha;
  if (sd == 0) return 1;
  const double critical = student(n, alpha), noncentrality = std::abs(delta) / sd * std::sqrt(n);
  if (noncentrality >
      1000) {  // the series of the distribution are of no use there; the mean is sure, and only the spread is drawn
    const double spread = noncentrality / critical;
    return math::cdf(math::chi_squared(n - 1), std::min((n - 1) * spread * spread, 1e300));
  }
  const math::non_central_t t(n - 1, noncentrality);
  return math::cdf(math::complement(t, critical)) + math::cdf(t, -critical);
}

double detectable_difference(int n, double sd, double alpha, double power) {
  if (n < 2 || !std::isfinite(sd) || sd < 0 || !(alpha > 0 && power > alpha && power < 1)) return unknown_number;
  double low = 0, high = 1;  // in units of sd
  while (power_of(n, 1, high, alpha) < power) low = high, high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (power_of(n, 1, middle, alpha) < power ? low : high) = middle;
  }
  return high * sd;
}

double mcnemar(int64_t only_a, int64_t only_b) {
  if (only_a < 0 || only_b < 0) fail("mcnemar", "{} and {} are no counts", only_a, only_b);
  const auto n = static_cast<double>(only_a + only_b);
  if (only_a == only_b) return 1;
  return std::min(1.0, 2 * math::cdf(math::binomial(n, 0.5), static_cast<double>(std::min(only_a, only_b))));
}

}  // namespace tessera::lab
