#include "train/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "train/report/html.h"

namespace tessera::report {
namespace {

constexpr double width = 560, height = 270, left = 50, right = 14, top = 10, bottom = 36;
constexpr size_t most_titles = 300;  // hover points a series; longer series get one at every few points

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

std::string plot(const Series& s, const Chart& chart, const Scale& x, const Scale& y) {
  std::string path;
  for (const auto& [a, b] : s.points) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", x(a), y(b));
  std::string svg = fmt::format("<path class=\"line\" style=\"stroke: var(--s{})\"{} d=\"{}\"/>\n", hue(s.color),
                                dash(s.color), path);
  const auto& [ex, ey] = s.points.back();
  svg += fmt::format("<circle class=\"end\" style=\"fill: var(--s{})\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n",
                     hue(s.color), x(ex), y(ey));
  const size_t stride = 1 + s.points.size() / most_titles;
  for (size_t i = 0; i < s.points.size(); i += stride) {
    const auto& [a, b] = s.points[i];
    svg += fmt::format(
        "<circle class=\"hit\" style=\"color: var(--s{})\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"7\"><title>{}{} {}: "
        "{}{}</title></circle>\n",
        hue(s.color), x(a), y(b), s.label.empty() ? "" : escape(s.label) + ", ", escape(chart.x_label), number(a, 6),
        number(b, 5), chart.unit);
  }
  return svg;
}

std::string legend(const Chart& chart) {
  std::string html = "<div class=\"legend\">";
  for (const Series& s : chart.series) {
    if (s.points.empty()) continue;
    const std::string mark = fmt::format(
        "<svg viewBox=\"0 0 18 8\" aria-hidden=\"true\"><path class=\"line\" style=\"stroke: var(--s{})\"{} d=\"M1 4 "
        "L17 4\"/></svg>",
        hue(s.color), dash(s.color));
    const double end = s.points.back().second;
    html +=
        fmt::format("<span>{}{}<b>{}{}</b></span>", s.label.empty() ? "" : mark,
                    s.label.empty() ? "last" : escape(s.label), number(end, std::abs(end) >= 1e4 ? 7 : 4), chart.unit);
  }
  return html + "</div>\n";
}

}  // namespace

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low)) {
    const double pad = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= pad, high += pad;
  }
  const double raw = (high - low) / count, power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (double nice : {5.0, 2.5, 2.0, 1.0})
    if (nice * power >= raw * 0.999) step = nice * power;
  std::vector<double> t;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) t.push_back(i * step);
  return t;
}

std::string line_chart(const Chart& chart) {
  double x0 = std::numeric_limits<double>::infinity(), x1 = -x0, y0 = x0, y1 = -x0;
  for (const Series& s : chart.series) {
    for (const auto& [a, b] : s.points)
      x0 = std::min(x0, a), x1 = std::max(x1, a), y0 = std::min(y0, b), y1 = std::max(y1, b);
  }
  if (x1 < x0) return "";
  if (chart.from_zero) y0 = std::min(y0, 0.0);
  const std::vector<double> ys = ticks(y0, y1, 5);
  if (x0 == x1) x0 -= 0.5, x1 += 0.5;
  std::vector<double> xs = ticks(x0, x1, 8);
  xs.erase(std::remove_if(xs.begin(), xs.end(), [&](double v) { return v < x0 || v > x1; }), xs.end());
  const Scale x{x0, x1, left, width - right}, y{ys.front(), ys.back(), height - bottom, top};

  std::string svg =
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", width, height, escape(chart.title));
  for (double v : ys) {
    svg += fmt::format("<line class=\"{}\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
                       v == ys.front() ? "axis" : "grid", left, width - right, y(v), y(v));
    const std::string text = std::abs(v) >= 10'000 ? si(v) : number(v);
    svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}{}</text>\n", left - 7, y(v) + 3.7, text,
                       chart.unit);
  }
  for (double v : xs) {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x(v), height - bottom + 15,
                       number(v, 6));
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (left + width - right) / 2,
                     height - 5, escape(chart.x_label));
  for (const Series& s : chart.series)
    if (!s.points.empty()) svg += plot(s, chart, x, y);
  return fmt::format("<div class=\"card chart\">\n<h3>{}</h3>\n{}{}</svg>\n</div>\n", escape(chart.title),
                     legend(chart), svg);
}

}  // namespace tessera::report
