#include "tessera/train/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tessera/train/report/html.h"

namespace tessera::report {
namespace {

constexpr size_t most_keys = 3;  // columns of the table of results; more go into a table of their own

std::string tile(std::string_view name, const std::string& value, const std::string& small = "") {
  if (value == none) return "";
  return fmt::format("<div class=\"tile\"><span>{}</span><b>{}</b>{}</div>\n", escape(name), escape(value),
                     small.empty() ? "" : "<small>" + escape(small) + "</small>");
}

/// A name with the colour of its lines before it.
std::string chipped(size_t color, const std::string& name) {
  return fmt::format(
      "<span class=\"chipped\"><i class=\"chip\" style=\"background: var(--s{})\"></i><span>{}</span></span>",
      color % 8, breakable(name));
}

/// Text that may break, and in its title does not: found and copied as it is.
std::string whole(const std::string& text) {
  const std::string broken = breakable(text), plain_text = escape(text);
  return broken == plain_text ? broken : fmt::format("<span title=\"{}\">{}</span>", plain_text, broken);
}

struct Column {
  std::string heading;
  const char* style = "";  ///< "n": numbers; "n less": numbers that a phone leaves out
};

/// Cells are HTML.
std::string table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows) {
  const auto open = [&](const char* element, size_t c) {
    return *columns[c].style ? fmt::format("<{} class=\"{}\">", element, columns[c].style)
                             : fmt::format("<{}>", element);
  };
  std::string html = "<div class=\"card scroll\"><table><thead><tr>";
  for (size_t c = 0; c < columns.size(); ++c) html += open("th", c) + whole(columns[c].heading) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) html += open("td", c) + row[c] + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string value(const RunFiles& run, const std::string& key) {
  const auto it = run.config.find(key);
  return it == run.config.end() ? std::string(none) : it->second;
}

template <class Get>
bool same(const Runs& runs, Get get) {
  return std::all_of(runs.begin(), runs.end(), [&](const RunFiles& r) { return get(r) == get(runs[0]); });
}

std::string seed(const RunFiles& run) { return run.said("seed", value(run, "train.seed")); }

}  // namespace

std::string percent(double v) { return std::isfinite(v) ? fmt::format("{:.2f} %", v) : none; }

Accuracy accuracy(const RunFiles& run) {
  if (const double v = run.figure("test_acc1"); std::isfinite(v)) return {v, "test accuracy"};
  if (const double v = run.last("test", &Metric::acc1); std::isfinite(v)) return {v, "test accuracy so far"};
  const char* so_far = run.summary.empty() ? " so far" : "";
  if (const double v = run.last("val", &Metric::acc1); std::isfinite(v))
    return {v, std::string("validation accuracy") + so_far};
  return {run.last("train", &Metric::acc1), std::string("training accuracy") + so_far};
}

Colours colours(const Runs& runs) {
  Colours c{groups(runs), std::vector<size_t>(runs.size()), false};
  c.repeats = c.groups.size() < runs.size();
  for (size_t g = 0; g < c.groups.size(); ++g)
    for (const size_t i : c.groups[g].runs) c.of[i] = g;
  return c;
}

std::string tiles(const RunFiles& run) {
  const Accuracy acc = accuracy(run);
  double best = NAN, best_epoch = NAN;
  for (const Metric& m : run.metrics)
    if (m.split == "val" && std::isfinite(m.acc1) && !(m.acc1 <= best)) best = m.acc1, best_epoch = m.epoch;
  const std::string macs = std::isfinite(run.figure("macs")) ? si(run.figure("macs")) + " MACs a sample" : "";
  double seconds = run.figure("seconds"), rate = run.figure("images_per_s");
  if (!std::isfinite(rate)) rate = run.last("train", &Metric::images_per_s);
  if (!std::isfinite(seconds)) seconds = run.last("train", &Metric::seconds);
  return "<div class=\"tiles\">\n" + tile(acc.of, percent(acc.value)) +
         tile("best validation", percent(best), std::isfinite(best_epoch) ? "epoch " + number(best_epoch, 6) : "") +
         tile("parameters", std::isfinite(run.figure("params")) ? si(run.figure("params")) : none, macs) +
         tile("training time", duration(seconds)) +
         tile("samples a second", std::isfinite(rate) ? si(rate) : none, run.said("precision")) + "</div>\n";
}

