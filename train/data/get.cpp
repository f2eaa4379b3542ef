#include "tessera/train/data/get.h"

#if TESSERA_HAVE_CURL
#include <curl/curl.h>
#endif
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "tessera/core/error.h"
#include "tessera/core/io/replace_file.h"
#include "tessera/nn/options.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/data/public_sets.h"
#include "tessera/train/data/readers.h"
#include "tessera/train/data/staged.h"
#include "tessera/train/data/tar.h"

namespace tessera::data {
namespace {

namespace fs = std::filesystem;

enum class Outcome { complete, restart };

void remove_file(const std::string& path) {
  std::error_code none;
  fs::remove(path, none);
}

#if TESSERA_HAVE_CURL

constexpr curl_off_t most_bytes = curl_off_t{4} << 30;

struct Transfer {
  const std::string& name;
  const Progress& progress;
  int64_t had;  // bytes of an earlier attempt
  FILE* file;
  int64_t bytes = 0;
  int64_t most = 0;  // in all
  int write_error = 0;
  bool stopped = false, too_long = false;
};

size_t on_bytes(char* bytes, size_t size, size_t count, void* user) {
  auto* t = static_cast<Transfer*>(user);
  t->bytes += static_cast<int64_t>(size * count);
  t->too_long = t->had + t->bytes > t->most;
  if (t->too_long) return CURL_WRITEFUNC_ERROR;  // a server that never ends
  const size_t written = std::fwrite(bytes, size, count, t->file);
  if (written != count) t->write_error = errno;
  return written * size;
}

int on_progress(void* user, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  auto* t = static_cast<Transfer*>(user);
  if (t->progress && !t->progress(t->name, t->had + done, total > 0 ? t->had + total : 0)) t->stopped = true;
  return t->stopped ? 1 : 0;
}

// What waits beside the data is ours: a link or a pipe of that name is not written to.
FILE* open_part(const std::string& part) {
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (fd < 0) fail("get", "cannot write {}: {}", part, io::explain(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail("get", "{} is not a regular file; remove it and try again", part);
  }
  FILE* file = ::fdopen(fd, "ab");
  if (!file) ::close(fd);
  return file;
}

// Fetches url into `part`, going on where an earlier attempt ended. restart: the server cannot go on from there.
Outcome fetch(const std::string& url, const Remote& remote, const std::string& part, const Progress& progress,
              const Patience& patience) {
  const std::string& name = remote.file;
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (ready != CURLE_OK || !curl) fail("get", "libcurl does not start");
  std::error_code none;
  const auto size = fs::file_size(part, none);
  std::unique_ptr<FILE, int (*)(FILE*)> file(open_part(part), std::fclose);
  if (!file) fail("get", "cannot write {}: {}", part, std::strerror(errno));
  Transfer transfer{.name = name,
                    .progress = progress,
                    .had = none ? 0 : static_cast<int64_t>(size),
                    .file = file.get(),
                    .most = remote.bytes > 0 ? 2 * remote.bytes : most_bytes};
  char message[CURL_ERROR_SIZE] = "";
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(c, CURLOPT_USERAGENT, "tessera");
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(patience.bytes_per_second));
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, static_cast<long>(patience.seconds));
  curl_easy_setopt(c, CURLOPT_TIMEOUT, static_cast<long>(patience.in_all));
  curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(transfer.most));
  curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.had));
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &transfer);
  const CURLcode result = curl_easy_perform(c);
  long status = 0;
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  if (std::fflush(file.get()) != 0 && transfer.write_error == 0) transfer.write_error = errno;
  if (transfer.write_error) fail("get", "cannot write {}: {}", part, io::explain(transfer.write_error));
  if (result == CURLE_OK) return Outcome::complete;
  if (transfer.stopped) fail("get", "stopped; what has come of {} is kept and the next call goes on from it", name);
  if (transfer.too_long || result == CURLE_FILESIZE_EXCEEDED) {
    remove_file(part);
    fail("get",
         "{} is larger than expected: more than {} bytes{}; another file, or a stream without end; nothing was kept",
         url, transfer.most, remote.bytes > 0 ? fmt::format(" where {} are right", remote.bytes) : "");
  }
  if (result == CURLE_RANGE_ERROR || (transfer.had > 0 && status == 416)) return Outcome::restart;
  const char* why = message[0] ? message : curl_easy_strerror(result);
  fail("get", "{}: {}; run the same command again to go on, or fetch the file by other means and put it into {}", url,
       why, fs::path(part).parent_path().string());
}

#else

Outcome fetch(const std::string& url, const Remote&, const std::string& part, const Progress&, const Patience&) {
  fail("get", "{}: this program was built without libcurl; fetch the file by other means and put it into {}", url,
       fs::path(part).parent_path().string());
}

