#include "tessera/train/training/optim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/parallel.h"
#include "tessera/nn/options.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

// 64 KB of each array: large enough for the hardware's prefetch, small enough that the average finds its weights in L2
constexpr int64_t chunk_size = 16384;

void need(bool holds, const char* what, double value, const char* domain) {
  if (!holds) fail("optim", "{} is {}; expected {}", what, value, domain);
}
bool from_0_below_1(double v) { return v >= 0 && v < 1; }
/// At least 0, and finite as the real that the kernels see.
bool magnitude(double v) { return v >= 0 && v <= static_cast<double>(std::numeric_limits<real>::max()); }

void check_adam(double beta1, double beta2, double eps) {
  need(from_0_below_1(beta1), "beta1", beta1, "at least 0 and below 1");
  need(from_0_below_1(beta2), "beta2", beta2, "at least 0 and below 1");
  need(magnitude(eps) && static_cast<real>(eps) > 0, "eps", eps, "a number above 0");
}
void check(const AdamWOptions& o) { check_adam(o.beta1, o.beta2, o.eps); }
void check(const SgdOptions& o) { need(from_0_below_1(o.momentum), "momentum", o.momentum, "at least 0 and below 1"); }
void check(const LionOptions& o) { check_adam(o.beta1, o.beta2, 1); }
void check(const MuonOptions& o) {
  check_adam(o.beta1, o.beta2, o.eps);
  need(from_0_below_1(o.momentum), "momentum", o.momentum, "at least 0 and below 1");
  need(o.ns_steps >= 1 && o.ns_steps <= 20, "ns_steps", o.ns_steps, "1 to 20");
  need(magnitude(o.adamw_rate), "adamw_rate", o.adamw_rate, "a number of at least 0");
}
void check(const ScheduleFreeAdamWOptions& o) {
  check_adam(o.beta1, o.beta2, o.eps);
  need(static_cast<real>(o.beta1) > 0, "beta1", o.beta1, "a number above 0: the average is computed from it");
}

/// The matrix that Muon makes of a parameter, (O, I kh kw) of a convolution, or {0, 0} of one that is none.
std::pair<int64_t, int64_t> as_matrix(const Tensor& w) {
  if (w.rank() < 2) return {0, 0};
  const int64_t rows = w.dim(0), cols = w.size() / std::max<int64_t>(rows, 1);
  return rows > 1 && cols > 1 ? std::pair(rows, cols) : std::pair<int64_t, int64_t>(0, 0);
}

constexpr size_t tracks =
    8;  // of hidden matrices; more would leave threads of eight cores no more to do, and cost memory

}  // namespace

Optimiser::Optimiser(Params& params, const Rule& rule, std::vector<double> rates)
    : params_(params), rule_(rule), rates_(std::move(rates)) {
  if (!rates_.empty() && rates_.size() != params_.entries().size())
    fail("optim", "{} learning rates for {} parameters", rates_.size(), params_.entries().size());
  for (const double r : rates_) need(magnitude(r), "the factor of a learning rate", r, "a number of at least 0");
  std::visit(
      [&](const auto& o) {
        check(o);
        need(magnitude(o.weight_decay), "weight_decay", o.weight_decay, "a number of at least 0");
        need(magnitude(o.clip_grad), "clip_grad", o.clip_grad, "a number above 0, or 0 for none");
        clip_grad_ = o.clip_grad;
        if constexpr (requires { o.ema_decay; }) {
          need(from_0_below_1(o.ema_decay), "ema_decay", o.ema_decay, "at least 0 (none) and below 1");
          ema_decay_ = o.ema_decay;
        }
      },
      rule_);
  hidden_.resize(params_.entries().size());
  if (const auto* muon = std::get_if<MuonOptions>(&rule_)) deal(*muon);
  const auto* sgd = std::get_if<SgdOptions>(&rule_);
  const bool first_moment = !sgd || sgd->momentum != 0;
  const bool second_moment = !sgd && !std::holds_alternative<LionOptions>(rule_);
  const auto& entries = params_.entries();
  for (size_t e = 0; e < entries.size(); ++e) {
    const Tensor& w = entries[e].value;
    State& s = state_.emplace_back();
    if (ema_decay_ > 0 || schedule_free())
      s.ema = w.copy();  // buffers as well: the average has its own running statistics
    if (entries[e].buffer) continue;
    if (first_moment) s.m = schedule_free() ? w.copy() : zeros(w.shape());
    if (second_moment && !hidden_[e]) s.v = zeros(w.shape());
    for (int64_t a = 0; a < w.size(); a += chunk_size) chunks_.push_back({e, a, std::min(chunk_size, w.size() - a)});
  }
  square_sums_.resize(chunks_.size());
}

