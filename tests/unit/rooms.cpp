// The house: floors whose includes point downwards, files that are read in one go. docs/tour.md goes through them in this order.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

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

TEST_CASE("rooms: a .cpp that a comment names is there, and no line of dashes fell off its title") {
  std::vector<std::string> there;
  const fs::path root(TESSERA_SOURCE_DIR);
  for (const char* folder : {"core", "nn", "models", "train", "tests"})
    for (const auto& e : fs::recursive_directory_iterator(root / folder))
      if (e.path().extension() == ".cpp") there.push_back("/" + fs::relative(e.path(), root).string());
  const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '/'; };
  each_source([&](const fs::path& path, const std::string& name) {
    std::ifstream file(path);
    bool title = false;  // the line before began with dashes and ended with a word
    for (std::string line; std::getline(file, line);) {
      const size_t comment = line.find("//");
      const std::string text = comment == std::string::npos ? "" : line.substr(comment + 2);
      for (size_t end = 0; (end = text.find(".cpp", end)) != std::string::npos; end += 4) {
        size_t begin = end;
        while (begin > 0 && is_part(text[begin - 1])) --begin;
        const std::string named = "/" + text.substr(begin, end - begin) + ".cpp";
        const bool pattern = begin == end || named == "/NAME.cpp";  // measures*.cpp
        const bool known = std::ranges::any_of(there, [&](const std::string& f) { return f.ends_with(named); });
        CHECK_MESSAGE((pattern || known), name << " speaks of " << named.substr(1));
      }
      const bool dashes = text.starts_with(" --");
      const bool only_dashes = dashes && text.find_first_not_of(" -") == std::string::npos;
      CHECK_MESSAGE(!(title && only_dashes), name << ": " << line);
      title = dashes && !only_dashes && !text.ends_with('-');
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
