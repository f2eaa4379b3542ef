#pragma once
// JSON from a run directory, which may be damaged or made by somebody else.
#include <cstdint>
#include <string>
#include <string_view>

#include "tessera/core/io/json.h"

namespace tessera::report {

using io::Json;

/// Throws Error naming `file` if it is no JSON, or nested deeper than anything a run writes.
Json parse_json(std::string_view text, const std::string& file);

/// What fmt prints for numbers that JSON does not know (nan, -nan, inf), and the spellings of others (NaN, Infinity), as null. Text
/// in quotes stays.
std::string without_infinities(std::string_view json);

/// A whole number within [low, high]. Throws Error naming `file` and the number's `name`, on 1e19 and 2.5 too.
int64_t whole(const Json& value, const char* name, int64_t low, int64_t high, const std::string& file);

}  // namespace tessera::report
