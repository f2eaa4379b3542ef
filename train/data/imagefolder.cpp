// imagefolder:DIR: class folders of PNG and JPEG files, below train/ and test/ (or val/), or directly below DIR.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "core/rng.h"
#include "train/data/digest.h"
#include "train/data/image.h"
#include "train/data/readers.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

bool is_picture(const fs::path& path) {
  std::string e = path.extension().string();
  std::transform(e.begin(), e.end(), e.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return e == ".png" || e == ".jpg" || e == ".jpeg";
}

bool hidden(const fs::path& path) { return path.filename().string().starts_with("."); }

/// Sorted, so that class numbers and orders never depend on the file system.
std::vector<fs::path> entries(const fs::path& dir) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    if (!hidden(it->path())) all.push_back(it->path());
  if (error) fail("data", "cannot list {}: {}", dir.string(), error.message());
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::string> class_folders(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& e : entries(dir))
    if (fs::is_directory(e)) names.push_back(e.filename().string());
  return names;
}

struct Reader {
  int img_size = 0;
  Digest digest{Digest::sha256};
  std::string first;  // the file that set the size
  int height = 0, width = 0;

  void add(Samples& to, const fs::path& path, int label) {
    Image image = read_image(path.string());
    if (img_size > 0 && (image.h != img_size || image.w != img_size)) image = fit(image, img_size);
    if (first.empty()) first = path.string(), height = image.h, width = image.w;
    if (image.h != height || image.w != width)
      fail("data", "{} is {}x{} pixels but {} is {}x{}; give one size to all with img_size (data.img_size=N)",
           path.string(), image.w, image.h, first, width, height);
    to.h = height, to.w = width, to.channels = 3;
    to.pixels.insert(to.pixels.end(), image.pixels.begin(), image.pixels.end());
    to.labels.push_back(label);
    digest.add(fmt::format("{} {} {}\n", label, image.w, image.h)).add(image.pixels);
  }
};

Samples read_classes(Reader& reader, const fs::path& dir, const std::vector<std::string>& classes) {
  for (const auto& found : class_folders(dir))
    if (std::find(classes.begin(), classes.end(), found) == classes.end())
      fail("data", "{} has the class folder '{}' that the training folder lacks", dir.string(), found);
  Samples samples;
  for (size_t label = 0; label < classes.size(); ++label) {
    const fs::path folder = dir / classes[label];
    size_t count = 0;
    if (fs::is_directory(folder))
      for (const auto& file : entries(folder))
        if (is_picture(file)) reader.add(samples, file, static_cast<int>(label)), ++count;
    if (count == 0) fail("data", "{} holds no PNG or JPEG file", folder.string());
  }
  return samples;
}

// Every fifth sample of each class, in random order, goes to the test set.
std::pair<Samples, Samples> cut(const Samples& all, size_t classes, uint64_t seed) {
  std::vector<size_t> seen(classes, 0);
  std::pair<Samples, Samples> parts;
  const size_t bytes = static_cast<size_t>(all.h) * static_cast<size_t>(all.w) * static_cast<size_t>(all.channels);
  for (int32_t i : permutation(all.labels.size(), seed ^ rng::hash("imagefolder"))) {
    const int32_t label = all.labels[static_cast<size_t>(i)];
    Samples& s = seen[static_cast<size_t>(label)]++ % 5 == 1 ? parts.second : parts.first;
    s.h = all.h, s.w = all.w, s.channels = all.channels;
    const auto begin = all.pixels.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(i) * bytes);
    s.pixels.insert(s.pixels.end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
    s.labels.push_back(label);
  }
  return parts;
}

}  // namespace

Named read_imagefolder(const std::string& dir, const OpenOptions& options) {
  const fs::path root(dir);
  if (!fs::is_directory(root)) fail("data", "imagefolder: {} is not a folder", dir);
  if (options.img_size < 0 || options.img_size > 4096)
    fail("data", "img_size {} makes no sense; 1 to 4096, or 0 to leave images as they are", options.img_size);
  const bool two_levels = fs::is_directory(root / "train");
  const fs::path test = fs::is_directory(root / "test") ? root / "test" : root / "val";
  if (two_levels && !fs::is_directory(test))
    fail("data", "{} has a train folder but neither test nor val; add one, or put the class folders directly below {}",
         dir, dir);
  const auto classes = class_folders(two_levels ? root / "train" : root);
  if (classes.size() < 2)
    fail("data", "{} has {} class folders; at least two are needed (train/CLASS/*.png and test/CLASS/*.png)",
         (two_levels ? root / "train" : root).string(), classes.size());
  Reader reader;
  reader.img_size = options.img_size;
  std::pair<Samples, Samples> parts;
  if (two_levels) {
    parts.first = read_classes(reader, root / "train", classes);
    parts.second = read_classes(reader, test, classes);
  } else {
    parts = cut(read_classes(reader, root, classes), classes.size(), options.seed);
  }
  Named data = assemble("imagefolder:" + dir, std::move(parts.first), std::move(parts.second), classes,
                        reader.digest.hex(), false);
  if (!two_levels)
    data.note =
        fmt::format("{} has no train folder: its images were split 80/20 into {} for training and {} for testing", dir,
                    data.train.size(), data.test.size());
  return data;
}

}  // namespace tessera::data
