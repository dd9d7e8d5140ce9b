// Stack overflow: one line that says what happened, and then what would have happened without the
// report.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

// Never true, but the compiler does not know.
static volatile int deepest = -1;

// Deep recursion by many small frames, or by few that are larger than most guards.
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
  CHECK_INT(mj_scheduler_set_overflow_report(scheduler, true), ==, 0);
  run_overflow(scheduler);
}

static void* runs_an_application(void* argument) {
  (void)argument;
  in_an_application();
  return NULL;
}

static void on_a_second_thread(void) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs_an_application, NULL), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

// ---- the program's own handling of SIGSEGV ----

// Sets an action for SIGSEGV, whose handler also blocks SIGUSR1.
static void set_action(void (*handler)(int), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = flags | SA_ONSTACK;
  sigaddset(&action.sa_mask, SIGUSR1);
  CHECK_INT(sigaction(SIGSEGV, &action, NULL), ==, 0);
}

static void set_detailed_action(void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = flags | SA_SIGINFO | SA_ONSTACK;
  sigaddset(&action.sa_mask, SIGUSR1);
  CHECK_INT(sigaction(SIGSEGV, &action, NULL), ==, 0);
}

static void own_handler(int signal_number, siginfo_t* info, void* context) {
  _exit(signal_number == SIGSEGV && info->si_addr != NULL && context != NULL ? 42 : 43);
}

static void with_a_handler_of_its_own(void) {
  set_detailed_action(own_handler, 0);
  in_an_application();
}

static void own_plain_handler(int signal_number) { _exit(signal_number == SIGSEGV ? 42 : 43); }

static void with_a_plain_handler(void) {
  set_action(own_plain_handler, 0);
  in_an_application();
}

static void says_so(int signal_number) {
  (void)signal_number;
  CHECK_INT(write(STDERR_FILENO, "handled\n", 8), ==, 8);
}

static void says_so_in_detail(int signal_number, siginfo_t* info, void* context) {
  CHECK(info->si_signo == signal_number && context != NULL);
  says_so(signal_number);
}

// A one-shot handler (SA_RESETHAND). It returns, and the only difference is that it is not called
// again.
static void with_a_one_shot_handler(void) {
  set_action(says_so, SA_RESETHAND);
  in_an_application();
}

static void with_a_detailed_one_shot_handler(void) {
  set_detailed_action(says_so_in_detail, SA_RESETHAND);
  in_an_application();
}

// Exits with status 42 if the expected signals are blocked.
static void looks_at_the_mask(bool fault_is_held_off) {
  sigset_t mask;
  CHECK_INT(sigprocmask(SIG_BLOCK, NULL, &mask), ==, 0);
  bool right = sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGUSR2);
  _exit(right && sigismember(&mask, SIGSEGV) == fault_is_held_off ? 42 : 43);
}

static void expects_the_fault_held_off(int signal_number) {
  (void)signal_number;
  looks_at_the_mask(true);
}

static void expects_the_fault_let_through(int signal_number) {
  (void)signal_number;
  looks_at_the_mask(false);
}

static void with_a_mask(void) {
  set_action(expects_the_fault_held_off, 0);
  in_an_application();
}

static void with_a_mask_that_lets_the_fault_through(void) {
  set_action(expects_the_fault_let_through, SA_NODEFER);
  in_an_application();
}

// A handler that is set in the middle of a run, as by a crash reporter that is loaded late. It
// calls the previous handler: the library's. It is still set in the next run.
static struct sigaction found_by_the_reporter;

static void reports_and_hands_on(int signal_number, siginfo_t* info, void* context) {
  says_so(signal_number);
  if (found_by_the_reporter.sa_flags & SA_SIGINFO) {
    found_by_the_reporter.sa_sigaction(signal_number, info, context);
  }
}

static void installs_a_reporter(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = reports_and_hands_on;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  CHECK_INT(sigaction(SIGSEGV, &action, &found_by_the_reporter), ==, 0);
  mj_task_exit();
}

static void with_a_reporter_from_an_earlier_run(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, installs_a_reporter, NULL);
  mj_scheduler_run(scheduler);
  run_overflow(scheduler);
}

