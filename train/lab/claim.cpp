#include "tessera/train/lab/claim.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

#include "tessera/core/error.h"
#include "tessera/core/io/checksum.h"
#include "tessera/core/io/json.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/train/lab/plan.h"

namespace tessera::lab {
namespace {

using Clock =
    std::chrono::steady_clock;  // does not count the time a laptop sleeps: then nobody beats, and nobody looks
namespace fs = std::filesystem;

double since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

struct Fd {
  int fd = -1;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  int take() { return std::exchange(fd, -1); }
};

/// Where process numbers mean what they mean here: this boot of this machine, and this container's numbers.
std::string machine() {
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::array<char, 100> numbers{};
  const bool known = std::getline(boot, id) && ::readlink("/proc/self/ns/pid", numbers.data(), numbers.size() - 1) > 0;
  return known ? id + " " + numbers.data() : "";
}

/// What a claim holds. The counter comes last and has a fixed width: a beat overwrites these bytes and no others.
std::string counter(uint64_t beat, double share) {
  return fmt::format("{:5.3f} {:010}\n", std::clamp(share, 0.0, 1.0), beat);
}
std::string about(const Owner& o) {
  return io::Json{
             {"format", 1}, {"owner", o.id}, {"machine", o.machine}, {"process", o.pid}, {"arithmetic", o.arithmetic}}
             .dump() +
         "\n";
}

/// The bytes of a small file; none if there is no such file.
std::optional<std::string> content_of(const std::string& path) {
  // opened anew every time: over a network that is what asks the server
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (file.fd < 0) {
    if (errno == ENOENT || errno == ESTALE) return {};
    fail("claim", "{}: {}", path, io::explain(errno));
  }
  std::array<char, 4096> bytes{};
  const ssize_t n = ::pread(file.fd, bytes.data(), bytes.size(), 0);
  return n < 0 ? std::string() : std::string(bytes.data(), static_cast<size_t>(n));
}

/// What stands in a claim; an empty id where it cannot be read (its owner died while it wrote).
Owner parse(const std::string& content) try {
  Owner o;
  const size_t end = content.find('\n');
  const auto j = io::parse_json(content.substr(0, end), "claim");
  o.id = j.at("owner"), o.machine = j.at("machine"), o.arithmetic = j.at("arithmetic");
  o.pid = static_cast<pid_t>(io::integer(j.at("process"), "process", 0, 1 << 30));
  const size_t beat = content.find_first_not_of(" \n", end);
  if (beat != std::string::npos) std::from_chars(content.data() + beat, content.data() + content.size(), o.share);
  o.share = std::clamp(o.share, 0.0, 1.0);
  return o;
} catch (const std::exception&) {
  return {};
}

void write_all(int fd, const std::string& path, const std::string& bytes) {
  if (::pwrite(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) || ::fsync(fd) != 0)
    fail("claim", "{}: {}", path, io::explain(errno ? errno : ENOSPC));
}

/// A new file of this name for one process; -1 with EEXIST for all others.
int only_one(const std::string& path) {
  return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
}

/// Whether a call failed because somebody removed the file it was given: who finds that all cells are done clears this folder, and meets
/// those who are about to claim one. Where the folder itself is gone, the next claim says so.
bool swept_away(const std::string& file, int error) { return error == ENOENT && ::access(file.c_str(), F_OK) != 0; }

}  // namespace

void remove_claim(const std::string& path, const std::string& owner) {
  const fs::path file(path);
  const std::string aside =
      (file.parent_path() / fmt::format(".{}.free-{}", io::short_name(file.filename().string()), owner)).string();
  if (::rename(path.c_str(), aside.c_str()) != 0) return;
  if (const auto content = content_of(aside); content && parse(*content).id != owner) {
    if (::link(aside.c_str(), path.c_str()) != 0 && errno != EEXIST) {  // a file system without hard links
      ::rename(aside.c_str(), path.c_str());
      return;
    }
  }
  ::unlink(aside.c_str());
}

Owner myself() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::string name = std::string(host.data()).substr(0, 40);
  std::erase_if(name, [](unsigned char c) { return !std::isalnum(c) && c != '-'; });
  std::random_device random;
  return {fmt::format("{}-{}-{:08x}", name, ::getpid(), random()), machine(), ::getpid(), arithmetic(), 0};
}

// ---- holding ---------------------------------------------------------------------------------------------------------------

Claim::Claim(std::string path, Owner owner, int fd, double every)
    : path_(std::move(path)), owner_(std::move(owner)), fd_(fd), heart_([this, every] { beat_until_the_end(every); }) {}

Claim::~Claim() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  heart_.join();
  try {
    if (check()) remove_claim(path_, owner_.id);
  } catch (const Error&) {  // it stays, and stands still
  }
  ::close(fd_);
}

bool Claim::check() {
  const auto content = content_of(path_);
  if (!content || parse(*content).id != owner_.id) lost_ = true;
  return !lost_;
}

