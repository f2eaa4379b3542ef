#pragma once
// A tensor is a handle: shared storage, an offset, a shape and, while a tape records, the slot of its gradient.
// Contiguous, row-major, one type `real`. reshape() is free and keeps the slot; rows() is free for untracked tensors.
// Activations are channels-last: an image (B, H, W, C) and its tokens (B, H*W, C) are the same memory.
#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/real.h"
#include "core/shape.h"

namespace tessera {
inline namespace TESSERA_NS {

struct PackedWeight;  // panels of a weight in the order a GEMM kernel reads them (core/gemm.h)

/// What makes a storage a parameter (or a buffer). Lives in the storage, so that freezing, the EMA swap and packed
/// panels reach every layer's handle.
struct Leaf {
  int index = 0;           ///< position in Params, and in Grads
  bool trainable = false;  ///< false: buffers and frozen parameters; their gradient is never computed
  std::string name;        ///< "blocks.3.mlp.fc1.weight"
  std::atomic<PackedWeight*> packed{nullptr};
  ~Leaf();
};

class Storage {
 public:
  explicit Storage(int64_t size);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  real* data;  ///< exchanged with another buffer of the same size by the EMA swap
  int64_t size;
  std::unique_ptr<Leaf> leaf;
  std::atomic<int> handles{0};
  static void* operator new(size_t bytes);
  static void operator delete(void* block) noexcept;
};

class Tensor {
 public:
  Tensor() = default;  ///< the empty tensor: false, no storage
  /// Uninitialised memory of the given shape (see zeros()).
  explicit Tensor(const Shape& shape);
  Tensor(const Tensor& o) : node(o.node), storage_(o.storage_), offset_(o.offset_), shape_(o.shape_) {
    if (storage_) storage_->handles.fetch_add(1, std::memory_order_relaxed);
  }
  Tensor(Tensor&& o) noexcept
      : node(o.node), storage_(std::exchange(o.storage_, nullptr)), offset_(o.offset_), shape_(o.shape_) {}
  Tensor& operator=(Tensor o) noexcept {
    std::swap(storage_, o.storage_);
    offset_ = o.offset_, shape_ = o.shape_, node = o.node;
    return *this;
  }
  ~Tensor() {
    if (storage_ && storage_->handles.fetch_sub(1, std::memory_order_acq_rel) == 1) delete storage_;
  }

  explicit operator bool() const { return storage_ != nullptr; }
  real* data() const { return storage_->data + offset_; }
  real& operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return shape_.size(); }
  const Shape& shape() const { return shape_; }
  int dim(int i) const { return shape_[i]; }
  int rank() const { return shape_.rank; }
  std::span<real> values() const { return {data(), static_cast<size_t>(size())}; }
  Storage* storage() const { return storage_; }
  Leaf* leaf() const { return storage_ ? storage_->leaf.get() : nullptr; }
  bool unique() const { return storage_ && storage_->handles.load(std::memory_order_acquire) == 1; }

  /// `const auto [B, N, C] = x.dims<3>();` names the extents and checks the rank. Throws Error.
  template <int R>
  std::array<int, R> dims() const {
    if (shape_.rank != R) fail("dims", "expected {} dimensions, got {}", R, shape_.str());
    std::array<int, R> a{};
    for (int i = 0; i < R; ++i) a[static_cast<size_t>(i)] = shape_[i];
    return a;
  }
  /// The same memory and the same gradient slot under another shape of equal size; one extent may be -1.
  Tensor reshape(std::initializer_list<int> extents) const;
  Tensor reshape(const Shape& shape) const;
  /// Rows [a, b) of the first dimension, sharing memory. Only for untracked tensors (a batch cut into shards).
  Tensor rows(int a, int b) const;
  /// The same memory as an untracked tensor: the tape does not see through it.
  Tensor detach() const {
    Tensor t(*this);
    t.node = -1;
    return t;
  }
  /// The same gradient slot and shape without the values: what a pullback captures of an input whose values it does not
  /// need, so that their memory is free again before the backward pass. A leaf keeps its storage.
  Tensor slot() const {
    if (node < 0) return tracked_leaf() ? *this : Tensor();
    Tensor t;
    t.shape_ = shape_, t.node = node;
    return t;
  }
  /// A deep copy, untracked.
  Tensor copy() const;

  bool tracked_leaf() const { return storage_ && storage_->leaf && storage_->leaf->trainable; }

  int node = -1;  ///< gradient slot on the current thread's tape, -1 if it has none

 private:
  Storage* storage_ = nullptr;
  int64_t offset_ = 0;
  Shape shape_;
};

Tensor zeros(const Shape& shape);
Tensor full(const Shape& shape, real value);
/// A tensor holding `values` (converted to real), for fixed tables and tests.
Tensor tensor(const Shape& shape, std::span<const double> values);

/// Does a gradient flow into x: the output of a recorded op, or a trainable parameter?
inline bool tracked(const Tensor& x) { return x.node >= 0 || x.tracked_leaf(); }

}  // namespace TESSERA_NS
}  // namespace tessera
