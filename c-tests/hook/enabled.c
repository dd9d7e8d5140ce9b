// Which calls are hooked: by scheduler, by task, by kind.
#define _GNU_SOURCE
#include "hooked.h"
#include "../../hook/src/core.h"

#include <dlfcn.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#pragma weak mj_hook_attach

static int ends[2];
static unsigned ended;

// A call of each kind that would suspend for a moment.
static void polls(void) { CHECK_INT(poll(NULL, 0, 1), ==, 0); }
static void sleeps(void) { CHECK_INT(usleep(100), ==, 0); }
static void receives(void) {
  char byte;
  struct timeval limit = {0, 1000};
  CHECK_INT(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), ==, 0);
  CHECK_FAILS(recv(ends[0], &byte, 1, 0), EAGAIN);
}
static void waits_for_a_child(void) {
  pid_t pid = fork();
  if (pid == 0) {
    const struct timespec time = {0, 20000000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
    _exit(0);
  }
  CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
}

static uint64_t suspends(void (*call)(void)) {
  uint64_t before = hook_counts().suspended;
  call();
  return hook_counts().suspended - before;
}

static const struct {
  unsigned kind;
  void (*call)(void);
} KINDS[] = {
    {MJ_HOOK_POLL, polls},
    {MJ_HOOK_SLEEP, sleeps},
    {MJ_HOOK_SOCKETS, receives},
    {MJ_HOOK_CHILDREN, waits_for_a_child},
};
enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS };

static void kinds_are_hooked_one_by_one(void) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  for (int i = 0; i < KIND_COUNT; i++) {
    for (int j = 0; j < KIND_COUNT; j++) {
      uint64_t pinned_before = pinned();
      CHECK_INT(mj_hook_set(hooked_scheduler, KINDS[i].kind), ==, 0);
      CHECK_INT(suspends(KINDS[j].call) > 0, ==, i == j);
      CHECK_INT(mj_hook_set(hooked_scheduler, MJ_HOOK_ALL & ~KINDS[i].kind), ==, 0);
      CHECK_INT(suspends(KINDS[j].call) > 0, ==, i != j);
      CHECK_UINT(pinned(), ==, pinned_before);  // It was asked for.
    }
  }
  CHECK_INT(mj_hook_set(hooked_scheduler, 0), ==, 0);
  for (int j = 0; j < KIND_COUNT; j++) CHECK_UINT(suspends(KINDS[j].call), ==, 0);
  CHECK_INT(mj_hook_set(hooked_scheduler, MJ_HOOK_DEFAULT), ==, 0);
  for (int j = 0; j < KIND_COUNT; j++) {
    CHECK_INT(suspends(KINDS[j].call) > 0, ==, KINDS[j].kind != MJ_HOOK_CHILDREN);
  }
  close(ends[0]);
  close(ends[1]);
}

static void is_hooked(void* argument) {
  (void)argument;
  CHECK_UINT(suspends(sleeps), ==, 1);
  add_one(&ended);
}

// A task decides for itself alone.
static void tasks_decide(void) {
  ended = 0;
  CHECK_UINT(suspends(sleeps), ==, 1);
  CHECK_INT(mj_hook_set_enabled(false), ==, 0);
  CHECK_UINT(suspends(sleeps), ==, 0);
  start(is_hooked, NULL);
  while (ended == 0) mj_yield();
  CHECK_UINT(suspends(polls), ==, 0);
  CHECK_INT(mj_hook_set_enabled(false), ==, 0);
  CHECK_INT(mj_hook_set_enabled(true), ==, 0);
  CHECK_UINT(suspends(sleeps), ==, 1);
  CHECK_INT(mj_hook_set_enabled(false), ==, 0);  // Not for the next one in this place.
}

static void the_next_task_is_hooked_again(void) { CHECK_UINT(suspends(sleeps), ==, 1); }

static void mistakes_are_told(void) {
  CHECK_INT(mj_hook_set(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_hook_set(hooked_scheduler, 128), ==, -EINVAL);
  CHECK_INT(mj_hook_set(hooked_scheduler, ~0U), ==, -EINVAL);
  CHECK_INT(mj_hook_get_counts(NULL, 8), ==, -EINVAL);
  // As much as a program knows of.
  mj_hook_counts counts = {77, 77, 77};
  CHECK_INT(mj_hook_get_counts(&counts, 0), ==, 0);
  CHECK_UINT(counts.suspended, ==, 77);
  CHECK_INT(mj_hook_get_counts(&counts, sizeof counts.suspended), ==, 0);
  CHECK_UINT(counts.suspended, !=, 77);
  CHECK_UINT(counts.pinned, ==, 77);
  struct {
    mj_hook_counts counts;
    uint64_t more;
  } larger = {.more = 77};
  CHECK_INT(mj_hook_get_counts(&larger.counts, sizeof larger), ==, 0);
  CHECK_UINT(larger.more, ==, 0);
  CHECK_UINT(larger.counts.suspended, ==, counts.suspended);
}

// ---- outside tasks

static void task_sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(usleep(100), ==, 0);
  mj_task_exit();
}

