#include "tessera/nn/windows.h"

#include <tuple>

#include "tessera/core/memo.h"

namespace tessera {

Window window_of(const Grid& map, int h, int w, bool shifted) {
  if (h < 1 || w < 1) fail("windows", "a window of {} x {} cells must be at least 1 x 1", h, w);
  const auto axis = [&](int extent, int M) {
    return extent <= M ? std::pair(extent, 0) : std::pair(M, shifted ? M / 2 : 0);
  };
  const auto [rows, sy] = axis(map.h, h);
  const auto [columns, sx] = axis(map.w, w);
  return {rows, columns, sy, sx};
}

namespace {

// which third of the shifted axis of length L a cell lies in: [0, L-M), [L-M, L-s), [L-s, L)
int part(int at, int L, int M, int s) {
  if (s == 0 || at < L - M) return 0;
  return at < L - s ? 1 : 2;
}

Pattern::Spec build(const Grid& map, const Window& w, float mask_value) {
  const int rows = (map.h + w.h - 1) / w.h, columns = (map.w + w.w - 1) / w.w, H = rows * w.h, W = columns * w.w;
  const bool shifted = w.shift_y || w.shift_x;
  Pattern::Spec p;
  p.groups = rows * columns;
  p.n = p.m = w.h * w.w;
  p.mask_value = mask_value;
  for (int gy = 0; gy < rows; ++gy)
    for (int gx = 0; gx < columns; ++gx)
      for (int i = 0; i < w.h; ++i)
        for (int j = 0; j < w.w; ++j) {
          const int y = gy * w.h + i, x = gx * w.w + j;                          // on the shifted map
          const int from_y = (y + w.shift_y) % H, from_x = (x + w.shift_x) % W;  // on the map itself
          p.q.push_back(from_y < map.h && from_x < map.w ? from_y * map.w + from_x : -1);
          if (shifted) p.label_q.push_back(3 * part(y, H, w.h, w.shift_y) + part(x, W, w.w, w.shift_x));
        }
  p.k = p.q, p.label_k = p.label_q;
  return p;
}

}  // namespace

Pattern windows(const Grid& map, const Window& w, float mask_value) {
  if (map.prefix) fail("windows", "{} class tokens have no place in windows", map.prefix);
  if (w.h < 1 || w.w < 1 || w.shift_y >= w.h || w.shift_x >= w.w || w.shift_y < 0 || w.shift_x < 0)
    fail("windows", "a {}x{} window cannot be shifted by ({}, {})", w.h, w.w, w.shift_y, w.shift_x);
  static Memo<std::tuple<Grid, Window, float>, Pattern> memo;
  return memo({map, w, mask_value}, [&] { return build(map, w, mask_value); });
}

}  // namespace tessera
