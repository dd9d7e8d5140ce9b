// What a child of fork() does by a copy of a handle: it reaches its copy of the scheduler, and not that of its
// parent.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <pthread.h>

static mj_scheduler* scheduler;
static mj_remote* remote;
static int ran, abandoned;
static bool child_is_gone;

static void runs(void* argument) {
  (void)argument;
  ran++;
}

static void abandons(void* argument) {
  (void)argument;
  abandoned++;
}

static void posts_and_runs(void) {
  mj_metrics metrics;
  CHECK_INT(mj_post(remote, runs, NULL, abandons), ==, 0);
  CHECK_INT(mj_remote_metrics(remote, &metrics, sizeof metrics), ==, 0);
  CHECK_UINT(metrics.tasks_created, ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ran, ==, 2);  // What the parent had posted before, too.
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_post(remote, runs, NULL, abandons), ==, -EPIPE);
  mj_remote_release(remote);
  CHECK_INT(abandoned, ==, 0);
}

static void posts_and_destroys(void) {
  static mj_post_node node;
  CHECK_INT(mj_post_with_node(remote, &node, runs, NULL, abandons), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(abandoned, ==, 2);
  CHECK_INT(ran, ==, 0);
  mj_remote_release(remote);
}

static void a_child_posts_to_its_copy(void) {
  scheduler = new_scheduler();
  remote = mj_scheduler_remote(scheduler);
  ran = abandoned = 0;
  CHECK_INT(mj_post(remote, runs, NULL, abandons), ==, 0);
  CHECK_INT(status_of_child(posts_and_runs), ==, 0);
  CHECK_INT(status_of_child(posts_and_destroys), ==, 0);
  CHECK_INT(ran, ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ran, ==, 1);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(abandoned, ==, 0);
}

// The copy is one that runs for good, on a thread that the child does not have: what is left for it waits.
static void posts_in_vain(void) {
  for (int i = 0; i < 100; i++) CHECK_INT(mj_post(remote, runs, NULL, abandons), ==, 0);
  CHECK_INT(mj_remote_wake(remote, 1), ==, 0);
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  mj_remote_release(remote);
  CHECK_INT(ran, ==, 0);
}

static void* forks(void* unused) {
  CHECK_INT(status_of_child(posts_in_vain), ==, 0);
  child_is_gone = true;
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  return unused;
}

static void sleeps(void* argument) {
  (void)argument;
  mj_task_sleep_s(1000);
}

static void a_child_of_another_thread_reaches_nobody(void) {
  // Valgrind reports the C library's memory for the thread, which the child does not have, as lost.
  if (under_valgrind()) return;
  scheduler = new_scheduler();
  remote = mj_scheduler_remote(scheduler);
  ran = abandoned = 0;
  CHECK_INT(mj_go(scheduler, sleeps, NULL, NULL), ==, 0);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, forks, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  CHECK(child_is_gone);  // Which has not stopped this run.
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(ran + abandoned, ==, 0);
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN(a_child_posts_to_its_copy);
  RUN(a_child_of_another_thread_reaches_nobody);
  return 0;
}