void Claim::beat_until_the_end(double every) {
  const auto offset = static_cast<off_t>(about(owner_).size());
  std::unique_lock lock(mutex_);
  for (uint64_t beat = 1; !wake_.wait_for(lock, std::chrono::duration<double>(every), [&] { return ending_; });
       ++beat) {
    const std::string bytes = counter(beat, share_);
    // into the file that is open: if another one has its name by now, nobody sees this
    const bool beaten = ::pwrite(fd_, bytes.data(), bytes.size(), offset) >= 0 && ::fsync(fd_) == 0;
    if (!beaten && errno == ESTALE) lost_ = true;
    try {
      check();
    } catch (const Error&) {  // a disk that is away for a moment: others will tell
    }
  }
}

// ---- taking ----------------------------------------------------------------------------------------------------------------

Claims::Claims(std::string folder, double patience) : folder_(std::move(folder)), patience_(patience) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail("claim", "cannot make {}: {}", folder_, io::explain(error.value()));
}

Owner Claims::holder(const std::string& cell) const {
  const auto content = content_of(path(cell));
  return content ? parse(*content) : Owner();
}

std::unique_ptr<Claim> Claims::take(const std::string& cell) {
  const auto content = content_of(path(cell));
  if (!content) {
    observed_.erase(cell);
    return make(cell);
  }
  if (!dead(cell, *content)) return nullptr;
  auto claim = take_over(cell, *content, observed_[cell].attempts++);
  if (claim) observed_.erase(cell);
  return claim;
}

/// Complete from its first moment: a file is written under another name and linked to this one, which fails if there is one.
std::unique_ptr<Claim> Claims::make(const std::string& cell) {
  const Owner me = myself();
  const std::string to = path(cell), from = fmt::format("{}/.{}.new-{}", folder_, io::short_name(cell), me.id);
  Fd file{only_one(from)};
  if (file.fd < 0) fail("claim", "{}: {}", from, io::explain(errno));
  const struct Remove {
    const std::string& name;
    ~Remove() { ::unlink(name.c_str()); }
  } remove{from};
  write_all(file.fd, to, about(me) + counter(0, 0));
  struct stat linked {};
  // over a network the answer to a link that was made may be lost: what counts is that the file has two names
  const bool mine = ::link(from.c_str(), to.c_str()) == 0 || (::fstat(file.fd, &linked) == 0 && linked.st_nlink == 2);
  if (!mine) {
    const int error = errno;
    if (error == EEXIST || swept_away(from, error)) return nullptr;
    if (error != EPERM && error != EOPNOTSUPP && error != ENOSYS && error != EMLINK)
      fail("claim", "{}: {}", to, io::explain(error));
    ::close(file.take());  // a file system without hard links
    file.fd = only_one(to);
    if (file.fd < 0 && errno == EEXIST) return nullptr;
    if (file.fd < 0) fail("claim", "{}: {}", to, io::explain(errno));
    write_all(file.fd, to, about(me) + counter(0, 0));
  }
  return std::unique_ptr<Claim>(new Claim(to, me, file.take(), std::min(5.0, patience_ / 6)));
}

/// Its process was here and is gone, or its number has stood still for long enough.
bool Claims::dead(const std::string& cell, const std::string& content) {
  const Owner owner = parse(content);
  static const std::string here = machine();
  Observed& o = observed_[cell];
  if (o.content != content) o = {content, 0, Clock::now(), 0};
  // what passed while nobody looked is not counted in full: this process may have been asleep together with the owner
  o.still += std::min(since(o.looked), patience_ / 4);
  o.looked = Clock::now();
  if (!here.empty() && owner.machine == here && owner.pid > 0 && ::kill(owner.pid, 0) != 0 && errno == ESRCH)
    return true;
  return o.still >= patience_ * (o.attempts + 1);
}

/// Of all that saw the same content stand still one may go on: the one that makes a file named after that content. Should it die right
/// then, the next attempt has another number, and is made a whole patience later.
std::unique_ptr<Claim> Claims::take_over(const std::string& cell, const std::string& content, int attempt) {
  io::Checksum sum;
  sum.add(content.data(), content.size());
  const std::string to = path(cell), stem = fmt::format("{}/.{}.", folder_, io::short_name(cell));
  const std::string right = fmt::format("{}over-{}-{}", stem, sum.hex(), attempt);
  {
    const Fd only{only_one(right)};
    if (only.fd < 0 && errno == EEXIST) return nullptr;
    if (only.fd < 0) fail("claim", "{}: {}", right, io::explain(errno));
  }
  const struct Remove {
    std::string name;
    ~Remove() { ::unlink(name.c_str()); }
  } remove{right};
  const Owner me = myself();
  const std::string from = stem + "new-" + me.id;
  Fd file{only_one(from)};
  if (file.fd < 0) fail("claim", "{}: {}", from, io::explain(errno));
  const Remove unneeded{from};
  write_all(file.fd, to, about(me) + counter(0, 0));
  if (content_of(to) != content) return nullptr;  // it lives, or another has it
  if (::rename(from.c_str(), to.c_str()) != 0) {
    if (swept_away(from, errno)) return nullptr;
    fail("claim", "{}: {}", to, io::explain(errno));
  }
  return std::unique_ptr<Claim>(new Claim(to, me, file.take(), std::min(5.0, patience_ / 6)));
}

}  // namespace tessera::lab
