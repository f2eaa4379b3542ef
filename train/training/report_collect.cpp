#include "tessera/train/training/report_collect.h"

#include <algorithm>
#include <numeric>

#include "tessera/train/data/set.h"
#include "tessera/train/training/report_tables.h"

namespace tessera::report {
namespace {

Sample sample(const Evaluation& e, const data::Set& set, size_t i) {
  Sample s;
  s.height = set.h, s.width = set.w, s.channels = set.channels;
  s.pixels.assign(set.image(i), set.image(i) + set.bytes());
  s.truth = set.label(i), s.predicted = e.predictions[i];
  s.probability = static_cast<double>(e.probabilities[i]);
  return s;
}

std::vector<Sample> pictures(const Evaluation& e, const data::Set& set, size_t samples) {
  if (set.channels != 1 && set.channels != 3) return {};
  std::vector<Sample> all;
  constexpr size_t most_bytes = 48 << 20;  // of pictures: the file can then be read back, and the page be opened
  samples = std::min(samples, most_bytes / set.bytes());
  const size_t spread = std::min(samples / 2, set.size());
  for (size_t i = 0; i < spread; ++i)
    if (const size_t which = i * set.size() / spread; e.predictions[which] != no_class)
      all.push_back(sample(e, set, which));
  std::vector<size_t> wrong;
  for (size_t i = 0; i < set.size(); ++i)
    if (e.predictions[i] != set.label(i) && e.predictions[i] != no_class) wrong.push_back(i);
  std::stable_sort(wrong.begin(), wrong.end(),
                   [&](size_t a, size_t b) { return e.probabilities[a] > e.probabilities[b]; });
  wrong.resize(std::min(wrong.size(), samples - spread));
  for (const size_t i : wrong) all.push_back(sample(e, set, i));
  return all;
}

}  // namespace

Data collect(const Evaluation& e, const data::Source& source, const Params& params, const PositionTables& positions,
             size_t samples) {
  Data d;
  d.classes = source.class_names;
  if (d.classes.empty())
    for (int k = 0; k < source.classes; ++k) d.classes.push_back(std::to_string(k));
  d.confusion = e.confusion;
  if (const auto* set = dynamic_cast<const data::Set*>(&source)) d.samples = pictures(e, *set, samples);
  d.tables = position_tables(params, positions);
  return d;
}

}  // namespace tessera::report
