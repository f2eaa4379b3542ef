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

#include "tessera/core/tensor.h"

namespace tessera {

/// An argument of an op that is no tensor: an axis, a factor, a list of indices. A few stores on the stack, which refer to the op's memory.
struct Attribute {
  enum class Kind { integer, number, text, list };
  const char* key;
  Kind kind;
  union {
    int64_t integer;
    double number;
    const char* text;
    const int32_t* list;
  };
  int64_t count = 0;  ///< characters of the text, entries of the list
  template <std::integral T>
  Attribute(const char* k, T v) : key(k), kind(Kind::integer), integer(static_cast<int64_t>(v)) {}
  template <std::floating_point T>
  Attribute(const char* k, T v) : key(k), kind(Kind::number), number(static_cast<double>(v)) {}
  Attribute(const char* k, std::string_view v)
      : key(k), kind(Kind::text), text(v.data()), count(static_cast<int64_t>(v.size())) {}
  Attribute(const char* k, std::span<const int32_t> v)
      : key(k), kind(Kind::list), list(v.data()), count(static_cast<int64_t>(v.size())) {}
  Attribute(const char* k, const Shape& v) : Attribute(k, std::span<const int32_t>(v.begin(), v.end())) {}
};

inline namespace TESSERA_NS {

/// Where a pullback writes a gradient: to = beta * to + contribution. beta is 0 on the first arrival and 1 later, which a
/// GEMM takes as it is; with beta 0 the memory is uninitialised and must be overwritten.
struct Sink {
  real* to;
  real beta;
};

/// Which parameter: the serial of its Params and its place there.
struct LeafId {
  uint64_t params;
  int index;
};
inline LeafId id(const Leaf& leaf) { return {leaf.params, leaf.index}; }

/// Gradients of parameters, of one Params or of several (two networks on one tape). One per lane. Buffers are kept from step to step;
/// a copy has its own.
class Grads {
 public:
  Grads() = default;
  Grads(const Grads& o);
  Grads(Grads&&) noexcept = default;
  Grads& operator=(Grads o) noexcept;
  /// Where w's gradient is written. Throws Error if w is no parameter, or of another size than what arrived before.
  Sink into(const Tensor& w);
  /// The same by identity, for whoever adds up the gradients of several lanes.
  Sink into(LeafId leaf, const Shape& shape);
  /// Throws Error if dw is not of w's size.
  void add(const Tensor& w, const Tensor& dw);
  bool has(const Tensor& w) const;
  /// dL/dw in w's shape: memory of these Grads, which the next step overwrites (copy() to keep it). Throws Error if nothing arrived
  /// or w is no parameter.
  Tensor of(const Tensor& w) const;
  /// Forgets the values, keeps the memory: the next arrival overwrites. Replaces zero_grad().
  void next_step();
  /// this += o, leaf by leaf.
  void plus(const Grads& o);
  /// A parameter's gradient, or the empty tensor if none arrived.
  Tensor at(LeafId leaf) const {
    const Set* s = set(leaf.params);
    const auto i = static_cast<size_t>(leaf.index);
    return s && i < s->seen.size() && s->seen[i] ? s->grads[i] : Tensor();
  }
  /// f(LeafId, gradient) for all that arrived.
  template <class F>
  void each(F f) const {
    for (const Set& s : sets_)
      for (size_t i = 0; i < s.seen.size(); ++i)
        if (s.seen[i]) f(LeafId{s.params, static_cast<int>(i)}, s.grads[i]);
  }

 private:
  struct Set {  // of one Params
    uint64_t params;
    std::vector<Tensor> grads;
    std::vector<char> seen;
  };
  const Set* set(uint64_t params) const {  // almost always the first
    for (const Set& s : sets_)
      if (s.params == params) return &s;
    return nullptr;
  }
  std::vector<Set> sets_;
};

class Tape;
using Inputs = std::span<const Tensor* const>;

/// What a pullback talks to.
class Back {
 public:
  Back(Tape& tape, Grads& leaves) : tape_(tape), leaves_(leaves) {}
  Back(const Back&) = delete;
  Back& operator=(const Back&) = delete;
  /// Compute a gradient only if somebody wants it: images, fixed tables and frozen weights cost nothing.
  bool wants(const Tensor& x) const { return tracked(x); }
  /// The gradient buffer of x, to be written as to = beta * to + contribution. Throws Error if x belongs to another tape.
  Sink into(const Tensor& x);
  /// Adds dx to the gradient of x; the first arrival is moved in without a copy. Throws Error if x belongs to another tape.
  void add(const Tensor& x, Tensor dx);

 private:
  Tensor& slot(const Tensor& x);
  Tape& tape_;
  Grads& leaves_;
};

/// What an op says of itself to the tape and to the observer. Attributes are all it needs beside its inputs to be computed again; the
/// values that matter are copied by whoever keeps them.
struct Op {
  const char* name;                                                   ///< "linear"
  double macs = 0;                                                    ///< multiply-accumulates of the forward pass
  std::span<const Attribute> attributes;                              ///< of the calling statement
  Op(const char* n, double m = 0, std::span<const Attribute> a = {})  // NOLINT: implicit, record("relu", ...)
      : name(n), macs(m), attributes(a) {}
  Op(const char* n, double m, std::initializer_list<Attribute> a) : name(n), macs(m), attributes(a.begin(), a.size()) {}
  Op(const char* n, std::initializer_list<Attribute> a) : Op(n, 0, a) {}
};

/// One op as an observer sees it, for the time of the call; a copied handle keeps its values.
/// Identity: a value is its (storage(), offset()), as long as somebody holds a handle: memory that was given back is another value's next.
/// Each output is a storage of its own from offset 0 on; no op returns an input or writes into one. reshape() and rows() are no ops and
/// are not seen: an input with the storage of an earlier output is that value, from its offset on and in its own shape. What no op seen
/// has made is given: a parameter, a constant, the network's input. So a list of ops in the order seen can be computed again.
struct Seen {
  const Op& op;
  const std::string& path;  ///< of the layer that runs: "blocks.3.mlp"
  Inputs inputs;            ///< some may be empty tensors: a bias that is not there
  Inputs outputs;           ///< one or two
  uint64_t number;          ///< of the op, from 1, never again on this thread
  /// The layer that owns the first parameter among the inputs ("blocks.3.mlp.fc2"), else the path.
  std::string layer() const;
};

/// Sees every op as it runs, tracked or not: inspect, NaN checks, export and pictures are observers. Runs no ops itself.
struct Observer {
  virtual ~Observer() = default;
  virtual void saw(const Seen& op) = 0;
  /// Before an op's pullback runs: dy of each output, empty where none arrived. number 0: the op was not seen.
  virtual void pulled([[maybe_unused]] uint64_t number, [[maybe_unused]] const char* op,
                      [[maybe_unused]] std::span<const Tensor> dy) {}
};

/// Per-channel statistics of one BatchNorm call, handed to whoever updates running averages (the trainer, in shard order).
struct BatchStatistics {
  Tensor running_mean, running_var;  ///< the buffers (leaves) these belong to
  int64_t count;
  Tensor mean, m2;  ///< (C): mean and sum of squared deviations over this shard
};

/// The thread-local state of the engine. Set by the RAII objects Tape, NoGrad, Observing, Collecting only.
struct Context {
  Tape* tape = nullptr;    ///< the one that records
  Tape* newest = nullptr;  ///< of those alive, recording or not
  Observer* observer = nullptr;
  uint64_t seen = 0;  ///< ops that observers saw on this thread
  std::vector<BatchStatistics>* statistics = nullptr;
};
Context& context();

/// Records the ops of this thread while it lives, and is walked backwards once. A tensor that another tape recorded (one that has
/// ended, one around this one, another thread's) is refused by every op under it with an Error: detach() it, or compute it again.
class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// One of several losses, with its weight or its cotangent.
  struct Loss {
    Tensor y, dy;
    Loss(Tensor loss, double seed = 1) : y(std::move(loss)), dy(full(y.shape(), static_cast<real>(seed))) {}  // NOLINT
    Loss(Tensor output, Tensor cotangent) : y(std::move(output)), dy(std::move(cotangent)) {}
  };

  /// Walks the nodes backwards from dL/d(loss) = seed in every element. Leaf gradients go to `grads`. Frees what the ops saved, so a
  /// second walk is an Error, as is recording after it. Throws Error if the loss is not of this tape or depends on nothing tracked.
  void backward(const Tensor& loss, Grads& grads, real seed = 1);
  /// The same from a given cotangent dy of y (same shape).
  void backward(const Tensor& y, const Tensor& dy, Grads& grads);
  /// Several losses in one walk, tape.backward({{a}, {b, 0.5}, {y, dy}}, grads): the gradient of a + 0.5 b + sum(y dy).
  void backward(std::span<const Loss> losses, Grads& grads);
  void backward(std::initializer_list<Loss> losses, Grads& grads) {
    backward(std::span<const Loss>(losses.begin(), losses.size()), grads);
  }
  /// A tracked handle of x whose gradient grad() gives after backward(): of an input that is no parameter, or of an op's output on
  /// this tape (whose gradient flows on as ever). Throws Error if x is of another tape, or after backward().
  Tensor watch(Tensor x);
  /// dL/dx of a watched tensor; empty if none arrived. Throws Error if x was not watched on this tape.
  Tensor grad(const Tensor& x) const;
  int nodes() const { return static_cast<int>(nodes_.size()); }
  /// Is the tape of that serial alive on this thread?
  static bool alive(uint64_t serial);

  // --- used by record() ---
  using Pull = void (*)(void* closure, const Tensor& dy0, const Tensor& dy1, Back&);
  using Destroy = void (*)(void* closure) noexcept;
  /// Memory for a closure, freed with its node.
  void* closure(size_t bytes);
  /// Appends a node and gives its one or two outputs their slots.
  void push(const char* op, Tensor& y0, Tensor* y1, void* closure, Pull pull, Destroy destroy);
  /// The tape on which an op of these inputs is recorded, or null: none of them is tracked, or no tape of this thread (and, inside a
  /// shard, of this shard) records. Throws Error if an input is of another tape, or if the tape has been walked.
  static Tape* recording(const Op& op, Inputs inputs);

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
    uint64_t seen;  // Seen::number, or 0
  };
  friend class NoGrad;
  struct Memory;  // vectors and arena, kept by the thread from tape to tape
  void pop();
  void own(const char* who, const Tensor& x) const;
  std::vector<Node> nodes_;
  std::vector<Tensor> slots_;
  std::vector<char> watched_;
  Memory* memory_;
  Tape* previous_;  // recorded before this one
  Tape* outer_;     // the next older of those alive
  uint64_t serial_;
  int shard_;  // depth of shards it was born in
  bool consumed_ = false;
};

