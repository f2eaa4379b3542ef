// Convolutions as products that read the map itself: for one tap row of the kernel the outputs of a line are a matrix whose rows lie stride
// cells apart in the padded map, so that a tile of the micro-kernel (gemm_tile.h) walks kh stretches of memory, or kh kw where the taps of a row
// are not adjacent, and no patch is ever written. The weight gradient is the other half of the same: rows of the result are taps and
// channels, which are adjacent in the map, and the sum runs over pixels.
//
// Measured on one core of an AMD Zen 4, 8 images (tests/bench/conv_bench.cpp), in % of the multiply-add peak, forward, dx and dw, beside gathered
// patches; a linear layer reaches 95:
//   3x3 16 channels, 32x32   64 67 63 / 50 52 51      bf16  53 57 48 / 28 31 32
//   3x3 64 channels, 8x8     95 94 85 / 75 79 70      bf16  86 92 75 / 58 68 56
//   3x3 256 channels, 8x8    96 97 79 / 77 81 78      bf16  93 94 62 / 70 75 65
#include "tessera/core/kernels/conv_lines.h"

#include "tessera/core/kernels/gemm_tile.h"

TESSERA_KERNELS_BEGIN

enum : int {
  near = 5 << 10,         // reals of the map under a tile that stay in L1
  most_depth = 320,       // of a block that is part of one tap
  most_panels = 1 << 17,  // reals of the panels of a block, which stay in L2
  most_pixels = 1 << 8,   // of a block of the weight gradient
};

/// Taps [from, to) and channels [i0, i1) of each.
struct Taps {
  int64_t from, to, i0, i1;
};
/// Lines [from, to) of all images.
struct Span {
  int64_t from, to;
};

/// An offset that goes through a table row by row. Without divisions, which cost as much as a short sum.
struct Walk {
  int64_t at, column, columns, step, wrap;  // wrap: from the last column of a row to the first of the next
  Walk(int64_t columns_, int64_t row_step, int64_t column_step, int64_t first = 0)
      : columns(columns_), step(column_step) {
    const int64_t row = first == 0 || columns == 1 ? first : first / columns;
    column = first - row * columns;
    at = row * row_step + column * step;
    wrap = row_step - (columns - 1) * step;
  }
  void next() {
    const bool last = ++column == columns;
    at += last ? wrap : step;
    column = last ? 0 : column;
  }
};

template <int R, int V>
static __attribute__((noinline)) void multiply_tile(const LineTask& g, const Taps& taps, const Tile& whole) {
  Sums<R, V> s;
  clear(upto<R>(), s);
  Tile t = whole;
  Walk tap(g.taps_x, g.step_y, g.step_x, taps.from);
  for (int64_t n = taps.to - taps.from; n > 0; --n, t.b += t.K * panel, tap.next()) {
    t.a = whole.a + tap.at;
    sum_along_rows<false>(s, t);
  }
  finish(upto<R>(), s, whole);
}

template <int R, int V>
static __attribute__((noinline)) void weigh_tile(const LineTask& g, const Span& span, const Tile& whole) {
  Sums<R, V> s;
  clear(upto<R>(), s);
  Tile t = whole;
  Walk line(g.lines, g.a_image, g.a_line, span.from);
  for (int64_t n = span.to - span.from; n > 0; --n, t.b += g.pixels * g.b_pixel, line.next()) {
    t.a = whole.a + line.at;
    sum_along_columns<false>(s, t);
  }
  finish(upto<R>(), s, whole);
}

template <class F>
struct BySize {
  F of[tile_rows][2];  // [rows - 1][vectors - 1]
};
using MultiplyTile = void (*)(const LineTask&, const Taps&, const Tile&);
using WeighTile = void (*)(const LineTask&, const Span&, const Tile&);
template <int... I>
static constexpr BySize<MultiplyTile> multiply_tiles_of(Indices<I...>) {
  return {{{multiply_tile<I + 1, 1>, multiply_tile<I + 1, 2>}...}};
}
template <int... I>
static constexpr BySize<WeighTile> weigh_tiles_of(Indices<I...>) {
  return {{{weigh_tile<I + 1, 1>, weigh_tile<I + 1, 2>}...}};
}
static constexpr BySize<MultiplyTile> multiply_tiles = multiply_tiles_of(upto<tile_rows>());
static constexpr BySize<WeighTile> weigh_tiles = weigh_tiles_of(upto<tile_rows>());

static inline int64_t parts(int64_t n, int64_t most) { return n > most ? (n + most - 1) / most : 1; }

