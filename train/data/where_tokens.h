#pragma once
// More pictures made in memory, for `tessera probe`: tasks in which every token answers for itself, and a control whose label has nothing to
// do with places. Patches divide tiles of 4 pixels, as in train/data/where.h.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/data/where.h"

namespace tessera::data::where {

/// A label for each token.
struct TokenTask {
  const char* name;
  std::vector<const char*> classes;
  const char* question;
};
/// row: in which quarter of the rows am I? The picture says nothing of it, so that without positions a token is right
/// about once in 4.
/// left: is the red shape left of me? Which column a token stands in tells three quarters of the answers; the rest takes an offset
/// between two tokens. Tokens whose columns the shape touches are not asked.
const std::vector<TokenTask>& token_tasks();

constexpr int32_t not_asked = -1;  ///< in Source::answer: this token has no label

/// n pictures of a red and a blue shape (those of where:relation) as a source whose answers are the labels of its tokens, row by row, in
/// patches of `patch` x `patch` pixels. Normalised by the pictures of `like`, or by themselves. Throws Error as pictures(), and unless the
/// patch divides the width and leaves a multiple of four rows.
std::shared_ptr<const Source> token_pictures(const TokenTask& task, size_t n, uint64_t seed, int patch,
                                             int width = side, const Source* like = nullptr);

/// texture: horizontal stripes, vertical stripes, checks or blocks, in colours of no meaning. A quarter of the tiles (4 x 4 pixels) carry
/// it, the others are plain; in every picture these are the tiles of the upper left quarter, or, `scattered`, any. The label is the same
/// wherever they are.
const std::vector<std::string>& textures();
Samples texture_pictures(size_t n, uint64_t seed, bool scattered, int width = side);

}  // namespace tessera::data::where
