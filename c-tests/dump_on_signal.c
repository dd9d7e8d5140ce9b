// A list of the tasks at a signal.
#define _GNU_SOURCE
#include "bodies.h"
#include "child.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

// ---- The log ----

// What this thread has logged at WARN and above.
static _Thread_local char lines[65536];
static _Thread_local size_t length;

static void take_line(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  if (level < MJ_LOG_WARN) return;
  int written = snprintf(lines + length, sizeof lines - length, "%s\n", message);
  CHECK_INT(written, <, (int)(sizeof lines - length));
  length += (size_t)written;
}

static void forget_lines(void) {
  length = 0;
  lines[0] = '\0';
}

// How many lines begin like this.
static size_t lines_with(const char* beginning) {
  size_t count = 0;
  for (const char* next = lines; *next != '\0'; next = strchr(next, '\n') + 1) {
    count += strncmp(next, beginning, strlen(beginning)) == 0;
  }
  return count;
}

static bool says(const char* words) { return strstr(lines, words) != NULL; }

static size_t dumps_at(int number) {
  char beginning[64];
  snprintf(beginning, sizeof beginning, "dump at signal %d: ", number);
  return lines_with(beginning);
}

// ---- Tasks ----

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

static void send(int number) { CHECK_INT(kill(getpid(), number), ==, 0); }

// Lets the loop see what has come.
static void let_it_dump(int number, size_t dumps) {
  while (dumps_at(number) < dumps) CHECK_INT(mj_sleep_ns(MS), ==, 0);
}

static void (*test)(mj_scheduler*);

static void runs_the_test(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  test(scheduler);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

static void in_a_task(mj_scheduler* scheduler, void (*function)(mj_scheduler*)) {
  test = function;
  CHECK_INT(mj_task_set_name(add_task(scheduler, runs_the_test, NULL), "the test"), ==, 0);
  forget_lines();
  mj_scheduler_run(scheduler);
}

static struct sigaction now(int number) {
  struct sigaction action;
  CHECK_INT(sigaction(number, NULL, &action), ==, 0);
  return action;
}

// ---- The dump ----

static void sends_two(mj_scheduler* scheduler) {
  mj_task* sleeper = add_task(scheduler, sleeps, NULL);
  CHECK_INT(mj_task_set_name(sleeper, "sleeper"), ==, 0);
  mj_task_yield();
  for (size_t i = 1; i <= 2; i++) {
    send(SIGUSR1);
    let_it_dump(SIGUSR1, i);
    CHECK_UINT(dumps_at(SIGUSR1), ==, i);
    CHECK_UINT(lines_with("task "), ==, 2 * i);
  }
  CHECK_UINT(lines_with("dump at signal 10: 2 tasks"), ==, 2);
  CHECK(says(" \"sleeper\" sleeping until "));
  CHECK(says(" \"the test\" sleeping until "));
  // Also where the level is too high for it, and no other line is written.
  forget_lines();
  mj_log_set_level(MJ_LOG_SILENT);
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 1);
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_UINT(lines_with("task "), ==, 2);
}

static void the_tasks_are_listed_at_each_signal(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  in_a_task(scheduler, sends_two);
  mj_scheduler_destroy(scheduler);
}

static void computes_after_the_signal(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_yield();
  send(SIGUSR1);
  usleep(50000);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 0);  // Not in the handler.
  let_it_dump(SIGUSR1, 1);
  const char* words = "1 task; they have had the thread for the last ";
  CHECK(says(words));
  CHECK_INT(atoi(strstr(lines, words) + strlen(words)), >=, 50);
}

static void it_says_that_a_task_has_kept_the_thread(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  in_a_task(scheduler, computes_after_the_signal);
  mj_scheduler_destroy(scheduler);
}

// ---- While the loop waits, and between runs ----

static atomic_int sends;

static void* sends_when_told(void* argument) {
  (void)argument;
  while (atomic_load(&sends) == 0) usleep(100);
  usleep(20000);
  send(SIGUSR2);
  return NULL;
}

static void waits_for_it(mj_scheduler* scheduler) {
  (void)scheduler;
  atomic_store(&sends, 1);
  // It does not end the wait, and is not lost.
  CHECK_INT(mj_sleep_ns(60 * MS), ==, 0);
  let_it_dump(SIGUSR2, 1);
  CHECK(says("dump at signal 12: 1 task"));
  CHECK(says(" \"the test\" sleeping until "));
}

static void a_loop_that_waits_wakes_for_it(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR2), ==, 0);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, sends_when_told, NULL), ==, 0);
  in_a_task(scheduler, waits_for_it);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void yields(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_yield();
}

static void one_that_comes_between_runs_is_told_in_the_next(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  send(SIGUSR1);
  send(SIGUSR1);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 0);
  in_a_task(scheduler, yields);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 1);
  CHECK(says(" \"the test\" ready"));
  mj_scheduler_destroy(scheduler);
}

// ---- Several ----

static mj_scheduler* other;

static void sends_to_both(mj_scheduler* scheduler) {
  (void)scheduler;
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 1);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 1);
}

static void each_scheduler_lists_its_own(void) {
  mj_scheduler* scheduler = new_scheduler();
  other = new_scheduler();
  for (int i = 0; i < 3; i++) add_task(other, ends_at_once, NULL);
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  CHECK_INT(mj_scheduler_dump_on_signal(other, SIGUSR1), ==, 0);
  in_a_task(scheduler, sends_to_both);
  CHECK(says("dump at signal 10: 1 task"));
  forget_lines();
  mj_scheduler_run(other);
  CHECK(says("dump at signal 10: 3 tasks"));
  CHECK_UINT(lines_with("task "), ==, 3);
  mj_scheduler_destroy(other);
  mj_scheduler_destroy(scheduler);
}

