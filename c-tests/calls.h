// For tests of what tasks wait for together: each test is the body of a task, which has other tasks
// make calls that wait.
#ifndef CALLS_H
#define CALLS_H

#include "in_a_task.h"

// A time limit that passes soon, but not before the test has arranged what it is to find.
static inline uint64_t short_ns(void) { return times(3000000, 200000000); }

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

// Has tasks begin waits in a row, and ends all but the last one by other means than what they wait
// for. The last one, whose value is 5, goes on waiting.
static inline void check_other_ends(int (*make)(call* self), void* object, call* patient) {
  call woken, canceled, late, enqueued;
  begin(&woken, make, object, 1, LONG_NS);
  begin(&canceled, make, object, 2, UINT64_MAX);
  uint64_t before = now_ns();
  begin(&late, make, object, 3, short_ns());
  begin(&enqueued, make, object, 4, LONG_NS);
  begin(patient, make, object, 5, UINT64_MAX);
  CHECK_INT(mj_task_wake(woken.task), ==, 1);
  CHECK_INT(mj_task_wake(woken.task), ==, 0);
  CHECK_INT(mj_task_cancel(canceled.task), ==, 0);
  CHECK_INT(mj_scheduler_enqueue(scheduler, enqueued.task), ==, 0);
  CHECK_INT(result_of(&woken), ==, -EINTR);
  CHECK_INT(result_of(&canceled), ==, -ECANCELED);
  CHECK_INT(result_of(&enqueued), ==, -EINTR);
  CHECK_INT(result_of(&late), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - before, >=, short_ns());
  settle();  // until they have ended: they are this function's
  check_waiting(patient);
}

#endif  // CALLS_H
