#pragma once
// report.html: one self-contained page (inline SVG, CSS and PNG; no script, no network; light and dark) about a run, or
// about several side by side.
#include <string>
#include <vector>

namespace tessera::report {

/// Writes the page about the runs in `rundirs` to `out` through io::replace_file. metrics.jsonl and config.toml have to
/// be there; summary.json (a run still under way) and report_data.json may be absent; a last line of metrics.jsonl that
/// was cut off is skipped. Throws Error naming the file and line that is malformed.
void write(const std::vector<std::string>& rundirs, const std::string& out);

}  // namespace tessera::report
