#include "train/report_collect.h"

#include <algorithm>
#include <numeric>

namespace tessera::report {
namespace {

constexpr int64_t largest_table = 1 << 16;  // values; what is larger makes no picture

Sample sample(const Evaluation& e, const data::Set& set, size_t i) {
  Sample s;
  s.height = set.h, s.width = set.w, s.channels = set.channels;
  s.pixels.assign(set.image(i), set.image(i) + set.bytes());
  s.truth = set.label(i), s.predicted = e.predictions[i];
  s.probability = static_cast<double>(e.probabilities[i]);
  return s;
}

/// The parameter as rows x channels: all dimensions but the last are rows.
Table table(const Params::Entry& p, std::string kind, const Grid& grid) {
  Table t;
  t.name = p.name, t.kind = std::move(kind);
  t.h = grid.h, t.w = grid.w, t.prefix = grid.prefix;
  t.values.assign(p.value.data(), p.value.data() + p.value.size());
  return t;
}

bool projection(std::string_view name) {
  for (const char* layer : {"qkv.", "q.", "k.", "v.", "kv.", "proj.", "norm", "q_norm.", "k_norm.", "sr."})
    if (name.starts_with(layer)) return true;
  return false;
}

}  // namespace

std::vector<Table> tables(const Params& params, const Places& places) {
  std::vector<Table> all;
  for (const auto& p : params.entries()) {
    if (p.buffer || p.value.size() == 0 || p.value.size() > largest_table || p.value.rank() < 1) continue;
    const int channels = p.value.dim(-1);
    const int64_t rows = p.value.size() / channels;
    for (const Spot& spot : places.tokens) {
      if (p.name != spot.name) continue;
      const Grid g = spot.trained;
      const int prefix = static_cast<int>(rows) - g.h * g.w;
      if (prefix != 0 && prefix != g.prefix) continue;
      all.push_back(table(p, "embedding", {g.h, g.w, prefix}));
      all.back().channels = channels;
    }
    for (const Site& site : places.sites) {
      if (!p.name.starts_with(site.path + ".") || projection(std::string_view(p.name).substr(site.path.size() + 1)))
        continue;
      const Window& window = site.trained.window;
      const int h = window.h ? window.h : site.trained.q.h, w = window.w ? window.w : site.trained.q.w;
      const Grid offsets{2 * h - 1, 2 * w - 1, 0};
      if (rows == int64_t{offsets.h} * offsets.w && channels == site.heads) {
        all.push_back(table(p, "offsets", offsets));
        all.back().channels = channels;
      } else if (p.value.rank() >= 2) {
        all.push_back(table(p, "matrix", {static_cast<int>(rows), channels, 0}));
      }
    }
  }
  return all;
}

Data collect(const Evaluation& e, const data::Set& set, const Params& params, const Places& places, size_t samples) {
  Data d;
  d.classes = set.class_names;
  if (d.classes.empty())
    for (int k = 0; k < set.classes; ++k) d.classes.push_back(std::to_string(k));
  d.confusion = e.confusion;
  if (set.channels == 1 || set.channels == 3) {
    const size_t spread = std::min(samples / 2, set.size());
    for (size_t i = 0; i < spread; ++i)
      if (const size_t which = i * set.size() / spread; e.predictions[which] != no_class)
        d.samples.push_back(sample(e, set, which));
    std::vector<size_t> wrong;
    for (size_t i = 0; i < set.size(); ++i)
      if (e.predictions[i] != set.label(i) && e.predictions[i] != no_class) wrong.push_back(i);
    std::stable_sort(wrong.begin(), wrong.end(),
                     [&](size_t a, size_t b) { return e.probabilities[a] > e.probabilities[b]; });
    wrong.resize(std::min(wrong.size(), samples - spread));
    for (const size_t i : wrong) d.samples.push_back(sample(e, set, i));
  }
  d.tables = tables(params, places);
  return d;
}

}  // namespace tessera::report
