// The library's threads and the process: several schedulers, children of fork(), the end of the process,
// and systems that give it no thread.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "in_a_task.h"
#include "log_lines.h"
#include "no_threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

static mj_offload_counts counts_of(mj_offload_class class) {
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(class, &counts, sizeof counts), ==, 0);
  return counts;
}

static void counts_up(void* counter) { atomic_fetch_add((atomic_int*)counter, 1); }

static void until(atomic_int* counter, int value) {
  while (atomic_load(counter) < value) usleep(100);
}

// The end of a child that has used the pool: by exit(), which ends its threads.
static int status_of_pool_child(void (*function)(void)) {
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(50);
    function();
    exit(0);
  }
  return status_of(child);
}

// ---- Threads

enum { SCHEDULERS = 2, TASKS = 8 };

static void offloads_often(mj_scheduler* running, void* user_state) {
  (void)running;
  atomic_int* counter = *(atomic_int**)user_state;
  for (size_t i = 0; i < times(500, 50); i++) {
    mj_offload_class class = i % 3 == 0 ? MJ_OFFLOAD_CPU : i % 3 == 1 ? MJ_OFFLOAD_FILE : MJ_OFFLOAD_DNS;
    CHECK_INT(mj_offload_in(class, counts_up, counter, NULL, i % 2 ? MJ_FOREVER : LONG_NS), ==, 0);
  }
  mj_task_exit();
}

static void* runs_a_scheduler(void* counter) {
  mj_scheduler* own = new_scheduler();
  for (int i = 0; i < TASKS; i++) {
    void** state = allocate(sizeof *state);
    *state = counter;
    add_task(own, offloads_often, state);
  }
  CHECK_INT(mj_run(own), ==, 0);
  mj_scheduler_destroy(own);
  return NULL;
}

static void schedulers_share_the_pool(void) {
  pthread_t threads[SCHEDULERS];
  static atomic_int counters[SCHEDULERS];
  for (int i = 0; i < SCHEDULERS; i++) {
    CHECK_INT(pthread_create(&threads[i], NULL, runs_a_scheduler, &counters[i]), ==, 0);
  }
  for (int i = 0; i < SCHEDULERS; i++) {
    CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    CHECK_INT(counters[i], ==, TASKS * (int)times(500, 50));
  }
}

static void looks_at_its_thread(void* text) {
  sigset_t blocked;
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &blocked), ==, 0);
  CHECK(sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGCHLD) && sigismember(&blocked, SIGRTMIN));
  CHECK(!sigismember(&blocked, SIGSEGV));
  CHECK_INT(pthread_getname_np(pthread_self(), text, 100), ==, 0);
}

static void threads_have_names_and_take_no_signals(void) {
  char text[100];
  CHECK_INT(mj_offload(looks_at_its_thread, text, NULL, MJ_FOREVER), ==, 0);
  CHECK_STR(text, "mj-cpu");
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_FILE, looks_at_its_thread, text, NULL, MJ_FOREVER), ==, 0);
  CHECK_STR(text, "mj-file");
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_DNS, looks_at_its_thread, text, NULL, MJ_FOREVER), ==, 0);
  CHECK_STR(text, "mj-dns");
}

// ---- Functions that need others

static mj_remote* here;
static atomic_int runs_left, runs_done;

static void posts_another(void* argument);

static void offloads_it(void* argument) { CHECK_INT(mj_offload(posts_another, argument, NULL, MJ_FOREVER), ==, 0); }

// Each has two more run, beyond what there are threads for.
static void posts_another(void* argument) {
  for (int i = 0; i < 2; i++) {
    if (atomic_fetch_sub(&runs_left, 1) > 0) CHECK_INT(mj_post(here, offloads_it, argument, NULL), ==, 0);
  }
  atomic_fetch_add(&runs_done, 1);
}

static void functions_have_more_functions_run(void) {
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 1), ==, 0);
  here = mj_scheduler_remote(scheduler);
  atomic_store(&runs_left, 200);
  CHECK_INT(mj_offload(posts_another, NULL, NULL, MJ_FOREVER), ==, 0);
  while (runs_done < 201) mj_task_sleep_ms(1);
  mj_remote_release(here);
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 4), ==, 0);
}

static atomic_int waiting_for[4];

static void waits_for_the_next(void* argument) {
  int which = (int)(intptr_t)argument;
  if (which < 3) until(&waiting_for[which + 1], 1);
  atomic_fetch_add(&waiting_for[which], 1);
}

