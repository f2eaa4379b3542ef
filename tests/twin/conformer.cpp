// The Conformer's padding and causality. Golden numbers: golden_conformer.cpp; sizes, names, encodings: conformer_models.cpp.
#include <limits>

#include "tessera/core/ops/slice.h"
#include "tessera/nn/sequences.h"
#include "tests/twin/conformer_bed.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace conformer_test;
using test::error_of;

// ---- padding --------------------------------------------------------------------------------------------------------

/// The logits of a padded batch are those of each sample alone, and to the bit the same whatever stands in the padding.
void check_padding(const Options& options, const char* encoding) {
  const Net net("conformer", small(options), encoding);
  const Index lengths{23, 9, 16};
  Input in(frames(3, 23, 9));
  in.lengths = lengths;
  const Tensor together = net(in);
  for (int b = 0; b < 3; ++b) {
    const Tensor alone = net(slice(in.x.rows(b, b + 1), 1, 0, lengths[static_cast<size_t>(b)]));
    CHECK(distance(slice(together, 0, b, b + 1), alone) <= (twin ? 1e-12 : 1e-5));
  }
  for (const double garbage : {1e4, std::numeric_limits<double>::quiet_NaN()}) {
    Input dirty = in;
    dirty.x = in.x.copy();
    for (int64_t i = 0; i < dirty.x.size(); ++i)
      if (i / 9 % 23 >= lengths[static_cast<size_t>(i / 9 / 23)]) dirty.x[i] = static_cast<real>(garbage);
    const Tensor again = net(dirty);
    for (int64_t i = 0; i < again.size(); ++i) CHECK(again[i] == together[i]);
  }
}

TWIN_CASE("conformer: a padded batch has the logits of each sample alone, whatever stands in the padding") {
  for (const int k : {5, 6, 31})
    for (const int expansion : {1, 2})
      for (const bool causal : {false, true}) {
        CAPTURE(k);
        CAPTURE(expansion);
        CAPTURE(causal);
        check_padding({{"depthwise_conv_kernel_size", k}, {"conv_expansion", expansion}, {"causal", causal}}, "none");
      }
  for (const int subsampling : {2, 4}) {
    CAPTURE(subsampling);
    check_padding({{"subsampling", subsampling}}, "conformer_shaw");
    check_padding({{"subsampling", subsampling}, {"causal", true}}, "conformer_shaw");
  }
  check_padding({{"use_group_norm", true}}, "none");
  check_padding({{"convolution_first", true}}, "none");
  for (const char* encoding : {"conformer_shaw", "shaw_kv", "transformer_xl", "rope", "sinusoidal", "alibi", "t5",
                               "cpe", "cpe_raster", "peg", "music_transformer"}) {
    CAPTURE(encoding);
    check_padding({}, encoding);
    for (const int trained : {12, 7}) check_padding({{"num_frames", trained}}, encoding);  // longer than trained
  }
}

TWIN_CASE("conformer: padding says nothing whatever the options of an encoding are") {
  int ran = 0;
  for (const walk::Variant& v : walk::variants())
    for (const int trained : {32, 12}) {
      CAPTURE(v.label());
      CAPTURE(trained);
      const Options options = small({{"num_frames", trained}});
      if (!error_of([&] { check_position(v.name, v.options, model("conformer").places(options)); }).empty()) continue;
      const Net net("conformer", options, v.name, v.options);
      Input in(frames(2, 23, 9));
      in.lengths = Index{23, 14};
      const Tensor alone = net(slice(in.x.rows(1, 2), 1, 0, 14));
      CHECK(distance(slice(net(in), 0, 1, 2), alone) <= (twin ? 1e-12 : 1e-5));
      ++ran;
    }
  CHECK((ran > 180 || !walk::walked_alone().empty()));
}

TWIN_CASE("conformer: frame by frame, lengths follow the subsampling and valid frames are those of a sample alone") {
  for (const int factor : {1, 2, 4}) {
    const Net net("conformer", small({{"subsampling", factor}, {"global_pool", "none"}}), "conformer_shaw");
    Input in(frames(2, 23, 9));
    in.lengths = Ints{23, 12}, in.features = true;
    const Output y = net.model->forward(Run{}, in);
    const int kept = factor == 1 ? 12 : factor == 2 ? 5 : 2, T = factor == 1 ? 23 : factor == 2 ? 11 : 5;
    CHECK(y.logits.shape() == Shape{2, T, 3});
    CHECK(y.lengths == Index{T, kept});
    CHECK(y.stages.at(0).shape() == Shape{2, T, 16});
    const Tensor alone = net(slice(in.x.rows(1, 2), 1, 0, 12));
    CHECK(distance(slice(slice(y.logits, 0, 1, 2), 1, 0, kept), alone) <= (twin ? 1e-12 : 1e-5));
    for (int64_t i = 0; i < y.stages[0].size(); ++i)
      if (i / 16 % T >= y.lengths[static_cast<size_t>(i / 16 / T)]) CHECK(y.stages[0][i] == 0);
  }
}

