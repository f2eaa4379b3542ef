// The options in docs/positions: each page's table is written from the registry, names, defaults, values and words, and held to it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "tessera/core/io/replace_file.h"
#include "tessera/nn/position.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string replaced(std::string s, std::string_view what, std::string_view by) {
  for (size_t at = 0; (at = s.find(what, at)) != std::string::npos; at += by.size()) s.replace(at, what.size(), by);
  return s;
}

std::string ticked(std::string_view s) { return "`" + std::string(s) + "`"; }

struct Entry {
  std::string option, value, domain, help;
  std::vector<std::string> names;
};

/// A row for every option; encodings of the page that disagree on its default or meaning get rows of their own.
std::string table(const std::vector<const PositionRow*>& rows) {
  std::vector<Entry> entries;
  for (const auto* row : rows)
    for (const auto& [option, value] : row->defaults) {
      const std::string shown = text(value).empty() ? "\"\"" : text(value),
                        domain = text(row->domains.at(option), value), help = row->help.at(option);
      const auto same = [&, &name = option](const Entry& e) {
        return e.option == name && e.value == shown && e.domain == domain && e.help == help;
      };
      const auto at = std::find_if(entries.begin(), entries.end(), same);
      if (at == entries.end())
        entries.push_back({option, shown, domain, help, {row->name}});
      else
        at->names.push_back(row->name);
    }
  if (entries.empty()) return "None.\n";
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.option < b.option; });
  std::string s = "| option | default | values | meaning |\n|---|---|---|---|\n";
  for (const Entry& e : entries) {
    std::string whose;
    if (e.names.size() < rows.size())
      for (const std::string& name : e.names) whose += (whose.empty() ? " (" : ", ") + ticked(name);
    s += "| " + ticked(e.option) + whose + (whose.empty() ? "" : ")") + " | " + ticked(e.value) + " | " +
         replaced(e.domain, "|", "&#124;") + " | " + replaced(e.help, "|", "&#124;") + " |\n";
  }
  return s;
}

/// The page of every encoding, by the index.
std::map<std::string, std::vector<const PositionRow*>> pages(const fs::path& folder) {
  const std::string index = io::read_file((folder / "index.md").string());
  std::map<std::string, std::vector<const PositionRow*>> all;
  for (const auto& row : positions()) {
    const size_t at = index.find("| `" + std::string(row.name) + "` | ");
    if (at == std::string::npos) continue;  // a row that a test of the registry has added
    const size_t open = index.find("](", at), close = index.find(".md)", at);
    all[index.substr(open + 2, close + 1 - open)].push_back(&row);
  }
  return all;
}

TEST_CASE("pages: options, defaults and their meaning are the registry's") {
  const fs::path folder = fs::path(TESSERA_SOURCE_DIR) / "docs" / "positions";
  const auto all = pages(folder);
  CHECK(all.size() > 15);
  for (const auto& [page, rows] : all) {
    const std::string file = (folder / page).string(), heading = "## Options\n\n";
    std::string text = io::read_file(file);
    const size_t from = text.find(heading);
    REQUIRE_MESSAGE(from != std::string::npos, file);
    const size_t begin = from + heading.size();
    size_t end = text.find("\n\n", begin) + 1;  // a table is one paragraph
    if (std::getenv("TESSERA_WRITE_OPTIONS")) {
      text.replace(begin, end - begin, table(rows));
      io::replace_file(file, text);
      continue;
    }
    CHECK_MESSAGE(text.substr(begin, end - begin) == table(rows),
                  file << " is not what the registry says; write it anew with TESSERA_WRITE_OPTIONS=1 tessera_tests "
                          "-tc='pages: options*'");
  }
}

TEST_CASE("tour: the number of lines it announces is that of the files it names") {
  const fs::path root = TESSERA_SOURCE_DIR;
  const std::string tour = io::read_file((root / "docs/tour.md").string());
  std::set<std::string> files;
  for (size_t at = 0; (at = tour.find("](", at)) != std::string::npos; ++at) {
    const std::string link = tour.substr(at + 2, tour.find(')', at) - at - 2);
    if (fs::is_regular_file(root / "docs" / link)) files.insert(fs::weakly_canonical(root / "docs" / link).string());
  }
  long lines = 0;
  for (const std::string& file : files) {
    const std::string text = io::read_file(file);
    lines += std::count(text.begin(), text.end(), '\n');
  }
  const size_t at = tour.find(" lines");
  REQUIRE(at != std::string::npos);
  const size_t from = tour.rfind(' ', at - 1) + 1;
  const long said = std::stol(replaced(tour.substr(from, at - from), ",", ""));
  CHECK_MESSAGE(std::abs(said - lines) <= lines / 10,
                "docs/tour.md says " << said << " lines, the files have " << lines);
}

}  // namespace
}  // namespace tessera
