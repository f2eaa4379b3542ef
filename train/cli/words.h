#pragma once
// What a person typed, as it was typed: CLI11 reads "[x]" as a list and "{}" as nothing, an option with an empty value as one that was
// not said, and "--out=" as an option whose value is the next word.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace tessera::cli {

/// The words of a command line in the order that CLI11 takes them (the last one first), those that it would read otherwise marked.
/// Throws Usage on "--out=".
std::vector<std::string> marked_words(int argc, char** argv);
/// The mark is taken off every value of every option again, and no value may be empty. To be called when all options are there.
void unmark_values(CLI::App& app);
/// The word without its mark.
std::string unmarked(std::string word);

}  // namespace tessera::cli