#endif

// The verified file url in `path`. A part file of an earlier attempt is used, and dropped when it turns out to be of no
// use.
void obtain(const std::string& url, const Remote& remote, const std::string& path, const Progress& progress,
            const Patience& patience) {
  std::error_code none;
  if (fs::exists(path, none)) {  // put there by hand, or left by an unpacking that was cut off
    if (file_digest(Digest::md5, path) == remote.md5) return;
    fail("get", "{} is there but its MD5 is not {}; remove it and try again", path, remote.md5);
  }
  const std::string part = path + ".part";
  for (int attempt = 0; attempt < 2; ++attempt) {
    const bool resumed = fs::exists(part, none);
    if (fetch(url, remote, part, progress, patience) == Outcome::restart) {
      // either it is complete already, or the server cannot resume
      if (file_digest(Digest::md5, part) != remote.md5) {
        remove_file(part);
        continue;
      }
    }
    const std::string got = file_digest(Digest::md5, part);
    if (got == remote.md5) {
      std::error_code error;
      fs::rename(part, path, error);
      if (error) fail("get", "cannot rename {}: {}", part, error.message());
      return;
    }
    remove_file(part);
    if (!resumed)
      fail("get", "{} has MD5 {} where {} is right: it was changed on the way or at its source; nothing was kept", url,
           got, remote.md5);
  }
  fail("get", "{} could not be fetched whole", url);
}

void copy(const std::string& from, const std::string& to) {
  const auto bytes = read_file(from);
  io::replace_file(to, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// SHA-256 of every file, as written from a source whose checksum was right: the reader's evidence that data are
// official.
void write_evidence(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& e : fs::directory_iterator(folder))
    if (e.is_regular_file()) files.push_back(e.path());
  std::sort(files.begin(), files.end());
  std::string text;
  for (const auto& f : files)
    text += fmt::format("{}  {}\n", file_digest(Digest::sha256, f.string()), f.filename().string());
  io::replace_file((folder / Folder::verified).string(), text);
}

fs::path root_of(const std::string& dir) {
  const char* env = std::getenv("TESSERA_DATA");
  return !dir.empty() ? dir : env && *env ? env : "./data";
}

bool complete(const fs::path& folder, const PublicSet& source) {
  const Folder there(folder.string());
  return there.has(source.landmark) || there.has(source.landmark + ".gz");
}

}  // namespace

std::vector<std::string> downloads() {
  std::vector<std::string> names;
  for (const PublicSet& s : public_sets()) names.push_back(s.name);
  return names;
}

bool fetched(std::string_view name, const std::string& dir) {
  for (const PublicSet& s : public_sets())
    if (s.name == name) return complete(root_of(dir) / s.folder, s);
  return false;
}

std::string get(const PublicSet& source, const std::string& dir, const Progress& progress, const std::string& base_url,
                const Patience& patience) {
  const fs::path root = root_of(dir);
  std::error_code error;
  fs::create_directories(root, error);
  if (error) fail("get", "cannot make the folder {}: {}; choose another with --dir", root.string(), error.message());
  const fs::path folder = root / source.folder;
  if (fs::exists(folder)) {
    if (complete(folder, source)) return folder.string();
    fail("get", "{} exists but does not hold {}; move it away and try again", folder.string(), source.landmark);
  }
  std::string base = base_url.empty() ? source.base_url : base_url;
  if (base.back() != '/') base += '/';

  // downloads wait beside the folder, prefixed where names like train-images... would not say whose they are
  auto waiting = [&](const Remote& r) {
    return (root / (source.archive ? r.file : source.name + "-" + r.file)).string();
  };
  for (const Remote& r : source.remote) obtain(base + r.file, r, waiting(r), progress, patience);
  Staged staged(folder, "get");
  for (const Remote& r : source.remote) {
    if (source.archive)
      unpack_tar_gz(waiting(r), source.folder, staged.path().string());
    else
      copy(waiting(r), (staged.path() / r.file).string());
  }
  if (source.archive) write_evidence(staged.path());
  staged.publish();
  for (const Remote& r : source.remote) remove_file(waiting(r));
  return folder.string();
}

std::string get(std::string_view name, const std::string& dir, const Progress& progress, const std::string& base_url) {
  for (const PublicSet& s : public_sets())
    if (s.name == name) return get(s, dir, progress, base_url);
  const auto names = downloads();
  if (name.substr(0, name.find(':')) == "where") fail("get", "`where` is made in memory, there is nothing to fetch");
  unknown("data set to fetch", name, names);
}

}  // namespace tessera::data
