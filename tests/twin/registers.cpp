// Registers: learned tokens between the class token and the patches. Every token sees them and no head reads them; they are alike but for
// the rows that a learned table has for them.
#include "tessera/core/ops/reduce.h"
#include "tessera/core/ops/slice.h"
#include "tessera/models/model.h"
#include "tessera/nn/position_weights.h"
#include "tests/twin/position_walk.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using namespace walk;

constexpr bool twin = sizeof(real) == 8;

struct Family {
  const char* name;
  Options options;
};
/// The image models that have them, each with three.
const std::vector<Family>& families() {
  static const std::vector<Family> all = [] {
    const Options size{{"img_size", 8}, {"img_width", 12}, {"in_chans", 2}, {"num_classes", 3}, {"reg_tokens", 3}};
    const auto with = [&](Options more) {
      more.insert(size.begin(), size.end());
      return more;
    };
    const Options vit{{"patch_size", 2}, {"embed_dim", 16}, {"depth", 2}, {"num_heads", 2}, {"mlp_ratio", 1.0}};
    Options mean = vit, late = vit;
    mean.insert({{"class_token", false}, {"global_pool", "avg"}});
    late.insert({{"no_embed_class", true}});
    Options conformer{{"patch_size", 2},
                      {"embed_dim", 16},
                      {"num_layers", 2},
                      {"num_heads", 2},
                      {"use_group_norm", true},  // weights are drawn anew, and a variance is not just anything
                      {"depthwise_conv_kernel_size", 3}};
    Options with_class = conformer;
    with_class.insert({{"class_token", true}, {"global_pool", "token"}, {"conv_over", "map"}});
    Options cct{{"n_conv_layers", 1}, {"embed_dim", 16}, {"depth", 2}, {"num_heads", 2}, {"drop_path_rate", 0.0}};
    Options token = cct;
    token.insert({{"global_pool", "token"}});
    using Ints = std::vector<int>;
    Options pvt{{"patch_size", 2},      {"embed_dims", Ints{16}}, {"depths", Ints{2}},
                {"num_heads", Ints{2}}, {"sr_ratios", Ints{1}},   {"mlp_ratios", std::vector<double>{1}}};
    Options pvt_mean = pvt;
    pvt_mean.insert({{"global_pool", "avg"}});
    Options cvt{{"patch_sizes", Ints{2}}, {"patch_strides", Ints{2}}, {"patch_paddings", Ints{0}},
                {"embed_dims", Ints{16}}, {"depths", Ints{2}},        {"num_heads", Ints{2}},
                {"method", "avg"}};
    Options cvt_mean = cvt;
    cvt_mean.insert({{"global_pool", "avg"}});
    return std::vector<Family>{{"vit", with(vit)},
                               {"vit", with(mean)},
                               {"vit", with(late)},
                               {"conformer_image", with(conformer)},
                               {"conformer_image", with(with_class)},
                               {"cct", with(cct)},
                               {"cct", with(token)},
                               {"pvt", with(pvt)},
                               {"pvt", with(pvt_mean)},
                               {"cvt", with(cvt)},
                               {"cvt", with(cvt_mean)}};
  }();
  return all;
}

struct Built {
  Params params{1};
  Places places;
  std::unique_ptr<Model> model;
  Built(const Family& f, std::string_view encoding, const Options& options = {}) {
    places = tessera::model(f.name).places(f.options);
    model = tessera::model(f.name).make(Scope(params), f.options, position(encoding, options));
    redraw(params);
  }
  Output operator()() const {
    Input in(random_image(2, 8, 12, 2));
    in.features = true;
    Output out = model->forward(Run{}, in);
    for (const real v : out.stages[0].values()) REQUIRE(std::isfinite(v));
    return out;
  }
  /// The only parameter of that last name: of a stage, "stage2.reg_token".
  const Tensor& find(std::string_view name) const {
    for (const auto& e : params.entries())
      if (e.name == name || e.name.ends_with("." + std::string(name))) return e.value;
    fail("registers", "there is no {}", name);
  }
  /// Rows `from` and `from` + 2 of a table (1, rows, width) exchanged.
  void exchange(std::string_view name, int from) {
    const Tensor& t = find(name);
    for (int c = 0; c < t.dim(2); ++c) std::swap(t[int64_t{from} * t.dim(2) + c], t[int64_t{from + 2} * t.dim(2) + c]);
    params.commit();
  }
};

