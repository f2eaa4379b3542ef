#include "tessera/train/cli/words.h"

#include <algorithm>

#include "tessera/train/cli/config_file.h"

namespace tessera::cli {
namespace {

constexpr char mark = '\x1f';

bool misread(const std::string& word) {
  return word == "{}" || (word.size() > 1 && word.front() == '[' && word.back() == ']');
}

}  // namespace

std::string unmarked(std::string word) {
  if (!word.empty() && word.front() == mark) word.erase(0, 1);
  return word;
}

std::vector<std::string> marked_words(int argc, char** argv) {
  std::vector<std::string> words;
  bool options = true;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word == "--") options = false;
    if (options && word.starts_with("--") && word.find('=') + 1 == word.size())
      wrong_usage("{} has no value after the =", shown(word));
    words.push_back(misread(word) ? mark + word : word);
  }
  std::reverse(words.begin(), words.end());
  return words;
}

void unmark_values(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() == 0) continue;  // a flag
    option->transform(CLI::Validator(
        [](std::string& value) {
          value = unmarked(value);
          return std::string(value.empty() ? "the value is empty" : "");
        },
        ""));
  }
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) unmark_values(*sub);
}

}  // namespace tessera::cli
