#include "tessera/train/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <iterator>

namespace tessera::cli {
namespace {

std::atomic<int> stops{0}, first{0};
std::atomic<bool> checkpoint{false}, usr1_stops{false};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler writes it");

void on_signal(int signal) {
  if (signal == SIGUSR1 && !usr1_stops) {
    checkpoint = true;
    return;
  }
  int none = 0;
  first.compare_exchange_strong(none, signal);
  if (stops.fetch_add(1) > 0 && signal == SIGINT) _exit(130);
}

constexpr int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
struct sigaction previous[std::size(watched)];

}  // namespace

Interrupt::Interrupt(Usr1 usr1) {
  stops = first = 0, checkpoint = false, usr1_stops = usr1 == Usr1::stop;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < std::size(watched); ++i) {
    sigaction(watched[i], &action, &previous[i]);
    if (watched[i] == SIGHUP && previous[i].sa_handler == SIG_IGN) sigaction(SIGHUP, &previous[i], nullptr);
  }
}

Interrupt::~Interrupt() {
  for (size_t i = 0; i < std::size(watched); ++i) sigaction(watched[i], &previous[i], nullptr);
}

bool Interrupt::stop() const { return stops.load(std::memory_order_relaxed) > 0; }
std::string Interrupt::name() const {
  switch (first) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    case SIGUSR1:
      return "SIGUSR1";
    default:
      return "";
  }
}

bool Interrupt::take_checkpoint() { return checkpoint.exchange(false); }

}  // namespace tessera::cli
