// Exceptions of no language in particular, raised by the unwinder's own call, in the program's functions:
// the search for a handler ends where the library called the function, with a line that says so. (What a
// C++ program sees of that is in exception_callbacks.cc, which needs a C++ compiler.)
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <unwind.h>

// What the function said on stderr.
static char said[300];
static struct _Unwind_Exception exception;

static void raises(void) {
  int channel[2];
  CHECK_INT(pipe2(channel, O_CLOEXEC), ==, 0);
  int before = fcntl(2, F_DUPFD_CLOEXEC, 3);
  CHECK_INT(dup2(channel[1], 2), ==, 2);
  // It returns if nobody catches it; what, is wrong on aarch64 with older compilers' runtimes.
  _Unwind_RaiseException(&exception);
  CHECK_INT(dup2(before, 2), ==, 2);
  close(before);
  close(channel[1]);
  ssize_t length = read(channel[0], said, sizeof said - 1);
  said[length > 0 ? length : 0] = '\0';
  close(channel[0]);
}

static void check_said(const char* whose) {
  char expected[300];
  snprintf(expected, sizeof expected,
           "majjen: an exception leaves %s, which the library cannot let pass: catch it there\n",
           whose);
  CHECK_STR(said, expected);
  said[0] = '\0';
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_ms(100);
  mj_task_exit();
}

static int waits(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  raises();
  return mj_wait_epoll(scheduler, timeout_ns, user_data);
}

static void out_of_a_wait_function(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, waits, NULL);
  add_task(scheduler, sleeps, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  check_said("a wait function");
}

static uint64_t tells(void* user_data) {
  (void)user_data;
  raises();
  return now_ns();
}

static void out_of_a_clock(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_clock(scheduler, tells, NULL);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), >, 0);
  mj_scheduler_destroy(scheduler);
  check_said("a clock");
}

static void receives(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
  raises();
}

static void out_of_a_log_callback(void) {
  mj_log_set_callback(receives, NULL);
  mj_scheduler_destroy(NULL);  // A line of the library's own.
  mj_log_set_callback(NULL, NULL);
  check_said("a log callback");
}

static void raises_in_a_body(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  raises();
  mj_task_exit();
}

static void out_of_a_body(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, raises_in_a_body, NULL);
  add_task(scheduler, raises_in_a_body, NULL);  // On the first one's stack.
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  check_said("the body of a task");
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(out_of_a_wait_function);
  RUN(out_of_a_clock);
  RUN(out_of_a_log_callback);
  RUN(out_of_a_body);
  return 0;
}
