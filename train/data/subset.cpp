#include "tessera/train/data/subset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/core/error.h"
#include "tessera/core/rng.h"
#include "tessera/train/data/frames.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/sample_name.h"

namespace tessera::data {
namespace {

/// Samples of another source, in an order of their own and with class c called number[c].
struct View final : Source {
  std::shared_ptr<const Source> of;
  Index rows;
  Index number;  // none: the classes are those of `of`

  View(std::shared_ptr<const Source> source, Index which) : of(std::move(source)), rows(std::move(which)) {
    name = of->name, classes = of->classes, class_names = of->class_names;
    digest = of->digest, official = of->official;
  }
  size_t at(size_t i) const { return static_cast<size_t>(rows[i]); }
  size_t size() const override { return rows.size(); }
  InputShape form() const override { return of->form(); }
  int label(size_t i) const override {
    const int k = of->label(at(i));
    return number.empty() ? k : number[static_cast<size_t>(k)];
  }
  int length(size_t i) const override { return of->length(at(i)); }
  std::span<const int32_t> answer(size_t i) const override { return of->answer(at(i)); }
  Normalisation normalisation() const override { return of->normalisation(); }
  std::shared_ptr<const Source> normalised_by(const Normalisation& by) const override {
    auto view = std::make_shared<View>(*this);
    view->of = of->normalised_by(by);
    return view;
  }
  std::unique_ptr<Reader> reader(const Augment& augment) const override;
};

struct ViewReader final : Reader {
  ViewReader(const View& v, std::unique_ptr<Reader> r) : view(v), reader(std::move(r)) {}
  void begin(uint64_t seed, int epoch) override { reader->begin(seed, epoch); }
  void fill(size_t i, rng::Stream stream, const Slot& slot) override { reader->fill(view.at(i), stream, slot); }
  void mix(Batch& batch, rng::Stream stream) override { reader->mix(batch, stream); }
  const View& view;
  const std::unique_ptr<Reader> reader;
};

std::unique_ptr<Reader> View::reader(const Augment& augment) const {
  return std::make_unique<ViewReader>(*this, of->reader(augment));
}

std::shared_ptr<Source> subset(const std::shared_ptr<const Source>& source, Index which) {
  if (const auto* set = dynamic_cast<const Set*>(source.get())) return std::make_shared<Set>(subset(*set, which));
  return std::make_shared<View>(source, std::move(which));
}

}  // namespace

Index permutation(size_t n, uint64_t seed) {
  Index order(n);
  std::iota(order.begin(), order.end(), 0);
  const rng::Stream stream(rng::mix(seed));
  for (size_t i = n; i > 1; --i) std::swap(order[i - 1], order[stream.below(i, static_cast<uint32_t>(i))]);
  return order;
}

std::pair<Index, Index> split_rows(const Source& source, size_t first, size_t second, uint64_t seed) {
  const size_t n = source.size();
  if (first > n || second > n - first)
    fail("data", "cannot split {} + {} {}s from {}, which has {}", first, second, source.form().unit(), source.name, n);
  const Index order = permutation(n, seed ^ rng::hash("split"));
  const auto at = [&](size_t i) { return order.begin() + static_cast<std::ptrdiff_t>(i); };
  return {Index(at(0), at(first)), Index(at(first), at(first + second))};
}

Index fraction_rows(const Source& source, double share, uint64_t seed) {
  if (!(share > 0 && share <= 1))
    fail("data", "fraction {} of {}: it must be above 0 and at most 1", share, source.name);
  std::vector<int64_t> left = histogram(source);
  if (left.empty()) left = {static_cast<int64_t>(source.size())};
  for (int64_t& n : left) n = n > 0 ? std::max<int64_t>(1, std::llround(share * static_cast<double>(n))) : 0;
  Index rows;
  for (const int32_t i : permutation(source.size(), seed ^ rng::hash("fraction"))) {
    int64_t& n = left[source.classes > 0 ? static_cast<size_t>(source.label(static_cast<size_t>(i))) : 0];
    if (n > 0) --n, rows.push_back(i);
  }
  return rows;
}

std::pair<std::shared_ptr<const Source>, std::shared_ptr<const Source>> split(
    const std::shared_ptr<const Source>& source, size_t first, size_t second, uint64_t seed) {
  auto [a, b] = split_rows(*source, first, second, seed);
  const auto rest = subset(source, std::move(b));
  rest->name += held_out;
  return {subset(source, std::move(a)), rest};
}

std::shared_ptr<const Source> fraction(const std::shared_ptr<const Source>& source, double share, uint64_t seed) {
  return subset(source, fraction_rows(*source, share, seed));
}

std::string sample_name(const Source& source, size_t i) {
  if (const auto* view = dynamic_cast<const View*>(&source)) return sample_name(*view->of, view->at(i));
  if (const auto* frames = dynamic_cast<const Frames*>(&source))
    if (!frames->files.empty()) return frames->files[i];
  return fmt::format("sample {} of {}", i, source.name);
}

std::shared_ptr<const Source> under_names(const std::shared_ptr<const Source>& source,
                                          const std::vector<std::string>& names) {
  if (source->class_names == names) return source;
  Index number;
  for (const std::string& name : source->class_names) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end())
      fail("data", "{} has a class \"{}\" that the run does not know; it was trained on: {}", source->name, name,
           fmt::join(names, ", "));
    number.push_back(static_cast<int32_t>(it - names.begin()));
  }
  std::shared_ptr<Source> renamed;
  if (const auto* set = dynamic_cast<const Set*>(source.get())) {
    auto pictures = std::make_shared<Set>(*set);
    auto labels = std::make_shared<Index>(*set->labels);
    for (int32_t& label : *labels) label = number[static_cast<size_t>(label)];
    pictures->labels = std::move(labels);
    renamed = std::move(pictures);
  } else {
    Index all(source->size());
    std::iota(all.begin(), all.end(), 0);
    auto view = std::make_shared<View>(source, std::move(all));
    view->number = std::move(number);
    renamed = std::move(view);
  }
  renamed->class_names = names, renamed->classes = static_cast<int>(names.size());
  return renamed;
}

}  // namespace tessera::data