/// All outputs, columns [n0, n1), the sum over some taps.
static void multiply_block(const LineTask& g, const Taps& taps, int64_t n0, int64_t n1) {
  const int64_t all = g.taps_y * g.taps_x, depth = all * g.I;
  const bool first = taps.from == 0 && taps.i0 == 0, last = taps.to == all && taps.i1 == g.I;
  const int64_t tiles = parts(g.pixels, tile_rows);
  Tile t{};
  t.stride = g.a_pixel, t.K = taps.i1 - taps.i0, t.beta = first ? g.beta : 1, t.ldc = g.c_pixel;
  Walk from(g.lines, g.a_image, g.a_line), to(g.lines, g.c_image, g.c_line);
  for (int64_t line = g.images * g.lines; line > 0; --line, from.next(), to.next())
    for (int64_t q = 0; q < tiles; ++q) {
      const int64_t p0 = g.pixels * q / tiles, p1 = g.pixels * (q + 1) / tiles;
      t.a = g.a + taps.i0 + from.at + p0 * g.a_pixel;
      t.b = g.b + n0 * depth + (taps.from * g.I + taps.i0) * panel;
      for (int64_t j = n0; j < n1; j += panel, t.b += depth * panel) {
        t.c = g.c + to.at + p0 * g.c_pixel + j;
        t.bias = g.bias && last ? g.bias + j : nullptr;
        t.columns = n1 - j < panel ? n1 - j : int64_t{panel};
        multiply_tiles.of[p1 - p0 - 1][t.columns > lanes](g, taps, t);
      }
    }
}

static void multiply_lines(const LineTask& g) {
  if (g.images * g.lines * g.pixels <= 0 || g.N <= 0) return;
  const int64_t all = g.taps_y * g.taps_x, reach = (tile_rows - 1) * g.a_pixel + g.I;  // of a tap under a tile
  const int64_t slices = reach > near ? parts(g.I, most_depth) : 1;                    // of the channels of a tap
  const int64_t together = slices == 1 && reach > 0 && near / reach > 1 ? near / reach : 1;
  const int64_t blocks = all ? parts(all, together) : 1;  // without a tap there is one block with a sum of nothing
  const int64_t depth = slices > 1 ? g.I / slices + 1 : (all + blocks - 1) / blocks * g.I;
  int64_t width = most_panels / (depth > 0 ? depth : 1) / panel * panel;
  if (width < panel) width = panel;
  for (int64_t n0 = 0; n0 < g.N; n0 += width) {
    const int64_t n1 = g.N - n0 < width ? g.N : n0 + width;
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t s = 0; s < slices; ++s)
        multiply_block(g, {all * b / blocks, all * (b + 1) / blocks, g.I * s / slices, g.I * (s + 1) / slices}, n0, n1);
  }
}

static void weigh_lines(const LineTask& g) {
  const int64_t all = g.images * g.lines, taps = g.taps_y * g.taps_x, depth = taps * g.I;
  if (depth <= 0 || g.N <= 0) return;
  // blocks of lines, so that what a tile reads again for the next one is near
  const int64_t blocks = g.pixels > 0 ? parts(all, most_pixels / g.pixels > 1 ? most_pixels / g.pixels : 1) : 1;
  const int64_t tiles = parts(g.I, tile_rows);
  Tile t{};
  t.stride = g.a_pixel, t.b_stride = g.b_pixel, t.K = g.pixels, t.ldc = g.c_pixel;
  for (int64_t q = 0; q < blocks; ++q) {
    const Span block{all * q / blocks, all * (q + 1) / blocks};
    t.beta = q ? 1 : g.beta;
    for (int64_t j = 0; j < g.N; j += panel) {
      const int64_t rest = (g.N - j + lanes - 1) / lanes * lanes;
      t.b = g.b + block.from * g.pixels * g.b_pixel + j;
      t.columns = rest < panel ? rest : int64_t{panel};
      Walk tap(g.taps_x, g.step_y, g.step_x);
      for (int64_t k = 0; k < taps; ++k, tap.next())
        for (int64_t i = 0; i < tiles; ++i) {
          const int64_t i0 = g.I * i / tiles, i1 = g.I * (i + 1) / tiles;
          t.a = g.a + tap.at + i0, t.c = g.c + (k * g.I + i0) * g.c_pixel + j;
          weigh_tiles.of[i1 - i0 - 1][t.columns > lanes](g, block, t);
        }
    }
  }
}

#if defined(TESSERA_PAIRS)
// conv_pairs.cpp makes the operands
void multiply_line_pairs(const LineTask& g) { multiply_lines(g); }
void weigh_line_pairs(const LineTask& g) { weigh_lines(g); }
#else

// ---- operands ------------------------------------------------------------------------------------------------------------

