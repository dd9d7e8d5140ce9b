// Stack overflow: one line that says what happened, and then what would have happened without it.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <signal.h>

// Never true, but the compiler does not know.
static volatile int deepest = -1;

// Deep by many small frames, or by few that are larger than most guards.
static int recurse_by_small_frames(int depth) {
  volatile char frame[1000];
  frame[0] = (char)depth;
  if (depth == deepest) return 0;
  return recurse_by_small_frames(depth + 1) + frame[0];
}

static int recurse_by_large_frames(int depth) {
  volatile char frame[32 * 1024];
  frame[0] = (char)depth;
  if (depth == deepest) return 0;
  return recurse_by_large_frames(depth + 1) + frame[0];
}

static int (*recurse)(int depth);

static void overflows(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_set_name(mj_task_current(), "runaway");
  mj_task_yield();
  recurse(0);
  mj_task_exit();
}

static void run_overflow(mj_scheduler* scheduler) {
  mj_task* task = mj_create_task(scheduler, overflows, NULL);
  CHECK_INT(mj_task_set_stack_size(task, 64 * 1024), ==, 0);
  mj_scheduler_run(scheduler);
}

static void in_an_application(void) { run_overflow(setup_scheduler_with_epoll()); }

static void in_a_plain_scheduler(void) { run_overflow(mj_scheduler_create()); }

static void where_it_was_asked_for(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  CHECK_INT(mj_scheduler_report_overflow(scheduler, true), ==, 0);
  run_overflow(scheduler);
}

static void own_handler(int signal_number, siginfo_t* info, void* context) {
  (void)context;
  _exit(signal_number == SIGSEGV && info->si_addr != NULL ? 42 : 43);
}

static void with_a_handler_of_its_own(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = own_handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  CHECK_INT(sigaction(SIGSEGV, &action, NULL), ==, 0);
  in_an_application();
}

static void own_plain_handler(int signal_number) { _exit(signal_number == SIGSEGV ? 42 : 43); }

static void with_a_plain_handler(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = own_plain_handler;
  action.sa_flags = SA_ONSTACK;
  CHECK_INT(sigaction(SIGSEGV, &action, NULL), ==, 0);
  in_an_application();
}

// A fault cannot be ignored.
static void with_faults_ignored(void) {
  CHECK(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
  in_an_application();
}

static void faults_without_overflow(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  *(volatile int*)16 = 1;
}

static void another_fault(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, faults_without_overflow, NULL);
  mj_scheduler_run(scheduler);
}

static void (*child_function)(void);
static int child_stderr;

static void calls_with_stderr(void) {
  dup2(child_stderr, STDERR_FILENO);
  mj_log_set_level(MJ_LOG_SILENT);
  child_function();
}

// Runs a function in a child process; its wait status, and what it wrote to stderr.
static int run_child(void (*function)(void), char* text, size_t text_bytes) {
  int channel[2];
  CHECK_INT(pipe(channel), ==, 0);
  child_function = function;
  child_stderr = channel[1];
  pid_t child = start_child(calls_with_stderr);
  close(channel[1]);
  size_t length = 0;
  ssize_t got;
  while ((got = read(channel[0], text + length, text_bytes - 1 - length)) > 0) {
    length += (size_t)got;
  }
  text[length] = '\0';
  close(channel[0]);
  return status_of(child);
}

static void check_line(const char* text) {
  CHECK(strstr(text, "\"runaway\" has overflowed its stack of 65536 bytes") != NULL);
  CHECK(strstr(text, "mj_task_set_stack_size()") != NULL);
  CHECK(strstr(text, "mj_task_set_stack_size()") != NULL);
  CHECK_PTR(strchr(text, '\n'), ==, text + strlen(text) - 1);
}

static char text[4096];

static void an_application_says_so_and_ends_as_before(void) {
  int (*const ways[])(int) = {recurse_by_small_frames, recurse_by_large_frames};
  for (size_t i = 0; i < 2; i++) {
    recurse = ways[i];
    int status = run_child(in_an_application, text, sizeof text);
    CHECK(WIFSIGNALED(status));
    CHECK_INT(WTERMSIG(status), ==, SIGSEGV);
    check_line(text);
  }
}

