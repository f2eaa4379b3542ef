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

void check_rotary(const Terms& where, const Pattern::Spec& p, int H, int d, int dv) {
  const Rotary& r = where.rotary;
  if (r.values) {
    if (d != dv) fail("attention", "the rotation turns values, too, but they are {} wide and queries {}", dv, d);
    for (int t = 0; t < where.count; ++t)
      if (where.relative[static_cast<size_t>(t)].kind == Relative::value)
        fail("attention",
             "the rotation turns values, and a value term would be turned with them; only one of both is possible");
  }
  if (!r.cos_q && !r.sin_q && !r.cos_k && !r.sin_k) return;
  const auto table = [&](const char* what, const Tensor& t, int rows) {
    if (!t || t.rank() != 3 || (t.dim(0) != 1 && t.dim(0) != H) || t.dim(1) != rows || t.dim(2) != d / 2 || d % 2)
      fail("attention", "the rotation's {} is {} but must be (1 or {}, {}, {}) for heads of width {}", what,
           t ? t.shape().str() : "missing", H, rows, d / 2, d);
  };
  table("cos_q", r.cos_q, p.n), table("sin_q", r.sin_q, p.n), table("cos_k", r.cos_k, p.m),
      table("sin_k", r.sin_k, p.m);
}

void check_term(const Relative& r, const Query& c) {
  const char* kind = kinds[r.kind];
  if (!r.rho) fail("attention", "a {} term has no index", kind);
  const RelativeIndex::Spec& rho = *r.rho;
  const Pattern::Spec& p = *c.who;
  if (rho.n != p.n || rho.m != p.m || (rho.groups != 1 && rho.groups != p.groups))
    fail("attention", "a {} term's index is for {} x {} pairs in {} groups but the pattern has {} x {} in {}", kind,
         rho.n, rho.m, rho.groups, p.n, p.m, p.groups);
  const Tensor& t = r.table;
  const bool aside = r.kind == Relative::query || r.kind == Relative::key;
  if ((r.side && !aside) || (r.outside && !r.side))
    fail("attention", "a {} term cannot {}: that is for query and key terms with a side projection", kind,
         r.side ? "have a side projection" : "stand outside of scale");
  const int width = t && t.rank() == 3 ? t.dim(2) : 0;
  const int head = r.side ? r.side.d : r.kind == Relative::value ? c.v.d : c.q.d;
  const bool fits = r.kind == Relative::bias   ? width == 1 && r.first == 0
                    : r.kind == Relative::gate ? (width == 1 || width == c.q.d) && r.first == 0
                    : r.side                   ? width == head && r.first == 0
                                               : width >= 1 && r.first >= 0 && r.first + width <= head;
  if (!t || t.rank() != 3 || (t.dim(0) != 1 && t.dim(0) != c.q.heads) || t.dim(1) != rho.rows || !fits)
    fail("attention", "a {} term's table is {} from channel {} but its index has {} rows for {} heads of width {}",
         kind, t ? t.shape().str() : "empty", r.first, rho.rows, c.q.heads, head);
  if (!r.side) return;
  check_view("a side projection", r.side);
  const Heads& of = r.kind == Relative::query ? c.q : c.k;
  if (r.side.x.dim(0) != of.x.dim(0) || r.side.tokens != of.tokens || r.side.heads != of.heads)
    fail("attention", "a {} term's side projection has {} samples of {} tokens in {} heads, expected {} of {} in {}",
         kind, r.side.x.dim(0), r.side.tokens, r.side.heads, of.x.dim(0), of.tokens, of.heads);
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
  if (o.visible) {
    if (visible) fail("attention", "two masks per head in one attention; compose at most one");
    visible = o.visible;
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

Query::Query(Heads queries, Heads keys, Heads values, Pattern pattern, double factor, const DropoutSpec& drop,
             std::span<const int32_t> valid)
    : q(std::move(queries)),
      k(std::move(keys)),
      v(std::move(values)),
      who(std::move(pattern)),
      scale(factor),
      dropout(drop),
      lengths(valid) {
  check_view("q", q), check_view("k", k), check_view("v", v);
  const int B = q.x.dim(0);
  if (k.x.dim(0) != B || v.x.dim(0) != B || k.heads != q.heads || v.heads != q.heads || k.d != q.d ||
      v.tokens != k.tokens)
    fail("attention", "q is {} samples of {} heads of width {}, k {} of {} of {}, v {} of {}; {} keys but {} values", B,
         q.heads, q.d, k.x.dim(0), k.heads, k.d, v.x.dim(0), v.heads, k.tokens, v.tokens);
  if (!who) fail("attention", "there is no pattern of who looks at whom; global_pattern(n, m) is everyone at everyone");
  if (who.queries() > q.tokens)
    fail("attention", "the pattern's queries hold token {} but there are {}", who.queries() - 1, q.tokens);
  if (who.keys() > k.tokens)
    fail("attention", "the pattern's keys hold token {} but there are {}", who.keys() - 1, k.tokens);
  if (!(dropout.p >= 0 && dropout.p < 1)) fail("attention", "dropout {} is not in [0, 1)", dropout.p);
  if (!lengths.empty() && lengths.size() != static_cast<size_t>(B))
    fail("attention", "{} lengths for {} samples", lengths.size(), B);
}

Call::Call(const Query& query, const Terms& terms, const Run& at)
    : q(query.q),
      k(query.k),
      v(query.v),
      who(query.who),
      where(terms),
      scale(static_cast<real>(query.scale)),
      dropout(query.dropout),
      run(at) {
  check_rotary(where, *who, q.heads, q.d, v.d);
  for (int t = 0; t < where.count; ++t) check_term(where.relative[static_cast<size_t>(t)], query);
  if (const HeadMask& mask = where.visible;
      mask && ((mask.heads() != 1 && mask.heads() != q.heads) || mask.n() != who->n || mask.m() != who->m))
    fail("attention", "the mask is for {} heads, {} queries and {} keys, expected 1 or {}, {} and {}", mask.heads(),
         mask.n(), mask.m(), q.heads, who->n, who->m);
  if (query.lengths.empty()) return;
  lengths = Tensor({batch()});
  for (int b = 0; b < batch(); ++b) lengths[b] = static_cast<real>(query.lengths[static_cast<size_t>(b)]);
}

double Call::macs() const {
  const double rows = static_cast<double>(batch()) * q.heads * who->groups * who->n, pairs = rows * who->m;
  double sum = pairs * (q.d + v.d);  // turning values is no product of matrices
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
