// Preloaded, it makes a process believe that it is an hour later. The monotonic clock stays as it is, as on a machine whose clock is wrong.
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

namespace {
constexpr time_t hour = 3600;
using Get = int (*)(clockid_t, timespec*);
}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  static const Get real = reinterpret_cast<Get>(dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = real(clock, now);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += hour;
  return result;
}

extern "C" time_t time(time_t* to) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}

extern "C" int gettimeofday(timeval* to, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  to->tv_sec = now.tv_sec, to->tv_usec = now.tv_nsec / 1000;
  return 0;
}
