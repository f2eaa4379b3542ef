// Multiply-accumulates of attention: by the papers' formulas, and counted on the models.
#include <doctest/doctest.h>

#include "tessera/train/cli/profile.h"

namespace tessera::cli {
namespace {

Network built(const char* model, const Options& options) {
  RunConfig c;
  c.model = model, c.position = "none";
  c.model_options = tessera::model(model).defaults;
  for (const auto& [key, value] : options) c.model_options.insert_or_assign(key, value);
  return build(c, 0, Draw::no);
}

/// What the layers of all attentions cost as they run.
double counted(const Network& net) {
  double sum = 0;
  for (const LayerProfile& layer : measure(net).layers)
    for (const Site& s : net.places.sites)
      if (layer.name == s.path || layer.name.starts_with(s.path + ".")) sum += layer.macs;
  return sum;
}

TEST_CASE("omega: the formulas give the papers' numbers") {
  CHECK(omega_msa(56, 56, 96) == 2'003'828'736);
  CHECK(omega_wmsa(56, 56, 96, 49) == 145'108'992);
  CHECK(omega_msa(8, 8, 192) == 11'010'048);
  CHECK(omega_wmsa(8, 8, 192, 16) == 9'830'400);
  // PVT's first stage at 224: N = 56 x 56, C = 64, R = 8, 7 x 7 keys left
  CHECK(omega_sra(56, 56, 64, 49) == 2.0 * 3136 * 4096 + 3136.0 * 4096 + 2.0 * 49 * 4096 + 2.0 * 3136 * 49 * 64);
  CHECK(omega_sra(7, 7, 512, 49) == omega_msa(7, 7, 512));
}

TEST_CASE("omega: what the models' attentions do is what the formulas say, to the multiply-accumulate") {
  const Network vit = built("vit", {{"class_token", false}, {"global_pool", "avg"}});
  CHECK(counted(vit) == omega_msa(vit.places));
  CHECK_FALSE(omega_wmsa(vit.places).has_value());
  CHECK_FALSE(omega_sra(vit).has_value());
  for (const char* name : {"swin", "swin_v2"}) {
    CAPTURE(name);
    const Network swin = built(name, {});
    CHECK(counted(swin) == omega_wmsa(swin.places));
    CHECK(*omega_wmsa(swin.places) < omega_msa(swin.places));
  }
  for (const char* name : {"pvt", "twins"}) {
    CAPTURE(name);
    const Network net = built(name, {{"global_pool", "avg"}});
    REQUIRE(omega_sra(net).has_value());
    CHECK(counted(net) == *omega_sra(net));
  }
  CHECK_FALSE(omega_sra(built("cvt", {})).has_value());  // its keys are reduced by depthwise convolutions
}

}  // namespace
}  // namespace tessera::cli
