#pragma once
#include <functional>

namespace tessera::cli {

/// Measurements in turn with other programs: every line of stdin is a number of seconds, for which `turn` measures and prints one line of
/// JSON; in between nothing runs. Returns at the end of the input. Throws Usage on a line that is no number from 0 to 3600.
int answer_turns(const std::function<void(double seconds)>& turn);

}  // namespace tessera::cli
