#include "tessera/models/extents.h"

#include "tessera/core/error.h"

namespace tessera {
namespace {

constexpr double most_numbers = 1 << 28, most_weights = 1 << 30, most_macs = 8'796'093'022'208.0;

}  // namespace

Extents::Extents(const char* model, double height, double width, double channels) : model_(model) {
  if (height * width * channels > most_numbers)
    fail(model_, "an image of {} x {} with {} channels has more than 2^28 numbers; choose a smaller img_size", height,
         width, channels);
}

void Extents::linear(double tokens, double in, double out) { add(in * out, tokens * in * out); }

void Extents::block(double tokens, double keys, double dim, double inner, double ratio) {
  const double weights = 4 * dim * inner + 2 * ratio * dim * dim;
  add(weights, tokens * (weights + 2 * keys * inner));
}

void Extents::add(double weights, double macs) {
  weights_ += weights, macs_ += macs;
  if (weights_ > most_weights)
    fail(model_,
         "more than 2^30 weights (4 GB; {:.3g} when this was noticed): choose a smaller embed_dim, depth or "
         "num_classes",
         weights_);
  if (macs_ > most_macs)
    fail(model_,
         "more than 2^43 multiply-accumulates for one image ({:.3g} when this was noticed): choose a larger "
         "patch_size, or a smaller img_size",
         macs_);
}

}  // namespace tessera
