#include "tessera/train/data/source.h"

#include <algorithm>
#include <limits>

#include "tessera/core/error.h"
#include "tessera/train/data/augment.h"

namespace tessera::data {
namespace {

int as_rows(int64_t rows) {
  if (rows > std::numeric_limits<int>::max()) fail("data", "a batch of {} rows is too large", rows);
  return static_cast<int>(rows);
}

}  // namespace

// Both grow to the largest batch. A buffer of which someone kept a copy is left to him.
Tensor BatchMemory::floats(Tensor& memory, int64_t rows, int width) {
  const int n = as_rows(rows);
  if (!memory || !memory.unique() || memory.dim(0) < n || memory.dim(1) != width) memory = Tensor({n, width});
  return memory.dim(0) == n ? memory : memory.rows(0, n);
}

Ints BatchMemory::numbers(Ints& memory, int64_t count) {
  const int n = as_rows(count);
  if (!memory || !memory.unique() || memory.count() < n) memory = Ints(n);
  return memory.rows(0, n);
}

void BatchMemory::gather_answers(const Source& source, std::span<const int32_t> which, Batch& batch) {
  const int n = batch.of;
  const auto of = [&](int j) { return source.answer(static_cast<size_t>(which[static_cast<size_t>(j)])); };
  batch.answer_lengths = numbers(answer_lengths_, n);
  int longest = 1;
  for (int j = 0; j < n; ++j) {
    const int length = as_rows(static_cast<int64_t>(of(j).size()));
    batch.answer_lengths.data()[j] = length, longest = std::max(longest, length), batch.answers_of += length;
  }
  batch.answers = numbers(answers_, int64_t{n} * longest).reshape(n, longest);
  for (int j = 0; j < n; ++j) {
    int32_t* row = batch.answers.data() + int64_t{j} * longest;
    std::fill(std::copy(of(j).begin(), of(j).end(), row), row + longest, 0);
  }
}

Batch BatchMemory::gather(const Source& source, Reader& reader, std::span<const int32_t> which, uint64_t key) {
  const InputShape form = source.form();
  const auto n = static_cast<int>(which.size());
  const auto at = [](int32_t i) { return static_cast<size_t>(i); };
  Batch batch;
  batch.of = n;
  if (source.classes > 0) {
    batch.labels = numbers(labels_, n);
    for (int j = 0; j < n; ++j) batch.labels.data()[j] = source.label(at(which[at(j)]));
  }
  if (form.target > 0) gather_answers(source, which, batch);
  int longest = 1;
  if (form.ragged()) {
    batch.in.lengths = numbers(lengths_, n);
    for (int j = 0; j < n; ++j) {
      const int length = source.length(at(which[at(j)]));
      batch.in.lengths.data()[j] = length, longest = std::max(longest, length);
    }
  }
  const int width = form.ragged() ? form.features : form.h * form.w * form.channels;  // of a row
  if (form.kind == InputShape::Kind::tokens) {
    batch.in.tokens = numbers(tokens_, int64_t{n} * longest).reshape(n, longest);
  } else {
    const Tensor rows = floats(x_, int64_t{n} * longest, width);
    batch.in.x = form.ragged() ? rows.reshape({n, longest, width}) : rows.reshape({n, form.h, form.w, form.channels});
  }
  for (int j = 0; j < n; ++j) {
    const auto i = at(which[at(j)]);
    const int64_t begin = int64_t{j} * longest, used = form.ragged() ? batch.in.lengths[at(j)] : 1;
    Slot slot;
    if (batch.in.x) slot.x = batch.in.x.data() + begin * width;
    if (batch.in.tokens) slot.tokens = batch.in.tokens.data() + begin;
    reader.fill(i, rng::Stream(rng::mix(key + i)), slot);
    if (slot.x) std::fill(slot.x + used * width, slot.x + longest * width, real{0});
    if (slot.tokens) std::fill(slot.tokens + used, slot.tokens + longest, 0);
  }
  return batch;
}

std::shared_ptr<const Source> Source::normalised_by(const Normalisation&) const {
  fail("data", "{} is taken as it is: there is no normalisation to replace", name);
}

std::vector<int64_t> histogram(const Source& source) {
  std::vector<int64_t> count(static_cast<size_t>(source.classes));
  if (source.classes > 0)
    for (size_t i = 0; i < source.size(); ++i) ++count[static_cast<size_t>(source.label(i))];
  return count;
}

Batch gather(const Source& source, std::span<const int32_t> which) {
  for (const int32_t i : which)
    if (i < 0 || static_cast<size_t>(i) >= source.size())
      fail("data", "{} has {} samples, number {} was asked for", source.name, source.size(), i);
  return BatchMemory().gather(source, *source.reader({}), which, 0);
}

}  // namespace tessera::data
