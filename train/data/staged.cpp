#include "tessera/train/data/staged.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

int open_folder(const fs::path& folder) {
  return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

void sync(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

/// Removes the folder unless somebody works in it, who then holds its lock. Numbers of processes would not tell: they are given
/// anew, and in a container everybody's is the same.
void remove_if_left(const fs::path& folder) {
  const int fd = open_folder(folder);
  if (fd < 0) return;
  std::error_code none;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) fs::remove_all(folder, none);
  ::close(fd);
}

bool digits(std::string_view s) { return !s.empty() && s.find_first_not_of("0123456789") == std::string_view::npos; }

}  // namespace

Staged::Staged(fs::path target, std::string where) : target_(std::move(target)), where_(std::move(where)) {
  const fs::path beside = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
  const std::string prefix = "." + io::short_name(target_.filename().string()) + ".tmp-";
  std::error_code error;
  std::vector<fs::path> left;
  for (fs::directory_iterator it(beside, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(prefix) && digits(std::string_view(name).substr(prefix.size()))) left.push_back(it->path());
  }
  for (const fs::path& folder : left) remove_if_left(folder);
  const fs::path temporary = beside / (prefix + std::to_string(::getpid()));
  fs::create_directories(beside, error);
  if (error || !fs::create_directory(temporary, error) || error)
    fail(where_, "cannot make the folder {}: {}", temporary.string(),
         error ? io::explain(error.value()) : "it is there already");
  temporary_ = temporary;
  lock_ = open_folder(temporary_);
  if (lock_ >= 0) ::flock(lock_, LOCK_EX | LOCK_NB);
}

Staged::~Staged() {
  std::error_code none;
  if (!temporary_.empty()) fs::remove_all(temporary_, none);
  if (lock_ >= 0) ::close(lock_);
}

void Staged::publish() {
  sync(temporary_);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    fail(where_, "cannot rename {} to {}: {}; if that folder is in the way, move it", temporary_.string(),
         target_.string(), io::explain(error));
  }
  temporary_.clear();
  sync(target_.has_parent_path() ? target_.parent_path() : fs::path("."));
}

}  // namespace tessera::data
