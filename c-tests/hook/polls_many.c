// Waiting for several descriptors, by many tasks at once.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { MANY = 10000 };

static int fds[MANY];
static unsigned many, waiting, ended;
static mj_task_id ids[MANY];

// Fewer where the system allows fewer descriptors, or it is slow; and fewer threads.
static void open_many(void) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
  many = in_threads() ? 500 : (unsigned)times(MANY, 300);
  if (limit.rlim_cur != RLIM_INFINITY && many + 100 > limit.rlim_cur) many = (unsigned)limit.rlim_cur - 100;
  for (unsigned i = 0; i < many; i++) CHECK_INT(fds[i] = eventfd(0, EFD_NONBLOCK), >=, 0);
  waiting = ended = 0;
}

static void close_many(void) {
  for (unsigned i = 0; i < many; i++) close(fds[i]);
}

static void give(int fd, uint64_t value) { CHECK_INT(write(fd, &value, sizeof value), ==, sizeof value); }

// In an order that has nothing to do with that in which they wait.
static void give_to_each(void) {
  uint64_t state = 88172645463325252;
  static unsigned order[MANY];
  for (unsigned i = 0; i < many; i++) order[i] = i;
  for (unsigned i = many - 1; i > 0; i--) {
    unsigned other = (unsigned)(next_random(&state) % (i + 1)), kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
  for (unsigned i = 0; i < many; i++) give(fds[order[i]], order[i] + 1);
}

static void polls_its_own(void* argument) {
  unsigned mine = (unsigned)(intptr_t)argument;
  uint64_t value;
  struct pollfd one = {fds[mine], POLLIN, 0};
  add_one(&waiting);
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  CHECK_INT(one.revents, ==, POLLIN);
  CHECK_INT(read(fds[mine], &value, sizeof value), ==, sizeof value);
  CHECK_UINT(value, ==, mine + 1);
  add_one(&ended);
}

// Its own, that of its neighbour, who takes what comes, and one that is no descriptor.
static void polls_two(void* argument) {
  unsigned mine = (unsigned)(intptr_t)argument;
  uint64_t value;
  struct pollfd some[3] = {{fds[mine], POLLIN, 0}, {fds[(mine + 1) % many], POLLIN, 0}, {-1, POLLIN, 0}};
  add_one(&waiting);
  do CHECK_INT(poll(some, 3, -1), >=, 1);
  while ((some[0].revents & POLLIN) == 0);
  CHECK_INT(some[2].revents, ==, 0);
  CHECK_INT(read(fds[mine], &value, sizeof value), ==, sizeof value);
  CHECK_UINT(value, ==, mine + 1);
  add_one(&ended);
}

static void poll_by(hooked_body* body) {
  uint64_t before = pinned();
  open_many();
  for (unsigned i = 0; i < many; i++) start(body, (void*)(intptr_t)i);
  wait_until(&waiting, many);
  give_to_each();
  wait_until(&ended, many);
  close_many();
  CHECK_UINT(pinned(), ==, before);
}

static void each_polls_its_own(void) { poll_by(polls_its_own); }
static void neighbours_poll_the_same(void) { poll_by(polls_two); }

static void polls_the_first(void* argument) {
  (void)argument;
  struct pollfd some[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
  add_one(&waiting);
  CHECK_INT(poll(some, 2, -1), ==, 1);
  CHECK_INT(some[0].revents, ==, POLLIN);
  CHECK_INT(some[1].revents, ==, 0);
  add_one(&ended);
}

// What is there for one is there for all, as long as nobody takes it.
static void all_poll_one(void) {
  open_many();
  for (unsigned i = 0; i < many; i++) start(polls_the_first, NULL);
  wait_until(&waiting, many);
  give(fds[0], 1);
  wait_until(&ended, many);
  close_many();
}

static void polls_in_vain(void* argument) {
  unsigned mine = (unsigned)(intptr_t)argument;
  int limit_ms = (int)(mine % 40);
  struct pollfd one = {fds[mine], POLLIN, 0};
  uint64_t began = now_ns();
  CHECK_INT(poll(&one, 1, limit_ms), ==, 0);
  CHECK_UINT(now_ns() - began, >=, (uint64_t)limit_ms * 1000000);
  add_one(&ended);
}

static void each_has_a_limit(void) {
  open_many();
  for (unsigned i = 0; i < many; i++) start(polls_in_vain, (void*)(intptr_t)i);
  wait_until(&ended, many);
  close_many();
}

static void is_canceled(void* argument) {
  struct pollfd one = {fds[(intptr_t)argument], POLLIN, 0};
  add_one(&waiting);
  CHECK_FAILS(poll(&one, 1, -1), ECANCELED);
  add_one(&ended);
}

static void all_are_canceled(void) {
  if (in_threads()) return;
  open_many();
  for (unsigned i = 0; i < many; i++) ids[i] = start(is_canceled, (void*)(intptr_t)i);
  wait_until(&waiting, many);
  for (unsigned i = 0; i < many; i++) CHECK_INT(mj_scheduler_cancel(hooked_scheduler, ids[i]), >=, 0);
  wait_until(&ended, many);
  close_many();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(each_polls_its_own);
  RUN_HOOKED(neighbours_poll_the_same);
  RUN_HOOKED(all_poll_one);
  RUN_HOOKED(each_has_a_limit);
  RUN_HOOKED(all_are_canceled);
  return 0;
}
