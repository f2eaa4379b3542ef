#pragma once
// Whole numbers of a batch on the host: lengths, token numbers. A handle like a tensor: copies share the memory, which comes from the
// pools, and rows() is free, so that a batch is cut into shards without a call of malloc. No gradient flows here.
#include <initializer_list>
#include <span>

#include "tessera/core/tensor.h"

namespace tessera {
inline namespace TESSERA_NS {

class Ints {
 public:
  Ints() = default;  ///< none: false
  /// Uninitialised memory for `count` rows of `width` numbers; of no rows: none.
  explicit Ints(int count, int width = 1);
  /// A copy of `values`, one a row.
  Ints(std::span<const int32_t> values);  // NOLINT: implicit by design
  Ints(const Index& values);              // NOLINT: implicit by design
  Ints(std::initializer_list<int32_t> values);

  explicit operator bool() const { return values_ != nullptr; }
  int count() const { return count_; }  ///< rows
  int width() const { return width_; }  ///< numbers in each
  size_t size() const { return static_cast<size_t>(count_) * static_cast<size_t>(width_); }
  bool empty() const { return size() == 0; }
  int32_t* data() const { return values_; }
  int32_t operator[](size_t i) const { return values_[i]; }
  std::span<const int32_t> view() const { return {values_, size()}; }
  operator std::span<const int32_t>() const { return view(); }  // NOLINT: what ops take
  const int32_t* begin() const { return values_; }
  const int32_t* end() const { return values_ + size(); }
  /// Rows [a, b), sharing memory; of none, none. Throws Error if there are no such rows.
  Ints rows(int a, int b) const;
  /// The same memory as rows of another width. Throws Error if that is another size.
  Ints reshape(int count, int width) const;
  /// Is this the only handle of its memory?
  bool unique() const { return owner_.unique(); }
  friend bool operator==(const Ints& a, const Ints& b) { return a.equals(b.values_, b.size()); }
  friend bool operator==(const Ints& a, const Index& b) { return a.equals(b.data(), b.size()); }

 private:
  bool equals(const int32_t* values, size_t size) const;
  Tensor owner_;
  int32_t* values_ = nullptr;
  int count_ = 0, width_ = 1;
};

}  // namespace TESSERA_NS
}  // namespace tessera
