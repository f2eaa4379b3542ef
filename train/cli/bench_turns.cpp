// tessera bench --turns: a process that stays and measures when it is told to, so that programs can be compared in turn, in the same
// minutes, without anything being measured while it starts (tests/bench/performance.py).
#include "tessera/train/cli/bench_turns.h"

#include <charconv>
#include <iostream>
#include <string>

#include "tessera/train/cli/config_file.h"
#include "tessera/train/cli/console.h"

namespace tessera::cli {
namespace {

double seconds_of(const std::string& line) {
  double seconds = 0;
  const char* end = line.data() + line.size();
  const auto [stopped, error] = std::from_chars(line.data(), end, seconds);
  if (error != std::errc() || stopped != end || !(seconds >= 0 && seconds <= 3600))
    wrong_usage("--turns reads numbers of seconds from 0 to 3600, one a line, not \"{}\"", line);
  return seconds;
}

}  // namespace

int answer_turns(const std::function<void(double seconds)>& turn) {
  for (std::string line; std::getline(std::cin, line);) {
    turn(seconds_of(line));
    flush_output();
  }
  return done;
}

}  // namespace tessera::cli
