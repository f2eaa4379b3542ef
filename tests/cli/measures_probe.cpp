// The probe between a model and its encoding, held to what must be so: orders and places told, and the weights it sees.
#include <algorithm>
#include <cmath>
#include <mutex>

#include "tessera/models/model.h"
#include "tessera/train/lab/measures_positions.h"
#include "tests/cli/program.h"

namespace tessera::test {
namespace {

using lab::Probe, lab::Told, lab::TokenOrder;

/// A small model of fresh weights under a probe; parameters drawn N(0, 0.3), so that every table says something.
struct Probed {
  Probe probe;
  Params params{7};
  std::unique_ptr<Model> model;
  Places places;

  Probed(const char* family, const char* encoding, Options options = {}) {
    const ModelRow& row = tessera::model(family);
    Options all = row.defaults;
    for (auto& [key, value] : options) all[key] = value;
    places = row.places(all);
    model = row.make(Scope(params), all, lab::probed(position(encoding), probe));
    for (const auto& e : params.entries()) {
      const rng::Stream random(rng::hash(e.name));
      if (!e.buffer)
        for (int64_t i = 0; i < e.value.size(); ++i)
          e.value[i] += static_cast<real>(0.3 * random.normal(static_cast<uint64_t>(i)));
    }
  }
  Tensor logits(int h = 32, int w = 32, int64_t first = 0) const {
    Tensor x({3, h, w, 3});
    const rng::Stream random(5);
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(random.normal(static_cast<uint64_t>(i)));
    Run run;
    run.first = first;
    return model->forward(run, x).logits;
  }
  Tensor told(Told what) {
    probe.told = what;
    const Tensor y = logits();
    probe.told = Told::true_ones;
    return y;
  }
  Tensor ordered(TokenOrder order) {
    probe.order = order;
    const Tensor y = logits();
    probe.order = TokenOrder::kept;
    return y;
  }
  const Tensor& table(const char* name) const { return params.find(name)->value; }
};

Options vit(const char* pool = "token") {
  return {{"embed_dim", 24},
          {"depth", 2},
          {"num_heads", 3},
          {"patch_size", 8},
          {"class_token", pool[0] == 't'},
          {"global_pool", std::string(pool)}};
}
const Options swin = {{"embed_dim", 24},
                      {"depths", std::vector<int>{2, 1}},
                      {"num_heads", std::vector<int>{3, 6}},
                      {"patch_size", 2},
                      {"window_size", 4}};

double difference(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i) most = std::max(most, static_cast<double>(std::abs(a[i] - b[i])));
  return most;
}
bool equal(const Tensor& a, const Tensor& b) { return std::ranges::equal(a.read(), b.read()); }

constexpr double rounding = 2e-4;  // of sums in another order, in logits of some units

}  // namespace

TEST_CASE("measures: without positions the order of tokens is nothing, with them it is something") {
  for (const char* pool : {"avg", "token"}) {
    Probed none("vit", "none", vit(pool)), learned("vit", "learned", vit(pool));
    const Tensor plain = none.logits(), with = learned.logits();
    for (const TokenOrder order : {TokenOrder::same_for_all, TokenOrder::each_its_own}) {
      CHECK(difference(plain, none.ordered(order)) < rounding);
      CHECK(difference(with, learned.ordered(order)) > 0.05);
    }
  }
}

TEST_CASE("measures: orders are those of the sample, whatever shard it is in") {
  Probed m("vit", "learned", vit());
  m.probe.order = TokenOrder::each_its_own;
  const Tensor one = m.logits(), other = m.logits(32, 32, 3);
  CHECK(!equal(one, other));
  m.probe.order = TokenOrder::same_for_all;
  CHECK(equal(m.logits(), m.logits(32, 32, 3)));
}

TEST_CASE("measures: an encoding that is taken out is a table of zeros, and the same model under none") {
  Probed learned("vit", "learned", vit()), none("vit", "none", vit());
  const Tensor out = learned.told(Told::none);
  CHECK(equal(out, none.logits()));
  CHECK(!equal(out, learned.logits()));
  std::ranges::fill(learned.table("pos_embed").values(), real(0));
  CHECK(equal(out, learned.logits()));
  for (const char* rotary : {"rope_axial", "relative_position_bias", "alibi_2d", "gpsa"}) {
    CAPTURE(rotary);
    Probed with("vit", rotary, vit());
    CHECK(equal(with.told(Told::none), none.logits()));
    CHECK(difference(with.logits(), none.logits()) > 1e-3);
  }
}

