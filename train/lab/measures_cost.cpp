// What an encoding costs beside `none` in the same model: counted, and measured in training steps that take turns.
#include <algorithm>
#include <chrono>
#include <numeric>

#include "tessera/core/memory.h"
#include "tessera/train/cli/profile.h"
#include "tessera/train/lab/measures_session.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/training.h"

namespace tessera::lab {
namespace {

RunConfig without_positions(const RunConfig& config) {
  RunConfig plain = config;
  plain.position = "none";
  plain.position_options.clear();
  return plain;
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// A model that trains on the same batch again and again.
struct Trained {
  cli::Network net;
  Lanes lanes;
  AdamW optimiser;
  uint64_t steps = 0;
  int64_t own = 0;  ///< bytes of tensors that live between steps
  double peak = 0;  ///< bytes of tensors alive in the last step
  double time = 0;  ///< seconds of the last step

  Trained(const RunConfig& c, int64_t live)
      : net(cli::build(c, 1)),
        lanes(lanes_of(c.train, c.train.batch_size)),
        optimiser(*net.params, {.weight_decay = 0.05, .clip_grad = 1}) {
    own = -live;
  }
  void step(const Batch& batch, const Task& task) {
    Pool::reset_peaks();
    const int64_t before = Pool::total().live;
    const double start = seconds();
    const auto [loss, grads] = lanes({Mode::train, 1, steps++, 0}, batch, [&](const Run& run, const Batch& shard) {
      Tally said;
      return task.loss(*net.model, run, shard, said);
    });
    optimiser.step(grads, 1e-4);
    time = seconds() - start, peak = static_cast<double>(Pool::total().peak - before + own);
  }
};

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

}  // namespace

void measure_cost(Session& s) {
  const cli::Profile with = cli::measure(s.run.net);
  s.out.add("params", static_cast<double>(with.params)), s.out.add("macs", with.macs);
  try {
    const cli::Profile plain = cli::measure(cli::build(without_positions(s.run.config), 0, Draw::no));
    s.out.add("params_added", static_cast<double>(with.params - plain.params));
    s.out.add("macs_added", with.macs - plain.macs);
  } catch (const Error& e) {  // a model that does not run without positions
    s.out.leave_out("params_added", e.what()), s.out.leave_out("macs_added", e.what());
  }
}

void measure_speed(Session& s) try {
  constexpr int most_images = 64, turns = 5;
  if (const auto rate = s.summary.find("images_per_s"); rate != s.summary.end() && rate->is_number())
    s.out.add(s.out.timed, "images_per_s", rate->get<double>());
  const Index which = spread(s.test->size(), std::min(most_images, s.run.config.train.batch_size));
  Batch batch = data::gather(*s.test, which);
  batch.of = batch.size();
  if (batch.answers)
    batch.answers_of = std::accumulate(batch.answer_lengths.begin(), batch.answer_lengths.end(), int64_t{0});
  const auto trainer = [&](const RunConfig& config) {
    auto t = std::make_unique<Trained>(config, Pool::total().live);
    go_on(s.hooks);
    t->step(batch, *s.task);  // what is kept from step to step is there now
    t->own += Pool::total().live;
    return t;
  };
  const auto with = trainer(s.run.config), plain = trainer(without_positions(s.run.config));
  std::vector<double> ratio, peak, peak_ratio;
  for (int turn = 0; turn < turns; ++turn) {
    go_on(s.hooks);
    Trained &first = turn % 2 ? *plain : *with, &second = turn % 2 ? *with : *plain;
    first.step(batch, *s.task), second.step(batch, *s.task);
    ratio.push_back(plain->time / with->time);
    peak.push_back(with->peak / (1 << 20)), peak_ratio.push_back(with->peak / plain->peak);
  }
  s.out.add(s.out.timed, "images_per_s_vs_none", median(ratio));
  s.out.add(s.out.timed, "peak_tensors_mb", median(peak));
  s.out.add(s.out.timed, "peak_tensors_vs_none", median(peak_ratio));
} catch (const Error& e) {
  for (const char* name : {"images_per_s_vs_none", "peak_tensors_mb", "peak_tensors_vs_none"})
    s.out.leave_out(name, e.what());
}

}  // namespace tessera::lab
