#include "train/run_folder.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/io/replace_file.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

/// The lock, and what a replace_file left that was killed between naming its new file and renaming it.
bool of_ours(const fs::path& path) {
  const std::string name = path.filename().string();
  return name == ".lock" || (name.starts_with(".") && name.find(".tmp-") != std::string::npos);
}

}  // namespace

RunFolder::RunFolder(const std::string& path, bool resume) : path_(path) {
  if (path.empty()) {
    if (resume) fail("train", "to resume, a run directory is needed");
    return;
  }
  std::error_code error;
  const auto taken = [&] {
    if (!fs::exists(path, error)) return false;
    if (!fs::is_directory(path, error)) fail("train", "{} is no directory", path);
    for (const auto& entry : fs::directory_iterator(path, error))
      if (!of_ours(entry.path())) return true;
    return false;
  };
  if (!resume && taken())
    fail("train", "{} exists: choose another directory, or go on with it by --resume {}", path, path);
  if (resume && !fs::is_directory(path, error)) fail("train", "there is no run directory {} to resume", path);
  fs::create_directories(path, error);
  if (error) fail("train", "cannot make {}: {}", path, io::explain(error.value()));
  lock_.emplace(path);
  if (!resume && taken()) fail("train", "{} has just been taken by another run", path);
  std::vector<fs::path> left;  // nobody else writes here now
  for (const auto& entry : fs::directory_iterator(path, error))
    if (of_ours(entry.path()) && entry.path().filename() != ".lock") left.push_back(entry.path());
  for (const auto& file : left) fs::remove(file, error);
}

bool RunFolder::has(std::string_view name) const {
  std::error_code error;
  return exists() && fs::exists(*this / name, error);
}

void RunFolder::write(std::string_view name, std::string_view bytes) const {
  if (exists()) io::replace_file(*this / name, bytes);
}

void Metrics::add(const Row& r) {
  // JSON knows no infinities; losses that are none have ended the run before
  text_ += fmt::format(
      R"({{"epoch":{},"step":{},"split":"{}","loss":{},"acc1":{},"lr":{},"images_per_s":{:.2f},"seconds":{:.3f}}})"
      "\n",
      r.epoch, r.step, r.split, r.loss, r.acc1, r.lr, r.images_per_s, r.seconds);
}

void Metrics::write() const { folder_.write("metrics.jsonl", text_); }

void Metrics::cut_back(uint64_t bytes) {
  std::string text = bytes ? io::read_file(folder_ / "metrics.jsonl") : "";
  if (text.size() < bytes || (bytes && text[bytes - 1] != '\n')) {
    fail("train", "{} is not the file that the checkpoint beside it knew ({} bytes)", folder_ / "metrics.jsonl", bytes);
  }
  text_ = text.substr(0, bytes);
  write();
}

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(seconds));
  if (s < 100) return fmt::format("{} s", s);
  if (s < 6000) return fmt::format("{} min", (s + 30) / 60);
  return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

}  // namespace tessera
