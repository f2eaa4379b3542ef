// Pictures of single runs on a study's page: attention by offset for all groups, and folded, single queries and learned tables.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/train/lab/page_parts.h"
#include "tessera/train/lab/page_pictures.h"
#include "tessera/train/report/html.h"
#include "tessera/train/report/picture.h"

namespace tessera::lab {
namespace {

/// A weight beside what an even spread over the picture would give, on the scale of pictures: blue (negative there) is more, red is less, full
/// colour is eight times as much.
double beside_even(const Raster& r, int y, int x, double even) {
  const double v = r.at(static_cast<size_t>(y) * static_cast<size_t>(r.w) + static_cast<size_t>(x));
  if (std::isnan(v) || !(even > 0)) return static_cast<double>(NAN);
  return std::clamp(-std::log2(std::max(v, 1e-6) / even) / 3, -1.0, 1.0);
}

double mean(const Raster& r) {
  double sum = 0, n = 0;
  for (size_t i = 0; i < r.values.size(); ++i)
    if (const double v = r.at(i); !std::isnan(v)) sum += v, ++n;
  return n > 0 ? sum / n : 0;
}

/// Rasters side by side, `columns` in a row, a cell of background between them.
std::string mosaic(const std::vector<const Raster*>& of, size_t columns, const std::string& alt, int pitch) {
  int h = 0, w = 0;
  for (const Raster* r : of) h = std::max(h, r->h), w = std::max(w, r->w);
  if (h == 0 || w == 0) return "";
  const int rows = static_cast<int>((of.size() + columns - 1) / columns);
  const int H = rows * (h + 1) - 1, W = static_cast<int>(std::min(columns, of.size())) * (w + 1) - 1;
  std::vector<double> even;
  for (const Raster* r : of) even.push_back(mean(*r));
  const auto value = [&](int y, int x) {
    const size_t i = static_cast<size_t>(y / (h + 1)) * columns + static_cast<size_t>(x / (w + 1));
    const int yy = y % (h + 1), xx = x % (w + 1);
    if (i >= of.size() || yy >= of[i]->h || xx >= of[i]->w) return static_cast<double>(NAN);
    return beside_even(*of[i], yy, xx, even[i]);
  };
  return "<div class=\"mosaic\">" + report::heat_map(H, W, value, alt, W * pitch) + "</div>\n";
}

std::string offsets(const Scene& scene) {
  std::vector<const Raster*> blocks;
  for (const AttentionPicture& a : scene.attention)
    if (!a.offsets.values.empty()) blocks.push_back(&a.offsets);
  if (blocks.empty()) return "";
  int w = 1;
  for (const Raster* r : blocks) w = std::max(w, r->w);
  const size_t columns = std::min<size_t>(blocks.size(), 12);
  return mosaic(blocks, columns, "mean weight of attention by offset, block after block",
                std::clamp(840 / (static_cast<int>(columns) * (w + 1)), 1, 6));
}

std::string queries(const Scene& scene) {
  std::string html;
  for (const AttentionPicture& a : scene.attention) {
    std::vector<const Raster*> maps;
    for (const Raster& r : a.weights) maps.push_back(&r);
    std::string names;
    for (const std::string& name : a.maps) names += (names.empty() ? "" : "; ") + name;
    if (!maps.empty())
      html += fmt::format("<p><small>block {}: {}</small></p>\n", a.block, report::escape(names)) +
              mosaic(maps, 12, names, 5);
  }
  return html;
}

}  // namespace

std::string study_pictures(const Findings& study) {
  if (study.pictures.empty()) return "";
  std::string overview, folded;
  for (const Scene& scene : scenes_in(study.pictures, "pictures.json")) {
    const auto it = std::ranges::find_if(study.groups, [&](const StudyGroup& g) { return g.keys == scene.keys; });
    if (it == study.groups.end()) continue;
    const std::string label = chip(it->encoding, report::breakable(study.label(*it)) + dagger(*it));
    if (const std::string picture = offsets(scene); !picture.empty())
      overview += fmt::format("<tr {}><td>{}</td><td>{}</td></tr>\n", mark(*it), label, picture);
    std::string tables;
    for (const report::Table& t : scene.tables) tables += report::table_card(t);
    if (!tables.empty()) tables = "<div class=\"tables\">\n" + tables + "</div>\n";
    const std::string maps = queries(scene);
    if (!tables.empty() || !maps.empty())
      folded += fmt::format(
          "<details class=\"card\"><summary>{}<small>{}{}{}, seed {}</small></summary>\n{}{}</details>\n", label,
          maps.empty() ? "" : "attention of single queries", maps.empty() || tables.empty() ? "" : " and ",
          tables.empty() ? "" : "learned tables", report::escape(scene.seed), maps, tables);
  }
  if (!overview.empty())
    overview = "<div class=\"card scroll\"><table class=\"dense\"><tbody class=\"sifted\">\n" + overview +
               "</tbody></table></div>\n";
  return overview.empty() && folded.empty()
             ? ""
             : report::section(
                   "Pictures of attention and tables",
                   "Of the first seed. By offset: the mean weight of a key at each distance from its query, block "
                   "after block; the query is in the middle. Blue is more "
                   "than the mean of a picture, red is less, full colour eight times as much; a picture without "
                   "colours is attention that looks everywhere alike.",
                   overview + (folded.empty() ? "" : "<div class=\"stack behind\">\n" + folded + "</div>\n"));
}

}  // namespace tessera::lab