TWIN_CASE(
    "registers: in another order they leave patches and logits as they are, under every encoding but for their rows of "
    "a table") {
  for (const Family& f : families())
    for (const auto& row : positions()) {
      const std::string name = row.name;
      CAPTURE(f.name);
      CAPTURE(name);
      std::unique_ptr<Built> net;
      try {
        net = std::make_unique<Built>(f, name);
      } catch (const Error&) {
        CHECK(name == "sasa");  // which has no place for them
        continue;
      }
      const Output before = (*net)();
      net->exchange("reg_token", 0);
      const Output after = (*net)();
      const double off = std::max(farthest(before.logits, after.logits), farthest(before.stages[0], after.stages[0]));
      const int rows = net->places.tokens[0].trained.prefix;  // that a table would have for class token and registers
      const bool tables = name == "learned" || name == "frozen_random" || name == "pvt";
      if (!tables || rows == 0) {
        CHECK(off <= (twin ? 1e-13 : 1e-5));
        continue;
      }
      CHECK(off > 1e-6);
      net->exchange(net->places.tokens[0].name, rows - 3);
      const Output again = (*net)();
      CHECK(std::max(farthest(before.logits, again.logits), farthest(before.stages[0], again.stages[0])) <=
            (twin ? 1e-13 : 1e-5));
    }
}

TWIN_CASE("registers: they change what patches become, and no head reads them") {
  for (const Family& f : families()) {
    CAPTURE(f.name);
    Built net(f, "none");
    const Output before = net();
    REQUIRE(before.stages[0].rank() == 4);
    for (real& v : Tensor(net.find("reg_token")).values()) v *= -3;  // a constant would be nothing to a norm
    net.params.commit();
    CHECK(farthest(before.stages[0], net().stages[0]) > 1e-6);
  }
  // the mean is that of the patches: with an identity for a head, and a norm that only centres and scales
  Family f = families()[3];  // the Conformer's head reads the mean itself
  f.options["num_classes"] = 16;
  Built net(f, "none");
  for (const auto& e : net.params.entries())
    if (e.name == "head.weight" || e.name == "head.bias")
      for (int64_t i = 0; i < e.value.size(); ++i) e.value[i] = e.name == "head.weight" && i % 17 == 0;
  net.params.commit();
  const Output out = net();
  CHECK(farthest(out.logits, mean(out.stages[0], {1, 2})) <= (twin ? 1e-14 : 1e-6));
}

TWIN_CASE("registers: rows of the learned table, as timm counts them, and kept when it is resized") {
  const auto rows = [](const char* name, const Options& options) {
    Params params(1, Draw::no);
    model(name).make(Scope(params), options, position("learned"));
    return params.find("pos_embed")->value.dim(1);
  };
  CHECK(rows("vit_tiny_patch16_224", {{"reg_tokens", 2}, {"depth", 1}}) == 199);  // its reg2
  CHECK(rows("vit_small_patch16_224",
             {{"img_size", 518}, {"patch_size", 14}, {"reg_tokens", 4}, {"no_embed_class", true}, {"depth", 1}}) ==
        1369);  // DINOv2's reg4
  for (const bool late : {false, true}) {
    const Options options{{"img_size", 8},  {"patch_size", 2}, {"embed_dim", 8},         {"depth", 1},
                          {"num_heads", 1}, {"reg_tokens", 3}, {"no_embed_class", late}, {"in_chans", 2}};
    const Places at = model("vit").places(options);
    Params params(1);
    const auto encoding = position("learned")(Scope(params), at);
    redraw(params);
    const Tensor table = params.find("pos_embed")->value;
    Grid larger = at.tokens[0].trained;
    larger.h = 6, larger.w = 5;
    const int kept = late ? 0 : 4;
    REQUIRE(larger.prefix == kept);
    const Tensor t =
        encoding->resample("pos_embed", table, Layout::global(at.tokens[0].trained), Layout::global(larger));
    REQUIRE(t.shape() == Shape{1, kept + 30, 8});
    const Tensor added = encoding->tokens(at.tokens[0], larger, zeros({1, larger.tokens(), 8}), {});
    CHECK(same_bits(added, t));
    for (int i = 0; i < kept * 8; ++i) CHECK(t[i] == table[i]);
  }
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
