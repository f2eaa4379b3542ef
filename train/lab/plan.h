#pragma once
// A study: which cells there are, each a run of `tessera train`, and what is asked of them. A plan is a TOML file, words of the command
// line, or both; DIR/plan.toml holds all of it, and every process that works on DIR makes the same cells out of that. docs/ablation.md
// shows the grammar.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/train/training/config.h"

namespace tessera::lab {

/// One run of a study.
struct Cell {
  std::string name;  ///< of its folder, from what it says and its seed: "position=shaw,seed=1"
  std::vector<std::pair<std::string, std::string>> keys;  ///< of Plan::grid in its order; "" where a key means nothing to this cell
  int64_t seed = 1;
  RunConfig config;     ///< to the bit what `tessera train` makes of the same words; the data complete it
  std::string refused;  ///< why there is no such run; empty: there is, as far as is known before the data are open
  int reference = -1;   ///< the cell of the baseline with the same other keys and seed, by index; -1: none, or itself
};

/// Clearly worse, and stopped for it: at least `margin` below the reference cell of the same seed in `epochs` validations in a row, at
/// the same epochs. A function of the two runs' validation alone: neither the test split nor the order of work has a say.
struct StopRule {
  double margin = 0;  ///< of accuracy, in (0, 1]; 0: nobody is stopped
  int epochs = 3;
};

/// Words of [report] that are not the plan's own: which measures, and their options. Values as they would be typed, lists by commas.
using ReportWords = std::vector<std::pair<std::string, std::string>>;

struct Plan {
  std::vector<std::string> grid;  ///< keys in which cells differ, in full ("position.name"), those of [grid] first, in its order
  std::vector<Cell> cells;        ///< the product in the order of [grid], the last key fastest, then [[extra]]; seeds innermost
  std::string baseline;           ///< a value of the first grid key; "" without one
  StopRule stop;
  ReportWords report;
  std::string text;  ///< of DIR/plan.toml
};

/// What was said, before it is known to make sense.
struct Words {
  struct Assignment {
    std::string key;                  ///< as ConfigLayers takes it: full, or one of the model's
    std::vector<std::string> values;  ///< one: for all cells; several: an axis of the grid
  };
  std::string recipe;       ///< a file or an embedded one, or the name of ...
  std::string recipe_text;  ///< ... what it held when the study began
  std::vector<Assignment> run, grid;
  std::vector<std::vector<Assignment>> extra;
  std::vector<int64_t> seeds;
  std::string baseline;
  StopRule stop;
  ReportWords report;
};

/// Reads a plan. Throws Usage "source:line:column: what".
Words read_plan(std::string_view toml, const std::string& source);
/// The same of a file.
Words read_plan_file(const std::string& path);
/// "key=a,b" of the command line, or an option's value: an axis if there are several values, and it takes the place of what a plan says
/// of this key.
void say(Words& words, const std::string& key, const std::string& values);
/// "1..5", "1,2,7". Throws Usage.
std::vector<int64_t> seeds_of(const std::string& text);

/// The cells. Looks for data where nobody named any, reads the recipe, and writes both into `words` and Plan::text. Throws Usage when the
/// plan itself makes no sense; a cell that does not is in the plan with its reason.
Plan make_plan(Words words);

/// What of `now` the plan `before` of the same folder does not allow, in one line; "" when `now` has all its cells as they were, and
/// maybe more.
std::string differs(const Plan& before, const Plan& now);

}  // namespace tessera::lab
