// What attention looks at: entropies, distances and mean maps, of the weights as the probe sees them.
//   entropy of a query    -sum_j p_ij log p_ij / log(number of keys it sees); 1: it looks at all of them alike
//   distance of a query   sum_j p_ij |cell_i - cell_j| / sum_j p_ij over the keys that are cells, in cells of the queries' map
// Both are means over queries, samples and calls. Class tokens have no cell: they take part in entropies, and in distances neither ask nor answer.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "tessera/core/parallel.h"
#include "tessera/core/precision.h"
#include "tessera/train/lab/measures_session.h"

namespace tessera::lab {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

constexpr double seen =
    1e-30;  // a weight below is that of a masked key (Swin's code adds -100 to those) or rounds to nothing
constexpr int most_cells = 1024;  // of a map that is drawn

/// The most that weights sum to. In bf16 each is rounded after softmax, by half of 2^-8 at most.
double most() { return precision() == Precision::bf16 ? 1 + 0x1p-8 : 1.001; }

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(double v) { sum += v, ++count; }
  void add(const Mean& o) { sum += o.sum, count += o.count; }
  double value() const { return count ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN(); }
};

/// Where a query stands whose weights are drawn; y < 0: the class token.
struct Asker {
  int y, x;
};
std::vector<Asker> askers(const Grid& g) {
  std::vector<Asker> all{{0, 0}, {g.h / 2, g.w / 2}};
  if (g.prefix) all.push_back({-1, -1});
  return all;
}

/// One attention, over some samples.
struct Block {
  const Site* site = nullptr;
  Layout now;
  std::vector<Mean> entropy, distance;  // by head
  std::vector<double> maps;             // [head, asker, key cell], sums over calls
  std::vector<Mean> offsets;            // [2 h - 1, 2 w - 1]
  int64_t calls = 0;
  bool proper = true;  // are these weights?

  void add(const Block& o) {
    if (!site) *this = Block{o.site, o.now, {}, {}, {}, {}, 0, true};
    const auto sum = [](auto& to, const auto& from, auto plus) {
      to.resize(std::max(to.size(), from.size()));
      for (size_t i = 0; i < from.size(); ++i) plus(to[i], from[i]);
    };
    const auto means = [](Mean& a, const Mean& b) { a.add(b); };
    sum(entropy, o.entropy, means), sum(distance, o.distance, means), sum(offsets, o.offsets, means);
    sum(maps, o.maps, [](double& a, double b) { a += b; });
    calls += o.calls, proper = proper && o.proper;
  }
};

/// The cells of tokens in cells of the queries' map; none of class tokens.
struct Place {
  double y, x;
};
std::vector<Place> places_of(const Grid& g, int reduce, int from) {
  std::vector<Place> all;
  for (int t = 0; t < g.h * g.w; ++t)
    all.push_back({(t / g.w + 0.5) * reduce - 0.5, (t % g.w + 0.5) * reduce - 0.5 + from});
  return all;
}

/// Weights (1, n, H, m) of one sample.
Block block_of(const Site& site, const Layout& now, const Tensor& weights, bool draw) {
  const auto [B, n, H, m] = weights.dims<4>();
  Block b{&site, now, std::vector<Mean>(at(H)), std::vector<Mean>(at(H)), {}, {}, 1, true};
  const auto from = places_of(now.q, 1, now.q_from), to = places_of(now.k, std::max(1, now.reduce), 0);
  const int pq = now.q.prefix, pk = now.k.prefix, cells = now.k.h * now.k.w;
  const bool drawn = draw && !now.q.sequence && cells <= most_cells, apart = drawn && now.q == now.k;
  const auto who = askers(now.q);
  if (drawn) b.maps.resize(at(H) * who.size() * at(cells));
  if (apart) b.offsets.resize(at((2 * now.q.h - 1) * (2 * now.q.w - 1)));
  const real* p = weights.read().data();
  for (int i = 0; i < n; ++i)
    for (int h = 0; h < H; ++h, p += m) {
      double sum = 0, entropy = 0, on_cells = 0, distance = 0;
      int keys = 0;
      for (int j = 0; j < m; ++j) {
        const auto w = static_cast<double>(p[j]);
        if (!(w >= -1e-4)) b.proper = false;
        if (w <= seen) continue;
        ++keys, sum += w, entropy -= w * std::log(w);
        if (i < pq || j < pk) continue;
        const Place &a = from[at(i - pq)], &c = to[at(j - pk)];
        on_cells += w, distance += w * std::hypot(a.y - c.y, a.x - c.x);
        if (!apart) continue;
        const int dy = (j - pk) / now.k.w - (i - pq) / now.q.w, dx = (j - pk) % now.k.w - (i - pq) % now.q.w;
        b.offsets[at((dy + now.q.h - 1) * (2 * now.q.w - 1) + dx + now.q.w - 1)].add(w);
      }
      if (!(sum < most())) b.proper = false;
      // of p / sum: where absent keys take a part of the weight (zero_pad), those that are there are told from each other
      if (keys > 1) b.entropy[at(h)].add((entropy / sum + std::log(sum)) / std::log(keys));
      if (on_cells > seen) b.distance[at(h)].add(distance / on_cells);
      for (size_t a = 0; drawn && a < who.size(); ++a)
        if (i == (who[a].y < 0 ? 0 : pq + who[a].y * now.q.w + who[a].x))
          for (int j = 0; j < cells; ++j)
            b.maps[(at(h) * who.size() + a) * at(cells) + at(j)] += static_cast<double>(p[pk + j]);
    }
  return b;
}

