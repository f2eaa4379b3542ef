#include "tests/cli/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace fs = std::filesystem;

namespace tessera::test {

Folder::Folder() {
  std::string name = (fs::temp_directory_path() / "tessera-test-XXXXXX").string();
  REQUIRE(mkdtemp(name.data()));
  path_ = name;
}
Folder::~Folder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> Folder::list() const {
  std::vector<std::string> names;
  for (const auto& e : fs::recursive_directory_iterator(path_)) names.push_back(fs::relative(e.path(), path_).string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Result::errors() const {
  std::vector<std::string> found;
  std::istringstream lines(err);
  for (std::string line; std::getline(lines, line);)
    if (line.find("error:") != std::string::npos) found.push_back(line);
  return found;
}

Process::Process(const std::vector<std::string>& args, const RunOptions& options) : seconds_(options.seconds) {
  const std::string out = options.out_to.empty() ? files_ / "out" : options.out_to;
  int pipe_ends[2];
  REQUIRE(pipe2(pipe_ends, O_CLOEXEC) == 0);  // a file would be subject to file_limit
  REQUIRE(fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK) == 0);
  std::vector<std::string> env;
  for (char** e = environ; *e; ++e)
    if (!std::string_view(*e).starts_with("TESSERA_")) env.emplace_back(*e);
  env.insert(env.end(), options.env.begin(), options.env.end());
  std::vector<char*> argv, envp;
  std::string program = TESSERA_PROGRAM;
  argv.push_back(program.data());
  std::vector<std::string> copy = args;
  for (auto& a : copy) argv.push_back(a.data());
  argv.push_back(nullptr);
  for (auto& e : env) envp.push_back(e.data());
  envp.push_back(nullptr);
  pid_ = fork();
  REQUIRE(pid_ >= 0);
  if (pid_ == 0) {  // nothing here may allocate or throw
    const int o = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (o < 0 || dup2(o, 1) < 0 || dup2(pipe_ends[1], 2) < 0) _exit(99);
    if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(98);
    if (options.file_limit >= 0) {
      const rlimit limit{static_cast<rlim_t>(options.file_limit), static_cast<rlim_t>(options.file_limit)};
      if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(97);
    }
    execve(program.c_str(), argv.data(), envp.data());
    _exit(96);
  }
  close(pipe_ends[1]);
  err_ = pipe_ends[0];
}

Process::~Process() {
  close(err_);
  if (ended_) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, &status_, 0);
}

void Process::signal(int number) const {
  if (!ended_) kill(pid_, number);  // its number may be another's by now
}

bool Process::running() {
  char part[4096];
  for (ssize_t n; (n = ::read(err_, part, sizeof part)) > 0;) said_.append(part, static_cast<size_t>(n));
  if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return !ended_;
}

Result Process::wait() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_);
  while (running()) {
    if (std::chrono::steady_clock::now() > end) {
      signal(SIGKILL);
      FAIL("the program did not end in " << seconds_ << " s");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Result r;
  r.code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  if (exists(files_ / "out")) r.out = read(files_ / "out");
  running();  // what was said last
  r.err = said_;
  return r;
}

Result tessera(const std::vector<std::string>& args, const RunOptions& options) {
  return Process(args, options).wait();
}

std::vector<std::string> tiny_run(const std::string& out, const std::vector<std::string>& more) {
  std::vector<std::string> args = {"train",
                                   "--data",
                                   "where:quadrant",
                                   "--epochs",
                                   "2",
                                   "--batch-size",
                                   "16",
                                   "data.train_size=96",
                                   "data.test_size=32",
                                   "model.depth=1",
                                   "model.embed_dim=16",
                                   "model.num_heads=2",
                                   "model.patch_size=8"};
  if (!out.empty()) args.insert(args.end(), {"--out", out});
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void write(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
}

bool exists(const std::string& path) { return fs::exists(path); }

std::string safetensors(const std::string& header, std::string_view data) {
  const uint64_t n = header.size();
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(n >> (8 * i) & 0xff);
  return bytes + header + std::string(data);
}

void check_refused(const Result& r, int code, const std::vector<std::string>& words) {
  INFO("stderr: " << r.err);
  CHECK(r.code == code);
  CHECK(r.out.empty());
  const auto errors = r.errors();
  REQUIRE(errors.size() == 1);
  CHECK(r.err.ends_with(errors[0] + "\n"));
  for (const auto& word : words) CHECK_MESSAGE(errors[0].find(word) != std::string::npos, word);
}

}  // namespace tessera::test
