#pragma once
// The table of public data sets: where they come from, what they must hash to, where they lie, who reads them.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tessera/train/data/set.h"

namespace tessera::data {

/// A file as its publisher offers it.
struct Remote {
  std::string file;
  std::string md5;    ///< of the file, in hexadecimal
  int64_t bytes = 0;  ///< of the file; 0: not known
};

struct PublicSet {
  std::string name;
  std::string folder;    ///< below the data folder
  std::string landmark;  ///< a file (or with .gz after it) whose presence says that the set is there
  std::string base_url;  ///< with a slash at the end
  std::vector<Remote> remote;
  bool archive = false;  ///< remote is one .tar.gz that holds `folder`; else the files themselves go into it
  std::function<TrainTest(const std::string&)> read;
  std::function<TrainTest(const std::string&)>
      read_part{};  ///< NAME:DIR, a folder with any number of records; or empty
};

const std::vector<PublicSet>& public_sets();

}  // namespace tessera::data
