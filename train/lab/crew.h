#pragma once
// One process that has a machine to itself: as many workers, each a process of this program, as use its cores best; it forwards what they
// say and signals to them, and shows how far the study is.
#include <string>
#include <vector>

#include "tessera/train/cli/interrupt.h"
#include "tessera/train/lab/study.h"

namespace tessera::lab {

struct CrewOptions {
  int jobs = 0;     ///< workers; 0: as many as measurement says
  int threads = 0;  ///< of each; 0: the cores divided among them
  double patience = 60;
  bool allow_mixed = false;
};

/// How a machine's cores are best used.
struct Split {
  int jobs = 1, threads = 1;
  std::string why;  ///< a line for a person
};
/// As many runs at a time as the cores hold, with `threads` each; 0: with a core each, or a share of them where there are fewer runs.
Split widest_split(int runs, int cores, int threads);
/// For so many runs that are left, of which `cell` is one: measures a few steps of one run against as many at the same time as cores and memory
/// hold; `threads` of each, or 0: one run has all cores, several their share. A few seconds.
Split best_split(const Cell& cell, int runs, int cores, int threads, const cli::Interrupt& interrupt);

/// Works until the study is at its end. Returns the exit code: done, or interrupted. Throws Error when no worker can go on.
int run_crew(const Study& study, const Plan& plan, const CrewOptions& options, const cli::Interrupt& interrupt);

}  // namespace tessera::lab
