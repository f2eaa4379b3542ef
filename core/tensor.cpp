#include "tessera/core/tensor.h"

#include <algorithm>
#include <cstring>

#include "tessera/core/gemm.h"
#include "tessera/core/memory.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {

Leaf::~Leaf() { free_packed(*this); }

Storage::Storage(int64_t n)
    : size(n), data_(static_cast<real*>(Pool::mine().take(static_cast<size_t>(n) * sizeof(real)))) {}
Storage::~Storage() { Pool::give(data_); }
void* Storage::operator new(size_t bytes) { return Pool::mine().take(bytes); }
void Storage::operator delete(void* block) noexcept { Pool::give(block); }

Tensor::Tensor(const Shape& shape) : storage_(new Storage(shape.size())), shape_(shape) { storage_->handles = 1; }

void Tensor::wrong_rank(int expected) const { fail("dims", "expected {} dimensions, got {}", expected, shape_.str()); }

void Tensor::lend() const {
  auto& lent = storage_->leaf->lent;
  if (!lent.load(std::memory_order_relaxed)) lent.store(true, std::memory_order_release);
}

std::span<real> Tensor::rewrite() const {
  if (Leaf* l = leaf()) drop_packed(*l);
  return {storage_->data_ + offset_, static_cast<size_t>(size())};
}

void Tensor::exchange_values(const Tensor& o) const {
  if (!storage_ || !o.storage_ || storage_->size != o.storage_->size || size() != storage_->size || o.size() != size())
    fail("exchange_values", "{} and {} are not whole storages of one size", shape_.str(), o.shape_.str());
  std::swap(storage_->data_, o.storage_->data_);
  for (const Tensor* t : {this, &o})
    if (Leaf* l = t->leaf()) drop_packed(*l);
}

Tensor Tensor::reshape(std::initializer_list<int> extents) const {
  Shape s;
  int unknown = -1;
  int64_t known = 1;
  for (int e : extents) {
    if (s.rank == Shape::max_rank) fail("reshape", "more than {} extents", Shape::max_rank);
    if (e == -1 && unknown < 0) {
      unknown = s.rank;
    } else if (e < 0) {
      fail("reshape", "the extent {}; one may be -1 and is found, the others are at least 0", e);
    } else {
      known *= e;
    }
    s.d[s.rank++] = e;
  }
  if (unknown >= 0) s[unknown] = known ? static_cast<int>(size() / known) : 0;
  return reshape(s);
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.size() != size())
    fail("reshape", "{} has {} elements, {} has {}", shape_.str(), size(), shape.str(), shape.size());
  Tensor t(*this);
  t.shape_ = shape;
  return t;
}

Tensor Tensor::rows(int a, int b) const {
  if (tracked_leaf() || (recorded() && context().tape))
    fail("rows", "a row view of a tracked tensor would lose its gradient; use slice(), or detach() it first");
  if (rank() < 1 || a < 0 || b < a || b > dim(0)) fail("rows", "rows [{}, {}) do not exist in {}", a, b, shape_.str());
  Tensor t(*this);
  t.offset_ += dim(0) ? a * (size() / dim(0)) : 0;
  t.shape_[0] = b - a;
  if (recorded()) {  // no tape records: the view is a value, and no slot of any tape is its own
    t.node_ = Tape::alive(tape_) ? detached : node_;
    t.tape_ = 0;
  }
  return t;
}

Tensor Tensor::copy() const {
  Tensor t(shape_);
  std::memcpy(t.data(), read().data(), static_cast<size_t>(size()) * sizeof(real));
  return t;
}

Tensor zeros(const Shape& shape) { return full(shape, 0); }

Tensor full(const Shape& shape, real value) {
  Tensor t(shape);
  std::fill_n(t.data(), t.size(), value);
  return t;
}

Tensor tensor(const Shape& shape, std::span<const double> values) {
  Tensor t(shape);
  if (static_cast<int64_t>(values.size()) != t.size())
    fail("tensor", "{} values for shape {}", values.size(), shape.str());
  std::transform(values.begin(), values.end(), t.data(), [](double v) { return static_cast<real>(v); });
  return t;
}

}  // namespace TESSERA_NS
}  // namespace tessera
