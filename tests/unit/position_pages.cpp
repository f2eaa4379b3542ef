// The pages of docs/positions: every encoding has one, it names every option, and what it links to exists. Pictures are small and whole.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tessera/nn/position.h"
#include "tessera/train/report/position_pictures.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST_CASE("pages: every encoding is in the index, and what a page links to exists") {
  const fs::path folder = fs::path(TESSERA_SOURCE_DIR) / "docs" / "positions";
  const std::string index = read(folder / "index.md");
  for (const auto& row : positions()) {
    CAPTURE(row.title);
    const std::string name = row.name, start = "| `" + name + "` | ";
    const size_t at = index.find(start);
    REQUIRE(at != std::string::npos);
    const std::string title = std::regex_replace(std::string(row.title), std::regex("\\|"), "\\|");
    CHECK(index.compare(at + start.size(), title.size(), title) == 0);
    const size_t open = index.find("](", at), close = index.find(".md)", at);
    REQUIRE(close > open);
    const std::string page = read(folder / index.substr(open + 2, close + 1 - open));
    CHECK(page.find("`" + name + "`") != std::string::npos);
    CHECK(page.find("(img/" + name + ".svg)") != std::string::npos);
    for (const auto& option : row.defaults)
      if (page.find("`" + option.first + "`") == std::string::npos) {
        // options that only tell two names of one file apart are not for typing
        const std::string hidden = option.first;
        CHECK_MESSAGE(false, "the page of " << name << " does not name its option " << hidden);
      }
  }
  for (const auto& file : fs::directory_iterator(folder)) {
    if (file.path().extension() != ".md") continue;
    const std::string text = read(file.path());
    for (size_t at = 0; (at = text.find("](", at)) != std::string::npos; at += 2) {
      std::string link = text.substr(at + 2, text.find(')', at) - at - 2);
      link = link.substr(0, link.find('#'));
      CHECK_MESSAGE((link.empty() || link.starts_with("http") || fs::exists(folder / link)),
                    file.path().filename().string() << ": " << link);
    }
  }
}

TEST_CASE("the registry has a word for every option of every encoding") {
  for (const auto& row : positions()) {
    CAPTURE(row.title);
    CHECK(row.help.size() == row.defaults.size());
    for (const auto& option : row.defaults) CHECK_MESSAGE(row.help.at(option.first).size() > 3, option.first);
  }
}

TEST_CASE("pages: the rule for another resolution is the registry's") {
  const fs::path folder = fs::path(TESSERA_SOURCE_DIR) / "docs" / "positions";
  const std::string index = read(folder / "index.md"), title = "## Another resolution\n";
  std::map<std::string, std::vector<const PositionRow*>> pages;
  for (const auto& row : positions()) {
    const size_t at = index.find("| `" + std::string(row.name) + "` | ");
    const size_t open = index.find("](", at), close = index.find(".md)", at);
    REQUIRE(close > open);
    pages[index.substr(open + 2, close + 1 - open)].push_back(&row);
  }
  for (const auto& [file, rows] : pages) {
    const std::string& page = file;  // CAPTURE is a lambda, and clang below 16 does not let it see a structured binding
    CAPTURE(page);
    const std::string text = read(folder / page);
    const size_t from = text.find(title);
    REQUIRE(from != std::string::npos);
    const std::string section = text.substr(from, text.find("\n## ", from + 1) - from);
    std::set<std::string> words;
    for (const auto* row : rows) words.insert(row->resolution);
    for (const char* word : {"recompute", "interpolate", "clip", "none"})
      CHECK_MESSAGE((section.find("**" + std::string(word) + "**") != std::string::npos) == words.contains(word), word);
    if (words.size() == 1) continue;
    for (const auto* row : rows)  // a page of several rules says whose each is: the first rule behind the name
      if (const size_t at = section.find("`" + std::string(row->name) + "`"); at != std::string::npos) {
        const size_t rule = section.find("**", at);
        CHECK_MESSAGE(section.compare(rule + 2, std::string(row->resolution).size(), row->resolution) == 0, row->title);
      } else {
        CHECK_MESSAGE(false, row->title);
      }
  }
}

TEST_CASE("pictures: one for every encoding, small and whole") {
  for (const auto& row : positions()) {
    CAPTURE(row.title);
    const std::string svg = report::position_picture(row.name);
    CHECK(svg.size() < 20000);
    CHECK(svg.starts_with("<svg xmlns="));
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(svg.find(row.title) != std::string::npos);
    CHECK_FALSE(std::regex_search(svg, std::regex(R"([ ",(-](nan|inf)[ ",)])")));  // a number that is none
    CHECK(svg.find("<path fill=") != std::string::npos);
    CHECK(fs::exists(fs::path(TESSERA_SOURCE_DIR) / "docs" / "positions" / "img" / (std::string(row.name) + ".svg")));
  }
  CHECK_THROWS_AS(report::position_picture("rope_axal"), Error);
  CHECK_THROWS_AS(report::position_picture("learned+rope"), Error);
}

}  // namespace
}  // namespace tessera
