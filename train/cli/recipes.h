#pragma once
// The recipes of train/recipes/, embedded in the program at build time (cmake/embed.cmake).
#include <string>
#include <vector>

namespace tessera::cli {

struct Recipe {
  std::string name;  ///< "vit_cifar10_small"
  std::string text;  ///< TOML
};
const std::vector<Recipe>& recipes();

}  // namespace tessera::cli
