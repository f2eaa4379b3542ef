#include "tessera/train/training/optim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// 64 KB of each array: large enough for the hardware's prefetch, small enough that the average finds its weights in L2
constexpr int64_t chunk_size = 16384;

AdamWStep constants(const AdamWOptions& o, double t, double lr, double clip, bool decay) {
  const auto r = [](double v) { return static_cast<real>(v); };
  return {r(clip),
          r(1 - (decay ? lr * o.weight_decay : 0)),
          r(1 - o.beta1),
          r(o.beta2),
          r(1 - o.beta2),
          r(lr / (1 - std::pow(o.beta1, t))),
          r(1 / std::sqrt(1 - std::pow(o.beta2, t))),
          r(o.eps),
          r(1 - o.ema_decay)};
}

SgdStep constants(const SgdOptions& o, double /*t*/, double lr, double clip, bool decay) {
  const auto r = [](double v) { return static_cast<real>(v); };
  return {r(clip),
          r(lr),
          r(decay ? o.weight_decay : 0),
          r(o.momentum),
          r(o.nesterov ? 1 : 0),
          r(o.nesterov ? o.momentum : 1),
          r(1 - o.ema_decay)};
}

struct Pointers {  // a chunk's place in every array; null where there is none
  const real* g;
  real *w, *m, *v, *ema;
  int64_t n;
};
void update(const AdamWStep& s, const Pointers& p) { kernels().adamw(&s, p.g, p.w, p.m, p.v, p.ema, p.n); }
void update(const SgdStep& s, const Pointers& p) { kernels().sgd(&s, p.g, p.w, p.m, p.ema, p.n); }

void need(bool holds, const char* what, double value, const char* domain) {
  if (!holds) fail("optim", "{} is {}; expected {}", what, value, domain);
}
bool from_0_below_1(double v) { return v >= 0 && v < 1; }
/// At least 0, and finite as the real that the kernels see.
bool magnitude(double v) { return v >= 0 && v <= static_cast<double>(std::numeric_limits<real>::max()); }

void check(const AdamWOptions& o) {
  need(from_0_below_1(o.beta1), "beta1", o.beta1, "at least 0 and below 1");
  need(from_0_below_1(o.beta2), "beta2", o.beta2, "at least 0 and below 1");
  need(magnitude(o.eps) && static_cast<real>(o.eps) > 0, "eps", o.eps, "a number above 0");
}
void check(const SgdOptions& o) { need(from_0_below_1(o.momentum), "momentum", o.momentum, "at least 0 and below 1"); }

}  // namespace

Optimiser::Optimiser(Params& params, const Rule& rule, std::vector<double> rates)
    : params_(params), rule_(rule), rates_(std::move(rates)) {
  if (!rates_.empty() && rates_.size() != params_.entries().size())
    fail("optim", "{} learning rates for {} parameters", rates_.size(), params_.entries().size());
  for (const double r : rates_) need(magnitude(r), "the factor of a learning rate", r, "a number of at least 0");
  std::visit(
      [](const auto& o) {
        check(o);
        need(magnitude(o.weight_decay), "weight_decay", o.weight_decay, "a number of at least 0");
        need(magnitude(o.clip_grad), "clip_grad", o.clip_grad, "a number above 0, or 0 for none");
        need(from_0_below_1(o.ema_decay), "ema_decay", o.ema_decay, "at least 0 (none) and below 1");
      },
      rule_);
  bool first_moment = true;
  std::visit([&](const auto& o) { clip_grad_ = o.clip_grad, ema_decay_ = o.ema_decay; }, rule_);
  second_moment_ = std::holds_alternative<AdamWOptions>(rule_);
  if (const auto* sgd = std::get_if<SgdOptions>(&rule_)) first_moment = sgd->momentum != 0;
  const auto& entries = params_.entries();
  for (size_t e = 0; e < entries.size(); ++e) {
    const Tensor& w = entries[e].value;
    State& s = state_.emplace_back();
    if (ema_decay_ > 0) s.ema = w.copy();  // buffers as well: the average has its own running statistics
    if (entries[e].buffer) continue;
    if (first_moment) s.m = zeros(w.shape());
    if (second_moment_) s.v = zeros(w.shape());
    for (int64_t a = 0; a < w.size(); a += chunk_size) chunks_.push_back({e, a, std::min(chunk_size, w.size() - a)});
  }
  square_sums_.resize(chunks_.size());
}

// The sums of the chunks are added in their order, whoever computed them.
double Optimiser::norm(const Grads& grads) {
  parallel::rows(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t a, int64_t b) {
    for (auto i = static_cast<size_t>(a); i < static_cast<size_t>(b); ++i) {
      const Chunk& c = chunks_[i];
      square_sums_[i] = 0;
      if (const Tensor g = grads.at(id(*params_.entries()[c.entry].value.leaf())))
        kernels().square_sum(g.data() + c.begin, &square_sums_[i], c.count);
    }
  });
  double sum = 0;
  for (const double s : square_sums_) sum += s;
  return std::sqrt(sum);
}