// The largest matrix first, each to the track with the least to do: tracks are part of no arithmetic, only of the memory.
void Optimiser::deal(const MuonOptions& o) {
  const auto& entries = params_.entries();
  for (const std::string& name : o.not_hidden)
    if (!params_.find(name)) fail("optim", "not_hidden: there is no parameter {}", name);
  struct Matrix {
    size_t entry;
    int64_t numbers, side;
  };
  std::vector<Matrix> all;
  for (size_t e = 0; e < entries.size(); ++e) {
    const auto [rows, cols] = as_matrix(entries[e].value);
    hidden_[e] = rows > 0 && !entries[e].buffer && std::ranges::count(o.not_hidden, entries[e].name) == 0;
    if (hidden_[e]) all.push_back({e, rows * cols, std::min(rows, cols)});
  }
  std::ranges::stable_sort(all, std::ranges::greater(), [](const Matrix& m) { return m.numbers * m.side; });
  struct Load {
    int64_t work = 0, numbers = 0, side = 0;
  };
  std::vector<Load> load(std::min(tracks, all.size()));
  tracks_.resize(load.size());
  for (const Matrix& m : all) {
    const auto least = std::ranges::min_element(load, {}, &Load::work);
    least->work += m.numbers * m.side;
    least->numbers = std::max(least->numbers, m.numbers), least->side = std::max(least->side, m.side);
    tracks_[static_cast<size_t>(least - load.begin())].entries.push_back(m.entry);
  }
  for (size_t t = 0; t < load.size(); ++t)
    tracks_[t].room = std::make_unique<OrthogonalRoom>(load[t].numbers, load[t].side);
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
  const double size = std::sqrt(sum);
  if (std::isfinite(size)) return size;
  const auto bad = std::find_if(square_sums_.begin(), square_sums_.end(), [](double s) { return !std::isfinite(s); });
  const std::string where =
      bad == square_sums_.end()
          ? ""
          : " of " + params_.entries()[chunks_[static_cast<size_t>(bad - square_sums_.begin())].entry].name;
  throw GradientNotFinite(fmt::format(
      "[optim] the gradient{} in step {} is not finite; try a smaller learning rate, a longer warm-up or clip_grad",
      where, steps_ + 1));
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

/// f(chunk, gradient) of all chunks that have one, on the workers.
template <class F>
void Optimiser::each_chunk(const Grads& grads, F f) {
  parallel::rows(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t a, int64_t b) {
    for (auto i = static_cast<size_t>(a); i < static_cast<size_t>(b); ++i)
      if (const Tensor g = grads.at(id(*params_.entries()[chunks_[i].entry].value.leaf()))) f(chunks_[i], g);
  });
}

StepNow Optimiser::now(double lr, double clip) {
  StepNow step{.t = static_cast<double>(++steps_), .lr = lr, .clip = clip};
  if (!schedule_free()) return step;
  if (steps_ == 1)  // z begins where the weights are now
    for (size_t e = 0; e < state_.size(); ++e)
      if (state_[e].m) std::ranges::copy(params_.entries()[e].value.read(), state_[e].m.data());
  largest_lr_ = std::max(largest_lr_, lr);
  weight_sum_ += largest_lr_ * largest_lr_;
  step.c = weight_sum_ > 0 ? largest_lr_ * largest_lr_ / weight_sum_ : 0;
  return step;
}

/// The step of `count` numbers of an entry, or with `room` of a whole hidden matrix.
void Optimiser::take(const Grads& grads, const StepNow& step, size_t entry, int64_t begin, int64_t count,
                     OrthogonalRoom* room) {
  const auto& e = params_.entries()[entry];
  const Tensor g = grads.at(id(*e.value.leaf()));
  if (!g) return;
  StepNow own = step;
  own.decay = e.decay == Decay::yes;
  if (!rates_.empty()) own.lr *= rates_[entry];
  const State& s = state_[entry];
  const auto at = [&](const Tensor& x) { return x ? x.data() + begin : nullptr; };
  const Slice slice{at(g), e.value.rewrite().data() + begin, at(s.m), at(s.v), at(s.ema), count};
  if (room) {
    const auto [rows, cols] = as_matrix(e.value);
    take_matrix_step(std::get<MuonOptions>(rule_), own, rows, cols, slice, *room);
  } else {
    std::visit([&](const auto& options) { take_step(options, own, slice); }, rule_);
  }
}

double Optimiser::step(const Grads& grads, double lr) {
  check_step(grads, lr);
  const double size = norm(grads);
  const double clip = clip_grad_ > 0 ? std::min(1.0, clip_grad_ / (size + 1e-6)) : 1.0;  // torch's clip_grad_norm_
  const StepNow step = now(lr, clip);
  each_chunk(grads, [&](const Chunk& c, const Tensor&) {
    if (!hidden_[c.entry]) take(grads, step, c.entry, c.begin, c.count, nullptr);
  });
  if (!tracks_.empty())
    parallel::shards(static_cast<int>(tracks_.size()), [&](int t) {
      const Track& track = tracks_[static_cast<size_t>(t)];
      for (const size_t e : track.entries) take(grads, step, e, 0, params_.entries()[e].value.size(), track.room.get());
    });
  if (ema_decay_ > 0) follow_the_rest(grads);
  return size;
}

