// Every position encoding, one row each. To add one: a file in this folder, its function in encoding.h, a row here.
#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>

#include "tessera/nn/position/encoding.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

using Hooks = std::vector<std::string>;

PositionRow row(const char* name, const char* title, Hooks hooks, bool trainable, int year, const char* reference,
                const char* resolution, Encoding code) {
  return {name,
          title,
          std::move(hooks),
          trainable,
          year,
          reference,
          resolution,
          std::move(code.defaults),
          std::move(code.make),
          std::move(code.refuses),
          std::move(code.help),
          std::move(code.domains)};
}

// clang-format off
std::vector<PositionRow> built_in() {
  return {
      // name, title, hooks, trainable, year, reference, at another resolution, code
      row("none", "No position information", {}, false, 2017, "the control of every comparison", "recompute", none()),
      row("frozen_random", "Random table, never trained", {"tokens"}, false, 2020, "control: Dosovitskiy et al. 2021, arXiv 2010.11929", "interpolate", frozen_random()),
      row("learned", "Learned table", {"tokens"}, true, 2020, "Dosovitskiy et al. 2021, arXiv 2010.11929", "interpolate", learned()),
      row("sinusoidal", "Sinusoids of the raster index", {"tokens"}, false, 2017, "Vaswani et al. 2017, arXiv 1706.03762", "recompute", sinusoidal()),
      row("sincos2d", "Sinusoids of both coordinates", {"tokens"}, false, 2022, "Beyer, Zhai, Kolesnikov 2022, arXiv 2205.01580", "recompute", sincos2d()),
      row("pvt", "Learned table per stage, as PVT", {"tokens"}, true, 2021, "Wang et al. 2021, arXiv 2102.12122", "interpolate", pvt()),
      row("shaw", "Shaw, keys", {"query"}, true, 2018, "Shaw et al. 2018, arXiv 1803.02155", "clip", shaw()),
      row("shaw_kv", "Shaw, keys and values", {"query", "value"}, true, 2018, "Shaw et al. 2018, arXiv 1803.02155", "clip", shaw_kv()),
      row("shaw_axial", "Shaw per axis, concatenated, keys", {"query"}, true, 2018, "Shaw et al. 2018, two axes as in axial attention", "clip", shaw_axial()),
      row("shaw_axial_kv", "Shaw per axis, concatenated, keys and values", {"query", "value"}, true, 2018, "Shaw et al. 2018, two axes as in axial attention", "clip", shaw_axial_kv()),
      row("axial_sum", "Shaw per axis, summed, keys", {"query"}, true, 2018, "Shaw et al. 2018, summed as in tensor2tensor's 2-D form", "clip", axial_sum()),
      row("conformer_shaw", "Shaw as circulated with the Conformer", {"query"}, true, 2020, "lucidrains/conformer, after Shaw et al. 2018", "clip", conformer_shaw()),
      row("transformer_xl", "Transformer-XL", {"query", "bias", "key"}, true, 2019, "Dai et al. 2019, arXiv 1901.02860", "recompute", transformer_xl()),
      row("transformer_xl_axial", "Transformer-XL per axis", {"query", "bias", "key"}, true, 2019, "Dai et al. 2019, two axes summed", "recompute", transformer_xl_axial()),
      row("transformer_xl_learned", "Transformer-XL, fully learned", {"query", "bias", "key"}, true, 2019, "Dai et al. 2019, the learnable variant of the authors' code", "clip", transformer_xl_learned()),
      row("music_transformer", "Music Transformer", {"query", "value"}, true, 2018, "Huang et al. 2019, arXiv 1809.04281", "clip", music_transformer()),
      row("music_transformer_2d", "Music Transformer, two axes", {"query", "value"}, true, 2018, "Huang et al. 2019, 2-D form of tensor2tensor", "clip", music_transformer_2d()),
      row("huang1", "Huang method 1: scalar of |offset|", {"gate"}, true, 2020, "Huang et al. 2020, arXiv 2009.13658", "clip", huang1()),
      row("huang2", "Huang method 2: scalar of the offset", {"gate"}, true, 2020, "Huang et al. 2020, arXiv 2009.13658", "clip", huang2()),
      row("huang3", "Huang method 3: vector of the offset", {"gate"}, true, 2020, "Huang et al. 2020, arXiv 2009.13658", "clip", huang3()),
      row("huang4", "Huang method 4: query and key", {"query", "key"}, true, 2020, "Huang et al. 2020, arXiv 2009.13658", "clip", huang4()),
      row("sasa", "Stand-alone self-attention", {"mix", "query"}, true, 2019, "Ramachandran et al. 2019, arXiv 1906.05909", "recompute", sasa()),
      row("irpe", "Image relative position encoding", {"query", "key", "value", "bias"}, true, 2021, "Wu et al. 2021, arXiv 2107.14222", "clip", irpe()),
      row("relative_position_bias", "Relative position bias table", {"bias"}, true, 2021, "Liu et al. 2021 (Swin), arXiv 2103.14030", "interpolate", relative_position_bias()),
      row("log_cpb", "Log-spaced continuous position bias", {"bias"}, true, 2021, "Liu et al. 2022 (Swin v2), arXiv 2111.09883", "recompute", log_cpb()),
      row("cpe", "Convolutional position embedding", {"between"}, true, 2021, "Xu et al. 2021 (CoaT), arXiv 2104.06399", "recompute", cpe()),
      row("cpe_raster", "Convolution over the raster order", {"between"}, true, 2021, "control: a circulated snippet", "recompute", cpe_raster()),
      row("peg", "Positional encoding generator", {"between"}, true, 2021, "Chu et al. 2021 (CPVT), arXiv 2102.10882", "recompute", peg()),
      row("rope", "Rotary embedding of the raster index", {"rotary"}, false, 2021, "Su et al. 2021, arXiv 2104.09864", "recompute", rope()),
      row("rope_axial", "Axial rotary embedding", {"rotary"}, false, 2024, "Heo et al. 2024, arXiv 2403.13298", "recompute", rope_axial()),
      row("rope_dinov3", "Axial rotary embedding as DINOv3 trains it", {"rotary"}, false, 2025, "Simeoni et al. 2025, arXiv 2508.10104", "recompute", rope_dinov3()),
      row("rope_mixed", "Mixed rotary embedding", {"rotary"}, true, 2024, "Heo et al. 2024, arXiv 2403.13298", "recompute", rope_mixed()),
      row("polar", "Mixed rotary embedding in polar form", {"rotary"}, true, 2026, "Heo et al. 2024 in the polar form of Compass-RoPE (ICML 2026, abstract)", "recompute", polar()),
      row("gta", "GTA: values rotate, too", {"rotary"}, false, 2024, "Miyato et al. 2024, arXiv 2310.10375", "recompute", gta()),
      row("spiral", "Spiral rotary embedding", {"rotary"}, false, 2026, "Liu et al. 2026, arXiv 2602.03227", "recompute", spiral()),
      row("golden_gate", "Golden gate rotary embedding", {"rotary"}, false, 2025, "J. Xiong 2025, jerryxio.ng/posts/nd-rope", "recompute", golden_gate()),
      row("cayley_string", "Cayley-STRING: a learned basis before rotation", {"shape", "rotary"}, true, 2025, "Schenck et al. 2025, arXiv 2502.02562", "recompute", cayley_string()),
      row("harope", "HARoPE: a learned map before rotation", {"shape", "rotary"}, true, 2025, "Li et al. 2025, arXiv 2510.10489", "recompute", harope()),
      row("wavelet", "Wavelets of the offset: a fixed relative table", {"query"}, false, 2025, "control: Oka et al. 2025, arXiv 2502.02004", "recompute", wavelet()),
      row("lie", "Lie rotations", {"shape"}, true, 2024, "Ostmeier et al. 2024 (LieRE), arXiv 2406.10322", "recompute", lie()),
      row("comrope_ld", "Commuting rotations, linearly dependent", {"shape"}, true, 2025, "Yu et al. 2025 (ComRoPE), arXiv 2506.03737", "recompute", comrope_ld()),
      row("comrope_ap", "Commuting rotations, axial partition", {"shape"}, true, 2025, "Yu et al. 2025 (ComRoPE), arXiv 2506.03737", "recompute", comrope_ap()),
      row("pope", "Polar coordinate embedding", {"shape", "rotary"}, true, 2025, "Gopalakrishnan et al. 2025, arXiv 2509.10534", "recompute", pope()),
      row("alibi", "Linear biases on the raster", {"bias"}, false, 2021, "Press et al. 2022, arXiv 2108.12409", "recompute", alibi()),
      row("alibi_2d", "Linear biases in the plane", {"bias"}, false, 2023, "Fuller et al. 2023 (CROMA), arXiv 2311.00566", "recompute", alibi_2d()),
      row("t5", "Bucketed relative bias", {"bias"}, true, 2019, "Raffel et al. 2020, arXiv 1910.10683", "clip", t5()),
      row("t5_axial", "Bucketed relative bias per axis", {"bias"}, true, 2019, "Raffel et al. 2020, one table an axis", "clip", t5_axial()),
      row("kerple_log", "KERPLE, logarithmic", {"bias"}, true, 2022, "Chi et al. 2022, arXiv 2205.09921", "recompute", kerple_log()),
      row("kerple_power", "KERPLE, power", {"bias"}, true, 2022, "Chi et al. 2022, arXiv 2205.09921", "recompute", kerple_power()),
      row("fire", "Functional interpolation", {"bias"}, true, 2023, "Li et al. 2024, arXiv 2310.04418", "recompute", fire()),
      row("levit", "Bias of the unsigned offset", {"bias"}, true, 2021, "Graham et al. 2021 (LeViT), arXiv 2104.01136", "interpolate", levit()),
      row("gpsa", "Gated positional self-attention", {"mix"}, true, 2021, "d'Ascoli et al. 2021 (ConViT), arXiv 2103.10697", "recompute", gpsa()),
      row("lookhere", "Heads that look one way", {"bias"}, false, 2024, "Fuller et al. 2024, arXiv 2405.13985", "recompute", lookhere()),
      row("factorised", "A learned table for each axis", {"tokens"}, true, 2023, "Dehghani et al. 2023 (NaViT), arXiv 2307.06304", "interpolate", factorised()),
      row("pape", "Parabolas of each token", {"query"}, true, 2026, "Koo Ohrstrom et al. 2026, arXiv 2602.01418", "recompute", pape()),
      row("pape_ri", "Parabolas of each token, alike in all directions", {"query"}, true, 2026, "Koo Ohrstrom et al. 2026, arXiv 2602.01418", "recompute", pape_ri()),
      row("content_alibi", "Linear biases with a slope for each token", {"query"}, true, 2026, "ours, after Press et al. 2022", "recompute", content_alibi()),
      row("forget", "Gates summed along the raster", {"query", "key"}, true, 2025, "Lin et al. 2025 (FoX), arXiv 2503.02130", "recompute", forget()),
      row("forget_profiles", "Gates summed along the axes", {"query", "key"}, true, 2026, "ours, after Lin et al. 2025", "recompute", forget_profiles()),
  };
}
// clang-format on

