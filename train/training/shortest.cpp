#include "tessera/train/training/shortest.h"

#include "tessera/train/data/sample_name.h"

namespace tessera {
inline namespace TESSERA_NS {

void ask_shortest(const Model& model, const data::Source* source, const Task& task) {
  if (!source || source->size() == 0 || !source->form().ragged()) return;
  size_t shortest = 0;
  for (size_t i = 1; i < source->size(); ++i)
    if (source->length(i) < source->length(shortest)) shortest = i;
  const int32_t which[] = {static_cast<int32_t>(shortest)};
  try {
    model.forward(Run{}, task.input(data::gather(*source, which)));
  } catch (const Error& e) {
    fail("data", "{}: {}", data::sample_name(*source, shortest), e.what());
  }
}

}  // namespace TESSERA_NS
}  // namespace tessera
