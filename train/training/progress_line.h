#pragma once
// The line that replaces itself while a run trains. Free of `real`.
#include <cstddef>
#include <string>

namespace tessera {

/// What it shows.
struct Moment {
  int epoch = 1, epochs = 1;      ///< the one under way, from 1
  size_t batch = 0, batches = 1;  ///< of it
  double loss = 0, acc1 = 0;      ///< of the epoch so far; acc1 in [0, 1]
  double samples_per_s = 0, seconds_left = 0;
  const char* unit = "image";  ///< of the samples
};

/// At most `columns` - 1 characters, all of them ASCII: a line as wide as the terminal makes some of them wrap. What a narrow
/// terminal has no room for is left out, the least important first.
std::string progress_line(const Moment& moment, int columns);

}  // namespace tessera
