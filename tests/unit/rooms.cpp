// The house: floors whose includes point downwards, files that are read in one go. docs/tour.md goes through them in this order.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 8> floors{"core",           "nn",           "models",    "train/data",
                                                 "train/training", "train/report", "train/cli", "train/lab"};

/// The floor a path belongs to; main.cpp is the roof.
size_t floor_of(std::string_view path) {
  const auto it =
      std::ranges::find_if(floors, [&](std::string_view f) { return path.starts_with(std::string(f) + "/"); });
  return static_cast<size_t>(it - floors.begin());
}

template <class F>
void each_source(F f) {
  const fs::path root(TESSERA_SOURCE_DIR);
  int seen = 0;
  for (const char* folder : {"core", "nn", "models", "train"})
    for (const auto& e : fs::recursive_directory_iterator(root / folder))
      if (e.path().extension() == ".h" || e.path().extension() == ".cpp")
        ++seen, f(e.path(), fs::relative(e.path(), root).string());
  CHECK(seen > 250);
}

}  // namespace

TEST_CASE("rooms: includes point downwards, and every header is tessera/...") {
  each_source([](const fs::path& path, const std::string& name) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("#include \"")) continue;
      const std::string target = line.substr(10, line.rfind('"') - 10);
      CHECK_MESSAGE(target.starts_with("tessera/"), name << " includes " << target);
      if (target.starts_with("tessera/"))
        CHECK_MESSAGE(floor_of(target.substr(8)) <= floor_of(name), name << " includes " << target);
    }
  });
}

TEST_CASE("rooms: no file has more than 400 lines") {
  each_source([](const fs::path& path, const std::string& name) {
    std::ifstream file(path);
    const auto lines = std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n');
    CHECK_MESSAGE(lines <= 400, name << " has " << lines);
  });
}
