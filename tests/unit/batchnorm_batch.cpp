// train.batchnorm=batch: BatchNorm over the whole batch, as PyTorch has it, by one shard whose ops share the workers.
#include <doctest/doctest.h>

#include "tessera/core/io/tensor_file.h"
#include "tessera/nn/weights.h"
#include "tessera/train/training/loss.h"
#include "tessera/train/training/optim.h"
#include "tessera/train/training/training.h"
#include "tests/twin/golden_convnets.h"

using namespace tessera;

TEST_CASE(
    "golden: ten SGD steps with BatchNorm over a batch of 128 give torchvision's losses, and its answers by the "
    "running statistics") {
  const io::TensorFile golden(golden_file("resnet_batch", "golden"));
  const Tensor trace = golden.read("trace"), logits = golden.read("logits");
  REQUIRE(trace.size() == 10);
  const GoldenCase c = resnet_cases()[0];
  Tensor x({128, 9, 14, 3});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(7919 * i % 257) / 128 - 1;
  Index labels(128);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % 5);
  const int before = parallel::threads();
  std::vector<double> losses;
  for (const int threads : {1, 3}) {
    parallel::set_threads(threads);
    Params params(1);
    const auto net = model(c.model).make(Scope(params), c.options, position("none"));
    io::load(params, golden_file("resnet_b", "weights"));
    Optimiser optimiser(params, SgdOptions{.momentum = 0.9});
    TrainConfig config;
    config.batch_size = 128, config.batchnorm = "batch";
    Lanes lanes(lanes_of(config, 128));
    for (int64_t step = 0; step < 10; ++step) {
      const auto [loss, grads] = lanes({Mode::train, 0, static_cast<uint64_t>(step), 0}, {x, labels, Tensor(), 0, 128},
                                       [&](const Run& run, const Batch& shard) {
                                         return soft_cross_entropy(net->forward(run, shard.in).logits, shard, 0.1);
                                       });
      optimiser.step(grads, 0.02);
      CHECK(std::abs(loss - static_cast<double>(trace[step])) <= 2e-4);  // float32 of PyTorch: 6e-5
      if (threads == 1) losses.push_back(loss);
      if (threads != 1) CHECK(loss == losses[static_cast<size_t>(step)]);
    }
    const Tensor y = net->forward(Run{}, x.rows(0, 4)).logits;
    double size = 0;
    for (int64_t i = 0; i < y.size(); ++i) size = std::max(size, std::abs(static_cast<double>(logits[i])));
    for (int64_t i = 0; i < y.size(); ++i)
      CHECK(std::abs(static_cast<double>(y[i]) - static_cast<double>(logits[i])) <= 5e-3 * size);  // of PyTorch: 1.7e-3
  }
  parallel::set_threads(before);
}
