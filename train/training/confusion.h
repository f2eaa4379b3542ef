#pragma once
// Which classes are taken for which. Only pairs that occur are kept: 10,000 classes have 100 million pairs, and a test set
// of as many images at most that many cells. Free of `real`.
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace tessera {

class Confusion {
 public:
  struct Cell {
    int32_t label = 0, prediction = 0;
    int64_t count = 0;
    friend bool operator==(const Cell&, const Cell&) = default;
  };

  /// The images of one label, by what they were taken for.
  class Row {
   public:
    /// Images taken for class `prediction`.
    int64_t operator[](size_t prediction) const;
    /// Images of the label.
    int64_t sum() const;
    /// Classes, as for the whole.
    size_t size() const { return classes_; }
    /// The cells that are not 0, by prediction.
    std::span<const Cell> cells() const { return cells_; }

   private:
    friend class Confusion;
    Row(std::span<const Cell> cells, size_t classes) : cells_(cells), classes_(classes) {}
    std::span<const Cell> cells_;
    size_t classes_;
  };

  /// Of no classes.
  Confusion() = default;
  /// From rows [label][prediction]. Throws Error unless they make a square of counts, none of them negative.
  Confusion(std::initializer_list<std::vector<int64_t>> rows);
  explicit Confusion(std::span<const std::vector<int64_t>> rows);
  /// From cells in any order; those of equal place are added. Throws Error on a class that is none or a negative count.
  Confusion(size_t classes, std::vector<Cell> cells);
  /// Counts the pairs (labels[i], predictions[i]). A negative prediction names no class and is not counted.
  static Confusion count(size_t classes, std::span<const int32_t> labels, std::span<const int32_t> predictions);

  size_t size() const { return classes_; }
  bool empty() const { return classes_ == 0; }
  /// The cells that are not 0, by label and then by prediction.
  std::span<const Cell> cells() const { return cells_; }
  Row operator[](size_t label) const;
  /// All classes x classes counts, for few classes.
  std::vector<std::vector<int64_t>> dense() const;
  friend bool operator==(const Confusion&, const Confusion&) = default;

 private:
  size_t classes_ = 0;
  std::vector<Cell> cells_;
};

}  // namespace tessera
