// calls.h for calls that wait for descriptors.
#ifndef WAITERS_H
#define WAITERS_H

#include "calls.h"
#include "pipes.h"

#include <poll.h>

static inline int waits_for_its_descriptor(call* self) {
  return mj_task_wait_fd(self->fd, self->events, self->timeout_ns);
}

// Spawns a task that waits for a descriptor.
static inline void begin_wait(call* one, int fd, short events, uint64_t timeout_ns) {
  *one = (call){
      .make = waits_for_its_descriptor, .fd = fd, .events = events, .timeout_ns = timeout_ns};
  begin_call(one);
}

// Gives unwanted events time to arrive.
static inline void let_events_come(void) { CHECK_INT(mj_sleep_ns(300000), ==, 0); }

#endif  // WAITERS_H
