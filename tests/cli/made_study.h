#pragma once
// The folder of an ablation, with numbers that nobody measured.
#include <string>
#include <vector>

namespace tessera::test {

/// Runs of `seeds` seeds (the last encoding's last one has failed) of each encoding, in DIR: plan.toml, cells, failed. Encodings beside "none" have
/// accuracies above its; the second has no other resolutions.
void make_study(const std::string& dir, const std::vector<std::string>& encodings, int seeds);

}  // namespace tessera::test
