#pragma once
// A tensor is a handle: shared storage, an offset, a shape and, while a tape records, the slot of its gradient. The slot
// carries the serial of its tape and a parameter that of its Params, so that a handle used where it does not belong is an
// Error and never a number.
// Contiguous, row-major, one type `real`. reshape() is free and keeps the slot; rows() is free for untracked tensors.
// Activations are channels-last: an image (B, H, W, C) and its tokens (B, H*W, C) are the same memory.
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "tessera/core/error.h"
#include "tessera/core/real.h"
#include "tessera/core/shape.h"

namespace tessera {
inline namespace TESSERA_NS {

struct PackedWeight;  // panels of a weight in the order a GEMM kernel reads them (core/gemm.h)

/// What makes a storage a parameter (or a buffer). Lives in the storage, so that freezing, the EMA swap and packed
/// panels reach every layer's handle.
struct Leaf {
  uint64_t params = 0;  ///< serial of the Params it was born in: index alone says nothing where there are two of them
  int index = 0;        ///< position in its Params
  bool trainable = false;  ///< false: buffers and frozen parameters; their gradient is never computed
  std::string name;        ///< "blocks.3.mlp.fc1.weight"
  std::atomic<PackedWeight*> packed{nullptr};
  /// Somebody holds a pointer through which the values may change at any time: no panels are kept until Params::commit().
  std::atomic<bool> lent{false};
  ~Leaf();
};

class Storage {
 public:
  explicit Storage(int64_t size);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  int64_t size;
  std::unique_ptr<Leaf> leaf;
  std::atomic<int> handles{0};
  static void* operator new(size_t bytes);
  static void operator delete(void* block) noexcept;

 private:
  friend class Tensor;  // the only door to the values
  real* data_;
};

class Tensor {
 public:
  Tensor() = default;  ///< the empty tensor: false, no storage
  /// Uninitialised memory of the given shape (see zeros()).
  explicit Tensor(const Shape& shape);
  Tensor(const Tensor& o) : storage_(o.storage_), offset_(o.offset_), tape_(o.tape_), node_(o.node_), shape_(o.shape_) {
    if (storage_) storage_->handles.fetch_add(1, std::memory_order_relaxed);
  }
  Tensor(Tensor&& o) noexcept
      : storage_(std::exchange(o.storage_, nullptr)),
        offset_(o.offset_),
        tape_(o.tape_),
        node_(o.node_),
        shape_(o.shape_) {}
  Tensor& operator=(Tensor o) noexcept {
    std::swap(storage_, o.storage_);
    offset_ = o.offset_, tape_ = o.tape_, node_ = o.node_, shape_ = o.shape_;
    return *this;
  }
  ~Tensor() {
    if (storage_ && storage_->handles.fetch_sub(1, std::memory_order_acq_rel) == 1) delete storage_;
  }

  explicit operator bool() const { return storage_ != nullptr; }
  /// The values, to be read or written; so are [] and values(). Of a parameter the pointer counts as lent: products pack the
  /// weight anew each time, so that a value written at any later moment is seen, until Params::commit() takes it back.
  real* data() const {
    if (storage_->leaf) [[unlikely]]
      lend();
    return storage_->data_ + offset_;
  }
  real& operator[](int64_t i) const { return data()[i]; }
  int64_t size() const { return shape_.size(); }
  const Shape& shape() const { return shape_; }
  int dim(int i) const { return shape_[i]; }
  int rank() const { return shape_.rank; }
  std::span<real> values() const { return {data(), static_cast<size_t>(size())}; }
  /// The values, to look at only: costs a parameter nothing.
  std::span<const real> read() const { return {storage_->data_ + offset_, static_cast<size_t>(size())}; }
  /// The values of a parameter that are replaced before the next op runs, by the optimiser or a file: its panels are dropped, and
  /// nothing is lent. Whoever keeps the pointer longer needs data().
  std::span<real> rewrite() const;
  /// Exchanges the values with those of `o`, for all handles of both at once (the EMA swap). Throws Error unless both are whole
  /// storages of one size.
  void exchange_values(const Tensor& o) const;
  Storage* storage() const { return storage_; }
  int64_t offset() const { return offset_; }  ///< of the first value in its storage
  Leaf* leaf() const { return storage_ ? storage_->leaf.get() : nullptr; }
  bool unique() const { return storage_ && storage_->handles.load(std::memory_order_acquire) == 1; }

  /// `const auto [B, N, C] = x.dims<3>();` names the extents and checks the rank. Throws Error.
  template <int R>
  std::array<int, R> dims() const {
    if (shape_.rank != R) wrong_rank(R);
    std::array<int, R> a{};
    for (int i = 0; i < R; ++i) a[static_cast<size_t>(i)] = shape_[i];
    return a;
  }
  /// The same memory and the same gradient slot under another shape of equal size; one extent may be -1.
  Tensor reshape(std::initializer_list<int> extents) const;
  Tensor reshape(const Shape& shape) const;
  /// Rows [a, b) of the first dimension, sharing memory. Only for untracked tensors (a batch cut into shards); throws Error on a
  /// parameter, and on an op's output while a tape records.
  Tensor rows(int a, int b) const;
  /// The same memory as an untracked tensor: the tape does not see through it, of a parameter neither. For what outlives its tape:
  /// a memory bank, a target network's output, a recurrent state carried from step to step. For many ops at once: NoGrad (core/tape.h).
  Tensor detach() const {
    Tensor t(*this);
    t.tape_ = 0, t.node_ = detached;
    return t;
  }
  /// The same gradient slot and shape without the values: what a pullback captures of an input whose values it does not
  /// need, so that their memory is free again before the backward pass. A leaf keeps its storage.
  Tensor slot() const {
    if (node_ < 0) return tracked_leaf() ? *this : Tensor();
    Tensor t;
    t.shape_ = shape_, t.tape_ = tape_, t.node_ = node_;
    return t;
  }
  /// A deep copy, untracked.
  Tensor copy() const;

  bool tracked_leaf() const { return node_ == none && storage_ && storage_->leaf && storage_->leaf->trainable; }
  /// Has it a slot, on whichever tape?
  bool recorded() const { return node_ >= 0; }
  /// Is the gradient of both the same buffer?
  bool same_gradient(const Tensor& o) const {
    return recorded() || o.recorded() ? node_ == o.node_ && tape_ == o.tape_ : storage_ == o.storage_;
  }

 private:
  [[noreturn]] void wrong_rank(int expected) const;
  friend class Tape;
  friend class Back;
  void lend() const;

  static constexpr int none = -1, detached = -2;
  Storage* storage_ = nullptr;
  int64_t offset_ = 0;
  uint64_t tape_ = 0;  // serial of the tape that owns the slot
  int node_ = none;    // the gradient's slot there
  Shape shape_;
};

Tensor zeros(const Shape& shape);
Tensor full(const Shape& shape, real value);
/// Bytes of its values, for a Memo.
inline size_t bytes_of(const Tensor& t) { return t ? static_cast<size_t>(t.size()) * sizeof(real) : 0; }
/// A tensor holding `values` (converted to real), for fixed tables and tests.
Tensor tensor(const Shape& shape, std::span<const double> values);

/// Does a gradient flow into x: the output of a recorded op, or a trainable parameter?
inline bool tracked(const Tensor& x) { return x.recorded() || x.tracked_leaf(); }

}  // namespace TESSERA_NS
}  // namespace tessera
