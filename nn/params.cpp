#include "tessera/nn/params.h"

#include <atomic>
#include <cmath>

#include "tessera/core/gemm.h"

namespace tessera {
inline namespace TESSERA_NS {

namespace {
std::atomic<uint64_t> serials{0};
}

Params::Params(uint64_t seed, Draw draw) : seed_(seed), draw_(draw), serial_(++serials) {}

Tensor Params::make(const std::string& name, const Shape& shape, Init init, Decay decay, bool buffer) {
  if (by_name_.contains(name)) fail("params", "{} is declared twice", name);
  constexpr int64_t most = int64_t{1} << 30;
  numbers_ += shape.size();
  if (numbers_ > most)
    fail("params", "{} of {} brings the model to more than 2^30 numbers (4 GB): choose smaller tables", name,
         shape.str());
  if (draw_ == Draw::no) init = constant(0);
  Tensor t(shape);
  const rng::Stream random(rng::mix(seed_ ^ rng::hash(name)));
  for (int64_t i = 0; i < t.size(); ++i) {
    const auto c = static_cast<uint64_t>(i);
    double v = init.a;
    switch (init.kind) {
      case Init::constant:
        break;
      case Init::normal:
        v *= random.normal(c);
        break;
      case Init::uniform:
        v *= 2 * random.uniform(c) - 1;
        break;
      case Init::truncated: {
        double z = random.normal(c);
        for (uint64_t retry = 1; std::abs(z) > 2; ++retry) z = rng::Stream(random.bits(c)).normal(retry);
        v *= z;
      }
    }
    v += init.mean;
    t[i] =
        static_cast<real>(static_cast<float>(v));  // rounded to float in both twins: they start from the same weights
  }
  if (const auto start = presets_.find(name); start != presets_.end()) start->second(t);
  t.storage()->leaf = std::make_unique<Leaf>();
  t.leaf()->params = serial_;
  t.leaf()->index = static_cast<int>(entries_.size());
  t.leaf()->trainable = !buffer;
  t.leaf()->name = name;
  by_name_[name] = entries_.size();
  entries_.push_back({name, t, decay, buffer});
  return t;
}

const Params::Entry* Params::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_[it->second];
}

void Params::preset(const std::string& name, std::function<void(Tensor&)> start) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) {
    Tensor& value = entries_[it->second].value;
    Leaf& leaf = *value.leaf();
    const bool was_lent = leaf.lent.load(std::memory_order_acquire);
    start(value);
    drop_packed(leaf);
    leaf.lent.store(was_lent, std::memory_order_release);
  }
  presets_[name] = std::move(start);
}

int Params::freeze(std::string_view prefix, bool frozen) {
  int n = 0;
  for (auto& e : entries_) {
    if (e.buffer || !e.name.starts_with(prefix)) continue;
    e.value.leaf()->trainable = !frozen;
    ++n;
  }
  return n;
}

int64_t Params::count() const {
  int64_t n = 0;
  for (const auto& e : entries_)
    if (!e.buffer) n += e.value.size();
  return n;
}

void Params::commit() {
  for (auto& e : entries_) {
    Leaf& leaf = *e.value.leaf();
    drop_packed(leaf);
    leaf.lent.store(false, std::memory_order_release);
  }
}

Scope Scope::operator/(std::string_view name) const {
  if (name.empty()) return *this;
  return {*params_, path_.empty() ? std::string(name) : path_ + "." + std::string(name)};
}

Tensor Scope::param(std::string_view name, const Shape& shape, Init init, Decay decay) const {
  return params_->make((*this / name).path_, shape, init, decay, false);
}

Tensor Scope::buffer(std::string_view name, const Shape& shape, Init init) const {
  return params_->make((*this / name).path_, shape, init, Decay::no, true);
}

}  // namespace TESSERA_NS
}  // namespace tessera