// As above, and before the second run the program restores the previous handler.
static void with_the_librarys_handler_from_an_earlier_run(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, installs_a_reporter, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(sigaction(SIGSEGV, &found_by_the_reporter, NULL), ==, 0);
  run_overflow(scheduler);
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

static void another_fault_with_a_handler(void) {
  set_detailed_action(own_handler, 0);
  another_fault();
}

// ---- SIGSEGV that is sent by a process ----

static void (*send_it)(void);

static void by_raise(void) { CHECK_INT(raise(SIGSEGV), ==, 0); }

static void by_kill(void) { CHECK_INT(kill(getpid(), SIGSEGV), ==, 0); }

// While the task waits for it in sigsuspend(), and has it blocked before and after.
static void by_kill_in_sigsuspend(void) {
  sigset_t fault, none, before;
  sigemptyset(&none);
  sigemptyset(&fault);
  sigaddset(&fault, SIGSEGV);
  CHECK_INT(sigprocmask(SIG_BLOCK, &fault, &before), ==, 0);
  CHECK_INT(kill(getpid(), SIGSEGV), ==, 0);
  CHECK_INT(sigsuspend(&none), ==, -1);
  // It is not left pending.
  CHECK_INT(sigpending(&fault), ==, 0);
  CHECK(!sigismember(&fault, SIGSEGV));
  CHECK_INT(sigprocmask(SIG_SETMASK, &before, NULL), ==, 0);
}

// The sender chooses the address that it carries: here one in the guard.
static void with_an_address_in_the_guard(void) {
  char on_the_stack;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = SIGSEGV;
  info.si_code = SI_QUEUE;
  info.si_addr = &on_the_stack - 64 * 1024;
  CHECK_INT(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGSEGV, &info), ==, 0);
}

// Whether the library's handler is restored after the first time, as by a program that replaces it
// for a while.
static bool puts_back;

static void sends_twice(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  struct sigaction found;
  CHECK_INT(sigaction(SIGSEGV, NULL, &found), ==, 0);
  send_it();
  mj_task_yield();
  if (puts_back) CHECK_INT(sigaction(SIGSEGV, &found, NULL), ==, 0);
  send_it();
  mj_task_yield();
  mj_task_exit();
}

static void send_in_an_application(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  // So that the guard is 64 KiB below the current frame.
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 64 * 1024), ==, 0);
  mj_create_task(scheduler, sends_twice, NULL);
  mj_scheduler_run(scheduler);
}

static void sent_and_ignored(void) {
  CHECK(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
  send_in_an_application();
}

static void sent_and_handled(void) {
  set_action(says_so, 0);
  send_in_an_application();
}

static void sent_and_handled_once(void) {
  set_action(says_so, SA_RESETHAND);
  send_in_an_application();
}

static void reads_meanwhile(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int channel[2];
  CHECK_INT(pipe(channel), ==, 0);
  pid_t reader = getpid();
  if (fork() == 0) {
    const struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    kill(reader, SIGSEGV);
    nanosleep(&pause, NULL);
    _exit(write(channel[1], "x", 1) == 1 ? 0 : 1);
  }
  char byte;
  CHECK_INT(read(channel[0], &byte, 1), ==, 1);
  mj_task_exit();
}

static void ignored_in_a_system_call(void) {
  CHECK(signal(SIGSEGV, SIG_IGN) != SIG_ERR);
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, reads_meanwhile, NULL);
  mj_scheduler_run(scheduler);
}

// ---- children ----

static void (*child_function)(void);
static int child_stderr[2];

static void calls_with_stderr(void) {
  dup2(child_stderr[1], STDERR_FILENO);
  close(child_stderr[0]);
  mj_log_set_level(MJ_LOG_SILENT);
  child_function();
}

// Runs a function in a child process; returns its wait status, and what it wrote to stderr.
static int run_child(void (*function)(void), char* text, size_t text_bytes) {
  CHECK_INT(pipe(child_stderr), ==, 0);
  child_function = function;
  pid_t child = start_child(calls_with_stderr);
  close(child_stderr[1]);
  size_t length = 0;
  ssize_t got;
  while ((got = read(child_stderr[0], text + length, text_bytes - 1 - length)) > 0) {
    length += (size_t)got;
  }
  text[length] = '\0';
  close(child_stderr[0]);
  return status_of(child);
}

