// Views, terms and the checks of every call.
#include "tessera/core/ops/attention/attention.h"

#include "tessera/core/ops/attention/call.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

constexpr const char* kinds[] = {"bias", "query", "key", "value", "gate"};

void check_view(const char* what, const Heads& x) {
  if (!x.x || x.x.rank() != 3 || x.x.dim(1) != x.tokens || x.x.dim(2) != x.stride || x.heads < 1 || x.d < 1 ||
      x.offset < 0 || x.offset + x.heads * x.d > x.stride)
    fail("attention", "{} is {} read as {} tokens of {} heads of width {} at {} of {}; make views with heads()", what,
         x.x ? x.x.shape().str() : "empty", x.tokens, x.heads, x.d, x.offset, x.stride);
}

void check_indices(const char* what, const Index& at, size_t size, int end) {
  if (at.size() != size) fail("attention", "the pattern has {} {} but its groups need {}", at.size(), what, size);
  for (const int32_t t : at)
    if (t < -1 || t >= end) fail("attention", "the pattern's {} hold token {} but there are {}", what, t, end);
}

void check_pattern(const Pattern& p, const Heads& q, const Heads& k) {
  const auto queries = static_cast<size_t>(p.groups) * static_cast<size_t>(p.n);
  const auto keys = static_cast<size_t>(p.groups) * static_cast<size_t>(p.m);
  check_indices("queries", p.q, queries, q.tokens);
  check_indices("keys", p.k, keys, k.tokens);
  Tensor seen = zeros({std::max(q.tokens, 1)});
  for (const int32_t t : p.q)
    if (t >= 0 && seen[t]++ > 0)
      fail("attention", "the pattern holds query token {} twice, so its output is ambiguous", t);
  if ((!p.label_q.empty() || !p.label_k.empty()) && (p.label_q.size() != queries || p.label_k.size() != keys))
    fail("attention", "the pattern labels {} of {} queries and {} of {} keys", p.label_q.size(), queries,
         p.label_k.size(), keys);
}

void check_rotary(const Rotary& r, const Pattern& p, int H, int d) {
  if (!r.cos_q && !r.sin_q && !r.cos_k && !r.sin_k) return;
  const auto table = [&](const char* what, const Tensor& t, int rows) {
    if (!t || t.rank() != 3 || (t.dim(0) != 1 && t.dim(0) != H) || t.dim(1) != rows || t.dim(2) != d / 2 || d % 2)
      fail("attention", "the rotation's {} is {} but must be (1 or {}, {}, {}) for heads of width {}", what,
           t ? t.shape().str() : "missing", H, rows, d / 2, d);
  };
  table("cos_q", r.cos_q, p.n), table("sin_q", r.sin_q, p.n), table("cos_k", r.cos_k, p.m),
      table("sin_k", r.sin_k, p.m);
}

void check_term(const Relative& r, const Pattern& p, int H, int d, int dv) {
  const char* kind = kinds[r.kind];
  if (!r.rho) fail("attention", "a {} term has no index", kind);
  const RelativeIndex& rho = *r.rho;
  const auto pairs = static_cast<size_t>(p.n) * static_cast<size_t>(p.m) * static_cast<size_t>(std::max(rho.groups, 1));
  if (rho.n != p.n || rho.m != p.m || (rho.groups != 1 && rho.groups != p.groups) || rho.at.size() != pairs)
    fail("attention",
         "a {} term's index is for {} x {} pairs in {} groups ({} entries) but the pattern has {} x {} in {}", kind,
         rho.n, rho.m, rho.groups, rho.at.size(), p.n, p.m, p.groups);
  int least = 0, most = -1;
  for (const int32_t x : rho.at) least = std::min(least, x), most = std::max(most, x);
  if (least < -1 || most >= rho.rows)
    fail("attention", "a {} term's index holds row {} of {}", kind, least < -1 ? least : most, rho.rows);
  const Tensor& t = r.table;
  const int width = t && t.rank() == 3 ? t.dim(2) : 0, head = r.kind == Relative::value ? dv : d;
  const bool fits = r.kind == Relative::bias   ? width == 1 && r.first == 0
                    : r.kind == Relative::gate ? (width == 1 || width == d) && r.first == 0
                                               : width >= 1 && r.first >= 0 && r.first + width <= head;
  if (!t || t.rank() != 3 || (t.dim(0) != 1 && t.dim(0) != H) || t.dim(1) != rho.rows || !fits)
    fail("attention", "a {} term's table is {} from channel {} but its index has {} rows for {} heads of width {}",
         kind, t ? t.shape().str() : "empty", r.first, rho.rows, H, head);
}

}  // namespace