/// No tape records while it lives: values only, at no cost in memory. For a target network, a memory bank, metrics beside a loss. A
/// Tape born inside records as ever; what a NoGrad computes is a constant to every tape, as after detach().
class NoGrad {
 public:
  NoGrad() : previous_(std::exchange(context().tape, nullptr)), serial_(previous_ ? previous_->serial_ : 0) {}
  ~NoGrad() { context().tape = serial_ && Tape::alive(serial_) ? previous_ : nullptr; }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Tape* previous_;
  uint64_t serial_;
};

template <class F>
concept Pullback = std::invocable<F&, const Tensor&, Back&>;
template <class F>
concept Pullback2 = std::invocable<F&, const Tensor&, const Tensor&, Back&>;

bool any_tracked(Inputs inputs);
void observe(const Op& op, Inputs inputs, Inputs outputs);

/// Ends every op: gives y its slot if any input is tracked and a tape records. There is no overload without a pullback.
/// pull(dy, back) must send a gradient to every input that back.wants().
template <Pullback F>
Tensor record(const Op& op, Tensor y, Inputs inputs, F pull) {
  const Tensor* const outputs[] = {&y};
  observe(op, inputs, outputs);
  Tape* tape = Tape::recording(op, inputs);
  if (!tape) return y;
  void* closure = new (tape->closure(sizeof(F))) F(std::move(pull));
  tape->push(
      op.name, y, nullptr, closure,
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
  const Tensor* const outputs[] = {&y0, &y1};
  observe(op, inputs, outputs);
  Tape* tape = Tape::recording(op, inputs);
  if (!tape) return {std::move(y0), std::move(y1)};
  void* closure = new (tape->closure(sizeof(F))) F(std::move(pull));
  tape->push(
      op.name, y0, &y1, closure,
      [](void* f, const Tensor& dy0, const Tensor& dy1, Back& back) { (*static_cast<F*>(f))(dy0, dy1, back); },
      [](void* f) noexcept { static_cast<F*>(f)->~F(); });
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
