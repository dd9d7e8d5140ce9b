// Calls of other cores of a cluster: results, limits, cancellations, groups, and ends in the middle.
#define _GNU_SOURCE
#include "check.h"
#include "clusters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static mj_cluster* cluster;

static atomic_int done;

static int adds_one(void* number) {
  mj_yield();
  ++*(int*)number;
  return mj_cluster_here(cluster);
}

static void calls_each_core(void* argument) {
  (void)argument;
  for (size_t core = 0; core < 3; core++) {
    int number = 41, result = -1;
    CHECK_INT(mj_cluster_call(cluster, core, adds_one, &number, MJ_FOREVER, &result), ==, 0);
    CHECK_INT(result, ==, (int)core);
    CHECK_INT(number, ==, 42);
    CHECK_INT(mj_cluster_call(cluster, core, adds_one, &number, MJ_FOREVER, NULL), ==, 0);
  }
  int number = 0;
  CHECK_INT(mj_cluster_call(cluster, 3, adds_one, &number, MJ_FOREVER, NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_call(cluster, 0, NULL, &number, MJ_FOREVER, NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_call(NULL, 0, adds_one, &number, MJ_FOREVER, NULL), ==, -EINVAL);
  atomic_fetch_add(&done, 1);
}

static void a_call_returns_what_the_function_does(void) {
  cluster = new_cluster(3);
  done = 0;
  for (size_t core = 0; core < 3; core++) {
    CHECK_INT(mj_cluster_go(cluster, core, calls_each_core, NULL, NULL), ==, 0);
  }
  int number = 0;
  CHECK_INT(mj_cluster_call(cluster, 0, adds_one, &number, MJ_FOREVER, NULL), ==, -EPERM);
  run_to_its_end(cluster);
  CHECK_INT(done, ==, 3);
}

static atomic_int asleep;

static int sleeps_until_it_is_canceled(void* seen) {
  atomic_fetch_add(&asleep, 1);
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  atomic_fetch_add((atomic_int*)seen, 1);
  return 7;
}

static void has_a_limit(void* argument) {
  (void)argument;
  atomic_int seen = 0;
  int result = 0;
  int called;
  do {  // On a busy machine it may not begin in time.
    called = mj_cluster_call(cluster, 1, sleeps_until_it_is_canceled, &seen, 5000000, &result);
  } while (called == -ETIMEDOUT);
  CHECK_INT(called, ==, 0);
  CHECK_INT(seen, ==, 1);
  CHECK_INT(result, ==, 7);
}

static void a_function_is_canceled_when_its_time_is_over(void) {
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 0, has_a_limit, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
}

static atomic_int seen_by_function;
static mj_task_id caller;

static void calls_for_ever(void* argument) {
  (void)argument;
  int result = 0;
  caller = mj_task_get_id(mj_task_current());
  CHECK_INT(mj_cluster_call(cluster, 1, sleeps_until_it_is_canceled, &seen_by_function, MJ_FOREVER, &result), ==, 0);
  CHECK_INT(result, ==, 7);
  CHECK_INT(mj_yield(), ==, -ECANCELED);
}

static void cancels_the_caller(void* argument) {
  (void)argument;
  while (asleep == 0) mj_task_sleep_ms(1);
  CHECK_INT(mj_scheduler_cancel(mj_scheduler_current(), caller), ==, 0);
}

static void a_function_is_canceled_with_its_caller(void) {
  cluster = new_cluster(2);
  seen_by_function = asleep = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, calls_for_ever, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 0, cancels_the_caller, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(seen_by_function, ==, 1);
}

static int is_not_called(void* argument) {
  (void)argument;
  abort();
}

static int until_it_has_left[2];
static atomic_int is_busy;

static void computes(void* argument) {
  (void)argument;
  is_busy = 1;
  char byte;
  CHECK_INT(read(until_it_has_left[0], &byte, 1), ==, 1);  // Blocks its core.
}

static void leaves_before_it_begins(void* argument) {
  (void)argument;
  while (!is_busy) mj_task_sleep_ms(1);
  CHECK_INT(mj_cluster_call(cluster, 1, is_not_called, NULL, 1000000, NULL), ==, -ETIMEDOUT);
  CHECK_INT(write(until_it_has_left[1], "x", 1), ==, 1);
}

static void what_has_not_begun_in_time_does_not(void) {
  CHECK_INT(pipe(until_it_has_left), ==, 0);
  is_busy = 0;
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 1, computes, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 0, leaves_before_it_begins, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  close(until_it_has_left[0]);
  close(until_it_has_left[1]);
}

static int calls_back(void* depth) {
  int left = *(int*)depth - 1;
  if (left == 0) return 1;
  size_t other = 1 - (size_t)mj_cluster_here(cluster);
  int result = 0;
  CHECK_INT(mj_cluster_call(cluster, other, calls_back, &left, MJ_FOREVER, &result), ==, 0);
  return result + 1;
}

static void calls_deep(void* argument) {
  (void)argument;
  int depth = 200, result = 0;
  CHECK_INT(mj_cluster_call(cluster, 1, calls_back, &depth, MJ_FOREVER, &result), ==, 0);
  CHECK_INT(result, ==, 200);
}

static void cores_call_each_other_in_turn(void) {
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 0, calls_deep, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
}

// ---- What belongs to the function's task, and refers to what is the caller's

static mj_task_key key;

static void is_destroyed(void* value) { ++*(int*)value; }

static void make_key(void) {
  if (key == 0) CHECK_INT(mj_task_key_create(&key, is_destroyed, NULL), ==, 0);
}

static void is_deferred(void* argument) { *(int*)argument += 10; }

static int leaves_something(void* argument) {
  CHECK_INT(mj_task_set_value(key, argument), ==, 0);
  CHECK_INT(mj_task_defer(is_deferred, argument), ==, 0);
  return 0;
}

static void is_left_something(void* argument) {
  (void)argument;
  for (int i = 0; i < 100; i++) {
    int count = 0;
    CHECK_INT(mj_cluster_call(cluster, 1, leaves_something, &count, MJ_FOREVER, NULL), ==, 0);
    CHECK_INT(count, ==, 11);
  }
}

static void a_task_has_ended_with_all_that_it_has_when_a_call_returns(void) {
  make_key();
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 0, is_left_something, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
}

static int leaves_something_and_stays(void* argument) {
  leaves_something(argument);
  atomic_fetch_add(&done, 1);
  mj_task_set_cancelable(false, NULL);
  while (mj_sleep_ns(1000000) == 0) continue;
  return 0;
}

static void calls_what_stays(void* argument) {
  (void)argument;
  char far[8192];
  memset(far, 0, sizeof far);
  int* count = (int*)(far + 4096);
  mj_cluster_call(cluster, 1 - (size_t)mj_cluster_here(cluster), leaves_something_and_stays, count, MJ_FOREVER, NULL);
}

// The stacks of the callers are there until all cores have called what was deferred: for sanitizers.
static void an_end_without_tasks_keeps_callers_until_all_is_deferred(void) {
  make_key();
  for (int round = 0; round < 10; round++) {
    cluster = new_cluster(2);
    done = 0;
    for (size_t i = 0; i < 8; i++) CHECK_INT(mj_cluster_go(cluster, i % 2, calls_what_stays, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    while (done < 8) usleep(1000);
    for (int i = 0; i < 3; i++) CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
    CHECK_INT(mj_cluster_join(cluster), ==, 0);
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  }
}

// ---- Groups

static atomic_int under_way, most_under_way;

static int is_one_of_few(void* argument) {
  (void)argument;
  int now = atomic_fetch_add(&under_way, 1) + 1;
  int most = most_under_way;
  while (now > most && !atomic_compare_exchange_weak(&most_under_way, &most, now)) continue;
  mj_task_sleep_ms(1);
  atomic_fetch_sub(&under_way, 1);
  atomic_fetch_add(&done, 1);
  return 0;
}

static int fails(void* argument) {
  (void)argument;
  return -EXDEV;
}

static void has_a_group(void* argument) {
  (void)argument;
  mj_group* group = mj_group_create(mj_scheduler_current(), 4);
  for (int i = 0; i < 40; i++) {
    size_t core = mj_cluster_next(cluster);
    CHECK_INT(mj_cluster_group_go(cluster, core, group, is_one_of_few, NULL, MJ_FOREVER), ==, 0);
  }
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(done, ==, 40);
  CHECK_INT(most_under_way, <=, 4);
  CHECK_INT(mj_group_error(group), ==, 0);
  // The first failure cancels the others, on whatever core they are.
  atomic_int seen = 0;
  asleep = 0;
  CHECK_INT(mj_group_set_fail_fast(group, true), ==, 0);
  CHECK_INT(mj_cluster_group_go(cluster, 0, group, sleeps_until_it_is_canceled, &seen, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cluster_group_go(cluster, 1, group, sleeps_until_it_is_canceled, &seen, MJ_FOREVER), ==, 0);
  while (asleep < 2) mj_task_sleep_ms(1);
  CHECK_INT(mj_cluster_group_go(cluster, 1, group, fails, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_error(group), ==, -EXDEV);
  CHECK_INT(seen, ==, 2);
  CHECK_INT(mj_cluster_group_go(cluster, 1, group, is_not_called, NULL, MJ_FOREVER), ==, -EPIPE);
  CHECK_INT(mj_cluster_group_go(cluster, 2, group, is_not_called, NULL, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_cluster_group_go(cluster, 1, NULL, is_not_called, NULL, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_group_destroy(group), ==, 0);
}

static void a_group_has_members_on_several_cores(void) {
  cluster = new_cluster(2);
  done = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, has_a_group, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
}

static int ends_at_once(void* argument) {
  (void)argument;
  atomic_fetch_add(&done, 1);
  return 0;
}

static void calls_a_full_core(void* argument) {
  (void)argument;
  CHECK_INT(mj_cluster_call(cluster, 1, ends_at_once, NULL, MJ_FOREVER, NULL), ==, 0);
}

static void a_call_waits_for_room(void) {
  cluster = new_cluster(2);
  done = 0;
  mj_remote* remote = mj_cluster_remote(cluster, 1);
  CHECK_INT(mj_remote_set_post_limit(remote, 2), ==, 0);
  mj_remote_release(remote);
  for (int i = 0; i < 100; i++) CHECK_INT(mj_cluster_go(cluster, 0, calls_a_full_core, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(done, ==, 100);
}

// ---- Ends in the middle

static int sleeps_deaf(void* argument) {
  (void)argument;
  mj_task_set_cancelable(false, NULL);
  atomic_fetch_add(&asleep, 1);
  while (mj_sleep_ns(1000000) == 0) continue;
  return 0;
}

static void calls_a_deaf_one(void* argument) {
  (void)argument;
  size_t other = 1 - (size_t)mj_cluster_here(cluster);
  // If this core's run ends later than the other one's, whose tasks do not run any more.
  CHECK_INT(mj_cluster_call(cluster, other, sleeps_deaf, NULL, MJ_FOREVER, NULL), ==, -EPIPE);
}

static void an_end_without_tasks_ends_calls_both_ways(void) {
  cluster = new_cluster(2);
  asleep = 0;
  for (size_t i = 0; i < 20; i++) {
    CHECK_INT(mj_cluster_go(cluster, i % 2, calls_a_deaf_one, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  while (asleep < 20) usleep(100);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void calls_and_is_canceled(void* argument) {
  size_t other = 1 - (size_t)mj_cluster_here(cluster);
  int result = 0;
  int called = mj_cluster_call(cluster, other, sleeps_until_it_is_canceled, argument, MJ_FOREVER, &result);
  CHECK((called == 0 && result == 7) || called == -ECANCELED || called == -EPIPE);
  atomic_fetch_add(&done, 1);
}

static void an_end_at_once_cancels_calls_both_ways(void) {
  for (int round = 0; round < 20; round++) {
    cluster = new_cluster(2);
    done = 0;
    atomic_int seen = 0;
    for (size_t i = 0; i < 20; i++) {
      CHECK_INT(mj_cluster_go(cluster, i % 2, calls_and_is_canceled, &seen, NULL), ==, 0);
    }
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    usleep((useconds_t)(round * 50));
    CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
    CHECK_INT(mj_cluster_join(cluster), ==, 0);
    CHECK_INT(done, ==, 20);
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  }
}

static void calls_from_outside(void* result) {
  int number = 1;
  CHECK_INT(mj_cluster_call(cluster, 1, adds_one, &number, MJ_FOREVER, result), ==, 0);
  CHECK_INT(number, ==, 2);
}

static void any_task_can_call(void) {
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  int result = 0;
  CHECK_INT(mj_go(scheduler, calls_from_outside, &result, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(result, ==, 1);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void calls_what_sleeps(void* seen) {
  mj_cluster_call(cluster, 1, sleeps_until_it_is_canceled, seen, MJ_FOREVER, NULL);
  abort();
}

static void stops_the_run(void* scheduler) {
  while (asleep == 0) mj_task_sleep_ms(1);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
}

static void a_caller_that_is_destroyed_waits_for_the_function(void) {
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  atomic_int seen = 0;
  asleep = 0;
  CHECK_INT(mj_go(scheduler, calls_what_sleeps, &seen, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, stops_the_run, scheduler, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(seen, ==, 1);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static atomic_int returned;

// Of the two whose calls have ended, the one that goes on first ends the run.
static void calls_and_stops_the_run(void* scheduler) {
  CHECK_INT(mj_cluster_call(cluster, 1, ends_at_once, NULL, MJ_FOREVER, NULL), ==, 0);
  returned++;
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
}

static atomic_int is_kept;

static void waits_for_the_callers(void* unused) {
  (void)unused;
  while (!is_kept) usleep(100);
}

static void is_begun_last(void* unused) {
  (void)unused;
  asleep = 1;
}

// Lets both calls begin, and keeps the callers' thread until they have ended: so their loop finds both in one round.
static void keeps_its_thread(void* unused) {
  while (mj_cluster_load(cluster, 1) < 3) mj_task_sleep_ms(1);
  CHECK_INT(mj_cluster_go(cluster, 1, is_begun_last, unused, NULL), ==, 0);
  is_kept = 1;
  while (!asleep) usleep(100);
}

// For sanitizers: what the call has taken is given up by who destroys the scheduler.
static void a_call_that_has_ended_is_given_up_with_its_caller(void) {
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  done = asleep = returned = is_kept = 0;
  CHECK_INT(mj_cluster_go(cluster, 1, waits_for_the_callers, NULL, NULL), ==, 0);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_go(scheduler, calls_and_stops_the_run, scheduler, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, keeps_its_thread, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(done, ==, 2);
  CHECK_INT(returned, ==, 1);
  join_and_destroy(cluster);
}

int main(void) {
  RUN(a_call_returns_what_the_function_does);
  RUN(a_function_is_canceled_when_its_time_is_over);
  RUN(a_function_is_canceled_with_its_caller);
  RUN(what_has_not_begun_in_time_does_not);
  RUN(cores_call_each_other_in_turn);
  RUN(a_task_has_ended_with_all_that_it_has_when_a_call_returns);
  RUN(an_end_without_tasks_keeps_callers_until_all_is_deferred);
  RUN(a_group_has_members_on_several_cores);
  RUN(a_call_waits_for_room);
  RUN(an_end_without_tasks_ends_calls_both_ways);
  RUN(an_end_at_once_cancels_calls_both_ways);
  RUN(any_task_can_call);
  RUN(a_caller_that_is_destroyed_waits_for_the_function);
  RUN(a_call_that_has_ended_is_given_up_with_its_caller);
  return 0;
}
