#pragma once
// report.html: one self-contained page (inline SVG, CSS and PNG; no script, no network; light and dark, on paper and on a phone) about
// a run, or about several side by side.
#include <string>
#include <vector>

#include "tessera/train/report/run.h"

namespace tessera::report {

/// The runs that can be read, and for every other one the line that says which of its files is damaged and why.
struct Readable {
  Runs runs;
  std::vector<std::string> skipped;
};

/// Reads every directory once, in their order; of several of the same name the labels are the paths. Throws Error if none is given.
Readable read_runs(const std::vector<std::string>& rundirs);

/// Writes the page about `runs` to `out` through io::replace_file. Throws Error if there is none.
void write(const Runs& runs, const std::string& out);

/// read_runs() and write(). Returns the lines about runs that were skipped; throws Error with the first of them if no run can be read.
std::vector<std::string> write(const std::vector<std::string>& rundirs, const std::string& out);

}  // namespace tessera::report
