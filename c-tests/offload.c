// Functions that run on the library's threads, for tasks that wait for them: calls without a function that
// abandons, and memory that is used after a call has returned, which sanitizers look at. The behaviour of the
// others, which Rust has as well, is in tests/behaviour/offload.rs.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "in_a_task.h"
#include "log_lines.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

// What is shared with a function. In memory of its own, so that a use after free is found.
typedef struct job {
  atomic_int begun, ended, abandoned;
  atomic_bool may_end, saw_cancel;
  pthread_t thread;
  int value;
} job;

static job* new_job(void) { return calloc(1, sizeof(job)); }

static void until(atomic_int* counter, int value) {
  while (atomic_load(counter) < value) sched_yield();
}

static void runs(void* argument) {
  job* it = argument;
  atomic_fetch_add(&it->begun, 1);
  it->thread = pthread_self();
  it->value++;
  atomic_fetch_add(&it->ended, 1);
}

// Until the threads of a class have nothing to do.
static void until_idle(mj_offload_class class) {
  mj_offload_counts counts;
  do {
    usleep(100);
    CHECK_INT(mj_offload_get_counts(class, &counts, sizeof counts), ==, 0);
  } while (counts.queued + counts.running > 0);
}

static void blocks(void* argument) {
  job* it = argument;
  atomic_fetch_add(&it->begun, 1);
  while (!atomic_load(&it->may_end)) usleep(100);
  if (mj_offload_canceled()) atomic_store(&it->saw_cancel, true);
  it->value++;
  atomic_fetch_add(&it->ended, 1);
}

static void abandons(void* argument) { atomic_fetch_add(&((job*)argument)->abandoned, 1); }

// As abandons(), for one that nobody looks at any more.
static void frees(void* argument) { free(argument); }

// ---- Results

static void a_function_runs_on_another_thread(void) {
  job* it = new_job();
  mj_offload_class classes[] = {MJ_OFFLOAD_CPU, MJ_OFFLOAD_FILE, MJ_OFFLOAD_DNS};
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_offload_in(classes[i], runs, it, abandons, MJ_FOREVER), ==, 0);
    CHECK_INT(it->value, ==, i + 1);
    CHECK(!pthread_equal(it->thread, pthread_self()));
  }
  CHECK_INT(mj_offload(runs, it, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_offload(runs, it, NULL, LONG_NS), ==, 0);
  CHECK_INT(it->value, ==, 5);
  CHECK_INT(it->abandoned, ==, 0);
  free(it);
}

// It is ready while it runs, as if it had been woken.
static void a_task_that_is_enqueued_has_its_function_run(void) {
  job* it = new_job();
  CHECK_INT(mj_scheduler_enqueue(scheduler, mj_task_current()), ==, 0);
  CHECK_INT(mj_offload(runs, it, abandons, MJ_FOREVER), ==, 0);
  CHECK_INT(it->value, ==, 1);
  CHECK_INT(it->abandoned, ==, 0);
  free(it);
}

static void bad_arguments_are_refused(void) {
  job* it = new_job();
  CHECK_INT(mj_offload(NULL, it, abandons, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_offload_in(3, runs, it, abandons, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_offload_in((mj_offload_class)-1, runs, it, abandons, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 0), ==, -EINVAL);
  CHECK_INT(mj_offload_set_limit(3, 1), ==, -EINVAL);
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(3, &counts, sizeof counts), ==, -EINVAL);
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, NULL, sizeof counts), ==, -EINVAL);
  CHECK(!mj_offload_canceled());
  CHECK_INT(it->begun + it->abandoned, ==, 0);
  free(it);
}

// On a thread without a scheduler, and in a child of that; in none under valgrind, which would take the memory of the
// pool's threads for lost there.
static void refuses_bad_arguments(void) {
  CHECK_INT(mj_offload(NULL, NULL, NULL, MJ_FOREVER), ==, -EINVAL);
  CHECK_INT(mj_offload_in(3, runs, NULL, NULL, MJ_FOREVER), ==, -EINVAL);
}

