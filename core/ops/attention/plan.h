#pragma once
// How the fused attention cuts one call into pieces that stay in cache, and the scratch memory it does so in. Internal
// to core/ops.
#include <algorithm>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops/attention/call.h"
#include "tessera/core/whole.h"

namespace tessera {
inline namespace TESSERA_NS {

/// Scratch laid out in one pooled block: a first pass with no memory measures, a second one hands out.
class Arena {
 public:
  /// `count` T's, 64-byte aligned, with slack after them: products read and write whole vectors.
  template <class T>
  T* take(int64_t count) {
    T* p = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 2 * 64 + 63) / 64 * 64;
    return p;
  }
  /// Runs layout(arena) twice and keeps the memory.
  template <class F>
  void lay_out(F layout) {
    base_ = nullptr, used_ = 0;
    layout(*this);
    memory_ = Tensor({static_cast<int>((used_ + 64) / static_cast<int64_t>(sizeof(real)))});
    base_ = reinterpret_cast<char*>(memory_.data());
    used_ = 0;
    layout(*this);
  }

 private:
  Tensor memory_;
  char* base_ = nullptr;
  int64_t used_ = 0;
};

struct Plan {
  explicit Plan(const Call& call);

  const Call& c;
  const int lanes = kernels().lanes;
  const int B, H, G, n, m, d, dv;
  const int64_t dp, dvp, mp;  ///< rows of d, dv, m in whole vectors (plan.cpp, room)
  const bool bf16;            ///< products of pairs of bfloat16 numbers
  const int64_t dh, dvh, mh;  ///< pairs in a row of so many numbers, in whole vectors
  int rows = 0, blocks = 0;   ///< query rows at a time
  int strips = 0;             ///< parts of a block whose rows a query or value term takes at a time
  int columns = 0;            ///< keys at a time in key terms

  /// One relative term as the kernels see it.
  struct Term {
    const Relative* r;
    int number;    ///< in Terms
    bool wide;     ///< query, key or value term that is not uniform: by products with the table, then gathers
    bool uniform;  ///< one row that every pair has
    int64_t R, width, padded, Rp;
    Band* band;      ///< [rho groups][blocks], or [rho groups][blocks][column blocks] of a key term
    int64_t widest;  ///< the widest of them
    int heads() const { return r->table.dim(0); }
    /// rho of group g, pair (i, 0).
    const int32_t* rho(int g, int64_t i) const {
      const RelativeIndex::Spec& p = *r->rho;
      return p.at.data() + ((p.groups > 1 ? g : 0) * int64_t{p.n} + i) * p.m;
    }
    const real* table(int h) const { return r->table.data() + (heads() == 1 ? 0 : h * R * width); }
  };
  std::array<Term, Terms::most> term;
  int count = 0;
  bool rotates, drops;
  bool travels = false;         ///< values are turned, too
  bool alike = false;           ///< all images have the same weights: no content, only biases and masks
  bool pairs_added = false;     ///< biases or masks: a block is added to the scores
  bool added_by_group = false;  ///< ... that differs by group
  bool pairs_whole = false;     ///< ... kept for all n rows, so that the images of a shard share it
  bool scaled = false;          ///< gates of width 1: a block multiplies the products of queries and keys
  bool gated = false;           ///< gates of width d: in the place of those products
  bool gates_by_group = false;
  /// What a query or key term's products with its side projection, q or k are multiplied by.
  real factor(const Term& t) const { return t.r->outside ? real(1) : c.scale; }
  bool query_terms = false, key_terms = false, value_terms = false, uniform_keys = false;
  /// Is term number `number` of the call part of the plan? Not if it cannot change a weight.
  bool has(int number) const {
    return std::any_of(term.begin(), term.begin() + count, [&](const Term& t) { return t.number == number; });
  }

  /// The rows of t's table that part `part` (a strip of rows, or of a key term a block of columns) of a block touches.
  Band band(const Term& t, int g, int block, int part) const {
    const int64_t group = t.r->rho->groups > 1 ? g : 0;
    return t.band[(group * blocks + block) * parts(t) + part];
  }
  int parts(const Term& t) const { return t.r->kind == Relative::key ? column_blocks() : strips; }
  int column_blocks() const { return (m + columns - 1) / columns; }
  int first_row(int block) const { return static_cast<int>(int64_t{n} * block / blocks); }
  /// First row of a strip of a block.
  int strip(int rows_of_block, int i) const { return rows_of_block * i / strips; }

  template <class F>
  void each(Relative::Kind kind, F f) const {
    for (int t = 0; t < count; ++t)
      if (term[static_cast<size_t>(t)].r->kind == kind) f(term[static_cast<size_t>(t)]);
  }
  /// Gates of width 1, or of width d.
  template <class F>
  void each_gate(bool whole_head, F f) const {
    each(Relative::gate, [&](const Term& t) {
      if ((t.width > 1) == whole_head) f(t);
    });
  }
  template <class F>
  void each_wide(Relative::Kind kind, F f) const {
    each(kind, [&](const Term& t) {
      if (t.wide) f(t);
    });
  }

 private:
  void find_bands();
  Band band_of(const Term& t, int g, int row, int many) const;
  Band band_of(const Term& t, int g, int row, int many, int from) const;
  Arena memory_;
};

}  // namespace TESSERA_NS
}  // namespace tessera
