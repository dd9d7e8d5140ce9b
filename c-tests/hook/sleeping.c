// Sleeping.
#define _GNU_SOURCE
#include "hooked.h"

static unsigned ended;

static void takes_a_while(void* argument) {
  (void)argument;
  uint64_t began = now_ns();
  CHECK_INT(usleep(20000), ==, 0);
  CHECK_UINT(now_ns() - began, >=, 20000000);
  __atomic_fetch_add(&ended, 1, __ATOMIC_RELAXED);
}

// What one task sleeps, others sleep, too.
static void many_sleep_at_once(void) {
  ended = 0;
  for (int i = 0; i < 50; i++) start(takes_a_while, NULL);
  uint64_t before = pinned();
  while (__atomic_load_n(&ended, __ATOMIC_RELAXED) < 50) usleep(1000);
  CHECK_UINT(pinned(), ==, before);
}

static void times_that_are_none_are_refused(void) {
  struct timespec time = {0, 1000000000};
  CHECK_INT(nanosleep(&time, NULL), ==, -1);
  CHECK_INT(errno, ==, EINVAL);
  CHECK_INT(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL), ==, EINVAL);
  time = (struct timespec){-1, 0};
  CHECK_INT(nanosleep(&time, NULL), ==, -1);
  CHECK_INT(errno, ==, EINVAL);
  CHECK_INT(clock_nanosleep(9999, 0, &time, NULL), ==, EINVAL);
}

static void moments_are_waited_for(void) {
  const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
  for (size_t i = 0; i < 3; i++) {
    struct timespec at, now;
    clock_gettime(clocks[i], &at);
    at.tv_nsec += 3000000;
    if (at.tv_nsec >= 1000000000) at.tv_nsec -= 1000000000, at.tv_sec++;
    CHECK_INT(clock_nanosleep(clocks[i], TIMER_ABSTIME, &at, NULL), ==, 0);
    clock_gettime(clocks[i], &now);
    CHECK(now.tv_sec > at.tv_sec || (now.tv_sec == at.tv_sec && now.tv_nsec >= at.tv_nsec));
    CHECK_INT(clock_nanosleep(clocks[i], TIMER_ABSTIME, &at, NULL), ==, 0);  // It is over.
  }
}

// No task can wait for it: the time goes on only while threads compute.
static void a_clock_of_processor_time_blocks_the_thread(void) {
  struct timespec at = {0, 1};
  uint64_t before = pinned();
  CHECK_INT(clock_nanosleep(CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &at, NULL), ==, 0);
  CHECK_INT(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &at, NULL), ==, EINVAL);
  if (!in_threads()) CHECK_UINT(pinned(), ==, before + 1);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(many_sleep_at_once);
  RUN_HOOKED(times_that_are_none_are_refused);
  RUN_HOOKED(moments_are_waited_for);
  RUN_HOOKED(a_clock_of_processor_time_blocks_the_thread);
  return 0;
}