TEST_CASE("measures: told other places, a learned table is one whose rows have moved") {
  Probed m("vit", "learned", vit());
  const Tensor transposed = m.told(Told::transposed), reversed = m.told(Told::reversed);
  CHECK(difference(m.logits(), transposed) > 0.01);
  CHECK(difference(m.logits(), reversed) > 0.01);
  const Tensor& table = m.table("pos_embed");  // (1, 1 + 16, 24)
  const Tensor was = table.copy();
  const auto move_rows = [&](auto from) {
    for (int y = 0; y < 4; ++y)
      for (int x = 0; x < 4; ++x)
        std::copy_n(was.data() + (1 + from(y, x)) * 24, 24, table.data() + (1 + 4 * y + x) * 24);
  };
  move_rows([](int y, int x) { return 4 * x + y; });
  CHECK(difference(transposed, m.logits()) < rounding);
  move_rows([](int y, int x) { return 15 - 4 * y - x; });
  CHECK(difference(reversed, m.logits()) < rounding);
}

TEST_CASE(
    "measures: of windows, shifted ones too, the bias of every offset is that of the transposed and of the opposite "
    "offset") {
  Probed m("swin", "relative_position_bias", swin);
  const Tensor plain = m.logits(), transposed = m.told(Told::transposed), reversed = m.told(Told::reversed);
  CHECK(difference(plain, transposed) > 0.01);
  CHECK(difference(plain, reversed) > 0.01);
  const auto move_rows = [&](auto from) {
    for (const auto& e : m.params.entries())
      if (e.name.ends_with("relative_position_bias_table")) {
        const int side = static_cast<int>(std::lround(std::sqrt(e.value.dim(0)))), H = e.value.dim(1);
        const Tensor was = e.value.copy();
        for (int y = 0; y < side; ++y)
          for (int x = 0; x < side; ++x)
            std::copy_n(was.data() + from(y, x, side) * H, H, e.value.data() + (y * side + x) * H);
      }
  };
  move_rows([](int y, int x, int side) { return x * side + y; });
  CHECK(difference(transposed, m.logits()) < rounding);
  move_rows([](int y, int x, int side) { return x * side + y; });  // back
  CHECK(equal(plain, m.logits()));
  move_rows([](int y, int x, int side) { return side * side - 1 - y * side - x; });
  CHECK(difference(reversed, m.logits()) < rounding);
}

TEST_CASE("measures: an encoding of distances does not tell a map from its mirror") {
  for (const char* symmetric : {"none", "alibi_2d"})
    for (const Told what : {Told::transposed, Told::reversed}) {
      Probed m("vit", symmetric, vit());
      CHECK(difference(m.logits(), m.told(what)) < rounding);
    }
  Probed raster("vit", "alibi", vit());  // its distance is along the rows
  CHECK(difference(raster.logits(), raster.told(Told::reversed)) < rounding);
  CHECK(difference(raster.logits(), raster.told(Told::transposed)) > 1e-3);
}

TEST_CASE("measures: what cannot be told is said") {
  const auto why = [](Told what, const char* family, Options options) {
    Options all = tessera::model(family).defaults;
    for (auto& [key, value] : options) all[key] = value;
    return lab::cannot_tell(what, tessera::model(family).places(all));
  };
  CHECK(why(Told::transposed, "vit", vit()) == "");
  CHECK(why(Told::reversed, "swin", swin) == "");
  CHECK(why(Told::none, "conformer", {}) == "");
  CHECK(why(Told::transposed, "conformer", {}).find("sequence") != std::string::npos);
  CHECK(why(Told::transposed, "vit", {{"img_width", 64}}).find("another shape") != std::string::npos);
  CHECK(why(Told::reversed, "vit", {{"img_width", 64}}) == "");
  CHECK(why(Told::reversed, "swin", {{"window_size", 3}}).find("hold other tokens") != std::string::npos);
  CHECK(why(Told::transposed, "resnet", {}) == "the model has no tokens");
}

// ---- weights ---------------------------------------------------------------------------------------------------------------------------

namespace {

/// Notes what the plain definition says of each attention: (B, groups, H, n, m).
struct Noting final : PositionEncoding {
  std::unique_ptr<PositionEncoding> inner;
  std::vector<std::pair<Tensor, Pattern>>& noted;
  Noting(std::unique_ptr<PositionEncoding> p, std::vector<std::pair<Tensor, Pattern>>& to)
      : inner(std::move(p)), noted(to) {}
  Tensor tokens(const Spot& s, const Grid& g, const Tensor& x, const Run& r) const override {
    return inner->tokens(s, g, x, r);
  }
  Terms terms(const Site& s, const Layout& l, const Tokens& x, const Run& r) const override {
    return inner->terms(s, l, x, r);
  }
  Tensor mix(const Site& s, const Layout& l, const Query& q, const Terms& t, const Tokens& x,
             const Run& r) const override {
    if (q.v.d == q.q.d) noted.emplace_back(attention_weights(q, t), q.who);  // else the probe asks
    return inner->mix(s, l, q, t, x, r);
  }
};

}  // namespace

