#include "core/tape.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/kernels/kernels.h"

namespace tessera {
inline namespace TESSERA_NS {

Context& context() {
  thread_local Context c;
  return c;
}

// ---- Grads ---------------------------------------------------------------------------------------------------------

Sink Grads::into(const Tensor& w) { return into(w.leaf()->index, w.shape()); }

Sink Grads::into(int leaf, const Shape& shape) {
  const auto i = static_cast<size_t>(leaf);
  if (grads_.size() <= i) grads_.resize(i + 1), seen_.resize(i + 1);
  if (!grads_[i]) grads_[i] = Tensor(shape);
  return {grads_[i].data(), static_cast<real>(std::exchange(seen_[i], char{1}))};
}

void Grads::add(const Tensor& w, const Tensor& dw) {
  const auto [to, beta] = into(w);
  if (beta == 0) {
    std::memcpy(to, dw.data(), static_cast<size_t>(dw.size()) * sizeof(real));
  } else {
    kernels().accumulate(dw.data(), to, dw.size());
  }
}

bool Grads::has(const Tensor& w) const {
  const auto i = static_cast<size_t>(w.leaf()->index);
  return i < seen_.size() && seen_[i];
}

Tensor Grads::of(const Tensor& w) const {
  if (!has(w)) fail("grads", "no gradient arrived at {}", w.leaf()->name);
  return grads_[static_cast<size_t>(w.leaf()->index)].reshape(w.shape());
}

void Grads::plus(const Grads& o) {
  if (grads_.size() < o.grads_.size()) grads_.resize(o.grads_.size()), seen_.resize(o.grads_.size());
  for (size_t i = 0; i < o.grads_.size(); ++i) {
    if (!o.seen_[i]) continue;
    if (!grads_[i]) grads_[i] = Tensor(o.grads_[i].shape());
    const auto n = grads_[i].size();
    if (std::exchange(seen_[i], char{1})) {
      kernels().accumulate(o.grads_[i].data(), grads_[i].data(), n);
    } else {
      std::memcpy(grads_[i].data(), o.grads_[i].data(), static_cast<size_t>(n) * sizeof(real));
    }
  }
}

// ---- Back ----------------------------------------------------------------------------------------------------------

Sink Back::into(const Tensor& x) {
  if (x.node < 0) return leaves_.into(x);
  Tensor& slot = tape_.slots_[static_cast<size_t>(x.node)];
  if (!slot) {
    slot = Tensor(x.shape());
    return {slot.data(), 0};
  }
  if (!slot.unique()) slot = slot.copy();  // a moved-in gradient may be shared with a sibling: y = a + b
  return {slot.data(), 1};
}

void Back::add(const Tensor& x, Tensor dx) {
  if (!wants(x)) return;
  if (dx.size() != x.size()) fail("backward", "gradient {} for a tensor {}", dx.shape().str(), x.shape().str());
  if (x.node < 0) return leaves_.add(x, dx);
  Tensor& slot = tape_.slots_[static_cast<size_t>(x.node)];
  if (!slot) {
    dx.node = -1;
    slot = std::move(dx);
    return;
  }
  const auto [to, beta] = into(x);
  kernels().accumulate(dx.data(), to, dx.size());
}

// ---- Tape ----------------------------------------------------------------------------------------------------------

// Closures are bump-allocated in chunks; vectors and chunks stay with the thread, so a steady step allocates nothing.
struct Tape::Memory {
  static constexpr size_t chunk = 64 * 1024;
  std::vector<std::unique_ptr<std::byte[]>> chunks;
  size_t current = 0, used = 0;
  std::vector<Node> nodes;
  std::vector<Tensor> slots;
  std::vector<char> watched;

  void* take(size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    if (bytes > chunk) fail("tape", "a pullback captures {} bytes, more than {}", bytes, chunk);
    if (chunks.empty()) chunks.push_back(std::make_unique<std::byte[]>(chunk + 64));
    if (used + bytes > chunk) {
      ++current, used = 0;
      if (current == chunks.size()) chunks.push_back(std::make_unique<std::byte[]>(chunk + 64));
    }
    std::byte* base = chunks[current].get();
    base += (64 - reinterpret_cast<uintptr_t>(base) % 64) % 64;
    return base + std::exchange(used, used + bytes);
  }
  static Memory*& idle() {
    struct Keeper {
      Memory* memory = nullptr;
      ~Keeper() { delete memory; }
    };
    thread_local Keeper keeper;
    return keeper.memory;
  }
};

Tape::Tape() : memory_(std::exchange(Memory::idle(), nullptr)), previous_(std::exchange(context().tape, this)) {
  if (!memory_) memory_ = new Memory;
  nodes_ = std::move(memory_->nodes), slots_ = std::move(memory_->slots), watched_ = std::move(memory_->watched);
}

Tape::~Tape() {
  while (!nodes_.empty()) pop();
  slots_.clear(), watched_.clear();
  memory_->nodes = std::move(nodes_), memory_->slots = std::move(slots_), memory_->watched = std::move(watched_);
  memory_->current = memory_->used = 0;
  if (Memory::idle()) {
    delete memory_;  // an inner tape: the outer one's memory is already waiting
  } else {
    Memory::idle() = memory_;
  }
  context().tape = previous_;
}

void* Tape::closure(size_t bytes) { return memory_->take(bytes); }

int Tape::push(const char* op, const Shape& y0, const Shape* y1, void* closure, Pull pull, Destroy destroy) {
  const int slot = static_cast<int>(slots_.size());
  nodes_.push_back({op, pull, destroy, closure, slot, {y0, y1 ? *y1 : Shape()}, y1 ? 2 : 1});
  slots_.resize(slots_.size() + (y1 ? 2 : 1));
  watched_.resize(slots_.size());
  return slot;
}

void Tape::pop() {
  const Node n = nodes_.back();
  nodes_.pop_back();
  n.destroy(n.closure);
}

Tensor Tape::watch(Tensor x) {
  struct Nothing {};
  void* c = new (closure(sizeof(Nothing))) Nothing;
  x.node = push(
      "watch", x.shape(), nullptr, c, [](void*, const Tensor&, const Tensor&, Back&) {}, [](void*) noexcept {});
  watched_[static_cast<size_t>(x.node)] = 1;
  return x;
}

void Tape::backward(const Tensor& loss, Grads& grads, real seed) { backward(loss, full(loss.shape(), seed), grads); }

void Tape::backward(const Tensor& y, const Tensor& dy, Grads& grads) {
  if (y.node < 0)
    fail("backward", "the loss depends on no tracked tensor: no trainable parameter, or no tape was alive");
  if (!(dy.shape() == y.shape())) fail("backward", "cotangent {} for an output {}", dy.shape().str(), y.shape().str());
  Back back(*this, grads);
  back.add(y, dy.copy());
  while (!nodes_.empty()) {
    const Node& n = nodes_.back();
    Tensor d[2];
    for (int k = 0; k < n.outputs; ++k) {
      Tensor& slot = slots_[static_cast<size_t>(n.slot + k)];
      if (!slot) continue;
      d[k] = slot.reshape(n.shape[k]);
      if (!watched_[static_cast<size_t>(n.slot + k)]) slot = Tensor();
    }
    if (d[0] || d[1]) n.pull(n.closure, d[0], d[1], back);
    pop();
  }
}

bool any_tracked(Inputs inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const Tensor* x) { return x && tracked(*x); });
}

void observe(const Op& op, Inputs inputs, const Tensor& output) {
  if (Observer* o = context().observer) [[unlikely]]
    o->saw(op, Crumb::path(), inputs, output);
}

}  // namespace TESSERA_NS
}  // namespace tessera
