#pragma once
// `tessera data get`: fetches a public data set, verifies it and lays it out where open() finds it.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::data {

/// Called now and then while a file comes in: its name, bytes so far, bytes in all (0: unknown). Return false to stop
/// (the part file stays and the next call goes on from it).
using Progress = std::function<bool(std::string_view file, int64_t done, int64_t total)>;

/// Names that get() knows: cifar10, cifar100, mnist, fashion-mnist.
std::vector<std::string> downloads();

/// Is `name` where get(name, dir) would put it? Then get() fetches and verifies nothing.
bool fetched(std::string_view name, const std::string& dir = "");

/// When a transfer is given up; what has come is kept, and the next call goes on from it.
struct Patience {
  int64_t bytes_per_second = 1000;  ///< slower than this
  int seconds = 30;                 ///< for so long,
  int in_all = 6 * 3600;            ///< or longer than this a file, in seconds
};

/// Fetches `name` into dir/<folder> (dir empty: $TESSERA_DATA, else ./data) and returns that folder. A download that
/// was cut off is resumed; checksums are verified; the folder appears complete or not at all. `base_url` replaces the
/// publisher's address (a mirror; tests). Throws Error on an unknown name, a failed or hopelessly slow transfer, a file
/// that is far larger than the publisher's, a wrong checksum or a hostile archive.
std::string get(std::string_view name, const std::string& dir = "", const Progress& progress = {},
                const std::string& base_url = "");

struct PublicSet;
/// The same for any row of the table in train/data/public_sets.h, or one made up.
std::string get(const PublicSet& source, const std::string& dir, const Progress& progress, const std::string& base_url,
                const Patience& patience = {});

}  // namespace tessera::data
