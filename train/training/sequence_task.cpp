#include "tessera/train/training/sequence_task.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/core/ops/embedding.h"
#include "tessera/core/ops/loss.h"
#include "tessera/train/training/classification.h"
#include "tessera/train/training/loss.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// What a model said of a sample's answer, token by token.
struct Said {
  int right = 0, of = 0;
  bool finite = true;
};

/// Of sample b: the row of its logits z (B, S + 1, K) after t tokens, and the token that belongs there, t from 0 to the answer's length.
class Rows {
 public:
  Rows(const Tensor& z, const Batch& batch, const char* who) : z_(z), batch_(batch), S_(batch.answers.width()) {
    if (!batch.answers) fail(who, "the samples have no answers");
    if (z.rank() != 3 || z.dim(0) != batch.size() || z.dim(1) != S_ + 1)
      fail(who, "the model's output is {} for {} answers of up to {} tokens", z.shape().str(), batch.size(), S_);
    for (const int32_t y : batch.answers)
      if (y < 0 || y >= z.dim(2)) fail(who, "an answer holds token {}, but the model knows {}", y, z.dim(2));
  }
  int length(int b) const { return batch_.answer_lengths[static_cast<size_t>(b)]; }
  int32_t row(int b, int t) const { return b * (S_ + 1) + t; }
  int32_t label(int b, int t) const {
    return t < length(b) ? batch_.answers[static_cast<size_t>(b) * static_cast<size_t>(S_) + static_cast<size_t>(t)]
                         : SpecialTokens::end;
  }
  std::span<const real> logits(int b, int t) const {
    const auto K = static_cast<size_t>(z_.dim(2));
    return z_.read().subspan(static_cast<size_t>(row(b, t)) * K, K);
  }
  Said said(int b) const {
    Said s;
    for (int t = 0; t <= length(b); ++t, ++s.of) {
      const int named = named_class(logits(b, t));
      s.right += named == label(b, t), s.finite &= named != no_class;
    }
    return s;
  }

 private:
  const Tensor& z_;
  const Batch& batch_;
  int S_;
};

void count(const Said& s, Tally& tally) {
  ++tally.samples, ++tally.of[0].of, tally.of[0].count += s.right == s.of;
  tally.of[1].count += s.right, tally.of[1].of += s.of;
  tally.undecided += !s.finite;
}

}  // namespace

std::span<const Metric> SequenceTask::metrics() const {
  static constexpr Metric all[] = {{"sequences"}, {"tokens"}};
  return all;
}

Input SequenceTask::input(const Batch& batch) const {
  Input in = batch.in;
  const int B = batch.size(), S = batch.answers.width();
  in.target = Ints(B, S + 1), in.target_lengths = Ints(B);
  for (int b = 0; b < B; ++b) {
    int32_t* row = in.target.data() + int64_t{b} * (S + 1);
    *row = SpecialTokens::begin;
    std::copy_n(batch.answers.data() + int64_t{b} * S, S, row + 1);
    in.target_lengths.data()[b] = batch.answer_lengths[static_cast<size_t>(b)] + 1;
  }
  return in;
}

Tensor SequenceTask::loss(const Model& model, const Run& run, const Batch& shard, Tally& tally) const {
  const Tensor z = model.forward(run, input(shard)).logits;
  const Rows rows(z, shard, "sequences");
  int n = 0;
  for (int b = 0; b < shard.size(); ++b) count(rows.said(b), tally), n += rows.length(b) + 1;
  Ints valid(n), labels(n);
  int i = 0;
  for (int b = 0; b < shard.size(); ++b)
    for (int t = 0; t <= rows.length(b); ++t, ++i)
      valid.data()[i] = rows.row(b, t), labels.data()[i] = rows.label(b, t);
  const double all = static_cast<double>(shard.answers_of) + shard.of;  // each answer has an end, too
  return soft_cross_entropy(embedding(z.reshape({-1, z.dim(2)}), valid), labels, smoothing_, 1 / all);
}

void SequenceTask::judge(const Output& output, const Batch& batch, Tally& tally, std::span<Outcome> outcomes) const {
  if (outcomes.size() != static_cast<size_t>(batch.size()))
    fail("sequences", "{} outcomes for {} samples", outcomes.size(), batch.size());
  const Rows rows(output.logits, batch, "sequences");
  for (int b = 0; b < batch.size(); ++b) {
    const Said s = rows.said(b);
    count(s, tally);
    double sum = 0;
    for (int t = 0; t < s.of; ++t) sum += surprise(rows.logits(b, t), rows.label(b, t));
    tally.loss += s.finite ? sum / s.of : std::numeric_limits<double>::quiet_NaN();
    outcomes[static_cast<size_t>(b)] = {};
  }
}

std::shared_ptr<const Task> task_of(const InputShape& model, const data::Source& data, double smoothing) {
  if (model.target > 0 && data.form().target > 0) return std::make_shared<const SequenceTask>(smoothing);
  return std::make_shared<const Classification>(data.classes, smoothing);
}

}  // namespace TESSERA_NS
}  // namespace tessera
