// A position encoding of one's own in a model of the library: a decay that every head learns for rows and columns. No file of tessera changes.
//   s_ij -= softplus(a_h) |dy| + softplus(b_h) |dx|
#include <tessera/nn/position/encoding.h>
#include <tessera/nn/position/pairs.h>
#include <tessera/tessera.h>

#include <cmath>
#include <cstdio>

using namespace tessera;

struct LearnedDecay final : PositionEncoding {
  struct Config {
    double start = 0.1;
  };
  static Fields<Config> fields() {
    static const Field<Config> table[] = {{"start", &Config::start, "decay a cell before training", positive(10)}};
    return table;
  }

  LearnedDecay(const Scope& net, const Places& at, const Config& c) {
    const double inverse = std::log(std::expm1(c.start));  // of softplus
    for (const Site& s : at.sites)
      own.push_back((net / s.path / "position").param("decay", {s.heads, 2}, constant(inverse), Decay::no));
  }

  Terms terms(const Site& s, const Layout& now, const Tokens&, const Run&) const override {
    const Extent e = extent(now);
    std::vector<double> offsets;  // (cells, 2): -(|dy|, |dx|) of every row that unsigned_pairs() knows
    for (int r = 0; r < e.cells(); ++r) offsets.insert(offsets.end(), {-double(r / e.w), -double(r % e.w)});
    const Tensor decay = softplus(own[size_t(s.id)]);                                        // (heads, 2)
    const Tensor bias = linear(decay, tensor({e.cells(), 2}, offsets), {}, Precision::f32);  // (heads, cells)
    static Memo<Layout, RelativeIndex> memo;
    return Terms{}.add({Relative::bias, bias.reshape({s.heads, e.cells(), 1}), 0,
                        memo(now, [&] { return unsigned_pairs(now, false); })});
  }

  std::vector<Tensor> own;  // by Site::id
};

int main() try {
  const Encoding code = encoding<LearnedDecay>();
  add_position({"learned_decay",
                "A learned decay an axis",
                {"bias"},
                true,
                2026,
                "this file",
                "recompute",
                code.defaults,
                code.make,
                code.refuses,
                code.help,
                code.domains});

  const auto where = data::open("where", "", {.train_size = 512, .test_size = 256});
  for (const char* name : {"none", "learned_decay", "rope_axial+learned_decay"}) {
    Params params(/*seed*/ 1);
    vit::Config config{
        .img_size = where.train.h, .num_classes = where.classes, .embed_dim = 32, .depth = 2, .num_heads = 2};
    vit::Vit model(Scope(params), config, position(name));
    AdamW optimiser(params, {.weight_decay = 0.05, .clip_grad = 1.0});
    data::Loader loader(where.train, {.batch_size = 64, .seed = 1});
    Lanes lanes;
    uint64_t step = 0;
    for (int epoch = 0; epoch < 3; ++epoch)
      for (const Batch& batch : loader.epoch(epoch)) {
        auto [value, grads] = lanes({Mode::train, 1, step++}, batch, [&](const Run& run, const Batch& shard) {
          return soft_cross_entropy(model.forward(run, shard.in), shard);
        });
        optimiser.step(grads, 1e-3);
      }
    std::printf("%-26s test %.2f %%\n", name, 100 * evaluate(model, where.test).acc1);
  }
} catch (const Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
