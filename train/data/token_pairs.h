#pragma once
// Sequences of tokens, each with the sequence that answers it: your own, or made ones that ask what an order is.
#include <memory>
#include <string>
#include <vector>

#include "tessera/train/data/source.h"

namespace tessera::data {

/// Tokens of questions are whole numbers below `vocabulary`, those of answers below `target`; 0, 1 and 2 are padding, begin and end
/// (models/decode.h), which samples do not hold.
struct TokenPairs {
  int vocabulary = 0, target = 0;
  std::vector<Index> questions, answers;
};
/// As a source. Throws Error, one line that says where: none, another number of answers, an empty question, a token that is none.
std::shared_ptr<const Source> from_memory(TokenPairs pairs, const std::string& name = "memory");

namespace made {

/// What is asked of a sequence. add: digits of a number, +, digits of another, answered by those of the sum.
enum class Task { copy, reverse, sort, add };

struct Options {
  Task task = Task::reverse;
  int shortest = 5, longest = 20;  ///< tokens of a question
  int symbols = 10;                ///< kinds, of copy, reverse and sort; add has ten digits and a plus
  size_t train_size = 20'000, test_size = 1000;
  uint64_t seed = 0;
};
struct Pair {
  std::shared_ptr<const Source> train, test;
};
/// "reverse", or with options: "reverse,length=5-40,symbols=20". Throws Error with the nearest known word.
Options parse(const std::string& text);
/// Lengths and symbols drawn evenly; no question of the test is one of the training. Throws Error where so many cannot be found.
Pair make(const Options& options);

}  // namespace made
}  // namespace tessera::data
