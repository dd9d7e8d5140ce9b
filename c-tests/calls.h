// For tests of what tasks wait for together: each test is the body of a task, which has other tasks
// make calls that wait.
#ifndef CALLS_H
#define CALLS_H

#include "check.h"

// Longer than any test runs.
#define LONG_NS UINT64_C(1000000000000)

// A time limit that passes soon, but not before the test has arranged what it is to find.
static inline uint64_t short_ns(void) { return times(3000000, 200000000); }

static mj_scheduler* scheduler;
static void (*test_body)(void);

static inline void runs_the_test(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  test_body();
  mj_task_exit();
}

// Runs a test in a task of a new scheduler, which all other tasks must have left at the end.
static inline void in_a_task(void (*body)(void)) {
  test_body = body;
  scheduler = new_scheduler();
  add_task(scheduler, runs_the_test, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  CHECK_UINT(scheduler->timer_count, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// One call, made by a task of its own. Its owner keeps it until it has returned.
typedef struct call {
  int (*make)(struct call* self);
  void* object;
  uint64_t timeout_ns;
  uint64_t value;  // what the call is about, if anything
  mj_task* task;
  int result;
  bool returned;
  bool may_go_on;  // for calls that do something afterwards
} call;

// The calls that have returned, in their order.
static call* returned_calls[256];
static size_t returned_count;

static inline void makes_its_call(mj_scheduler* running, void* user_state) {
  (void)running;
  call* self = *(call**)user_state;
  errno = 1234;
  self->result = self->make(self);
  CHECK_INT(errno, ==, 1234);
  mj_task_exit();
}

// Notes that a call has returned, from within it.
static inline int call_returned(call* self, int result) {
  self->result = result;
  self->returned = true;
  CHECK_UINT(returned_count, <, sizeof returned_calls / sizeof returned_calls[0]);
  returned_calls[returned_count++] = self;
  return result;
}

// Has a new task begin a call, and lets it run until it waits.
static inline void begin(call* one, int (*make)(call* self), void* object, uint64_t value,
                         uint64_t timeout_ns) {
  *one = (call){.make = make, .object = object, .timeout_ns = timeout_ns, .value = value};
  call** state = allocate(sizeof *state);
  *state = one;
  one->task = add_task(scheduler, makes_its_call, state);
  mj_task_yield();
}

static inline void check_waiting(const call* one) {
  CHECK(!one->returned);
  CHECK_INT(one->task->state, ==, MJ_TASK_WAITING_IO);
}

// Lets all that are ready run until they wait or end.
static inline void settle(void) {
  for (int i = 0; i < 20; i++) mj_task_yield();
}

// What the call returns, which may come in a while.
static inline int result_of(const call* one) {
  uint64_t start = now_ns();
  while (!one->returned) {
    mj_task_sleep_ns(20000);
    // Generous, for it only bounds a failure.
    CHECK_UINT(now_ns() - start, <, 30000000000);
  }
  return one->result;
}

#endif  // CALLS_H
