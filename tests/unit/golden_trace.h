#pragma once
// Ten steps of AdamW on a golden case (tests/golden/common.py says how its losses were computed). Nothing of the trainer is used but the
// optimiser and the merging of BatchNorm's statistics.
#include <doctest/doctest.h>

#include <cmath>

#include "tessera/core/ops/batchnorm.h"
#include "tessera/nn/weights.h"
#include "tessera/train/training/optim.h"
#include "tests/twin/golden.h"

namespace tessera::test {

/// Mean cross-entropy with label smoothing, and its gradient in dz, written out in double. z (..., K), a label for each row; -1: not counted.
inline double smoothed_loss(const Tensor& z, const Tensor& labels, double smoothing, Tensor& dz) {
  const int K = z.dim(-1);
  const int64_t B = z.size() / K;
  int64_t counted = 0;
  for (int64_t b = 0; b < B; ++b) counted += labels[b] >= 0;
  double loss = 0;
  for (int64_t b = 0; b < B; ++b) {
    const float* row = z.data() + b * K;
    double most = row[0], sum = 0;
    for (int k = 1; k < K; ++k) most = std::max<double>(most, row[k]);
    for (int k = 0; k < K; ++k) sum += std::exp(row[k] - most);
    for (int k = 0; k < K; ++k) {
      const double target = smoothing / K + (k == static_cast<int>(labels[b]) ? 1 - smoothing : 0);
      const double log_p = row[k] - most - std::log(sum);
      if (labels[b] >= 0) loss -= target * log_p / static_cast<double>(counted);
      dz[b * K + k] =
          labels[b] >= 0 ? static_cast<float>((std::exp(log_p) - target) / static_cast<double>(counted)) : 0;
    }
  }
  return loss;
}

/// The losses of case `name` within 1e-4. `position` "": the model's own.
inline void check_trace(const std::string& name, const std::string& model_name, const Options& options,
                        const std::string& position_name = "", const Options& position_options = {}) {
  const io::TensorFile file(golden_file(name, "golden"));
  const ModelRow& row = model(model_name);
  Params params(1);
  const auto net = row.make(Scope(params), options,
                            position(position_name.empty() ? row.position : position_name, position_options));
  io::load(params, golden_file(name, "weights"));
  AdamW optimiser(params, {.weight_decay = 0.05, .clip_grad = 1});
  const Input input = golden_input(name);
  const Tensor labels = file.read("labels"), trace = file.read("trace");
  REQUIRE(trace.size() == 10);
  for (int64_t step = 0; step < trace.size(); ++step) {
    Tape tape;
    Grads grads;
    std::vector<BatchStatistics> statistics;
    Collecting collecting(statistics);
    const Tensor z = net->forward({Mode::train, 0, static_cast<uint64_t>(step), 0}, input).logits;
    Tensor dz(z.shape());
    const double loss = smoothed_loss(z, labels, 0.1, dz);
    tape.backward(z, dz, grads);
    optimiser.step(grads, 1e-2);
    update_running(statistics);
    CAPTURE(name);
    CAPTURE(step);
    CHECK(std::abs(loss - static_cast<double>(trace[step])) <= 1e-4);
  }
}

}  // namespace tessera::test
