#pragma once
// Words for people. Free of `real`.
#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

/// Text from elsewhere (names of files and classes, what another program wrote), made fit for a terminal: control characters,
/// bytes that are no UTF-8 and marks that turn the direction of writing come out as \x1b, \u009b, \u202e. Everything else,
/// spaces and letters of any script, stays. A line break stays too if `lines`, and a tab with it.
std::string printable(std::string_view text, bool lines = false);

/// "1 epoch", "2 epochs".
std::string plural(int64_t n, std::string_view noun);

/// "41 s", "12 min", "3 h 05 min".
std::string duration(double seconds);

}  // namespace tessera
