// Sleeping.
#include "hook.h"

static struct timespec timespec_of(uint64_t ns) {
  return (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
}

// The core could not wait.
enum { PINNED_SLEEP = -1 };

// Returns 0, a number of errno, or PINNED_SLEEP.
static int slept_for(uint64_t ns) {
  int slept = suspend_for_ns(ns);
  return could_not_wait(slept) ? PINNED_SLEEP : -slept;
}

// The same, and how much is left of it.
static int sleep_for(uint64_t ns, uint64_t *left) {
  uint64_t deadline_ns = after_ns(ns);
  int error = slept_for(ns);
  *left = error == 0 ? 0 : left_ns(deadline_ns);
  return error;
}

EXPORT unsigned HOOK(sleep)(unsigned seconds) {
  if (hooked(MJ_HOOK_SLEEP) == NULL || !may_suspend()) return REAL(sleep)(seconds);
  uint64_t left;
  int error = sleep_for((uint64_t)seconds * NS_PER_S, &left);
  if (error == PINNED_SLEEP) return REAL(sleep)(seconds);
  if (error != 0) errno = error;
  return (unsigned)((left + NS_PER_S - 1) / NS_PER_S);
}

EXPORT int HOOK(usleep)(useconds_t us) {
  if (hooked(MJ_HOOK_SLEEP) == NULL || !may_suspend()) return REAL(usleep)(us);
  int error = slept_for((uint64_t)us * NS_PER_US);
  if (error == PINNED_SLEEP) return REAL(usleep)(us);
  return error == 0 ? 0 : (int)failed(error);
}

EXPORT int HOOK(nanosleep)(const struct timespec *time, struct timespec *rest) {
  if (hooked(MJ_HOOK_SLEEP) == NULL || time == NULL || !is_valid_time(time) || !may_suspend())
    return REAL(nanosleep)(time, rest);
  uint64_t left;
  int error = sleep_for(ns_of_time(time), &left);
  if (error == 0) return 0;
  if (error == PINNED_SLEEP) return REAL(nanosleep)(time, rest);
  if (rest != NULL) *rest = timespec_of(left);
  return (int)failed(error);
}
ALSO(__nanosleep, nanosleep);

// A moment of another clock may come earlier or later than it seems now, if that clock is set.
static int sleep_until(clockid_t clock, const struct timespec *at) {
  enum { A_LOOK_NS = 1000000000 };
  uint64_t at_ns = ns_of_time(at);
  for (;;) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) return errno;
    uint64_t now_ns_ = ns_of_time(&now);
    if (now_ns_ >= at_ns) return 0;
    uint64_t left = at_ns - now_ns_;
    if (clock != CLOCK_MONOTONIC && left > A_LOOK_NS) left = A_LOOK_NS;
    int error = slept_for(left);
    if (error != 0) return error;
  }
}

EXPORT int HOOK(clock_nanosleep)(clockid_t clock, int flags, const struct timespec *time,
                                 struct timespec *rest) {
  bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
                  clock == CLOCK_TAI;
  if (hooked(MJ_HOOK_SLEEP) == NULL || (flags & ~TIMER_ABSTIME) != 0 || time == NULL ||
      !is_valid_time(time) || !may_suspend())
    return REAL(clock_nanosleep)(clock, flags, time, rest);
  if (!is_known) {
    int result = REAL(clock_nanosleep)(clock, flags, time, rest);
    if (result == 0 || result == EINTR) count(&counts.pinned);
    return result;
  }
  uint64_t left = 0;
  bool is_moment = flags & TIMER_ABSTIME;
  int error = is_moment ? sleep_until(clock, time) : sleep_for(ns_of_time(time), &left);
  if (error == PINNED_SLEEP) return REAL(clock_nanosleep)(clock, flags, time, rest);
  if (error != 0 && !is_moment && rest != NULL) *rest = timespec_of(left);
  return error;
}
ALSO(__clock_nanosleep, clock_nanosleep);
