// Cores whose threads end before they should, by pthread_exit(). In children, since the schedulers of such cores keep
// their descriptors.
#define _GNU_SOURCE
#include "check.h"
#include "clusters.h"
#include "child.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { CORES = 3 };

static mj_cluster* cluster;
static mj_scheduler* schedulers[CORES];  // Which are never released: they are no leak.
static atomic_int torn_down[CORES], called, canceled, abandoned, deferred;
static const char* line;  // What the log is to say.
static atomic_int lines;

static void sees(mj_log_level level, const char* text, void* unused) {
  (void)unused;
  if (level < MJ_LOG_WARN) return;
  CHECK_INT(level, ==, MJ_LOG_ERROR);
  if (strstr(text, line) != NULL && strstr(text, "pthread_exit()") != NULL) lines++;
}

static int is_set_up(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)unused;
  schedulers[core] = scheduler;
  return 0;
}

static void is_torn_down(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)scheduler;
  (void)unused;
  torn_down[core]++;
}

static void make(mj_core_set_up_fn set_up, mj_core_tear_down_fn tear_down, const char* said) {
  line = said;
  mj_log_set_callback(sees, NULL);
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = CORES, .set_up = set_up, .tear_down = tear_down});
  CHECK(cluster != NULL);
}

static bool has_default_action(int signal) {
  struct sigaction action;
  CHECK_INT(sigaction(signal, NULL, &action), ==, 0);
  return action.sa_handler == SIG_DFL;
}

static void is_lost(int how_often) {
  CHECK_INT(mj_cluster_join(cluster), ==, -ESRCH);
  CHECK_INT(lines, ==, how_often);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  CHECK(has_default_action(SIGPIPE));
}

static void ends_its_thread(void* unused) {
  (void)unused;
  pthread_exit(NULL);
}

static void counts(void* counter) { atomic_fetch_add((atomic_int*)counter, 1); }

static void is_canceled(void* unused) {
  (void)unused;
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  canceled++;
}

static void never_ends(void* unused) {
  CHECK_INT(mj_task_defer(counts, &deferred), ==, 0);
  mj_task_set_cancelable(false, NULL);
  called++;
  mj_sleep_ns(MJ_FOREVER);
  (void)unused;
  abort();
}

// With work that has not begun, and a task that has.
static void ends_its_thread_with_work(void* unused) {
  while (called == 0) mj_yield();
  CHECK_INT(mj_cluster_go(cluster, 1, never_ends, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, never_ends, &abandoned, counts), ==, 0);
  ends_its_thread(unused);
}

