#pragma once
// Words for people. Free of `real`. Text from elsewhere is made fit for a terminal by core/io/text.h.
#include <cstdint>
#include <string>
#include <string_view>

namespace tessera {

/// "1 epoch", "2 epochs".
std::string plural(int64_t n, std::string_view noun);

/// "41 s", "12 min", "3 h 05 min".
std::string duration(double seconds);

}  // namespace tessera
