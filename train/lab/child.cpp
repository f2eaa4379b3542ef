#include "tessera/train/lab/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "tessera/core/error.h"

extern char** environ;

namespace tessera::lab {

std::string program_path() {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "tessera" : path.string();
}

namespace {

/// An ignored SIGCHLD, which some supervisors hand down, makes the kernel forget how a child ended. A handler of somebody's stays.
void ask_for_the_ends_of_children() {
  struct sigaction now {};
  if (::sigaction(SIGCHLD, nullptr, &now) != 0) return;
  if (!(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN) {
    ::signal(SIGCHLD, SIG_DFL);
  } else if (now.sa_flags & SA_NOCLDWAIT) {
    now.sa_flags &= ~SA_NOCLDWAIT;
    ::sigaction(SIGCHLD, &now, nullptr);
  }
}

}  // namespace

std::string shell_word(const std::string& text) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,:/+=-";
  if (text.find_first_not_of(plain) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

Child::Child(std::vector<std::string> words, bool out_instead_of_err) {
  ask_for_the_ends_of_children();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("ablate", "no pipe to a worker: {}", std::strerror(errno));
  pipe_ = ends[0];
  ::fcntl(pipe_, F_SETFL, O_NONBLOCK);
  std::string program = "/proc/self/exe", name = "tessera";
  std::vector<char*> argv{name.data()};
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t how;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&how);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  const int heard = out_instead_of_err ? STDOUT_FILENO : STDERR_FILENO;
  posix_spawn_file_actions_addopen(&files, out_instead_of_err ? STDERR_FILENO : STDOUT_FILENO, "/dev/null", O_WRONLY,
                                   0);
  posix_spawn_file_actions_adddup2(&files, ends[1], heard);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&how, 0);
  const int error = posix_spawn(&pid_, program.c_str(), &files, &how, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&how);
  ::close(ends[1]);
  if (error != 0) {
    ::close(pipe_);
    fail("ablate", "a worker cannot be started: {}", std::strerror(error));
  }
}

Child::~Child() {
  if (running()) {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {}
  }
  ::close(pipe_);
}

void Child::signal(int number) {
  if (running()) ::kill(pid_, number);
}

std::vector<std::string> Child::lines() {
  std::array<char, 4096> part{};
  for (ssize_t n = 0; (n = ::read(pipe_, part.data(), part.size())) > 0;)
    said_.append(part.data(), static_cast<size_t>(n));
  std::vector<std::string> all;
  size_t from = 0;
  for (size_t end; (end = said_.find('\n', from)) != std::string::npos; from = end + 1)
    all.push_back(said_.substr(from, end - from));
  said_.erase(0, from);
  return all;
}

bool Child::running() {
  if (code_ >= 0) return false;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended == pid_)
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  else if (ended < 0 && errno == ECHILD)
    code_ = unknown_end;  // its number may be another process's by now
  return code_ < 0;
}

}  // namespace tessera::lab
