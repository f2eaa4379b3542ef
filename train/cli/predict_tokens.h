#pragma once
// tessera predict --tokens: what a model that answers sequences with sequences says to typed ones.
#include <string>
#include <vector>

#include "tessera/train/cli/saved_run.h"

namespace tessera::cli {

/// Asks the run each of `questions`, "3 1 2" or "3,1,2": symbols from 0 on (0 is the model's token 3, after padding, begin and end), of a
/// run on sequences:add also + between the digits. Greedy with a beam of 1. Returns the exit code; a question that cannot be read is a line
/// of error, and the others are answered. Throws Error for a model without a decoder.
int predict_tokens(const SavedRun& run, const std::string& rundir, const std::vector<std::string>& questions, int beam,
                   bool json);

}  // namespace tessera::cli
