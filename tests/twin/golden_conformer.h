#pragma once
// The options of the cases that tests/golden/conformer.py writes.
#include <doctest/doctest.h>

#include <string>

#include "tessera/nn/options.h"

namespace tessera {

inline Options conformer_options(const std::string& name) {
  const auto with = [](Options o, const Options& more) {
    for (const auto& [key, value] : more) o[key] = value;
    return o;
  };
  const Options blocks{{"embed_dim", 8}, {"num_heads", 2}, {"ffn_dim", 12}, {"depthwise_conv_kernel_size", 5}};
  // torchaudio.models.Conformer and nothing else
  const Options alone =
      with(blocks,
           {{"input_dim", 8}, {"input_linear", false}, {"global_pool", "none"}, {"num_classes", 0}, {"num_layers", 1}});
  if (name == "conformer_layer") return alone;
  if (name == "conformer_layer_train") return with(alone, {{"convolution_first", true}});
  if (name == "conformer" || name == "conformer_train")
    return with(blocks, {{"input_dim", 6}, {"num_classes", 3}, {"num_layers", 4}});
  if (name == "conformer_subsampled")
    return with(
        blocks,
        {{"input_dim", 11}, {"num_classes", 3}, {"num_layers", 1}, {"subsampling", 4}, {"use_group_norm", true}});
  REQUIRE(name == "conformer_lucidrains");
  return with(alone, {{"num_layers", 2},
                      {"head_dim", 3},
                      {"ffn_dim", 16},
                      {"qkv_bias", false},
                      {"conv_expansion", 2},
                      {"depthwise_conv_kernel_size", 6}});
}

}  // namespace tessera
