#include "tessera/train/training/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/io/checksum.h"
#include "tessera/core/io/replace_file.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

constexpr bool result = true;
constexpr RunFile files[] = {
    {"config.toml"},
    {"started_from.json"},
    {"metrics.jsonl"},
    {"last.ckpt"},
    {"best.ckpt"},
    {".best.known.ckpt"},
    {"events.out.tfevents.0.tessera"},
    {"summary.json", result},
    {"weights.safetensors", result},
    {"best.safetensors", result},
    {"report_data.json", result},
    // of those that look at a run: report, measure, ablate
    {"report.html", result},
    {"results.csv", result},
    {"timings.csv", result},
    {"measures.json", result},
    {"answers.safetensors", result},
    {"pictures.json", result},
    {"cell.json"},
};

bool digits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Is it what a replace_file left of one of a run's files that was killed between naming its new file and renaming it:
/// .NAME.tmp-PID-COUNT, and nothing that a person may have called similarly?
bool left_over(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  const size_t mark = name.rfind(".tmp-");
  if (name.empty() || name[0] != '.' || mark == std::string::npos || mark == 0) return false;
  const std::string_view of = std::string_view(name).substr(1, mark - 1),
                         rest = std::string_view(name).substr(mark + 5);
  const size_t dash = rest.find('-');
  std::error_code error;
  return std::ranges::find(files, of, &RunFile::name) != std::end(files) && dash != std::string_view::npos &&
         digits(rest.substr(0, dash)) && digits(rest.substr(dash + 1)) &&
         entry.symlink_status(error).type() == fs::file_type::regular;
}

bool of_ours(const fs::directory_entry& entry) { return entry.path().filename() == ".lock" || left_over(entry); }

}  // namespace

std::span<const RunFile> run_files() { return files; }

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
      if (!of_ours(entry)) return true;
    return false;
  };
  if (!resume && taken())
    fail("train", "{} exists: choose another directory, or go on with it by --resume {}", path, path);
  if (resume && !fs::is_directory(path, error)) fail("train", "there is no run directory {} to resume", path);
  fs::create_directories(path, error);
  if (error) fail("train", "cannot make {}: {}", path, io::explain(error.value()));
  lock_.emplace(path);
  if (!resume && taken()) fail("train", "{} has just been taken by another run", path);
  for (const RunFile& file : files) {
    const fs::file_status status = fs::symlink_status(*this / file.name, error);
    if (fs::exists(status) && !fs::is_regular_file(status))
      fail("train", "{} is {}: a run's files are files, and are written; move it away", *this / file.name,
           fs::is_symlink(status) ? "a symbolic link" : "no regular file");
  }
  std::vector<fs::path> left;  // nobody else writes here now
  for (const auto& entry : fs::directory_iterator(path, error))
    if (left_over(entry)) left.push_back(entry.path());
  for (const auto& file : left) fs::remove(file, error);
}

bool RunFolder::has(std::string_view name) const {
  std::error_code error;
  return exists() && fs::exists(*this / name, error);
}

void RunFolder::write(std::string_view name, std::string_view bytes) const {
  if (exists()) io::replace_file(*this / name, bytes);
}

void RunFolder::remove(std::string_view name) const {
  std::error_code error;
  if (exists()) fs::remove(*this / name, error);
  if (error) fail("train", "cannot remove {}: {}", *this / name, io::explain(error.value()));
}

void RunFolder::forget_results() const {
  for (const RunFile& file : files)
    if (file.result) remove(file.name);
}

void RunFolder::keep(std::string_view name, std::string_view as) const {
  if (!exists()) return;
  remove(as);
  std::error_code error;
  fs::create_hard_link(*this / name, *this / as, error);
  if (error) fs::copy_file(*this / name, *this / as, error);  // a file system without hard links
  if (error) fail("train", "cannot copy {} to {}: {}", *this / name, *this / as, io::explain(error.value()));
}

void RunFolder::rename(std::string_view name, std::string_view to) const {
  std::error_code error;
  if (exists()) fs::rename(*this / name, *this / to, error);
  if (error) fail("train", "cannot rename {} to {}: {}", *this / name, *this / to, io::explain(error.value()));
}

void Metrics::add(const Row& r) {
  for (const auto& [what, value] : {std::pair{"loss", r.loss}, {"acc1", r.acc1}, {"lr", r.lr}, {"seconds", r.seconds}})
    if (!std::isfinite(value))
      fail("metrics", "{} of the {} split in epoch {} (step {}) is {}, which is no result", what, r.split, r.epoch,
           r.step, value);
  const std::string speed = std::isfinite(r.images_per_s) ? fmt::format("{:.2f}", r.images_per_s) : "null";
  text_ += fmt::format(
      R"({{"epoch":{},"step":{},"split":"{}","loss":{},"acc1":{},"lr":{},"images_per_s":{},"seconds":{:.3f}}})"
      "\n",
      r.epoch, r.step, r.split, r.loss, r.acc1, r.lr, speed, r.seconds);
}

void Metrics::write() const { folder_.write("metrics.jsonl", text_); }

std::string Metrics::digest() const {
  io::Checksum sum;
  sum.add(text_.data(), text_.size());
  return sum.hex();
}

void Metrics::cut_back(uint64_t bytes, std::string_view digest) {
  Metrics known(folder_);
  if (bytes) known.text_ = io::read_file(folder_ / "metrics.jsonl");
  const bool whole = known.text_.size() >= bytes;
  known.text_.resize(std::min<size_t>(known.text_.size(), bytes));
  if (!whole || (bytes > 0 && known.digest() != digest)) {
    fail("train",
         "the first {} bytes of {} are not those that the checkpoint beside it knew: the file was changed or damaged; "
         "put the old one back, or start a new run",
         bytes, folder_ / "metrics.jsonl");
  }
  text_ = std::move(known.text_);
  write();
}

}  // namespace tessera
