#include "train/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace tessera::cli {
namespace {

std::atomic<int> stops{0};
std::atomic<bool> checkpoint{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler writes it");

void on_signal(int signal) {
  if (signal == SIGUSR1) {
    checkpoint = true;
  } else if (stops.fetch_add(1) > 0 && signal == SIGINT) {
    _exit(130);
  }
}

struct sigaction previous[3];
constexpr int watched[3] = {SIGINT, SIGTERM, SIGUSR1};

}  // namespace

Interrupt::Interrupt() {
  stops = 0, checkpoint = false;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int i = 0; i < 3; ++i) sigaction(watched[i], &action, &previous[i]);
}

Interrupt::~Interrupt() {
  for (int i = 0; i < 3; ++i) sigaction(watched[i], &previous[i], nullptr);
}

bool Interrupt::stop() const { return stops.load(std::memory_order_relaxed) > 0; }
bool Interrupt::take_checkpoint() { return checkpoint.exchange(false); }

}  // namespace tessera::cli