TEST_CASE("measures: the weights the probe sees are those of the definition") {
  for (const auto& [family, options] : {std::pair{"vit", vit()}, {"swin", swin}})
    for (const char* encoding : {"none", "rope_mixed", "relative_position_bias", "shaw", "irpe", "t5"}) {
      CAPTURE(family);
      CAPTURE(encoding);
      const ModelRow& row = tessera::model(family);
      Options all = row.defaults;
      for (const auto& [key, value] : options) all[key] = value;
      std::vector<std::pair<Tensor, Pattern>> noted;
      std::vector<Tensor> seen;
      Probe probe;
      probe.saw = [&](const Site&, const Layout&, const Tensor& w) { seen.push_back(w); };
      Params params(3);
      const auto make = [&](const Scope& net, const Places& at) {
        return std::make_unique<Noting>(position(encoding)(net, at), noted);
      };
      const auto model = row.make(Scope(params), all, lab::probed(make, probe));
      for (const auto& e : params.entries())
        for (int64_t i = 0; i < e.value.size(); ++i)
          e.value[i] += static_cast<real>(std::sin(static_cast<double>(i)) * 0.2);
      Tensor x({2, 32, 32, 3});
      for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(static_cast<double>(i % 997)));
      model->forward(Run{}, x);
      REQUIRE(seen.size() == noted.size());
      REQUIRE(!seen.empty());
      double most = 0;
      for (size_t a = 0; a < seen.size(); ++a) {
        const auto& [plain, who] = noted[a];
        const auto [B, G, H, n, m] = plain.dims<5>();
        const Tensor all_pairs = zeros(seen[a].shape());  // (B, queries, H, keys)
        const int64_t N = seen[a].dim(1), M = seen[a].dim(3);
        for (int64_t b = 0, at = 0; b < B; ++b)
          for (int g = 0; g < G; ++g)
            for (int h = 0; h < H; ++h)
              for (int i = 0; i < n; ++i)
                for (int j = 0; j < m; ++j, ++at) {
                  const int q = who->q[static_cast<size_t>(g * n + i)], k = who->k[static_cast<size_t>(g * m + j)];
                  if (q >= 0 && k >= 0) all_pairs[((b * N + q) * H + h) * M + k] = plain[at];
                }
        most = std::max(most, difference(all_pairs, seen[a]));
      }
      CHECK(most < 1e-5);
    }
}

TEST_CASE("measures: the weights of two attentions that are mixed are mixed, and sum to one") {
  Probed m("vit", "gpsa", vit());
  int seen = 0;
  std::mutex lock;
  m.probe.saw = [&](const Site&, const Layout&, const Tensor& w) {
    const std::scoped_lock one(lock);
    ++seen;
    for (int64_t row = 0; row < w.size() / w.dim(3); ++row) {
      double sum = 0;
      for (int j = 0; j < w.dim(3); ++j) sum += static_cast<double>(w[row * w.dim(3) + j]);
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    }
  };
  const Tensor with = m.logits();
  CHECK(seen == 2);
  m.probe.saw = nullptr;
  CHECK(equal(with, m.logits()));
}

TEST_CASE("measures: every encoding is itself under the probe, mixes values by weights, and can be told other places") {
  int walked = 0;
  for (const PositionRow& encoding : positions()) {
    CAPTURE(encoding.name);
    const ModelRow& row = tessera::model("vit");
    Options all = row.defaults;
    for (const auto& [key, value] : vit("avg")) all[key] = value;
    all["num_heads"] = 4, all["embed_dim"] = 32;
    try {
      check_position(encoding.name, {}, row.places(all));
    } catch (const Error&) {
      continue;  // it is for other models
    }
    ++walked;
    Params bare_params(1), params(1);
    Probe probe;
    const auto bare = row.make(Scope(bare_params), all, position(encoding.name)),
               model = row.make(Scope(params), all, lab::probed(position(encoding.name), probe));
    Tensor x({2, 32, 32, 3});
    for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(static_cast<double>(i % 997)));
    const Tensor plain = bare->forward(Run{}, x).logits;
    CHECK(equal(plain, model->forward(Run{}, x).logits));
    double worst = 0;
    int seen = 0;
    probe.saw = [&](const Site&, const Layout&, const Tensor& w) {
      ++seen;
      for (int64_t r = 0; r < w.size() / w.dim(3); ++r) {
        double sum = 0;
        for (int j = 0; j < w.dim(3); ++j) sum += static_cast<double>(w[r * w.dim(3) + j]);
        worst = std::max(worst, std::abs(sum - 1));
      }
    };
    CHECK(equal(plain, model->forward(Run{}, x).logits));
    probe.saw = nullptr;
    CHECK(seen == 2);
    CHECK(worst < 1e-4);
    for (const Told what : {Told::none, Told::transposed, Told::reversed}) {
      probe.told = what;
      const Tensor y = model->forward(Run{}, x).logits;
      CHECK(std::ranges::all_of(y.read(), [](real v) { return std::isfinite(v); }));
    }
  }
  CHECK(walked > 15);
}

}  // namespace tessera::test
