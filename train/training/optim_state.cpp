// What an optimiser keeps beside the weights: its names in a checkpoint, and the average that answers in their place.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "tessera/train/training/optim.h"

namespace tessera {
inline namespace TESSERA_NS {

std::vector<io::NamedTensor> Optimiser::state() const {
  if (schedule_free()) refresh_average();
  std::vector<io::NamedTensor> all;
  const auto& entries = params_.entries();
  for (size_t e = 0; e < entries.size(); ++e) {
    const State& s = state_[e];
    if (s.m) all.emplace_back((schedule_free() ? "optim.z." : "optim.m.") + entries[e].name, s.m);
    if (s.v) all.emplace_back("optim.v." + entries[e].name, s.v);
    if (s.ema) all.emplace_back("ema." + entries[e].name, s.ema);
  }
  return all;
}

io::Metadata Optimiser::numbers() const {
  if (!schedule_free()) return {};
  return {{"optim.largest_lr", fmt::format("{}", largest_lr_)}, {"optim.weight_sum", fmt::format("{}", weight_sum_)}};
}

void Optimiser::restore(const io::TensorFile& file, uint64_t steps) {
  const auto number = [&](const char* name, double& to) {
    const auto said = file.metadata().find(name);
    if (said == file.metadata().end()) fail("optim", "{} does not say {}", file.path(), name);
    const std::string& s = said->second;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), to);
    if (error != std::errc() || end != s.data() + s.size()) fail("optim", "{} says {} = {}", file.path(), name, s);
  };
  const auto all = state();
  double largest_lr = 0, weight_sum = 0;
  if (schedule_free()) number("optim.largest_lr", largest_lr), number("optim.weight_sum", weight_sum);
  for (const auto& [name, to] : all) {
    const Tensor from = file.read(name);
    if (!(from.shape() == to.shape())) {
      fail("optim", "{} is {} in {} but {} here", name, from.shape().str(), file.path(), to.shape().str());
    }
    std::memcpy(to.data(), from.data(), static_cast<size_t>(to.size()) * sizeof(real));
  }
  steps_ = steps, largest_lr_ = largest_lr, weight_sum_ = weight_sum;
}

int64_t Optimiser::state_bytes() const {
  int64_t n = 0;
  for (const State& s : state_) {
    for (const Tensor* x : {&s.m, &s.v, &s.start}) n += *x ? x->size() : 0;
    if (s.ema && !schedule_free()) n += s.ema.size();  // that average is computed only where it answers
  }
  n *= static_cast<int64_t>(sizeof(real));
  for (const Track& t : tracks_) n += t.room->bytes();
  return n;
}

// The average of schedule-free AdamW: x of what is trained, running statistics as they are.
void Optimiser::refresh_average() const {
  const auto& entries = params_.entries();
  for (size_t e = 0; e < state_.size(); ++e) {
    const auto live = entries[e].value.read();
    const State& s = state_[e];
    if (s.m) {
      schedule_free_average(*schedule_free(), live.data(), s.m.data(), s.ema.data(), s.m.size());
    } else {
      std::ranges::copy(live, s.ema.data());
    }
  }
}

void Optimiser::swap_average() {
  if (ema_decay_ <= 0 && !schedule_free()) return;
  if (schedule_free() && !averaged_) refresh_average();
  const auto& entries = params_.entries();
  for (size_t e = 0; e < state_.size(); ++e) entries[e].value.exchange_values(state_[e].ema);
  averaged_ = !averaged_;
}

}  // namespace TESSERA_NS
}  // namespace tessera
