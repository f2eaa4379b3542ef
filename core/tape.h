#pragma once
// Reverse mode. While a Tape lives, every op on this thread appends one node: which slots it wrote and a pullback that
// turns dL/d(output) into dL/d(inputs). Nodes are appended in execution order, which is already topological, so backward()
// is a for-loop from the end; popping a node frees what its op saved. See docs/tape.md for the derivation.
//
//   Lane gradients (of parameters) live in Grads and outlive tapes; activation gradients live in the tape's slots.
#include <concepts>
#include <initializer_list>
#include <new>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Where a pullback writes a gradient: to = beta * to + contribution. beta is 0 on the first arrival and 1 later, which a
/// GEMM takes as it is; with beta 0 the memory is uninitialised and must be overwritten.
struct Sink {
  real* to;
  real beta;
};

/// Gradients of parameters, by Leaf::index. One per lane. Buffers are kept from step to step.
class Grads {
 public:
  Sink into(const Tensor& w);
  /// The same by Leaf::index, for whoever adds up the gradients of several lanes.
  Sink into(int leaf, const Shape& shape);
  void add(const Tensor& w, const Tensor& dw);
  bool has(const Tensor& w) const;
  /// dL/dw in w's shape. Throws Error if nothing arrived.
  Tensor of(const Tensor& w) const;
  /// Forgets the values, keeps the memory: the next arrival overwrites. Replaces zero_grad().
  void next_step() { seen_.assign(seen_.size(), 0); }
  /// this += o, leaf by leaf.
  void plus(const Grads& o);
  int leaves() const { return static_cast<int>(grads_.size()); }
  /// Leaf i's gradient, or the empty tensor if none arrived.
  Tensor at(int i) const {
    return i < leaves() && seen_[static_cast<size_t>(i)] ? grads_[static_cast<size_t>(i)] : Tensor();
  }

 private:
  std::vector<Tensor> grads_;
  std::vector<char> seen_;
};

class Tape;

/// What a pullback talks to.
class Back {
 public:
  Back(Tape& tape, Grads& leaves) : tape_(tape), leaves_(leaves) {}
  /// Compute a gradient only if somebody wants it: images, fixed tables and frozen weights cost nothing.
  bool wants(const Tensor& x) const { return tracked(x); }
  /// The gradient buffer of x, to be written as to = beta * to + contribution.
  Sink into(const Tensor& x);
  /// Adds dx to the gradient of x; the first arrival is moved in without a copy.
  void add(const Tensor& x, Tensor dx);

 private:
  Tape& tape_;
  Grads& leaves_;
};

/// What an op says of itself to the tape and to the observer.
struct Op {
  const char* name;                                      ///< "linear"
  double macs = 0;                                       ///< multiply-accumulates of the forward pass
  Op(const char* n, double m = 0) : name(n), macs(m) {}  // NOLINT: implicit by design, record("relu", ...)
};

/// Sees every op as it runs, tracked or not: inspect, NaN checks, export and pictures are observers.
struct Observer {
  virtual ~Observer() = default;
  virtual void saw(const Op& op, const std::string& path, std::span<const Tensor* const> inputs,
                   const Tensor& output) = 0;
};

/// Per-channel statistics of one BatchNorm call, handed to whoever updates running averages (the trainer, in shard order).
struct BatchStatistics {
  Tensor running_mean, running_var;  ///< the buffers (leaves) these belong to
  int64_t count;
  Tensor mean, m2;  ///< (C): mean and sum of squared deviations over this shard
};

/// The thread-local state of the engine. Set by the RAII objects Tape, Observing, Collecting only.
struct Context {
  Tape* tape = nullptr;
  Observer* observer = nullptr;
  std::vector<BatchStatistics>* statistics = nullptr;
};
Context& context();

