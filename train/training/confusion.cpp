#include "tessera/train/training/confusion.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "tessera/core/error.h"

namespace tessera {
namespace {

using Cell = Confusion::Cell;

std::pair<int32_t, int32_t> place(const Cell& c) { return {c.label, c.prediction}; }

std::vector<Cell> cells_of(std::span<const std::vector<int64_t>> rows) {
  std::vector<Cell> cells;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].size() != rows.size())
      fail("confusion", "a row of the confusion matrix has {} numbers for {} classes", rows[i].size(), rows.size());
    for (size_t j = 0; j < rows.size(); ++j)
      if (rows[i][j] != 0) cells.push_back({static_cast<int32_t>(i), static_cast<int32_t>(j), rows[i][j]});
  }
  return cells;
}

}  // namespace

int64_t Confusion::Row::operator[](size_t prediction) const {
  const auto it = std::lower_bound(cells_.begin(), cells_.end(), prediction,
                                   [](const Cell& c, size_t p) { return static_cast<size_t>(c.prediction) < p; });
  return it != cells_.end() && static_cast<size_t>(it->prediction) == prediction ? it->count : 0;
}

int64_t Confusion::Row::sum() const {
  int64_t all = 0;
  for (const Cell& c : cells_) all += c.count;
  return all;
}

Confusion::Confusion(size_t classes, std::vector<Cell> cells) : classes_(classes) {
  constexpr int64_t most = int64_t{1} << 40;  // sums of counts stay far from the end of their type
  if (classes > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail("confusion", "{} classes are too many", classes);
  const auto is_class = [&](int32_t c) { return c >= 0 && static_cast<size_t>(c) < classes; };
  std::sort(cells.begin(), cells.end(), [](const Cell& a, const Cell& b) { return place(a) < place(b); });
  for (const Cell& c : cells) {
    if (!is_class(c.label) || !is_class(c.prediction))
      fail("confusion", "a count of the confusion matrix is of class {} taken for {}, but there are {} classes",
           c.label, c.prediction, classes);
    if (c.count < 0 || c.count > most) fail("confusion", "a count of the confusion matrix is {}", c.count);
    if (c.count == 0) continue;
    if (!cells_.empty() && place(cells_.back()) == place(c)) {
      cells_.back().count += c.count;
    } else {
      cells_.push_back(c);
    }
  }
}

Confusion::Confusion(std::span<const std::vector<int64_t>> rows) : Confusion(rows.size(), cells_of(rows)) {}
Confusion::Confusion(std::initializer_list<std::vector<int64_t>> rows)
    : Confusion(std::span(rows.begin(), rows.size())) {}

Confusion Confusion::count(size_t classes, std::span<const int32_t> labels, std::span<const int32_t> predictions) {
  if (labels.size() != predictions.size())
    fail("confusion", "{} labels for {} predictions", labels.size(), predictions.size());
  std::vector<Cell> cells;
  for (size_t i = 0; i < labels.size(); ++i)
    if (predictions[i] >= 0) cells.push_back({labels[i], predictions[i], 1});
  return {classes, std::move(cells)};
}

Confusion::Row Confusion::operator[](size_t label) const {
  const auto before = [](const Cell& c, size_t l) { return static_cast<size_t>(c.label) < l; };
  const auto first = std::lower_bound(cells_.begin(), cells_.end(), label, before);
  const auto last = std::lower_bound(first, cells_.end(), label + 1, before);
  return {{first, last}, classes_};
}

std::vector<std::vector<int64_t>> Confusion::dense() const {
  std::vector<std::vector<int64_t>> rows(classes_, std::vector<int64_t>(classes_));
  for (const Cell& c : cells_) rows[static_cast<size_t>(c.label)][static_cast<size_t>(c.prediction)] = c.count;
  return rows;
}

}  // namespace tessera