static void the_others_stop(void) {
  make(is_set_up, is_torn_down, "the thread of core 1 has ended in a task");
  for (size_t core = 0; core < CORES; core++) {
    CHECK_INT(mj_cluster_go(cluster, core, core == 1 ? never_ends : is_canceled, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_go(cluster, 1, ends_its_thread_with_work, NULL, NULL), ==, 0);
  mj_remote* handle = mj_cluster_remote(cluster, 1);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(1);
  CHECK_INT(canceled, ==, CORES - 1);
  CHECK_INT(called, ==, 1);
  CHECK_INT(deferred, ==, 1);
  CHECK_INT(abandoned, ==, 1);
  for (size_t core = 0; core < CORES; core++) CHECK_INT(torn_down[core], ==, core != 1);
  CHECK_INT(mj_post(handle, counts, &called, NULL), ==, -EPIPE);
  mj_remote_release(handle);
  CHECK_INT(mj_run(schedulers[1]), ==, -EPERM);
  mj_scheduler_destroy(schedulers[1]);
}

static void waits_for_a_signal(void* unused) {
  called++;
  mj_signal_wait((const int[]){SIGTERM}, 1, NULL, MJ_FOREVER);
  (void)unused;
  abort();
}

static void ends_its_thread_beside_it(void* unused) {
  while (called == 0) mj_yield();
  CHECK_INT(mj_scheduler_dump_on_signal(mj_scheduler_current(), SIGUSR2), ==, 0);
  CHECK(!has_default_action(SIGTERM) && !has_default_action(SIGUSR2) && !has_default_action(SIGPIPE));
  ends_its_thread(unused);
}

// No other task waits for them, and the process is not to be without their effect for good.
static void its_signals_have_their_effect_again(void) {
  make(is_set_up, is_torn_down, "the thread of core 1 has ended in a task");
  CHECK_INT(mj_cluster_go(cluster, 1, waits_for_a_signal, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, ends_its_thread_beside_it, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(1);
  CHECK(has_default_action(SIGTERM));
  CHECK(has_default_action(SIGUSR2));
}

static void a_run_ends_of_which_all_cores_are_lost(void) {
  make(is_set_up, is_torn_down, "has ended in a task");
  for (size_t core = 0; core < CORES; core++) {
    CHECK_INT(mj_cluster_go(cluster, core, ends_its_thread, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_run(cluster, MJ_FOREVER), ==, -ESRCH);
  is_lost(CORES);
}

// ---- Calls

static int is_called_to_end_its_thread(void* unused) {
  // When all calls have begun.
  while (called < 2) mj_task_sleep_ms(1);
  ends_its_thread(unused);
  return 0;
}

static int never_returns(void* unused) {
  never_ends(unused);
  return 0;
}

static atomic_int answers;

static void calls(void* function) {
  mj_task_set_cancelable(false, NULL);
  int result = 24;
  CHECK_INT(mj_cluster_call(cluster, 1, *(mj_group_fn*)function, NULL, MJ_FOREVER, &result), ==, -EPIPE);
  CHECK_INT(result, ==, 24);
  answers++;
}

static void calls_end(void) {
  mj_group_fn stays = never_returns, leaves = is_called_to_end_its_thread;
  make(is_set_up, NULL, "the thread of core 1 has ended in a task");
  CHECK_INT(mj_cluster_go(cluster, 0, calls, &stays, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 2, calls, &leaves, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_scheduler* outside = new_scheduler();
  CHECK_INT(mj_go(outside, calls, &stays, NULL), ==, 0);
  CHECK_INT(mj_run(outside), ==, 0);
  mj_scheduler_destroy(outside);
  is_lost(1);
  CHECK_INT(answers, ==, 3);
}

// ---- Elsewhere than in a task

static int second_ends(mj_scheduler* scheduler, size_t core, void* unused) {
  is_set_up(scheduler, core, unused);
  if (core != 1) return mj_go(scheduler, is_canceled, NULL, NULL);
  CHECK_INT(mj_go(scheduler, never_ends, NULL, NULL), ==, 0);
  pthread_exit(NULL);
}

static void a_set_up_ends_its_thread(void) {
  make(second_ends, is_torn_down, "the thread of core 1 has ended in its set-up");
  CHECK_INT(mj_cluster_go(cluster, 1, never_ends, &abandoned, counts), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(1);
  CHECK_INT(canceled, ==, CORES - 1);
  CHECK_INT(abandoned, ==, 1);
  CHECK_INT(called, ==, 0);
  for (size_t core = 0; core < CORES; core++) CHECK_INT(torn_down[core], ==, core != 1);
}

static int ends_in_a_run(mj_scheduler* scheduler, size_t core, void* unused) {
  is_set_up(scheduler, core, unused);
  if (core != 1) return 0;
  CHECK_INT(mj_go(scheduler, ends_its_thread, NULL, NULL), ==, 0);
  mj_run(scheduler);
  abort();
}

static void a_set_up_ends_its_thread_in_a_run(void) {
  make(ends_in_a_run, is_torn_down, "the thread of core 1 has ended in a task");
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(1);
}

static int ends_when_it_waits(mj_scheduler* scheduler, uint64_t timeout_ns, void* unused) {
  (void)scheduler;
  (void)timeout_ns;
  ends_its_thread(unused);
  return 0;
}

static int has_wait_function(mj_scheduler* scheduler, size_t core, void* unused) {
  if (core == 1) mj_scheduler_set_wait_func(scheduler, ends_when_it_waits, NULL);
  return is_set_up(scheduler, core, unused);
}

static void a_wait_function_ends_its_thread(void) {
  make(has_wait_function, is_torn_down, "the thread of core 1 has ended in its run");
  CHECK_INT(mj_cluster_go(cluster, 0, is_canceled, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(1);
  CHECK_INT(canceled, ==, 1);
}

static void third_ends(mj_scheduler* scheduler, size_t core, void* unused) {
  is_torn_down(scheduler, core, unused);
  if (core == 2) pthread_exit(NULL);
}

static void a_tear_down_ends_its_thread(void) {
  make(is_set_up, third_ends, "the thread of core 2 has ended in its tear-down");
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(1);
  for (size_t core = 0; core < CORES; core++) CHECK_INT(torn_down[core], ==, 1);
}

static void stops_its_scheduler_with_work(void* unused) {
  (void)unused;
  CHECK_INT(mj_cluster_go(cluster, 1, never_ends, NULL, ends_its_thread), ==, 0);
  CHECK_INT(mj_scheduler_stop(mj_scheduler_current()), ==, 0);
}

static void what_is_abandoned_ends_its_thread(void) {
  make(is_set_up, is_torn_down, "the thread of core 1 has ended when its tasks were given up");
  CHECK_INT(mj_cluster_go(cluster, 1, stops_its_scheduler_with_work, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_run(cluster, MJ_FOREVER), ==, -ESRCH);
  is_lost(1);
}

static void defers_the_end_of_its_thread(void* unused) {
  for (int i = 0; i < 3; i++) CHECK_INT(mj_task_defer(ends_its_thread, NULL), ==, 0);
  CHECK_INT(mj_task_defer(counts, &deferred), ==, 0);
  never_ends(unused);
}

static void what_is_deferred_ends_its_thread_again_and_again(void) {
  make(is_set_up, is_torn_down, "the thread of core 1 has ended in");
  CHECK_INT(mj_cluster_go(cluster, 1, defers_the_end_of_its_thread, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, ends_its_thread_with_work, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  is_lost(4);
  CHECK_INT(deferred, ==, 2);
}

// ---- fork()

static void forks(void* unused) {
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) ends_its_thread(unused);
  CHECK_INT(status_of(child), ==, 0);
}

static void the_thread_of_a_child_is_its_own(void) {
  make(is_set_up, is_torn_down, "has ended");
  CHECK_INT(mj_cluster_go(cluster, 1, forks, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(lines, ==, 0);
}

static void (*in_child)(void);

static void runs_in_child(void) { CHECK_INT(status_of_child(in_child), ==, 0); }

#define RUN_IN_CHILD(test) (in_child = test, check_run(#test, runs_in_child))

int main(void) {
  if (sanitized()) return 0;  // They do not bear the end of a thread on another stack than its own.
  RUN_IN_CHILD(the_others_stop);
  RUN_IN_CHILD(its_signals_have_their_effect_again);
  RUN_IN_CHILD(a_run_ends_of_which_all_cores_are_lost);
  RUN_IN_CHILD(calls_end);
  RUN_IN_CHILD(a_set_up_ends_its_thread);
  RUN_IN_CHILD(a_set_up_ends_its_thread_in_a_run);
  RUN_IN_CHILD(a_wait_function_ends_its_thread);
  RUN_IN_CHILD(a_tear_down_ends_its_thread);
  // What was about to be released is lost.
  if (!under_valgrind()) RUN_IN_CHILD(what_is_abandoned_ends_its_thread);
  RUN_IN_CHILD(what_is_deferred_ends_its_thread_again_and_again);
  // Valgrind takes what a child has of its parent's threads for lost.
  if (!under_valgrind()) RUN_IN_CHILD(the_thread_of_a_child_is_its_own);
  return 0;
}