// A list is never changed or freed: who walks positions(), or holds a row in an encoding's recipe, may do so while another is added.
struct Table {
  std::mutex adding;
  std::deque<std::vector<PositionRow>> lists{built_in()};
  std::deque<std::string> texts;  // of added rows, whose pointers may come from strings that die
  std::atomic<const std::vector<PositionRow>*> now{&lists.back()};
  const char* keep(const char* text) { return texts.emplace_back(text ? text : "").c_str(); }
};
Table& table() {
  static auto* t = new Table;  // never destroyed: an encoding may be built after main
  return *t;
}

}  // namespace

const std::vector<PositionRow>& positions() { return *table().now.load(std::memory_order_acquire); }

void add_position(PositionRow new_row) {
  const std::string_view name = new_row.name ? new_row.name : "";
  if (name.empty() || name.find_first_of("+.") != std::string_view::npos) {
    fail("add_position", "\"{}\" cannot be a name: it must not be empty or contain '+' or '.'", name);
  }
  if (!new_row.make) fail("add_position", "{} has no `make`, which builds it", name);
  Table& t = table();
  std::lock_guard guard(t.adding);
  std::vector<PositionRow> rows = t.lists.back();
  if (std::ranges::any_of(rows, [&](const auto& r) { return name == r.name; })) fail("add_position", "{} exists", name);
  for (const char** text : {&new_row.name, &new_row.title, &new_row.reference, &new_row.resolution})
    *text = t.keep(*text);
  rows.push_back(std::move(new_row));
  t.now.store(&t.lists.emplace_back(std::move(rows)), std::memory_order_release);
}

}  // namespace TESSERA_NS
}  // namespace tessera
