#include "tessera/train/data/token_pairs.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "tessera/core/error.h"
#include "tessera/models/decode.h"
#include "tessera/nn/options.h"
#include "tessera/train/data/augment.h"
#include "tessera/train/data/digest.h"

namespace tessera::data {
namespace {

struct PairSource final : Source {
  TokenPairs pairs;
  int longest = 1;

  size_t size() const override { return pairs.questions.size(); }
  InputShape form() const override {
    return {.kind = InputShape::Kind::tokens, .T = longest, .vocabulary = pairs.vocabulary, .target = pairs.target};
  }
  int label(size_t) const override { return 0; }
  int length(size_t i) const override { return static_cast<int>(pairs.questions[i].size()); }
  std::span<const int32_t> answer(size_t i) const override { return pairs.answers[i]; }
  std::unique_ptr<Reader> reader(const Augment& augment) const override {
    struct Fill final : Reader {
      const TokenPairs& from;
      explicit Fill(const TokenPairs& p) : from(p) {}
      void fill(size_t i, rng::Stream, const Slot& slot) override { std::ranges::copy(from.questions[i], slot.tokens); }
    };
    check_none(augment, *this);
    return std::make_unique<Fill>(pairs);
  }
};

void check_tokens(const std::string& name, const char* what, size_t i, const Index& tokens, int below) {
  for (const int32_t t : tokens)
    if (t < SpecialTokens::symbols || t >= below)
      fail("data", "{}: {} {} holds token {}, expected {} to {}", name, what, i, t, int{SpecialTokens::symbols},
           below - 1);
}

}  // namespace

std::shared_ptr<const Source> from_memory(TokenPairs pairs, const std::string& name) {
  const size_t n = pairs.questions.size();
  if (n < 1 || n > static_cast<size_t>(INT32_MAX) || n != pairs.answers.size())
    fail("data", "{} has {} questions and {} answers, expected as many, 1 to 2^31 - 1", name, n, pairs.answers.size());
  auto source = std::make_shared<PairSource>();
  Digest digest(Digest::sha256);
  for (size_t i = 0; i < n; ++i) {
    if (pairs.questions[i].empty()) fail("data", "{}: question {} is empty", name, i);
    check_tokens(name, "question", i, pairs.questions[i], pairs.vocabulary);
    check_tokens(name, "answer", i, pairs.answers[i], pairs.target);
    for (const Index* part : {&pairs.questions[i], &pairs.answers[i]}) {
      const auto length = static_cast<int32_t>(part->size());
      digest.add({reinterpret_cast<const uint8_t*>(&length), sizeof length});
      digest.add({reinterpret_cast<const uint8_t*>(part->data()), part->size() * sizeof(int32_t)});
    }
    source->longest = std::max(source->longest, static_cast<int>(pairs.questions[i].size()));
  }
  source->name = name, source->digest = digest.hex();
  source->pairs = std::move(pairs);
  return source;
}

namespace made {
namespace {

const std::vector<std::string> words{"copy", "reverse", "sort", "add"}, keys{"length", "symbols"};
constexpr int first = SpecialTokens::symbols, plus = first + 10;

/// Whole numbers drawn one after the other.
class Draw {
 public:
  explicit Draw(uint64_t key) : stream_(key) {}
  /// From low to high, each as likely.
  int operator()(int low, int high) {
    return low + static_cast<int>(stream_.below(at_++, static_cast<uint32_t>(high - low + 1)));
  }

