#pragma once
// A study on a terminal: how far it is, what runs, and the ranking so far, redrawn in place.
#include <chrono>
#include <string>
#include <vector>

#include "tessera/train/lab/study.h"

namespace tessera::lab {

/// The view's lines, each at most `columns` wide: `left` is how many seconds it will still take, negative where that is not known yet.
struct Progress {
  int runs = 0, finished = 0, failed = 0;
  struct Running {
    std::string cell;
    double share;
  };
  std::vector<Running> running;
  double left = -1;
};
std::vector<std::string> view_lines(const Progress& progress, const std::vector<std::string>& ranking, int columns);

class View {
 public:
  View(const Study& study, const Plan& plan);
  /// Looks at the folder and draws, at most once a second; does nothing where there is no lively terminal.
  void update();
  /// A line that stays, above the view.
  void say(const std::string& line);

 private:
  Progress look();
  void erase();
  const Study& study_;
  const Plan& plan_;
  const Claims claims_;
  const bool lively_;
  int drawn_ = 0;  ///< lines on the screen
  std::chrono::steady_clock::time_point drawn_at_{};
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double done_at_start_ = -1;
  int ranked_ = 0;  ///< finished cells of which the ranking is
  std::vector<std::string> ranking_;
};

}  // namespace tessera::lab
