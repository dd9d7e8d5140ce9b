// A call of another core that has no memory for the function's task.
#define _GNU_SOURCE
#include "check.h"
#include "clusters.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <unistd.h>

static mj_cluster* cluster;
static mj_task_id caller;
static atomic_bool fails_next, is_failing, may_go_on;
static __thread bool is_callees;

// Takes the place of the C library's, for the library too. The callee's thread gets no memory for the state of the next
// task, which is a pointer, and is told so when the test has done something else meanwhile.
void* malloc(size_t bytes) {
  static void* (*next)(size_t);
  if (next == NULL) *(void**)&next = dlsym(RTLD_NEXT, "malloc");
  if (!is_callees || bytes != sizeof(void*) || !atomic_exchange(&fails_next, false)) return next(bytes);
  is_failing = true;
  while (!may_go_on) usleep(100);
  errno = ENOMEM;
  return NULL;
}

static void is_the_callees(void* unused) {
  (void)unused;
  is_callees = true;
  fails_next = true;
}

static int is_called(void* count) { return ++*(int*)count; }

static int calls(uint64_t timeout_ns) {
  int count = 0, result = 0;
  caller = mj_task_get_id(mj_task_current());
  int called = mj_cluster_call(cluster, 1, is_called, &count, timeout_ns, &result);
  CHECK_INT(count, ==, called == 0);
  CHECK_INT(result, ==, count);
  return called;
}

static void is_canceled_meanwhile(void* unused) {
  (void)unused;
  CHECK_INT(calls(MJ_FOREVER), ==, -ECANCELED);
  CHECK_INT(mj_yield(), ==, -ECANCELED);
}

static uint64_t limit_ns;
static bool was_left_meanwhile;

static void is_late(void* unused) {
  (void)unused;
  CHECK_INT(calls(limit_ns), ==, -ETIMEDOUT);
  was_left_meanwhile = is_failing;  // Else the other core has not looked in time.
  CHECK_INT(calls(MJ_FOREVER), ==, 0);  // There is memory again.
}

static void stays(void* unused) {
  (void)unused;
  CHECK_INT(calls(MJ_FOREVER), ==, 0);
}

static void cancels(void* unused) {
  (void)unused;
  while (!is_failing) mj_task_sleep_ms(1);
  CHECK_INT(mj_scheduler_cancel(mj_scheduler_current(), caller), ==, 0);
  may_go_on = true;
}

static void lets_go_on_later(void* unused) {
  (void)unused;
  while (!is_failing) mj_task_sleep_ms(1);
  CHECK_INT(mj_sleep_ns(limit_ns), ==, 0);  // Its timer is behind the caller's.
  may_go_on = true;
}

static void lets_go_on(void* unused) {
  (void)unused;
  while (!is_failing) mj_task_sleep_ms(1);
  may_go_on = true;
}

static void a_call_goes_through(mj_go_fn calls_it, mj_go_fn meanwhile) {
  fails_next = is_failing = may_go_on = false;
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 1, is_the_callees, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  while (mj_cluster_load(cluster, 1) > 0) usleep(100);
  CHECK_INT(mj_cluster_go(cluster, 0, calls_it, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 0, meanwhile, NULL, NULL), ==, 0);
  while (!may_go_on) usleep(100);
  join_and_destroy(cluster);
}

static void a_call_begins_when_there_is_memory(void) { a_call_goes_through(stays, lets_go_on); }

// The caller leaves while the other core is about to make the task, for which there is no memory then.
static void a_call_that_is_left_while_there_is_no_memory_has_not_begun(void) {
  a_call_goes_through(is_canceled_meanwhile, cancels);
  limit_ns = 500000;
  do {
    limit_ns *= 2;
    a_call_goes_through(is_late, lets_go_on_later);
  } while (!was_left_meanwhile);
}

int main(void) {
  RUN(a_call_begins_when_there_is_memory);
  RUN(a_call_that_is_left_while_there_is_no_memory_has_not_begun);
  return 0;
}
