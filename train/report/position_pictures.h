#pragma once
// What an encoding looks like over a grid, as small SVG files: the pictures of docs/positions.
#include <string>

#include "tessera/nn/position.h"

namespace tessera::report {
inline namespace TESSERA_NS {

/// An SVG (below 20 KB, readable on light and dark pages) of an encoding on an 8 x 8 grid with 4 heads of 16:
///   attention   the scores that one query gives to all cells while all queries and keys are equal, the middle query and a corner one. Tables
///               of offsets hold their row numbers, so that one colour is one row; everything else is as it starts
///   tokens      the cosine of every token's code with the middle one's, and some channels
///   between     the answer to a map of ones and to a single one in the middle
/// Throws Error on an unknown name or options that make no sense.
std::string position_picture(std::string_view name, const Options& options = {});

/// Writes DIRECTORY/NAME.svg for every row of the registry; returns how many.
int draw_positions(const std::string& directory);

}  // namespace TESSERA_NS
}  // namespace tessera::report
