#pragma once
#include <cstdint>
#include <string>

namespace tessera::data {

/// Unpacks the regular files of a .tar.gz, all of which must lie below the folder `top`, into the folder `into`
/// (without `top`). Throws Error on anything else an archive could hold: absolute paths, "..", links, devices, damage,
/// more than `limit` bytes.
void unpack_tar_gz(const std::string& archive, const std::string& top, const std::string& into,
                   uint64_t limit = uint64_t{4} << 30);

}  // namespace tessera::data
