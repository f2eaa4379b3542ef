#pragma once
#include <string>
#include <string_view>

namespace tessera::cli {

/// Throws Usage on a text of more than a megabyte, or of more than 64 levels of brackets or dots: TOML's parser, and whoever walks its tree,
/// calls itself for each.
void check_nesting(std::string_view toml, const std::string& source);

}  // namespace tessera::cli
