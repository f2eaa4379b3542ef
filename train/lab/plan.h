#pragma once
// A study: which cells there are, each a run of `tessera train`, and what is asked of them. A plan is a TOML file, words of the command
// line, or both; DIR/plan.toml holds all of it, and every process that works on DIR makes the same cells out of that. docs/ablation.md
// shows the grammar.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/train/training/config.h"

namespace tessera::lab {

/// One run of a study.
struct Cell {
  std::string name;  ///< of its folder, from what it says and its seed: "position=shaw,seed=1"
  std::vector<std::pair<std::string, std::string>>
      keys;  ///< of Plan::grid in its order; "" where a key means nothing to this cell
  int64_t seed = 1;
  RunConfig config;     ///< to the bit what `tessera train` makes of the same words; the data complete it
  std::string refused;  ///< why there is no such run; empty: there is, as far as is known before the data are open
  int reference =
      -1;  ///< the baseline's cell that it is compared with (baseline.h), of its seed, by index; -1: none, or itself
};

/// Clearly worse, and stopped for it: at least `margin` below the reference cell of the same seed in `epochs` validations in a row, at
/// the same epochs. A function of the two runs' validation alone: neither the test split nor the order of work has a say.
struct StopRule {
  double margin = 0;  ///< of accuracy, in (0, 1]; 0: nobody is stopped
  int epochs = 3;
};

/// A key with a value, or with several: of the grid, or a list of [report]. Values are text, as they would be typed.
struct Assignment {
  std::string key;  ///< in full, "optim.lr", except in [report]
  std::vector<std::string> values;
  bool list = false;     ///< several, if only one by chance
  std::string origin{};  ///< "plan.toml:3:12"; "": the command line
};
using Assignments = std::vector<Assignment>;

/// One more cell beside the grid's.
struct Extra {
  Assignments said;
  std::vector<int64_t> seeds;  ///< some of the study's; none: all of them
};

struct Plan {
  std::vector<std::string>
      grid;  ///< keys in which cells differ, in full ("position.name"), those of [grid] first, in its order
  std::vector<Cell>
      cells;  ///< the product in the order of [grid], the last key fastest, then [[extra]]; seeds innermost
  std::string baseline_key,
      baseline_value;  ///< what others are compared with: "position.name" and "none"; "" in a study of one cell
  StopRule stop;
  Assignments report;      ///< what [report] says beside: the measures and their options
  std::string arithmetic;  ///< of the machine that began it
  std::string note;        ///< what is to be told of it: which data were chosen, a baseline left out; or empty
  std::string text;        ///< of DIR/plan.toml
};

/// What was said, before it is known to make sense.
struct Words {
  std::string recipe;       ///< a file or an embedded one, or the name of ...
  std::string recipe_text;  ///< ... what it held when the study began
  Assignments run, grid, report;
  std::vector<Extra> extra;
  std::vector<int64_t> seeds;
  std::string baseline;    ///< "none" or "position=none"
  std::string arithmetic;  ///< what a plan.toml says of the machine that wrote it
  std::optional<double> stop_worse;
  std::optional<int> stop_epochs;
};

/// What bits depend on beside configuration and data, as far as machines of one cluster differ in it: instruction set and OpenBLAS.
std::string arithmetic();

/// Reads a plan. Throws Usage "source:line:column: what".
Words read_plan(std::string_view toml, const std::string& source);
/// The same of a file.
Words read_plan_file(const std::string& path);
/// "key=a,b" of the command line, or an option and its value: an axis of the grid if there are several values (commas inside of brackets
/// part none), and it takes the place of what a plan says of this key.
void assign(Words& words, const std::string& key, const std::string& values);
/// The full name of a key: "position" is position.name, "lr" optim.lr, as the options of `tessera train` are called; "depth" is model.depth.
std::string full_key(std::string_view word);
/// "1..5", "1,2,7". Throws Usage.
std::vector<int64_t> seeds_of(const std::string& text);

/// DIR/plan.toml: reads back to the same plan on every machine.
std::string plan_text(const Words& words);

/// Throws Usage for the first name of a model, an encoding or a data set, the first key and the first value that nobody knows, be it in the
/// plan or in its recipe. What is known somewhere may still be refused in a cell.
void refuse_unknown(const Words& words);

/// The cells. Looks for data where nobody named any, and reads the recipe; Plan::text has both. `before`: the plan of the folder, which says
/// what it was begun on, and with a rule for stopping who is the baseline while nobody names one. Throws Usage when the plan itself makes
/// no sense, as refuse_unknown() does; a cell that makes none is in the plan with its reason.
Plan make_plan(Words words, const Plan* before = nullptr);

/// What of `now` the plan `before` of the same folder does not allow, in one line; "" when `now` has all its cells as they were, and
/// maybe more. With a rule for stopping every run keeps the one that it was judged beside.
std::string differs(const Plan& before, const Plan& now);

}  // namespace tessera::lab