static void offloads_one(mj_scheduler* running, void* user_state) {
  (void)running;
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_FILE, waits_for_the_next, *(void**)user_state, NULL, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

// A thread is made although others exist, which are not asleep but wait for it.
static void functions_wait_for_each_other(void) {
  for (intptr_t i = 0; i < 4; i++) {
    void** state = allocate(sizeof *state);
    *state = (void*)i;
    add_task(scheduler, offloads_one, state);
  }
  until(&waiting_for[3], 0);
  while (waiting_for[0] == 0) mj_task_sleep_ms(1);
}

static void runs_tasks_itself(void* counter) {
  mj_scheduler* own = new_scheduler();
  void** state = allocate(sizeof *state);
  *state = counter;
  add_task(own, offloads_often, state);
  CHECK_INT(mj_run(own), ==, 0);
  mj_scheduler_destroy(own);
}

static void a_function_runs_a_scheduler(void) {
  atomic_int counter = 0;
  CHECK_INT(mj_offload(runs_tasks_itself, &counter, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(counter, ==, (int)times(500, 50));
}

// ---- No threads

static void runs_in_the_loop(void* argument) {
  *(pthread_t*)argument = pthread_self();
  CHECK_PTR(mj_task_current(), ==, NULL);
  CHECK(!mj_offload_canceled());
}

static void without_threads(void) {
  pthread_t thread;
  log_lines_begin();
  uint64_t before = counts_of(MJ_OFFLOAD_CPU).ran_in_loop;
  for (int i = 0; i < 5; i++) {
    CHECK_INT(mj_offload(runs_in_the_loop, &thread, NULL, i % 2 ? MJ_FOREVER : LONG_NS), ==, 0);
    CHECK(pthread_equal(thread, pthread_self()));
  }
  CHECK_UINT(counts_of(MJ_OFFLOAD_CPU).ran_in_loop, ==, before + 5);
  CHECK_UINT(counts_of(MJ_OFFLOAD_CPU).threads, ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  log_lines_end();
}

static mj_remote* own_remote;
static int abandoned;

static void is_abandoned(void* argument) {
  (void)argument;
  abandoned++;
}

// The loop is in the middle of it, so the task cannot leave.
static void cancels_who_waits_for_it(void* id) {
  CHECK_INT(mj_remote_cancel(own_remote, *(mj_task_id*)id), ==, 0);
}

static void a_function_in_the_loop_cancels_its_task(void) {
  mj_task_id id = mj_task_get_id(mj_task_current());
  own_remote = mj_scheduler_remote(mj_scheduler_current());
  CHECK_INT(mj_offload(cancels_who_waits_for_it, &id, is_abandoned, MJ_FOREVER), ==, 0);
  CHECK_INT(abandoned, ==, 0);
  CHECK_INT(mj_yield(), ==, -ECANCELED);
  mj_remote_release(own_remote);
}

static void* cancels(void* id) {
  CHECK_INT(mj_remote_cancel(own_remote, *(mj_task_id*)id), ==, 0);
  return NULL;
}

// The loop is told of the cancel first, and then of the function.
static void a_task_leaves_before_the_loop_runs_its_function(void) {
  pthread_t canceler, runner;
  mj_task_id id = mj_task_get_id(mj_task_current());
  own_remote = mj_scheduler_remote(mj_scheduler_current());
  atomic_store(&no_threads, false);
  CHECK_INT(pthread_create(&canceler, NULL, cancels, &id), ==, 0);
  CHECK_INT(pthread_join(canceler, NULL), ==, 0);
  runner = canceler;
  atomic_store(&no_threads, true);
  CHECK_INT(mj_offload(runs_in_the_loop, &runner, is_abandoned, MJ_FOREVER), ==, -ECANCELED);
  CHECK(pthread_equal(runner, canceler));
  CHECK_INT(abandoned, ==, 1);
  mj_remote_release(own_remote);
}

static void cannot_have_threads(void) {
  atomic_store(&no_threads, true);
  in_a_task(without_threads);
  in_a_task(a_function_in_the_loop_cancels_its_task);
  in_a_task(a_task_leaves_before_the_loop_runs_its_function);
  CHECK_INT(threads_refused, >, 0);
  atomic_store(&no_threads, false);
  usleep(20000);
  // And then it can.
  in_a_task(threads_have_names_and_take_no_signals);
}

static atomic_int begun, may_end;

static void blocks(void* argument) {
  (void)argument;
  atomic_fetch_add(&begun, 1);
  until(&may_end, 1);
}

static int blocked_result = 1;

static void is_blocked(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  blocked_result = mj_offload(blocks, NULL, NULL, MJ_FOREVER);
  mj_task_exit();
}

static atomic_int counted;

static void is_counted(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_offload(counts_up, &counted, NULL, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

// What there is no other thread for waits for the one that there is.
static void with_one_thread(void) {
  add_task(mj_scheduler_current(), is_blocked, NULL);
  while (begun == 0) mj_task_sleep_ms(1);
  atomic_store(&no_threads, true);
  add_task(mj_scheduler_current(), is_counted, NULL);
  while (counts_of(MJ_OFFLOAD_CPU).queued == 0) mj_task_sleep_ms(1);
  mj_task_sleep_ms(2);
  CHECK_INT(threads_refused, ==, 1);
  CHECK_INT(counted, ==, 0);
  atomic_store(&may_end, 1);
  while (counted == 0) mj_task_sleep_ms(1);
  CHECK_UINT(counts_of(MJ_OFFLOAD_CPU).ran_in_loop, ==, 0);
  CHECK_UINT(counts_of(MJ_OFFLOAD_CPU).threads, ==, 1);
}

static void cannot_have_a_second_thread(void) { in_a_task(with_one_thread); }

static void may_have_no_processes(void) {
  struct rlimit none = {0, 0};
  CHECK_INT(setrlimit(RLIMIT_NPROC, &none), ==, 0);
  if (getuid() == 0) CHECK_INT(setuid(65534), ==, 0);
  in_a_task(without_threads);
}

static void without_threads_functions_run_in_the_loop(void) {
  if (IS_TAKEN) return;
  int status = status_of_pool_child(cannot_have_threads);
  CHECK_INT(status, ==, 0);
  status = status_of_pool_child(cannot_have_a_second_thread);
  CHECK_INT(status, ==, 0);
  // As another user.
  if (under_valgrind() || sanitized() || emulated()) return;
  status = status_of_pool_child(may_have_no_processes);
  CHECK_INT(status, ==, 0);
}

// ---- fork()

// Valgrind and the sanitizers look for lost memory in children too, where all of the parent's threads is
// lost, and ThreadSanitizer does not let them make threads.
static bool may_fork(void) { return !under_valgrind() && !sanitized(); }

static void the_child_offloads(void) {
  atomic_int counter = 0;
  CHECK_UINT(counts_of(MJ_OFFLOAD_CPU).threads, ==, 0);
  CHECK_INT(mj_offload(counts_up, &counter, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(counter, ==, 1);
}

static mj_scheduler* shared;

static void is_a_child(void) {
  in_a_task(the_child_offloads);
  // The copy of the parent's scheduler.
  CHECK_INT(mj_run(shared), ==, 0);
  CHECK_INT(blocked_result, ==, -EOWNERDEAD);
  mj_scheduler_destroy(shared);
}

static void is_a_child_that_destroys(void) {
  mj_scheduler_destroy(shared);
  in_a_task(the_child_offloads);
}

static void stops_when_it_has_begun(mj_scheduler* running, void* user_state) {
  (void)user_state;
  while (begun == 0) mj_task_sleep_ms(1);
  mj_scheduler_stop(running);
  mj_task_yield();
  mj_task_exit();
}

static void a_child_has_a_pool_of_its_own(void) {
  atomic_store(&begun, 0);
  atomic_store(&may_end, 0);
  shared = new_scheduler();
  add_task(shared, is_blocked, NULL);
  add_task(shared, stops_when_it_has_begun, NULL);
  CHECK_INT(mj_run(shared), ==, MJ_RUN_STOPPED);
  int status = status_of_pool_child(is_a_child);
  CHECK_INT(status, ==, 0);
  status = status_of_pool_child(is_a_child_that_destroys);
  CHECK_INT(status, ==, 0);
  CHECK_INT(blocked_result, ==, 1);
  atomic_store(&may_end, 1);
  CHECK_INT(mj_run(shared), ==, 0);
  CHECK_INT(blocked_result, ==, 0);
  mj_scheduler_destroy(shared);
}

static void is_canceled_and_offloads(mj_scheduler* running, void* user_state) {
  (void)user_state;
  atomic_int counter = 0;
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  CHECK_INT(mj_scheduler_stop(running), ==, 0);
  // It yields before it says so, and the run ends there.
  mj_offload(counts_up, &counter, NULL, MJ_FOREVER);
  CHECK(false);
}

static void a_canceled_task_holds_up_no_destruction(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, is_canceled_and_offloads, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
}

static pid_t made_in_a_task = -1;

static void forks_when_it_has_begun(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  while (begun == 0) mj_task_sleep_ms(1);
  made_in_a_task = fork();
  CHECK_INT(made_in_a_task, >=, 0);
  if (made_in_a_task != 0) atomic_store(&may_end, 1);
  mj_task_exit();
}

// In the child nothing else is left that could wake the loop.
static void a_task_that_waits_is_told_in_a_child(void) {
  atomic_store(&begun, 0);
  atomic_store(&may_end, 0);
  blocked_result = 1;
  shared = new_scheduler();
  add_task(shared, is_blocked, NULL);
  add_task(shared, forks_when_it_has_begun, NULL);
  CHECK_INT(mj_run(shared), ==, 0);
  mj_scheduler_destroy(shared);
  if (made_in_a_task == 0) _exit(blocked_result == -EOWNERDEAD ? 0 : 1);
  CHECK_INT(blocked_result, ==, 0);
  int status;
  CHECK_INT(waitpid(made_in_a_task, &status, 0), ==, made_in_a_task);
  CHECK_INT(status, ==, 0);
}

static pid_t made_on_a_thread;

static void forks(void* argument) {
  (void)argument;
  made_on_a_thread = fork();
}

static void forks_and_ends_the_thread_there(void* argument) {
  forks(argument);
  if (made_on_a_thread == 0) pthread_exit(NULL);
}

static void a_function_forks(void) {
  CHECK_INT(mj_offload(forks, NULL, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(made_on_a_thread, >, 0);
  CHECK(WIFEXITED(status_of(made_on_a_thread)));
  CHECK_INT(mj_offload(forks, NULL, NULL, MJ_FOREVER), ==, 0);
  CHECK(WIFEXITED(status_of(made_on_a_thread)));
  CHECK_INT(mj_offload(forks_and_ends_the_thread_there, NULL, NULL, MJ_FOREVER), ==, 0);
  CHECK(WIFEXITED(status_of(made_on_a_thread)));
}

// ---- The end of threads and processes

static void ends_its_thread(void* argument) {
  counts_up(argument);
  pthread_exit(NULL);
}

static void a_function_may_end_its_thread(void) {
  atomic_int counter = 0;
  for (int i = 1; i <= 10; i++) {
    CHECK_INT(mj_offload(ends_its_thread, &counter, NULL, MJ_FOREVER), ==, 0);
    CHECK_INT(counter, ==, i);
  }
  CHECK_INT(mj_offload(counts_up, &counter, NULL, MJ_FOREVER), ==, 0);
}

static void exits(void* argument) {
  (void)argument;
  exit(7);
}

static void offloads_exit(void) {
  mj_offload(exits, NULL, NULL, MJ_FOREVER);
  CHECK(false);
}

static void exits_on_a_thread(void) { in_a_task(offloads_exit); }

static void exits_with_work_out(void) {
  in_a_task(the_child_offloads);
  atomic_store(&begun, 0);
  atomic_store(&may_end, 0);
  shared = new_scheduler();
  for (int i = 0; i < 20; i++) add_task(shared, is_blocked, NULL);
  add_task(shared, stops_when_it_has_begun, NULL);
  CHECK_INT(mj_run(shared), ==, MJ_RUN_STOPPED);
  exit(7);
}

static void the_process_ends(void) {
  int status = status_of_pool_child(exits_on_a_thread);
  CHECK_INT(status, ==, 7 << 8);
  status = status_of_pool_child(exits_with_work_out);
  CHECK_INT(status, ==, 7 << 8);
}

int main(void) {
  RUN(without_threads_functions_run_in_the_loop);
  RUN(schedulers_share_the_pool);
  RUN_IN_TASK(threads_have_names_and_take_no_signals);
  RUN_IN_TASK(functions_have_more_functions_run);
  RUN_IN_TASK(functions_wait_for_each_other);
  RUN_IN_TASK(a_function_runs_a_scheduler);
  if (may_fork()) {
    RUN(a_child_has_a_pool_of_its_own);
    RUN(a_task_that_waits_is_told_in_a_child);
    RUN_IN_TASK(a_function_forks);
  }
  RUN_IN_TASK(a_function_may_end_its_thread);
  RUN(a_canceled_task_holds_up_no_destruction);
  if (may_fork()) RUN(the_process_ends);
  return 0;
}
