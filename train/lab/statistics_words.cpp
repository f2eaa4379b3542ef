// What a comparison is called.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/train/lab/statistics.h"

namespace tessera::lab {
namespace {

std::string chance(const Difference& d) {
  std::string s = d.p < 1e-4 ? "p < 0.0001" : fmt::format("p = {:.2g}", d.p);
  if (d.among < 2) return s;
  return s + (d.holm < 1e-4 ? ", < 0.0001" : fmt::format(", {:.2g}", d.holm)) +
         fmt::format(" after Holm among {}", d.among);
}

}  // namespace

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::baseline:
      return "baseline";
    case Verdict::untested:
      return "untested";
    case Verdict::identical:
      return "identical";
    case Verdict::unsettled:
      return "unsettled";
    case Verdict::better:
      return "better";
    case Verdict::worse:
      return "worse";
    case Verdict::higher:
      return "higher";
    case Verdict::lower:
      return "lower";
  }
  return "";
}

Verdict judged(const Difference& d, Good good) {
  if (d.identical) return Verdict::identical;
  if (std::isnan(d.p)) return Verdict::untested;
  if (!(d.holm < level)) return Verdict::unsettled;
  if (good == Good::neither) return d.mean > 0 ? Verdict::higher : Verdict::lower;
  return (d.mean > 0) == (good == Good::higher) ? Verdict::better : Verdict::worse;
}

std::string in_words(const Difference& d, const Unit& unit) {
  const auto signed_number = [&](double v) { return fmt::format("{:+.{}f}", v * unit.scale, unit.decimals); };
  const auto size = [&](double v) { return fmt::format("{:.{}f}", std::abs(v) * unit.scale, unit.decimals); };
  const std::string pairs = fmt::format("{} pair{}", d.n, d.n == 1 ? "" : "s");
  const Verdict verdict = judged(d, unit.good);
  if (verdict == Verdict::identical) return fmt::format("identical in {}", pairs);
  if (verdict == Verdict::untested) {
    if (d.n == 0) return "no seed in common";
    const std::string seen = signed_number(d.mean) + std::string(unit.name);
    return d.n == 1 ? fmt::format("one pair: {}, of which no interval can be told", seen)
                    : fmt::format("all of {} differ by {}: no test is defined", pairs, seen);
  }
  const std::string seen = fmt::format("{}{} [{}, {}]", signed_number(d.mean), unit.name, signed_number(d.interval.low),
                                       signed_number(d.interval.high));
  if (verdict == Verdict::unsettled) {
    const char* what = d.p < level ? "not settled, for it is one of many comparisons" : "no difference seen";
    return fmt::format("{}: {} ({}, {}); one of {} would be seen 4 times in 5", what, seen, pairs, chance(d),
                       size(detectable_difference(d.n, d.sd, level / std::max(d.among, 1))));
  }
  return fmt::format("{}: {} ({}, {})", name(verdict), seen, pairs, chance(d));
}

}  // namespace tessera::lab
