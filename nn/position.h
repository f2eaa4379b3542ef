#pragma once
// A position encoding is one file under nn/position and one row of nn/position/registry.cpp; no model knows any of them.
// It may act through six functions and overrides only those it needs. Geometry is said by four small structs, free of `real`.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/core/ops/attention/attention.h"
#include "tessera/nn/options.h"
#include "tessera/nn/params.h"

namespace tessera {

/// Where tokens sit: h x w in raster order after `prefix` class tokens.
struct Grid {
  int h = 0, w = 0, prefix = 0;
  bool sequence = false;  ///< of a text or frames: a shorter one begins a longer one, where a map is a coarser picture
  int tokens() const { return prefix + h * w; }
  auto operator<=>(const Grid&) const = default;
};
/// 0 x 0: global attention. Else windows of h x w cells, cyclically shifted.
struct Window {
  int h = 0, w = 0, shift_y = 0, shift_x = 0;
  auto operator<=>(const Window&) const = default;
};
/// The geometry of ONE attention call. Keys of a reduced grid sit at floor(y / reduce). cross: keys of another sequence.
struct Layout {
  Grid q, k;
  Window window;
  int reduce = 1;
  bool cross = false;
  int q_from = 0;  ///< the place of the first query among the keys of a sequence: a memory stands before it
  auto operator<=>(const Layout&) const = default;

  /// Every token of one map sees every other.
  static Layout global(const Grid& g) { return {g, g, {}, 1, false}; }
  /// A sequence of T tokens: a map of one row.
  static Layout sequence(int T) { return global({1, T, 0, true}); }
  /// The last T tokens of a sequence of memory + T ask; all of them answer.
  static Layout remembering(int memory, int T) {
    return {{1, T, 0, true}, {1, memory + T, 0, true}, {}, 1, false, memory};
  }
  /// Inside of windows of one map.
  static Layout windowed(const Grid& g, const Window& window) { return {g, g, window, 1, false}; }
  /// Keys of a map that is `reduce` times smaller a side, rounded down or up (PVT, CvT).
  static Layout reduced(const Grid& q, const Grid& k, int reduce) { return {q, k, {}, reduce, false}; }
  /// Keys of another sequence, where relative positions mean nothing.
  static Layout between(const Grid& q, const Grid& k) { return {q, k, {}, 1, true}; }
};
/// One attention of a model. path + ".relative_position_bias_table" is the parameter's name in timm.
struct Site {
  int id = 0, stage = 0, block = 0, dim = 0, heads = 0, head_dim = 0;
  double scale = 1;  ///< of the logits; 0: linear attention, which has none
  Layout trained;    ///< the geometry the model is built for; a call's own Layout decides on a resize
  std::string path;  ///< "blocks.3.attn"
  bool causal = false, no_self = false;  ///< no token sees one after it; none sees itself
};
/// A place outside of attention: after a patch embedding, or between blocks. The model names it.
struct Spot {
  int id = 0, stage = 0, block = 0, dim = 0;
  Grid trained;
  std::string name;  ///< "pos_embed", "pos_block.0"
};
/// All places of a model, from its configuration alone: no weights are built.
struct Places {
  std::vector<Site> sites;
  std::vector<Spot> tokens;  ///< one per patch embedding
  std::vector<Spot>
      between;  ///< before each block and after the last of each stage; block counts 0..depth inside the stage

