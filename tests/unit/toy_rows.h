#pragma once
// A model of sequences in 40 lines, as a program would add it: frames in, logits of their mean out.
#include "tessera/core/ops/reduce.h"
#include "tessera/models/row.h"
#include "tessera/nn/layers.h"

namespace tessera::toy {

struct Config {
  int input_dim = 5, num_classes = 3;
};
inline Fields<Config> fields() {
  static const Field<Config> table[] = {{"input_dim", &Config::input_dim, "features of a frame", within(1, 4096)},
                                        {"num_classes", &Config::num_classes, "classes", within(1, 1000)}};
  return table;
}
inline Places places(const Config&) { return {}; }
inline InputShape input(const Config& c) { return {.kind = InputShape::Kind::frames, .features = c.input_dim}; }
inline void fit(const ModelRow&, Options& said, const DataShape& data) {
  follow(said, "input_dim", data.input.features, data, "features");
  follow(said, "num_classes", data.classes, data, "classes");
}

struct Mean final : Model {
  Linear head;
  Mean(const Scope& s, const Config& c, const MakePosition&) : head(s / "head", c.input_dim, c.num_classes) {}
  Output forward(const Run& run, const Input& input) const override {
    return {.logits = head(run, mean(input.x, {1})), .lengths = {}, .stages = {}};
  }
};

inline ModelRow frames_row(const std::string& name = "toy_frames") {
  return model_row<Mean>(Family<Config>{"toy", "nobody 2026", "none", fields(), places, input, fit}, name, Config());
}

}  // namespace tessera::toy
