// The `where` tasks: what a picture shows is independent of its label, where things are decides it.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "tessera/core/error.h"
#include "tessera/train/data/where.h"

using namespace tessera;
using namespace tessera::data;

namespace {

constexpr int side = where::side;
using Pixels = std::vector<uint8_t>;

Pixels picture(const where::Task& task, uint64_t seed, uint64_t index, int label) {
  Pixels p(side * side * 3);
  where::draw(task, seed, index, label, p.data());
  return p;
}

// All patches of the picture as strings, sorted: what a model without positions may know.
std::vector<std::string> patches(const Pixels& p, int size) {
  std::vector<std::string> bag;
  for (int y = 0; y < side; y += size)
    for (int x = 0; x < side; x += size) {
      std::string s;
      for (int dy = 0; dy < size; ++dy)
        for (int i = 0; i < size * 3; ++i)
          s += static_cast<char>(p[static_cast<size_t>(((y + dy) * side + x) * 3 + i)]);
      bag.push_back(s);
    }
  std::sort(bag.begin(), bag.end());
  return bag;
}

struct Extent {
  int top = side, left = side, bottom = -1, right = -1;
  void add(int y, int x) {
    top = std::min(top, y), left = std::min(left, x), bottom = std::max(bottom, y), right = std::max(right, x);
  }
  double cy() const { return (top + bottom) / 2.0; }
  double cx() const { return (left + right) / 2.0; }
  int margin() const { return std::min(std::min(top, left), std::min(side - 1 - bottom, side - 1 - right)); }
};

// The background repeats every 4 pixels and is the commoner colour at each of its 16 phases; everything else is a
// shape. Shapes are told apart by colour.
std::map<std::array<uint8_t, 3>, Extent> shapes(const Pixels& p) {
  std::map<std::array<uint8_t, 3>, Extent> found;
  auto at = [&](int y, int x) {
    const auto i = static_cast<size_t>((y * side + x) * 3);
    return std::array{p[i], p[i + 1], p[i + 2]};
  };
  for (int phase = 0; phase < 16; ++phase) {
    std::map<std::array<uint8_t, 3>, int> votes;
    for (int y = phase / 4; y < side; y += 4)
      for (int x = phase % 4; x < side; x += 4) ++votes[at(y, x)];
    const auto ground =
        std::max_element(votes.begin(), votes.end(), [](auto& a, auto& b) { return a.second < b.second; });
    for (int y = phase / 4; y < side; y += 4)
      for (int x = phase % 4; x < side; x += 4)
        if (at(y, x) != ground->first) found[at(y, x)].add(y, x);
  }
  return found;
}

// The label, read off the picture by other means than those that drew it.
int read_label(std::string_view task, const Pixels& p) {
  const auto found = shapes(p);
  if (task == "quadrant") {
    const Extent& e = found.begin()->second;
    return (e.cy() > 15.5 ? 2 : 0) + (e.cx() > 15.5 ? 1 : 0);
  }
  REQUIRE(found.size() == 2);
  // red has the larger first channel
  const Extent &a = found.rbegin()->second, &b = found.begin()->second;
  const double dy = a.cy() - b.cy(), dx = a.cx() - b.cx();
  if (task == "relation") return std::abs(dx) > std::abs(dy) ? (dx < 0 ? 0 : 1) : (dy < 0 ? 2 : 3);
  if (task == "distance") {
    const double d = std::hypot(dy, dx);
    REQUIRE((d <= 13 || d >= 24));
    return d <= 13 ? 0 : 1;
  }
  return a.margin() < b.margin() ? 0 : 1;
}

}  // namespace

TEST_CASE("where: the bag of patches is the same under every label") {
  for (const where::Task& task : where::tasks()) {
    CAPTURE(task.name);
    for (uint64_t index = 0; index < 200; ++index) {
      const Pixels first = picture(task, 7, index, 0);
      for (int label = 1; label < static_cast<int>(task.classes.size()); ++label) {
        const Pixels other = picture(task, 7, index, label);
        CHECK(other != first);
        for (int size = 1; size <= task.tile; size *= 2) REQUIRE(patches(first, size) == patches(other, size));
      }
    }
  }
}

TEST_CASE("where: the label says where things are") {
  for (const where::Task& task : where::tasks()) {
    CAPTURE(task.name);
    for (uint64_t index = 0; index < 300; ++index)
      for (int label = 0; label < static_cast<int>(task.classes.size()); ++label) {
        const Pixels p = picture(task, 3, index, label);
        CAPTURE(index);
        REQUIRE(read_label(task.name, p) == label);
        for (const auto& [colour, extent] : shapes(p)) REQUIRE(extent.margin() >= 1);
      }
  }
}

// Every combination of sizes and phases that content() can draw has a placement under every label; draw() would throw.
TEST_CASE("where: no content is without a placement") {
  for (const where::Task& task : where::tasks()) {
    Pixels p(side * side * 3);
    for (uint64_t index = 0; index < 3000; ++index)
      for (int label = 0; label < static_cast<int>(task.classes.size()); ++label)
        CHECK_NOTHROW(where::draw(task, 11, index, label, p.data()));
  }
}

TEST_CASE("where: shapes reach patches at every phase, whatever the label") {
  for (const where::Task& task : where::tasks()) {
    CAPTURE(task.name);
    for (int label = 0; label < static_cast<int>(task.classes.size()); ++label) {
      std::array<int, 16> seen{};
      for (uint64_t index = 0; index < 400; ++index)
        for (const auto& [colour, e] : shapes(picture(task, 5, index, label)))
          ++seen[static_cast<size_t>(e.top % 4 * 4 + e.left % 4)];
      for (int n : seen) CHECK(n > 0);
    }
  }
}

TEST_CASE("where: sets are balanced, repeatable, and train and test differ") {
  for (const where::Task& task : where::tasks()) {
    const TrainTest a = where::make(task, {.seed = 1, .train_size = 403, .test_size = 101});
    const TrainTest b = where::make(task, {.seed = 1, .train_size = 403, .test_size = 101});
    const TrainTest c = where::make(task, {.seed = 2, .train_size = 403, .test_size = 101});
    CHECK(a.train.size() == 403);
    CHECK(a.test.size() == 101);
    CHECK(a.classes == static_cast<int>(task.classes.size()));
    CHECK(a.train.digest == b.train.digest);
    CHECK(a.train.digest != c.train.digest);
    CHECK(*a.train.pixels == *b.train.pixels);
    const auto counts = a.train.histogram();
    CHECK(*std::max_element(counts.begin(), counts.end()) - *std::min_element(counts.begin(), counts.end()) <= 1);
    CHECK_FALSE(std::equal(a.test.image(0), a.test.image(0) + a.test.bytes(), a.train.image(0)));
  }
}

TEST_CASE("where: an unknown task is named with its neighbour, sizes are checked") {
  CHECK_THROWS_WITH_AS(open("where:quadrent"), doctest::Contains("quadrant"), Error);
  CHECK_THROWS_AS(open("where", "", {.train_size = 2}), Error);
}
