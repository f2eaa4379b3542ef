// Ten steps of AdamW on networks with BatchNorm, whose statistics are collected and merged, and on compact transformers.
#include "tests/twin/golden_convnets.h"
#include "tests/unit/golden_trace.h"

namespace tessera {
namespace {

void check_traces(const std::vector<GoldenCase>& cases) {
  for (const GoldenCase& c : cases) test::check_trace(c.name, c.model, c.options, "", c.position);
}

TEST_CASE("golden: ten AdamW steps of ResNet give torchvision's losses") { check_traces(resnet_cases()); }
TEST_CASE("golden: ten AdamW steps of the speedrun's network give PyTorch's losses") { check_traces(airbench_cases()); }
TEST_CASE("golden: ten AdamW steps of CCT and ViT-Lite give PyTorch's losses") { check_traces(cct_cases()); }
TEST_CASE("golden: ten AdamW steps of CvT give transformers' losses") { check_traces(cvt_cases()); }
TEST_CASE("golden: ten AdamW steps of a network of stand-alone self-attention give PyTorch's losses") {
  check_traces(sasa_net_cases());
}

}  // namespace
}  // namespace tessera
