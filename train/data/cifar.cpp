// CIFAR-10 and CIFAR-100 (Krizhevsky 2009), binary version: records of one label byte (CIFAR-100: coarse, then fine)
// and 3072 pixel bytes, planar red, green, blue, each 32 x 32 row by row.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t plane = 32 * 32, image_bytes = 3 * plane;
constexpr uintmax_t most_records = 1'000'000;  // of one file in a folder of any size: 3 GB

struct Format {
  const char* name;     // "cifar10"
  size_t label_bytes;   // the last one is the label
  int classes, coarse;  // coarse: number of values of the first byte, if there are two
  std::vector<std::string> train;
  std::string test;
  int64_t train_records, test_records;  // of each file in the official set
  int64_t record() const { return static_cast<int64_t>(label_bytes + image_bytes); }
};

const Format cifar10{
    "cifar10",
    1,
    10,
    0,
    {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
    "test_batch.bin",
    10'000,
    10'000};
const Format cifar100{"cifar100", 2, 100, 20, {"train.bin"}, "test.bin", 50'000, 10'000};

// Stops at a file that is not the official one by its size. Whole records are likely a cut that somebody made on
// purpose: say how to open those.
void check_official_size(const Folder& folder, const std::string& file, int64_t records, const Format& f) {
  std::error_code none;
  const auto bytes = static_cast<int64_t>(fs::file_size(folder.path() + "/" + file, none));
  if (!none && bytes > 0 && bytes % f.record() == 0 && bytes / f.record() != records)
    fail("data", "{}/{} holds {} records, {} are right: fetch it again, or open this folder as it is with {}:{}",
         folder.path(), file, bytes / f.record(), records, f.name, folder.path());
}

// How many whole records a file of any size holds.
int64_t count_records(const Folder& folder, const std::string& file, const Format& f) {
  const std::string path = folder.path() + "/" + file;
  std::error_code none;
  const auto bytes = fs::file_size(path, none);
  const auto record = static_cast<uintmax_t>(f.record());
  if (none || bytes == 0) return 0;  // reading it will say what is wrong
  if (bytes % record != 0)
    fail("data", "{} has {} bytes, which is no whole number of records of {} bytes: it was cut off; copy it again",
         path, bytes, record);
  if (bytes / record > most_records)
    fail("data", "{} holds {} records; {} are the most that are read of one file", path, bytes / record, most_records);
  return static_cast<int64_t>(bytes / record);
}

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

std::vector<std::string> class_names(const Folder& folder, const Format& f) {
  if (f.classes == 100) return class_names(folder, "fine_label_names.txt", 100);
  return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
}

// The official set, and nothing else.
TrainTest read_whole(const std::string& path, const Format& f) {
  Folder folder(path);
  Samples train, test;
  train.pixels.reserve(f.train.size() * static_cast<size_t>(f.train_records) * image_bytes);
  for (const std::string& file : f.train) {
    check_official_size(folder, file, f.train_records, f);
    append(train, folder, file, f.train_records, f);
  }
  check_official_size(folder, f.test, f.test_records, f);
  append(test, folder, f.test, f.test_records, f);
  return assemble(f.name, std::move(train), std::move(test), class_names(folder, f), folder.digest(),
                  folder.official());
}

// What stands for an official file in a folder with a part of the set: the file itself, else the one that adds to its
// name (data_batch_1_first4000.bin), else "".
std::string find_part(const Folder& folder, const std::string& official) {
  if (folder.has(official)) return official;
  const std::string stem = official.substr(0, official.rfind('.')) + "_";
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(folder.path(), error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(stem) && name.ends_with(".bin")) found.push_back(name);
  }
  if (error) fail("data", "cannot list {}: {}", folder.path(), error.message());
  std::sort(found.begin(), found.end());
  if (found.size() > 1)
    fail("data", "{}: {} could all stand for {}; leave one of them there", folder.path(), fmt::join(found, ", "),
         official);
  return found.empty() ? "" : found[0];
}

// What a folder holds: files of any number of records, not all training files need be there.
TrainTest read_part(const std::string& path, const Format& f) {
  std::error_code none;
  if (!fs::is_directory(path, none))
    fail("data", "{}:{}: there is no folder {}; name one that holds {} and {}", f.name, path, path, f.train.front(),
         f.test);
  Folder folder(path);
  std::vector<std::string> train_files;
  for (const std::string& file : f.train)
    if (std::string found = find_part(folder, file); !found.empty()) train_files.push_back(std::move(found));
  const std::string test_file = find_part(folder, f.test);
  if (train_files.empty() || test_file.empty())
    fail("data", "{} holds no {}; {}:DIR needs {} and, of {}, at least one", path,
         train_files.empty() ? f.train.front() : f.test, f.name, f.test, fmt::join(f.train, ", "));
  Samples train, test;
  for (const std::string& file : train_files) append(train, folder, file, count_records(folder, file, f), f);
  append(test, folder, test_file, count_records(folder, test_file, f), f);
  TrainTest data = assemble(fmt::format("{}:{}", f.name, path), std::move(train), std::move(test),
                            class_names(folder, f), folder.digest(), false);
  data.note =
      fmt::format("{} holds {} training and {} test images; the official {} has {} and {}", path, data.train.size(),
                  data.test.size(), f.name, f.train_records * static_cast<int64_t>(f.train.size()), f.test_records);
  return data;
}

}  // namespace

TrainTest read_cifar10(const std::string& path) { return read_whole(path, cifar10); }
TrainTest read_cifar100(const std::string& path) { return read_whole(path, cifar100); }
TrainTest read_part_of_cifar10(const std::string& path) { return read_part(path, cifar10); }
TrainTest read_part_of_cifar100(const std::string& path) { return read_part(path, cifar100); }

}  // namespace tessera::data
