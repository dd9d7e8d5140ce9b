// For tests of waiting for descriptors: each is the body of a task, and has other tasks wait.
#ifndef WAITERS_H
#define WAITERS_H

#include "in_a_task.h"
#include "pipes.h"

#include <poll.h>

// One wait of a task of its own. Its owner keeps it until it has returned.
typedef struct waiter {
  int fd;
  short events;
  uint64_t timeout_ns;
  mj_task* task;
  int result;
  bool returned;
} waiter;

static inline void makes_one_wait(mj_scheduler* running, void* user_state) {
  (void)running;
  waiter* self = *(waiter**)user_state;
  self->result = mj_task_wait_fd(self->fd, self->events, self->timeout_ns);
  self->returned = true;
  mj_task_exit();
}

// Has a new task begin a wait.
static inline void begin(waiter* one, int fd, short events, uint64_t timeout_ns) {
  *one = (waiter){.fd = fd, .events = events, .timeout_ns = timeout_ns};
  waiter** state = allocate(sizeof *state);
  *state = one;
  one->task = add_task(scheduler, makes_one_wait, state);
  mj_task_yield();
}

static inline void check_waiting(const waiter* one) {
  CHECK(!one->returned);
  CHECK_INT(one->task->state, ==, MJ_TASK_WAITING_IO);
}

// Gives events the time to come that should not.
static inline void settle(void) { CHECK_INT(mj_task_sleep_for(300000), ==, 0); }

// What the wait returns, which may come in a while.
static inline int result_of(const waiter* one) {
  uint64_t start = now_ns();
  while (!one->returned) {
    CHECK_INT(mj_task_sleep_for(20000), ==, 0);
    // Generous, for it only bounds a failure.
    CHECK_UINT(now_ns() - start, <, 30000000000);
  }
  return one->result;
}

#endif  // WAITERS_H
