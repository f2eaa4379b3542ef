// Corners of single encodings: no distance at all, attention that looks one way, and how convolutions start.
#include <algorithm>
#include <cmath>
#include <set>

#include "tessera/nn/position/formulas.h"
#include "tests/twin/position_bed.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

TWIN_CASE("property: with K = 0 Shaw's one row says nothing to keys and is added to values") {
  const Options zero{{"max_distance", 0}};
  const Grid g{3, 4, 0};
  for (const char* name : {"shaw", "shaw_axial", "axial_sum", "conformer_shaw"}) {
    INFO(name);
    Bed bed(name, zero, g);
    CHECK(farthest(bed.output(), bed.plain()) < rounding);
  }
  Bed both("shaw_kv", zero, g);
  const Tensor out = both.output(), plain = both.plain(), row = both["attn.position.value"];
  CHECK(row.shape() == Shape{1, Bed::d});
  for (int64_t i = 0; i < out.size(); ++i)
    CHECK(std::abs(static_cast<double>(out[i] - plain[i] - row[i % Bed::d])) < rounding);
  Bed with_class("shaw", zero, Grid{3, 4, 1});  // whose pairs have a row of their own
  CHECK(farthest(with_class.output(), with_class.plain()) > 1e-3);
}

TWIN_CASE("property: in a causal sequence all of T5's buckets are for what came before") {
  const Layout line = Layout::sequence(40);
  Places at;
  at.sites = {Site{0, 0, 0, 16, 2, 8, 0.3, line, "attn", true}};
  for (const char* name : {"t5", "t5_axial"}) {
    INFO(name);
    Params params(1);
    const Terms terms =
        position(name, {{"num_buckets", 8}, {"max_distance", 20}})(Scope(params), at)->terms(at.sites[0], line, {}, {});
    const Index& rho = terms.relative[static_cast<size_t>(terms.count - 1)].rho->at;
    std::set<int> seen;
    for (int i = 0; i < 40; ++i)
      for (int j = 0; j <= i; ++j) {
        seen.insert(rho[static_cast<size_t>(40 * i + j)]);
        CHECK(rho[static_cast<size_t>(40 * i + j)] == t5_bucket(j - i, 8, 20, true));
      }
    CHECK(seen.size() == 8);
    CHECK_THROWS_WITH_AS(check_position(name, {{"num_buckets", 32}, {"max_distance", 16}}, at),
                         doctest::Contains("must exceed num_buckets/2 in a causal model"), Error);
  }
}

TWIN_CASE("property: cpe and cpe_raster start as torch's convolutions, peg as Twins' code") {
  struct Start {
    const char* name;
    Options options;
    int fan_in;
  };
  for (const Start& s : std::vector<Start>{{"cpe", {}, 9},
                                           {"cpe", {{"kernel", 5}}, 25},
                                           {"cpe", {{"depthwise", false}}, 9 * 64},
                                           {"cpe_raster", {}, 9 * 64},  // of its 3 x 3 taps three lie in the sequence
                                           {"cpe_raster", {{"depthwise", true}}, 9},
                                           {"peg", {}, 0}}) {
    INFO(s.name);
    Params params(1);
    Places at;
    for (int i = 0; i < 2; ++i) at.between.push_back({i, 0, i, 64, Grid{8, 8, 0}, fmt::format("pos_block.{}", i)});
    position(s.name, s.options)(Scope(params), at);
    REQUIRE(params.entries().size() == 2);
    const auto largest = [&](size_t i) {
      double most = 0;
      for (const real v : params.entries()[i].value.values()) most = std::max(most, std::abs(static_cast<double>(v)));
      return most;
    };
    if (s.fan_in == 0) {
      CHECK(largest(0) > 1);  // N(0, 2/9)
      CHECK(largest(1) == 0);
      continue;
    }
    const double bound = 1 / std::sqrt(static_cast<double>(s.fan_in));
    for (const size_t i : {0, 1}) {
      CHECK(largest(i) <= bound * (1 + 1e-6));
      CHECK(largest(i) > 0.9 * bound);
    }
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
