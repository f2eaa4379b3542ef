// The Conformer against torchaudio's and lucidrains' code: tests/golden/conformer.py wrote the numbers.
#include "tests/twin/golden_conformer.h"

#include "tests/twin/golden.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

void check(const std::string& name, const GoldenRun& how) {
  const GoldenErrors e = check_golden(name, "conformer", conformer_options(name), how);
  CAPTURE(name);
  CAPTURE(e.worst);
  CHECK(e.logits <= (sizeof(real) == 8 ? 1e-12 : 2e-5));
  CHECK(e.gradients <= (sizeof(real) == 8 ? 1e-10 : 2e-4));
}

TWIN_CASE("golden: a Conformer block alone, evaluated and in training with the convolution first, as torchaudio's") {
  check("conformer_layer", {.position = "none"});
  check("conformer_layer_train", {.position = "none", .mode = Mode::train});
}
TWIN_CASE("golden: a Conformer of four blocks gives a padded batch what torchaudio's gives each sample alone") {
  check("conformer", {.position = "none"});
}
TWIN_CASE("golden: a Conformer of four blocks in training, with the statistics of the batch, as torchaudio's") {
  check("conformer_train", {.position = "none", .mode = Mode::train});
}
TWIN_CASE("golden: a Conformer on a quarter of the frames, as ESPnet's subsampling, with torchaudio's group norm") {
  check("conformer_subsampled", {.position = "none"});
}
TWIN_CASE("golden: a Conformer twice as wide in its convolution, of six taps, keys-only positions, as lucidrains'") {
  check("conformer_lucidrains", {.position = "conformer_shaw", .position_options = {{"max_distance", 3}}});
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
