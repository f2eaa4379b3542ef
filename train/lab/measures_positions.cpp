// The encoding is told other places by conjugation: with the tokens laid out as the map would be if their cells were there, the encoding acts
// as ever, and the tokens are put back. Attention between the same tokens remains, since no pattern below sees a difference.
#include "tessera/train/lab/measures_positions.h"

#include <algorithm>
#include <numeric>

namespace tessera::lab {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

constexpr double most_weights = 1 << 25;  // of one attention; every thread holds as many numbers two or three times

/// The token that stands in each place, class tokens in front as they were. Both are their own inverse.
Index told_order(Told what, const Grid& g) {
  Index from(at(g.tokens()));
  std::iota(from.begin(), from.end(), 0);
  for (int y = 0; y < g.h; ++y)
    for (int x = 0; x < g.w; ++x)
      from[at(g.prefix + y * g.w + x)] =
          g.prefix + (what == Told::transposed ? x * g.w + y : (g.h - 1 - y) * g.w + g.w - 1 - x);
  return from;
}

/// Rows of x, (B, rows, width) in memory: row i of sample b is what row from[b][i] was.
template <class F>
Tensor reordered(const Tensor& x, int rows, F from) {
  Tensor y(x.shape());
  const int64_t B = x.dim(0), width = x.size() / (B * rows);
  const real* in = x.read().data();
  real* out = y.data();
  for (int64_t b = 0; b < B; ++b)
    for (int i = 0; i < rows; ++i)
      std::copy_n(in + (b * rows + from(b, i)) * width, width, out + (b * rows + i) * width);
  return y;
}

Tensor reordered(const Tensor& x, const Index& from) {
  return reordered(x, static_cast<int>(from.size()), [&](int64_t, int i) { return from[at(i)]; });
}

Heads reordered(Heads h, const Index& from) {
  h.x = reordered(h.x, from);
  return h;
}

/// Weights instead of values: key j of a head carries a one in its own channel.
Heads one_hot(int B, int H, int m) {
  const Tensor v = zeros({B, m, H * m});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t j = 0; j < m; ++j)
      for (int64_t h = 0; h < H; ++h) v[((b * m + j) * H + h) * m + j] = 1;
  return heads(v, H);
}

class Probed final : public PositionEncoding {
 public:
  Probed(std::unique_ptr<PositionEncoding> inner, const Places& places, const Probe& probe)
      : inner_(std::move(inner)), probe_(probe), first_(places.tokens.empty() ? -1 : places.tokens.front().id) {}

  Tensor tokens(const Spot& spot, const Grid& now, const Tensor& x, const Run& run) const override {
    const Tensor in = spot.id == first_ ? in_order(now, x, run) : x;
    if (silent()) return in;
    return on_places(now, in, [&](const Tensor& t) { return inner_->tokens(spot, now, t, run); });
  }
  Tensor between(const Spot& spot, const Grid& now, const Tensor& x, const Run& run) const override {
    if (silent()) return x;
    return on_places(now, x, [&](const Tensor& t) { return inner_->between(spot, now, t, run); });
  }

  // one attention: shape, terms, mix, unshape. Told other places, all of it happens inside of mix
  Query shape(const Site& s, const Layout& now, const Query& query, const Tokens& x, const Run& run) const override {
    return truthful() ? inner_->shape(s, now, query, x, run) : query;
  }
  Terms terms(const Site& s, const Layout& now, const Tokens& x, const Run& run) const override {
    return truthful() ? inner_->terms(s, now, x, run) : Terms{};
  }
  Tensor unshape(const Site& s, const Layout& now, const Tensor& mixed, const Tokens& x,
                 const Run& run) const override {
    return truthful() ? inner_->unshape(s, now, mixed, x, run) : mixed;
  }
  Tensor mix(const Site& s, const Layout& now, const Query& query, const Terms& all, const Tokens& x,
             const Run& run) const override {
    if (silent()) return attention(query, all, run);
    if (truthful()) {
      if (probe_.saw) probe_.saw(s, now, weights(s, now, query, all, x, run));
      return inner_->mix(s, now, query, all, x, run);
    }
    const Index q = told_order(probe_.told, now.q), k = told_order(probe_.told, now.k);
    const Query moved = query.with(reordered(query.q, q), reordered(query.k, k), reordered(query.v, k));
    return reordered(inner_->attend(s, now, moved, {reordered(x.q, q), reordered(x.k, k)}, run), q);
  }

  Tensor resample(std::string_view name, const Tensor& param, const Layout& from, const Layout& to) const override {
    return inner_->resample(name, param, from, to);
  }
  std::string unit_warning(const Places& from, const Places& to) const override {
    return inner_->unit_warning(from, to);
  }

