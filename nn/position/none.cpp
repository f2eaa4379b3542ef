// No position information: the control of every comparison. Without a class token and with mean pooling a transformer
// then sees a bag of patches, and any permutation of its tokens gives the same logits.
//   hooks: none      parameters: 0      cost: 0      another resolution: nothing to do
#include "tessera/nn/position/encoding.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

struct None final : PositionEncoding {
  struct Config {};
  static Fields<Config> fields() { return {}; }
  None(const Scope&, const Places&, const Config&) {}
};

}  // namespace

Encoding none() { return encoding<None>(); }

}  // namespace TESSERA_NS
}  // namespace tessera