/// Four digits are what a picture shows.
double rounded(double v) { return std::round(v * 1e5) / 1e5; }
io::Json json_of(double v) { return std::isfinite(v) ? io::Json(rounded(v)) : io::Json(); }
io::Json json_of(const std::vector<Mean>& values) {
  io::Json list = io::Json::array();
  for (const Mean& v : values) list.push_back(json_of(v.value()));
  return list;
}

io::Json maps_of(const Block& b) {
  io::Json maps = io::Json::array();
  if (b.maps.empty()) return maps;
  const auto who = askers(b.now.q);
  const size_t cells = at(b.now.k.h * b.now.k.w);
  for (size_t h = 0; h < b.entropy.size(); ++h)
    for (size_t a = 0; a < who.size(); ++a) {
      io::Json values = io::Json::array();
      for (size_t j = 0; j < cells; ++j)
        values.push_back(json_of(b.maps[(h * who.size() + a) * cells + j] / static_cast<double>(b.calls)));
      maps.push_back({{"head", h},
                      {"query", who[a].y < 0 ? io::Json("class") : io::Json({who[a].y, who[a].x})},
                      {"values", std::move(values)}});
    }
  return maps;
}

io::Json picture_of(const Block& b) {
  const Grid &q = b.now.q, &k = b.now.k;
  io::Json one{{"block", b.site->id},       {"path", b.site->path},          {"q", {q.h, q.w, q.prefix}},
               {"k", {k.h, k.w, k.prefix}}, {"entropy", json_of(b.entropy)}, {"distance", json_of(b.distance)},
               {"maps", maps_of(b)}};
  one["offsets"] =
      b.offsets.empty() ? io::Json() : io::Json{{"h", 2 * q.h - 1}, {"w", 2 * q.w - 1}, {"values", json_of(b.offsets)}};
  return one;
}

/// The attentions of one sample by Site::id.
using Blocks = std::map<int, Block>;
thread_local Blocks* looked_at = nullptr;  // of the sample whose forward pass runs on this thread

}  // namespace

AttentionOf attention_of(Session& s, const data::Source& source, std::span<const int32_t> which, bool maps) {
  constexpr size_t chunk = 16;
  AttentionOf all;
  Blocks sum;
  s.probe.saw = [&](const Site& site, const Layout& now, const Tensor& weights) {
    (*looked_at)[site.id].add(block_of(site, now, weights, maps));
  };
  const auto end_probe = [&](Probe* p) { p->saw = nullptr; };
  const std::unique_ptr<Probe, decltype(end_probe)> probing(&s.probe, end_probe);
  try {
    for (size_t begin = 0; begin < which.size(); begin += chunk) {
      go_on(s.hooks);
      std::vector<Blocks> found(std::min(chunk, which.size() - begin));
      parallel::shards(static_cast<int>(found.size()), [&](int i) {
        Batch batch = data::gather(source, which.subspan(begin + at(i), 1));
        Run run;
        run.first = batch.first = static_cast<int64_t>(begin) + i, batch.of = static_cast<int>(which.size());
        looked_at = &found[at(i)];
        s.net.model->forward(run, s.task->input(batch));
      });
      for (const Blocks& one : found)
        for (const auto& [id, block] : one) sum[id].add(block);
    }
  } catch (const Error& e) {
    all.why_not = e.what();
    return all;
  }
  if (sum.empty()) all.why_not = "the model has no softmax attention among tokens of one map";
  Mean entropy;
  all.blocks = io::Json::array();
  for (const auto& [id, b] : sum) {
    if (!b.proper) all.why_not = fmt::format("what {} mixes values by is no distribution", b.site->path);
    if (maps) all.blocks.push_back(picture_of(b));
    all.block.push_back(id);
    all.distance.emplace_back();
    for (const Mean& d : b.distance) all.distance.back().push_back(d.value());
    Mean heads;
    for (const Mean& e : b.entropy)
      if (e.count) heads.add(e.value());
    if (heads.count) entropy.add(heads.value());
  }
  all.entropy = entropy.value();
  return all;
}

void measure_attention(Session& s) {
  Index which = spread(s.part.size(), s.options.attention_images);
  if (!s.images)
    for (int32_t& i : which) i = s.part[at(i)];
  const data::Source& source = s.images ? static_cast<const data::Source&>(*s.images) : *s.test;
  const AttentionOf of = attention_of(s, source, which, true);
  if (!of.why_not.empty()) {
    s.out.leave_out("attention_entropy", of.why_not), s.out.leave_out("attention_distance", of.why_not);
    return;
  }
  s.out.add("attention_entropy", of.entropy);
  for (size_t b = 0; b < of.distance.size(); ++b)
    for (size_t h = 0; h < of.distance[b].size(); ++h)
      s.out.add(fmt::format("attention_distance.{}.{}", of.block[b], h), of.distance[b][h]);
  s.pictures = {{"format", 1}, {"images", which.size()}, {"blocks", of.blocks}};
}

}  // namespace tessera::lab
