#pragma once
// Golden cases written by tests/golden/*.py: a model's logits, every gradient and ten steps of AdamW, in float64 by
// PyTorch.
#include <string>

#include "tessera/core/io/tensor_file.h"
#include "tessera/core/run.h"
#include "tessera/models/model.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The largest difference of two tensors of one shape.
double difference(const Tensor& a, const Tensor& b);

/// The largest absolute value.
double largest(const Tensor& a);

struct GoldenErrors {
  double logits = 0;  ///< largest difference
  double gradients =
      0;  ///< largest difference over max(the gradient's largest entry, 1e-3 of the largest of all gradients)
  std::string worst;  ///< the parameter it was found at
};

/// A file of case `name` ("vit_token"): its "weights", "input" or "golden".
std::string golden_file(const std::string& name, const char* kind);

/// What the case's model was given: "input" (B, C, H, W), (B, T, F) or, of tokens, (B, T), and what else the file has of "lengths",
/// "target" and "target_lengths".
Input golden_input(const std::string& name);

/// Builds `model` with `options`, loads the case's weights, runs it forwards and backwards. In training BatchNorm takes its statistics of
/// the batch; the case then was computed so.
struct GoldenRun {
  std::string position;  ///< "": the model's own
  Options position_options = {};
  Mode mode = Mode::eval;
};
GoldenErrors check_golden(const std::string& name, const std::string& model, const Options& options,
                          const GoldenRun& how = {});

/// The options of a case of tests/golden/swin.py or swin_v2.py: "swin", "swin_deep", "swin_wide" or "swin_rectangle".
Options swin_options(const std::string& name);
/// The same of Swin v2, "swin_v2", "swin_v2_point", "swin_v2_wide" or "swin_v2_rectangle", and the options of its log_cpb.
Options swin_v2_options(const std::string& name);
Options swin_v2_bias(const std::string& name);

/// The options of a case of tests/golden/transformer.py: "transformer_post" or "transformer_pre".
inline Options transformer_options(const std::string& name) {
  Options o{{"vocab_size", 7}, {"d_model", 8}, {"nhead", 2}, {"dim_feedforward", 12}, {"dropout", 0.0}};
  if (name == "transformer_pre")
    o = {{"vocab_size", 9},      {"target_vocab_size", 6}, {"tie", "none"},           {"d_model", 8},
         {"nhead", 2},           {"dim_feedforward", 12},  {"num_decoder_layers", 1}, {"norm_first", true},
         {"activation", "gelu"}, {"dropout", 0.0}};
  return o;
}

/// An image or map (B, C, H, W) of a file as our (B, H, W, C).
Tensor channels_last(const Tensor& x);

}  // namespace TESSERA_NS
}  // namespace tessera
