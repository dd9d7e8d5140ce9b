// For tests of libmajjen-hook: each is written as plain blocking code, and runs in tasks of one thread, or,
// with MAJJEN_HOOK_THREADS set, in threads without that library. So what is expected is known to be right.
// Not all of it holds in both: in_threads() tells.
//
// tests/suite/hook.rs says in which ways a program here is run.
#ifndef HOOKED_H
#define HOOKED_H

#include "../check.h"
#include "majjen-hook.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

static inline bool in_threads(void) { return getenv("MAJJEN_HOOK_THREADS") != NULL; }

// Without the library, as in threads, there is none of these.
#pragma weak mj_hook_set
#pragma weak mj_hook_set_enabled
#pragma weak mj_hook_get_counts

typedef void hooked_body(void* argument);

typedef struct {
  hooked_body* body;
  void* argument;
} hooked_start;

enum { HOOKED_MOST = 2100 };
static pthread_t hooked_threads[HOOKED_MOST];
static size_t hooked_count;
static mj_scheduler* hooked_scheduler;
static void (*hooked_test)(void);

static inline void hooked_task(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  hooked_start* start = (hooked_start*)user_state;
  start->body(start->argument);
  mj_task_exit();
}

static inline void* hooked_thread(void* user_state) {
  hooked_start start = *(hooked_start*)user_state;
  free(user_state);
  start.body(start.argument);
  return NULL;
}

// Starts a task, or a thread. Only from the test itself. Returns its id; 0 for a thread.
static inline mj_task_id start(hooked_body* body, void* argument) {
  hooked_start* state = (hooked_start*)allocate(sizeof *state);
  state->body = body;
  state->argument = argument;
  if (!in_threads()) return mj_task_get_id(add_task(hooked_scheduler, hooked_task, state));
  CHECK(hooked_count < HOOKED_MOST);
  pthread_t* thread = &hooked_threads[hooked_count++];  // The first one starts others at once.
  CHECK_INT(pthread_create(thread, NULL, hooked_thread, state), ==, 0);
  return 0;
}

// How many calls have suspended their task, and how many have blocked the thread.
static inline mj_hook_counts hook_counts(void) {
  mj_hook_counts counts = {0, 0, 0};
  if (!in_threads()) CHECK_INT(mj_hook_get_counts(&counts, sizeof counts), ==, 0);
  return counts;
}

static inline uint64_t pinned(void) { return hook_counts().pinned; }

static inline void hooked_first(void* argument) {
  (void)argument;
  if (!in_threads()) {
    // The library is there.
    uint64_t before = hook_counts().suspended;
    CHECK_INT(usleep(1), ==, 0);
    CHECK_UINT(hook_counts().suspended, ==, before + 1);
  }
  hooked_test();
}

static inline void hooked_run(void) {
  hooked_count = 0;
  if (!in_threads()) {
    hooked_scheduler = new_scheduler();
    if (mj_hook_set != NULL) CHECK_INT(mj_hook_set(hooked_scheduler, MJ_HOOK_ALL), ==, 0);
  }
  start(hooked_first, NULL);
  if (in_threads()) {
    for (size_t i = 0; i < hooked_count; i++) pthread_join(hooked_threads[i], NULL);
    return;
  }
  CHECK_INT(mj_run(hooked_scheduler), ==, 0);
  mj_scheduler_destroy(hooked_scheduler);
}

// Runs one test as the body of the first task, or thread, and waits for those that it starts.
#define RUN_HOOKED(test) \
  do { \
    hooked_test = test; \
    check_run(#test, hooked_run); \
  } while (0)

// ---- what tests are made of

// Until a number of another task or thread is at least this.
static inline void wait_until(const unsigned* number, unsigned value) {
  while (__atomic_load_n(number, __ATOMIC_ACQUIRE) < value) usleep(500);
}

static inline void add_one(unsigned* number) { __atomic_fetch_add(number, 1, __ATOMIC_ACQ_REL); }

// A call that has to fail with this error.
#define CHECK_FAILS(call, error) \
  do { \
    CHECK_INT(call, ==, -1); \
    CHECK_INT(errno, ==, error); \
  } while (0)

// Ticks once in about a millisecond while others wait, so that a thread that is blocked is noticed.
static unsigned ticks, ticker_runs, ticker_ended;

static inline void ticker(void* argument) {
  (void)argument;
  while (__atomic_load_n(&ticker_runs, __ATOMIC_ACQUIRE)) {
    add_one(&ticks);
    usleep(1000);
  }
  add_one(&ticker_ended);
}

static inline void start_ticker(void) {
  ticks = ticker_ended = 0;
  ticker_runs = 1;
  start(ticker, NULL);
}

// Ends it, after it has ticked at least this often. How often a thread of its own does is the system's matter.
static inline void stop_ticker(unsigned least) {
  if (!in_threads()) CHECK_UINT(__atomic_load_n(&ticks, __ATOMIC_ACQUIRE), >=, least);
  __atomic_store_n(&ticker_runs, 0, __ATOMIC_RELEASE);
  wait_until(&ticker_ended, 1);
}

// For others to begin to wait. Too short a time makes a test see less, and never fail.
static inline void let_others_wait(void) { usleep(20000); }

// Starts tasks, and cancels them when each is ready and waits. They count when they are ready, and when they
// end. Nothing in threads.
enum { CANCELED = 20 };
static inline void cancel_some(hooked_body* body, unsigned* ready, unsigned* ended) {
  mj_task_id ids[CANCELED];
  *ready = *ended = 0;
  if (in_threads()) return;
  for (int i = 0; i < CANCELED; i++) ids[i] = start(body, (void*)(intptr_t)i);
  wait_until(ready, CANCELED);
  let_others_wait();
  for (int i = 0; i < CANCELED; i++) CHECK_INT(mj_scheduler_cancel(hooked_scheduler, ids[i]), >=, 0);
  wait_until(ended, CANCELED);
}

#endif  // HOOKED_H