// One line that says which task overflowed, how large its stack is and how to enlarge it; and then
// the rest.
static void check_line_and(const char* text, const char* rest) {
  const char* end = strchr(text, '\n');
  CHECK(end != NULL);
  CHECK_STR(end + 1, rest);
  CHECK_INT(strncmp(text, "majjen: task 0x", 15), ==, 0);
  const char* const parts[] = {
      " \"runaway\" ",
      " has overflowed its stack of 65536 bytes; ",
      " mj_task_set_stack_size() ",
      " mj_scheduler_set_stack_size()\n",
  };
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    const char* found = strstr(text, parts[i]);
    if (found == NULL || found > end) fprintf(stderr, "missing: %s\nhave: %s\n", parts[i], text);
    CHECK(found != NULL && found < end);
  }
}

static void check_line(const char* text) { check_line_and(text, ""); }

static void check_ended_by(int status, int signal_number) {
  if (!WIFSIGNALED(status)) fprintf(stderr, "wait status %#x\n", (unsigned)status);
  CHECK(WIFSIGNALED(status));
  CHECK_INT(WTERMSIG(status), ==, signal_number);
}

static void check_exited(int status, int code) {
  if (!WIFEXITED(status)) fprintf(stderr, "wait status %#x\n", (unsigned)status);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, code);
}

static char text[4096];

static void an_application_says_so_and_ends_as_before(void) {
  int (*const ways[])(int) = {recurse_by_small_frames, recurse_by_large_frames};
  for (size_t i = 0; i < 2; i++) {
    recurse = ways[i];
    check_ended_by(run_child(in_an_application, text, sizeof text), SIGSEGV);
    check_line(text);
  }
}

static void another_thread_says_so_too(void) {
  check_ended_by(run_child(on_a_second_thread, text, sizeof text), SIGSEGV);
  check_line(text);
}

static void a_plain_scheduler_says_so_when_asked(void) {
  check_ended_by(run_child(in_a_plain_scheduler, text, sizeof text), SIGSEGV);
  CHECK_STR(text, "");
  check_ended_by(run_child(where_it_was_asked_for, text, sizeof text), SIGSEGV);
  check_line(text);
}

static void says_it_to_a_pipe_without_a_reader(void) {
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_INT(dup2(ends[1], STDERR_FILENO), ==, STDERR_FILENO);
  close(ends[0]);
  close(ends[1]);
  where_it_was_asked_for();
}

static void says_it_to_a_file_that_is_full(void) {
  FILE* file = tmpfile();
  CHECK(file != NULL);
  CHECK_INT(dup2(fileno(file), STDERR_FILENO), ==, STDERR_FILENO);
  struct rlimit nothing = {0, 0};
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &nothing), ==, 0);
  where_it_was_asked_for();
}

static void says_it_to_a_full_pipe(void) {
  static const char bytes[4096];
  int ends[2];
  CHECK_INT(pipe2(ends, O_NONBLOCK), ==, 0);
  CHECK_INT(dup2(ends[1], STDERR_FILENO), ==, STDERR_FILENO);
  while (write(ends[1], bytes, sizeof bytes) > 0) {
  }
  where_it_was_asked_for();
}

// The line is no reason to end by another signal, or not at all.
static void what_cannot_be_said_changes_nothing(void) {
  void (*const ways[])(void) = {says_it_to_a_pipe_without_a_reader, says_it_to_a_file_that_is_full,
                                says_it_to_a_full_pipe};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    check_ended_by(run_child(ways[i], text, sizeof text), SIGSEGV);
    CHECK_STR(text, "");
  }
}

static void a_handler_of_the_program_is_called_after_the_line(void) {
  void (*const handlers[])(void) = {with_a_handler_of_its_own, with_a_plain_handler};
  for (size_t i = 0; i < 2; i++) {
    check_exited(run_child(handlers[i], text, sizeof text), 42);
    check_line(text);
  }
}

static void a_one_shot_handler_is_called_once(void) {
  void (*const handlers[])(void) = {with_a_one_shot_handler, with_a_detailed_one_shot_handler};
  for (size_t i = 0; i < 2; i++) {
    check_ended_by(run_child(handlers[i], text, sizeof text), SIGSEGV);
    // The faulting access is retried, and then no handler is left, nor ours.
    check_line_and(text, "handled\n");
  }
}

static void a_handler_has_the_mask_that_it_asked_for(void) {
  void (*const handlers[])(void) = {with_a_mask, with_a_mask_that_lets_the_fault_through};
  for (size_t i = 0; i < 2; i++) {
    check_exited(run_child(handlers[i], text, sizeof text), 42);
    check_line(text);
  }
}

