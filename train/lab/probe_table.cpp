// What a probe shows: a table for the terminal, a table for programs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tessera/train/lab/probe.h"
#include "tessera/train/report/results.h"

namespace tessera::lab {
namespace {

/// "99±1", "(26±3)" where chance would do as well, "-" where there is nothing.
std::string shown(const ProbeCell& c) {
  if (!c.absent.empty()) return "-";
  const double half = std::max(c.accuracy - c.interval.low, c.interval.high - c.accuracy);
  const std::string s = fmt::format("{:.0f}±{:.0f}", 100 * c.accuracy, std::min(99.0, std::ceil(100 * half)));
  return c.above_chance() ? s : "(" + s + ")";
}

/// Of so many columns, ± being one.
std::string right_aligned(const std::string& text, size_t columns) {
  const size_t width = text.size() - (text.find("±") != std::string::npos ? 1 : 0);
  return std::string(columns > width ? columns - width : 0, ' ') + text;
}

std::string number(double v) { return std::isfinite(v) ? fmt::format("{}", v) : ""; }

}  // namespace

std::string pool_in_words(std::string_view pool) {
  return pool == "token" ? ", class token" : pool == "avg" ? ", mean of the patches" : "";
}

std::string probe_csv(const std::vector<ProbeCell>& cells) {
  std::string csv = "position,pool,task,size,chance,seeds,accuracy,low,high,interval,standing,absent\n";
  for (const ProbeCell& c : cells) {
    const bool some = c.absent.empty();
    csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{}\n", report::csv_cell(c.position), c.pool, c.task, c.size,
                       c.chance, c.by_seed.size(), number(c.accuracy), number(c.interval.low), number(c.interval.high),
                       !some                  ? ""
                       : c.by_seed.size() > 1 ? "seeds"
                                              : "pictures",
                       !some              ? ""
                       : c.above_chance() ? "above chance"
                                          : "chance",
                       report::csv_cell(c.absent));
  }
  return csv;
}

std::string probe_table(const std::vector<ProbeCell>& cells) {
  constexpr size_t name_width = 23, width = 7;
  std::string text;
  std::set<std::pair<std::string, std::string>> reasons;
  for (size_t first = 0; first < cells.size();) {
    const int size = cells[first].size;
    const std::string& pool = cells[first].pool;
    const auto together = [&](size_t i) { return i < cells.size() && cells[i].size == size && cells[i].pool == pool; };
    size_t tasks = 0;  // columns: the cells of the first encoding
    while (together(first + tasks) && cells[first + tasks].position == cells[first].position) ++tasks;
    text += fmt::format("{}% right at {} x {}{}{}{}\n", first == 0 ? "" : "\n", size, size, pool_in_words(pool),
                        first == 0 && pool.empty() ? ", the size of training" : "",
                        first == 0 ? "; in brackets: chance would do" : "");
    std::string head(name_width, ' '), chance = fmt::format("{:<{}}", "chance", name_width);
    for (size_t t = 0; t < tasks; ++t) {
      const ProbeTask& task = *std::ranges::find(probe_tasks(), cells[first + t].task, &ProbeTask::name);
      head += right_aligned(task.heading, width);
      chance += right_aligned(fmt::format("{:.0f}", 100 * task.chance()), width);
    }
    text += head + "\n" + chance + "\n";
    for (; together(first); first += tasks) {
      text += fmt::format("{:<{}}", cells[first].position.substr(0, name_width - 1), name_width);
      for (size_t t = 0; t < tasks; ++t) {
        const ProbeCell& c = cells[first + t];
        text += right_aligned(shown(c), width);
        if (!c.absent.empty()) reasons.emplace(c.position, c.absent);
      }
      text += "\n";
    }
  }
  for (const auto& [position, why] : reasons) text += fmt::format("- {}: {}\n", position, why);
  return text;
}

}  // namespace tessera::lab
