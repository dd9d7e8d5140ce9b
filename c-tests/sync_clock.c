// A call with a timeout reads the program's clock. The call sees what the clock function changes:
// it does not wait for what is there already.
#define _GNU_SOURCE
#include "calls.h"

static void (*when_asked)(void);

static uint64_t clock_that_acts(void* user_data) {
  (void)user_data;
  void (*act)(void) = when_asked;
  when_asked = NULL;
  if (act != NULL) act();
  return now_ns();
}

static mj_mutex* mutex;
static mj_sem* semaphore;
static mj_waitgroup* group;
static mj_chan* channel;

static void holds_for_a_turn(mj_scheduler* scheduler_of_it, void* user_state) {
  (void)scheduler_of_it;
  (void)user_state;
  CHECK_INT(mj_mutex_lock(mutex, 0), ==, 0);
  mj_task_yield();
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  mj_task_exit();
}

// The clock runs in the task that reads the time, and may itself let another task run.
static void yields(void) { mj_task_yield(); }

static void releases(void) { CHECK_INT(mj_sem_release(semaphore, 1), ==, 0); }
static void is_done(void) { CHECK_INT(mj_waitgroup_done(group), ==, 0); }

static void sends(void) {
  int seven = 7;
  CHECK_INT(mj_chan_try_send(channel, &seven), ==, 0);
}

static void wait_for_each(void) {
  mutex = mj_mutex_create(scheduler);
  add_task(scheduler, holds_for_a_turn, NULL);
  mj_task_yield();
  CHECK_INT(mj_mutex_try_lock(mutex), ==, -EAGAIN);
  when_asked = yields;
  CHECK_INT(mj_mutex_lock(mutex, LONG_NS), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);

  semaphore = mj_sem_create(scheduler, 0);
  when_asked = releases;
  CHECK_INT(mj_sem_acquire(semaphore, 1, LONG_NS), ==, 0);
  CHECK_INT(mj_sem_destroy(semaphore), ==, 0);

  group = mj_waitgroup_create(scheduler);
  CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  when_asked = is_done;
  CHECK_INT(mj_waitgroup_wait(group, LONG_NS), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);

  int element = 0;
  channel = mj_chan_create(scheduler, sizeof element, 1);
  mj_select_case one = {.chan = channel, .op = MJ_SELECT_RECV, .element = &element};
  when_asked = sends;
  CHECK_INT(mj_select(&one, 1, LONG_NS), ==, 0);
  CHECK_INT(element, ==, 7);
  CHECK_INT(mj_chan_destroy(channel), ==, 0);
}

static void changes_made_by_the_clock_are_seen(void) {
  scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(scheduler, clock_that_acts, NULL), ==, 0);
  test_body = wait_for_each;
  add_task(scheduler, runs_the_test, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(changes_made_by_the_clock_are_seen);
  return 0;
}
