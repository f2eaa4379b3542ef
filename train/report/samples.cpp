#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tessera/train/report/html.h"
#include "tessera/train/report/page.h"
#include "tessera/train/report/picture.h"

namespace tessera::report {
namespace {

std::string sample(const Data& data, const Sample& s) {
  const std::string truth = escape(data.classes[size_t(s.truth)]),
                    predicted = escape(data.classes[size_t(s.predicted)]);
  const bool right = s.truth == s.predicted, known = std::isfinite(s.probability);
  const auto share = [&](int digits) { return known ? fmt::format("{:.{}f} %", 100 * s.probability, digits) : none; };
  return fmt::format(
      "<div class=\"sample\" title=\"true: {}, predicted: {} with {}\">{}<p{}>{}{}</p><p class=\"was\">{}</p><div "
      "class=\"bar\"><i{} style=\"width: {:.0f}%\"></i></div></div>\n",
      truth, predicted, share(1), photo(s, data.classes[size_t(s.truth)]), right ? "" : " class=\"wrong\"",
      right ? "\u2713 " : "\u2717 ", predicted, right ? share(0) : share(0) + ", is " + truth,
      right ? "" : " class=\"no\"", known ? 100 * std::clamp(s.probability, 0.0, 1.0) : 0.0);
}

}  // namespace

std::string samples(const Data& data) {
  if (data.samples.empty()) return "";
  std::vector<const Sample*> order;
  for (const Sample& s : data.samples) order.push_back(&s);
  std::stable_sort(order.begin(), order.end(), [](const Sample* a, const Sample* b) {
    const bool ra = a->truth == a->predicted, rb = b->truth == b->predicted;
    return ra != rb ? !ra : a->probability > b->probability;
  });
  std::string wrong, right;
  for (const Sample* s : order) (s->truth == s->predicted ? right : wrong) += sample(data, *s);
  const auto group = [](const char* heading, const std::string& html) {
    return html.empty()
               ? ""
               : fmt::format("<div class=\"card\"><h2 class=\"sub\">{}</h2>\n<div class=\"samples\">\n{}</div></div>\n",
                             heading, html);
  };
  return section(
      "Sample predictions",
      "From the " + data.split + " split, the surest first; the bar is the probability of the predicted class.",
      "<div class=\"stack\">\n" + group("Mistakes", wrong) + group("Correct", right) + "</div>\n");
}

}  // namespace tessera::report
