// Deadlines: the arithmetic, the deadline of a task to the nanosecond in simulated time, and calls
// that return nothing. What both APIs have is in tests/behaviour/sync/deadline.rs.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "log_lines.h"

#include <poll.h>
#include <unistd.h>

static uint64_t simulated_ns;

static uint64_t simulated_clock(void* user_data) {
  (void)user_data;
  return simulated_ns;
}

static int waits_for_all_the_time(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  if (timeout_ns != MJ_FOREVER) simulated_ns += timeout_ns;
  return mj_wait_epoll(scheduler, 0, user_data);
}

// Runs a body in simulated time.
static void in_simulated_time(mj_task_fn* body) {
  simulated_ns = 1000000;
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_clock, NULL), ==, 0);
  mj_scheduler_set_wait_func(scheduler, waits_for_all_the_time, NULL);
  add_task(scheduler, body, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- The arithmetic ----

static void computes(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_UINT(mj_deadline_after(0), ==, 1000000);
  CHECK_UINT(mj_deadline_after(5), ==, 1000005);
  CHECK_UINT(mj_deadline_after(MJ_FOREVER), ==, MJ_FOREVER);
  CHECK_UINT(mj_deadline_after(MJ_FOREVER - 1000001), ==, MJ_FOREVER - 1);
  CHECK_UINT(mj_deadline_after(MJ_FOREVER - 1000000), ==, MJ_FOREVER);
  CHECK_UINT(mj_deadline_after(MJ_FOREVER - 1), ==, MJ_FOREVER);
  CHECK_UINT(mj_deadline_left(0), ==, 0);
  CHECK_UINT(mj_deadline_left(999999), ==, 0);
  CHECK_UINT(mj_deadline_left(1000000), ==, 0);
  CHECK_UINT(mj_deadline_left(1000001), ==, 1);
  CHECK_UINT(mj_deadline_left(MJ_FOREVER - 1), ==, MJ_FOREVER - 1000001);
  CHECK_UINT(mj_deadline_left(MJ_FOREVER), ==, MJ_FOREVER);
  CHECK_UINT(mj_deadline_after(0), ==, mj_scheduler_now_ns(scheduler));
  mj_task_exit();
}

static uint64_t seen_outside_a_task;

static int looks_at_the_clock(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  seen_outside_a_task = mj_deadline_after(0);
  return waits_for_all_the_time(scheduler, timeout_ns, user_data);
}

static void sleeps_once(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_scheduler_set_wait_func(scheduler, looks_at_the_clock, NULL);
  CHECK_INT(mj_sleep_ns(5), ==, 0);
  mj_task_exit();
}

static void deadlines_follow_the_clock_of_the_scheduler(void) {
  in_simulated_time(computes);
  in_simulated_time(sleeps_once);
  CHECK_UINT(seen_outside_a_task, <=, 1000005);
  CHECK_UINT(seen_outside_a_task, >=, 1000000);
}

static void outside_a_run_the_clock_is_the_systems(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 2; i++) {
    uint64_t before = now_ns(), deadline = mj_deadline_after(LONG_NS), after = now_ns();
    CHECK_UINT(deadline, >=, before + LONG_NS);
    CHECK_UINT(deadline, <=, after + LONG_NS);
    CHECK_UINT(mj_deadline_left(deadline), <=, LONG_NS);
    CHECK_UINT(mj_deadline_left(before), ==, 0);
    // That of a scheduler that does not run is not asked.
    CHECK_INT(mj_scheduler_set_clock(scheduler, simulated_clock, NULL), ==, 0);
  }
  mj_scheduler_destroy(scheduler);
}

// ---- The deadline of a task ----

static void waits_until_then(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  uint64_t old = 1;
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1000), &old), ==, 0);
  CHECK_UINT(old, ==, MJ_FOREVER);
  CHECK_INT(mj_sleep_ns(400), ==, 0);
  CHECK_INT(mj_sleep_ns(601), ==, -ETIMEDOUT);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1001000);
  // One that is over at the same time is complete; a moment that has come is as well.
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1000), &old), ==, 0);
  CHECK_UINT(old, ==, 1001000);
  CHECK_INT(mj_task_sleep_until_ns(1002000), ==, 0);
  CHECK_INT(mj_task_sleep_until_ns(1002000), ==, 0);
  CHECK_INT(mj_task_sleep_until_ns(1001500), ==, 0);
  CHECK_INT(mj_task_sleep_until_ns(1002001), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_sleep_until_ns(MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_INT(mj_sleep_ns(0), ==, 0);  // Its moment is the deadline.
  simulated_ns++;
  CHECK_INT(mj_sleep_ns(0), ==, -ETIMEDOUT);
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_park(MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_INT(mj_yield(), ==, 0);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1002001);
  // 0 is a moment as any other, and has passed.
  CHECK_INT(mj_task_set_deadline(0, NULL), ==, 0);
  CHECK_INT(mj_task_park(MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_set_deadline(MJ_FOREVER, &old), ==, 0);
  CHECK_UINT(old, ==, 0);
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1003001);
  // One that is far away limits nothing.
  CHECK_INT(mj_task_set_deadline(MJ_FOREVER - 1, NULL), ==, 0);
  CHECK_INT(mj_task_park(1000), ==, -ETIMEDOUT);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1004001);
  mj_task_exit();
}

static void a_deadline_is_kept_to_the_nanosecond(void) { in_simulated_time(waits_until_then); }

