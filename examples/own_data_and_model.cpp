// Data and a model of one's own: sequences of different lengths in memory, a recurrent filter over their frames, and the library's trainer,
// whose result is a run folder with weights, metrics and what `tessera report` needs. No file of tessera changes (docs/add_a_model.md).
#include <tessera/models/row.h>
#include <tessera/tessera.h>

#include <cmath>
#include <cstdio>

using namespace tessera;

namespace recurrent {

struct Config {
  int input_dim = 1, num_classes = 2, embed_dim = 16;
};
Fields<Config> fields() {
  static const Field<Config> table[] = {{"input_dim", &Config::input_dim, "numbers in a frame", within(1, 4096)},
                                        {"num_classes", &Config::num_classes, "classes", within(1, 1000)},
                                        {"embed_dim", &Config::embed_dim, "width", within(1, 4096)}};
  return table;
}
Places places(const Config&) { return {}; }  // no attention, so no place for a position encoding
InputShape input(const Config& c) { return {.kind = InputShape::Kind::frames, .features = c.input_dim}; }
void fit(const ModelRow&, Options& said, const DataShape& data) {
  follow(said, "input_dim", data.input.features, data, "features");
  follow(said, "num_classes", data.classes, data, "classes");
}

/// h_t = tanh(W x_t + U h_{t-1}); the logits are read from every sample's last valid frame.
struct Recurrent final : Model {
  Linear in, back, head;
  Recurrent(const Scope& s, const Config& c, const MakePosition&)
      : in(s / "in", c.input_dim, c.embed_dim, true, {xavier_uniform(c.input_dim, c.embed_dim)}),
        back(s / "back", c.embed_dim, c.embed_dim, false, {xavier_uniform(c.embed_dim, c.embed_dim)}),
        head(s / "head", c.embed_dim, c.num_classes) {}
  Output forward(const Run& run, const Input& input) const override {
    const auto [B, T, F] = input.x.dims<3>();
    const int C = back.weight.dim(0);
    const Tensor x = in(run, input.x);
    Tensor h = zeros({B, C}), last = zeros({B, C});
    for (int t = 0; t < T; ++t) {
      h = tanh(add(slice(x, 1, t, t + 1).reshape({B, C}), back(run, h)));
      Tensor ends = zeros({B, 1});
      for (int b = 0; b < B; ++b) ends[b] = t + 1 == (input.lengths ? input.lengths[size_t(b)] : T);
      last = add(last, mul(h, ends));
    }
    return {.logits = head(run, last), .lengths = {}, .stages = {}};
  }
};

}  // namespace recurrent

/// Does a wave rise or fall in frequency? 10 to 40 frames of it.
data::Sequences chirps(int n, uint64_t seed) {
  std::vector<std::vector<float>> all;
  Index labels;
  for (int i = 0; i < n; ++i) {
    const rng::Stream random(rng::mix(seed) + uint64_t(i));
    const int T = 10 + int(random.below(0, 31)), label = i % 2;
    std::vector<float> x;
    for (int t = 0; t < T; ++t) {
      const double at = double(label ? t : T - t) / T;
      x.push_back(float(std::sin(3 * at * at * T / 10 + 0.1 * random.normal(uint64_t(t) + 1))));
    }
    all.push_back(x), labels.push_back(label);
  }
  return data::sequences(all, 1, labels);
}

int main(int argc, char** argv) try {
  const Family<recurrent::Config> family{"recurrent",       "this file",      "none",        recurrent::fields(),
                                         recurrent::places, recurrent::input, recurrent::fit};
  add_model(model_row<recurrent::Recurrent>(family, "recurrent", recurrent::Config()));
  RunConfig config;
  config.model = "recurrent";
  config.train.epochs = 10, config.train.batch_size = 16, config.optim.lr = 1e-2;
  RunParts own;
  own.train = data::from_memory(chirps(256, 1), {"falls", "rises"});
  own.val = data::from_memory(chirps(64, 2), {"falls", "rises"});
  own.test = data::from_memory(chirps(128, 3), {"falls", "rises"});
  Hooks hooks;
  hooks.say = [](std::string_view line) { std::printf("%.*s\n", int(line.size()), line.data()); };
  const RunResult result = train_run(config, argc > 1 ? argv[1] : "", /*resume*/ false, hooks, own);
  std::printf("test %.2f %%\n", 100 * result.test_acc1);
} catch (const Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
