#include "tessera/train/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/report/confusion.h"
#include "tessera/train/report/html.h"
#include "tessera/train/report/page.h"
#include "tessera/train/report/picture.h"

namespace tessera::report {
namespace {

std::string what(const RunFiles& run) {
  const std::string model = run.said("model", run.label), position = run.said("position");
  return position.empty() ? model : model + " with " + position;
}

std::string summary(const RunFiles& run) {
  if (run.summary.empty()) return section("Summary", "The run has not ended: there is no summary.json yet.", "");
  std::string html = "<div class=\"card scroll\"><table><tbody>\n";
  for (const auto& [key, value] : run.summary)
    html +=
        "<tr><th class=\"key\">" + escape(key) + "</th><td>" + escape(value.empty() ? none : value) + "</td></tr>\n";
  return section("Summary", "", html + "</tbody></table></div>\n");
}

/// Folded: it is long, and of interest only when a number has raised a question.
std::string config(const Runs& runs) {
  std::string html;
  for (const RunFiles& r : runs)
    html += fmt::format("<details class=\"card\"><summary>{}</summary><pre>{}</pre></details>\n",
                        escape(r.label + "/config.toml"), escape(r.config_text));
  return section("ConfigLayers", "", html);
}

std::string tables(const Data& data) {
  std::string html;
  for (const Table& t : data.tables) html += table_card(t);
  return html.empty() ? ""
                      : section("Learned positions", "The position tables as they are at the end of training.",
                                "<div class=\"tables\">\n" + html + "</div>\n");
}

std::string pictures(const RunFiles& run) {
  return run.data ? confusion(*run.data) + samples(*run.data) + tables(*run.data) : "";
}

/// Of runs that differ only in their seeds the first stands for all; of more than a few the pictures are folded.
std::string pictures(const Runs& runs, const Colours& colours) {
  std::string html;
  const bool folded = colours.groups.size() > 2;
  for (const Group& group : colours.groups) {
    const RunFiles& r = runs[group.runs[0]];
    if (!r.data) continue;
    const std::string part = confusion(*r.data) + tables(*r.data);
    if (part.empty()) continue;
    const std::string heading =
        group.runs.size() > 1 ? fmt::format("Run {}, the first of {}", r.label, group.label) : "Run " + r.label;
    html +=
        folded
            ? fmt::format(
                  "<details class=\"run\"><summary>{}: confusion matrix and position tables</summary>\n{}</details>\n",
                  escape(heading), part)
            : section(heading, what(r) == r.label ? "" : what(r), part);
  }
  return folded && !html.empty() ? section("Pictures", "", html) : html;
}

/// What a reader has to know before the numbers.
std::string notes(const Runs& runs) {
  std::string html;
  for (const RunFiles& r : runs)
    for (const std::string& note : r.notes) html += "<p class=\"note wrong\">" + escape(note) + "</p>\n";
  return html;
}

std::string under_title(const RunFiles& run) {
  std::string note = "run " + run.label;
  for (const char* key : {"data.name", "epochs", "seed", "precision", "threads", "isa", "version"}) {
    const std::string v = run.said(key);
    if (v.empty()) continue;
    note += std::string(" \u00b7 ") + (std::string_view(key) == "data.name" ? "data" : key) + " " + v;
  }
  if (const std::string sum = run.said("weights_checksum"); !sum.empty()) note += " \u00b7 began from weights " + sum;
  return note;
}

}  // namespace

Readable read_runs(const std::vector<std::string>& rundirs) {
  if (rundirs.empty()) fail("report", "no run directory was given");
  Readable all;
  std::set<std::string> seen;
  for (const std::string& dir : rundirs) {
    std::error_code error;
    const auto path = std::filesystem::weakly_canonical(dir, error);
    if (!error && !seen.insert(path.string()).second) continue;
    try {
      all.runs.push_back(read_run(dir));
    } catch (const Error& e) {
      all.skipped.emplace_back(e.what());
    }
  }
  // runs of the same folder name in different places are told apart by their paths
  std::multiset<std::string> labels;
  for (const RunFiles& r : all.runs) labels.insert(r.label);
  for (RunFiles& r : all.runs)
    if (labels.count(r.label) > 1) r.label = r.dir;
  return all;
}

void write(const Runs& runs, const std::string& out) {
  if (runs.empty()) fail("report", "no run can be read; there is nothing to write to {}", out);
  std::string title, note, body;
  const Colours of = colours(runs);
  if (runs.size() == 1) {
    const RunFiles& r = runs[0];
    title = what(r), note = under_title(r);
    body = tiles(r) + curves(runs, of) + pictures(r) + summary(r) + config(runs);
  } else {
    title = fmt::format("{} runs compared", runs.size());
    if (of.repeats)
      note = fmt::format("{} configuration{} over seeds", of.groups.size(), of.groups.size() == 1 ? "" : "s");
    else
      for (const RunFiles& r : runs) note += (note.empty() ? "" : " \u00b7 ") + r.label;
    body = over_seeds(runs, of) + comparison(runs, of) + curves(runs, of) + config_differences(runs, of) +
           pictures(runs, of) + config(runs);
  }
  const std::string header =
      fmt::format("<header><h1>{}</h1><p class=\"note\">{}</p></header>\n", escape(title), escape(note));
  io::replace_file(out, page(title + " \u2013 tessera",
                             header + notes(runs) + body + "<footer>Written by tessera report.</footer>\n"));
}

std::vector<std::string> write(const std::vector<std::string>& rundirs, const std::string& out) {
  const Readable all = read_runs(rundirs);
  if (all.runs.empty()) throw Error(all.skipped[0]);
  write(all.runs, out);
  return all.skipped;
}

}  // namespace tessera::report
