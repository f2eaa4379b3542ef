#include "tessera/core/tape.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {

Context& context() {
  thread_local Context c;
  return c;
}

// ---- Grads ---------------------------------------------------------------------------------------------------------

namespace {

const Leaf& leaf_of(const Tensor& w) {
  if (!w.leaf())
    fail("grads", "a tensor {} that is no parameter has no gradient here; watch() it and ask its tape",
         w.shape().str());
  return *w.leaf();
}

}  // namespace

Grads::Grads(const Grads& o) : sets_(o.sets_) {
  for (Set& s : sets_)
    for (Tensor& g : s.grads)
      if (g) g = g.copy();
}

Grads& Grads::operator=(Grads o) noexcept {
  sets_ = std::move(o.sets_);
  return *this;
}

void Grads::next_step() {
  for (Set& s : sets_) s.seen.assign(s.seen.size(), 0);
}

Sink Grads::into(const Tensor& w) { return into(id(leaf_of(w)), w.shape()); }

Sink Grads::into(LeafId leaf, const Shape& shape) {
  auto s = sets_.begin();  // in the usual case there is one Params: one comparison
  while (s != sets_.end() && s->params != leaf.params) ++s;
  if (s == sets_.end()) s = sets_.insert(s, Set{leaf.params, {}, {}});
  const auto i = static_cast<size_t>(leaf.index);
  if (s->grads.size() <= i) s->grads.resize(i + 1), s->seen.resize(i + 1);
  Tensor& g = s->grads[i];
  if (!g) g = Tensor(shape);
  if (g.size() != shape.size())
    fail("grads", "a gradient {} for parameter {} of its Params, whose gradient is {}", shape.str(), leaf.index,
         g.shape().str());
  return {g.data(), static_cast<real>(std::exchange(s->seen[i], char{1}))};
}

void Grads::add(const Tensor& w, const Tensor& dw) {
  if (dw.size() != w.size())
    fail("grads", "a gradient {} for {} {}", dw.shape().str(), leaf_of(w).name, w.shape().str());
  const auto [to, beta] = into(w);
  if (beta == 0) {
    std::memcpy(to, dw.data(), static_cast<size_t>(dw.size()) * sizeof(real));
  } else {
    kernels().accumulate(dw.data(), to, dw.size());
  }
}

bool Grads::has(const Tensor& w) const { return w.leaf() && at(id(*w.leaf())); }

Tensor Grads::of(const Tensor& w) const {
  const Leaf& leaf = leaf_of(w);
  const Tensor g = at(id(leaf));
  if (!g) fail("grads", "no gradient arrived at {}", leaf.name);
  return g.reshape(w.shape());
}

void Grads::plus(const Grads& o) {
  o.each([&](LeafId leaf, const Tensor& g) {
    const auto [to, beta] = into(leaf, g.shape());
    if (beta != 0) {
      kernels().accumulate(g.data(), to, g.size());
    } else {
      std::memcpy(to, g.data(), static_cast<size_t>(g.size()) * sizeof(real));
    }
  });
}

// ---- Back ----------------------------------------------------------------------------------------------------------

Tensor& Back::slot(const Tensor& x) {
  tape_.own("backward", x);  // a pullback may hold what record() was not told of
  return tape_.slots_[static_cast<size_t>(x.node_)];
}

Sink Back::into(const Tensor& x) {
  if (!x.recorded()) return leaves_.into(x);
  Tensor& to = slot(x);
  if (!to) {
    to = Tensor(x.shape());
    return {to.data(), 0};
  }
  if (!to.unique()) to = to.copy();  // a moved-in gradient may be shared with a sibling: y = a + b
  return {to.data(), 1};
}

