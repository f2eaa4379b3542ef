#include "tessera/nn/position/scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace tessera {
namespace {

int clipped_pairs(const Scaling& c, int pairs) { return static_cast<int>(std::lround(c.clip_share * pairs)); }

/// Of a frequency among least..most on an axis that is s > 1 times longer.
double ntk_factor(double f, double least, double most, double s) {
  if (f <= 0 || least >= most) return 1;
  return std::pow(s, -std::log(most / f) / std::log(most / least));
}

/// g of a pair that turns so many times over the trained axis.
double yarn_kept(const Scaling& c, double rotations) {
  return std::clamp((rotations - c.beta_slow) / (c.beta_fast - c.beta_slow), 0.0, 1.0);
}

/// By rank, the fastest pair first.
std::vector<double> clip_factors(const Scaling& c, int pairs) {
  std::vector<double> by_rank(static_cast<size_t>(pairs), 1.0);
  const int n = std::min(clipped_pairs(c, pairs), pairs);
  for (int k = 0; k < n; ++k)
    by_rank[static_cast<size_t>(pairs - n + k)] = c.clip == "hard" ? 0
                                                  : n > 1          ? (1 + std::cos(std::numbers::pi * k / (n - 1))) / 2
                                                                   : 1;
  return by_rank;
}

/// Indices of frequencies, the fastest first.
std::vector<size_t> by_speed(const std::vector<double>& f) {
  std::vector<size_t> order(f.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return f[a] > f[b]; });
  return order;
}

/// The authors' ramp: g of the pair that stands at index t of a geometric row of m frequencies.
std::vector<double> kept_by_index(const Scaling& c, const std::vector<double>& f, double trained) {
  const auto [least, most] = std::ranges::minmax(f);
  const auto m = static_cast<double>(f.size());
  const double step = std::log(most / least) / (m - 1);
  const auto index_of = [&](double frequency) { return std::log(most / frequency) / step; };
  const auto turns = [&](double r) { return index_of(2 * std::numbers::pi * r / trained); };
  const double low = std::max(std::floor(turns(c.beta_fast)), 0.0);
  double high = std::min(std::ceil(turns(c.beta_slow)), 2 * m - 1);
  if (high == low) high += 0.001;
  std::vector<double> g;
  for (const double frequency : f) g.push_back(1 - std::clamp((index_of(frequency) - low) / (high - low), 0.0, 1.0));
  return g;
}

}  // namespace

void check_scaling(std::string_view name, const Scaling& c, bool rescale) {
  const std::string where = "position " + std::string(name);
  if (rescale && c.scaling != "none")
    fail(where, "rescale=true says scaling=interpolate under its older name, and scaling is {}: leave rescale out",
         c.scaling);
  if (c.beta_fast <= c.beta_slow)
    fail(where, "beta_fast is {}, expected more than beta_slow, {}", c.beta_fast, c.beta_slow);
}

std::string scaling_refuses(const Scaling& c, int pairs) {
  if (pairs < 2 && (c.scaling == "ntk" || (c.scaling == "yarn" && c.ramp == "index")))
    return fmt::format(
        "scaling={} tells fast pairs from slow ones, and an axis has one pair: choose wider heads or "
        "scaling=interpolate",
        c.scaling);
  if (c.scaling != "clip") return "";
  const int n = clipped_pairs(c, pairs), least = c.clip == "taper" ? 2 : 1,
            most = c.clip == "taper" ? pairs : pairs - 1;
  if (n >= least && n <= most) return "";
  return fmt::format("clip_share {} is {} of the {} pairs of an axis, expected {} to {} of them for clip={}",
                     c.clip_share, n, pairs, least, std::max(least, most), c.clip);
}

std::string scaling_warning(std::string_view name, const Scaling& c, const Places& from, const Places& to,
                            bool rescale) {
  const std::string unit = rescale || looks_at_trained(c) ? warn_unit_of_sites(from, to) : "";
  return unit.empty() ? "" : fmt::format("{} {}: {}", name, rescale ? "rescale=true" : "scaling=" + c.scaling, unit);
}

