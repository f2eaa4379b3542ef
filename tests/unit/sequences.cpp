// Sequences that answer sequences: made ones, batches of them, their loss and what is counted, and a run that learns one.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "tessera/train/data/loader.h"
#include "tessera/train/data/token_pairs.h"
#include "tessera/train/training/decoded.h"
#include "tessera/train/training/evaluate.h"
#include "tessera/train/training/lanes.h"
#include "tessera/train/training/sequence_task.h"
#include "tests/error_of.h"
#include "tests/unit/run_bed.h"

namespace tessera::test {
namespace {

using data::made::make;
using data::made::parse;

constexpr int zero = SpecialTokens::symbols, plus = zero + 10;

data::made::Options few(const std::string& text, size_t train = 300, size_t test = 60) {
  data::made::Options o = parse(text);
  o.train_size = train, o.test_size = test;
  return o;
}

/// The tokens of question i.
Index question(const data::Source& source, int32_t i) {
  const Ints tokens = data::gather(source, std::span(&i, 1)).in.tokens;
  return {tokens.begin(), tokens.end()};
}
Index answer(const data::Source& source, int32_t i) {
  const auto y = source.answer(static_cast<size_t>(i));
  return {y.begin(), y.end()};
}

int64_t number(std::span<const int32_t> digits) {
  int64_t n = 0;
  for (const int32_t d : digits) n = 10 * n + d - zero;
  return n;
}

/// A small model of such data, with the weights it starts with.
struct Small {
  Params params{4};
  std::unique_ptr<Model> model;
  explicit Small(const data::Source& source, const std::string& encoding = "sinusoidal") {
    const ModelRow& row = tessera::model("transformer");
    Options said{{"d_model", 16}, {"nhead", 2}, {"dim_feedforward", 32}, {"dropout", 0.0}};
    fit(row, said, {source.name, source.form(), source.classes});
    model = row.make(Scope(params), said, position(encoding));
  }
};

}  // namespace

TEST_CASE("sequences: answers are what was asked, lengths and symbols those of the options") {
  for (const char* text : {"copy", "reverse", "sort", "add", "reverse,length=2-3,symbols=40"}) {
    CAPTURE(text);
    const auto o = few(text);
    const auto made = make(o);
    CHECK(made.train->size() == 300);
    CHECK(made.test->size() == 60);
    CHECK(made.train->classes == 0);
    std::set<size_t> lengths;
    std::set<int32_t> symbols;
    for (int32_t i = 0; i < 300; ++i) {
      const Index x = question(*made.train, i), y = answer(*made.train, i);
      lengths.insert(x.size()), symbols.insert(x.begin(), x.end());
      Index expected = x;
      if (o.task == data::made::Task::reverse) std::reverse(expected.begin(), expected.end());
      if (o.task == data::made::Task::sort) std::sort(expected.begin(), expected.end());
      if (o.task != data::made::Task::add) {
        CHECK(y == expected);
        continue;
      }
      const auto middle = static_cast<size_t>(std::find(x.begin(), x.end(), plus) - x.begin());
      const std::span<const int32_t> all = x;
      if (x.size() < 18) CHECK(number(all.first(middle)) + number(all.subspan(middle + 1)) == number(y));
    }
    CHECK(*lengths.begin() == static_cast<size_t>(o.shortest));
    CHECK(*lengths.rbegin() == static_cast<size_t>(o.longest));
    CHECK(lengths.size() == static_cast<size_t>(o.longest - o.shortest + 1));
    CHECK(*symbols.begin() == zero);
    const int kinds = o.task == data::made::Task::add ? 11 : o.symbols;
    CHECK(*symbols.rbegin() < zero + kinds);
    CHECK(symbols.size() == static_cast<size_t>(kinds));
    CHECK(made.train->form() ==
          InputShape{
              .kind = InputShape::Kind::tokens, .T = o.longest, .vocabulary = zero + kinds, .target = zero + kinds});
  }
}

TEST_CASE("sequences: the same seed is the same data, and no question of the test was trained on") {
  auto o = few("reverse,length=3-4,symbols=4", 250, 40);
  const auto a = make(o), b = make(o);
  CHECK(a.train->digest == b.train->digest);
  CHECK(a.train->digest != a.test->digest);
  o.seed = 1;
  CHECK(make(o).train->digest != a.train->digest);
  std::set<Index> seen;
  for (int32_t i = 0; i < 250; ++i) seen.insert(question(*a.train, i));
  for (int32_t i = 0; i < 40; ++i) CHECK_FALSE(seen.contains(question(*a.test, i)));
  CHECK(error_of([&] { make(few("copy,length=1,symbols=2", 100, 5)); }).find("nearly every question") !=
        std::string::npos);
}

TEST_CASE("sequences: words that make no sense are refused") {
  const auto refused = [](const std::string& text) { return error_of([&] { parse(text); }); };
  CHECK(refused("revers").find("did you mean \"reverse\"") != std::string::npos);
  CHECK(refused("copy,lenght=3").find("did you mean \"length\"") != std::string::npos);
  for (const char* text :
       {"", "copy,length=", "copy,length=5-", "copy,length=0", "copy,length=9-5", "copy,length=-3", "copy,symbols=0",
        "copy,symbols=1e3", "add,symbols=3", "add,length=2", "copy,length=99999999999"})
    CHECK_MESSAGE(!refused(text).empty(), text);
  CHECK(parse("sort,symbols=7,length=12").longest == 12);
  data::TokenPairs own{8, 6, {{3, 7}, {4}}, {{5}, {}}};
  CHECK(data::from_memory(own)->form().T == 2);
  const auto wrong = [&](auto change) {
    data::TokenPairs p = own;
    change(p);
    return error_of([&] { data::from_memory(std::move(p), "mine"); });
  };
  CHECK(wrong([](auto& p) { p.questions[1].clear(); }) == "[data] mine: question 1 is empty");
  CHECK(wrong([](auto& p) { p.questions[0][1] = 8; }).find("question 0 holds token 8, expected 3 to 7") !=
        std::string::npos);
  CHECK(wrong([](auto& p) { p.answers[0][0] = 1; }).find("answer 0 holds token 1, expected 3 to 5") !=
        std::string::npos);
  CHECK(wrong([](auto& p) { p.answers.pop_back(); }).find("2 questions and 1 answers") != std::string::npos);
}

TEST_CASE("sequences: a batch is padded with zeros, and its shards are those samples") {
  const data::TokenPairs own{9, 9, {{3, 4, 5}, {6}, {7, 8}}, {{5, 4}, {6, 6, 6}, {}}};
  data::Loader loader(data::from_memory(own), {.batch_size = 3, .shuffle = false});
  for (const Batch& b : loader.epoch(0)) {
    CHECK(b.in.tokens == Index{3, 4, 5, 6, 0, 0, 7, 8, 0});
    CHECK(b.in.lengths == Index{3, 1, 2});
    CHECK(b.answers == Index{5, 4, 0, 6, 6, 6, 0, 0, 0});
    CHECK(b.answer_lengths == Index{2, 3, 0});
    CHECK(b.answers_of == 5);
    CHECK(b.labels.empty());
    const Input in = SequenceTask().input(b.rows(1, 3));
    CHECK(in.tokens == Index{6, 0, 0, 7, 8, 0});
    CHECK(in.target == Index{1, 6, 6, 6, 1, 0, 0, 0});
    CHECK(in.target_lengths == Index{4, 1});
    CHECK(b.rows(1, 3).answers_of == 5);
  }
}

TEST_CASE(
    "sequences: the loss is the mean over all tokens of a batch, however it is cut, and padding has no part in it") {
  const auto source = make(few("sort,length=2-9", 23, 0)).train;
  const Small small(*source);
  Index all(23);
  std::iota(all.begin(), all.end(), 0);
  const Batch batch = data::gather(*source, all);
  const SequenceTask task(0.1);
  Lanes lanes({.lanes = 3, .shard_size = 4});
  const auto [value, grads] = lanes({Mode::train, 1, 0}, batch, [&](const Run& run, const Batch& shard) {
    Tally tally;
    return task.loss(*small.model, run, shard, tally);
  });
  // each sample by itself, token by token
  double sum = 0;
  int64_t tokens = 0;
  Grads alone;
  for (const int32_t i : all) {
    Batch one = data::gather(*source, std::span(&i, 1));
    const Tensor z = small.model->forward(Run{}, task.input(one)).logits;
    const int K = z.dim(2), n = one.answer_lengths[0];
    for (int t = 0; t <= n; ++t, ++tokens) {
      const int label = t < n ? one.answers[static_cast<size_t>(t)] : SpecialTokens::end;
      double norm = 0, mean = 0;
      for (int k = 0; k < K; ++k)
        norm += std::exp(static_cast<double>(z[t * K + k])), mean += static_cast<double>(z[t * K + k]) / K;
      sum += std::log(norm) - 0.9 * static_cast<double>(z[t * K + label]) - 0.1 * mean;
    }
    one.of = batch.of, one.answers_of = batch.answers_of;
    Tape tape;
    Tally tally;
    tape.backward(task.loss(*small.model, {Mode::train, 1, 0, i}, one, tally), alone);
  }
  CHECK(tokens == batch.answers_of + 23);
  CHECK(value == doctest::Approx(sum / static_cast<double>(tokens)).epsilon(1e-5));
  for (const auto& e : small.params.entries()) {
    CAPTURE(e.name);
    const Tensor a = grads.of(e.value), b = alone.of(e.value);
    for (int64_t i = 0; i < a.size(); ++i) CHECK(std::abs(a[i] - b[i]) <= 2e-5);
  }
}

TEST_CASE("sequences: what evaluation counts as right is what greedy decoding gets right, before and after training") {
  const auto made = make(few("copy,length=1-3,symbols=3", 30, 9));
  Small small(*made.train);
  const SequenceTask task;
  AdamW optimiser(small.params, {});
  int before = 0;
  for (int step = 0; step <= 240; ++step) {
    if (step % 80 == 0) {
      const Evaluation e = evaluate(*small.model, *made.train, task);
      int right = 0;
      for (int32_t i = 0; i < 30; ++i)
        right += decode(*small.model, data::gather(*made.train, std::span(&i, 1)).in, {.most = 8})[0].tokens ==
                 answer(*made.train, i);
      CHECK(e.tally.of[0].count == right);
      CHECK(e.tally.of[1].of > 60);
      CHECK(e.acc5 >= e.acc1);
      if (step == 0) before = right;
      if (step == 240) CHECK(right > before + 10);
    }
    Index all(30);
    std::iota(all.begin(), all.end(), 0);
    Tape tape;
    Grads grads;
    Tally tally;
    tape.backward(
        task.loss(*small.model, {Mode::train, 1, static_cast<uint64_t>(step)}, data::gather(*made.train, all), tally),
        grads);
    optimiser.step(grads, 5e-3);
  }
}

TEST_CASE("sequences: errors of decoded answers are tokens to insert, drop or change") {
  const Index a{3, 4, 5, 6};
  CHECK(edit_distance(a, a) == 0);
  CHECK(edit_distance(a, Index{}) == 4);
  CHECK(edit_distance(Index{}, a) == 4);
  CHECK(edit_distance(a, Index{4, 5, 6}) == 1);
  CHECK(edit_distance(a, Index{3, 9, 5, 6, 7}) == 2);
  CHECK(edit_distance(a, Index{6, 5, 4, 3}) == 4);
  const auto source = make(few("reverse,length=2-4", 20, 0)).train;
  const Small small(*source);
  const DecodedScores e = evaluate_decoded(*small.model, *source, {.most = 6});
  int64_t right = 0, errors = 0, tokens = 0;
  for (int32_t i = 0; i < 20; ++i) {
    const Decoded d = decode(*small.model, data::gather(*source, std::span(&i, 1)).in, {.most = 6})[0];
    right += d.ended && d.tokens == answer(*source, i), errors += edit_distance(d.tokens, answer(*source, i));
    tokens += static_cast<int64_t>(answer(*source, i).size());
  }
  CHECK(e.right.count == right);
  CHECK(e.right.of == 20);
  CHECK(e.errors.count == errors);
  CHECK(e.errors.of == tokens);
}

TEST_CASE("sequences: a run that diverges says where, though tokens are no tensor that could be looked at") {
  const Scratch scratch;
  const auto made = make(few("reverse,length=2-5", 40, 12));
  RunParts parts;
  parts.train = made.train, parts.test = made.test;
  RunConfig c;
  c.model = "transformer";
  c.model_options = {
      {"d_model", 16}, {"nhead", 2}, {"dim_feedforward", 32}, {"num_encoder_layers", 1}, {"num_decoder_layers", 1}};
  c.train.epochs = 3, c.train.batch_size = 16, c.optim.lr = 1e30, c.optim.clip_grad = 0, c.sched.warmup_epochs = 0;
  CHECK_THROWS_WITH_AS(train_run(c, scratch / "run", false, {}, parts), doctest::Contains("not finite"), Error);
}

TEST_CASE(
    "sequences: the test is the same for any number to train on, but for what was trained on, and too many tokens are "
    "refused") {
  const auto one = make(few("sort,length=8-9", 40, 12)), other = make(few("sort,length=8-9", 80, 12));
  for (int32_t i = 0; i < 12; ++i) CHECK(question(*one.test, i) == question(*other.test, i));
  CHECK_THROWS_WITH_AS(make(few("sort,length=4096", 4'000'000, 12)), doctest::Contains("2^27 tokens"), Error);
}

TEST_CASE("sequences: a run chooses its task by its data, and resumes to the same bits") {
  const Scratch scratch;
  const auto made = make(few("reverse,length=2-5", 40, 12));
  RunParts parts;
  parts.train = made.train, parts.val = parts.test = made.test;
  RunConfig c;
  c.model = "transformer";
  c.model_options = {
      {"d_model", 16}, {"nhead", 2}, {"dim_feedforward", 32}, {"num_encoder_layers", 1}, {"num_decoder_layers", 1}};
  c.train.epochs = 3, c.train.batch_size = 16;
  const RunResult whole = train_run(c, scratch / "whole", false, {}, parts);
  CHECK(whole.finished);
  const auto rows = metrics(scratch / "whole");  // a line each of training and validation an epoch, and the test
  REQUIRE(rows.size() == 7);
  CHECK(rows[4]["loss"] < rows[0]["loss"]);
  CHECK(rows[4]["split"] == "train");
  int steps = 0;
  Hooks hooks;
  hooks.stop = [&] { return ++steps == 4; };
  train_run(c, scratch / "parts", false, hooks, parts);
  train_run(c, scratch / "parts", true, {}, parts);
  check_equal_runs(scratch / "whole", scratch / "parts");
  CHECK(summary(scratch / "whole")["macs"].get<int64_t>() > 10'000);
  RunConfig vit = c;
  vit.model = "vit", vit.model_options = {};
  CHECK_THROWS_WITH_AS(
      train_run(vit, "", false, {}, parts),
      doctest::Contains("vit takes images of 32 x 32 with 3 channels, but sequences:reverse train holds sequences"),
      Misfit);
  c.model_options["vocab_size"] = 5;
  CHECK_THROWS_WITH_AS(train_run(c, "", false, {}, parts), doctest::Contains("model.vocab_size is 5 but"), Misfit);
}

}  // namespace tessera::test
