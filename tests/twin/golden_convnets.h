#pragma once
// The cases of tests/golden/resnet.py, airbench.py, cct.py, cvt.py and sasa_net.py.
#include <string>
#include <vector>

#include "tests/twin/golden.h"

namespace tessera {
inline namespace TESSERA_NS {

struct GoldenCase {
  std::string name, model;
  Options options;
  Mode mode = Mode::eval;
  Options position = {};  ///< options of the model's own encoding
};

inline std::vector<GoldenCase> resnet_cases() {
  using List = std::vector<int>;
  const auto net = [](int h, int w, List depths, List widths, const char* shortcut, const char* stem = "cifar") {
    return Options{{"img_size", h},
                   {"img_width", w},
                   {"num_classes", 5},
                   {"depths", std::move(depths)},
                   {"widths", std::move(widths)},
                   {"shortcut", shortcut},
                   {"stem", stem}};
  };
  return {{"resnet_b", "resnet", net(9, 14, {1, 2}, {4, 8}, "B")},
          {"resnet_b_train", "resnet", net(9, 14, {1, 2}, {4, 8}, "B"), Mode::train},
          {"resnet_a_train", "resnet", net(12, 10, {1, 1, 1}, {4, 6, 8}, "A"), Mode::train},
          {"resnet_imagenet", "resnet", net(32, 40, {1, 1, 1, 1}, {4, 6, 6, 8}, "B", "imagenet")}};
}

inline std::vector<GoldenCase> airbench_cases() {
  using List = std::vector<int>;
  const Options two{{"img_size", 13}, {"img_width", 16}, {"num_classes", 5}, {"widths", List{6, 8}}};
  const Options three{{"img_size", 28}, {"img_width", 31},         {"num_classes", 5},     {"widths", List{4, 6, 6}},
                      {"in_chans", 2},  {"whiten_kernel_size", 3}, {"scaling_factor", 0.5}};
  return {{"airbench", "airbench", two},
          {"airbench_train", "airbench", two, Mode::train},
          {"airbench_three", "airbench", three, Mode::train}};
}

inline std::vector<GoldenCase> cct_cases() {
  const Options both{
      {"num_classes", 5}, {"embed_dim", 12}, {"depth", 2}, {"attn_drop_rate", 0.0}, {"drop_path_rate", 0.0}};
  Options cct = both, lite = both;
  cct.insert({{"img_size", 18}, {"img_width", 14}, {"in_planes", 6}, {"num_heads", 2}, {"mlp_ratio", 1.5}});
  lite.insert({{"img_size", 12}, {"img_width", 16}, {"num_heads", 3}, {"mlp_ratio", 2.0}});
  return {{"cct", "cct", cct}, {"vit_lite", "vit_lite_7_4_32", lite}};
}

inline std::vector<GoldenCase> cvt_cases() {
  using List = std::vector<int>;
  const auto three = [](const char* act) {
    return Options{{"img_size", 22},
                   {"img_width", 26},
                   {"num_classes", 5},
                   {"patch_sizes", List{7, 3, 3}},
                   {"embed_dims", List{4, 6, 8}},
                   {"num_heads", List{1, 2, 2}},
                   {"act_layer", act}};
  };
  const Options mean{{"img_size", 12},
                     {"img_width", 10},
                     {"num_classes", 5},
                     {"patch_sizes", List{3, 3}},
                     {"patch_strides", List{2, 1}},
                     {"patch_paddings", List{1, 1}},
                     {"embed_dims", List{6, 8}},
                     {"num_heads", List{2, 4}},
                     {"depths", List{1, 2}},
                     {"class_token", false},
                     {"act_layer", "gelu"}};
  return {{"cvt", "cvt", three("gelu")},
          {"cvt_quick_train", "cvt", three("quick_gelu"), Mode::train},
          {"cvt_mean_train", "cvt", mean, Mode::train}};
}

inline std::vector<GoldenCase> sasa_net_cases() {
  using List = std::vector<int>;
  return {{"sasa_net_train",
           "sasa_net",
           {{"img_size", 24},
            {"img_width", 16},
            {"num_classes", 5},
            {"depths", List{1, 1}},
            {"widths", List{4, 8}},
            {"num_heads", 2},
            {"expansion", 2}},
           Mode::train,
           {{"kernel", 3}}}};
}

}  // namespace TESSERA_NS
}  // namespace tessera
