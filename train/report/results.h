#pragma once
// The tables of runs beside the page, for spreadsheets and scripts (RFC 4180, UTF-8).
#include <string>

#include "tessera/train/report/run.h"

namespace tessera::report {

/// results.csv, one row a finished run: run (its folder relative to `root`), model, position, seed; the configuration keys in which the
/// runs differ; then by name what the summary says, and for runs that differ only in their seeds, equal in all rows of a group:
/// "group" (numbered from 1 in order of the rows) and "group.MEASURE.mean", ".n", ".sd" of test_acc1 and best_val_acc1. Without
/// times, rates and the machine's description, so that equal work gives equal bytes.
std::string results_csv(const Runs& runs, const std::string& root);

/// timings.csv, the rest of the summary: run, group, seconds, images_per_s, threads, isa, version, environment.
std::string timings_csv(const Runs& runs, const std::string& root);

/// A cell of text: quoted where commas, quotes or line breaks ask for it; with ' before what a spreadsheet would run as a formula (= + -
/// @ at the start of what is no number); without control characters and bytes that are no UTF-8.
std::string csv_cell(std::string_view text);

}  // namespace tessera::report
