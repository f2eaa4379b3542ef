#include "tessera/train/training/text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "tessera/core/io/text.h"
#include "tessera/train/training/progress_line.h"

using namespace tessera;
using io::printable;

TEST_CASE("text of others cannot steer a terminal") {
  CHECK(printable("plain text, \xc3\xa9 and \xe7\x8c\xab") == "plain text, \xc3\xa9 and \xe7\x8c\xab");
  CHECK(printable("\x1b[31mred\x1b[0m") == "\\x1b[31mred\\x1b[0m");
  CHECK(printable("a\nb\tc\rd") == "a\\nb\\tc\\rd");
  CHECK(printable("a\nb\tc\rd", true) == "a\nb\tc\\rd");
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
  CHECK(printable("\x7f") == "\\x7f");
  CHECK(printable("\xc2\x9b"
                  "2J") == "\\u009b2J");                        // the other way to write ESC [
  CHECK(printable("caf\xe9") == "caf\\xe9");                    // Latin-1
  CHECK(printable("\xe2\x80\xaegnp.exe") == "\\u202egnp.exe");  // right to left
  CHECK(printable("\xc0\x9b") == "\\xc0\\x9b");                 // overlong
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");        // half of a pair
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
  CHECK(printable("\xe7\x8c") == "\\xe7\\x8c");  // cut off
  for (int b = 0; b < 256; ++b) {
    const std::string out = printable(std::string(3, static_cast<char>(b)));
    CHECK(std::none_of(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }));
  }
}

TEST_CASE("one is one") {
  CHECK(plural(0, "epoch") == "0 epochs");
  CHECK(plural(1, "epoch") == "1 epoch");
  CHECK(plural(2, "epoch") == "2 epochs");
  CHECK(duration(59.6) == "60 s");
  CHECK(duration(11100) == "3 h 05 min");
  CHECK(duration(std::numeric_limits<double>::infinity()).size() < 30);
}

TEST_CASE("the progress line is narrower than the terminal, whatever it has to say") {
  const Moment usual{.epoch = 3,
                     .epochs = 30,
                     .batch = 120,
                     .batches = 391,
                     .loss = 1.8734,
                     .acc1 = 0.314,
                     .samples_per_s = 1234,
                     .seconds_left = 1500};
  Moment large = usual;
  large.epoch = large.epochs = 1'000'000, large.batch = large.batches = 10'000'000, large.loss = 1e30;
  large.samples_per_s = 1e9, large.seconds_left = 1e12;
  for (int columns = 0; columns < 200; ++columns)
    for (const Moment& m : {usual, large, Moment{}}) {
      const std::string line = progress_line(m, columns);
      CHECK(static_cast<int>(line.size()) <= std::max(columns - 1, 0));
      CHECK(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    }
  for (const int columns : {40, 60, 80, 120}) {
    const std::string line = progress_line(usual, columns);
    for (const char* part : {"epoch 3/30", "loss 1.8734", "25 min left"}) CHECK(line.find(part) != std::string::npos);
  }
  CHECK(progress_line(usual, 120) ==
        "epoch 3/30 [######..............]  120/391  loss 1.8734  31.4 %  1234 images/s  25 min left");
  CHECK(progress_line(usual, 40) == "epoch 3/30  loss 1.8734  25 min left");
}
