#include "tessera/train/cli/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/cli/console.h"
#include "tessera/train/report/event_file.h"

namespace tessera::cli {
namespace {

std::string path_in(const std::string& rundir) {
  const std::string path = rundir + "/" + report::event_file;
  std::error_code error;
  const auto status = std::filesystem::symlink_status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    fail("tensorboard", "{} is no regular file; remove it", path);
  return path;
}

/// In one call, so that a reader meets whole records but for a disk that is full.
void append(const std::string& path, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) fail("tensorboard", "cannot write {}: {}", path, io::explain(errno));
  const ssize_t put = ::write(fd, bytes.data(), bytes.size());
  const int error = put == static_cast<ssize_t>(bytes.size()) ? 0 : put < 0 ? errno : ENOSPC;
  ::close(fd);
  if (error != 0) fail("tensorboard", "cannot write {}: {}", path, io::explain(error));
}

}  // namespace

void write_events(const std::string& rundir) {
  io::replace_file(path_in(rundir), report::events_of(report::read_run(rundir)));
}

void EventListener::epoch(const RunState&, const EpochScores&) {
  if (failed_) return;
  try {
    const std::string all = report::events_of(report::read_run(rundir_));
    if (!written_.empty() && all.starts_with(written_))
      append(path_in(rundir_), std::string_view(all).substr(written_.size()));
    else
      io::replace_file(path_in(rundir_), all);
    written_ = all;
  } catch (const Error& e) {
    failed_ = true;
    say_warning(std::string(e.what()) + "; the run goes on without it");
  }
}

}  // namespace tessera::cli
