// mj_task_set_daemon(): tasks that do not keep a run going.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#define MS UINT64_C(1000000)

static mj_scheduler* scheduler;
static int ended, canceled;

static void begin(void) {
  scheduler = new_scheduler();
  ended = canceled = 0;
  log_lines_begin();
}

static void end(void) {
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

static mj_task_id go(void (*function)(void*), void* argument) {
  mj_task_id id = 0;
  CHECK_INT(mj_go(scheduler, function, argument, &id), ==, 0);
  return id;
}

static void sleeps(void* ms) {
  CHECK_INT(mj_sleep_ns(*(const uint64_t*)ms * MS), ==, 0);
  ended++;
}

static const uint64_t short_ms = 2;

// ---- The end of a run ----

static void heartbeat(void* period_ns) {
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  while (mj_sleep_ns(*(const uint64_t*)period_ns) == 0) continue;
  canceled++;
}

static void a_run_ends_when_the_others_have(void) {
  static const uint64_t periods[] = {MS / 10, LONG_NS, MJ_FOREVER};
  for (size_t i = 0; i < 3; i++) {
    begin();
    for (int daemons = 0; daemons < 3; daemons++) go(heartbeat, (void*)&periods[i]);
    go(sleeps, (void*)&short_ms);
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_INT(ended, ==, 1);
    CHECK_INT(canceled, ==, 3);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
    CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 0);
    // Nothing is left of it: tasks in the same slots are no daemons.
    for (int tasks = 0; tasks < 4; tasks++) go(sleeps, (void*)&short_ms);
    CHECK_INT(mj_run(scheduler), ==, 0);
    CHECK_INT(ended, ==, 5);
    end();
  }
}

static void sets_it_and_back(void* argument) {
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_task_set_daemon(false), ==, 0);
  sleeps(argument);
}

static void one_that_is_none_any_more_keeps_the_run_going(void) {
  begin();
  go(sets_it_and_back, (void*)&short_ms);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, 1);
  end();
}

static void takes_time(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_cancelable(false, NULL), ==, 0);
  sleeps((void*)&short_ms);
}

static void cleans_up(void* argument) {
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_task_defer(takes_time, argument), ==, 0);
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ECANCELED);
}

static void there_is_time_to_clean_up(void) {
  begin();
  CHECK_INT(mj_scheduler_set_daemon_limit(scheduler, MJ_FOREVER), ==, 0);
  go(cleans_up, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, 1);
  end();
}

static void hands_over(void* argument) {
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ECANCELED);
  go(sleeps, argument);
}

static void a_task_that_a_daemon_makes_keeps_the_run_going(void) {
  static const uint64_t period = MS / 10;
  begin();
  CHECK_INT(mj_scheduler_set_daemon_limit(scheduler, 0), ==, 0);
  go(hands_over, (void*)&short_ms);
  go(heartbeat, (void*)&period);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, 1);
  CHECK_INT(canceled, ==, 1);
  end();
}

static void is_one_at_once(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  canceled++;
}

static void makes_another(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  go(is_one_at_once, NULL);
  canceled++;
}