Terms& Terms::add(Relative r) {
  if (count == most) fail("attention", "more than {} relative terms in one attention", most);
  relative[static_cast<size_t>(count++)] = std::move(r);
  return *this;
}

Terms& Terms::append(const Terms& o) {
  if (o.rotary.cos_q) {
    if (rotary.cos_q) fail("attention", "two rotary encodings in one attention; compose at most one");
    rotary = o.rotary;
  }
  for (int i = 0; i < o.count; ++i) add(o.relative[static_cast<size_t>(i)]);
  return *this;
}

Heads heads(const Tensor& x, int H) { return heads(x, H, 0, 1); }

Heads heads(const Tensor& x, int H, int part, int parts) {
  const auto [B, N, C] = x.dims<3>();
  static_cast<void>(B);
  if (H < 1 || parts < 1 || part < 0 || part >= parts || C % (int64_t{H} * parts))
    fail("heads", "{} does not split into {} parts of {} heads (part {})", x.shape().str(), parts, H, part);
  const int width = C / parts;
  return {x, part * width, C, H, width / H, N};
}

Call check(const Heads& q, const Heads& k, const Heads& v, const Pattern& who, const Terms& where, double scale,
           const DropoutSpec& dropout, std::span<const int32_t> lengths, const Run& run) {
  check_view("q", q), check_view("k", k), check_view("v", v);
  const int B = q.x.dim(0);
  if (k.x.dim(0) != B || v.x.dim(0) != B || k.heads != q.heads || v.heads != q.heads || k.d != q.d ||
      v.tokens != k.tokens)
    fail("attention", "q is {} samples of {} heads of width {}, k {} of {} of {}, v {} of {}; {} keys but {} values", B,
         q.heads, q.d, k.x.dim(0), k.heads, k.d, v.x.dim(0), v.heads, k.tokens, v.tokens);
  check_pattern(who, q, k);
  check_rotary(where.rotary, who, q.heads, q.d);
  for (int t = 0; t < where.count; ++t) check_term(where.relative[static_cast<size_t>(t)], who, q.heads, q.d, v.d);
  if (!(dropout.p >= 0 && dropout.p < 1)) fail("attention", "dropout {} is not in [0, 1)", dropout.p);
  Call c{q, k, v, &who, where, static_cast<real>(scale), dropout, run, {}};
  if (!lengths.empty()) {
    if (lengths.size() != static_cast<size_t>(B)) fail("attention", "{} lengths for {} samples", lengths.size(), B);
    c.lengths = Tensor({B});
    for (int b = 0; b < B; ++b) c.lengths[b] = static_cast<real>(lengths[static_cast<size_t>(b)]);
  }
  return c;
}

double Call::macs() const {
  const double rows = static_cast<double>(batch()) * q.heads * who->groups * who->n, pairs = rows * who->m;
  double sum = pairs * (q.d + v.d);
  for (int t = 0; t < where.count; ++t) {
    const Relative& r = where.relative[static_cast<size_t>(t)];
    const double width = r.table.dim(2);
    if (r.kind == Relative::query || r.kind == Relative::value) sum += rows * r.rho->rows * width;
    if (r.kind == Relative::key)
      sum += static_cast<double>(batch()) * q.heads * who->groups * who->m * r.rho->rows * width;
    if (r.kind == Relative::gate) sum += pairs * width;
  }
  return sum;
}

}  // namespace TESSERA_NS
}  // namespace tessera
