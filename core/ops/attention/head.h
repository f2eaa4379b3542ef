#pragma once
// The fused attention of one head at a time, with the scratch memory it does so in. Internal to core/ops.
#include "tessera/core/ops/attention/pair_blocks.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Where the gradients of q, k, v go; `to` is null where nobody wants one.
struct Sinks {
  Sink q{nullptr, 0}, k{nullptr, 0}, v{nullptr, 0};
  std::array<Sink, Terms::most> side{};  ///< by term of the call
};

class HeadWorker {
 public:
  /// forward: writes y and norms (B, groups, H, 2, n): of every query row its largest score and 1 / the sum of its powers.
  HeadWorker(const Plan& plan, const Tensor& y, const Tensor& norms) : HeadWorker(plan, y, norms, {}, {}, false) {}
  /// backward: reads dy and norms, writes to the sinks and adds to `own`.
  HeadWorker(const Plan& plan, const Tensor& dy, const Tensor& norms, const Sinks& to, const Partial& own)
      : HeadWorker(plan, dy, norms, to, own, true) {}
  HeadWorker(const HeadWorker&) = delete;
  HeadWorker& operator=(const HeadWorker&) = delete;

  /// Does the units [from, to) of h * B + b, all groups of each.
  void run(int64_t from, int64_t to);

 private:
  using Term = Plan::Term;
  struct Block {  ///< query rows [row, row + count) of one image, group and head
    int b, g, h, index, row, count;
  };
  struct Table {                 ///< a term's table as the products want it
    const real* rows = nullptr;  ///< (R, padded)
    real* copy = nullptr;        ///< that, where the table itself is not padded
    real* turned = nullptr;      ///< (width, Rp), times scale for query terms
    real* gradient = nullptr;    ///< of a gate as wide as the head, whose copy begins with a row of ones: (1 + R, dp)
    int h = -1;
    real* side = nullptr;    ///< rows of a side projection, of a block of queries or of all keys: (rows, padded)
    real* side_t = nullptr;  ///< of keys: that transposed, times the term's factor: (width, mp)
    real* dside = nullptr;   ///< gradient of `side`, without the factor
  };

  /// What a query or key term multiplies with its table, from the channel it begins at: its side projection, or q or k as they were.
  struct Rows {
    const real* x;
    int64_t ld;
  };

  HeadWorker(const Plan& plan, const Tensor& y, const Tensor& norms, const Sinks& to, const Partial& own,
             bool backward);
  void lay_out(Arena& a);
  void lay_out_pairs(Arena& a);

  void begin_head(int h);
  void end_head(int h);
  void begin_group(int g);
  void forward(int b, int g, int h);
  void backward(int b, int g, int h);
  void forward_alike(int b, int g, int h);
  void backward_alike(int b, int g, int h);

  /// Rows at[i] of x; `ahead` as in the kernels.
  struct Source {
    const real* x;
    int64_t stride;
    const int32_t* at = nullptr;
    int64_t ahead = 0;
  };
  // head_products.cpp
  void pack_keys(Source from);
  void pack_values(Source from);
  void pack_queries(Source from, int64_t count);
  void pack_outputs(Source from, int64_t count);
  void multiply_keys(const Block& at);
  void round_weights(const Block& at);
  void multiply_values(const Block& at);
  void weights_backward(const Block& at, bool add = false);
  void round_weights_backward(const Block& at);
  void values_product_backward(const Block& at);
  void scores_backward(const Block& at, const real* d);

  void load_keys(int b, int g, int h);
  void mask_keys(int b, int g);
  void load_queries(const Block& at);
  void load_side(const Term& t, int b, int h, const int32_t* tokens, int64_t count, int64_t ahead);
  void send_side(const Term& t, int b, int h, const int32_t* tokens, int64_t count, int64_t ahead) const;
  void turn_values_back(real* x, const Block& at) const;
  void values_backward(const Block& at);
  void scores(const Block& at);
  void drop(real* x, const Block& at) const;
  void content_backward(const Block& at);
  void query_terms_backward(const Block& at);
  void key_terms_backward(const Block& at);
  void keys_backward(int b, int g, int h);

  template <class F>
  void each_strip(const Term& t, const Block& at, F f) const;
  template <class F>
  void each_columns(const Term& t, const Block& at, F f) const;
  void gather_by_row(const Term& t, const Block& at, Rows x, real* to) const;
  template <class F>
  void scatter_by_row(const Term& t, const Block& at, const real* x, F f) const;
  std::array<PairGate, Terms::most> gates(const Block& at, int64_t& count) const;

  Block block(int b, int g, int h, int i) const {
    return {b, g, h, i, p.first_row(i), p.first_row(i + 1) - p.first_row(i)};
  }
  const Table& table(const Term& t) const { return tables_[static_cast<size_t>(&t - p.term.data())]; }
  Rows of_query(const Term& t, const real* raw, int64_t ld) const {
    return t.r->side ? Rows{table(t).side, t.padded} : Rows{raw + t.r->first, ld};
  }
  Rows of_key(const Term& t) const {
    return t.r->side ? Rows{table(t).side, t.padded} : Rows{raw_key() + t.r->first, p.dp};
  }
  const real* of_key_t(const Term& t) const { return t.r->side ? table(t).side_t : raw_kt() + t.r->first * p.mp; }
  const int32_t* key_tokens(int g) const { return c.who->k.data() + int64_t{g} * p.m; }
  const int32_t* query_tokens(const Block& at) const { return c.who->q.data() + int64_t{at.g} * p.n + at.row; }
  real* shift(const Block& at) const {
    return norms_.data() + 2 * ((int64_t{at.b} * p.G + at.g) * p.H + at.h) * p.n + at.row;
  }
  real* inverse(const Block& at) const { return shift(at) + p.n; }
  const real* raw_kt() const { return kt_raw ? kt_raw : kt; }
  const real* raw_key() const { return p.rotates ? key_raw : key; }
  const real* raw_q() const { return p.rotates ? q_raw : q; }

