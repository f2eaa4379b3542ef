#pragma once
// What a study would be, before it is begun.
#include "tessera/train/cli/interrupt.h"
#include "tessera/train/lab/measures.h"
#include "tessera/train/lab/study.h"

namespace tessera::lab {

/// What a run takes, in seconds: a step, how many there are and of how many images, and all of it but the measures.
struct Expected {
  double step = 0, steps = 0, images = 0, all = 0;
};
/// By its second step; one that has a single step is given another for that. Throws Error where there is no such run.
Expected expected(const RunConfig& config);
/// What the measures of a run send forward through the model, in images of the size it is trained on: those of other sizes count by their
/// pixels. Attention grows faster than that, and is asked with more than a forward pass, so it is rather too few. Throws Error without the data.
double asked_images(const RunConfig& config, const MeasureOptions& options);

/// Prints the cells that are to be done (with `retry` those that failed, too), those that cannot be with their reasons, how long it will take
/// (from a few measured steps of each configuration, with the threads that are set, and what the measures ask), and what difference so many seeds would show. Writes
/// nothing. `study`: may be there already, and its finished runs tell the spread of seeds; without a folder's name it is not. Returns the
/// exit code.
int dry_run(const Plan& plan, const Study& study, bool retry, const cli::Interrupt& interrupt);

}  // namespace tessera::lab
