#pragma once
// What the tables need of DIR/plan.toml: the order of the grid, which cells are beside it, and the baseline.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::lab {

struct PlanSays {
  std::vector<std::pair<std::string, std::vector<std::string>>> grid;   ///< key -> values in their order
  std::vector<std::vector<std::pair<std::string, std::string>>> extra;  ///< what each [[extra]] says, but for its seeds
  std::string baseline;
  bool stops = false;  ///< has it a rule for stopping what is clearly worse?

  /// Is this key of a cell one of [grid]?
  bool is_axis(const std::string& key) const;
  /// Whose cells these are: 0 of the grid, n of the n-th [[extra]]; of several that fit the one that says most.
  size_t place(const std::vector<std::string>& keys, const std::vector<std::string>& values) const;
  /// Grid values order rows: first those the plan lists, as it lists them; then the rest, numbers before words.
  using Rank = std::pair<std::pair<size_t, double>, std::string>;
  std::vector<Rank> ranks(const std::vector<std::string>& keys, const std::vector<std::string>& values) const;
  /// The grid's keys first, in its order.
  void sort_keys(std::vector<std::string>& keys) const;
};

/// Of a file that may be absent. Throws Error "[results] file: what" where it is no TOML.
PlanSays read_plan_says(const std::string& file);
/// The same of a text that is there; `file` stands in errors only.
PlanSays plan_says(std::string_view text, const std::string& file);

}  // namespace tessera::lab
