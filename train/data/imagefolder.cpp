// imagefolder:DIR: class folders of PNG and JPEG files, below train/, val/ and test/, or directly below DIR.
#include <fmt/format.h>

#include "tessera/core/error.h"
#include "tessera/train/data/class_folders.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/image.h"
#include "tessera/train/data/readers.h"

namespace tessera::data {

const FileKind& picture_files() {
  static const FileKind kind{
      "imagefolder", "PNG or JPEG file", "PNG and JPEG", "images", {"png", "jpg", "jpeg", "jpe", "jfif"}};
  return kind;
}

namespace {

struct PictureReader {
  int img_size = 0;
  Digest digest{Digest::sha256};
  std::string first{};  // the file that set the size
  int height = 0, width = 0;

  void add(Samples& to, const LabelledFile& file) {
    Image image = read_image(file.path);
    if (img_size > 0 && (image.h != img_size || image.w != img_size)) image = fit(image, img_size);
    if (first.empty()) first = file.path, height = image.h, width = image.w;
    if (image.h != height || image.w != width)
      fail("data",
           "{} is {}x{} pixels but {} is {}x{}; give one size to all: data.img_size=N (data info: --img-size N)",
           file.path, image.w, image.h, first, width, height);
    to.h = height, to.w = width, to.channels = 3;
    to.pixels.insert(to.pixels.end(), image.pixels.begin(), image.pixels.end());
    to.labels.push_back(file.label);
    digest.add(fmt::format("{} {} {}\n", file.label, image.w, image.h)).add(image.pixels);
  }
  Samples read(const std::vector<LabelledFile>& files) {
    Samples samples;
    for (const LabelledFile& file : files) add(samples, file);
    return samples;
  }
};

Samples some_of(const Samples& all, const Index& which) {
  Samples some{all.h, all.w, all.channels, {}, {}};
  const size_t bytes = static_cast<size_t>(all.h) * static_cast<size_t>(all.w) * static_cast<size_t>(all.channels);
  for (const int32_t i : which) {
    const auto begin = all.pixels.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(i) * bytes);
    some.pixels.insert(some.pixels.end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
    some.labels.push_back(all.labels[static_cast<size_t>(i)]);
  }
  return some;
}

}  // namespace

TrainTest read_imagefolder(const std::string& dir, const OpenOptions& options) {
  if (options.img_size < 0 || options.img_size > 4096)
    fail("data", "img_size {} makes no sense; 1 to 4096, or 0 to leave images as they are", options.img_size);
  const ClassFolders found = find_classes(picture_files(), dir);
  PictureReader reader{.img_size = options.img_size};
  Samples train = reader.read(found.train), val = reader.read(found.val), test = reader.read(found.test);
  if (!found.split) {
    const auto [four, one] = four_fifths(train.labels, found.classes.size(), options.seed);
    test = some_of(train, one), train = some_of(train, four);
  }
  TrainTest data = assemble("imagefolder:" + dir, std::move(train), std::move(test), found.classes, reader.digest.hex(),
                            false, std::move(val));
  data.note = note_of(picture_files(), dir, found, data.train.size(), data.test.size());
  return data;
}

}  // namespace tessera::data
