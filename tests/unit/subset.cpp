// Parts of any source: what is drawn, what stays with its sample, and that pictures and frames are cut alike.
#include "tessera/train/data/subset.h"

#include <doctest/doctest.h>

#include "tessera/core/error.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/data/memory.h"
#include "tessera/train/data/named.h"
#include "tests/error_of.h"

namespace tessera::data::test {
namespace {

/// Sequence i has 1 + i % 7 frames of two numbers, i and -i, and class i % 3.
std::shared_ptr<const Source> sequences_of(int n) {
  Sequences s;
  s.features = 2;
  for (int i = 0; i < n; ++i) {
    s.lengths.push_back(1 + i % 7), s.labels.push_back(i % 3);
    for (int t = 0; t < s.lengths.back(); ++t)
      s.values.insert(s.values.end(), {static_cast<float>(i), -static_cast<float>(i)});
  }
  return from_memory(std::move(s), {"a", "b", "c"}, "made");
}

/// Which of them sample i is, by its own numbers; and all else of it has to go with them.
int which(const Source& source, int32_t i) {
  const Batch b = gather(source, std::span(&i, 1));
  const auto n = static_cast<int>(b.in.x.data()[0]);
  CHECK(b.in.x.data()[1] == static_cast<real>(-n));
  CHECK(source.label(static_cast<size_t>(i)) == n % 3);
  CHECK(source.length(static_cast<size_t>(i)) == 1 + n % 7);
  CHECK(b.in.x.dim(1) == 1 + n % 7);
  return n;
}

std::vector<int> all_of(const Source& source) {
  std::vector<int> all;
  for (size_t i = 0; i < source.size(); ++i) all.push_back(which(source, static_cast<int32_t>(i)));
  return all;
}

}  // namespace

TEST_CASE("subsets: a split of frames is disjoint, complete, and the one that pictures get") {
  const auto source = sequences_of(42);
  const auto [a, b] = split(source, 30, 12, 5);
  CHECK(a->size() == 30);
  CHECK(b->size() == 12);
  CHECK(b->name == "made (held out)");
  CHECK(a->digest == source->digest);
  CHECK(a->form() == source->form());
  std::vector<int> first = all_of(*a), both = all_of(*b);
  both.insert(both.end(), first.begin(), first.end());
  std::sort(both.begin(), both.end());
  for (int i = 0; i < 42; ++i) CHECK(both[static_cast<size_t>(i)] == i);
  std::vector<uint8_t> pixels(42);
  for (size_t i = 0; i < 42; ++i) pixels[i] = static_cast<uint8_t>(i);
  const TrainTest pictures = from_memory({1, 1, 1, pixels, Index(42, 0)}, {"x"});
  const Set cut = split(pictures.train, 30, 12, 5).first;
  for (size_t i = 0; i < 30; ++i) CHECK(cut.image(i)[0] == first[i]);
  CHECK(tessera::test::error_of([&] { split(source, 30, 13, 5); }).find("sequences from made") != std::string::npos);
  const auto [c, d] = split(std::make_shared<const Set>(pictures.train), 30, 12, 5);
  CHECK(dynamic_cast<const Set*>(c.get()) != nullptr);  // pictures stay pictures
}

TEST_CASE("subsets: a fraction has its share of every class, or of all where there are none") {
  const auto source = sequences_of(42);
  const auto third = fraction(source, 1.0 / 3, 1);
  CHECK(histogram(*third) == std::vector<int64_t>{5, 5, 5});
  all_of(*third);
  Sequences s;
  s.features = 1, s.values.assign(20, 1.0f), s.lengths.assign(20, 1);
  CHECK(fraction(from_memory(s), 0.25, 1)->size() == 5);
}

TEST_CASE("subsets: classes under other numbers") {
  const auto source = sequences_of(9);
  const auto other = under_names(source, {"c", "x", "a", "b"});
  CHECK(other->classes == 4);
  for (size_t i = 0; i < 9; ++i) CHECK(other->label(i) == std::vector<int>{2, 3, 0}[i % 3]);
  CHECK(under_names(source, {"a", "b", "c"}) == source);
  CHECK_THROWS_AS(under_names(source, {"a", "b"}), Error);
  CHECK_THROWS_AS(source->normalised_by({{0, 0}, {1, 1}}), Error);
}

TEST_CASE("data sets with a name: each row is whole, and an unknown name is told the nearest") {
  for (const NamedData& row : named_data()) {
    CHECK(row.written.starts_with(row.name));
    CHECK(!row.recipe.empty());
    CHECK(find_named(row.name + ":x") == &row);
  }
  CHECK(find_named("cifar") == nullptr);
  CHECK(tessera::test::error_of([] { open_splits("cifar11"); }).find("cifar10") != std::string::npos);
}

}  // namespace tessera::data::test
