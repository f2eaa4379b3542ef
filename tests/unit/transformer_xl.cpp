// A text whose second half is its first, read in two segments: who remembers the first can say the second.
#include "tessera/models/transformer_xl.h"

#include <doctest/doctest.h>

#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/loss.h"
#include "tessera/train/training/classification.h"
#include "tessera/train/training/optim.h"

namespace tessera::test {
namespace {

constexpr int B = 16, T = 8, K = 8;

Ints text(uint64_t number) {
  const rng::Stream draw(rng::mix(number));
  Ints half(B, T);
  for (int i = 0; i < B * T; ++i) half.data()[i] = static_cast<int32_t>(draw.below(static_cast<uint64_t>(i), K));
  return half;
}

/// Logits of the second half, read after the first.
Tensor second(const transformer_xl::TransformerXl& model, const Run& run, const Ints& half) {
  Input in;
  in.tokens = half;
  in.state = model.forward(run, in).state;
  return model.forward(run, in).logits;
}

/// The share of tokens 2 .. T of the second half that are said rightly, after so many steps.
double learned(int mem_len, const char* encoding, int steps) {
  transformer_xl::Config c;
  c.vocab_size = K, c.d_model = 32, c.nhead = 2, c.num_layers = 2, c.dim_feedforward = 64, c.dropout = 0;
  c.mem_len = mem_len, c.max_length = 2 * T;
  Params params(3);
  const transformer_xl::TransformerXl model(Scope(params), c, position(encoding));
  AdamW optimiser(params, {.weight_decay = 0, .clip_grad = 1});
  Ints rows(B * (T - 1)), next(B * (T - 1));
  for (int b = 0, i = 0; b < B; ++b)
    for (int t = 0; t + 1 < T; ++t, ++i) rows.data()[i] = b * T + t;
  int right = 0, of = 0;
  for (int step = 0; step < steps + 10; ++step) {
    const Ints half = text(static_cast<uint64_t>(step));
    for (int i = 0; i < next.count(); ++i) next.data()[i] = half[static_cast<size_t>(rows[static_cast<size_t>(i)]) + 1];
    Tape tape;
    Grads grads;
    const Tensor z = embedding(second(model, Run{.mode = Mode::train}, half).reshape({B * T, K}), rows);
    if (step >= steps) {  // texts it has not seen
      for (int i = 0; i < next.count(); ++i, ++of)
        right += named_class(z.read().subspan(static_cast<size_t>(i) * K, K)) == next[static_cast<size_t>(i)];
      continue;
    }
    tape.backward(soft_cross_entropy(z, next, 0, 1.0 / next.count()), grads);
    optimiser.step(grads, 3e-3);
  }
  return static_cast<double>(right) / of;
}

}  // namespace

TEST_CASE("transformer_xl: a memory solves what nothing else can") {
  const double remembers = learned(T, "transformer_xl", 400), forgets = learned(0, "transformer_xl", 400);
  MESSAGE("second half said rightly: " << 100 * remembers << " % with a memory, " << 100 * forgets << " % without");
  CHECK(remembers >= 0.98);
  CHECK(forgets <= 0.25);  // chance is 1 in 8
}

}  // namespace tessera::test
