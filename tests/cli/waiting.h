#pragma once
// Waiting for what another process does to files.
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "tests/cli/program.h"

namespace tessera::test {

/// Is it there, within so many seconds?
inline bool until(const std::function<bool()>& there, double seconds = 30) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (there()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

/// Entries of a folder; 0 where there is none.
inline size_t count(const std::string& folder) {
  return exists(folder) ? static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {})) : 0;
}

}  // namespace tessera::test
