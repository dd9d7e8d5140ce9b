// longjmp() within a task, which is the task's own affair, and out of a run, which leaves it running.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "log_lines.h"

#include <pthread.h>
#include <setjmp.h>

// ---- Within a task ----

enum { task_count = 3, jump_count = 50 };

static int jumps;

static __attribute__((noinline)) void suspends_and_jumps(jmp_buf* back, size_t bytes) {
  volatile char frame[bytes];
  frame[bytes - 1] = 1;
  mj_task_yield();
  longjmp(*back, frame[bytes - 1]);
}

static void jumps_back(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  jmp_buf back;
  volatile int count = 0;
  if (setjmp(back) != 0) {
    jumps++;
    count++;
  }
  if (count < jump_count) suspends_and_jumps(&back, 1 + (size_t)count * 100);
  mj_task_exit();
}

// The others suspend and jump meanwhile.
static void a_task_may_jump_on_its_own_stack(void) {
  jumps = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < task_count; i++) add_task(scheduler, jumps_back, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(jumps, ==, task_count * jump_count);
  mj_scheduler_destroy(scheduler);
}

// ---- Out of a run ----

static jmp_buf out;

static int jumps_out(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  (void)timeout_ns;
  (void)user_data;
  longjmp(out, 1);
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_ms(1);
  mj_task_exit();
}

static void* runs_another(void* unused) {
  (void)unused;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

// The run counts as going on, and nothing is harmed: it can be neither repeated nor destroyed, and the
// thread runs no other one. Other threads do.
static void is_left_running(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_scheduler* other = mj_scheduler_create();
  mj_scheduler_set_wait_func(scheduler, jumps_out, NULL);
  add_task(scheduler, sleeps, NULL);
  add_task(other, sleeps, NULL);
  log_lines_begin();
  if (setjmp(out) == 0) {
    mj_scheduler_run(scheduler);
    CHECK(!"it has jumped");
  }
  CHECK_WARNS(CHECK_INT(mj_run(scheduler), ==, -EBUSY));
  CHECK_WARNS(CHECK_INT(mj_run(other), ==, -EBUSY));
  CHECK_WARNS(mj_scheduler_destroy(scheduler));
  CHECK_PTR(mj_scheduler_current(), ==, scheduler);
  CHECK_INT(mj_yield(), ==, -EPERM);
  mj_scheduler_destroy(other);
  log_lines_end();
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs_another, NULL), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

// The way that is allowed: the run is stopped, and the jump follows it.
static int stops(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)timeout_ns;
  *(bool*)user_data = true;
  mj_scheduler_stop(scheduler);
  return 0;
}

static void a_run_may_be_stopped_before_the_jump(void) {
  static bool wants_out;
  mj_scheduler* volatile scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, stops, &wants_out);
  add_task(scheduler, sleeps, NULL);
  if (setjmp(out) == 0) {
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
    CHECK(wants_out);
    longjmp(out, 1);
  }
  mj_scheduler_set_wait_func(scheduler, NULL, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void a_jump_out_of_a_run_leaves_it_running(void) {
  CHECK_INT(status_of_child(is_left_running), ==, 0);
}

int main(void) {
  RUN(a_task_may_jump_on_its_own_stack);
  RUN(a_jump_out_of_a_run_leaves_it_running);
  RUN(a_run_may_be_stopped_before_the_jump);
  return 0;
}
