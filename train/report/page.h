#pragma once
// The sections of the page; each is HTML, or empty when there is nothing to show.
#include <string>
#include <vector>

#include "tessera/train/report/groups.h"
#include "tessera/train/report/run.h"

namespace tessera::report {

constexpr const char* none = "\u2013";
std::string percent(double v);

/// The accuracy a run is known by: of the test set at its end, else the last one on test, validation or training.
struct Accuracy {
  double value;  ///< in percent
  std::string of;
};
Accuracy accuracy(const RunFiles& run);

/// A run and the index of its colour: that of its group.
struct Colours {
  std::vector<Group> groups;
  std::vector<size_t> of;  ///< a run's group
  bool repeats = false;    ///< some group has several runs
};
Colours colours(const Runs& runs);

std::string tiles(const RunFiles& run);
std::string curves(const Runs& runs, const Colours& colours);
/// Mean, spread and number of the runs that differ only in their seeds.
std::string over_seeds(const Runs& runs, const Colours& colours);
std::string comparison(const Runs& runs, const Colours& colours);
std::string config_differences(const Runs& runs, const Colours& colours);
std::string samples(const Data& data);

}  // namespace tessera::report
