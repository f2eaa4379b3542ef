// Weights of one task in a model of another: the backbone is read, the head is new, and the first blocks stay as they are. Of another image
// size, position tables would be resized by their encoding's own rule.    ./fine_tune WEIGHTS.safetensors, or without one it trains some first
#include <tessera/tessera.h>

#include <cstdio>
#include <filesystem>

using namespace tessera;

namespace {

vit::Config config(int img_size, int classes) {
  return {.img_size = img_size, .num_classes = classes, .embed_dim = 32, .depth = 3, .num_heads = 2};
}

double train(const Model& model, Params& params, const data::Set& set, int epochs, double lr) {
  AdamW optimiser(params, {.weight_decay = 0.05, .clip_grad = 1.0});
  data::Loader loader(set, {.batch_size = 64, .seed = 1});
  Lanes lanes;
  uint64_t step = 0;
  double loss = 0;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    loss = 0;
    for (const Batch& batch : loader.epoch(epoch)) {
      auto [value, grads] = lanes({Mode::train, 1, step++}, batch, [&](const Run& run, const Batch& shard) {
        return soft_cross_entropy(model.forward(run, shard.in), shard);
      });
      optimiser.step(grads, lr);
      loss += value / double(loader.batches());
    }
  }
  return loss;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string weights = argc > 1 ? argv[1] : "";
  if (weights.empty()) {  // something to begin with: which quadrant an object lies in, on 32 x 32 pixels
    const auto quadrant = data::open("where:quadrant", "", {.train_size = 512, .test_size = 64});
    Params params(1);
    const vit::Vit model(Scope(params), config(32, quadrant.classes), position("learned"));
    std::printf("pretrained to a loss of %.3f\n", train(model, params, quadrant.train, 3, 1e-3));
    weights = "pretrained.safetensors";
    io::save(params, weights, {{"model.img_size", "32"}, {"model.img_width", "0"}, {"model.patch_size", "4"}});
  }

  // the other task
  const auto border = data::open("where:border", "", {.train_size = 512, .test_size = 256});
  Params params(2);
  PositionTables tables;
  const vit::Vit model(Scope(params), config(border.train.h, border.classes),
                       remember_tables(position("learned"), tables));

  // everything but the head, which the file has for other classes
  io::TensorFile file(weights);
  io::LoadOptions options =
      io::resampling(tables, {}, [](const std::string& line) { std::printf("%s\n", line.c_str()); });
  options.fit = [fit = options.fit](const Params::Entry& e, const Tensor& from) {
    return e.name.starts_with("head.") ? e.value.copy() : fit(e, from);
  };
  io::load(params, file, options);

  const int frozen = params.freeze("patch_embed.") + params.freeze("blocks.0.");
  std::printf("%d of %zu tensors stay as they are\n", frozen, params.entries().size());
  std::printf("fine-tuned to a loss of %.3f\n", train(model, params, border.train, 3, 5e-4));
  std::printf("test %.2f %%\n", 100 * evaluate(model, border.test).acc1);
} catch (const Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
