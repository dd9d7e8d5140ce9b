// Runs that signals end in order: mj_run_until_signal().
#define _GNU_SOURCE
#include "check.h"

#include <signal.h>

#define MS UINT64_C(1000000)

static mj_scheduler* scheduler;
static int canceled, ended, told, signal_told;

static void begin(void) {
  scheduler = new_scheduler();
  canceled = ended = told = signal_told = 0;
}

static void end(int left) {
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, left);
  mj_scheduler_destroy(scheduler);
  struct sigaction now;
  CHECK_INT(sigaction(SIGTERM, NULL, &now), ==, 0);
  CHECK(now.sa_handler == SIG_DFL);
}

static void go(void (*function)(void*), void* argument) {
  CHECK_INT(mj_go(scheduler, function, argument, NULL), ==, 0);
}

static void waits_to_be_canceled(void* argument) {
  (void)argument;
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ECANCELED);
  canceled++;
}

static void works(void* argument) {
  CHECK_INT(mj_sleep_ns(*(uint64_t*)argument), ==, 0);
  ended++;
}

static void terminates(void* argument) {
  (void)argument;
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  CHECK_INT(raise(SIGTERM), ==, 0);
}

static void is_told(void* argument) {
  CHECK_PTR(argument, ==, &told);
  signal_told = mj_scheduler_signal(scheduler);
  CHECK_STR(mj_task_get_name(mj_task_current()), "signal");
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  told++;
}

static void tasks_end_within_their_time(void) {
  begin();
  uint64_t work_ns = 30 * MS;
  for (int i = 0; i < 10; i++) go(works, &work_ns);
  go(terminates, NULL);
  uint64_t before = now_ns();
  CHECK_INT(mj_run_until_signal(scheduler, is_told, &told, LONG_NS), ==, 0);
  CHECK_UINT(now_ns() - before, >=, work_ns);
  CHECK_INT(told, ==, 1);
  CHECK_INT(ended, ==, 10);
  CHECK_INT(signal_told, ==, SIGTERM);
  CHECK_INT(mj_scheduler_signal(scheduler), ==, SIGTERM);
  end(0);
}

static void is_a_daemon(void* argument) {
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  waits_to_be_canceled(argument);
}

// They end as at the end of any run: nobody waits for their time.
static void daemons_are_not_waited_for(void) {
  begin();
  go(is_a_daemon, NULL);
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, is_told, &told, MJ_FOREVER), ==, 0);
  CHECK_INT(told, ==, 1);
  CHECK_INT(canceled, ==, 1);
  end(0);
}

static void those_that_are_left_are_canceled(void) {
  static const uint64_t graces[] = {0, 20 * MS};
  for (size_t i = 0; i < 2; i++) {
    begin();
    for (int k = 0; k < 10; k++) go(waits_to_be_canceled, NULL);
    go(terminates, NULL);
    uint64_t before = now_ns();
    CHECK_INT(mj_run_until_signal(scheduler, is_told, &told, graces[i]), ==, 0);
    CHECK_UINT(now_ns() - before, >=, graces[i]);
    CHECK_INT(canceled, ==, 10);
    CHECK_INT(told, ==, 1);
    end(0);
  }
}

static void without_a_function_they_are_canceled_at_once(void) {
  begin();
  for (int k = 0; k < 10; k++) go(waits_to_be_canceled, NULL);
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, NULL, NULL, 0), ==, 0);
  CHECK_INT(canceled, ==, 10);
  end(0);
}

static void makes_another(void* argument) {
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -ECANCELED);
  int left = (*(int*)argument)--;
  canceled++;
  if (left > 0) go(makes_another, argument);
}

static void those_that_they_make_are_canceled_too(void) {
  begin();
  int left = 5;
  go(makes_another, &left);
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, NULL, NULL, 0), ==, 0);
  CHECK_INT(canceled, ==, 6);
  end(0);
}

static void is_never_done(void* argument) {
  (void)argument;
  for (;;) mj_sleep_ns(MS);
}

static void terminates_twice(void* argument) {
  bool old;
  mj_task_set_cancelable(false, &old);
  terminates(argument);
  // Until the first one has been told of.
  while (mj_scheduler_signal(scheduler) == 0) mj_sleep_ns(MS);
  terminates(argument);
}

static void the_next_signal_stops_the_run(void) {
  begin();
  go(is_never_done, NULL);
  go(terminates_twice, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, NULL, NULL, 0), ==, MJ_RUN_SIGNAL);
  CHECK_INT(mj_scheduler_signal(scheduler), ==, SIGTERM);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, >=, 1);
  end((int)mj_scheduler_get_metrics(scheduler)->current_tasks);
}

static void waits_itself(void* argument) {
  int number = SIGTERM;
  CHECK_INT(mj_signal_wait(&number, 1, NULL, LONG_NS), ==, SIGTERM);
  (*(int*)argument)++;
}

static void a_task_that_waits_is_told_as_well(void) {
  begin();
  int count = 0;
  go(waits_itself, &count);
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, is_told, &told, LONG_NS), ==, 0);
  CHECK_INT(count, ==, 1);
  CHECK_INT(told, ==, 1);
  end(0);
}

static void without_a_signal_it_is_a_run(void) {
  begin();
  uint64_t work_ns = MS;
  go(works, &work_ns);
  CHECK_INT(mj_run_until_signal(scheduler, is_told, &told, LONG_NS), ==, 0);
  CHECK_INT(told, ==, 0);
  CHECK_INT(ended, ==, 1);
  CHECK_INT(mj_scheduler_signal(scheduler), ==, 0);
  end(0);
  mj_log_set_level(MJ_LOG_FATAL);
  CHECK_INT(mj_run_until_signal(NULL, NULL, NULL, 0), ==, -EINVAL);
  mj_log_set_level(MJ_LOG_WARN);
}

static void what_is_ignored_stays_ignored(void) {
  struct sigaction ignore, before;
  memset(&ignore, 0, sizeof ignore);
  ignore.sa_handler = SIG_IGN;
  CHECK_INT(sigaction(SIGTERM, &ignore, &before), ==, 0);
  begin();
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, is_told, &told, LONG_NS), ==, 0);
  CHECK_INT(told, ==, 0);
  CHECK_INT(sigaction(SIGTERM, &before, &ignore), ==, 0);
  CHECK(ignore.sa_handler == SIG_IGN);
  end(0);
}

static void exits(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_deadline(mj_scheduler_now_ns(scheduler), NULL), ==, 0);
  mj_task_exit();
  told++;
}

// What it has called ends with it: the others have their time, and are canceled.
static void the_function_may_end_its_task(void) {
  begin();
  uint64_t work_ns = 30 * MS;
  go(works, &work_ns);
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, exits, NULL, LONG_NS), ==, 0);
  CHECK_INT(told, ==, 1);
  CHECK_INT(ended, ==, 1);
  for (int i = 0; i < 3; i++) go(waits_to_be_canceled, NULL);
  go(terminates, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, exits, NULL, MS), ==, 0);
  CHECK_INT(canceled, ==, 3);
  end(0);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(tasks_end_within_their_time);
  RUN(daemons_are_not_waited_for);
  RUN(those_that_are_left_are_canceled);
  RUN(without_a_function_they_are_canceled_at_once);
  RUN(the_function_may_end_its_task);
  RUN(those_that_they_make_are_canceled_too);
  RUN(the_next_signal_stops_the_run);
  RUN(a_task_that_waits_is_told_as_well);
  RUN(without_a_signal_it_is_a_run);
  RUN(what_is_ignored_stays_ignored);
  return 0;
}
