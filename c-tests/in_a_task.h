// For tests that run as the body of a task, each with a scheduler of its own.
#ifndef IN_A_TASK_H
#define IN_A_TASK_H

#include "check.h"

static mj_scheduler* scheduler;
static void (*test_body)(void);

static inline void runs_the_test(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  test_body();
  mj_task_exit();
}

// Runs the test in a task of a new scheduler. All other tasks must have ended when it returns.
static inline void run_test_in_a_task(void) {
  scheduler = new_scheduler();
  count_calls_only(scheduler);
  add_task(scheduler, runs_the_test, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// Runs a part of a test in such a task.
static inline void in_a_task(void (*body)(void)) {
  test_body = body;
  run_test_in_a_task();
}

// RUN() for a test that is the body of a task.
#define RUN_IN_TASK(test) \
  do { \
    test_body = test; \
    check_run(#test, run_test_in_a_task); \
  } while (0)

#endif  // IN_A_TASK_H
