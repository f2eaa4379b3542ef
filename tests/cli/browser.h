#pragma once
// A headless Chromium without anything but its own protocol: a page is opened, programs run in it, and what it asked for and complained about
// is kept.
#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/cli/program.h"

namespace tessera::test {

class Browser {
 public:
  /// `program` is chromium-headless-shell, or chromium. Throws std::runtime_error if it does not answer within half a minute.
  explicit Browser(const std::string& program);
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  /// Returns when it has loaded; `scripts` false: as where they are switched off.
  void open(const std::string& url, bool scripts = true);
  /// The value of a JavaScript expression, as JSON. What it throws is the answer.
  std::string value(const std::string& expression);
  /// A window of that width and height, light or dark.
  void look(int width, int height, bool dark = false);
  /// As it is laid out for a sheet of A4, until look().
  void paper();

  std::vector<std::string> complaints;  ///< of the console, and exceptions nobody caught
  std::vector<std::string> requests;    ///< addresses asked for since open(), but for the page's own

 private:
  std::string call(const std::string& method, const std::string& parameters);
  std::string receive();
  void note(const std::string& message);
  Folder profile_;
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1, last_ = 0;
  std::string session_, buffer_, page_;
};

}  // namespace tessera::test
