#pragma once
// The folder of an ablation, with numbers that nobody measured.
#include <cstdint>
#include <string>
#include <vector>

namespace tessera::test {

/// Runs of `seeds` seeds (the last encoding's last one has failed) of each encoding, in DIR: plan.toml, cells, failed. Encodings beside "none" have
/// accuracies above its; the second has no other resolutions.
void make_study(const std::string& dir, const std::vector<std::string>& encodings, int seeds);

/// Gives a cell of it answers to test images, 1 where right, and the accuracy that they are.
void make_answers(const std::string& cell, const std::vector<uint8_t>& right);

}  // namespace tessera::test