// One that becomes a daemon while they end is to end, too.
static void a_daemon_that_comes_late_is_canceled(void) {
  begin();
  go(makes_another, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(canceled, ==, 2);
  end();
}

static void posted(void* argument) {
  (void)argument;
  CHECK_INT(canceled, ==, 0);
  ended++;
}

// What other threads have left is done first.
static void posts_come_before_the_end(void) {
  static const uint64_t period = LONG_NS;
  begin();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  go(heartbeat, (void*)&period);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  CHECK_INT(mj_post(remote, posted, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_remote_release(remote);
  CHECK_INT(ended, ==, 1);
  CHECK_INT(canceled, ==, 1);
  end();
}

static void stops(void* argument) {
  (void)argument;
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
}

static void a_run_that_is_stopped_leaves_them_alone(void) {
  static const uint64_t period = LONG_NS;
  begin();
  go(heartbeat, (void*)&period);
  go(stops, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  CHECK_INT(canceled, ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(canceled, ==, 1);
  end();
}

// ---- Daemons that do not end ----

static bool obstinate;

static void goes_on(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_task_set_name(mj_task_current(), "stays"), ==, 0);
  CHECK_INT(mj_task_set_cancelable(false, NULL), ==, 0);
  while (obstinate) mj_sleep_ns(MS / 10);
  ended++;
}

static void those_that_do_not_end_are_left_and_named(void) {
  begin();
  obstinate = true;
  CHECK_INT(mj_scheduler_set_daemon_limit(scheduler, 3 * MS), ==, 0);
  mj_task_id id = go(goes_on, NULL);
  uint64_t began = now_ns();
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(now_ns() - began, >=, 3 * MS);
  char expected[200];
  snprintf(expected, sizeof expected,
           "the run ends, and leaves 1 daemon that was canceled and did not end in time: "
           "task %#llx \"stays\"", (unsigned long long)id);
  CHECK_STR(log_line_warning, expected);
  CHECK_INT(ended, ==, 0);
  // The next run goes on with it.
  obstinate = false;
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, 1);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 1);
  end();
}

static void spins(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  for (;;) mj_task_yield();
}

static void not_even_those_that_never_wait_keep_the_run_going(void) {
  begin();
  CHECK_INT(mj_scheduler_set_daemon_limit(scheduler, MS), ==, 0);
  for (int i = 0; i < 10; i++) go(spins, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 1);
  CHECK(strstr(log_line_warning, "leaves 10 daemons that were canceled") != NULL);
  CHECK(strstr(log_line_warning, ", task ") != NULL);
  CHECK(strstr(log_line_warning, " and others") != NULL);
  end();
}

static void parks_for_good(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_task_set_cancelable(false, NULL), ==, 0);
  mj_task_park(MJ_FOREVER);
}

static void what_nothing_can_wake_is_not_waited_for(void) {
  begin();
  CHECK_INT(mj_scheduler_set_daemon_limit(scheduler, MJ_FOREVER), ==, 0);
  go(parks_for_good, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 0);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 1);
  end();
}

// ---- Deadlock ----

static void parks(void* argument) {
  CHECK_INT(mj_task_park(MJ_FOREVER), ==, *(const int*)argument);
  ended++;
}

static void a_deadlock_is_that_of_the_others(void) {
  static const int wakes = 0;
  begin();
  go(parks_for_good, NULL);
  go(parks, (void*)&wakes);
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  CHECK(strstr(log_line_warning, "deadlock: 1 task is parked") != NULL);
  end();
}

static mj_task_id waiting;

static void wakes_in_time(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  CHECK_INT(mj_scheduler_wake(scheduler, waiting), ==, 1);
}

static void a_daemon_may_end_a_wait(void) {
  static const int wakes = 0;
  begin();
  go(wakes_in_time, NULL);
  waiting = go(parks, (void*)&wakes);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, 1);
  end();
}

static void errors(void) {
  begin();
  CHECK_WARNS(CHECK_INT(mj_task_set_daemon(true), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_scheduler_set_daemon_limit(NULL, 1), ==, -EINVAL));
  end();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_run_ends_when_the_others_have);
  RUN(one_that_is_none_any_more_keeps_the_run_going);
  RUN(there_is_time_to_clean_up);
  RUN(a_task_that_a_daemon_makes_keeps_the_run_going);
  RUN(a_daemon_that_comes_late_is_canceled);
  RUN(posts_come_before_the_end);
  RUN(a_run_that_is_stopped_leaves_them_alone);
  RUN(those_that_do_not_end_are_left_and_named);
  RUN(not_even_those_that_never_wait_keep_the_run_going);
  RUN(what_nothing_can_wake_is_not_waited_for);
  RUN(a_deadlock_is_that_of_the_others);
  RUN(a_daemon_may_end_a_wait);
  RUN(errors);
  return 0;
}
