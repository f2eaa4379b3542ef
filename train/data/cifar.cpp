// CIFAR-10 and CIFAR-100 (Krizhevsky 2009), binary version: records of one label byte (CIFAR-100: coarse, then fine)
// and 3072 pixel bytes, planar red, green, blue, each 32 x 32 row by row.
#include "core/error.h"
#include "train/data/readers.h"

namespace tessera::data {
namespace {

constexpr size_t plane = 32 * 32, image_bytes = 3 * plane;

struct Format {
  size_t label_bytes;   // the last one is the label
  int classes, coarse;  // coarse: number of values of the first byte, if there are two
  int64_t record() const { return static_cast<int64_t>(label_bytes + image_bytes); }
};

void append(Samples& to, Folder& folder, const std::string& file, int64_t records, const Format& f) {
  const auto bytes = folder.read(file, records * f.record());
  to.h = to.w = 32, to.channels = 3;
  const size_t begin = to.pixels.size();
  to.pixels.resize(begin + static_cast<size_t>(records) * image_bytes);
  uint8_t* out = to.pixels.data() + begin;
  const uint8_t* in = bytes.data();
  for (int64_t r = 0; r < records; ++r, out += image_bytes, in += f.record()) {
    const int label = in[f.label_bytes - 1];
    if (label >= f.classes)
      fail("data", "{}/{}: record {} has label byte {}, but labels are 0 to {}; the file is damaged, fetch it again",
           folder.path(), file, r, label, f.classes - 1);
    if (f.coarse && in[0] >= f.coarse)
      fail("data",
           "{}/{}: record {} has coarse label byte {}, but these are 0 to {}; the file is damaged, fetch it again",
           folder.path(), file, r, static_cast<int>(in[0]), f.coarse - 1);
    to.labels.push_back(label);
    const uint8_t* red = in + f.label_bytes;
    for (size_t i = 0; i < plane; ++i) {
      out[3 * i] = red[i];
      out[3 * i + 1] = red[plane + i];
      out[3 * i + 2] = red[2 * plane + i];
    }
  }
}

// One name a line, as in fine_label_names.txt; numbers when the file is not there or does not fit.
std::vector<std::string> class_names(const Folder& folder, const std::string& file, int classes) {
  std::vector<std::string> names;
  if (folder.has(file)) {
    std::string line;
    for (uint8_t c : read_file(folder.path() + "/" + file)) {
      if (c != '\n') {
        if (c != '\r') line += static_cast<char>(c);
      } else if (!line.empty()) {
        names.push_back(std::exchange(line, {}));
      }
    }
    if (!line.empty()) names.push_back(line);
  }
  if (names.size() != static_cast<size_t>(classes)) {
    names.clear();
    for (int i = 0; i < classes; ++i) names.push_back(std::to_string(i));
  }
  return names;
}

}  // namespace

Named read_cifar10(const std::string& path) {
  constexpr Format format{1, 10, 0};
  Folder folder(path);
  Samples train, test;
  train.pixels.reserve(50'000 * image_bytes);
  for (int i = 1; i <= 5; ++i) append(train, folder, "data_batch_" + std::to_string(i) + ".bin", 10'000, format);
  append(test, folder, "test_batch.bin", 10'000, format);
  return assemble("cifar10", std::move(train), std::move(test),
                  {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
                  folder.digest(), folder.official());
}

Named read_cifar100(const std::string& path) {
  constexpr Format format{2, 100, 20};
  Folder folder(path);
  Samples train, test;
  append(train, folder, "train.bin", 50'000, format);
  append(test, folder, "test.bin", 10'000, format);
  return assemble("cifar100", std::move(train), std::move(test), class_names(folder, "fine_label_names.txt", 100),
                  folder.digest(), folder.official());
}

}  // namespace tessera::data
