#include "tessera/train/lab/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "tessera/core/io/text.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/lab/seams.h"
#include "tessera/train/training/text.h"

namespace tessera::lab {
namespace {

constexpr size_t most_running = 8, most_ranked = 12;

std::string cut(std::string line, int columns) {
  const auto most = static_cast<size_t>(std::max(columns - 1, 20));
  return line.size() > most ? line.substr(0, most - 2) + ".." : line;
}

std::string bar(double share) {
  constexpr int width = 24;
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
  return "[" + std::string(static_cast<size_t>(full), '=') + std::string(static_cast<size_t>(width - full), ' ') + "]";
}

/// A worker that has just claimed a cell that was finished or failed meanwhile is at none.
bool open(const Standing& s, const std::string& cell) { return !s.finished.contains(cell) && !s.failed.contains(cell); }

}  // namespace

std::vector<std::string> view_lines(const Progress& p, const std::vector<std::string>& ranking, int columns) {
  std::vector<std::string> lines;
  std::string first = fmt::format("{} of {} done", p.finished, plural(p.runs, "run"));
  if (p.failed > 0) first += fmt::format(", {} failed", p.failed);
  first += fmt::format(", {} under way", p.running.size());
  if (p.left >= 0) first += ", about " + duration(p.left) + " left";
  lines.push_back(cut(first, columns));
  const int name = std::clamp(columns - 40, 20, 60);
  for (size_t i = 0; i < std::min(p.running.size(), most_running); ++i)
    lines.push_back(cut(fmt::format("  {:<{}} {} {:3.0f} %", cut(p.running[i].cell, name), name,
                                    bar(p.running[i].share), 100 * p.running[i].share),
                        columns));
  if (p.running.size() > most_running) lines.push_back(fmt::format("  and {} more", p.running.size() - most_running));
  if (!ranking.empty()) lines.emplace_back("test accuracy so far:");
  for (const std::string& line : ranking) lines.push_back(cut("  " + line, columns));
  return lines;
}

View::View(const Study& study, const Plan& plan)
    : study_(study), plan_(plan), claims_(study.claims(), 60), lively_(cli::stderr_is_lively()) {}

Progress View::look() {
  const Standing s = standing(study_);
  Progress p;
  p.runs = static_cast<int>(plan_.cells.size());
  double done = 0;
  for (const Cell& cell : plan_.cells) {
    if (s.finished.contains(cell.name)) ++p.finished;
    if (s.failed.contains(cell.name)) ++p.failed;
    if (!open(s, cell.name)) continue;
    const Owner owner = claims_.holder(cell.name);
    if (owner.id.empty()) continue;
    p.running.push_back({cell.name, owner.share});
    done += owner.share;
  }
  done += p.finished + p.failed;
  if (done_at_start_ < 0) done_at_start_ = done, start_ = std::chrono::steady_clock::now();
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double gained = done - done_at_start_;
  if (gained > 0.02 && took > 5 && done < p.runs) p.left = took / gained * (p.runs - done);
  return p;
}

void View::erase() {
  if (drawn_ > 0) std::fputs(fmt::format("\033[{}A\033[J", drawn_).c_str(), stderr);
  drawn_ = 0;
}

void View::update() {
  const auto time = std::chrono::steady_clock::now();
  if (!lively_ || (drawn_ > 0 && time - drawn_at_ < std::chrono::seconds(1))) return;
  drawn_at_ = time;
  const Progress now = look();
  if (now.finished != ranked_) ranking_ = ranking_lines(study_, most_ranked), ranked_ = now.finished;
  const std::vector<std::string> lines = view_lines(now, ranking_, cli::terminal_columns());
  erase();
  for (const std::string& line : lines) std::fputs((io::printable(line) + "\n").c_str(), stderr);
  drawn_ = static_cast<int>(lines.size());
}

void View::say(const std::string& line) {
  if (lively_) erase();
  cli::say(line);
}

}  // namespace tessera::lab
