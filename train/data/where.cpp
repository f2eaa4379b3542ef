#include "tessera/train/data/where.h"

#include <array>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/nn/options.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/draw.h"
#include "tessera/train/data/readers.h"

namespace tessera::data::where {
namespace {

constexpr int margin = 1;              // no shape touches the picture's border, under any label
constexpr double near = 13, far = 24;  // distance: pixels between the centres, at most and at least

struct Shape {
  int kind, size;  // square, disc, diamond, cross
  std::array<uint8_t, 3> colour;
  int phase_y, phase_x;  // position modulo the tile
  bool inked(int y, int x) const {
    const int dy = std::abs(2 * y - (size - 1)), dx = std::abs(2 * x - (size - 1));  // from the centre, in half pixels
    switch (kind) {
      case 0:
        return true;
      case 1:
        return dy * dy + dx * dx <= size * size;
      case 2:
        return dy + dx <= size;
      default:
        return dy <= 2 || dx <= 2;
    }
  }
};

struct Content {
  std::array<uint8_t, 4 * 4 * 3> background;  // a 4 x 4 texture, repeated: the same in every tile
  std::array<Shape, 2> shapes;
};

struct At {
  int y, x;
};

/// What a label may choose: a place on a picture of side x side pixels.
struct Canvas {
  int side;
  bool holds(const Shape& s, At p) const {
    return p.y >= margin && p.x >= margin && p.y + s.size <= side - margin && p.x + s.size <= side - margin;
  }
  int from_border(const Shape& s, At p) const {
    return std::min(std::min(p.y, p.x), std::min(side - s.size - p.y, side - s.size - p.x));
  }
};

uint8_t between(Draw& draw, int low, int high) {
  return static_cast<uint8_t>(low + static_cast<int>(draw.below(static_cast<uint32_t>(high - low + 1))));
}

// Everything about a picture that its label must not influence.
Content content(const Task& task, rng::Stream stream) {
  Draw d(stream);
  Content c;
  const std::array<uint8_t, 3> base{between(d, 90, 160), between(d, 90, 160), between(d, 90, 160)};
  for (size_t i = 0; i < c.background.size(); ++i)
    c.background[i] = static_cast<uint8_t>(base[i % 3] - 12 + d.below(25));
  const std::string_view name = task.name;
  for (size_t s = 0; s < 2; ++s) {
    Shape& shape = c.shapes[s];
    shape.kind = static_cast<int>(d.below(4));
    shape.size = 6 + static_cast<int>(d.below(2));
    const uint8_t strong = between(d, 215, 255), weak = between(d, 0, 40), other = between(d, 0, 40);
    // red and blue; for a distance it does not matter which is which
    const bool red = s == 0 || name == "distance";
    shape.colour = red ? std::array{strong, weak, other} : std::array{weak, other, strong};
    if (name == "quadrant") {  // there colour names nothing: any of six hues
      const uint32_t hue = d.below(6);
      const std::array<uint8_t, 3> v{strong, hue < 3 ? weak : strong, other};
      for (size_t k = 0; k < 3; ++k) shape.colour[(k + hue) % 3] = v[k];
    }
    shape.phase_y = static_cast<int>(d.below(static_cast<uint32_t>(task.tile)));
    shape.phase_x = static_cast<int>(d.below(static_cast<uint32_t>(task.tile)));
  }
  if (name == "border") {  // two shapes that differ in colour alone
    c.shapes[1].kind = c.shapes[0].kind;
    c.shapes[1].size = c.shapes[0].size;
  }
  return c;
}

bool share_tile(const Shape& a, At p, const Shape& b, At q, int tile) {
  auto meet = [&](int from_a, int from_b) {
    return from_a / tile <= (from_b + b.size - 1) / tile && from_b / tile <= (from_a + a.size - 1) / tile;
  };
  return meet(p.y, q.y) && meet(p.x, q.x);
}

// Does placing the shapes at p and q show `label`? Classes keep a gap between them, so that every picture is clear.
bool shows(std::string_view task, int label, const Content& c, const Canvas& canvas, At p, At q) {
  const Shape &a = c.shapes[0], &b = c.shapes[1];
  const int dy = 2 * (p.y - q.y) + a.size - b.size,
            dx = 2 * (p.x - q.x) + a.size - b.size;  // of the centres, half pixels
  if (task == "relation") {
    const int off = 8;
    switch (label) {
      case 0:
        return -dx >= std::abs(dy) + off;
      case 1:
        return dx >= std::abs(dy) + off;
      case 2:
        return -dy >= std::abs(dx) + off;
      default:
        return dy >= std::abs(dx) + off;
    }
  }
  if (task == "distance") {
    const double d = std::sqrt(dy * dy + dx * dx) / 2;
    return label == 0 ? d <= near : d >= far;
  }
  const int first = canvas.from_border(a, p), second = canvas.from_border(b, q);
  return label == 0 ? first <= 3 && second >= 7 : second <= 3 && first >= 7;
}

// One of the placements that show the label, all with equal probability.
std::array<At, 2> place(const Task& task, int label, const Content& c, const Canvas& canvas, rng::Stream stream) {
  const int tiles = canvas.side / task.tile, cells = tiles * tiles;
  const Shape &a = c.shapes[0], &b = c.shapes[1];
  auto at = [&](const Shape& s, int cell) {
    return At{cell / tiles * task.tile + s.phase_y, cell % tiles * task.tile + s.phase_x};
  };
  std::vector<std::array<At, 2>> good;
  for (int i = 0; i < cells; ++i) {
    const At p = at(a, i);
    if (!canvas.holds(a, p)) continue;
    if (std::string_view(task.name) == "quadrant") {
      const int half = canvas.side / 2;
      if (Canvas{half}.holds(a, {p.y - label / 2 * half, p.x - label % 2 * half})) good.push_back({p, p});
      continue;
    }
    for (int j = 0; j < cells; ++j) {
      const At q = at(b, j);
      if (canvas.holds(b, q) && !share_tile(a, p, b, q, task.tile) && shows(task.name, label, c, canvas, p, q))
        good.push_back({p, q});
    }
  }
  if (good.empty()) fail("where", "{}: no placement shows class {}", task.name, label);
  return good[stream.below(static_cast<uint64_t>(label), static_cast<uint32_t>(good.size()))];
}

void paint(const Shape& s, At p, const Canvas& canvas, uint8_t* pixels) {
  for (int y = 0; y < s.size; ++y)
    for (int x = 0; x < s.size; ++x)
      if (s.inked(y, x))
        for (int k = 0; k < 3; ++k)
          pixels[((p.y + y) * canvas.side + p.x + x) * 3 + k] = s.colour[static_cast<size_t>(k)];
}

}  // namespace

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = {
      {"quadrant", {"top left", "top right", "bottom left", "bottom right"}, 8, "which quarter holds the shape?"},
      {"relation", {"left", "right", "above", "below"}, 8, "where is the red shape, seen from the blue one?"},
      {"distance", {"near", "far"}, 4, "are the two shapes near to each other or far apart?"},
      {"border", {"red", "blue"}, 4, "which shape is nearer to a border?"},
  };
  return all;
}