TWIN_CASE("conformer: in training the padding is no part of batch statistics, and gets no gradient") {
  const Net net("conformer", small({}), "conformer_shaw");
  Input in(frames(3, 11, 9));
  in.lengths = Ints{11, 4, 7};
  const auto pass = [&](real garbage) {
    Input dirty = in;
    dirty.x = in.x.copy();
    for (int64_t i = 0; i < dirty.x.size(); ++i)
      if (i / 9 % 11 >= in.lengths[static_cast<size_t>(i / 9 / 11)]) dirty.x[i] = garbage;
    Tape tape;
    Grads grads;
    dirty.x = tape.watch(dirty.x);
    std::vector<BatchStatistics> seen;
    const Collecting collect(seen);
    const Tensor y = net(dirty, Mode::train);
    tape.backward(y, full(y.shape(), 1), grads);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].count == 22);
    std::vector<Tensor> all{y.detach(), tape.grad(dirty.x), seen[1].mean, seen[1].m2};
    for (const auto& e : net.params.entries())
      if (!e.buffer) all.push_back(grads.of(e.value).copy());
    return all;
  };
  const auto clean = pass(0), dirty = pass(1000);
  for (size_t k = 0; k < clean.size(); ++k) CHECK(distance(clean[k], dirty[k]) == 0);
  for (int64_t i = 0; i < in.x.size(); ++i)
    if (i / 9 % 11 >= in.lengths[static_cast<size_t>(i / 9 / 11)]) CHECK(clean[1][i] == 0);
}

TWIN_CASE("conformer: gradients of a padded batch in training are its differences") {
  if (!twin) return;
  for (const Options& more :
       {Options{}, Options{{"use_group_norm", true}, {"subsampling", 2}}, Options{{"causal", true}}}) {
    Net net("conformer", small(more), "transformer_xl");
    Input in(frames(3, 11, 9));
    in.lengths = Ints{11, 5, 7};
    const auto loss = [&] {
      const Tensor y = net(in, Mode::train);
      double sum = 0;
      for (int64_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * noise(3 * i + 5);
      return sum;
    };
    Grads grads;
    {
      Tape tape;
      const Tensor y = net(in, Mode::train);
      Tensor dy(y.shape());
      for (int64_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<real>(noise(3 * i + 5));
      tape.backward(y, dy, grads);
    }
    for (const auto& e : net.params.entries()) {
      if (e.buffer) continue;
      CAPTURE(e.name);
      const double h = 1e-6;
      double slope = 0, size = 0;
      const auto move = [&](double by) {
        for (int64_t i = 0; i < e.value.size(); ++i) e.value[i] += static_cast<real>(by * noise(7 * i + 2));
        net.params.commit();
      };
      for (int64_t i = 0; i < e.value.size(); ++i) {
        const double part = static_cast<double>(grads.of(e.value)[i]) * noise(7 * i + 2);
        slope += part, size += std::abs(part);
      }
      move(h);
      const double above = loss();
      move(-2 * h);
      const double below = loss();
      move(h);
      CHECK(std::abs((above - below) / (2 * h) - slope) <= 1e-6 * std::max(1.0, size));
    }
  }
}

// ---- causality ------------------------------------------------------------------------------------------------------

TWIN_CASE("conformer: causal, no frame changes what comes out before it, under every encoding") {
  int ran = 0;
  for (const PositionRow& row : positions()) {
    const std::string name = row.name;
    CAPTURE(name);
    const Options options = small({{"causal", true}, {"global_pool", "none"}, {"num_frames", 16}});
    const std::string why = error_of([&] {
      const Net net("conformer", options, row.name);
      const Tensor x = frames(2, 16, 9);
      for (const int from : {1, 6, 15}) {
        Tensor other = x.copy();
        for (int64_t i = 0; i < other.size(); ++i)
          if (i / 9 % 16 >= from) other[i] = static_cast<real>(noise(5 * i + 3));
        for (const Mode mode : {Mode::eval, Mode::train}) {
          const Tensor a = net(x, mode), b = net(other, mode);
          CHECK(distance(slice(a, 1, 0, from), slice(b, 1, 0, from)) == 0);
          CHECK(distance(slice(a, 1, from, from + 1), slice(b, 1, from, from + 1)) > 0);
        }
      }
      ++ran;
    });
    if (!why.empty()) {
      CAPTURE(why);
      CHECK((name == "cpe" || name == "cpe_raster" || name == "peg" || name == "sasa"));
      CHECK(why.find("look") != std::string::npos);
    }
  }
  CHECK(ran + 4 == static_cast<int>(positions().size()));
  // without the option every frame sees every other
  const Net net("conformer", small({{"global_pool", "none"}}), "none");
  Tensor other = frames(1, 16, 9).copy();
  other[15 * 9] += 1;
  CHECK(distance(slice(net(frames(1, 16, 9)), 1, 0, 1), slice(net(other), 1, 0, 1)) > 0);
}

TWIN_CASE("causal_pattern: a token sees itself and those before it") {
  const Pattern p = causal_pattern(4);
  CHECK(p->causal);
  CHECK(p->n == 4);
  CHECK(p->k == Index{0, 1, 2, 3});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
