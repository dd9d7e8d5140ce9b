// For tests of blocking calls. Each test is the body of a task, and has other tasks make calls that
// block.
#ifndef CALLS_H
#define CALLS_H

#include "in_a_task.h"

// A timeout that expires soon, but not before the test has set up its scenario.
static inline uint64_t short_ns(void) { return times(3000000, 200000000); }

// One call, made by a task of its own. The caller of begin_call() keeps this struct until the call
// has returned.
typedef struct call {
  int (*make)(struct call* self);
  void* object;  // the synchronization object of the call, if it has one,
  int fd;        // or a descriptor
  short events;
  uint64_t timeout_ns;
  uint64_t value;
  mj_task* task;
  int result;
  bool returned;
  bool may_go_on;  // for calls that continue after their first result
} call;

// Records the result of a call that continues afterwards.
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

// Spawns a task that makes the call.
static inline void spawn_call(call* one) {
  call** state = allocate(sizeof *state);
  *state = one;
  one->task = add_task(scheduler, makes_its_call, state);
}

// Spawns a task that makes the call, and lets it run until it blocks.
static inline void begin_call(call* one) {
  spawn_call(one);
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

// Lets all ready tasks run until they block or end.
static inline void settle(void) {
  for (int i = 0; i < 20; i++) mj_task_yield();
}

// Waits for the call to return, and gives its result.
static inline int result_of(const call* one) {
  uint64_t start = now_ns();
  while (!one->returned) {
    CHECK_INT(mj_sleep_ns(20000), ==, 0);
    // Generous: it only bounds a failing test.
    CHECK_UINT(now_ns() - start, <, 30000000000);
  }
  return one->result;
}

#endif  // CALLS_H
