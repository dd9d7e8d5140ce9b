// longjmp() within a task, which is the task's own affair, and out of a run, which leaves it running.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "log_output.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

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
static mj_scheduler *left, *other;
static int result, lines;

static int jumps_out(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  (void)timeout_ns;
  (void)user_data;
  longjmp(out, 1);
}

static void by_a_wait_function(void) {
  mj_scheduler_set_wait_func(left, jumps_out, NULL);
}

// Called by the loop for the timer of the task, and not by the task.
static uint64_t clock_jumps_out(void* user_data) {
  (void)user_data;
  mj_scheduler* running = mj_scheduler_current();
  if (running != NULL && mj_task_current() == NULL && running->timer_count > 0) longjmp(out, 1);
  return now_ns();
}

static void by_a_clock(void) { CHECK_INT(mj_scheduler_set_clock(left, clock_jumps_out, NULL), ==, 0); }

static int fails(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  (void)timeout_ns;
  (void)user_data;
  return -EIO;
}

static void counts_or_jumps_out(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  lines++;
  if (level == MJ_LOG_ERROR && strstr(message, "the wait function failed") != NULL) longjmp(out, 1);
}

static void by_a_log_callback(void) {
  mj_scheduler_set_wait_func(left, fails, NULL);
  mj_log_set_callback(counts_or_jumps_out, NULL);
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

static void runs_it_again(void) { result = mj_run(left); }
static void runs_the_other(void) { result = mj_run(other); }
static void destroys_it(void) { mj_scheduler_destroy(left); }

// On stderr: a callback that was left is not called again for lines of its thread.
static void check_error_line(void (*function)(void)) {
  output said = output_of(function);
  CHECK(strstr(said.err, "[ERROR]") != NULL);
  release(&said);
}

static bool handles_sigint(void) {
  struct sigaction action;
  CHECK_INT(sigaction(SIGINT, NULL, &action), ==, 0);
  return action.sa_handler != SIG_DFL;
}

static void (*prepares)(void);

// The run counts as going on, and nothing is harmed: it can be neither repeated nor destroyed, and the
// thread runs no other one. Other threads do.
static void is_left_running(void) {
  left = setup_scheduler_with_epoll();
  CHECK(left != NULL);
  other = new_scheduler();
  prepares();
  add_task(left, sleeps, NULL);
  add_task(other, sleeps, NULL);
  CHECK(!handles_sigint());
  if (setjmp(out) == 0) {
    mj_scheduler_run(left);
    CHECK(!"it has jumped");
  }
  CHECK(handles_sigint());
  check_error_line(runs_it_again);
  CHECK_INT(result, ==, -EBUSY);
  check_error_line(runs_the_other);
  CHECK_INT(result, ==, -EBUSY);
  check_error_line(destroys_it);
  CHECK_PTR(mj_scheduler_current(), ==, left);
  CHECK_INT(mj_yield(), ==, -EPERM);
  mj_scheduler_destroy(other);
  pthread_t thread;
  lines = 0;
  CHECK_INT(pthread_create(&thread, NULL, runs_another, NULL), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  // Lines of other threads come to the callback as before.
  CHECK_INT(lines > 0, ==, prepares == by_a_log_callback);
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
  void (*const ways[])(void) = {by_a_wait_function, by_a_clock, by_a_log_callback};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    prepares = ways[i];
    CHECK_INT(status_of_child(is_left_running), ==, 0);
  }
}

int main(void) {
  RUN(a_task_may_jump_on_its_own_stack);
  RUN(a_jump_out_of_a_run_leaves_it_running);
  RUN(a_run_may_be_stopped_before_the_jump);
  return 0;
}