/// The averages of what no rule has moved: buffers, and parameters that this step has no gradient for.
void Optimiser::follow_the_rest(const Grads& grads) {
  const auto& entries = params_.entries();
  for (size_t e = 0; e < entries.size(); ++e) {
    const Tensor& x = entries[e].value;
    if (entries[e].buffer || !grads.at(id(*x.leaf())))
      kernels().average(x.read().data(), state_[e].ema.data(), static_cast<real>(1 - ema_decay_), x.size());
  }
}

// ---- sharpness-aware minimisation ------------------------------------------------------------------------------------

double Optimiser::climb(const Grads& grads, double rho) {
  need(magnitude(rho), "rho", rho, "a number of at least 0");
  check_step(grads, 0);
  const double size = norm(grads);
  climbed_.assign(state_.size(), false);
  for (size_t e = 0; e < state_.size(); ++e) {
    const auto& entry = params_.entries()[e];
    climbed_[e] = !entry.buffer && grads.at(id(*entry.value.leaf()));
    if (climbed_[e] && !state_[e].start) state_[e].start = Tensor(entry.value.shape());
  }
  const auto scale = static_cast<real>(rho / (size + 1e-12));
  each_chunk(grads, [&](const Chunk& c, const Tensor& g) {
    real* const w = params_.entries()[c.entry].value.rewrite().data() + c.begin;
    std::copy_n(w, c.count, state_[c.entry].start.data() + c.begin);
    scaled_sum(scale, g.data() + c.begin, 1, w, c.count);
  });
  return size;
}

void Optimiser::back() {
  if (climbed_.empty()) fail("optim", "back() without climb()");
  parallel::rows(static_cast<int64_t>(chunks_.size()), 1, [&](int64_t a, int64_t b) {
    for (auto i = static_cast<size_t>(a); i < static_cast<size_t>(b); ++i) {
      const Chunk& c = chunks_[i];
      if (!climbed_[c.entry]) continue;
      std::copy_n(state_[c.entry].start.data() + c.begin, c.count,
                  params_.entries()[c.entry].value.rewrite().data() + c.begin);
    }
  });
  climbed_.clear();
}

// ---- by name ------------------------------------------------------------------------------------------------------------

Optimiser::Rule optimiser_of(const OptimConfig& o, double ema_decay, std::vector<std::string> not_hidden) {
  const std::string& opt = o.opt == "sam" ? o.base_optimizer : o.opt;
  const auto [beta1, beta2] = betas(o);
  if (opt == "adamw") return AdamWOptions{beta1, beta2, o.eps, o.weight_decay, o.clip_grad, ema_decay};
  if (opt == "sgd") return SgdOptions{o.momentum, o.nesterov, o.weight_decay, o.clip_grad, ema_decay};
  if (opt == "lion") return LionOptions{beta1, beta2, o.weight_decay, o.clip_grad, ema_decay};
  if (opt == "muon")
    return MuonOptions{.momentum = o.momentum,
                       .nesterov = o.nesterov,
                       .ns_steps = o.ns_steps,
                       .adjust_lr = o.adjust_lr_fn == "original" ? AdjustLr::original : AdjustLr::match_rms_adamw,
                       .normalize_weights = o.normalize_weights,
                       .adamw_rate = o.lr > 0 ? o.adamw_lr / o.lr : 1,
                       .beta1 = beta1,
                       .beta2 = beta2,
                       .eps = o.eps,
                       .weight_decay = o.weight_decay,
                       .clip_grad = o.clip_grad,
                       .ema_decay = ema_decay,
                       .not_hidden = std::move(not_hidden)};
  if (opt == "schedule_free_adamw") return ScheduleFreeAdamWOptions{beta1, beta2, o.eps, o.weight_decay, o.clip_grad};
  const std::string known[] = {"adamw", "sgd", "lion", "muon", "schedule_free_adamw", "sam"};
  unknown("optim.opt", opt, known);
}

AdamW::AdamW(Params& params, const AdamWOptions& options) : Optimiser(params, options) {}
Sgd::Sgd(Params& params, const SgdOptions& options) : Optimiser(params, options) {}
Lion::Lion(Params& params, const LionOptions& options) : Optimiser(params, options) {}
Muon::Muon(Params& params, const MuonOptions& options) : Optimiser(params, options) {}
ScheduleFreeAdamW::ScheduleFreeAdamW(Params& params, const ScheduleFreeAdamWOptions& options)
    : Optimiser(params, options) {}

}  // namespace TESSERA_NS
}  // namespace tessera