  /// The place that a part of a model was built for, by what the model calls it. Throws Error where there is none.
  const Site& site(std::string_view path) const;
  const Spot& gap(int stage, int block) const;
};

/// Coordinates of the query and key slots of one group in query cells; {-1, -1} = class token. Reduced keys: key cells.
struct Coords {
  struct Cell {
    int y, x;
    bool prefix() const { return y < 0; }
  };
  std::vector<Cell> q, k;
};
/// In a window: window-local. Over reduced keys the queries are divided by `reduce` (floor), and never beyond the last key cell.
Coords coords(const Layout& now);

inline namespace TESSERA_NS {

/// The inputs of the projections of one attention, queries' and keys': (B, tokens, dim). The same tensor in self-attention.
struct Tokens {
  Tensor q, k;
};

struct PositionEncoding {
  virtual ~PositionEncoding() = default;
  /// After EVERY patch embedding: x (B, tokens, dim) -> the same shape.
  virtual Tensor tokens(const Spot&, const Grid& now, const Tensor& x, const Run&) const;
  /// Before each block and after the last of each stage.
  virtual Tensor between(const Spot&, const Grid& now, const Tensor& x, const Run&) const;
  /// Rotation and relative terms of one attention. Query and key terms meet q and k as shape() left them.
  virtual Terms terms(const Site&, const Layout& now, const Tokens&, const Run&) const;
  /// Queries, keys and values in the form in which they attend: another basis or width, a nonlinear map. Undone by unshape() on the
  /// mixed values (B, tokens, H d). By default both change nothing.
  virtual Query shape(const Site&, const Layout& now, const Query&, const Tokens&, const Run&) const;
  virtual Tensor unshape(const Site&, const Layout& now, const Tensor& mixed, const Tokens&, const Run&) const;
  /// How they mix, given the terms of every part of a composition; by default attention(query, all, run). GPSA mixes two of them.
  virtual Tensor mix(const Site&, const Layout& now, const Query&, const Terms& all, const Tokens&, const Run&) const;

  /// The attention of a model: unshape(mix(shape(query), terms)). Between different sequences (now.cross) it is attention alone: there
  /// relative positions mean nothing, whatever the encoding.
  Tensor attend(const Site&, const Layout& now, const Query&, const Tokens&, const Run&) const;

  /// The parameter `name`, with values made for geometry `from`, as it is for `to` (another window or size); used at the call and at
  /// load. Differentiable. `param` itself when both ask for the same table, and by default: most tables have a size of their own.
  /// Throws Error where there is no rule, or when `param` is not of the size that `from` asks for.
  virtual Tensor resample(std::string_view name, const Tensor& param, const Layout& from, const Layout& to) const;
  /// What changes when weights of a model with places `from` move into one with places `to` although every table fits: some options
  /// count coordinates in units of the geometry a model is built for. One sentence, or "".
  virtual std::string unit_warning(const Places& from, const Places& to) const;
};

/// Builds an encoding for a model's places; parameters are created in `net`, the model's root scope.
using MakePosition = std::function<std::unique_ptr<PositionEncoding>(const Scope& net, const Places&)>;

/// A row of the registry.
struct PositionRow {
  const char* name;                ///< "rope_axial"
  const char* title;               ///< "Axial rotary embedding"
  std::vector<std::string> hooks;  ///< of tokens, between, rotary, bias, query, key, value, gate, shape, mix
  bool trainable;
  int year;
  const char* reference;   ///< "Heo et al. 2024, arXiv 2403.13298"
  const char* resolution;  ///< recompute, interpolate, clip or none
  /// Options with their defaults (for --help, recipes and checks).
  Options defaults;
  /// Throws Error when the options make no sense.
  std::function<MakePosition(const Options&)> make;
  /// Why this encoding cannot run in a model with these places; "" if it can.
  std::function<std::string(const Places&, const Options&)> refuses;
  std::map<std::string, std::string, std::less<>> help = {};  ///< one line for each key of `defaults`
  Domains domains = {};                                       ///< the values each key takes
};

/// All rows, in the order of the spec. A program may add its own with add_position(), from any thread and at any time: lists and rows
/// seen before stay as they are. Throws Error if the name is taken, empty or holds '+' or '.', or if the row has no `make`.
const std::vector<PositionRow>& positions();
void add_position(PositionRow row);
/// "rope_axial", or a composition "learned+rope_axial" (token hooks in order, terms appended, at most one mix). Options are
/// the encoding's own; for a composition "NAME.KEY". Unknown names throw Error with the nearest known one.
MakePosition position(std::string_view name, const Options& options = {});
/// Throws Error when these options make no sense, or when a model with these places cannot have them; builds nothing.
void check_position(std::string_view name, const Options& options, const Places& at);
/// Why a model with these positions runs only at the size it is built for, one sentence; "" if it runs at others too. Throws Error on
/// unknown names.
std::string fixed_size(std::string_view name);
/// The same of one row.
std::string fixed_size(const PositionRow& row);

}  // namespace TESSERA_NS
}  // namespace tessera