const Task& task(std::string_view name) {
  std::vector<std::string> names;
  for (const Task& t : tasks()) {
    if (t.name == name) return t;
    names.emplace_back(t.name);
  }
  unknown("task of where", name, names);
}

std::array<Box, 2> draw(const Task& task, uint64_t seed, uint64_t index, int label, uint8_t* pixels, int width) {
  const uint64_t key = rng::mix(rng::mix(seed ^ rng::hash(task.name)) + index);
  const Canvas canvas{width};
  const Content c = content(task, rng::Stream(key));
  const auto where = place(task, label, c, canvas, rng::Stream(rng::mix(key ^ rng::hash("place"))));
  for (int y = 0; y < width; ++y)
    for (int x = 0; x < width; ++x)
      for (int k = 0; k < 3; ++k)
        pixels[(y * width + x) * 3 + k] = c.background[static_cast<size_t>(((y % 4) * 4 + x % 4) * 3 + k)];
  paint(c.shapes[0], where[0], canvas, pixels);
  if (std::string_view(task.name) != "quadrant") paint(c.shapes[1], where[1], canvas, pixels);
  return {Box{where[0].y, where[0].x, c.shapes[0].size}, Box{where[1].y, where[1].x, c.shapes[1].size}};
}

Samples pictures(const Task& task, size_t n, uint64_t seed, int width) {
  if (width < side || width > 4096 || width % task.tile != 0)
    fail("where", "{}: a picture is not {} pixels wide; choose a multiple of {} from {} to 4096", task.name, width,
         task.tile, side);
  const size_t bytes = static_cast<size_t>(width) * static_cast<size_t>(width) * 3;
  Samples s{width, width, 3, std::vector<uint8_t>(n * bytes), Index(n)};
  const Index order = permutation(n, seed);
  for (size_t i = 0; i < n; ++i) {
    const int label = static_cast<int>(static_cast<size_t>(order[i]) % task.classes.size());
    s.labels[i] = label;
    draw(task, seed, i, label, s.pixels.data() + i * bytes, width);
  }
  return s;
}

TrainTest make(const Task& task, const OpenOptions& options) {
  const size_t classes = task.classes.size();
  if (options.train_size < classes || options.test_size < classes)
    fail("where", "{} training and {} test images are too few: each needs at least one of each of {} classes",
         options.train_size, options.test_size, classes);
  Samples train = pictures(task, options.train_size, rng::mix(options.seed ^ rng::hash("where train")));
  Samples test = pictures(task, options.test_size, rng::mix(options.seed ^ rng::hash("where test")));
  const std::string digest = Digest(Digest::sha256).add(train.pixels).add(test.pixels).hex();
  TrainTest data =
      assemble(std::string("where:") + task.name, std::move(train), std::move(test), task.classes, digest, false);
  using enum Augmentation;
  refuse(data, {crop, flip, randaug, erase, cutmix}, "the label says where things are");
  return data;
}

}  // namespace tessera::data::where
