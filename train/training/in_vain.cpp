#include "tessera/train/training/in_vain.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/nn/weights.h"
#include "tessera/train/data/progressive.h"
#include "tessera/train/training/text.h"
#include "tessera/train/training/training.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// What is planned for a time when the run has ended.
std::vector<std::string> never_comes(const RunConfig& c) {
  const SchedConfig& s = c.sched;
  const double end = c.train.epochs, warmup = s.sched == "triangular" ? 0 : s.warmup_epochs;
  std::vector<std::string> parts;
  if (warmup >= end) {
    parts.push_back(fmt::format("the end of sched.warmup_epochs={}", warmup));
  } else if (s.cooldown_epochs > 0 && warmup + s.cooldown_epochs > end) {
    parts.push_back(
        fmt::format("anything between sched.warmup_epochs={} and sched.cooldown_epochs={}", warmup, s.cooldown_epochs));
  }
  if (s.sched == "step" && s.decay_epochs >= end) parts.push_back(fmt::format("sched.decay_epochs={}", s.decay_epochs));
  for (const data::SizeFrom& size : data::progressive(c.data.progressive))
    if (size.epoch >= end) parts.push_back(fmt::format("data.progressive={}@{}", size.size, size.epoch));
  if (c.augment.mix_off_epoch >= end) parts.push_back(fmt::format("augment.mix_off_epoch={}", c.augment.mix_off_epoch));
  return parts;
}

}  // namespace

std::vector<std::string> in_vain(const RunConfig& c, const InputShape& sample, const Params& params) {
  std::vector<std::string> lines;
  if (const auto parts = never_comes(c); !parts.empty())
    lines.push_back(fmt::format("the run ends after {}; what never comes: {}", plural(c.train.epochs, "epoch"),
                                fmt::join(parts, ", ")));
  TrainConfig unsaid = c.train;
  unsaid.shard_size = 0;  // then it is what config.toml says
  if (c.train.batchnorm == "batch" && c.train.shard_size != shard_for(unsaid, sample, params))
    lines.push_back(fmt::format("train.shard_size={} does nothing with train.batchnorm=batch, whose shards are batches",
                                c.train.shard_size));
  const auto& entries = params.entries();
  if (c.train.bn_momentum != TrainConfig().bn_momentum &&
      std::ranges::none_of(entries, [](const auto& e) { return e.name.ends_with("running_mean"); }))
    lines.push_back(
        fmt::format("train.bn_momentum={} does nothing: {} has no BatchNorm", c.train.bn_momentum, c.model));
  for (const auto& [pattern, factor] : lr_scales(c.optim.lr_scale))
    if (std::ranges::none_of(entries, [&, &of = pattern](const auto& e) {
          return !e.buffer && e.value.leaf()->trainable && io::matches(of, e.name);
        }))
      lines.push_back(fmt::format("optim.lr_scale={}={} does nothing: these parameters are frozen", pattern, factor));
  return lines;
}

}  // namespace TESSERA_NS
}  // namespace tessera
