// For tests of what tasks wait for: each is the body of a task, and has other tasks make calls that
// wait.
#ifndef CALLS_H
#define CALLS_H

#include "in_a_task.h"

// A time limit that passes soon, but not before the test has arranged what it is to find.
static inline uint64_t short_ns(void) { return times(3000000, 200000000); }

// One call, made by a task of its own. Its owner keeps it until it has returned.
typedef struct call {
  int (*make)(struct call* self);
  void* object;  // what the call is about, if that is one of the library's objects,
  int fd;        // or a descriptor
  short events;
  uint64_t timeout_ns;
  uint64_t value;
  mj_task* task;
  int result;
  bool returned;
  bool may_go_on;  // for calls that do something afterwards
} call;

// Notes that a call has returned, for one that does something afterwards.
static inline int call_returned(call* self, int result) {
  self->result = result;
  self->returned = true;
  return result;
}

static inline void makes_its_call(mj_scheduler* running, void* user_state) {
  (void)running;
  call* self = *(call**)user_state;
  errno = 1234;
  int result = self->make(self);
  CHECK_INT(errno, ==, 1234);
  call_returned(self, result);
  mj_task_exit();
}

// Has a new task make a call, and lets it run until it waits.
static inline void begin_call(call* one) {
  call** state = allocate(sizeof *state);
  *state = one;
  one->task = add_task(scheduler, makes_its_call, state);
  mj_task_yield();
}

static inline void begin(call* one, int (*make)(call* self), void* object, uint64_t value,
                         uint64_t timeout_ns) {
  *one = (call){.make = make, .object = object, .timeout_ns = timeout_ns, .value = value};
  begin_call(one);
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
    CHECK_INT(mj_sleep_ns(20000), ==, 0);
    // Generous, for it only bounds a failure.
    CHECK_UINT(now_ns() - start, <, 30000000000);
  }
  return one->result;
}

#endif  // CALLS_H
