// What ResNet, the speedrun's network, CCT, CvT and the network of stand-alone self-attention promise: sizes, names, refusals, every encoding.
#include <cmath>

#include "tessera/core/ops/batchnorm.h"
#include "tessera/models/cvt.h"
#include "tests/twin/golden_convnets.h"
#include "tests/twin/twin.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using List = std::vector<int>;

int64_t parameters(const char* name, const Options& options = {}) {
  const ModelRow& row = model(name);
  Params params(1, Draw::no);
  row.make(Scope(params), options, position(row.position));
  return params.count();
}

TWIN_CASE("models: parameter counts of the published convolutional and hybrid networks") {
  CHECK(parameters("resnet18") == 11'689'512);  // torchvision
  CHECK(parameters("resnet20") == 269'722);     // the paper's 0.27M, shortcut A
  CHECK(parameters("resnet20", {{"shortcut", "B"}}) == 269'722 + 16 * 32 + 32 * 64 + 2 * (32 + 64));
  CHECK(parameters("airbench94") == 1'972'792);  // of the author's network, those that are not trained included
  CHECK(parameters("cct") == 283'723);           // SHI-Labs' CCT-2/3x2
  CHECK(parameters("cct_7_3x1_32") == 3'760'139);
  CHECK(parameters("vit_lite_7_4_32") == 3'716'874);
  CHECK(parameters("cvt_13") == 19'997'480);
  CHECK(parameters("cvt_21") == 31'622'696);
  CHECK(std::lround(static_cast<double>(parameters("sasa_net26")) / 1e5) == 103);  // the paper's table: 10.3M
}

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TWIN_CASE("resnet: torchvision's names, no place for an encoding, blocks that start as their shortcut") {
  const ModelRow& row = model("resnet");
  const Options small{{"depths", List{1, 1}}, {"widths", List{4, 6}}, {"shortcut", "B"}, {"zero_init_residual", true}};
  Params params(1);
  row.make(Scope(params), small, position("none"));
  std::string names;
  for (const auto& e : params.entries())
    if (!e.buffer) names += e.name + " ";
  CHECK(names ==
        "conv1.weight bn1.weight bn1.bias layer1.0.conv1.weight layer1.0.bn1.weight layer1.0.bn1.bias "
        "layer1.0.conv2.weight layer1.0.bn2.weight layer1.0.bn2.bias layer2.0.conv1.weight layer2.0.bn1.weight "
        "layer2.0.bn1.bias layer2.0.conv2.weight layer2.0.bn2.weight layer2.0.bn2.bias layer2.0.downsample.0.weight "
        "layer2.0.downsample.1.weight layer2.0.downsample.1.bias fc.weight fc.bias ");
  CHECK(largest(params.find("layer2.0.bn2.weight")->value) == 0);
  CHECK(largest(params.find("layer2.0.bn1.weight")->value) == 1);
  for (const auto& encoding : positions()) {
    INFO(encoding.name);
    const std::string why = refusal([&] { check_position(encoding.name, {}, row.places(small)); });
    CHECK((why.find("neither tokens nor attention") == std::string::npos) == (encoding.name == std::string("none")));
  }
  CHECK(refusal([&] { row.places({{"widths", List{64, 32, 16}}}); }).find("shortcut = B") != std::string::npos);
  CHECK(refusal([&] { row.places({{"widths", List{16}}}); }).find("one entry a stage") != std::string::npos);
}

TWIN_CASE("airbench: the author's names, what is frozen, no place for an encoding, how weights start") {
  const ModelRow& row = model("airbench");
  const Options small{{"widths", List{6, 30}}, {"in_chans", 1}};
  Params params(1);
  row.make(Scope(params), small, position("none"));
  std::string trained, frozen;
  for (const auto& e : params.entries())
    if (!e.buffer) (e.value.leaf()->trainable ? trained : frozen) += e.name + " ";
  CHECK(trained ==
        "whiten.bias layers.1.conv1.weight layers.1.norm1.bias layers.1.conv2.weight layers.1.norm2.bias "
        "layers.2.conv1.weight layers.2.norm1.bias layers.2.conv2.weight layers.2.norm2.bias head.weight ");
  CHECK(frozen ==
        "whiten.weight layers.1.norm1.weight layers.1.norm2.weight layers.2.norm1.weight layers.2.norm2.weight ");
  Params with_factors(1), drawn(1);
  row.make(Scope(with_factors), {{"norm_weight", true}}, position("none"));
  CHECK(with_factors.find("layers.3.norm2.weight")->value.leaf()->trainable);
  Options plain = small;
  plain["dirac_init"] = false;
  row.make(Scope(drawn), plain, position("none"));
  // filter o of conv1 (6, 8, 3, 3) copies channel o; of conv2 of the second group (30, 30, 3, 3) as well, and the filters of its conv1
  // (30, 6, 3, 3) from 6 on are as without dirac_init
  const auto check = [&](const char* name, int copies) {
    const Tensor w = params.find(name)->value, as_drawn = drawn.find(name)->value;
    const auto [O, I, kh, kw] = w.dims<4>();
    CAPTURE(std::string(name));
    for (int64_t i = 0; i < w.size(); ++i) {
      const int64_t o = i / (int64_t{I} * kh * kw), rest = i % (int64_t{I} * kh * kw);
      const real expected = o >= copies ? as_drawn[i] : rest == o * 9 + 4 ? real(1) : real(0);
      REQUIRE(w[i] == expected);
    }
  };
  check("layers.1.conv1.weight", 6), check("layers.2.conv1.weight", 6), check("layers.2.conv2.weight", 30);
  const Tensor whiten = params.find("whiten.weight")->value;  // (8, 1, 2, 2): unit vectors and their negatives
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 4; ++j) CHECK(whiten[4 * i + j] == (i % 4 != j ? 0 : i < 4 ? 1 : -1));
  for (const auto& encoding : positions()) {
    INFO(encoding.name);
    const std::string why = refusal([&] { check_position(encoding.name, {}, row.places(small)); });
    CHECK((why.find("neither tokens nor attention") == std::string::npos) == (encoding.name == std::string("none")));
  }
  CHECK(refusal([&] { row.places({{"widths", List{8, 8, 8, 8, 8}}}); }).find("leave nothing") != std::string::npos);
  CHECK(refusal([&] { row.places({{"widths", List{}}}); }).find("0 groups") != std::string::npos);
  CHECK(refusal([&] {
          row.places({{"in_chans", 64}, {"whiten_kernel_size", 3}});
        }).find("whiten_kernel_size") != std::string::npos);
}

Tensor image(int B, int H, int W, int C = 3) {
  Tensor x({B, H, W, C});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<real>(std::sin(0.7 * static_cast<double>(i)));
  return x;
}

/// Weights large enough that every layer matters.
void redraw(Params& params) {
  const rng::Stream random(5);
  uint64_t c = 0;
  for (const auto& e : params.entries())
    if (!e.buffer)
      for (real& v : e.value.values()) v += static_cast<real>(0.2 * random.normal(c++));
  params.commit();
}

bool finite(const Tensor& t) {
  for (const real v : t.values())
    if (!std::isfinite(v)) return false;
  return true;
}

struct Small {
  const char* model;
  Options options;
};
const Small hybrids[] = {
    {"cct", {{"embed_dim", 16}, {"drop_path_rate", 0.0}, {"proj_drop_rate", 0.1}}},
    {"cct", {{"embed_dim", 16}, {"drop_path_rate", 0.0}, {"pos_drop_rate", 0.1}, {"global_pool", "token"}}},
    {"cvt", {{"embed_dims", List{8, 16, 16}}, {"num_heads", List{1, 2, 2}}, {"depths", List{1, 1, 2}}}},
    {"cvt",
     {{"embed_dims", List{8, 16}},
      {"num_heads", List{1, 2}},
      {"depths", List{1, 1}},
      {"patch_sizes", List{3, 3}},
      {"patch_strides", List{2, 2}},
      {"patch_paddings", List{1, 1}},
      {"class_token", false},
      {"method", "avg"}}},
    {"sasa_net", {{"widths", List{16, 16}}, {"depths", List{1, 1}}, {"num_heads", 2}, {"expansion", 2}}}};

TWIN_CASE("models: every encoding runs in CCT, CvT and the network of self-attention, or is refused with one line") {
  for (const Small& small : hybrids)
    for (const auto& encoding : positions()) {
      INFO(small.model << " with " << encoding.name);
      Options options = small.options;
      options.insert({{"img_size", 12}, {"img_width", 20}, {"num_classes", 3}});
      const ModelRow& row = model(small.model);
      const std::string why = refusal([&] { check_position(encoding.name, {}, row.places(options)); });
      if (!why.empty()) {
        CHECK(why.find('\n') == std::string::npos);
        continue;
      }
      Params params(3);
      const auto net = row.make(Scope(params), options, position(encoding.name));
      redraw(params);
      Grads grads;
      {
        Tape tape;
        std::vector<BatchStatistics> statistics;
        Collecting collecting(statistics);
        const Tensor y = net->forward({Mode::train, 1, 2, 0}, image(2, 12, 20)).logits;
        CHECK(finite(y));
        tape.backward(y, image(1, 1, 2).reshape(y.shape()), grads);
      }
      for (const auto& e : params.entries())
        if (!e.buffer) {
          CAPTURE(e.name);
          REQUIRE(grads.has(e.value));
          CHECK(finite(grads.of(e.value)));
        }
      if (fixed_size(encoding.name).empty()) CHECK(finite(net->forward(Run{}, image(1, 16, 12)).logits));
    }
}

TWIN_CASE(
    "cvt: keys are a quarter of the queries, rounded up; the class token is beside both; a single image is no special "
    "case") {
  const auto last = [](const Options& more) {
    Options o{{"img_size", 40}, {"img_width", 24}};  // last map: 5 x 3
    o.insert(more.begin(), more.end());
    return model("cvt").places(o).sites.back().trained;
  };
  CHECK(last({}) == Layout::reduced({5, 3, 1}, {3, 2, 1}, 2));
  CHECK(last({{"class_token", false}}) == Layout::reduced({5, 3, 0}, {3, 2, 0}, 2));
  CHECK(last({{"method", "linear"}}) == Layout::global({5, 3, 1}));
  CHECK(last({{"stride_kv", 1}}) == Layout::global({5, 3, 1}));
  CHECK(model("cvt").places({}).sites[0].trained == Layout::reduced({16, 16, 0}, {8, 8, 0}, 2));
  // torch's ceil_mode: 16 cells and a ring of zeros hold 9 windows of stride 2
  CHECK(model("cvt").places({{"method", "avg"}}).sites[0].trained == Layout::reduced({16, 16, 0}, {9, 9, 0}, 2));
  CHECK(model("cvt").places({}).sites.back().scale == doctest::Approx(1 / std::sqrt(128.0)));  // not of a head's 32
  for (const char* method : {"dw_bn", "avg", "linear"}) {
    Params params(1);
    const auto net = model("cvt").make(Scope(params), {{"method", method}}, position("shaw_axial_kv"));
    const Tensor two = net->forward(Run{}, image(2, 32, 32)).logits;
    const Tensor one = net->forward(Run{}, image(1, 32, 32)).logits;
    CHECK(one.shape() == Shape{1, 10});
    for (int k = 0; k < 10; ++k) CHECK(one[k] == doctest::Approx(static_cast<double>(two[k])).epsilon(1e-4));
  }
  check_position("sasa", {},
                 model("cvt").places({{"method", "linear"}, {"global_pool", "avg"}}));  // its keys are its queries
  const auto why = [](const Options& o) { return refusal([&] { model("cvt").places(o); }); };
  CHECK(why({{"depths", List{1, 1}}}).find("depths has 2 stages and embed_dims 3") != std::string::npos);
  CHECK(why({{"num_heads", List{1, 3, 4}}}).find("3 heads do not divide the width 64") != std::string::npos);
  CHECK(why({{"method", "linear"}, {"stride_kv", 3}}).find("stride_kv") != std::string::npos);
  CHECK(why({{"patch_paddings", List{0, 0, 0}}, {"img_size", 8}}).find("larger image") != std::string::npos);
}

TWIN_CASE("cvt: class_token=false is global_pool=avg by its older name: the same weights and bits, also of registers") {
  for (const int registers : {0, 2}) {
    std::vector<Tensor> said;
    for (const Options& older : {Options{{"class_token", false}}, Options{{"global_pool", std::string("avg")}}}) {
      Options options = older;
      options["reg_tokens"] = registers;
      Params params(1);
      const auto net = model("cvt").make(Scope(params), options, position("none"));
      for (const auto& e : params.entries()) CHECK(e.name.find("cls_token") == std::string::npos);
      CHECK((params.find("stage2.reg_token") != nullptr) == (registers > 0));
      redraw(params);
      said.push_back(net->forward(Run{}, image(2, 32, 32)).logits);
    }
    for (int64_t i = 0; i < said[0].size(); ++i) CHECK(said[0][i] == said[1][i]);
  }
}

TWIN_CASE("golden names: CvT as transformers saves it") {
  const ModelRow& row = model("cvt");
  Options options = cvt_cases().back().options;
  options["class_token"] = true;
  Params params(7);
  const auto net = row.make(Scope(params), options, position(row.position));
  io::load(params, golden_file("names_cvt_transformers", "weights"), {.dialect = row.dialect});
  const io::TensorFile golden(golden_file("names_cvt_transformers", "golden"));
  const Tensor logits = net->forward(Run{}, channels_last(golden.read("input"))).logits, want = golden.read("logits");
  CHECK(difference(logits, want) <= (sizeof(real) == 8 ? 1e-12 : 2e-5) * std::max(1.0, largest(want)));
}

TWIN_CASE("cct: the tokenizer's map, and a kernel that the image cannot hold") {
  CHECK(model("cct").places({}).tokens[0].trained == Grid{8, 8, 0});
  CHECK(model("cct_7_3x1_32").places({}).tokens[0].trained == Grid{16, 16, 0});
  CHECK(model("vit_lite_7_4_32").places({}).tokens[0].trained == Grid{8, 8, 1});
  CHECK(model("cct").places({{"img_size", 31}, {"img_width", 17}}).tokens[0].trained == Grid{8, 5, 0});
  CHECK(refusal([] {
          model("cct").places({{"kernel_size", 41}, {"padding", 2}});
        }).find("larger image") != std::string::npos);
}

}  // namespace
}  // namespace TESSERA_NS
}  // namespace tessera
