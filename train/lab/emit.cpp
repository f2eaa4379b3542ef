#include "tessera/train/lab/emit.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tessera/train/cli/config_file.h"
#include "tessera/train/lab/child.h"

namespace tessera::lab {
namespace {

constexpr const char* slurm = R"(#!/bin/bash
# sbatch this file; submit it again to go on with what is left. Each task of the array is a worker.
#SBATCH --job-name=tessera-ablate
#SBATCH --array=1-{jobs}
#SBATCH --cpus-per-task={threads}
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --output=ablate-%A-%a.log
# two minutes before the time is over a worker writes its checkpoint and lets go of its run, for another to take it up
exec {worker} --threads "${{SLURM_CPUS_PER_TASK:-{threads}}}"
)";

constexpr const char* parallel = R"(#!/bin/sh
# Runs {jobs} workers with GNU parallel, here, or with --sshloginfile on machines that see this folder under the same name.
# Run it again to go on with what is left.
seq {jobs} | exec parallel --jobs {jobs} --ungroup -N0 "$@" {quoted}
)";

constexpr const char* mpi = R"(#!/bin/sh
# Runs {jobs} workers under mpirun; they talk through the folder alone, so every MPI will do. Run it again to go on with what is left.
exec mpirun -n {jobs} "$@" {worker} --threads {threads}
)";

}  // namespace

std::string script_of(const std::string& how, const std::string& dir, size_t runs, const CrewOptions& o) {
  namespace fs = std::filesystem;
  const int n = o.jobs > 0 ? o.jobs : static_cast<int>(std::clamp<size_t>(runs, 1, 16));
  const int each = std::max(o.threads, 1);
  const std::string worker =
      fmt::format("{} ablate --worker --out {}{}{}", shell_word(program_path()),
                  shell_word(fs::weakly_canonical(fs::absolute(dir)).string()),
                  o.patience == CrewOptions().patience ? "" : fmt::format(" --stale-after {}", o.patience),
                  o.allow_mixed ? " --allow-mixed-isa" : "");
  const auto fill = [&](const char* text) {
    return fmt::format(fmt::runtime(text), fmt::arg("jobs", n), fmt::arg("threads", each), fmt::arg("worker", worker),
                       fmt::arg("quoted", shell_word(fmt::format("{} --threads {}", worker, each))));
  };
  if (how == "slurm") return fill(slurm);
  if (how == "parallel") return fill(parallel);
  if (how == "mpi") return fill(mpi);
  cli::wrong_usage("--emit {}: expected slurm, parallel or mpi", shown(how));
}

}  // namespace tessera::lab
