#include "tessera/train/data/memory.h"

#include <algorithm>
#include <cmath>

#include "tessera/core/error.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/frames.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

template <class T>
std::span<const uint8_t> bytes_of(const std::vector<T>& v) {
  return {reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(T)};
}

void check_sequences(const std::string& name, const Sequences& s) {
  if (s.features < 1) fail("data", "{}: frames of {} features, expected at least 1", name, s.features);
  if (s.lengths.empty() || s.lengths.size() > static_cast<size_t>(INT32_MAX))
    fail("data", "{} has {} sequences, expected 1 to 2^31 - 1", name, s.lengths.size());
  const auto features = static_cast<size_t>(s.features);
  size_t at = 0;
  for (size_t i = 0; i < s.lengths.size(); ++i) {
    if (s.lengths[i] < 1) fail("data", "{}: sequence {} has {} frames, expected at least 1", name, i, s.lengths[i]);
    const size_t n = static_cast<size_t>(s.lengths[i]) * features;
    if (n > s.values.size() - at)
      fail("data", "{}: sequence {} needs {} frames of {} features, but {} numbers are left of {}", name, i,
           s.lengths[i], features, s.values.size() - at, s.values.size());
    for (size_t k = at; k < at + n; ++k)
      if (!std::isfinite(s.values[k]))
        fail("data", "{}: sequence {} has {} in frame {}, feature {}; every number has to be finite", name, i,
             s.values[k], (k - at) / features, (k - at) % features);
    at += n;
  }
  if (at != s.values.size())
    fail("data", "{}: {} sequences have {} numbers, but there are {}: lengths do not add up", name, s.lengths.size(),
         at, s.values.size());
}

}  // namespace

Sequences sequences(std::span<const std::vector<float>> samples, int features, Index labels) {
  Sequences s{features, {}, {}, std::move(labels)};
  for (size_t i = 0; i < samples.size(); ++i) {
    const size_t n = samples[i].size(), width = features > 0 ? static_cast<size_t>(features) : 1;
    if (n % width != 0 || n / width > static_cast<size_t>(INT32_MAX))
      fail("data", "sequence {} has {} numbers, which are no frames of {} features", i, n, features);
    s.lengths.push_back(static_cast<int32_t>(n / width));
    s.values.insert(s.values.end(), samples[i].begin(), samples[i].end());
  }
  return s;
}

TrainTest from_memory(Samples train, std::vector<std::string> class_names, Samples test, Samples val,
                      const std::string& name) {
  Digest digest(Digest::sha256);
  for (const Samples* s : {&train, &test, &val}) digest.add(s->pixels).add(bytes_of(s->labels));
  return put_together(name, std::move(train), std::move(test), std::move(class_names), digest.hex(), false,
                      std::move(val));
}

std::shared_ptr<const Source> from_memory(Sequences s, std::vector<std::string> class_names, const std::string& name) {
  check_sequences(name, s);
  if (!class_names.empty() || !s.labels.empty())
    check_labels(name, "sequence", s.labels, s.lengths.size(), class_names);
  const int longest = *std::max_element(s.lengths.begin(), s.lengths.end());
  auto source = std::make_shared<Frames>(std::make_shared<const Sequences>(std::move(s)), longest);
  source->name = name, source->classes = static_cast<int>(class_names.size());
  source->class_names = std::move(class_names);
  source->digest = Digest(Digest::sha256)
                       .add(bytes_of(source->data->values))
                       .add(bytes_of(source->data->lengths))
                       .add(bytes_of(source->data->labels))
                       .hex();
  return source;
}

}  // namespace tessera::data