void Optimiser::check_step(const Grads& grads, double lr) const {
  need(magnitude(lr), "the learning rate", lr, "a number of at least 0");
  const auto& entries = params_.entries();
  if (entries.size() != state_.size())
    fail("optim", "{} was declared after the optimiser was made; make it when the model is complete",
         entries[state_.size()].name);
  size_t arrived = 0, ours = 0;
  grads.each([&](LeafId leaf, const Tensor&) {
    ++arrived;
    ours += !entries.empty() && leaf.params == entries[0].value.leaf()->params;
  });
  if (arrived > 0 && ours == 0)
    fail("optim", "the gradients are of other Params than those of this optimiser, of which none arrived");
}

double Optimiser::step(const Grads& grads, double lr) {
  check_step(grads, lr);
  const double size = norm(grads);
  if (!std::isfinite(size)) {
    const auto bad = std::find_if(square_sums_.begin(), square_sums_.end(), [](double s) { return !std::isfinite(s); });
    const std::string where =
        bad == square_sums_.end()
            ? ""
            : " of " + params_.entries()[chunks_[static_cast<size_t>(bad - square_sums_.begin())].entry].name;
    throw GradientNotFinite(
        fmt::format("[optim] the gradient{} in step {} is not finite; try a smaller learning rate, a longer warm-up or "
                    "clip_grad",
                    where, steps_ + 1));
  }
  const double clip = clip_grad_ > 0 ? std::min(1.0, clip_grad_ / (size + 1e-6)) : 1.0;  // torch's clip_grad_norm_
  const auto t = static_cast<double>(++steps_);
  std::visit(
      [&](const auto& options) {
        const auto decayed = constants(options, t, lr, clip, true), plain = constants(options, t, lr, clip, false);
        parallel::rows(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t a, int64_t b) {
          for (auto i = static_cast<size_t>(a); i < static_cast<size_t>(b); ++i) {
            const Chunk& c = chunks_[i];
            const auto& entry = params_.entries()[c.entry];
            const State& s = state_[c.entry];
            const Tensor g = grads.at(id(*entry.value.leaf()));
            if (!g) continue;
            const auto at = [&](const Tensor& x) { return x ? x.data() + c.begin : nullptr; };
            const bool decays = entry.decay == Decay::yes;
            const double rate = rates_.empty() ? 1 : rates_[c.entry];
            update(rate != 1 ? constants(options, t, lr * rate, clip, decays)
                   : decays  ? decayed
                             : plain,
                   {at(g), entry.value.rewrite().data() + c.begin, at(s.m), at(s.v), at(s.ema), c.count});
          }
        });
      },
      rule_);
  if (ema_decay_ > 0) {
    const auto& entries = params_.entries();
    for (size_t e = 0; e < entries.size(); ++e) {
      const Tensor& x = entries[e].value;
      if (entries[e].buffer)
        kernels().average(x.read().data(), state_[e].ema.data(), static_cast<real>(1 - ema_decay_), x.size());
    }
  }
  return size;
}

std::vector<io::NamedTensor> Optimiser::state() const {
  std::vector<io::NamedTensor> all;
  const auto& entries = params_.entries();
  for (size_t e = 0; e < entries.size(); ++e) {
    const State& s = state_[e];
    if (s.m) all.emplace_back("optim.m." + entries[e].name, s.m);
    if (s.v) all.emplace_back("optim.v." + entries[e].name, s.v);
    if (s.ema) all.emplace_back("ema." + entries[e].name, s.ema);
  }
  return all;
}

void Optimiser::restore(const io::TensorFile& file, uint64_t steps) {
  for (const auto& [name, to] : state()) {
    const Tensor from = file.read(name);
    if (!(from.shape() == to.shape())) {
      fail("optim", "{} is {} in {} but {} here", name, from.shape().str(), file.path(), to.shape().str());
    }
    std::memcpy(to.data(), from.data(), static_cast<size_t>(to.size()) * sizeof(real));
  }
  steps_ = steps;
}

int64_t Optimiser::state_bytes() const {
  int64_t n = 0;
  for (const State& s : state_)
    for (const Tensor* x : {&s.m, &s.v, &s.ema}) n += *x ? x->size() : 0;
  return n * static_cast<int64_t>(sizeof(real));
}

Optimiser::Rule optimiser_of(const OptimConfig& o, double ema_decay) {
  if (o.opt == "adamw") {
    const auto [beta1, beta2] = betas(o);
    return AdamWOptions{beta1, beta2, o.eps, o.weight_decay, o.clip_grad, ema_decay};
  }
  if (o.opt == "sgd") return SgdOptions{o.momentum, o.nesterov, o.weight_decay, o.clip_grad, ema_decay};
  const std::string known[] = {"adamw", "sgd"};
  unknown("optim.opt", o.opt, known);
}

void Optimiser::swap_average() {
  if (ema_decay_ <= 0) return;
  const auto& entries = params_.entries();
  for (size_t e = 0; e < state_.size(); ++e) entries[e].value.exchange_values(state_[e].ema);
}

}  // namespace TESSERA_NS
}  // namespace tessera