class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// Walks the nodes backwards from dL/d(loss) = seed in every element. Leaf gradients go to `grads`.
  void backward(const Tensor& loss, Grads& grads, real seed = 1);
  /// The same from a given cotangent dy of y (same shape).
  void backward(const Tensor& y, const Tensor& dy, Grads& grads);
  /// A tracked copy of the handle: the gradient of an input that is no parameter, read with grad() after backward().
  Tensor watch(Tensor x);
  /// dL/dx of a watched tensor; empty if none arrived.
  Tensor grad(const Tensor& x) const {
    const Tensor& g = slots_[static_cast<size_t>(x.node)];
    return g ? g.reshape(x.shape()) : g;
  }
  int nodes() const { return static_cast<int>(nodes_.size()); }

  // --- used by record() ---
  using Pull = void (*)(void* closure, const Tensor& dy0, const Tensor& dy1, Back&);
  using Destroy = void (*)(void* closure) noexcept;
  /// Memory for a closure, freed with its node.
  void* closure(size_t bytes);
  /// Appends a node with `outputs` fresh slots; returns the first of them.
  int push(const char* op, const Shape& y0, const Shape* y1, void* closure, Pull pull, Destroy destroy);

 private:
  friend class Back;
  struct Node {
    const char* op;
    Pull pull;
    Destroy destroy;
    void* closure;
    int slot;
    Shape shape[2];
    int outputs;
  };
  struct Memory;  // vectors and arena, kept by the thread from tape to tape
  void pop();
  std::vector<Node> nodes_;
  std::vector<Tensor> slots_;
  std::vector<char> watched_;
  Memory* memory_;
  Tape* previous_;
};

using Inputs = std::span<const Tensor* const>;

template <class F>
concept Pullback = std::invocable<F&, const Tensor&, Back&>;
template <class F>
concept Pullback2 = std::invocable<F&, const Tensor&, const Tensor&, Back&>;

bool any_tracked(Inputs inputs);
void observe(const Op& op, Inputs inputs, const Tensor& output);

/// Ends every op: gives y its slot if any input is tracked and a tape records. There is no overload without a pullback.
/// pull(dy, back) must send a gradient to every input that back.wants().
template <Pullback F>
Tensor record(const Op& op, Tensor y, Inputs inputs, F pull) {
  observe(op, inputs, y);
  Tape* tape = context().tape;
  if (!tape || !any_tracked(inputs)) return y;
  void* closure = new (tape->closure(sizeof(F))) F(std::move(pull));
  y.node = tape->push(
      op.name, y.shape(), nullptr, closure,
      [](void* f, const Tensor& dy, const Tensor&, Back& back) { (*static_cast<F*>(f))(dy, back); },
      [](void* f) noexcept { static_cast<F*>(f)->~F(); });
  return y;
}
template <Pullback F>
Tensor record(const Op& op, Tensor y, std::initializer_list<const Tensor*> inputs, F pull) {
  return record(op, std::move(y), Inputs(inputs.begin(), inputs.size()), std::move(pull));
}

/// An op with two outputs; pull(dy0, dy1, back), where a gradient that never arrived is the empty tensor.
template <Pullback2 F>
std::pair<Tensor, Tensor> record(const Op& op, Tensor y0, Tensor y1, std::initializer_list<const Tensor*> in, F pull) {
  const Inputs inputs(in.begin(), in.size());
  observe(op, inputs, y0);
  Tape* tape = context().tape;
  if (!tape || !any_tracked(inputs)) return {std::move(y0), std::move(y1)};
  void* closure = new (tape->closure(sizeof(F))) F(std::move(pull));
  y0.node = tape->push(
      op.name, y0.shape(), &y1.shape(), closure,
      [](void* f, const Tensor& dy0, const Tensor& dy1, Back& back) { (*static_cast<F*>(f))(dy0, dy1, back); },
      [](void* f) noexcept { static_cast<F*>(f)->~F(); });
  y1.node = y0.node + 1;
  return {std::move(y0), std::move(y1)};
}

/// Sends every op on this thread to an observer while it lives.
class Observing {
 public:
  explicit Observing(Observer& o) : previous_(std::exchange(context().observer, &o)) {}
  ~Observing() { context().observer = previous_; }
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;

 private:
  Observer* previous_;
};

/// Collects the BatchNorm statistics of this thread's forward passes while it lives.
class Collecting {
 public:
  explicit Collecting(std::vector<BatchStatistics>& to) : previous_(std::exchange(context().statistics, &to)) {}
  ~Collecting() { context().statistics = previous_; }
  Collecting(const Collecting&) = delete;
  Collecting& operator=(const Collecting&) = delete;

 private:
  std::vector<BatchStatistics>* previous_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
