// Commands and plans of `tessera ablate --help` and docs/ablation.md, as they stand there, in a folder where there is nothing.
#include <algorithm>
#include <sstream>

#include "tests/cli/program.h"

namespace tessera::test {
namespace {

/// Where somebody reads about studies, and what is written there.
std::vector<std::pair<std::string, std::string>> texts() {
  return {{"ablate --help", tessera({"ablate", "--help"}).out},
          {"docs/ablation.md", read(TESSERA_SOURCE_DIR "/docs/ablation.md")}};
}

/// The words of the first command that makes a study, behind the program's name; a backslash joins it with the next line.
std::vector<std::string> first_command(const std::string& text) {
  const size_t from = text.find("tessera ablate --out ");
  REQUIRE(from != std::string::npos);
  std::istringstream lines(text.substr(from));
  std::vector<std::string> words;
  bool more = true;
  for (std::string line, word; more && std::getline(lines, line);) {
    more = line.ends_with('\\');
    if (more) line.pop_back();
    for (std::istringstream in(line); in >> word;) words.push_back(word);
  }
  return {words.begin() + 1, words.end()};
}

/// The first plan, from its section of what all runs share to its last line.
std::string first_plan(const std::string& text) {
  const size_t from = text.find("[run]"), report = text.find("[report]", from), to = text.find("\n\n", report);
  const size_t fence = text.find("\n```", report);
  REQUIRE(report != std::string::npos);
  return text.substr(from, std::min(to, fence) - from) + "\n";
}

}  // namespace

TEST_CASE("ablate: the command that help and page give for a first study is one, wherever it is typed") {
  std::vector<std::vector<std::string>> commands;
  for (const auto& [where, text] : texts()) {
    CAPTURE(where);
    std::vector<std::string> words = first_command(text);
    REQUIRE(words.size() > 8);
    CHECK(words[1] == "--out");
    commands.push_back(words);
    words.emplace_back("--dry-run");
    const Folder empty;
    const Result r = tessera(words, {.folder = empty.path()});
    INFO(r.err);
    CHECK(r.code == 0);
    CHECK(r.errors().empty());
    CHECK(r.out.find("6 runs, of which 6 can be") != std::string::npos);
    CHECK(empty.list().empty());
  }
  CHECK(commands[0] == commands[1]);
}

TEST_CASE("ablate: the plans that help and page give are plans, of runs that wait for their data alone") {
  for (const auto& [where, text] : texts()) {
    CAPTURE(where);
    const Folder folder;
    write(folder / "PLAN.toml", first_plan(text));
    const Result r = tessera({"ablate", "PLAN.toml", "--dry-run"}, {.folder = folder.path()});
    INFO(r.err);
    CHECK(r.code == 0);
    size_t runs = 0;
    std::istringstream lines(r.out);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("position=")) continue;
      ++runs;
      CHECK_MESSAGE(line.find("cannot be: [data] cifar10 was not found") != std::string::npos, line);
    }
    CHECK(runs > 20);
    CHECK(folder.list() == std::vector<std::string>{"PLAN.toml"});
  }
}

}  // namespace tessera::test
