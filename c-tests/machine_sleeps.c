// What the machine's sleep, its restoring elsewhere, and setting its real-time clock do to timers and limits.
// Emulated: this program's clock_gettime() replaces libc's for the library too, and shows the clocks as such a
// machine would.
#define _GNU_SOURCE
#include "check.h"
#include "pipes.h"

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define MS UINT64_C(1000000)
#define HOUR_NS (UINT64_C(3600000) * MS)

// ---- The emulated clocks ----

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t slept_ns;      // for so long CLOCK_MONOTONIC has stood still
static uint64_t asleep_since;  // it stands still since then; 0 if it does not
static uint64_t ahead_ns;      // it was set ahead by so much
static bool others_jump;       // each look at another clock finds it a day from where it was
static unsigned long looks;

static uint64_t in_ns(const struct timespec* time) {
  return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

static uint64_t awake_and_asleep_ns(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return in_ns(&now);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result != 0) return result;
  bool is_of_processor = clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
  uint64_t ns = in_ns(now);
  pthread_mutex_lock(&lock);
  if (clock == CLOCK_MONOTONIC) {
    if (asleep_since != 0 && ns > asleep_since) ns = asleep_since;
    ns += ahead_ns - slept_ns;
  } else if (others_jump && !is_of_processor) {
    ns += 24 * HOUR_NS * (looks++ % 5);
  }
  pthread_mutex_unlock(&lock);
  now->tv_sec = (time_t)(ns / 1000000000u);
  now->tv_nsec = (long)(ns % 1000000000u);
  return 0;
}

static void fall_asleep(void) {
  pthread_mutex_lock(&lock);
  asleep_since = awake_and_asleep_ns();
  pthread_mutex_unlock(&lock);
}

static void wake_up(void) {
  pthread_mutex_lock(&lock);
  slept_ns += awake_and_asleep_ns() - asleep_since;
  asleep_since = 0;
  pthread_mutex_unlock(&lock);
}

// A wait that has no other end than its time.
#define CHECK_TAKES(ns, call, result)           \
  do {                                          \
    uint64_t check_begin = now_ns();            \
    CHECK_INT(call, ==, result);                \
    CHECK_UINT(now_ns() - check_begin, >=, ns); \
  } while (0)

// ---- Suspended to memory ----

static int never[2];
static int begun;  // so many tasks have begun to wait

// What waits in the kernel is woken by its clock, and finds that the library's has stood still.
static void* stays_asleep(void* unused) {
  (void)unused;
  usleep(400000);
  wake_up();
  return NULL;
}

// The clock stands still since before the others looked at it, so nothing of their times is over, however
// late this is; and the machine sleeps on for as long as if it had fallen asleep only now.
static void lets_the_machine_sleep(void* machine) {
  CHECK_INT(begun, ==, 3);
  CHECK_INT(pthread_create(machine, NULL, stays_asleep, NULL), ==, 0);
}

static void sleeps_through(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t begin = awake_and_asleep_ns();
  begun++;
  CHECK_TAKES(200 * MS, mj_sleep_ns(200 * MS), 0);
  CHECK_UINT(awake_and_asleep_ns() - begin, >=, 600 * MS);
  mj_task_exit();
}

static void waits_through(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t begin = awake_and_asleep_ns();
  begun++;
  CHECK_TAKES(200 * MS, mj_task_wait_fd(never[0], POLLIN, 200 * MS), -ETIMEDOUT);
  CHECK_UINT(awake_and_asleep_ns() - begin, >=, 600 * MS);
  mj_task_exit();
}

// For times that go on in a suspended machine.
static void waits_for_a_timer_of_the_time_since_boot(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t begin = awake_and_asleep_ns();
  int timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  CHECK_INT(timer, >=, 0);
  struct itimerspec in_300_ms = {.it_value = {.tv_nsec = 300 * MS}};
  CHECK_INT(timerfd_settime(timer, 0, &in_300_ms, NULL), ==, 0);
  begun++;
  // It ends while the machine sleeps, and 150 ms awake are over after that, however late both are served:
  // then a last look counts.
  CHECK_INT(mj_task_wait_fd(timer, POLLIN, 150 * MS), ==, POLLIN);
  CHECK_UINT(awake_and_asleep_ns() - begin, >=, 300 * MS);
  close(timer);
  mj_task_exit();
}