static void* bad_arguments_on_a_thread(void* unused) {
  refuses_bad_arguments();
  if (under_valgrind()) return unused;
  pid_t child = fork();
  if (child == 0) {
    refuses_bad_arguments();
    _exit(0);
  }
  int status;
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  CHECK_INT(status, ==, 0);
  return unused;
}

static void bad_arguments_are_refused_on_any_thread(void) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, bad_arguments_on_a_thread, NULL), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static void parks_for_ever(void* unused) {
  (void)unused;
  mj_task_park(MJ_FOREVER);
}

static void offloads_and_ends(void* it) {
  CHECK_INT(mj_offload(runs, it, NULL, MJ_FOREVER), ==, 0);
}

// A job that is under way may wake a task; the pool itself wakes none.
static void the_pool_keeps_no_run_going(void) {
  job* it = new_job();
  mj_scheduler* scheduler = new_scheduler();
  mj_task_id id;
  CHECK_INT(mj_go(scheduler, parks_for_ever, NULL, &id), ==, 0);
  CHECK_INT(mj_go(scheduler, offloads_and_ends, it, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  CHECK_INT(it->ended, ==, 1);
  CHECK_INT(mj_scheduler_cancel(scheduler, id), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  free(it);
}

static void outside_of_a_task_it_is_refused(void) {
  job* it = new_job();
  log_lines_begin();
  CHECK_INT(mj_offload(runs, it, abandons, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  log_lines_end();
  CHECK_INT(it->begun + it->abandoned, ==, 0);
  free(it);
}

// ---- Leaving

// It writes its result afterwards, and the argument is freed behind it.
static void writes_late(void* argument) {
  job* it = argument;
  while (!mj_offload_canceled()) usleep(100);
  it->value = 1;
}

static void a_result_that_nobody_waits_for_is_written(void) {
  for (int i = 0; i < 10; i++) {
    CHECK_INT(mj_offload(writes_late, new_job(), frees, 100000), ==, -ETIMEDOUT);
  }
  until_idle(MJ_OFFLOAD_CPU);
}

// All threads of the class are busy.
static job* busy[2];

static void is_busy(mj_scheduler* running, void* user_state) {
  (void)running;
  job* it = *(job**)user_state;
  CHECK_INT(mj_offload(blocks, it, NULL, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

static void occupy(int threads) {
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, (size_t)threads), ==, 0);
  for (int i = 0; i < threads; i++) {
    busy[i] = new_job();
    job** argument = malloc(sizeof *argument);
    *argument = busy[i];
    add_task(scheduler, is_busy, argument);
  }
  mj_task_yield();
  for (int i = 0; i < threads; i++) {
    while (busy[i]->begun == 0) mj_task_sleep_ms(1);
  }
}

static void let_go(int threads) {
  for (int i = 0; i < threads; i++) atomic_store(&busy[i]->may_end, true);
  for (int i = 0; i < threads; i++) {
    while (busy[i]->ended == 0) mj_task_sleep_ms(1);
    mj_task_sleep_ms(1);
    free(busy[i]);
  }
}

static void what_has_not_begun_in_time_without_abandon(void) {
  occupy(2);
  job* it = new_job();
  mj_offload_counts counts;
  CHECK_INT(mj_offload(runs, it, NULL, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_offload(runs, it, NULL, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, &counts, sizeof counts), ==, 0);
  CHECK_UINT(counts.running, ==, 2);
  CHECK_UINT(counts.threads, ==, 2);
  CHECK_UINT(counts.queued, ==, 0);
  CHECK_UINT(counts.ran_in_loop, ==, 0);
  let_go(2);
  CHECK_INT(mj_offload(runs, it, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(it->begun, ==, 1);
  free(it);
}

static void what_has_not_begun_in_time_is_abandoned_before_the_call_returns(void) {
  occupy(1);
  job* it = new_job();
  mj_offload_counts counts;
  CHECK_INT(mj_offload(runs, it, abandons, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(it->abandoned, ==, 1);
  let_go(1);
  until_idle(MJ_OFFLOAD_CPU);
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, &counts, sizeof counts), ==, 0);
  CHECK_UINT(counts.threads, ==, counts.idle);
  CHECK_INT(it->begun, ==, 0);
  CHECK_INT(it->abandoned, ==, 1);
  free(it);
}

// Ends when it is told to, but not at once.
static void ends_later(void* argument) {
  job* it = argument;
  atomic_fetch_add(&it->begun, 1);
  for (int i = 0; i < 10000 && !mj_offload_canceled(); i++) usleep(1000);
  usleep(5000);
  if (mj_offload_canceled()) atomic_store(&it->saw_cancel, true);
  atomic_fetch_add(&it->ended, 1);
}

static void without_abandon_a_begun_function_is_waited_for(void) {
  job* it = new_job();
  int result;
  do result = mj_offload(ends_later, it, NULL, 1000000);
  while (result == -ETIMEDOUT && it->begun == 0);
  CHECK_INT(result, ==, 0);
  CHECK_INT(it->ended, ==, 1);
  CHECK(it->saw_cancel);
  free(it);
}

typedef struct call {
  job* job;
  void (*function)(void*);
  void (*abandon)(void*);
  int result;
  bool returned;
} call;

static void calls(mj_scheduler* running, void* user_state) {
  (void)running;
  call* it = *(call**)user_state;
  it->result = mj_offload(it->function, it->job, it->abandon, MJ_FOREVER);
  it->returned = true;
  mj_task_exit();
}

static mj_task* add_call(mj_scheduler* to, call* it) {
  call** state = malloc(sizeof *state);
  *state = it;
  return add_task(to, calls, state);
}

static void cancel_while_queued_without_abandon(void) {
  occupy(1);
  call it = {.job = new_job(), .function = runs};
  mj_task* task = add_call(scheduler, &it);
  mj_task_yield();
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, &counts, sizeof counts), ==, 0);
  CHECK_UINT(counts.running, ==, 1);
  CHECK_UINT(counts.queued, ==, 1);
  CHECK_INT(mj_task_cancel(task), ==, 0);
  mj_task_yield();
  CHECK(it.returned);
  CHECK_INT(it.result, ==, -ECANCELED);
  let_go(1);
  CHECK_INT(it.job->begun, ==, 0);
  free(it.job);
}

// The call waits.
static void cancel_while_it_runs_without_abandon(void) {
  call it = {.job = new_job(), .function = blocks};
  mj_task* task = add_call(scheduler, &it);
  while (it.job->begun == 0) mj_task_sleep_ms(1);
  CHECK_INT(mj_task_cancel(task), ==, 0);
  mj_task_sleep_ms(2);
  CHECK(!it.returned);
  atomic_store(&it.job->may_end, true);
  while (!it.returned) mj_task_sleep_ms(1);
  CHECK_INT(it.result, ==, 0);
  CHECK(it.job->saw_cancel);
  free(it.job);
}

// The function has ended, and the loop has not been told yet.
static void cancel_when_it_is_done(void) {
  for (int with_abandon = 0; with_abandon < 2; with_abandon++) {
    call it = {.job = new_job(), .function = runs, .abandon = with_abandon ? abandons : NULL};
    mj_task* task = add_call(scheduler, &it);
    mj_task_yield();
    until(&it.job->ended, 1);
    usleep(2000);
    CHECK(!it.returned);
    CHECK_INT(mj_task_cancel(task), ==, 0);
    while (!it.returned) mj_task_sleep_ms(1);
    CHECK_INT(it.result, ==, 0);
    CHECK_INT(it.job->abandoned, ==, 0);
    free(it.job);
  }
}

static void a_task_that_has_ended_runs_nothing(void) {
  job* it = new_job();
  mj_task_exit();
  CHECK_INT(mj_offload(runs, it, abandons, MJ_FOREVER), ==, -ECANCELED);
  CHECK_INT(it->abandoned, ==, 1);
  CHECK_INT(it->begun, ==, 0);
  free(it);
}

// ---- Many

// More than the memory of which is kept.
static void many_functions_wait_for_one_thread(void) {
  enum { CALLS = 300 };
  static call many[CALLS];
  occupy(1);
  job* it = new_job();
  for (int i = 0; i < CALLS; i++) {
    many[i] = (call){.job = it, .function = runs};
    add_call(scheduler, &many[i]);
  }
  mj_task_yield();
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, &counts, sizeof counts), ==, 0);
  CHECK_UINT(counts.queued, ==, CALLS);
  let_go(1);
  for (int i = 0; i < CALLS; i++) {
    while (!many[i].returned) mj_task_sleep_ms(1);
    CHECK_INT(many[i].result, ==, 0);
  }
  CHECK_INT(it->value, ==, CALLS);
  free(it);
}

// ---- The end of the scheduler

static void stops_when_it_runs(mj_scheduler* running, void* user_state) {
  job* it = *(job**)user_state;
  while (it != NULL && it->begun == 0) mj_task_sleep_ms(1);
  mj_scheduler_stop(running);
  mj_task_yield();
}

static mj_scheduler* with_a_call(call* it, bool waits) {
  mj_scheduler* made = new_scheduler();
  add_call(made, it);
  job** argument = malloc(sizeof *argument);
  *argument = waits ? it->job : NULL;
  add_task(made, stops_when_it_runs, argument);
  CHECK_INT(mj_run(made), ==, MJ_RUN_STOPPED);
  CHECK(!it->returned);
  return made;
}

static void a_scheduler_is_destroyed_while_it_runs(void) {
  call it = {.job = new_job(), .function = blocks, .abandon = abandons};
  mj_scheduler_destroy(with_a_call(&it, true));
  CHECK_INT(it.job->abandoned, ==, 0);
  atomic_store(&it.job->may_end, true);
  until(&it.job->abandoned, 1);
  CHECK(it.job->saw_cancel);
  free(it.job);
}

static void a_scheduler_is_destroyed_and_waits(void) {
  call it = {.job = new_job(), .function = ends_later};
  mj_scheduler_destroy(with_a_call(&it, true));
  CHECK_INT(it.job->ended, ==, 1);
  CHECK(it.job->saw_cancel);
  free(it.job);
}

// The message that it is done, which the loop has not seen.
static void a_scheduler_is_destroyed_when_it_is_done(void) {
  for (int with_abandon = 0; with_abandon < 2; with_abandon++) {
    call it = {.job = new_job(), .function = runs, .abandon = with_abandon ? abandons : NULL};
    mj_scheduler* made = new_scheduler();
    add_call(made, &it);
    add_task(made, stops_when_it_runs, calloc(1, sizeof(job*)));
    CHECK_INT(mj_run(made), ==, MJ_RUN_STOPPED);
    until(&it.job->ended, 1);
    usleep(2000);
    mj_scheduler_destroy(made);
    CHECK_INT(it.job->abandoned, ==, with_abandon);
    free(it.job);
  }
}

// A call of a task that is ready to go on with it when its scheduler is destroyed.
static void check_last_turn(mj_scheduler* made, call* it) {
  CHECK(!it->returned);
  mj_scheduler_destroy(made);
  until(&it->job->abandoned, 1);
  usleep(2000);
  CHECK(!it->returned);
  CHECK_INT(it->job->abandoned, ==, 1);
  free(it->job);
}

static void stops_when_it_is_ready(mj_scheduler* running, void* user_state) {
  const mj_task* waits = *(mj_task**)user_state;
  while (waits->state != MJ_TASK_RUNNABLE) mj_task_yield();
  mj_scheduler_stop(running);
  mj_task_exit();
}

static void a_scheduler_is_destroyed_before_the_turn_of_what_is_done(void) {
  call it = {.job = new_job(), .function = runs, .abandon = abandons};
  mj_scheduler* made = new_scheduler();
  mj_task* waits = add_call(made, &it);
  for (int i = 0; i < 2; i++) {  // Wherever the loop is then, one of them is before the task.
    mj_task** argument = malloc(sizeof *argument);
    *argument = waits;
    add_task(made, stops_when_it_is_ready, argument);
  }
  CHECK_INT(mj_run(made), ==, MJ_RUN_STOPPED);
  check_last_turn(made, &it);
}

static void a_scheduler_is_destroyed_before_the_turn_of_a_canceled_task(void) {
  for (int begins = 0; begins < 2; begins++) {
    call it = {.job = new_job(), .function = runs, .abandon = abandons};
    mj_scheduler* made = new_scheduler();
    mj_task_id id = mj_task_get_id(add_call(made, &it));
    if (begins == 0) CHECK_INT(mj_scheduler_cancel(made, id), ==, 0);  // Its call lets others go first.
    job** argument = calloc(1, sizeof *argument);
    add_task(made, stops_when_it_runs, argument);
    CHECK_INT(mj_run(made), ==, MJ_RUN_STOPPED);
    if (begins == 1) CHECK_INT(mj_scheduler_cancel(made, id), ==, 0);
    check_last_turn(made, &it);
  }
}

// As above, with the only thread at work for another call, so that the function has not begun.
static void a_scheduler_is_destroyed_before_the_turn_of_what_was_queued(void) {
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 1), ==, 0);
  call before = {.job = new_job(), .function = blocks, .abandon = abandons};
  call it = {.job = new_job(), .function = runs, .abandon = abandons};
  mj_scheduler* made = new_scheduler();
  add_call(made, &before);
  mj_task_id id = mj_task_get_id(add_call(made, &it));
  job** argument = malloc(sizeof *argument);
  *argument = before.job;
  add_task(made, stops_when_it_runs, argument);
  CHECK_INT(mj_run(made), ==, MJ_RUN_STOPPED);
  CHECK_INT(mj_scheduler_cancel(made, id), ==, 0);
  CHECK_INT(it.job->abandoned, ==, 0);  // That is the task's, or the destroyer's.
  check_last_turn(made, &it);
  atomic_store(&before.job->may_end, true);
  until(&before.job->abandoned, 1);
  free(before.job);
}

int main(void) {
  RUN_IN_TASK(a_function_runs_on_another_thread);
  RUN_IN_TASK(a_task_that_is_enqueued_has_its_function_run);
  RUN_IN_TASK(bad_arguments_are_refused);
  RUN(bad_arguments_are_refused_on_any_thread);
  RUN(the_pool_keeps_no_run_going);
  RUN(outside_of_a_task_it_is_refused);
  RUN_IN_TASK(a_result_that_nobody_waits_for_is_written);
  RUN_IN_TASK(what_has_not_begun_in_time_without_abandon);
  RUN_IN_TASK(what_has_not_begun_in_time_is_abandoned_before_the_call_returns);
  RUN_IN_TASK(without_abandon_a_begun_function_is_waited_for);
  RUN_IN_TASK(cancel_while_queued_without_abandon);
  RUN_IN_TASK(cancel_while_it_runs_without_abandon);
  RUN_IN_TASK(cancel_when_it_is_done);
  RUN_IN_TASK(a_task_that_has_ended_runs_nothing);
  RUN_IN_TASK(many_functions_wait_for_one_thread);
  RUN(a_scheduler_is_destroyed_while_it_runs);
  RUN(a_scheduler_is_destroyed_and_waits);
  RUN(a_scheduler_is_destroyed_when_it_is_done);
  RUN(a_scheduler_is_destroyed_before_the_turn_of_what_is_done);
  RUN(a_scheduler_is_destroyed_before_the_turn_of_a_canceled_task);
  RUN(a_scheduler_is_destroyed_before_the_turn_of_what_was_queued);
  return 0;
}
