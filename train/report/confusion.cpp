#include "train/report/confusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/report/html.h"

namespace tessera::report {
namespace {

constexpr size_t most_cells = 200, labelled = 32, listed = 10;

std::string shortened(const std::string& name) {
  constexpr size_t most = 12;
  if (name.size() <= most) return name;
  size_t n = most - 1;
  while (n > 0 && (static_cast<unsigned char>(name[n]) & 0xc0) == 0x80) --n;  // not inside a UTF-8 sequence
  return name.substr(0, n) + "\u2026";
}

/// A cell's ink is the share of its row, by its square root: the diagonal would drown the rest.
std::string matrix(const Data& data, const std::vector<double>& total) {
  const size_t K = data.classes.size();
  const bool names = K <= labelled, counts = K <= 20;
  const double left = names ? 84 : 24, top = names ? 64 : 24, size = 560, cell = size / double(K),
               gap = K <= 32 ? 2 : 0;
  std::string svg = fmt::format("<svg viewBox=\"0 0 {0} {1}\" role=\"img\" aria-label=\"confusion matrix\">\n",
                                left + size + 8, top + size + 4);
  svg +=
      fmt::format("<text class=\"name\" x=\"{}\" y=\"12\" text-anchor=\"middle\">predicted</text>\n", left + size / 2);
  svg += fmt::format(
      "<text class=\"name\" transform=\"translate(11 {}) rotate(-90)\" text-anchor=\"middle\">true</text>\n",
      top + size / 2);
  for (size_t i = 0; i < K && names; ++i) {
    const double at = (double(i) + 0.5) * cell;
    const std::string name = escape(shortened(data.classes[i]));
    svg += fmt::format("<text class=\"name\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", left - 6,
                       top + at + 3.7, name);
    svg += fmt::format("<text class=\"name\" transform=\"translate({:.1f} {}) rotate(-35)\">{}</text>\n", left + at - 3,
                       top - 6, name);
  }
  for (size_t i = 0; i < K; ++i) {
    for (size_t j = 0; j < K; ++j) {
      const auto n = static_cast<double>(data.confusion[i][j]);
      if (n == 0 && !counts) continue;
      const double share = total[i] > 0 ? n / total[i] : 0, ink = std::sqrt(share);
      const double x = left + double(j) * cell, y = top + double(i) * cell;
      svg += fmt::format(
          "<rect class=\"cell\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"{}\" "
          "fill-opacity=\"{:.3f}\"><title>{} taken for "
          "{}: {} of {} ({:.1f} %)</title></rect>\n",
          x + gap / 2, y + gap / 2, cell - gap, cell - gap, gap > 0 ? 3 : 0, 0.04 + 0.96 * ink, escape(data.classes[i]),
          escape(data.classes[j]), n, total[i], 100 * share);
      if (counts && n > 0) {
        svg += fmt::format("<text class=\"count{}\" pointer-events=\"none\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                           ink > 0.6 ? " over" : "", x + cell / 2, y + cell / 2 + 3.7, n);
      }
    }
  }
  return svg + "</svg>\n";
}

std::string pairs(const Data& data, const std::vector<double>& total) {
  struct Pair {
    size_t from, to;
    int64_t count;
  };
  std::vector<Pair> all;
  for (const Confusion::Cell& c : data.confusion.cells())
    if (c.label != c.prediction)
      all.push_back({static_cast<size_t>(c.label), static_cast<size_t>(c.prediction), c.count});
  std::stable_sort(all.begin(), all.end(), [](const Pair& a, const Pair& b) { return a.count > b.count; });
  std::string html =
      "<h3>Most often confused</h3>\n<table><thead><tr><th>true</th><th>predicted</th><th class=\"n\">images</th><th "
      "class=\"n\">share</th></tr></thead><tbody>\n";
  for (size_t i = 0; i < std::min(all.size(), listed); ++i) {
    html += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.1f} %</td></tr>\n",
                        escape(data.classes[all[i].from]), escape(data.classes[all[i].to]), all[i].count,
                        100 * double(all[i].count) / total[all[i].from]);
  }
  return html + "</tbody></table>\n";
}

}  // namespace

std::string confusion(const Data& data) {
  const size_t K = data.classes.size();
  if (data.confusion.empty() || K == 0) return "";
  std::vector<double> total;
  double right = 0, all = 0;
  for (size_t i = 0; i < K; ++i) {
    total.push_back(static_cast<double>(data.confusion[i].sum()));
    right += static_cast<double>(data.confusion[i][i]), all += total.back();
  }
  if (all == 0) return "";
  const std::string left = K <= most_cells ? "<div class=\"card\">" + matrix(data, total) + "</div>\n" : "";
  return section(
      "Confusion matrix",
      fmt::format("{} of {} images of the {} split are right ({:.2f} %). A row is a true class; the ink is the share "
                  "of the row.",
                  right, all, data.split, 100 * right / all),
      "<div class=\"confusion\">\n" + left + "<div class=\"card\">" + pairs(data, total) + "</div>\n</div>\n");
}

}  // namespace tessera::report