static inline vec same(vec v) { return v; }
/// The nearest bfloat16 in a number of 32 bits, as in gemm_bf16.cpp.
static inline vec rounded(vec v) {
  if constexpr (sizeof(real) == 4) {
    const uvec bits = uvec(v);
    const ivec number = v == v;  // NOLINT(misc-redundant-expression): a NaN is not
    return select(number, vec((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000), v);
  }
  return v;
}

static inline void clear(real* to, int64_t n) {
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(to + i, vec{});
  if (i < n) store_part(to + i, vec{}, n - i);
}

template <class F>
static inline void pad_lines(const PaddedLines& p, real* to, F f) {
  // cells [lo, hi) of a line lie in the map
  int64_t lo = p.left > 0 ? p.left : 0, hi = p.left + p.W < p.width ? p.left + p.W : p.width;
  if (lo > p.width) lo = p.width;
  if (hi < lo) hi = lo;
  for (int64_t l = p.first; l < p.first + p.lines; ++l, to += p.width * p.I) {
    const int64_t y = l - p.top;
    if (y < 0 || y >= p.H) {
      clear(to, p.width * p.I);
      continue;
    }
    const real* from = p.x + (y * p.W + lo - p.left) * p.C;
    clear(to, lo * p.I);
    if (p.I == p.C) {
      map((hi - lo) * p.I, to + lo * p.I, from, f);
    } else {
      for (int64_t x = lo; x < hi; ++x, from += p.C) map(p.I, to + x * p.I, from, f);
    }
    clear(to + hi * p.I, (p.width - hi) * p.I);
  }
}

template <class F>
static inline void copy_rows(const real* dy, int64_t ld, int64_t rows, int64_t N, real* to, F f) {
  const int64_t wide = (N + lanes - 1) / lanes * lanes;
  for (int64_t r = 0; r < rows; ++r, dy += ld, to += wide) {
    int64_t j = 0;
    for (; j + lanes <= N; j += lanes) store(to + j, f(load(dy + j)));
    if (j < N) store(to + j, f(load_part(dy + j, N - j)));
  }
}

static void pad(const PaddedLines& p, real* to) { pad_lines(p, to, same); }
static void copy(const real* dy, int64_t ld, int64_t rows, int64_t pixels, int64_t N, real* to) {
  copy_rows(dy, ld, rows * pixels, N, to, same);
}
static void pad_rounded(const PaddedLines& p, real* to) { pad_lines(p, to, rounded); }
static void copy_rounded(const real* dy, int64_t ld, int64_t rows, int64_t pixels, int64_t N, real* to) {
  copy_rows(dy, ld, rows * pixels, N, to, rounded);
}

/// Lane l of row i becomes lane i of row l.
template <int W = lanes / 2>
static inline void transpose(vec (&r)[lanes]) {
  ivec low, high;  // of two rows: the lanes whose bit W is 0, and the others
  for (int l = 0; l < lanes; ++l) low[l] = (l & W) ? lanes + (l ^ W) : l, high[l] = (l & W) ? lanes + l : (l ^ W);
  for (int i = 0; i < lanes; ++i)
    if (!(i & W)) {
      const vec a = r[i], b = r[i + W];
      r[i] = shuffle(a, b, low), r[i + W] = shuffle(a, b, high);
    }
  if constexpr (W > 1) transpose<W / 2>(r);
}

/// Of an output's row of dw, which is in the order (i, tap), `lanes` elements from e on; `O` outputs.
void add_transposed_taps(const real* d, int64_t ld, int64_t taps, int64_t I, int64_t O, real* dw, real beta) {
  const int64_t K = taps * I;
  for (int64_t o = 0; o < O; o += lanes) {
    const int64_t outs = O - o < lanes ? O - o : int64_t{lanes};
    for (int64_t e = 0, i = 0, tap = 0; e < K; e += lanes) {
      const int64_t n = K - e < lanes ? K - e : int64_t{lanes};
      vec block[lanes];
      for (int64_t r = 0; r < lanes; ++r) {
        if (r >= n) {
          block[r] = vec{};
          continue;
        }
        block[r] = load(d + (tap * I + i) * ld + o);
        if (++tap == taps) tap = 0, ++i;
      }
      transpose(block);
      for (int64_t r = 0; r < outs; ++r) {
        real* to = dw + (o + r) * K + e;
        if (n == lanes) {
          store(to, beta == 0 ? block[r] : beta * load(to) + block[r]);
        } else {
          store_part(to, beta == 0 ? block[r] : beta * load_part(to, n) + block[r], n);
        }
      }
    }
  }
}

extern constinit const ConvLineKernels conv_line_kernels{
    .conv_lines =
        {.pair = 1, .pad = pad, .zip = pad, .zip_rows = copy, .multiply = multiply_lines, .weigh = weigh_lines},
    .add_transposed_taps = add_transposed_taps,
};
/// The plain version, whose units are numbers that bfloat16 has. Where the CPU can, conv_pairs.cpp takes its place.
extern constinit const ConvLineBf16Kernels conv_line_bf16_kernels{
    .conv_lines_bf16 = {.pair = 1,
                        .pad = pad_rounded,
                        .zip = pad_rounded,
                        .zip_rows = copy_rounded,
                        .multiply = multiply_lines,
                        .weigh = weigh_lines},
};
#endif

TESSERA_KERNELS_END
