// What pages promise about the program, held against the program: lists of what works where, commands to type, options, variables.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "tessera/train/cli/network.h"
#include "tessera/train/lab/measures.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Names = std::set<std::string>;

std::string page(const std::string& path) { return read(TESSERA_SOURCE_DIR "/" + path); }

/// README and all pages below docs, by their paths.
std::vector<std::string> pages() {
  std::vector<std::string> all{"README.md", "CONTRIBUTING.md", "tests/README.md"};
  for (const auto& e : fs::recursive_directory_iterator(TESSERA_SOURCE_DIR "/docs"))
    if (e.path().extension() == ".md") all.push_back(fs::relative(e.path(), TESSERA_SOURCE_DIR).string());
  return all;
}

/// From a heading to the next one.
std::string section(const std::string& text, const std::string& heading) {
  const size_t from = text.find("\n## " + heading + "\n");
  REQUIRE(from != std::string::npos);
  return text.substr(from, text.find("\n## ", from + 1) - from);
}

/// What stands in `code`, in the order of the text.
std::vector<std::string> code_of(const std::string& text) {
  static const std::regex code("`([^`\n]+)`");
  std::vector<std::string> all;
  for (std::sregex_iterator m(text.begin(), text.end(), code), end; m != end; ++m) all.push_back((*m)[1]);
  return all;
}

std::vector<std::string> cells_of(const std::string& row) {
  std::vector<std::string> all;
  std::istringstream in(row.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) all.push_back(cell);
  return all;
}

}  // namespace

TEST_CASE("docs: positions --json names the families of docs/matrix.md") {
  std::map<std::string, Names> works;
  std::vector<std::string> families;
  std::istringstream lines(section(page("docs/matrix.md"), "In every family of models"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| ")) continue;
    const std::vector<std::string> cells = cells_of(line);
    if (families.empty()) {
      families = code_of(line);
      continue;
    }
    Names& of = works[code_of(cells[0]).at(0)];
    REQUIRE(cells.size() >= families.size() + 1);
    for (size_t i = 0; i < families.size(); ++i)
      if (cells[i + 1] == " works ") of.insert(families[i]);
  }
  const json all = json::parse(tessera({"positions", "--json"}).out);
  CHECK(all.size() == works.size());
  for (const json& p : all) {
    CAPTURE(p["name"]);
    CHECK(p["models"].get<Names>() == works[p["name"]]);
  }
}

TEST_CASE("docs: linear_attention.md says of every encoding whether it works, and of none another thing") {
  Names works, refused;
  std::istringstream lines(section(page("docs/models/linear_attention.md"), "Which encodings work"));
  Names* table = nullptr;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| ")) continue;
    if (line.starts_with("| works ")) table = &works;
    if (line.starts_with("| refused")) table = &refused;
    REQUIRE(table);
    for (const std::string& word : code_of(cells_of(line)[0])) table->insert(word);
  }
  for (const PositionRow& row : positions()) {
    CAPTURE(row.name);
    RunConfig config;
    config.model = "vit", config.position = row.name;
    config.model_options = {{"depth", 1}, {"attention", std::string("elu")}};
    bool runs = true;
    try {
      cli::build(config, 0, Draw::no);
    } catch (const Error&) {
      runs = false;
    }
    CHECK(works.contains(row.name) == runs);
    CHECK(refused.contains(row.name) == !runs);
  }
}

TEST_CASE("docs: the pictures of encodings are those of today: titles, panels and the ranges of their numbers") {
  const Folder folder;
  REQUIRE(tessera({"positions", "--draw", folder.path()}).code == 0);
  const auto words = [](const std::string& path) {
    const std::string svg = read(path);
    std::vector<std::string> all;
    static const std::regex text("<text[^>]*>([^<]*)</text>");
    for (std::sregex_iterator it(svg.begin(), svg.end(), text), end; it != end; ++it) {
      std::istringstream in((*it)[1]);
      for (std::string word; in >> word;) all.push_back(word);
    }
    return all;
  };
  size_t pictures = 0;
  for (const auto& e : fs::directory_iterator(TESSERA_SOURCE_DIR "/docs/positions/img")) {
    if (e.path().extension() != ".svg") continue;
    CAPTURE(e.path().filename().string());
    const std::string now = folder / e.path().filename().string();
    REQUIRE(exists(now));
    const std::vector<std::string> was = words(e.path().string()), is = words(now);
    REQUIRE(was.size() == is.size());
    for (size_t i = 0; i < is.size(); ++i) {
      const auto starts = [](const std::string& s) { return !s.empty() && (s[0] == '-' || std::isdigit(s[0]) != 0); };
      if (starts(was[i]) && starts(is[i])) {  // the last digit may be another CPU's
        const double a = std::strtod(was[i].c_str(), nullptr), b = std::strtod(is[i].c_str(), nullptr);
        CHECK(std::abs(a - b) <= 0.02 * std::max(std::abs(a), std::abs(b)));
      } else {
        CHECK(was[i] == is[i]);
      }
    }
    ++pictures;
  }
  CHECK(pictures == static_cast<size_t>(std::distance(fs::directory_iterator(folder.path()), {})));
}