static int fds[2];

// Calls without a result end too, in whatever unit they are given the time.
static void calls_what_returns_nothing(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1000), NULL), ==, 0);
  mj_task_sleep_s(1);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1001000);
  mj_task_sleep_ns(1000);
  mj_task_sleep_ms(1000);
  mj_task_wait_readable(fds[0]);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1001000);
  mj_task_yield();
  mj_task_exit();
}

static void sleeps_that_return_nothing_end(void) {
  CHECK_INT(pipe(fds), ==, 0);
  in_simulated_time(calls_what_returns_nothing);
  close(fds[0]);
  close(fds[1]);
}

static void waits_for_a_descriptor(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1000), NULL), ==, 0);
  CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1001000);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, MJ_FOREVER), ==, -ETIMEDOUT);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 5000), ==, -ETIMEDOUT);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 0), ==, -ETIMEDOUT);
    CHECK_INT(mj_task_wait_fd(fds[1], POLLOUT, MJ_FOREVER), ==, POLLOUT);
    CHECK_INT(mj_task_wait_fd(-1, POLLIN, MJ_FOREVER), ==, -EBADF);
  }
  CHECK_INT(write(fds[1], "x", 1), ==, 1);
  CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, MJ_FOREVER), ==, POLLIN);
  CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 0), ==, POLLIN);
  // What is canceled is told that.
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  CHECK_INT(mj_sleep_ns(1), ==, -ECANCELED);
  CHECK_INT(mj_task_set_cancelable(false, NULL), ==, 0);
  CHECK_INT(mj_sleep_ns(1), ==, -ETIMEDOUT);  // A held cancellation holds no deadline.
  mj_task_exit();
  CHECK_INT(mj_sleep_ns(1), ==, -ECANCELED);
}

static void descriptors_that_are_ready_are_had(void) {
  CHECK_INT(pipe(fds), ==, 0);
  log_lines_begin();
  in_simulated_time(waits_for_a_descriptor);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 3);  // That -1 cannot be waited for.
  log_lines_end();
  close(fds[0]);
  close(fds[1]);
}

// The I/O calls and select: what is there is had, and else it is the task's deadline that counts.
static void reads_and_selects(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  char byte = 0;
  size_t done = 7;
  struct pollfd one = {.fd = fds[0], .events = POLLIN};
  mj_select_case time = {.op = MJ_SELECT_DEADLINE, .deadline_ns = mj_deadline_after(500)};
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(1000), NULL), ==, 0);
  CHECK_INT(mj_select(&time, 1, MJ_FOREVER), ==, 0);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1000500);
  time.deadline_ns = mj_deadline_after(5000);
  CHECK_INT(mj_select(&time, 1, MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1001000);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_read(fds[0], &byte, 1, MJ_FOREVER), ==, -ETIMEDOUT);
    CHECK_INT(mj_poll(&one, 1, MJ_FOREVER), ==, -ETIMEDOUT);
    CHECK_INT(mj_select(&time, 1, 5000), ==, -ETIMEDOUT);
    CHECK_INT(mj_write(fds[1], "x", 1, MJ_FOREVER), ==, 1);
    CHECK_INT(mj_poll(&one, 1, MJ_FOREVER), ==, 1);
    CHECK_INT(mj_read_exact(fds[0], (char[2]){0}, 2, MJ_FOREVER, &done), ==, -ETIMEDOUT);
    CHECK_UINT(done, ==, 1);  // Nothing that was transferred is lost.
  }
  CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 1001000);
  mj_task_exit();
}

static void calls_for_descriptors_and_select_are_limited(void) {
  CHECK_INT(pipe(fds), ==, 0);
  in_simulated_time(reads_and_selects);
  close(fds[0]);
  close(fds[1]);
}

// A loop that does nothing but wait past its deadline keeps nobody from running, nor the run from
// ending.
static void goes_round(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_task_set_deadline(0, NULL), ==, 0);
  for (int i = 0; i < 1000; i++) mj_task_sleep_s(1);
  CHECK_UINT(watcher_turns, >=, 1000);
  watcher_may_end = true;
  mj_task_exit();
}

static void a_loop_past_the_deadline_lets_others_run(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_watcher(scheduler);
  add_task(scheduler, goes_round, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static int sets_a_deadline(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  uint64_t old = 7;
  CHECK_INT(mj_task_set_deadline(0, &old), ==, -EPERM);
  CHECK_UINT(old, ==, 7);
  return mj_wait_epoll(scheduler, timeout_ns, user_data);
}

static void sleeps_a_little(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  mj_task_exit();
}

static void outside_a_task_there_is_none(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, sets_a_deadline, NULL);
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_task_set_deadline(MJ_FOREVER, NULL), ==, -EPERM));
  add_task(scheduler, sleeps_a_little, NULL);
  CHECK_WARNS(CHECK_INT(mj_run(scheduler), ==, 0));
  log_lines_end();
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(deadlines_follow_the_clock_of_the_scheduler);
  RUN(outside_a_run_the_clock_is_the_systems);
  RUN(a_deadline_is_kept_to_the_nanosecond);
  RUN(sleeps_that_return_nothing_end);
  RUN(descriptors_that_are_ready_are_had);
  RUN(calls_for_descriptors_and_select_are_limited);
  RUN(a_loop_past_the_deadline_lets_others_run);
  RUN(outside_a_task_there_is_none);
  return 0;
}