void Back::add(const Tensor& x, Tensor dx) {
  if (!wants(x)) return;
  if (dx.size() != x.size()) fail("backward", "gradient {} for a tensor {}", dx.shape().str(), x.shape().str());
  if (!x.recorded()) return leaves_.add(x, dx);
  if (Tensor& to = slot(x); !to) {
    to = dx.detach();
    return;
  }
  const auto [to, beta] = into(x);
  parallel::rows(dx.size(), parallel::numbers(),
                 [&, to = to](int64_t i, int64_t e) { kernels().accumulate(dx.data() + i, to + i, e - i); });
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

namespace {
std::atomic<uint64_t> serials{0};
}

Tape::Tape() : memory_(std::exchange(Memory::idle(), nullptr)), serial_(++serials), shard_(parallel::shard_depth()) {
  if (!memory_) memory_ = new Memory;
  previous_ = std::exchange(context().tape, this);
  outer_ = std::exchange(context().newest, this);
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
  // Tapes nearly always end in the order opposite to their birth; where one does not, those born in it forget it.
  Context& c = context();
  if (c.tape == this) c.tape = previous_;
  for (Tape* t = c.newest; t; t = t->outer_) {
    if (t->previous_ == this) t->previous_ = previous_;
    if (t->outer_ == this) t->outer_ = outer_;
  }
  if (c.newest == this) c.newest = outer_;
}

bool Tape::alive(uint64_t serial) {
  const Tape* t = context().newest;
  while (t && t->serial_ != serial) t = t->outer_;
  return t != nullptr;
}

/// Refuses what another tape has recorded.
void Tape::own(const char* who, const Tensor& x) const {
  if (x.tape_ == serial_) return;
  fail(who, "a tensor {} was recorded on {}; detach() it to use its values, or compute it again under this tape",
       x.shape().str(),
       alive(x.tape_) ? "another tape than the one in use, which is alive too"
                      : "a tape that has ended or is another thread's");
}

Tape* Tape::recording(const Op& op, Inputs inputs) {
  Tape* tape = context().tape;
  // on another worker no tape would record, so inside of a shard a tape from outside does not either
  if (!tape || tape->shard_ != parallel::shard_depth()) return nullptr;
  bool any = false;
  for (const Tensor* x : inputs) {
    if (!x || !tracked(*x)) continue;
    any = true;
    if (x->recorded() && x->tape_ != tape->serial_) [[unlikely]]
      tape->own(op.name, *x);
  }
  if (any && tape->consumed_)
    fail(op.name,
         "backward() has walked this tape, which records no more: end its scope and begin another Tape, or "
         "compute values only under NoGrad");
  return any ? tape : nullptr;
}

void* Tape::closure(size_t bytes) { return memory_->take(bytes); }

void Tape::push(const char* op, Tensor& y0, Tensor* y1, void* closure, Pull pull, Destroy destroy) {
  const int slot = static_cast<int>(slots_.size());
  nodes_.push_back({op, pull, destroy, closure, slot, {y0.shape(), y1 ? y1->shape() : Shape()}, y1 ? 2 : 1, 0});
  if (const Context& c = context(); c.observer) [[unlikely]]
    nodes_.back().seen = c.seen;
  slots_.resize(slots_.size() + (y1 ? 2 : 1));
  watched_.resize(slots_.size());
  y0.tape_ = serial_, y0.node_ = slot;
  if (y1) y1->tape_ = serial_, y1->node_ = slot + 1;
}

void Tape::pop() {
  const Node n = nodes_.back();
  nodes_.pop_back();
  n.destroy(n.closure);
}

Tensor Tape::watch(Tensor x) {
  if (consumed_) fail("watch", "backward() has walked this tape; watch a tensor before it is used");
  if (!x) fail("watch", "an empty tensor");
  if (x.recorded()) {  // an op's output: its gradient is kept as it passes
    own("watch", x);
  } else {
    struct Pass {
      Tensor to;  // the parameter, if it is one
    };
    void* c = new (closure(sizeof(Pass))) Pass{x.slot()};
    push(
        "watch", x, nullptr, c,
        [](void* f, const Tensor& dy, const Tensor&, Back& back) { back.add(static_cast<Pass*>(f)->to, dy); },
        [](void* f) noexcept { static_cast<Pass*>(f)->~Pass(); });
    nodes_.back().seen = 0;  // no op
  }
  watched_[static_cast<size_t>(x.node_)] = 1;
  return x;
}

Tensor Tape::grad(const Tensor& x) const {
  if (!x.recorded()) fail("grad", "a tensor {} that no tape watches; x = tape.watch(x) first", x.shape().str());
  own("grad", x);
  const auto i = static_cast<size_t>(x.node_);
  if (!watched_[i]) fail("grad", "a tensor {} that was not watched: its gradient is gone", x.shape().str());
  const Tensor& g = slots_[i];
  return g ? g.reshape(x.shape()) : g;
}

void Tape::backward(const Tensor& loss, Grads& grads, real seed) {
  const Loss one{loss, static_cast<double>(seed)};
  backward(std::span(&one, 1), grads);
}

void Tape::backward(const Tensor& y, const Tensor& dy, Grads& grads) {
  const Loss one{y, dy};
  backward(std::span(&one, 1), grads);
}

void Tape::backward(std::span<const Loss> losses, Grads& grads) {
  if (losses.empty()) fail("backward", "no loss");
  for (const auto& [y, dy] : losses) {
    if (!tracked(y))
      fail("backward", "the loss depends on no tracked tensor: no trainable parameter, or no tape was alive");
    if (y.recorded()) own("backward", y);
    if (!(dy.shape() == y.shape()))
      fail("backward", "cotangent {} for an output {}", dy.shape().str(), y.shape().str());
  }
  if (consumed_)
    fail("backward",
         "this tape has been walked, and what its ops saved is gone; give several losses to one call: "
         "backward({{{{a}}, {{b, 0.5}}}}, grads)");
  consumed_ = true;
  const NoGrad values_only;  // ops that a pullback calls
  Back back(*this, grads);
  for (const auto& [y, dy] : losses) back.add(y, dy.copy());
  while (!nodes_.empty()) {
    const Node& n = nodes_.back();
    Tensor d[2];
    for (int k = 0; k < n.outputs; ++k) {
      Tensor& slot = slots_[static_cast<size_t>(n.slot + k)];
      if (!slot) continue;
      d[k] = slot.reshape(n.shape[k]);
      if (!watched_[static_cast<size_t>(n.slot + k)]) slot = Tensor();
    }
    if (d[0] || d[1]) {
      if (Observer* o = context().observer) [[unlikely]]
        o->pulled(n.seen, n.op, {d, static_cast<size_t>(n.outputs)});
      n.pull(n.closure, d[0], d[1], back);
    }
    pop();
  }
}

bool any_tracked(Inputs inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const Tensor* x) { return x && tracked(*x); });
}

void observe(const Op& op, Inputs inputs, Inputs outputs) {
  Context& c = context();
  if (!c.observer) [[likely]]
    return;
  const std::string path = Crumb::path();
  c.observer->saw({op, path, inputs, outputs, ++c.seen});
}

std::string Seen::layer() const {
  for (const Tensor* x : inputs)
    if (x && x->leaf()) return x->leaf()->name.substr(0, x->leaf()->name.rfind('.'));
  return path;
}

}  // namespace TESSERA_NS
}  // namespace tessera