std::string over_seeds(const Runs& runs, const Colours& colours) {
  if (!colours.repeats) return "";
  std::vector<std::vector<std::string>> rows;
  for (size_t g = 0; g < colours.groups.size(); ++g) {
    const Group& group = colours.groups[g];
    const auto over = [&](const std::function<double(const RunFiles&)>& get) {
      return statistics(measured(runs, group, get));
    };
    const Statistics test = over([](const RunFiles& r) { return r.figure("test_acc1"); });
    const Statistics val = over([](const RunFiles& r) { return r.figure("best_val_acc1"); });
    const auto add = [&](const char* measure, const Statistics& s) {
      std::string mean = percent(s.mean);
      if (std::isfinite(s.half)) mean += fmt::format(" \u00b1 {:.2f}", s.half);
      rows.push_back({chipped(g, group.label), measure, mean, std::isfinite(s.sd) ? fmt::format("{:.2f}", s.sd) : none,
                      std::to_string(s.count)});
    };
    if (test.count > 0 || val.count == 0) add("test", test);
    if (val.count > 0) add("best validation", val);
  }
  return section("Over seeds",
                 "Runs that differ only in their seeds: mean with Student's 95 % interval, standard deviation of the "
                 "sample, number of runs that have ended. The same seed twice counts once.",
                 table({{"runs"}, {"accuracy"}, {"mean", "n"}, {"sd", "n"}, {"n", "n"}}, rows));
}

std::string comparison(const Runs& runs, const Colours& colours) {
  std::vector<std::string> keys = differing(runs);
  if (keys.size() > most_keys)
    std::erase_if(keys, [](const std::string& k) { return k != "model.name" && k != "position.name"; });
  const auto params = [](const RunFiles& r) { return r.said("params"); };
  const bool seeded = !same(runs, seed), sized = !same(runs, params);
  std::vector<Column> columns = {{"run"}};
  for (const std::string& key : keys) columns.push_back({key});
  if (seeded) columns.push_back({"seed", "n"});
  columns.insert(columns.end(), {{"accuracy", "n"}, {"to the first", "n less"}});
  if (sized) columns.push_back({"parameters", "n less"});
  columns.insert(columns.end(), {{"samples a second", "n less"}, {"time", "n"}});
  std::vector<std::vector<std::string>> rows;
  const double first = accuracy(runs[0]).value;
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunFiles& r = runs[i];
    const Accuracy a = accuracy(r);
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(chipped(colours.of[i], r.label));
    for (const std::string& key : keys) row.push_back(breakable(plain(value(r, key))));
    if (seeded) row.push_back(escape(seed(r)));
    const bool other = a.of != "test accuracy" && std::isfinite(a.value);
    row.push_back(percent(a.value) + (other ? "<br/><small>" + escape(a.of) + "</small>" : ""));
    row.push_back(i > 0 && std::isfinite(a.value - first) ? fmt::format("{:+.2f}", a.value - first) : "");
    if (sized) row.push_back(std::isfinite(r.figure("params")) ? number(r.figure("params"), 12) : none);
    row.push_back(si(r.figure("images_per_s")));
    row.push_back(duration(r.figure("seconds")));
  }
  return section("Results", "Accuracy on the test set, unless it says otherwise.", table(columns, rows));
}

std::string config_differences(const Runs& runs, const Colours& colours) {
  const std::vector<std::string> keys = differing(runs);
  if (keys.empty()) return section("Differences in configuration", "None but seeds.", "");
  if (keys.size() <= most_keys) return "";  // columns of the table of results
  // the longer side is the rows
  const std::vector<Group>& sets = colours.groups;
  const bool by_key = keys.size() >= sets.size();
  std::vector<Column> columns = {{""}};
  std::vector<std::vector<std::string>> rows;
  const auto at = [&](size_t g, const std::string& key) { return breakable(plain(value(runs[sets[g].runs[0]], key))); };
  if (by_key) {
    for (const Group& g : sets) columns.push_back({g.label});
    for (const std::string& key : keys) {
      rows.push_back({whole(key)});
      for (size_t g = 0; g < sets.size(); ++g) rows.back().push_back(at(g, key));
    }
  } else {
    for (const std::string& key : keys) columns.push_back({key});
    for (size_t g = 0; g < sets.size(); ++g) {
      rows.push_back({chipped(g, sets[g].label)});
      for (const std::string& key : keys) rows.back().push_back(at(g, key));
    }
  }
  return section("Differences in configuration", "Keys with the same value in all runs are left out, and seeds.",
                 table(columns, rows));
}

}  // namespace tessera::report
