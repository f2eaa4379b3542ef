#include "tessera/nn/position.h"

#include <algorithm>

#include "tessera/nn/sequences.h"

namespace tessera {
inline namespace TESSERA_NS {

// ---- what an encoding does unless it says otherwise ---------------------------------------------------------------

Tensor PositionEncoding::tokens(const Spot&, const Grid&, const Tensor& x, const Run&) const { return x; }
Tensor PositionEncoding::between(const Spot&, const Grid&, const Tensor& x, const Run&) const { return x; }
Terms PositionEncoding::terms(const Site&, const Layout&, const Tokens&, const Run&) const { return {}; }
Query PositionEncoding::shape(const Site&, const Layout&, const Query& query, const Tokens&, const Run&) const {
  return query;
}
Tensor PositionEncoding::unshape(const Site&, const Layout&, const Tensor& mixed, const Tokens&, const Run&) const {
  return mixed;
}
Tensor PositionEncoding::mix(const Site&, const Layout&, const Query& query, const Terms& all, const Tokens&,
                             const Run& run) const {
  return attention(query, all, run);
}

Tensor PositionEncoding::attend(const Site& site, const Layout& now, const Query& query, const Tokens& x,
                                const Run& run) const {
  if (now.cross) return attention(query, {}, run);
  if (longer_than_trained(site.trained.k, now.k, query.lengths))
    return attend_one_by_one(*this, site, now, query, x, run);
  const Query shaped = shape(site, now, query, x, run);
  return unshape(site, now, mix(site, now, shaped, terms(site, now, x, run), x, run), x, run);
}

Tensor PositionEncoding::resample(std::string_view, const Tensor& param, const Layout&, const Layout&) const {
  return param;
}
std::string PositionEncoding::unit_warning(const Places&, const Places&) const { return ""; }

// ---- compositions -------------------------------------------------------------------------------------------------

namespace {

struct Part {
  const PositionRow* row;
  MakePosition make;
  Options options;
  bool has(std::string_view hook) const { return std::ranges::find(row->hooks, hook) != row->hooks.end(); }
};

/// Linear attention has no logits (Site::scale 0); only what acts on tokens, and rotations, mean something there.
void check_logits(const Part& part, const Places& at) {
  if (std::ranges::none_of(at.sites, [](const Site& s) { return s.scale == 0; })) return;
  for (const std::string& hook : part.row->hooks)
    if (hook != "tokens" && hook != "between" && hook != "rotary")
      fail("position " + std::string(part.row->name),
           "it changes the logits of attention ({}), and linear attention has none; encodings of tokens (learned, "
           "sincos2d), rotary ones (rope_axial) and convolutions (peg, cpe) work",
           hook);
}

void check_place(const Part& part, const Places& at) {
  if (at.sites.empty() && at.tokens.empty() && at.between.empty() && part.row->name != std::string_view("none"))
    fail("position " + std::string(part.row->name),
         "this model has neither tokens nor attention, its convolutions know where they are: use --position none");
  check_logits(part, at);
  if (const std::string why = part.row->refuses ? part.row->refuses(at, part.options) : ""; !why.empty()) {
    fail("position " + std::string(part.row->name), "{}", why);
  }
}

std::unique_ptr<PositionEncoding> build(const Part& part, const Scope& net, const Places& at) {
  check_place(part, at);
  return part.make(net, at);
}

/// "a+b": token and between hooks in order, terms appended, heads shaped in order and unshaped in reverse, and the mixing of the one part that has its own.
class Composed final : public PositionEncoding {
 public:
  Composed(const std::vector<Part>& parts, const Scope& net, const Places& at) {
    for (const auto& p : parts) {
      check_place(p, at);
      const auto& entries = net.params().entries();
      const size_t before = entries.size();
      try {
        parts_.push_back(p.make(net, at));
      } catch (const Error& e) {  // two tables of one name
        fail("position", "{} cannot stand beside {}: {}", p.row->name, parts.front().row->name, e.what());
      }
      for (size_t i = before; i < entries.size(); ++i) owners_[entries[i].name] = parts_.back().get();
      if (p.has("mix")) mixes_ = parts_.back().get();
    }
    if (at.sites.empty()) return;
    check_values(parts, at.sites.front());
    check_shapes(parts, at.sites.front());
  }
  Tensor tokens(const Spot& spot, const Grid& now, const Tensor& x, const Run& run) const override {
    Tensor y = x;
    for (const auto& p : parts_) y = p->tokens(spot, now, y, run);
    return y;
  }
  Tensor between(const Spot& spot, const Grid& now, const Tensor& x, const Run& run) const override {
    Tensor y = x;
    for (const auto& p : parts_) y = p->between(spot, now, y, run);
    return y;
  }
  Terms terms(const Site& site, const Layout& now, const Tokens& x, const Run& run) const override {
    Terms all;
    for (const auto& p : parts_) all.append(p->terms(site, now, x, run));
    return all;
  }
  Query shape(const Site& site, const Layout& now, const Query& query, const Tokens& x, const Run& run) const override {
    Query shaped = query;
    for (const auto& p : parts_) shaped = p->shape(site, now, shaped, x, run);
    return shaped;
  }
  Tensor unshape(const Site& site, const Layout& now, const Tensor& mixed, const Tokens& x,
                 const Run& run) const override {
    Tensor o = mixed;
    for (auto p = parts_.rbegin(); p != parts_.rend(); ++p) o = (*p)->unshape(site, now, o, x, run);
    return o;
  }
  Tensor mix(const Site& site, const Layout& now, const Query& query, const Terms& all, const Tokens& x,
             const Run& run) const override {
    return mixes_ ? mixes_->mix(site, now, query, all, x, run) : PositionEncoding::mix(site, now, query, all, x, run);
  }
  Tensor resample(std::string_view name, const Tensor& param, const Layout& from, const Layout& to) const override {
    const auto owner = owners_.find(name);
    return owner == owners_.end() ? param : owner->second->resample(name, param, from, to);
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    std::string all;
    for (const auto& p : parts_)
      if (const std::string one = p->unit_warning(from, to); !one.empty()) all += (all.empty() ? "" : "; ") + one;
    return all;
  }

 private:
  /// A rotation that turns values leaves no place for value terms. Whether there are any only terms() knows: options decide.
  void check_values(const std::vector<Part>& parts, const Site& s) const {
    const auto any = [&](const char* hook) {
      return std::ranges::any_of(parts, [&](const Part& p) { return p.has(hook); });
    };
    if (!any("rotary") || !any("value")) return;
    const Tokens x{zeros({1, s.trained.q.tokens(), s.dim}), zeros({1, s.trained.k.tokens(), s.dim})};
    const char *turns = nullptr, *adds = nullptr;
    for (size_t i = 0; i < parts.size(); ++i) {
      const Terms own = parts_[i]->terms(s, s.trained, x, {});
      if (own.rotary.values) turns = parts[i].row->name;
      for (int t = 0; t < own.count; ++t)
        if (own.relative[static_cast<size_t>(t)].kind == Relative::value) adds = parts[i].row->name;
    }
    if (turns && adds)
      fail("position", "{} turns the values and would turn what {} adds to them: leave out one, or say values=false",
           turns, adds);
  }

  /// A part that makes heads wider may leave no place for matrices or gates of the width of a head: one call on a sample of zeros decides.
  void check_shapes(const std::vector<Part>& parts, const Site& s) const {
    const auto acts = [](const Part& p) {
      return std::ranges::any_of(p.row->hooks, [](const auto& h) { return h != "tokens" && h != "between"; });
    };
    if (std::ranges::none_of(parts, [](const Part& p) { return p.has("shape"); })) return;
    if (std::ranges::count_if(parts, acts) < 2 || s.trained.cross) return;
    const Layout now = s.trained.window.h ? Layout::global({s.trained.window.h, s.trained.window.w, 0}) : s.trained;
    const int n = now.q.tokens(), m = now.k.tokens(), width = s.heads * s.head_dim;
    const Tensor q = zeros({1, n, width}), k = zeros({1, m, width});
    const Query query(heads(q, s.heads), heads(k, s.heads), heads(k, s.heads), global_pattern(n, m), s.scale);
    try {
      attend(s, now, query, {zeros({1, n, s.dim}), zeros({1, m, s.dim})}, {});
    } catch (const Error& e) {
      std::string names;
      for (const Part& p : parts) names += (names.empty() ? "" : " and ") + std::string(p.row->name);
      fail("position", "{} do not fit each other in this order ({}): leave one out", names, e.what());
    }
  }

  std::vector<std::unique_ptr<PositionEncoding>> parts_;
  std::map<std::string, const PositionEncoding*, std::less<>> owners_;  // by parameter
  const PositionEncoding* mixes_ = nullptr;
};

const PositionRow& row_of(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& r : positions()) {
    if (name == r.name) return r;
    names.emplace_back(r.name);
  }
  unknown("position", name, names);
}

std::vector<const PositionRow*> rows_of(std::string_view names) {
  std::vector<const PositionRow*> rows;
  for (size_t from = 0; from <= names.size();) {
    const size_t plus = std::min(names.find('+', from), names.size());
    rows.push_back(&row_of(names.substr(from, plus - from)));
    from = plus + 1;
  }
  return rows;
}

void check_composition(const std::vector<Part>& parts) {
  const Part *rotates = nullptr, *mixes = nullptr;
  for (const auto& p : parts) {
    for (const auto& other : parts) {
      if (&other != &p && other.row == p.row) fail("position", "{} is named twice", p.row->name);
    }
    if (p.has("rotary")) {
      if (rotates)
        fail("position", "{} and {} both rotate queries and keys; one rotation is possible", rotates->row->name,
             p.row->name);
      rotates = &p;
    }
    if (p.has("mix")) {
      if (mixes) fail("position", "{} and {} both replace the attention; one may", mixes->row->name, p.row->name);
      mixes = &p;
    }
  }
  if (!mixes) return;
  for (const auto& p : parts) {
    const bool terms =
        std::ranges::any_of(p.row->hooks, [](const auto& h) { return h != "tokens" && h != "between" && h != "mix"; });
    if (&p != mixes && terms) {
      fail("position", "{} computes the attention itself and would ignore the terms of {}", mixes->row->name,
           p.row->name);
    }
  }
}

/// The row's defaults with the values given for it: "KEY" when it stands alone, "NAME.KEY" always.
Options options_of(const PositionRow& row, bool alone, const Options& given) {
  Options own = row.defaults;
  const std::string prefix = std::string(row.name) + ".";
  for (const auto& [key, value] : given) {
    const bool named = key.starts_with(prefix);
    if (!named && !alone) continue;
    const std::string bare = named ? key.substr(prefix.size()) : key;
    const auto it = own.find(bare);
    if (it == own.end()) {
      std::vector<std::string> names;
      for (const auto& d : row.defaults) names.push_back(d.first);
      unknown("position " + std::string(row.name), bare, names);
    }
    const auto domain = row.domains.find(bare);
    it->second = convert("position." + bare, value, it->second, domain == row.domains.end() ? Domain{} : domain->second,
                         "position " + std::string(row.name));
  }
  return own;
}

void check_prefixes(const std::vector<const PositionRow*>& rows, const Options& given) {
  for (const auto& [key, value] : given) {
    const bool owned =
        std::ranges::any_of(rows, [&k = key](const auto* r) { return k.starts_with(std::string(r->name) + "."); });
    if (!owned) fail("position", "say whose option {} is: {}.{}", key, rows.front()->name, key);
  }
}

}  // namespace

namespace {

std::vector<Part> parts_of(std::string_view name, const Options& options) {
  const auto rows = rows_of(name);
  const bool alone = rows.size() == 1;
  if (!alone) check_prefixes(rows, options);
  std::vector<Part> parts;
  for (const auto* r : rows) {
    Options own = options_of(*r, alone, options);
    MakePosition make = r->make(own);
    parts.push_back({r, std::move(make), std::move(own)});
  }
  check_composition(parts);
  return parts;
}

}  // namespace

MakePosition position(std::string_view name, const Options& options) {
  const std::vector<Part> parts = parts_of(name, options);
  if (parts.size() == 1) return [part = parts[0]](const Scope& net, const Places& at) { return build(part, net, at); };
  return [parts](const Scope& net, const Places& at) { return std::make_unique<Composed>(parts, net, at); };
}

void check_position(std::string_view name, const Options& options, const Places& at) {
  for (const Part& part : parts_of(name, options)) check_place(part, at);
}

std::string fixed_size(const PositionRow& row) {
  if (row.resolution != std::string_view("none")) return "";
  return fmt::format("{} has no rule for another resolution: the model runs at the size it is built for", row.name);
}

std::string fixed_size(std::string_view name) {
  for (const auto* row : rows_of(name))
    if (std::string why = fixed_size(*row); !why.empty()) return why;
  return "";
}

}  // namespace TESSERA_NS
}  // namespace tessera