static void a_suspended_machine_delays_timers_by_its_sleep(void) {
  open_pipe(never);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps_through, NULL);
  add_task(scheduler, waits_through, NULL);
  add_task(scheduler, waits_for_a_timer_of_the_time_since_boot, NULL);
  pthread_t machine;
  begun = 0;
  CHECK_INT(mj_go(scheduler, lets_the_machine_sleep, &machine, NULL), ==, 0);
  fall_asleep();
  CHECK_INT(mj_run(scheduler), ==, 0);
  pthread_join(machine, NULL);
  mj_scheduler_destroy(scheduler);
  close_both(never);
}

// ---- Restored elsewhere ----

static int given[2];

static void sleeps_for_an_hour(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_TAKES(HOUR_NS, mj_sleep_ns(HOUR_NS), 0);
  mj_task_exit();
}

static void gets_what_came_in_that_hour(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(given[0], POLLIN, HOUR_NS), ==, POLLIN);
  mj_task_exit();
}

static void gets_nothing_in_that_hour(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_wait_fd(never[0], POLLIN, HOUR_NS), ==, -ETIMEDOUT);
  mj_task_exit();
}

static void is_moved_to_another_machine(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(10 * MS);  // The others wait.
  pthread_mutex_lock(&lock);
  ahead_ns += 2 * HOUR_NS;
  pthread_mutex_unlock(&lock);
  put_byte(given[1]);
  mj_task_exit();
}

static void a_restored_machine_serves_all_that_was_due(void) {
  open_pipe(given);
  open_pipe(never);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps_for_an_hour, NULL);
  add_task(scheduler, gets_what_came_in_that_hour, NULL);
  add_task(scheduler, gets_nothing_in_that_hour, NULL);
  add_task(scheduler, is_moved_to_another_machine, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  close_both(given);
  close_both(never);
}

// ---- The real-time clock is set ----

static void takes_its_time(void* unused) {
  (void)unused;
  usleep(20000);
}

static mj_xchan* channel;

static void* waits_outside_the_run(void* unused) {
  char element;
  (void)unused;
  CHECK_TAKES(20 * MS, mj_xchan_recv(channel, &element, 20 * MS), -ETIMEDOUT);
  return NULL;
}

static void uses_its_limits(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_mutex* mutex = mj_mutex_create(scheduler);
  mj_cond* never_signaled = mj_cond_create(scheduler);
  char element;
  for (int round = 0; round < 5; round++) {
    CHECK_TAKES(10 * MS, mj_sleep_ns(10 * MS), 0);
    CHECK_TAKES(10 * MS, mj_task_wait_fd(never[0], POLLIN, 10 * MS), -ETIMEDOUT);
    CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
    CHECK_TAKES(10 * MS, mj_cond_wait(never_signaled, mutex, 10 * MS), -ETIMEDOUT);
    CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
    CHECK_TAKES(10 * MS, mj_xchan_recv(channel, &element, 10 * MS), -ETIMEDOUT);
    CHECK_INT(mj_offload(takes_its_time, NULL, NULL, LONG_NS), ==, 0);
  }
  mj_cond_destroy(never_signaled);
  mj_mutex_destroy(mutex);
  mj_task_exit();
}

static void nothing_waits_by_the_real_time_clock(void) {
  others_jump = true;
  open_pipe(never);
  mj_scheduler* scheduler = new_scheduler();
  channel = mj_xchan_create(1, 1);
  pthread_t outside;
  CHECK(channel != NULL);
  add_task(scheduler, uses_its_limits, NULL);
  CHECK_INT(pthread_create(&outside, NULL, waits_outside_the_run, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  pthread_join(outside, NULL);
  mj_xchan_release(channel);
  mj_scheduler_destroy(scheduler);
  close_both(never);
  others_jump = false;
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(nothing_waits_by_the_real_time_clock);  // First: from then on the kernel's clock is another one.
  RUN(a_suspended_machine_delays_timers_by_its_sleep);
  RUN(a_restored_machine_serves_all_that_was_due);
  return 0;
}