static void waits_for_the_same(mj_scheduler* scheduler) {
  (void)scheduler;
  int number = SIGUSR1;
  // It has come before anybody waits, so that this call finds it at once.
  CHECK_INT(mj_signal_wait(&number, 1, NULL, 0), ==, -ETIMEDOUT);
  send(SIGUSR1);
  CHECK_INT(mj_signal_wait(&number, 1, NULL, LONG_NS), ==, SIGUSR1);
  let_it_dump(SIGUSR1, 1);
  CHECK_INT(mj_signal_release(), ==, 0);
  // The one goes on without the other.
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 2);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 2);
}

static void tasks_may_wait_for_it_too(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  in_a_task(scheduler, waits_for_the_same);
  mj_scheduler_destroy(scheduler);
}

// ---- What the signal did before ----

static atomic_int handled;

static void counts(int number) {
  (void)number;
  atomic_fetch_add(&handled, 1);
}

static void await_handled(int times) {
  while (atomic_load(&handled) < times) usleep(100);
  CHECK_INT(atomic_load(&handled), ==, times);
}

static void changes_the_signal(mj_scheduler* scheduler) {
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 1);
  CHECK_INT(atomic_load(&handled), ==, 0);
  // Another one takes its place, if it can.
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGKILL), ==, -EINVAL);
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 2);
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR2), ==, 0);
  CHECK(now(SIGUSR1).sa_handler == counts);
  send(SIGUSR1);
  await_handled(1);
  send(SIGUSR2);
  let_it_dump(SIGUSR2, 1);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 2);
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, 0), ==, 0);
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, 0), ==, 0);
  CHECK(now(SIGUSR2).sa_handler == SIG_DFL);
}

static void what_it_did_before_is_put_back(void) {
  struct sigaction action = {.sa_handler = counts};
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, 0), ==, 0);
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  CHECK(now(SIGUSR1).sa_handler != counts);
  in_a_task(scheduler, changes_the_signal);
  // One that has come and is not listed is forgotten, and does not do what it did.
  for (int other = 0; other < 2; other++) {
    CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
    send(SIGUSR1);
    CHECK_INT(mj_scheduler_dump_on_signal(scheduler, other ? SIGUSR2 : 0), ==, 0);
    in_a_task(scheduler, yields);
    CHECK_INT(atomic_load(&handled), ==, 1);
    CHECK_UINT(dumps_at(SIGUSR1), ==, 0);
  }
  // And with the scheduler.
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK(now(SIGUSR1).sa_handler == counts);
  send(SIGUSR1);
  await_handled(2);
  action.sa_handler = SIG_DFL;
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
}

// ---- Errors ----

static void parks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_park(MJ_FOREVER);
  mj_task_exit();
}

static void it_keeps_no_run_going(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  CHECK_INT(mj_scheduler_set_name(scheduler, "front"), ==, 0);
  add_task(scheduler, parks, NULL);
  send(SIGUSR1);
  forget_lines();
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  CHECK(says("dump at signal 10 of scheduler \"front\": 1 task"));
  CHECK(says("deadlock of scheduler \"front\": 1 task is parked, and no timer"));
  mj_scheduler_destroy(scheduler);
}

// ---- Children ----

static void sends_itself_one(void) { send(SIGUSR1); }

static void goes_on(void) {
  forget_lines();
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 1);
}

static void has_children(mj_scheduler* scheduler) {
  (void)scheduler;
  int status = status_of_child(sends_itself_one);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
  CHECK_INT(status_of_child(goes_on), ==, 0);
  CHECK_UINT(dumps_at(SIGUSR1), ==, 0);
  send(SIGUSR1);
  let_it_dump(SIGUSR1, 1);
}

// It ends a child, as without the library, until that goes on with the run, and has a list of its own then.
static void a_child_lists_its_tasks_when_it_goes_on(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR1), ==, 0);
  in_a_task(scheduler, has_children);
  mj_scheduler_destroy(scheduler);
}

static void* sets_elsewhere(void* argument) {
  CHECK_INT(mj_scheduler_dump_on_signal(argument, SIGUSR1), ==, -EPERM);
  return NULL;
}

static void has_another_thread_set_it(mj_scheduler* scheduler) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, sets_elsewhere, scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static void what_cannot_be_is_refused(void) {
  mj_scheduler* scheduler = new_scheduler();
  const int none[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, 32, 33, -1, 65, 1000, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    CHECK_INT(mj_scheduler_dump_on_signal(scheduler, none[i]), ==, -EINVAL);
  }
  CHECK_INT(mj_scheduler_dump_on_signal(NULL, SIGUSR1), ==, -EINVAL);
  CHECK_INT(mj_scheduler_dump_on_signal(NULL, 0), ==, -EINVAL);
  in_a_task(scheduler, has_another_thread_set_it);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  mj_log_set_callback(take_line, NULL);
  signal(SIGUSR1, SIG_DFL);
  signal(SIGUSR2, SIG_DFL);
  RUN(the_tasks_are_listed_at_each_signal);
  RUN(it_says_that_a_task_has_kept_the_thread);
  RUN(a_loop_that_waits_wakes_for_it);
  RUN(one_that_comes_between_runs_is_told_in_the_next);
  RUN(each_scheduler_lists_its_own);
  RUN(tasks_may_wait_for_it_too);
  RUN(what_it_did_before_is_put_back);
  RUN(it_keeps_no_run_going);
  RUN(what_cannot_be_is_refused);
  // Valgrind takes what a process holds that is killed for lost.
  if (!under_valgrind() && !under_tsan()) RUN(a_child_lists_its_tasks_when_it_goes_on);
  return 0;
}