std::string warn_unit_of_sequences(const Places& from, const Places& to) {
  const bool sequences = !to.sites.empty() && to.sites[0].trained.k.sequence;
  return sequences ? warn_unit_of_sites(from, to) : "";
}

std::string scaling_warning_of_tokens(std::string_view name, const Scaling& c, const Places& from, const Places& to) {
  const std::string unit = looks_at_trained(c) ? warn_unit_of_tokens(from, to) : "";
  return unit.empty() ? "" : fmt::format("{} scaling={}: {}", name, c.scaling, unit);
}

double scaling_temperature(const Scaling& c, double s_y, double s_x) {
  if (c.scaling != "yarn" || !c.temperature) return 1;
  return 0.1 * std::log(std::sqrt(std::max(s_y, 1.0) * std::max(s_x, 1.0))) + 1;
}

double measured(int r, const Extent& is, const Extent& unit, bool on_raster) {
  if (on_raster) return static_cast<double>(r) * unit.cells() / is.cells();
  return std::hypot(static_cast<double>(r / is.w) * unit.h / is.h, static_cast<double>(r % is.w) * unit.w / is.w);
}

ScaledAxis scaled_axis(const Scaling& c, std::vector<double> f, double trained, double now) {
  if (c.scaling == "interpolate") return {trained, now, std::move(f)};
  const double s = now / trained;
  if (c.scaling == "clip") {
    const std::vector<size_t> fastest = by_speed(f);
    const std::vector<double> factor = clip_factors(c, static_cast<int>(f.size()));
    for (size_t rank = 0; rank < f.size(); ++rank) f[fastest[rank]] *= factor[rank];
  }
  if (s > 1 && c.scaling == "ntk") {
    const auto [least, most] = std::ranges::minmax(f);
    for (double& frequency : f) frequency *= ntk_factor(frequency, least, most, s);
  }
  if (s > 1 && c.scaling == "yarn") {
    const bool spaced = std::ranges::min(f) < std::ranges::max(f);  // else all have one index
    const std::vector<double> by_index =
        c.ramp == "index" && spaced ? kept_by_index(c, f, trained) : std::vector<double>();
    for (size_t t = 0; t < f.size(); ++t) {
      const double g = by_index.empty() ? yarn_kept(c, trained * f[t] / (2 * std::numbers::pi)) : by_index[t];
      f[t] *= g + (1 - g) / s;
    }
  }
  return {1, 1, std::move(f)};
}

MixedFactors scaled_mixed(const Scaling& c, const std::vector<double>& f, const Grid& trained, const Grid& now,
                          int of_rank) {
  const size_t pairs = f.size(), each = static_cast<size_t>(of_rank);
  MixedFactors by{std::vector<double>(pairs, 1.0), std::vector<double>(pairs, 1.0)};
  if (c.scaling == "clip") {
    const std::vector<double> factor = clip_factors(c, static_cast<int>(pairs / each));
    const std::vector<size_t> fastest = by_speed(f);
    for (size_t rank = 0; rank < pairs; ++rank) by.y[fastest[rank]] = by.x[fastest[rank]] = factor[rank / each];
  }
  if (c.scaling != "ntk" && c.scaling != "yarn") return by;
  const double s_y = std::max(1.0, static_cast<double>(now.h) / trained.h),
               s_x = std::max(1.0, static_cast<double>(now.w) / trained.w),
               turns = std::sqrt(static_cast<double>(trained.h) * trained.w) / (2 * std::numbers::pi);
  const auto [least, most] = std::ranges::minmax(f);
  for (size_t t = 0; t < pairs; ++t) {
    const double g = yarn_kept(c, turns * f[t]);
    const auto factor = [&, least = least, most = most](double s) {
      return c.scaling == "ntk" ? ntk_factor(f[t], least, most, s) : g + (1 - g) / s;
    };
    by.y[t] = factor(s_y), by.x[t] = factor(s_x);
  }
  return by;
}

}  // namespace tessera