static void a_plain_scheduler_says_so_when_asked(void) {
  recurse = recurse_by_small_frames;
  int status = run_child(in_a_plain_scheduler, text, sizeof text);
  CHECK(WIFSIGNALED(status));
  CHECK_STR(text, "");
  status = run_child(where_it_was_asked_for, text, sizeof text);
  CHECK(WIFSIGNALED(status));
  check_line(text);
}

static void a_handler_of_the_program_is_called_after_the_line(void) {
  void (*const handlers[])(void) = {with_a_handler_of_its_own, with_a_plain_handler};
  recurse = recurse_by_small_frames;
  for (size_t i = 0; i < 2; i++) {
    int status = run_child(handlers[i], text, sizeof text);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 42);
    check_line(text);
  }
}

static void an_ignored_fault_ends_the_process_as_well(void) {
  recurse = recurse_by_small_frames;
  int status = run_child(with_faults_ignored, text, sizeof text);
  CHECK(WIFSIGNALED(status));
  CHECK_INT(WTERMSIG(status), ==, SIGSEGV);
  check_line(text);
}

static void another_fault_is_no_overflow(void) {
  int status = run_child(another_fault, text, sizeof text);
  CHECK(WIFSIGNALED(status));
  CHECK_INT(WTERMSIG(status), ==, SIGSEGV);
  CHECK_STR(text, "");
}

// ---- what stays, and how deep ----

static void looks_around(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  struct sigaction now;
  CHECK_INT(sigaction(SIGSEGV, NULL, &now), ==, 0);
  CHECK(now.sa_flags & SA_ONSTACK);
  CHECK_INT(mj_scheduler_report_overflow(scheduler, false), ==, -EBUSY);
  mj_task_exit();
}

static void all_is_put_back_after_the_run(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  CHECK_INT(mj_scheduler_report_overflow(scheduler, true), ==, 0);
  mj_create_task(scheduler, looks_around, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  struct sigaction now;
  CHECK_INT(sigaction(SIGSEGV, NULL, &now), ==, 0);
  CHECK(now.sa_handler == SIG_DFL);
  stack_t stack;
  CHECK_INT(sigaltstack(NULL, &stack), ==, 0);
  CHECK(stack.ss_flags & SS_DISABLE);
  CHECK_INT(mj_scheduler_report_overflow(NULL, true), ==, -EINVAL);
}

static void uses_twenty_thousand_bytes(void) {
  volatile char used[20000];
  for (size_t i = 0; i < sizeof used; i++) used[i] = 1;
}

static size_t before_use, after_use;

static void uses_some(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  before_use = mj_task_stack_used(mj_task_current());
  uses_twenty_thousand_bytes();
  after_use = mj_task_stack_used(mj_task_current());
  mj_task_exit();
}

static void the_deepest_use_is_known(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_task* task = mj_create_task(scheduler, uses_some, NULL);
  CHECK_UINT(mj_task_stack_used(task), ==, 0);
  CHECK_UINT(mj_task_stack_used(NULL), ==, 0);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_UINT(before_use, >, 0);
  CHECK_UINT(after_use, >=, 20000);
  // Under valgrind a stack counts as used to its end.
  if (!getenv("MAJJEN_VALGRIND")) CHECK_UINT(before_use, <, after_use);
}

int main(void) {
  RUN(all_is_put_back_after_the_run);
  RUN(the_deepest_use_is_known);
  // Valgrind handles faults itself, and the emulator does not know the guards.
  if (getenv("MAJJEN_VALGRIND") || getenv("MAJJEN_EMULATED")) return 0;
  RUN(an_application_says_so_and_ends_as_before);
  RUN(a_plain_scheduler_says_so_when_asked);
  RUN(a_handler_of_the_program_is_called_after_the_line);
  RUN(an_ignored_fault_ends_the_process_as_well);
  RUN(another_fault_is_no_overflow);
  return 0;
}