static void handlers_that_call_each_other_come_to_an_end(void) {
  check_ended_by(run_child(with_a_reporter_from_an_earlier_run, text, sizeof text), SIGSEGV);
  CHECK_INT(strncmp(text, "handled\n", 8), ==, 0);
  check_line(text + 8);
  check_ended_by(run_child(with_the_librarys_handler_from_an_earlier_run, text, sizeof text),
                 SIGSEGV);
  check_line(text);
}

static void an_ignored_fault_ends_the_process_as_well(void) {
  check_ended_by(run_child(with_faults_ignored, text, sizeof text), SIGSEGV);
  check_line(text);
}

static void another_fault_is_no_overflow(void) {
  check_ended_by(run_child(another_fault, text, sizeof text), SIGSEGV);
  CHECK_STR(text, "");
  check_exited(run_child(another_fault_with_a_handler, text, sizeof text), 42);
  CHECK_STR(text, "");
}

static void a_sent_sigsegv_keeps_its_effect(void) {
  void (*const ways[])(void) = {by_raise, by_kill, by_kill_in_sigsuspend,
                                with_an_address_in_the_guard};
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    send_it = ways[i];
    check_ended_by(run_child(send_in_an_application, text, sizeof text), SIGSEGV);
    CHECK_STR(text, "");
    // A handler is called for both, a one-shot handler only for the first.
    check_exited(run_child(sent_and_handled, text, sizeof text), 0);
    CHECK_STR(text, "handled\nhandled\n");
    for (int k = 0; k < 2; k++) {
      puts_back = k == 1;
      check_ended_by(run_child(sent_and_handled_once, text, sizeof text), SIGSEGV);
      CHECK_STR(text, "handled\n");
    }
    // With the signal ignored, sigsuspend() would not return.
    if (send_it == by_kill_in_sigsuspend) continue;
    check_exited(run_child(sent_and_ignored, text, sizeof text), 0);
    CHECK_STR(text, "");
  }
}

static void an_ignored_sigsegv_interrupts_nothing(void) {
  check_exited(run_child(ignored_in_a_system_call, text, sizeof text), 0);
  CHECK_STR(text, "");
}

// ---- what remains, and how deep a stack was used ----

static void looks_around(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  struct sigaction now;
  CHECK_INT(sigaction(SIGSEGV, NULL, &now), ==, 0);
  CHECK(now.sa_flags & SA_ONSTACK);
  CHECK_INT(mj_scheduler_set_overflow_report(scheduler, false), ==, -EBUSY);
  mj_task_exit();
}

static void all_is_put_back_after_the_run(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  CHECK_INT(mj_scheduler_set_overflow_report(scheduler, true), ==, 0);
  mj_create_task(scheduler, looks_around, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  struct sigaction now;
  CHECK_INT(sigaction(SIGSEGV, NULL, &now), ==, 0);
  CHECK(now.sa_handler == SIG_DFL);
  stack_t stack;
  CHECK_INT(sigaltstack(NULL, &stack), ==, 0);
  CHECK(stack.ss_flags & SS_DISABLE);
  CHECK_INT(mj_scheduler_set_overflow_report(NULL, true), ==, -EINVAL);
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
  // Under valgrind a stack counts as fully used.
  if (!getenv("MAJJEN_VALGRIND")) CHECK_UINT(before_use, <, after_use);
}

int main(void) {
  RUN(all_is_put_back_after_the_run);
  RUN(the_deepest_use_is_known);
  // Valgrind handles faults itself, and the emulator does not have the guards.
  if (getenv("MAJJEN_VALGRIND") || getenv("MAJJEN_EMULATED")) return 0;
  RUN(an_application_says_so_and_ends_as_before);
  recurse = recurse_by_small_frames;
  RUN(another_thread_says_so_too);
  RUN(a_plain_scheduler_says_so_when_asked);
  RUN(what_cannot_be_said_changes_nothing);
  RUN(a_handler_of_the_program_is_called_after_the_line);
  RUN(a_one_shot_handler_is_called_once);
  RUN(a_handler_has_the_mask_that_it_asked_for);
  RUN(handlers_that_call_each_other_come_to_an_end);
  RUN(an_ignored_fault_ends_the_process_as_well);
  RUN(another_fault_is_no_overflow);
  RUN(a_sent_sigsegv_keeps_its_effect);
  RUN(an_ignored_sigsegv_interrupts_nothing);
  return 0;
}
