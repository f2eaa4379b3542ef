#pragma once
// The value of an option, whatever its type. Free of `real`.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tessera {

/// int64_t is for seeds; everything that is counted is an int.
using Value = std::variant<bool, int, int64_t, double, std::string, std::vector<int>, std::vector<double>>;
using Options = std::map<std::string, Value, std::less<>>;

/// A value as its text: "true", "4", "0.05", "rope", "[2, 4]", "[0.9, 0.999]". Reals print shortest-exact.
std::string text(const Value& v);
/// A word for a message: control characters and bytes that are no UTF-8 as \xNN, a long one cut.
std::string shown(std::string_view word);

}  // namespace tessera