 private:
  bool truthful() const { return probe_.told == Told::true_ones; }
  bool silent() const { return probe_.told == Told::none; }

  template <class F>
  Tensor on_places(const Grid& now, const Tensor& x, F f) const {
    if (truthful()) return f(x);
    const Index from = told_order(probe_.told, now);
    return reordered(f(reordered(x, from)), from);
  }

  Tensor in_order(const Grid& now, const Tensor& x, const Run& run) const {
    if (probe_.order == TokenOrder::kept) return x;
    const int cells = now.h * now.w, B = x.dim(0);
    std::vector<Index> from;
    const bool each = probe_.order == TokenOrder::each_its_own;
    for (int b = 0; b < (each ? B : 1); ++b) {
      const auto sample = each ? static_cast<uint64_t>(run.first + b) : 0;
      from.push_back(shuffled(cells, rng::Stream(rng::mix(probe_.seed) + sample)));
    }
    return reordered(x, now.tokens(), [&](int64_t b, int i) {
      return i < now.prefix ? i : now.prefix + from[at(b) % from.size()][at(i - now.prefix)];
    });
  }

  /// Whatever mixes values linearly, mixes these into its weights.
  Tensor weights(const Site& s, const Layout& now, const Query& query, const Terms& all, const Tokens& x,
                 const Run& run) const {
    Terms logits;
    logits.rotary = all.rotary, logits.rotary.values = false, logits.visible = all.visible;
    for (int t = 0; t < all.count; ++t)
      if (const Relative& r = all.relative[at(t)]; r.kind != Relative::value) logits.add(r);
    const int B = query.q.x.dim(0), H = query.q.heads, m = query.k.tokens;
    if (double(B) * H * m * std::max(m, query.q.tokens) > most_weights)
      fail("measure", "{} tokens with {} heads are too many for their attention weights to be looked at", m, H);
    return inner_->mix(s, now, query.with(query.q, query.k, one_hot(B, H, m)), logits, x, run)
        .reshape({B, query.q.tokens, H, m});
  }

  std::unique_ptr<PositionEncoding> inner_;
  const Probe& probe_;
  int first_;  // Spot::id of the first patch embedding
};

/// Does a window see the same pairs on the map seen from the other corner?
bool same_reversed(int extent, int window, int shift) {
  return extent % window == 0 && (shift == 0 || 2 * shift == window);
}

}  // namespace

Index shuffled(int n, rng::Stream stream) {
  Index order(at(n));
  std::iota(order.begin(), order.end(), 0);
  for (int i = n - 1; i > 0; --i)
    std::swap(order[at(i)], order[at(stream.below(static_cast<uint64_t>(i), static_cast<uint32_t>(i) + 1))]);
  return order;
}

std::string cannot_tell(Told what, const Places& places) {
  if (what == Told::true_ones || what == Told::none) return "";
  if (places.sites.empty() && places.tokens.empty()) return "the model has no tokens";
  std::vector<Grid> maps;
  for (const Spot& s : places.tokens) maps.push_back(s.trained);
  for (const Spot& s : places.between) maps.push_back(s.trained);
  for (const Site& s : places.sites) maps.push_back(s.trained.q), maps.push_back(s.trained.k);
  const bool transposed = what == Told::transposed;
  for (const Grid& g : maps) {
    if (g.sequence) return "tokens of a sequence have no rows and columns, and each sequence ends elsewhere";
    if (transposed && g.h != g.w)
      return fmt::format("a map of {} x {} cells has another shape when transposed", g.h, g.w);
  }
  for (const Site& s : places.sites) {
    const Window& w = s.trained.window;
    if (s.scale == 0) return "linear attention has no logits; its rotation is all that knows places";
    if (s.causal) return "tokens do not see those after them, so the order is known without an encoding";
    if (w.h == 0) continue;
    const Grid& g = s.trained.q;
    if (transposed && (w.h != w.w || w.shift_y != w.shift_x))
      return fmt::format("windows of {} x {} cells hold other tokens when transposed", w.h, w.w);
    if (!transposed && !(same_reversed(g.h, w.h, w.shift_y) && same_reversed(g.w, w.w, w.shift_x)))
      return fmt::format("windows of {} x {} cells on {} x {}, shifted by {}, hold other tokens when reversed", w.h,
                         w.w, g.h, g.w, w.shift_y);
  }
  return "";
}

MakePosition probed(MakePosition make, const Probe& probe) {
  return [make = std::move(make), &probe](const Scope& net, const Places& places) {
    return std::make_unique<Probed>(make(net, places), places, probe);
  };
}

}  // namespace tessera::lab
