#pragma once
// The shortest sequence of a source is asked first, so that one that is too short for a model is named by its file before anything is trained.
#include "tessera/models/model.h"
#include "tessera/train/data/source.h"
#include "tessera/train/training/task.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Throws Error "[data] FILE: what the model says of it" if the model cannot take the shortest sample; does nothing where all samples are of
/// one size, or where there is no source.
void ask_shortest(const Model& model, const data::Source* source, const Task& task);

}  // namespace TESSERA_NS
}  // namespace tessera
