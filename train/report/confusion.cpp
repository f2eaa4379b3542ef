#include "tessera/train/report/confusion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/train/report/html.h"

namespace tessera::report {
namespace {

constexpr size_t most_cells = 200, labelled = 32, counted = 20, listed = 10;

/// One entry of the matrix that is not zero.
struct Cell {
  size_t truth, predicted;
  int64_t count;
};

std::vector<Cell> cells(const Data& data) {
  std::vector<Cell> all;
  for (const Confusion::Cell& c : data.confusion.cells())
    all.push_back({static_cast<size_t>(c.label), static_cast<size_t>(c.prediction), c.count});
  return all;
}

/// At most 12 characters, the beginning and the end: names of one kind differ in either. A character is a UTF-8 sequence.
std::string shortened(const std::string& name) {
  constexpr size_t most = 12, tail = 5;
  std::vector<size_t> starts;
  for (size_t i = 0; i < name.size(); ++i)
    if ((static_cast<unsigned char>(name[i]) & 0xc0) != 0x80) starts.push_back(i);
  if (starts.size() <= most) return name;
  return name.substr(0, starts[most - tail - 1]) + "\u2026" + name.substr(starts[starts.size() - tail]);
}

std::string title(const Data& data, const Cell& c, const std::vector<double>& total) {
  return fmt::format("{} taken for {}: {} of {} ({:.1f} %)", escape(data.classes[c.truth]),
                     escape(data.classes[c.predicted]), c.count, total[c.truth],
                     100 * double(c.count) / total[c.truth]);
}

/// A cell's ink is the share of its row, by its square root: the diagonal would drown the rest.
double ink(const Cell& c, const std::vector<double>& total) { return std::sqrt(double(c.count) / total[c.truth]); }

/// Up to 32 classes with their names: HTML, so that names and counts stay readable on a phone.
std::string named(const Data& data, const std::vector<Cell>& all, const std::vector<double>& total) {
  const size_t K = data.classes.size();
  std::vector<std::string> grid(K * K, "<div class=\"cell\"></div>");
  int64_t largest = 0;
  for (const Cell& c : all) largest = std::max(largest, c.count);
  const size_t digits = std::to_string(largest).size();
  for (const Cell& c : all) {
    const double strength = ink(c, total);
    grid[c.truth * K + c.predicted] = fmt::format(
        "<div class=\"cell{}\" title=\"{}\"><i style=\"opacity: {:.3f}\"></i>{}</div>", strength > 0.75 ? " over" : "",
        title(data, c, total), 0.04 + 0.96 * strength, K <= counted ? fmt::format("<b>{}</b>", c.count) : "");
  }
  // a cell of a screen has about 640 / K pixels, one of a phone 230 / K; a digit takes 7 and 5.5
  const char* size = double(digits) * 5.5 * double(K) < 230 ? ""
                     : double(digits) * 7 * double(K) < 600 ? " wide"
                                                            : " bare";
  std::string html = fmt::format("<div class=\"matrix{}\" style=\"--classes: {}\">\n<span></span>", size, K);
  for (const std::string& name : data.classes)
    html += fmt::format("<span class=\"to\" title=\"{}\">{}</span>", escape(name), escape(shortened(name)));
  for (size_t i = 0; i < K; ++i) {
    const std::string& name = data.classes[i];
    html += fmt::format("\n<span class=\"is\" title=\"{}\">{}</span>", escape(name), escape(shortened(name)));
    for (size_t j = 0; j < K; ++j) html += grid[i * K + j];
  }
  return html + "\n</div>\n";
}

/// More classes: the cells alone.
std::string fine(const Data& data, const std::vector<Cell>& all, const std::vector<double>& total) {
  const size_t K = data.classes.size();
  std::string svg =
      fmt::format("<svg class=\"fine\" viewBox=\"0 0 {0} {0}\" role=\"img\" aria-label=\"confusion matrix\">\n", K);
  for (const Cell& c : all)
    svg += fmt::format(
        "<rect class=\"ink\" x=\"{}\" y=\"{}\" width=\"1\" height=\"1\" fill-opacity=\"{:.3f}\"><title>{}"
        "</title></rect>\n",
        c.predicted, c.truth, 0.04 + 0.96 * ink(c, total), title(data, c, total));
  return svg + "</svg>\n";
}

std::string pairs(const Data& data, std::vector<Cell> all, const std::vector<double>& total) {
  std::erase_if(all, [](const Cell& c) { return c.truth == c.predicted; });
  if (all.empty()) return "";
  std::stable_sort(all.begin(), all.end(), [](const Cell& a, const Cell& b) { return a.count > b.count; });
  std::string html =
      "<h3>Most often confused</h3>\n<table><thead><tr><th>true</th><th>predicted</th><th class=\"n\">samples</th><th "
      "class=\"n\">share</th></tr></thead><tbody>\n";
  for (size_t i = 0; i < std::min(all.size(), listed); ++i) {
    html += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.1f} %</td></tr>\n",
                        escape(data.classes[all[i].truth]), escape(data.classes[all[i].predicted]), all[i].count,
                        100 * double(all[i].count) / total[all[i].truth]);
  }
  return "<div class=\"card\">" + html + "</tbody></table></div>\n";
}

}  // namespace

std::string confusion(const Data& data) {
  const size_t K = data.classes.size();
  const std::vector<Cell> all = cells(data);
  if (all.empty() || K == 0) return "";
  std::vector<double> total(K);
  double right = 0, asked = 0;
  for (const Cell& c : all) {
    total[c.truth] += double(c.count), asked += double(c.count);
    if (c.truth == c.predicted) right += double(c.count);
  }
  std::string note = fmt::format("{} of {} samples of the {} split are right ({:.2f} %). ", right, asked, data.split,
                                 100 * right / asked);
  std::string picture;
  if (K <= most_cells) {
    picture =
        "<div class=\"card scroll\">" + (K <= labelled ? named(data, all, total) : fine(data, all, total)) + "</div>\n";
    note += "A row is a true class, a column a predicted one, in the same order; the ink is the share of the row.";
  } else {
    note += fmt::format("{} classes are too many for a picture.", K);
  }
  const std::string list = pairs(data, all, total);
  return section("Confusion matrix", note,
                 fmt::format("<div class=\"confusion{}\">\n{}{}</div>\n", list.empty() || picture.empty() ? " one" : "",
                             picture, list));
}

}  // namespace tessera::report