TEST_CASE("docs: a command that names a script of ours can be typed as it stands") {
  const std::regex script("(\\S*)(tests/\\w+/[\\w/]+\\.py)(.*)");
  size_t commands = 0;
  for (const std::string& path : pages()) {
    CAPTURE(path);
    const std::string text = page(path);
    for (const std::string& code : code_of(text)) {
      std::smatch found;
      const bool ours = std::regex_search(code, found, script);
      if (!ours && code.find(".py ") == std::string::npos) continue;
      CAPTURE(code);
      if (ours) CHECK(fs::exists(TESSERA_SOURCE_DIR "/" + found[2].str()));
      const bool link = text.find("[`" + code + "`]") != std::string::npos;
      if (link) continue;
      ++commands;
      CHECK(code.starts_with("python3 tests/"));
    }
    CHECK(text.find("`ninja ") == std::string::npos);  // builds are in build/PRESET
    CHECK(text.find(" build/tests/") == std::string::npos);
  }
  CHECK(commands >= 8);
}

TEST_CASE("docs: a page that names a program built on request says how it is built") {
  const std::string lists = page("tests/CMakeLists.txt");
  const std::regex on_request("add_executable\\((\\w+) EXCLUDE_FROM_ALL");
  size_t named = 0;
  for (std::sregex_iterator m(lists.begin(), lists.end(), on_request), end; m != end; ++m) {
    const std::string program = (*m)[1];
    const std::regex asked("`" + program + "`|build/release/tests/" + program + "\\b");
    const std::regex built("\\./bootstrap\\.sh build [\\w ]*\\b" + program + "\\b");
    for (const std::string& path : pages()) {
      std::string text = page(path);
      for (size_t at = 0; (at = text.find("[`" + program + "`](")) != std::string::npos;)
        text.erase(at, 1 + program.size() + 2);
      if (!std::regex_search(text, asked)) continue;  // what is a link leads to a page that says it
      CAPTURE(path);
      CAPTURE(program);
      ++named;
      CHECK(std::regex_search(text, built));
    }
  }
  CHECK(named >= 5);
}

TEST_CASE("docs: what may be said with --resume is the same on the page and in the message") {
  const Folder folder;
  const Result r = tessera({"train", "--resume", folder / "run", "--lr", "1"});
  check_refused(r, 2, {"optim.lr"});
  const std::string text = page("docs/runs.md"), line = r.errors().at(0);
  const size_t at = text.find("With `--resume` may be said:");
  REQUIRE(at != std::string::npos);
  const std::string said = text.substr(at, text.find("\n\n", at) - at), listed = line.substr(line.find("only "));
  const std::vector<std::string> words = code_of(said);
  CHECK(words.size() == 10);
  for (size_t i = 1; i < words.size(); ++i) CHECK_MESSAGE(listed.find(words[i]) != std::string::npos, words[i]);
  const auto commas = std::ranges::count(listed, ',');
  CHECK(static_cast<size_t>(commas) + 2 == words.size() - 1);  // "a, b and c"
}

TEST_CASE("docs: every variable that the program reads has its row, and README leads there") {
  const std::string environment = section(page("docs/runs.md"), "Environment"), screen = tessera({"--help"}).out;
  CHECK(page("README.md").find("docs/runs.md#environment") != std::string::npos);
  const std::regex read_by_us("getenv\\(\"(\\w+)\"\\)");
  const Names others{"TERM", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "TESSERA_FAULT"};  // the last one is of tests
  Names found;
  for (const char* part : {"core", "nn", "models", "train"})
    for (const auto& e : fs::recursive_directory_iterator(fs::path(TESSERA_SOURCE_DIR) / part)) {
      if (!e.is_regular_file() || e.path().extension() != ".cpp") continue;
      const std::string source = read(e.path().string());
      for (std::sregex_iterator m(source.begin(), source.end(), read_by_us), end; m != end; ++m)
        if (!others.contains((*m)[1])) found.insert((*m)[1]);
    }
  CHECK(found.size() == 4);
  for (const std::string& name : found) {
    CHECK_MESSAGE(environment.find("| `" + name + "` |") != std::string::npos, name);
    CHECK_MESSAGE(screen.find(name) != std::string::npos, name);
  }
}

TEST_CASE("docs: without a word of measures a study takes all of them, as its page says") {
  CHECK(page("docs/ablation.md").find("families of docs/measures.md; without: all of them") != std::string::npos);
  for (const lab::MeasureFamily& family : lab::measure_families()) {
    CHECK_MESSAGE(family.usual, family.name);
    CHECK_MESSAGE(page("docs/measures.md").find(std::string("| `") + family.name + "` |") != std::string::npos,
                  family.name);
  }
}

TEST_CASE("docs: padding of spoken digits is what data info says") {
  const char* data = std::getenv("TESSERA_DATA");
  std::error_code none;
  if (!data || !fs::is_directory(std::string(data) + "/fsdd", none)) {
    MESSAGE("skipped: no spoken digits in $TESSERA_DATA");
    return;
  }
  const json info = json::parse(tessera({"data", "info", "fsdd", "--data-dir", data, "--json"}).out);
  const auto percent = [&](const char* key) {
    return std::to_string(std::lround(100 * info["train"]["padding"][key].get<double>())) + " %";
  };
  CHECK(page("docs/data.md")
            .find(percent("drawn") + " of all steps are padding as samples are drawn, " + percent("bucketed") +
                  " with `data.bucket=16`") != std::string::npos);
}

}  // namespace tessera::test
