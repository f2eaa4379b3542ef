// No option of an encoding is said in vain: a value other than the default changes the parameters or the output somewhere, or is refused.
// In every configuration of every other option, since one option may switch another off.
#include <cstring>

#include "tests/twin/position_walk.h"

namespace tessera {
namespace {

using namespace walk;

/// The values of an option that are tried; of `encoding` alone where it is named. Booleans need none.
struct Values {
  const char* key;
  std::vector<Value> all;
  const char* encoding = "";
};
Value word(const char* s) { return std::string(s); }
const std::vector<Values>& values() {
  using List = std::vector<int>;
  static const std::vector<Values> all{
      {"init", {word("normal"), word("truncated")}, "learned frozen_random pvt"},
      {"init", {word("normal"), word("xavier")}, "transformer_xl transformer_xl_axial"},
      {"std", {0.5}},
      {"resize",
       {word("bicubic_antialias"), word("bicubic"), word("bilinear"), word("corner_aligned"), word("crop")},
       "relative_position_bias"},
      {"resize", {word("bicubic_antialias"), word("bicubic"), word("bilinear"), word("corner_aligned")}},
      {"layout", {word("interleaved"), word("halves")}},
      {"denom", {word("C"), word("C/2-1")}},
      {"temperature", {20.0}},
      {"class_position", {word("zero"), word("count")}},
      {"axes", {word("raster"), word("axial"), word("golden_gate")}, "pope"},
      {"scale", {word("head"), word("score")}, "pope"},
      {"min_freq", {0.05}},
      {"max_freq", {0.5}, "pope spiral golden_gate"},
      {"generator_dim", {2, 4}},
      {"block_size", {2, 4}},
      {"init_std", {0.5}},
      {"perturbation_intensity", {0.5}},
      {"prefix", {word("identity"), word("centre")}},
      {"resolution", {word("recompute"), word("interpolate")}, "sinusoidal"},
      {"resolution", {word("recompute"), word("rescale")}},
      {"variant",
       {word("simplevit"), word("moco_v3"), word("mae"), word("timm"), word("timm_reversed"), word("timm_interleaved"),
        word("t2t")},
       "sincos2d"},
      {"variant", {180, 90, 45}, "lookhere"},
      {"variant", {word("rope_vit"), word("timm_language"), word("timm_pixel"), word("dinov3"), word("gta")}},
      {"scaling",
       {word("none"), word("interpolate"), word("ntk"), word("yarn"), word("clip")},
       "rope rope_axial rope_dinov3 rope_mixed polar gta sinusoidal sincos2d transformer_xl transformer_xl_axial "
       "spiral golden_gate pope cayley_string harope"},
      {"scaling", {word("none"), word("interpolate")}},
      {"ramp", {word("rotations"), word("index")}},
      {"beta_fast", {8.0}},
      {"beta_slow", {0.05}},
      {"clip", {word("taper"), word("hard")}},
      {"clip_share", {0.5}},
      {"normalize", {word("separate"), word("max"), word("min")}},
      {"min_period", {0.3}},
      {"max_period", {5.0}},
      {"coords_shift", {0.3}},
      {"coords_jitter", {1.5}},
      {"coords_rescale", {1.5}, "rope_dinov3"},
      {"coords_rescale", {2.0}},
      {"coords_draw", {word("forward"), word("block")}},
      {"global_slope", {0.5}},
      {"layer_slopes", {std::vector<double>{1, 2}}},
      {"max_distance", {12}, "t5 t5_axial"},
      {"max_distance", {2, 3}},
      {"axes", {word("raster"), word("concat")}, "wavelet"},
      {"axes", {word("raster"), word("concat"), word("sum")}},
      {"offset", {word("key_minus_query"), word("query_minus_key")}},
      {"clamp_len", {2}},
      {"max_relative_position", {2}},
      {"index", {word("raster"), word("product")}},
      {"kernel", {1, 3, 5, 7}},
      {"method", {word("product"), word("cross"), word("euclidean"), word("quant_code"), word("quant_paper")}},
      {"mode", {word("contextual"), word("bias")}},
      {"on", {word("k"), word("q"), word("v"), word("qk"), word("qkv")}},
      {"ratio", {3.0}},
      {"hidden", {5}},
      {"pretrained_window_size", {5}},
      {"after", {List{-1}, List{0}, List{1}, List{-1, 0}}},
      {"padding", {word("zero"), word("circular"), word("reflect")}},
      {"parameters", {word("cartesian"), word("polar")}},
      {"rotate", {1}, "spiral"},
      {"p_zero_freqs", {0.5}},
      {"directions", {word("lattice"), word("angle")}},
      {"basis", {word("cayley"), word("exp"), word("svd")}},
      {"frequencies", {word("learned"), word("fixed")}},
      {"scales", {1}},
      {"base", {50.0}},
      {"theta", {7.0}},
      {"start", {1}},
      {"max_freq", {10.0}},
      {"bands", {word("linear"), word("log")}},
      {"metric", {word("raster"), word("euclidean"), word("l1"), word("axes")}, "alibi alibi_2d"},
      {"metric", {word("raster"), word("euclidean"), word("l1")}, "content_alibi"},
      {"metric", {word("raster"), word("euclidean")}},
      {"num_buckets", {8}},
      {"init_c", {0.3}},
      {"parabolas", {3}},
      {"class_cell", {word("origin"), word("none")}},
      {"gates", {word("half"), word("open"), word("alibi")}},
      {"local_up_to_layer", {1}},
      {"locality_strength", {0.5}},
      {"gate", {0.25}},
  };
  return all;
}

/// The values to try beside the default; empty if the table above does not know the option.
std::vector<Value> others(const PositionRow& row, const std::string& key, const Value& normal) {
  std::vector<Value> all;
  if (const bool* b = std::get_if<bool>(&normal)) return {!*b};
  for (const Values& v : values()) {
    const std::string of = " " + std::string(v.encoding) + " ";
    if (key != v.key || (of != "  " && of.find(" " + std::string(row.name) + " ") == std::string::npos)) continue;
    for (const Value& value : v.all)
      if (value != normal) all.push_back(value);
    return all;
  }
  return all;
}

std::string bytes(const Tensor& t) {
  std::string s(static_cast<size_t>(t.size()) * sizeof(real), '\0');
  std::memcpy(s.data(), t.data(), s.size());
  return t.shape().str() + s;
}

/// Where a difference may show: parameters as they start, the output at the size it is built for, at another, and as training begins.
constexpr int looks = 4;
std::string seen(const Bench& bench, const char* name, const Options& options, int look) try {
  // heads wide enough for every band of frequencies
  const Options wide =
      bench.family == std::string_view("swin") ? Options{} : Options{{"embed_dim", 32}, {"num_heads", 2}};
  Net net(bench, name, options, wide, 1, look == 0 || look == 3);
  std::string s;
  if (look == 0)
    for (const auto& e : net.params.entries())
      s += fmt::format("{} {} {} ", e.name, e.buffer, static_cast<int>(e.decay)) + bytes(e.value);
  if (look == 1)
    s = bytes(net(
        random_image(1, std::get<int>(bench.options.at("img_size")), std::get<int>(bench.options.at("img_width")), 2)));
  if (look == 2) s = bytes(net(random_image(1, 12, 40, 2)));  // larger, and of another shape
  if (look == 3) s = bytes(net.model->forward(Run{Mode::train, 1, 1, 0}, random_image(1, 12, 40, 2)).logits);
  return s;
} catch (const Error& e) {
  return std::string("refused: ") + e.what();
}
bool refused(const std::string& s) { return s.starts_with("refused: "); }

/// Nothing tells the two apart, in any kind of model; "refused" in all of them counts as a difference.
bool in_vain(const char* name, const Options& with, const Options& without) {
  bool runs = false;
  for (const Bench& b : benches())
    for (int look = 0; look < looks; ++look) {
      const std::string now = seen(b, name, with, look);
      if (refused(now) && look == 0) break;
      runs = true;
      if (now != seen(b, name, without, look)) return false;
    }
  return runs;
}

TEST_CASE("position options: a value that does nothing is refused, whatever the other options are") {
  for (const auto& row : positions()) {
    const std::string encoding = row.name;
    std::vector<std::pair<std::string, Value>> all;  // every value of every option beside its default
    for (const auto& option : row.defaults) {
      const auto more = others(row, option.first, option.second);
      CHECK_MESSAGE(!more.empty(), encoding << ": this test knows no other value of the option " << option.first);
      for (const Value& v : more) all.emplace_back(option.first, v);
    }
    for (const auto& one : all) {
      const std::string said = encoding + " " + one.first + "=" + text(one.second);
      CHECK_MESSAGE(!in_vain(row.name, {one}, {}), said << " changes nothing");
      for (const auto& mode : all) {
        if (mode.first == one.first) continue;
        const std::string beside = mode.first + "=" + text(mode.second);
        // in cells of 3 x 4 no offset reaches the buckets that stand for several
        if (encoding == "t5_axial" && one.first == "max_distance" && mode.first == "scaling") continue;
        CHECK_MESSAGE(!in_vain(row.name, {one, mode}, {mode}), said << " changes nothing beside " << beside);
      }
    }
  }
}

TEST_CASE("position options: what a padding, a distance or a band would do is said when it is refused") {
  const auto says = [](const char* name, const Options& options, std::initializer_list<const char*> words) {
    const std::string why = refusal(benches()[1], name, options);
    CAPTURE(name);
    CAPTURE(why);
    REQUIRE(!why.empty());
    for (const char* w : words) CHECK(why.find(w) != std::string::npos);
    CHECK(why.find('\n') == std::string::npos);
  };
  says("peg", {{"kernel", 1}, {"padding", word("circular")}}, {"padding", "kernel"});
  says("cpe", {{"kernel", 1}, {"padding", word("reflect")}}, {"padding", "kernel"});
  says("cpe_raster", {{"padding", word("circular")}}, {"padding"});
  says("cpe_raster", {{"padding", word("reflect")}}, {"padding"});
  says("sasa", {{"kernel", 1}}, {"kernel"});  // a token that sees itself alone needs no positions
  for (const char* huang : {"huang1", "huang2", "huang3", "huang4"})
    says(huang, {{"index", word("product")}, {"max_distance", 3}}, {"max_distance", "index"});
  says("sinusoidal", {{"resize", word("bilinear")}}, {"resize", "resolution"});
  says("rope_axial", {{"bands", word("log")}}, {"bands", "variant"});
  says("rope_axial", {{"max_freq", 8.0}}, {"max_freq", "variant"});
  for (const char* variant : {"timm_pixel", "dinov3"}) {
    says("rope_axial", {{"variant", word(variant)}, {"start", 1}}, {"start", "variant"});
    says("rope_axial", {{"variant", word(variant)}, {"rescale", true}}, {"rescale", "variant"});
  }
  says("rope_axial", {{"variant", word("timm_pixel")}, {"theta", 9.0}}, {"theta", "variant"});
  for (const char* rotary : {"rope", "rope_axial", "rope_mixed", "alibi", "golden_gate", "forget", "forget_profiles"})
    says(rotary, {{"rescale", true}, {"scaling", word("interpolate")}}, {"rescale", "scaling"});
  for (const char* variant : {"timm_pixel", "dinov3"})
    says("rope_axial", {{"variant", word(variant)}, {"scaling", word("ntk")}}, {"scaling", "variant"});
  says("rope_axial", {{"beta_fast", 4.0}}, {"beta_fast", "scaling"});
  says("rope_axial", {{"scaling", word("yarn")}, {"beta_fast", 0.1}}, {"beta_fast", "beta_slow"});
  says("rope_axial", {{"scaling", word("clip")}}, {"clip_share", "pairs"});
  says("rope_axial", {{"normalize", word("max")}}, {"normalize", "variant"});
  says("rope_axial", {{"variant", word("dinov3")}, {"min_period", 0.5}}, {"min_period", "max_period"});
  says("rope_axial", {{"variant", word("dinov3")}, {"min_period", 0.5}, {"max_period", 2.0}, {"theta", 9.0}},
       {"theta", "periods"});
  says("rope_mixed", {{"coords_draw", word("block")}}, {"coords_draw", "coords_rescale"});
  says("sincos2d", {{"resolution", word("rescale")}, {"scaling", word("ntk")}}, {"scaling", "resolution"});
  says("log_cpb", {{"pretrained_window_size", 5}, {"scaling", word("interpolate")}},
       {"pretrained_window_size", "scaling"});
  for (const char* of_distances : {"alibi", "content_alibi", "pape", "pape_ri", "wavelet", "forget", "forget_profiles",
                                   "lie", "comrope_ld", "comrope_ap"})
    says(of_distances, {{"scaling", word("ntk")}}, {"scaling", "interpolate"});
  for (const char* parabolas : {"pape", "pape_ri"})
    says(parabolas, {{"normalize", true}, {"scaling", word("interpolate")}}, {"scaling", "normalize"});
  for (const char* mode : {"none", "yarn"})
    says("spiral", {{"rescale", false}, {"scaling", word(mode)}}, {"rescale", "scaling"});
  for (const char* turned : {"rope_axial", "gta", "rope_mixed", "polar", "spiral", "golden_gate"})
    says(turned, {{"values", true}, {"scaling", word("yarn")}, {"temperature", true}}, {"temperature", "values"});
  says("cayley_string", {{"scaling", word("yarn")}, {"ramp", word("index")}}, {"ramp", "frequencies"});
  says("pope", {{"axes", word("golden_gate")}, {"scaling", word("yarn")}, {"ramp", word("index")}}, {"ramp", "axes"});
  says("pope", {{"coords_shift", 0.3}}, {"coords_shift", "axes"});
  for (const char* turned : {"harope", "spiral", "golden_gate", "lie", "comrope_ld", "comrope_ap"})
    says(turned, {{"coords_draw", word("block")}}, {"coords_draw", "coords_rescale"});
  says("gpsa", {{"local_init", false}, {"locality_strength", 2.0}}, {"locality_strength", "local_init"});
  says("learned", {{"frozen", true}, {"decay", true}}, {"decay", "frozen"});
}

}  // namespace
}  // namespace tessera
