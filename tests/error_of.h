#pragma once
// What an Error said, for tests that look at its words.
#include <string>

#include "tessera/core/error.h"

namespace tessera::test {

/// The line of the Error that f throws; "" if it throws none.
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace tessera::test
