#pragma once
#include <string>

namespace tessera::cli {

/// Throws Usage, naming the nearest one, when a data SPEC begins with a name that does not exist, or `where:` goes on with one.
/// Whether the data are there is another question, and its answer a failure at run time.
void check_data_name(const std::string& spec);
/// Throws Usage when a folder was said (`dir` is not empty) for a SPEC of what is made in memory.
void check_data_dir(const std::string& spec, const std::string& dir);

/// The set when nobody named one: cifar10 if it is found, in `dir` first, else where; and the line that says so.
struct DefaultData {
  std::string name;
  const char* line;
};
DefaultData default_data(const std::string& dir);

}  // namespace tessera::cli