static uint64_t run_one(mj_scheduler* scheduler) {
  uint64_t before = hook_counts().suspended;
  add_task(scheduler, task_sleeps, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  return hook_counts().suspended - before;
}

static void outside_tasks_nothing_is_hooked(void) {
  CHECK_INT(mj_hook_set_enabled(true), ==, -EPERM);
  CHECK_UINT(suspends(sleeps), ==, 0);
  CHECK_UINT(suspends(polls), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  CHECK_UINT(run_one(scheduler), ==, 1);  // By default.
  CHECK_INT(mj_hook_set_enabled(true), ==, -EPERM);
  CHECK_UINT(suspends(sleeps), ==, 0);
  // It is remembered between runs.
  CHECK_INT(mj_hook_set(scheduler, MJ_HOOK_POLL), ==, 0);
  CHECK_UINT(run_one(scheduler), ==, 0);
  CHECK_UINT(run_one(scheduler), ==, 0);
  CHECK_INT(mj_hook_set(scheduler, MJ_HOOK_SLEEP), ==, 0);
  CHECK_UINT(run_one(scheduler), ==, 1);
  mj_scheduler_destroy(scheduler);
}

// What one was told does not hold for the next one in its memory, whether it has run or not.
static void a_scheduler_is_forgotten(void) {
  for (int i = 0; i < 20; i++) {
    mj_scheduler* scheduler = new_scheduler();
    CHECK_UINT(run_one(scheduler), ==, 1);
    if (i % 2) {
      mj_scheduler_destroy(scheduler);
      scheduler = new_scheduler();
    }
    CHECK_INT(mj_hook_set(scheduler, 0), ==, 0);
    if (i % 4 < 2) CHECK_UINT(run_one(scheduler), ==, 0);
    mj_scheduler_destroy(scheduler);
  }
}

static void* runs_in_thread(void* unused) {
  (void)unused;
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_hook_set(scheduler, 0), ==, 0);
  add_task(scheduler, task_sleeps, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_hook_set_enabled(true), ==, -EPERM);
  CHECK_INT(usleep(100), ==, 0);
  return NULL;
}

// A thread that runs no scheduler, as a library makes it for itself, and one that runs another.
static void other_threads_are_apart(void) {
  pthread_t threads[4];
  uint64_t before = hook_counts().suspended;
  for (int i = 0; i < 4; i++) CHECK_INT(pthread_create(&threads[i], NULL, runs_in_thread, NULL), ==, 0);
  for (int i = 0; i < 4; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  CHECK_UINT(hook_counts().suspended, ==, before);
}

// A core that tells too little, as an older one, runs its scheduler in a task of one that does not.
static unsigned warnings;
static void is_warned(unsigned level, const char* format, ...) {
  CHECK_UINT(level, ==, MJ_LOG_WARN);
  CHECK(strstr(format, "newer") != NULL);
  warnings++;
}

static void an_older_core_hooks_nothing(void) {
  struct mj_hook_calls calls = {.bytes = offsetof(struct mj_hook_calls, yield), .log = is_warned};
  struct mj_hook_run older = {.bytes = offsetof(struct mj_hook_run, current_task), .calls = &calls};
  const void* (*attach)(const void*) = (const void* (*)(const void*))dlsym(RTLD_DEFAULT, "mj_hook_attach");
  if (attach == NULL) attach = mj_hook_attach; // Nothing is shared.
  uint64_t before = hook_counts().suspended;
  const void* own = attach(&older);
  CHECK_UINT(warnings, ==, 1);
  CHECK_INT(usleep(100), ==, 0);
  CHECK_UINT(hook_counts().suspended, ==, before);
  attach(own);
  CHECK_INT(usleep(100), ==, 0);
  CHECK_UINT(hook_counts().suspended, ==, before + 1);
}

int main(void) {
  if (in_threads()) return 0;  // There is nothing to be set.
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(kinds_are_hooked_one_by_one);
  RUN_HOOKED(tasks_decide);
  RUN_HOOKED(the_next_task_is_hooked_again);
  RUN_HOOKED(mistakes_are_told);
  RUN_HOOKED(other_threads_are_apart);
  RUN_HOOKED(an_older_core_hooks_nothing);
  RUN(outside_tasks_nothing_is_hooked);
  RUN(a_scheduler_is_forgotten);
  return 0;
}
