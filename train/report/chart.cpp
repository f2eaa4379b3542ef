#include "tessera/train/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "tessera/train/report/html.h"

namespace tessera::report {
namespace {

constexpr double width = 500, height = 220;  // the plot's own units; its box on the page has any size
constexpr size_t most_titles = 300;          // hover points a series; longer series get one at every few points

std::string dash(int color) {
  constexpr std::array<const char*, 4> patterns = {"", "6 4", "2 4", "10 3 2 3"};
  const char* p = patterns[static_cast<size_t>(color / 8) % patterns.size()];
  return *p ? fmt::format(" stroke-dasharray=\"{}\"", p) : "";
}
int hue(int color) { return color % 8; }

struct Scale {
  double low, high, from, to;
  double operator()(double v) const { return from + (v - low) / (high - low) * (to - from); }
};

/// Dots are strokes of no length with round ends: strokes keep their width and shape however the plot is stretched.
std::string dot(const char* kind, int color, double x, double y) {
  return fmt::format("<path class=\"{}\" style=\"stroke: var(--s{})\" d=\"M{:.1f} {:.1f} h.01\"", kind, hue(color), x,
                     y);
}

/// The range of a series: an area along its line, or a bar at each point.
std::string ranges(const Series& s, const Scale& x, const Scale& y) {
  std::string path, back;
  for (size_t i = 0; i < s.range.size(); ++i) {
    const auto& [low, high] = s.range[i];
    if (!std::isfinite(low) || !std::isfinite(high)) continue;
    const double at = x(s.points[i].first);
    if (s.band) {
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", at, y(high));
      back.insert(0, fmt::format(" L{:.1f} {:.1f}", at, y(low)));
    } else {
      path += fmt::format("M{:.1f} {:.1f}V{:.1f}", at, y(low), y(high));
    }
  }
  if (path.empty()) return "";
  return s.band
             ? fmt::format("<path class=\"band\" style=\"fill: var(--s{})\" d=\"{}{}z\"/>\n", hue(s.color), path, back)
             : fmt::format("<path class=\"whisker\" style=\"stroke: var(--s{})\" d=\"{}\"/>\n", hue(s.color), path);
}

std::string plot(const Series& s, const Chart& chart, const Scale& x, const Scale& y) {
  std::string path;
  for (const auto& [a, b] : s.points) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", x(a), y(b));
  std::string svg = s.mark.empty() ? "" : fmt::format("<g {}>\n", s.mark);
  svg += ranges(s, x, y);
  svg += fmt::format("<path class=\"line\" style=\"stroke: var(--s{})\"{} d=\"{}\"/>\n", hue(s.color), dash(s.color),
                     path);
  svg += dot("end", s.color, x(s.points.back().first), y(s.points.back().second)) + "/>\n";
  const size_t stride = 1 + s.points.size() / most_titles;
  for (size_t i = 0; i < s.points.size(); i += stride) {
    const auto& [a, b] = s.points[i];
    const bool between = i < s.range.size() && std::isfinite(s.range[i].first);
    svg += dot("hit", s.color, x(a), y(b)) +
           fmt::format(
               "><title>{}{} {}: {}{}{}</title></path>\n", s.label.empty() ? "" : escape(s.label) + ", ",
               escape(chart.x_label), number(a, 6), number(b, 5), chart.unit,
               between ? fmt::format(" ({} to {})", number(s.range[i].first, 5), number(s.range[i].second, 5)) : "");
  }
  return svg + (s.mark.empty() ? "" : "</g>\n");
}

std::string legend(const Chart& chart) {
  struct Entry {
    const Series* first;
    double sum = 0;
    int count = 0;
  };
  std::vector<std::string> order;
  std::map<std::string, Entry> entries;
  for (const Series& s : chart.series) {
    if (s.points.empty()) continue;
    const std::string& name = s.legend.empty() ? s.label : s.legend;
    const auto [at, fresh] = entries.try_emplace(name, Entry{&s});
    if (fresh) order.push_back(name);
    at->second.sum += s.points.back().second, ++at->second.count;
  }
  std::string html = "<div class=\"legend\">";
  for (const std::string& name : order) {
    const Entry& e = entries.at(name);
    const std::string mark = line_sample(e.first->color);
    const double end = e.sum / e.count;
    html += fmt::format("<span>{}{}<b>{}{}</b></span>", name.empty() ? "" : mark,
                        name.empty() ? "last" : "<i>" + breakable(name) + "</i>",
                        number(end, std::abs(end) >= 1e4 ? 7 : 4), chart.unit);
  }
  return html + "</div>\n";
}

std::string tick_label(double v) { return std::abs(v) >= 10'000 ? si(v) : number(v, 6); }

}  // namespace

std::vector<double> ticks(double low, double high, int count, bool whole) {
  low = std::clamp(low, -1e300, 1e300), high = std::clamp(high, -1e300, 1e300);  // room for steps and sums
  // below this distance the steps between two numbers of that size are no longer numbers
  const double size = std::max(std::abs(low), std::abs(high)), least = std::max(1e-9 * size, 1e-300);
  if (!(high - low > least)) {
    const double pad = size > 1e-290 ? 0.1 * size : 1;
    low -= pad, high += pad;
  }
  const double raw = (high / count - low / count), power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (double nice : {5.0, 2.5, 2.0, 1.0})
    if (nice * power >= raw * 0.999) step = nice * power;
  if (whole) step = std::max(1.0, step == 2.5 ? 5.0 : step);
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  std::vector<double> t;
  for (int i = 0; i <= std::lround(last - first); ++i) t.push_back((first + i) * step);
  return t;
}

std::string line_sample(int color) {
  return fmt::format(
      "<svg viewBox=\"0 0 18 8\" aria-hidden=\"true\"><path class=\"line\" style=\"stroke: var(--s{})\"{} d=\"M1 4 L17 "
      "4\"/></svg>",
      hue(color), dash(color));
}

std::string line_chart(const Chart& chart) {
  double x0 = std::numeric_limits<double>::infinity(), x1 = -x0, y0 = x0, y1 = -x0;
  for (const Series& s : chart.series) {
    for (const auto& [a, b] : s.points)
      x0 = std::min(x0, a), x1 = std::max(x1, a), y0 = std::min(y0, b), y1 = std::max(y1, b);
    for (const auto& [low, high] : s.range)
      if (std::isfinite(low) && std::isfinite(high)) y0 = std::min(y0, low), y1 = std::max(y1, high);
  }
  if (x1 < x0) return "";
  if (chart.from_zero) y0 = std::min(y0, 0.0);
  const std::vector<double> ys = ticks(y0, y1, 5);
  if (x0 == x1) x0 -= 0.5, x1 += 0.5;
  std::vector<double> xs = chart.xs.empty() ? ticks(x0, x1, 8, chart.whole_x) : chart.xs;
  std::erase_if(xs, [&](double v) { return v < x0 || v > x1; });
  const Scale x{x0, x1, 0, width}, y{ys.front(), ys.back(), height, 0};

  std::string left, svg, below;
  for (double v : ys) {
    left += fmt::format("<span>{}{}</span>", tick_label(v), chart.unit);
    svg += fmt::format("<path class=\"{}\" d=\"M0 {:.1f} H{}\"/>\n", v == ys.front() ? "axis" : "grid", y(v), width);
  }
  for (double v : xs)
    below += fmt::format("<span style=\"left: {:.2f}%\">{}</span>", 100 * x(v) / width, tick_label(v));
  const double step = chart.apart ? std::min(4.0, 24.0 / static_cast<double>(chart.series.size())) : 0;
  double aside = -step * static_cast<double>(chart.series.size() - 1) / 2;
  for (const Series& s : chart.series) {
    if (!s.points.empty()) svg += plot(s, chart, {x0, x1, aside, width + aside}, y);
    aside += step;
  }
  return fmt::format(
      "<div class=\"card chart\">\n<h3>{0}</h3>\n{1}<div class=\"plot\"><div class=\"ys\">{2}</div>\n"
      "<svg viewBox=\"0 0 {3} {4}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{0}\">\n{5}</svg>\n"
      "<div class=\"xs\">{6}</div><div class=\"x\">{7}</div></div>\n</div>\n",
      escape(chart.title), chart.legend ? legend(chart) : "", left, width, height, svg, below, escape(chart.x_label));
}

}  // namespace tessera::report
