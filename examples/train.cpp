#include <tessera/tessera.h>

#include <cstdio>
#include <cstdlib>
using namespace tessera;
// clang-format off
int main(int argc, char** argv) try {
  auto cifar = data::open(argc > 1 ? argv[1] : "cifar10");  // in $TESSERA_DATA or ./data
  auto [train, val] = data::split(cifar.train, cifar.train.size() * 9 / 10, cifar.train.size() / 10, /*seed*/ 1);
  vit::Config config{.img_size = 32, .patch_size = 4, .num_classes = cifar.classes, .embed_dim = 128,
                     .depth = 6, .num_heads = 4, .mlp_ratio = 2, .drop_path_rate = 0.1};
  Params params(/*seed*/ 1);
  vit::Vit model(Scope(params), config, position("rope_axial", {{"theta", 100.0}}));
  AdamW optimiser(params, {.weight_decay = 0.05, .clip_grad = 1.0});
  Cosine rate{.lr = 1e-3, .epochs = argc > 2 ? std::atof(argv[2]) : 30, .warmup = 3};
  data::Loader loader(train, {.batch_size = 128, .seed = 1, .augment = {.crop = 0, .flip = false}});
  Lanes lanes;  // 8 lanes, shards of 8 images
  uint64_t step = 0;
  for (int epoch = 0; epoch < rate.epochs; ++epoch) {
    double loss = 0;
    for (const Batch& batch : loader.epoch(epoch)) {
      auto [value, grads] = lanes({Mode::train, /*seed*/ 1, step}, batch,
          [&](const Run& run, const Batch& shard) {  // runs on its own tape
            return soft_cross_entropy(model.forward(run, shard.in), shard, 0.1); });
      optimiser.step(grads, rate(double(step++) / double(loader.batches())));
      loss += value / double(loader.batches());
    }
    std::printf("epoch %2d  loss %.3f  val %.2f %%\n", epoch, loss, 100 * evaluate(model, val).acc1);
  }
  std::printf("test %.2f %%\n", 100 * evaluate(model, cifar.test).acc1);
  io::save(params, "vit.safetensors");  // timm's names
} catch (const Error& e) { std::fprintf(stderr, "%s\n", e.what()); return 1; }
