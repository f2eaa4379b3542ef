#include "tessera/train/data/where_tokens.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/draw.h"
#include "tessera/train/data/readers.h"

namespace tessera::data::where {
namespace {

/// Pictures whose answer is a sequence: a label for each token.
struct TokenSource final : Source {
  std::shared_ptr<const Source> pictures;
  std::vector<int32_t> answers;
  size_t tokens = 0;  ///< of a picture
  int kinds = 0;

  size_t size() const override { return pictures->size(); }
  InputShape form() const override {
    InputShape f = pictures->form();
    f.target = kinds;
    return f;
  }
  int label(size_t) const override { fail("data", "{} has labels of tokens, not of pictures", name); }
  std::span<const int32_t> answer(size_t i) const override { return std::span(answers).subspan(i * tokens, tokens); }
  std::unique_ptr<Reader> reader(const Augment& augment) const override { return pictures->reader(augment); }
  Normalisation normalisation() const override { return pictures->normalisation(); }
  std::shared_ptr<const Source> normalised_by(const Normalisation& by) const override {
    auto other = std::make_shared<TokenSource>(*this);
    other->pictures = pictures->normalised_by(by);
    return other;
  }
};

/// The labels of a picture's tokens, N x N of them.
void answer(std::string_view task, int N, int patch, const Box& red, int32_t* to) {
  for (int y = 0; y < N; ++y)
    for (int x = 0; x < N; ++x) {
      int32_t& label = to[y * N + x];
      const int from = x * patch, until = from + patch;
      if (task == "row")
        label = y * 4 / N;
      else if (red.x + red.size <= from)
        label = 0;
      else
        label = red.x >= until ? 1 : not_asked;
    }
}

/// Is pixel (y, x) of a texture in its first colour?
bool first_colour(int texture, int y, int x) {
  switch (texture) {
    case 0:
      return y % 2 == 0;
    case 1:
      return x % 2 == 0;
    case 2:
      return (y + x) % 2 == 0;
    default:
      return (y / 2 + x / 2) % 2 == 0;
  }
}

}  // namespace

const std::vector<TokenTask>& token_tasks() {
  static const std::vector<TokenTask> all = {
      {"row", {"first", "second", "third", "fourth"}, "in which quarter of the rows am I?"},
      {"left", {"left", "right"}, "is the red shape left or right of me?"},
  };
  return all;
}

std::shared_ptr<const Source> token_pictures(const TokenTask& task, size_t n, uint64_t seed, int patch, int width,
                                             const Source* like) {
  if (patch < 1 || width % patch != 0 || width / patch % 4 != 0)
    fail("where", "{}: patches of {} pixels do not cut a picture of {} into a multiple of four rows", task.name, patch,
         width);
  const Task& relation = where::task("relation");
  const size_t bytes = static_cast<size_t>(width) * static_cast<size_t>(width) * 3;
  const int N = width / patch;
  auto source = std::make_shared<TokenSource>();
  source->tokens = static_cast<size_t>(N) * static_cast<size_t>(N);
  source->kinds = static_cast<int>(task.classes.size());
  source->answers.resize(n * source->tokens);
  Samples s{width, width, 3, std::vector<uint8_t>(n * bytes), Index(n)};
  const Index order = permutation(n, seed);
  for (size_t i = 0; i < n; ++i) {
    const auto boxes = draw(relation, seed, i, order[i] % 4, s.pixels.data() + i * bytes, width);
    answer(task.name, N, patch, boxes[0], source->answers.data() + i * source->tokens);
  }
  source->digest =
      Digest(Digest::sha256)
          .add(s.pixels)
          .add({reinterpret_cast<const uint8_t*>(source->answers.data()), source->answers.size() * sizeof(int32_t)})
          .hex();
  source->name = std::string("where:") + task.name;
  const TrainTest made = from_memory(std::move(s), {"picture"}, {}, {}, source->name);
  source->pictures = std::make_shared<const Set>(made.train);
  return like ? source->normalised_by(like->normalisation()) : source;
}

const std::vector<std::string>& textures() {
  static const std::vector<std::string> all = {"rows", "columns", "checks", "blocks"};
  return all;
}

Samples texture_pictures(size_t n, uint64_t seed, bool scattered, int width) {
  constexpr int tile = 4;
  if (width < side || width > 4096 || width % (2 * tile) != 0)
    fail("where", "texture: a picture is not {} pixels wide; choose a multiple of {} from {} to 4096", width, 2 * tile,
         side);
  const int N = width / tile;
  const auto W = static_cast<size_t>(width);
  Samples s{width, width, 3, std::vector<uint8_t>(n * W * W * 3), Index(n)};
  const Index order = permutation(n, seed);
  std::vector<int> tiles(static_cast<size_t>(N) * static_cast<size_t>(N));
  for (size_t i = 0; i < n; ++i) {
    Draw d(rng::Stream(rng::mix(rng::mix(seed ^ rng::hash("texture")) + i)));
    const int label = order[i] % static_cast<int>(textures().size());
    s.labels[i] = label;
    std::array<std::array<int, 3>, 3> colours{};  // plain, and the two of the texture
    for (auto& colour : colours)
      for (int& v : colour) v = 20 + static_cast<int>(d.below(216));
    std::iota(tiles.begin(), tiles.end(), 0);
    if (scattered)
      for (size_t t = tiles.size() - 1; t > 0; --t) std::swap(tiles[t], tiles[d.below(static_cast<uint32_t>(t + 1))]);
    for (size_t t = 0; t < tiles.size(); ++t) {
      const int y0 = static_cast<int>(t) / N, x0 = static_cast<int>(t) % N;  // where the tile comes from
      const bool carries = y0 < N / 2 && x0 < N / 2;
      for (int y = 0; y < tile; ++y)
        for (int x = 0; x < tile; ++x) {
          const auto& colour = colours[!carries ? 0 : first_colour(label, y, x) ? 1 : 2];
          const int to_y = tiles[t] / N * tile + y, to_x = tiles[t] % N * tile + x;
          uint8_t* pixel = s.pixels.data() + ((i * W + static_cast<size_t>(to_y)) * W + static_cast<size_t>(to_x)) * 3;
          for (size_t k = 0; k < 3; ++k)
            pixel[k] = static_cast<uint8_t>(colour[k] - 12 + static_cast<int>(d.below(25)));
        }
    }
  }
  return s;
}

}  // namespace tessera::data::where
