#include "tessera/train/training/decoded.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {

DecodedScores evaluate_decoded(const Model& model, const data::Source& source, const DecodeOptions& options) {
  if (source.form().target == 0) fail("evaluate", "the samples of {} have no answers", source.name);
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::pair<bool, int64_t>> said(source.size());
  parallel::shards(static_cast<int>(source.size()), [&](int s) {
    const int32_t i = s;
    const Decoded d = decode(model, data::gather(source, std::span(&i, 1)).in, options)[0];
    const auto right = source.answer(static_cast<size_t>(i));
    said[static_cast<size_t>(i)] = {d.ended && std::ranges::equal(d.tokens, right), edit_distance(d.tokens, right)};
  });
  DecodedScores e;
  for (size_t i = 0; i < said.size(); ++i) {
    ++e.right.of, e.right.count += said[i].first;
    e.errors.count += said[i].second, e.errors.of += static_cast<int64_t>(source.answer(i).size());
  }
  e.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return e;
}

int64_t edit_distance(std::span<const int32_t> a, std::span<const int32_t> b) {
  std::vector<int64_t> row(b.size() + 1);  // of the distances of a[0, i) to b[0, j)
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t diagonal = std::exchange(row[0], row[0] + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t change = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({change, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

}  // namespace TESSERA_NS
}  // namespace tessera