  static int64_t place(const Heads& x, int b, int h) { return int64_t{b} * x.tokens * x.stride + x.offset + h * x.d; }
  /// How far on the rows are that are needed next: the next image's, after the last one the next head's, or of a long sequence the next
  /// block's.
  int64_t ahead(const Heads& x, int b) const {
    return int64_t{next_b_ - b} * x.tokens * x.stride + (next_head_ ? x.d : 0);
  }
  int64_t ahead(const Heads& x, const Block& at) const {
    return p.blocks == 1 ? ahead(x, at.b) : int64_t{at.count} * x.stride;
  }
  /// Offset of the angles of head h from row `row` on.
  int64_t angles(const Tensor& table, int h, int row) const {
    return ((table.dim(0) == 1 ? 0 : int64_t{h} * table.dim(1)) + row) * (p.d / 2);
  }
  real* angle_gradient(size_t which, const Tensor& table, int h, int row) const {
    real* to = part_.rotary[which];
    return to ? to + angles(table, h, row) : nullptr;
  }

  const Plan& p;
  const Call& c;
  const Kernels& k = kernels();
  const Heads out_;      // of o, or of do
  const Tensor& norms_;  // (B, G, H, 2, n)
  const Sinks sinks_;
  const Partial part_;
  const bool backward_;
  PairBlocks pairs_;
  Arena arena_;
  std::array<Table, Terms::most> tables_;
  int next_b_ = 0;               ///< the image after this one, whose rows are fetched ahead
  bool next_head_ = false;       ///< ... and it is the first one of the next head
  bool last_ = false;            ///< this image is the last one of this head and group
  const real* alike_ = nullptr;  ///< norms of the image whose weights s holds; where all images have the same ones

  // a block of query rows: q rotated, q_raw not; s scores, then weights; ds their gradients; content: scores before gates
  real *q = nullptr, *q_raw = nullptr, *o = nullptr, *dq = nullptr, *s = nullptr, *ds = nullptr, *content = nullptr;
  real *o_raw = nullptr, *mixed = nullptr;  // where values travel: do as it came; sum_j p_ij v'_j again, for the angles
  real* band = nullptr;                     // a strip's product with a table
  uint64_t* names = nullptr;                // of rows, for dropout
  const real* q_rows = nullptr;             // the rows of q that the products read, here or in place
  int64_t ldq = 0;
  // all keys of a group: kt, vt transposed, kt times scale; key rotated, key_raw not
  real *kt = nullptr, *kt_raw = nullptr, *key = nullptr, *key_raw = nullptr, *v = nullptr, *vt = nullptr;
  real *dk = nullptr, *dk_raw = nullptr, *dv = nullptr;
  real* v_raw = nullptr;  // of backward where values travel: v as it came, and v turned
  struct {                // in bf16: operands as pairs; s: the weights, or the gradients of scores
    uint32_t *q = nullptr, *q_across = nullptr, *kt = nullptr, *k_across = nullptr, *vt = nullptr, *v_across = nullptr,
             *o = nullptr, *o_across = nullptr, *s = nullptr, *s_across = nullptr;
  } pairs;
  int32_t* tokens = nullptr;  // of keys, for dropout
  int32_t* within = nullptr;  // of keys, -1 beyond the sample's length, so that nothing of those is read
  // what is added to all rows of a block, from vector column_from on: masks and one-row key terms; and its gradient
  real *column = nullptr, *group_column = nullptr, *dcolumn = nullptr;
  int64_t column_from = 0;
};

/// f(first row in the block, rows, band) for each strip of a query or value term.
template <class F>
void HeadWorker::each_strip(const Term& t, const Block& at, F f) const {
  for (int i = 0; i < p.strips; ++i)
    if (const Band w = p.band(t, at.g, at.index, i); w.low != w.high)
      f(p.strip(at.count, i), p.strip(at.count, i + 1) - p.strip(at.count, i), w);
}

/// f(first key, keys, band) for each block of columns of a key term.
template <class F>
void HeadWorker::each_columns(const Term& t, const Block& at, F f) const {
  for (int i = 0, j = 0; j < p.m; j += p.columns, ++i)
    if (const Band w = p.band(t, at.g, at.index, i); w.low != w.high) f(j, std::min(p.columns, p.m - j), w);
}

/// The transpose of that: band_ir = sum of x_ij over rho_ij = r, then f(first row, rows, band of the table, row stride of band).
template <class F>
void HeadWorker::scatter_by_row(const Term& t, const Block& at, const real* x, F f) const {
  each_strip(t, at, [&](int row, int count, const Band& w) {
    const int64_t width = whole(w.high - w.low);
    std::fill_n(band, count * width, real(0));
    k.pair_scatter(x + row * p.mp, p.mp, count, p.m, band, width, 1, 0, t.rho(at.g, at.row + row), p.m, w.low);
    f(row, count, w, width);
  });
}

}  // namespace TESSERA_NS
}  // namespace tessera
