// Clusters where something is wrong: cores that end early or stall, clients that come and go while it ends, forks.
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static mj_cluster* cluster;

static mj_cluster* new_cluster(size_t cores) {
  mj_cluster* made = mj_cluster_create(&(mj_cluster_options){.cores = cores});
  CHECK(made != NULL);
  return made;
}

static void join_and_destroy(mj_cluster* ended) {
  CHECK_INT(mj_cluster_join(ended), ==, 0);
  CHECK_INT(mj_cluster_destroy(ended), ==, 0);
}

static void run_to_its_end(mj_cluster* made) {
  CHECK_INT(mj_cluster_start(made), ==, 0);
  join_and_destroy(made);
}

static void counts(void* counter) { atomic_fetch_add((atomic_int*)counter, 1); }

static void is_canceled(void* counter) {
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  atomic_fetch_add((atomic_int*)counter, 1);
}

static void never_ends(void* unused) {
  (void)unused;
  mj_sleep_ns(MJ_FOREVER);
  abort();
}

static int never_returns(void* unused) {
  (void)unused;
  mj_sleep_ns(MJ_FOREVER);
  abort();
}

// ---- A core that is over before the others

static int second_fails(mj_scheduler* scheduler, size_t core, void* user_data) {
  (void)scheduler;
  (void)user_data;
  return core == 1 ? -EXDEV : 0;
}

static void what_a_core_was_given_is_abandoned_if_its_set_up_fails(void) {
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = 3, .set_up = second_fails});
  atomic_int abandoned = 0, canceled = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, is_canceled, &canceled, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, never_ends, &abandoned, counts), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, -EXDEV);
  CHECK_INT(abandoned, ==, 1);
  CHECK_INT(canceled, ==, 1);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void stops_its_scheduler(void* unused) {
  (void)unused;
  mj_task_sleep_ms(5);
  CHECK_INT(mj_scheduler_stop(mj_scheduler_current()), ==, 0);
}

static void a_core_that_stops_with_tasks_stops_the_others(void) {
  for (int urges = 0; urges < 2; urges++) {
    cluster = new_cluster(2);
    atomic_int canceled = 0;
    if (urges == 0) CHECK_INT(mj_cluster_go(cluster, 0, is_canceled, &canceled, NULL), ==, 0);
    CHECK_INT(mj_cluster_go(cluster, 1, never_ends, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_go(cluster, 1, stops_its_scheduler, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    if (urges == 1) CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
    CHECK_INT(mj_cluster_join(cluster), ==, 0);
    CHECK_INT(canceled, ==, urges == 0);
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  }
}

static void calls_what_never_returns(void* ended) {
  CHECK_INT(mj_cluster_call(cluster, 1, never_returns, NULL, MJ_FOREVER, NULL), ==, -EPIPE);
  CHECK_INT(mj_cluster_call(cluster, 1, never_returns, NULL, MJ_FOREVER, NULL), ==, -EPIPE);
  atomic_fetch_add((atomic_int*)ended, 1);
}

static void calls_what_never_returns_deaf(void* ended) {
  mj_task_set_cancelable(false, NULL);
  calls_what_never_returns(ended);
}

static void calls_of_a_core_that_stops_end(void) {
  cluster = new_cluster(2);
  atomic_int ended = 0;
  for (int i = 0; i < 10; i++) {
    mj_go_fn function = i % 2 ? calls_what_never_returns : calls_what_never_returns_deaf;
    CHECK_INT(mj_cluster_go(cluster, 0, function, &ended, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_go(cluster, 1, stops_its_scheduler, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(ended, ==, 10);
}

int main(void) {
  RUN(what_a_core_was_given_is_abandoned_if_its_set_up_fails);
  RUN(a_core_that_stops_with_tasks_stops_the_others);
  RUN(calls_of_a_core_that_stops_end);
  return 0;
}
