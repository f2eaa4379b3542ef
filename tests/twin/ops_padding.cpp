// Ops that leave the padding of a batch of sequences out.
#include <numeric>

#include "tessera/core/ops/batchnorm.h"
#include "tessera/core/ops/keep_valid.h"
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

bool valid(const Shape& shape, const Index& lengths, int64_t i) {
  const int64_t row = shape.size() / shape[0] / shape[1];
  return i / row % shape[1] < lengths[static_cast<size_t>(i / row / shape[1])];
}

OP_ROWS(keep_valid) {
  const std::pair<Shape, Index> cases[] = {
      {{3, 5, 4}, {5, 0, 2}}, {{1, 7}, {3}}, {{2, 3, 2, 33}, {1, 3}}, {{2, 0, 3}, {0, 0}}};
  for (const auto& [shape, lengths] : cases)
    rows.push_back({.op = "keep_valid",
                    .name = shape.str() + " of " + std::to_string(lengths[0]) + " and others",
                    .in = {{shape}},
                    .run = [lengths = lengths](const Tensors& x) { return keep_valid(x[0], lengths); },
                    .reference =
                        [lengths = lengths](const Arrays& x) {
                          Array y = x[0];
                          for (int64_t i = 0; i < y.size(); ++i)
                            if (!valid(y.shape, lengths, i)) y[i] = 0;
                          return y;
                        }});
  errors.push_back({"keep_valid", "count", [] { keep_valid(zeros({2, 3}), Ints{1}); }, "1 lengths"});
  errors.push_back({"keep_valid", "too long", [] { keep_valid(zeros({2, 3}), Ints{1, 4}); }, "0 to 3"});
  errors.push_back({"keep_valid", "rank", [] { keep_valid(zeros({2}), Ints{1, 1}); }, "(B, T, ...)"});
}

Array plain_batchnorm(const Arrays& x, double eps, bool training, const Index& lengths) {
  const int C = x[0].dim(-1);
  Array y = x[0];
  for (int c = 0; c < C; ++c) {
    double n = 0, m = 0, v = 0;
    const auto each = [&](auto f) {
      for (int64_t i = c; i < y.size(); i += C)
        if (valid(y.shape, lengths, i)) f(x[0][i]);
    };
    each([&](double) { ++n; });
    each([&](double a) { m += a / n; });
    each([&](double a) { v += (a - m) * (a - m) / n; });
    if (!training) m = x[3][c], v = x[4][c];
    for (int64_t i = c; i < y.size(); i += C)
      y[i] = valid(y.shape, lengths, i) ? (x[0][i] - m) / std::sqrt(v + eps) * x[1][c] + x[2][c] : 0;
  }
  return y;
}

OP_ROWS(batchnorm_of_padded) {
  const std::pair<Shape, Index> cases[] = {{{3, 5, 3}, {5, 1, 3}}, {{2, 4, 33}, {0, 4}}, {{1, 7, 2}, {4}}};
  for (const auto& [shape, lengths] : cases)
    for (bool training : {true, false}) {
      const int C = shape[-1];
      const int valid_rows = std::accumulate(lengths.begin(), lengths.end(), 0);
      const Run run{training ? Mode::train : Mode::eval, 0, 0, 0};
      rows.push_back(
          {.op = "batchnorm",
           .name = shape.str() + " padded, " + (training ? "training" : "evaluation"),
           .in = {{shape}, {{C}}, {{C}}, {{C}, -1, 1, {}, false, false}, {{C}, 0.5, 2, {}, false, false}},
           .run = [run, lengths = lengths](
                      const Tensors& x) { return batchnorm(x[0], x[1], x[2], x[3], x[4], 1e-2, run, lengths); },
           .reference = [training,
                         lengths = lengths](const Arrays& x) { return plain_batchnorm(x, 1e-2, training, lengths); },
           .K = static_cast<double>(valid_rows)});
    }
  const auto refused = [&](const char* name, const Shape& shape, const Ints& lengths, Mode mode, const char* says) {
    errors.push_back(
        {"batchnorm", name,
         [=] {
           const int C = shape[-1];
           batchnorm(zeros(shape), zeros({C}), zeros({C}), zeros({C}), zeros({C}), 1e-5, {mode, 0, 0, 0}, lengths);
         },
         says});
  };
  refused("lengths of a map", {2, 2, 2, 3}, {1, 1}, Mode::eval, "(2, T, C)");
  refused("another number of lengths", {2, 2, 3}, {1}, Mode::eval, "1 lengths");
  refused("too long", {2, 2, 3}, {1, 3}, Mode::eval, "0 to 2");
  refused("one valid row", {2, 2, 3}, {1, 0}, Mode::train, "at least 2 values");
}

TWIN_CASE("batchnorm of a padded batch is that of its valid rows alone: values, gradients, statistics") {
  const int B = 3, T = 5, C = 4;
  const Index lengths{5, 1, 3};
  Tensor x({B, T, C}), dy({B, T, C}), rows({9, C}), drows({9, C}), w({C}), b({C});
  for (int64_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<real>(std::sin(1.7 * static_cast<double>(i)) + 0.3);
    dy[i] = static_cast<real>(std::cos(2.3 * static_cast<double>(i)));
  }
  for (int c = 0; c < C; ++c) w[c] = static_cast<real>(0.5 + c), b[c] = static_cast<real>(c - 1.5);
  std::vector<int64_t> from;  // of each valid row
  for (int64_t r = 0; r < B * T; ++r)
    if (r % T < lengths[static_cast<size_t>(r / T)]) from.push_back(r);
  for (size_t r = 0; r < from.size(); ++r)
    for (int c = 0; c < C; ++c) {
      const auto at = static_cast<int64_t>(r) * C + c;
      rows[at] = x[from[r] * C + c], drows[at] = dy[from[r] * C + c];
    }
  const Tensor mean = zeros({C}), var = full({C}, 1);
  std::vector<BatchStatistics> seen;
  const Collecting collect(seen);
  const auto run = [&](const Tensor& in, const Tensor& cotangent, const Ints& valid_frames) {
    Tape tape;
    Grads none;
    const Tensor tx = tape.watch(in), tw = tape.watch(w), tb = tape.watch(b);
    const Tensor y = batchnorm(tx, tw, tb, mean, var, 1e-5, {Mode::train, 0, 0, 0}, valid_frames);
    tape.backward(y, cotangent, none);
    return std::vector<Tensor>{y.detach(), tape.grad(tx), tape.grad(tw), tape.grad(tb)};
  };
  const auto padded = run(x, dy, lengths), alone = run(rows, drows, {});
  for (size_t k = 0; k < 2; ++k) {
    double beyond = 0;
    for (real v : padded[k].values()) beyond += std::abs(static_cast<double>(v));
    for (size_t r = 0; r < from.size(); ++r)
      for (int c = 0; c < C; ++c) {
        const real v = padded[k][from[r] * C + c];
        CHECK(v == alone[k][static_cast<int64_t>(r) * C + c]);
        beyond -= std::abs(static_cast<double>(v));
      }
    CHECK(std::abs(beyond) < 1e-5);  // nothing but zeros in the padding
  }
  for (size_t k = 2; k < 4; ++k)
    for (int c = 0; c < C; ++c) CHECK(padded[k][c] == alone[k][c]);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].count == 9);
  for (int c = 0; c < C; ++c) {
    CHECK(seen[0].mean[c] == seen[1].mean[c]);
    CHECK(seen[0].m2[c] == seen[1].m2[c]);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
