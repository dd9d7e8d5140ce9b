// Virtual time: 24 hours of a server's housekeeping in some milliseconds, the same each time.
//
// Links with -lmajjen. `make examples` builds and runs it.
//
// This is how to test code that sleeps. The tasks are ordinary ones. The scheduler has the test's
// clock, and a wait function that advances the clock and returns at once, instead of waiting.
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"

#include <inttypes.h>

#define SECOND_NS UINT64_C(1000000000)
#define DAY_NS (24 * 3600 * SECOND_NS)
#define IDLE_LIMIT_NS (600 * SECOND_NS)
#define SESSIONS 64

// The wait function's data, which the tasks find in scheduler->wait_data.
typedef struct world {
  uint64_t now_ns;
  uint64_t last_active_ns[SESSIONS];
  bool open[SESSIONS];
  unsigned opened, closed, cleanups;
  uint64_t digest;  // of all events and their times
  bool failed;
} world;

// ---- The mock

static uint64_t virtual_now_ns(void* user_data) {
  return ((const world*)user_data)->now_ns;
}

static int wait_mock(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  world* w = user_data;
  if (timeout_ns == MJ_FOREVER) {
    // The passing of time cannot wake any task. A real program would wait here for ever; a test
    // reports it.
    MJ_ERROR("all tasks wait for something that does not happen");
    w->failed = true;
    mj_scheduler_stop(scheduler);
    return 0;
  }
  w->now_ns += timeout_ns;
  return 0;
}

// ---- The program under test

// Adds an event to the digest, by the FNV-1a function.
static void note(world* w, uint64_t what) {
  const uint64_t record[] = {w->now_ns, what};
  for (size_t i = 0; i < sizeof record; i++) {
    w->digest ^= record[i / 8] >> (i % 8 * 8) & 0xff;
    w->digest *= UINT64_C(0x100000001b3);
  }
}

// Every 30 seconds, closes the sessions that have been idle for long.
static void cleanup_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  world* w = scheduler->wait_data;
  while (mj_scheduler_now_ns(scheduler) < DAY_NS) {
    mj_task_sleep_s(30);
    uint64_t now_ns = mj_scheduler_now_ns(scheduler);
    for (size_t i = 0; i < SESSIONS; i++) {
      if (w->open[i] && now_ns - w->last_active_ns[i] > IDLE_LIMIT_NS) {
        w->open[i] = false;
        w->closed++;
        note(w, i);
      }
    }
    w->cleanups++;
    note(w, SESSIONS);
  }
  mj_task_exit();
}

// Every 45 seconds, opens a session in the first free place.
static void visitors_task(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  world* w = scheduler->wait_data;
  for (uint64_t due_ns = 45 * SECOND_NS; due_ns <= DAY_NS; due_ns += 45 * SECOND_NS) {
    size_t i = 0;
    int result = mj_task_sleep_until_ns(due_ns);
    while (i < SESSIONS && w->open[i]) i++;
    if (result != 0 || i == SESSIONS) {
      MJ_ERROR("no visit: %s", result != 0 ? strerror(-result) : "the sessions are not cleaned up");
      w->failed = true;
      break;
    }
    w->open[i] = true;
    w->last_active_ns[i] = mj_scheduler_now_ns(scheduler);
    w->opened++;
    note(w, SESSIONS + 1 + i);
  }
  mj_task_exit();
}

// ---- The test

// Runs a day in a new world.
static int run_a_day(world* w) {
  memset(w, 0, sizeof *w);
  w->digest = UINT64_C(0xcbf29ce484222325);
  mj_scheduler* scheduler = mj_scheduler_create();
  if (scheduler == NULL) return -1;
  mj_scheduler_set_wait_func(scheduler, wait_mock, w);
  int result = mj_scheduler_set_clock(scheduler, virtual_now_ns, w);
  if (result == 0 && (mj_create_task(scheduler, cleanup_task, NULL) == NULL ||
                      mj_create_task(scheduler, visitors_task, NULL) == NULL)) {
    result = -errno;
  }
  if (result == 0) mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  errno = -result;
  return result == 0 && !w->failed ? 0 : -1;
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  struct timespec began, ended;
  clock_gettime(CLOCK_MONOTONIC, &began);
  world first, second;
  if (run_a_day(&first) != 0 || run_a_day(&second) != 0) {
    fprintf(stderr, "wait_mock: %s\n", strerror(errno));
    return 1;
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);

  printf("%" PRIu64 " s: %u cleanups, %u sessions opened, %u closed\n", first.now_ns / SECOND_NS,
         first.cleanups, first.opened, first.closed);
  printf("trace %016" PRIx64 ", again %016" PRIx64 "\n", first.digest, second.digest);
  printf("two days in %ld ms\n", (long)(ended.tv_sec - began.tv_sec) * 1000 +
                                     (ended.tv_nsec - began.tv_nsec) / 1000000);
  return first.digest == second.digest && first.now_ns == DAY_NS ? 0 : 1;
}