 private:
  rng::Stream stream_;
  uint64_t at_ = 0;
};

void number(Index& to, Draw& draw, int digits) {
  for (int i = 0; i < digits; ++i) to.push_back(first + draw(i == 0 && digits > 1 ? 1 : 0, 9));
}

Index question(const Options& o, Draw& draw) {
  const int n = draw(o.shortest, o.longest);
  Index x;
  if (o.task == Task::add) {
    const int left = draw(1, n - 2);
    number(x, draw, left);
    x.push_back(plus);
    number(x, draw, n - 1 - left);
  } else {
    for (int i = 0; i < n; ++i) x.push_back(first + draw(0, o.symbols - 1));
  }
  return x;
}

/// Digit by digit from the right, as on paper.
Index sum(const Index& x) {
  const auto middle = std::ranges::find(x, plus);
  Index a(x.begin(), middle), b(middle + 1, x.end()), y;
  for (int carry = 0; !a.empty() || !b.empty() || carry;) {
    for (Index* part : {&a, &b})
      if (!part->empty()) carry += part->back() - first, part->pop_back();
    y.push_back(first + carry % 10);
    carry /= 10;
  }
  std::ranges::reverse(y);
  return y;
}

Index answer(const Options& o, const Index& x) {
  if (o.task == Task::add) return sum(x);
  Index y = x;
  if (o.task == Task::reverse) std::ranges::reverse(y);
  if (o.task == Task::sort) std::ranges::sort(y);
  return y;
}

void check(const Options& o) {
  const int least = o.task == Task::add ? 3 : 1;
  if (o.shortest < least || o.longest < o.shortest || o.longest > 4096)
    fail("data", "sequences: lengths from {} to {}, expected {} to 4096", o.shortest, o.longest, least);
  if (o.symbols < 1 || o.symbols > 65536) fail("data", "sequences: {} symbols, expected 1 to 65536", o.symbols);
}

int whole(std::string_view digits, const std::string& text) {
  int n = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (error != std::errc() || end != digits.data() + digits.size())
    fail("data", "sequences: \"{}\" is no whole number in {}", digits, text);
  return n;
}

}  // namespace

Options parse(const std::string& text) {
  Options o;
  std::string_view rest = text;
  const auto next = [&] {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view word = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    return word;
  };
  const std::string_view task = next();
  const auto known = std::ranges::find(words, task);
  if (known == words.end()) unknown("made sequence", task, words);
  o.task = static_cast<Task>(known - words.begin());
  while (!rest.empty()) {
    const std::string_view word = next();
    const size_t equal = std::min(word.find('='), word.size());
    const std::string_view key = word.substr(0, equal), value = word.substr(std::min(equal + 1, word.size()));
    if (key == "length") {
      const size_t dash = std::min(value.find('-'), value.size());
      o.shortest = o.longest = whole(value.substr(0, dash), text);
      if (dash < value.size()) o.longest = whole(value.substr(dash + 1), text);
    } else if (key == "symbols" && o.task != Task::add) {
      o.symbols = whole(value, text);
    } else {
      unknown("option of made sequences", key, keys);
    }
  }
  check(o);
  return o;
}

Pair make(const Options& o) {
  check(o);
  if (const size_t tokens = (o.train_size + o.test_size) * static_cast<size_t>(o.longest); tokens > size_t{1} << 27)
    fail("data", "sequences: {} of up to {} tokens are more than 2^27 tokens: take fewer or shorter ones",
         o.train_size + o.test_size, o.longest);
  const int vocabulary = o.task == Task::add ? plus + 1 : first + o.symbols;
  TokenPairs train{vocabulary, vocabulary, {}, {}}, test = train;
  std::set<Index> seen;
  const uint64_t key = rng::mix(o.seed ^ rng::hash(words[static_cast<size_t>(o.task)]));
  const uint64_t test_key = rng::mix(key ^ rng::hash("test"));  // the same test for every train_size
  uint64_t at = 0, tries = 0;
  const auto add = [&](TokenPairs& to) {
    Draw draw(&to == &train ? rng::mix(key + at++) : rng::mix(test_key + tries++));
    Index x = question(o, draw);
    if (&to == &train)
      seen.insert(x);
    else if (seen.contains(x))
      return;
    to.answers.push_back(answer(o, x));
    to.questions.push_back(std::move(x));
  };
  while (train.questions.size() < o.train_size) add(train);
  while (test.questions.size() < o.test_size) {
    if (tries > 100 * o.test_size)
      fail("data",
           "sequences: training has seen nearly every question there is; longer ones or more symbols are needed");
    add(test);
  }
  const std::string name = "sequences:" + words[static_cast<size_t>(o.task)];
  return {from_memory(std::move(train), name + " train"),
          o.test_size > 0 ? from_memory(std::move(test), name + " test") : nullptr};
}

}  // namespace made
}  // namespace tessera::data
