#pragma once
// Which runs belong together: those that differ only in their seeds are repeats of one experiment.
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/report/run.h"

namespace tessera::report {

/// A value of config.toml as a person says it: without quotes.
std::string plain(std::string_view toml_value);

/// The configuration keys whose values are not the same in all runs, sorted; without seeds, and without data.dir, which says
/// where data lie and not what they are. Options of a model or an encoding count only among runs with the same one: beside
/// another name they say nothing new.
std::vector<std::string> differing(const Runs& runs);

/// Runs whose configurations are the same but for their seeds.
struct Group {
  std::string label;         ///< what tells it from the other groups: "rope, optim.lr = 0.001"
  std::vector<size_t> runs;  ///< indices, ascending
};
/// In the order of their first runs. With no two runs alike every run is a group under its own label.
std::vector<Group> groups(const Runs& runs);

/// Of `count` numbers: sd is that of the sample (n - 1), [mean - half, mean + half] Student's 95 % interval; both NaN for fewer
/// than two, the mean too for none.
struct Statistics {
  int count;
  double mean, sd, half;
};
Statistics statistics(const std::vector<double>& values);

/// `get` of every run of a group that has that number; a run with the seeds of another is the same number twice and counts once.
std::vector<double> measured(const Runs& runs, const Group& group, const std::function<double(const RunFiles&)>& get);

/// All values of a run's seeds as one text.
std::string seeds(const RunFiles& run);

}  // namespace tessera::report
