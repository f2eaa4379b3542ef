// Ten steps of AdamW on a Transformer against PyTorch: tests/golden/transformer.py wrote the losses.
#include "tests/unit/golden_trace.h"

namespace tessera {
namespace {

TEST_CASE("golden: ten AdamW steps of the Transformer, padding left out of the loss, give PyTorch's losses") {
  for (const char* name : {"transformer_post", "transformer_pre"})
    test::check_trace(name, "transformer", transformer_options(name));
}

}  // namespace
}  // namespace tessera
