#include <doctest/doctest.h>

#include "tessera/core/error.h"
#include "tessera/train/report/report.h"
#include "tessera/train/training/confusion.h"
#include "tessera/train/training/report_data.h"

namespace tessera {
namespace {

TEST_CASE("confusion: counts, rows, sums and the square they make") {
  const std::vector<int32_t> labels{0, 0, 1, 2, 2, 2, 1}, predictions{0, 1, 1, 0, 0, 2, -1};
  const Confusion c = Confusion::count(3, labels, predictions);
  CHECK(c == Confusion{{1, 1, 0}, {0, 1, 0}, {2, 0, 1}});
  CHECK(c.size() == 3);
  CHECK(c.cells().size() == 5);
  CHECK(c[2][0] == 2);
  CHECK(c[2][1] == 0);
  CHECK(c[1].sum() == 1);  // the image that was taken for no class is in no cell
  CHECK(c[2].sum() == 3);
  CHECK(c.dense() == std::vector<std::vector<int64_t>>{{1, 1, 0}, {0, 1, 0}, {2, 0, 1}});
  CHECK(Confusion().empty());
  CHECK_THROWS_WITH_AS((Confusion{{1, 2}}), doctest::Contains("has 2 numbers for 1 classes"), Error);
  CHECK_THROWS_WITH_AS((Confusion{{-1}}), doctest::Contains("is -1"), Error);
  CHECK_THROWS_AS(Confusion::count(2, std::vector<int32_t>{0}, std::vector<int32_t>{2}), Error);
  CHECK_THROWS_AS(Confusion::count(2, std::vector<int32_t>{-1}, std::vector<int32_t>{0}), Error);
  CHECK_THROWS_AS(Confusion::count(2, std::vector<int32_t>{0, 1}, std::vector<int32_t>{0}), Error);
}

TEST_CASE("confusion: 100,000 classes take the memory of their images, in the report's file too") {
  constexpr int classes = 100'000;
  std::vector<int32_t> labels, predictions;
  for (int i = 0; i < classes; ++i) labels.push_back(i), predictions.push_back(i % 7 ? i : (i + 1) % classes);
  report::Data data;
  for (int i = 0; i < classes; ++i) data.classes.push_back(std::string(i % 200, 'x') + std::to_string(i));
  data.confusion = Confusion::count(classes, labels, predictions);  // a square of 80 GB
  const std::string json = report::to_json(data);
  CHECK(json.size() < (64 << 20));
  const report::Data back = report::from_json(json, "x.json");
  CHECK(back.confusion == data.confusion);
  CHECK(back.classes == data.classes);
}

TEST_CASE("report data: a count that is no count, and numbers that no int holds") {
  const auto refused = [](const std::string& json, const char* what) {
    CHECK_THROWS_WITH_AS(report::from_json(json, "r.json"), doctest::Contains(what), Error);
  };
  refused(R"({"classes":["a"],"confusion":[[1e19]]})", "1e+19");
  refused(R"({"classes":["a"],"confusion":[[18446744073709551615]]})", "18446744073709551615");
  refused(R"({"classes":["a"],"confusion":[[0.5]]})", "0.5");
  refused(R"({"classes":["a"],"confused":[[0,0,-1]]})", "-1");
  refused(R"({"classes":["a"],"confused":[[0,1,1]]})", "there are 1 classes");
  refused(R"({"classes":["a"],"confused":[[1e19,0,1]]})", "1e+19");
  refused(R"({"classes":["a"],"confused":[[0]]})", "r.json");
  refused(R"({"classes":["a"],"confused":[0]})", "r.json");
}

}  // namespace
}  // namespace tessera
