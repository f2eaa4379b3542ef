// How GPSA starts: where its heads look, and value projections that are the identity.
#include <cmath>
#include <set>

#include "tests/error_of.h"
#include "tests/twin/position_bed.h"
#include "tests/twin/small_models.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using test::error_of;

TWIN_CASE("gpsa: heads start in the largest square neighbourhood that they fill, those left over as they are drawn") {
  for (const int heads : {1, 2, 3, 4, 6, 8, 9, 12, 16}) {
    CAPTURE(heads);
    const auto start = [&](const Options& options) {
      Params params(1);
      Places at;
      at.sites = {Site{0, 0, 0, 4 * heads, heads, 4, 0.5, Layout::global({3, 3, 0}), "attn"}};
      position("gpsa", options)(Scope(params), at);
      return params.find("attn.pos_proj.weight")->value;
    };
    const double strength = 2;
    const Tensor w = start({{"locality_strength", strength}}), drawn = start({{"local_init", false}});
    std::vector<double> want;
    for (const real v : drawn.values()) want.push_back(strength * static_cast<double>(v));
    const int k = static_cast<int>(std::sqrt(static_cast<double>(heads)));
    for (int h1 = 0; h1 < k; ++h1)
      for (int h2 = 0; h2 < k; ++h2) {
        const auto at = static_cast<size_t>(3 * (h1 + k * h2));
        want[at] = strength * (2 * h2 - (k - 1)), want[at + 1] = strength * (2 * h1 - (k - 1)),
        want[at + 2] = -strength;
      }
    for (int i = 0; i < 3 * heads; ++i) CHECK(static_cast<double>(w[i]) == want[static_cast<size_t>(i)]);
  }
}

TWIN_CASE("gpsa: local_values starts the value projections of every model at the identity, and nothing else") {
  int models_seen = 0;
  for (const ModelRow& row : models()) {
    if (row.name != row.family || row.family == "toy") continue;
    const Options options = small_options(row);
    std::set<std::string> sites;
    for (const Site& s : row.places(options).sites) sites.insert(s.path);
    if (sites.empty()) continue;
    ++models_seen;
    CAPTURE(row.name);
    Params plain(1), local(1);
    row.make(Scope(plain), options, position("gpsa"));
    row.make(Scope(local), options, position("gpsa", {{"local_values", true}}));
    REQUIRE(plain.entries().size() == local.entries().size());
    size_t changed = 0;
    for (size_t i = 0; i < plain.entries().size(); ++i) {
      const auto &was = plain.entries()[i], &is = local.entries()[i];
      REQUIRE(was.name == is.name);
      if (walk::same_bits(was.value, is.value)) continue;
      CAPTURE(is.name);
      ++changed;
      bool of_attention = false;
      for (const std::string& path : sites) of_attention |= is.name.starts_with(path + ".");
      CHECK(of_attention);
      const int C = is.value.dim(1), first = is.value.dim(0) - C;
      for (int r = 0; r < is.value.dim(0); ++r)
        for (int c = 0; c < C; ++c) {
          const int64_t at = int64_t{r} * C + c;
          CHECK(is.value[at] == (r < first ? was.value[at] : static_cast<real>(r - first == c)));
        }
    }
    CHECK(changed == sites.size());
  }
  CHECK(models_seen >= 12);
}

TWIN_CASE("gpsa: local_values is refused where values are no square matrix, or by no name that is known") {
  const auto refused = [](const char* name, const Options& of_model, const Options& options) {
    return error_of([&] { check_position("gpsa", options, model(name).places(of_model)); });
  };
  CHECK(refused("simple_vit_lucidrains", {}, {{"local_values", true}}).find("from 128 channels to 256") !=
        std::string::npos);
  CHECK(refused("vit", {{"head_dim", 16}}, {{"local_values", true}}).find("local_values") != std::string::npos);
  CHECK(refused("simple_vit_lucidrains", {}, {}).empty());
  CHECK(refused("vit", {}, {{"local_values", true}}).empty());
  const walk::Bed bed("gpsa", {{"local_values", true}}, Grid{2, 3, 0});  // queries, keys and values come from nowhere
  CHECK(error_of([&] { bed.output(); }).find("local_values=true") != std::string::npos);
}

TWIN_CASE("params: a start of its own is the same before and after a parameter is declared") {
  const auto ones = [](Tensor& t) {
    for (real& v : t.values()) v = 1;
  };
  Params before(1), after(1);
  before.preset("w", ones);
  const Tensor a = Scope(before).param("w", {2, 2}, normal(1)), b = Scope(after).param("w", {2, 2}, normal(1));
  CHECK_FALSE(walk::same_bits(a, b));
  after.preset("w", ones);
  CHECK(walk::same_bits(a, b));
  CHECK(a[3] == 1);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
