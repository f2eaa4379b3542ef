#pragma once
// The subcommands that look at many runs together. As those of train/cli/commands.h, each adds itself to the parser.
#include "tessera/train/cli/commands.h"

namespace tessera::lab {

void add_ablate(CLI::App& app, cli::Action& chosen);
void add_probe(CLI::App& app, cli::Action& chosen);
void add_measure(CLI::App& app, cli::Action& chosen);
void add_report(CLI::App& app, cli::Action& chosen);

}  // namespace tessera::lab
