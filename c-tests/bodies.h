// Task bodies that several tests use.
#ifndef BODIES_H
#define BODIES_H

#include "check.h"

static inline void ends_at_once(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  mj_task_exit();
}

// Stops the run once the other tasks have run.
static inline void yields_and_stops(mj_scheduler* running, void* user_state) {
  (void)user_state;
  mj_task_yield();
  CHECK_INT(mj_scheduler_stop(running), ==, 0);
  mj_task_exit();
}

// How many times the watcher has run, which shows whether other tasks get to run.
static uint64_t watcher_turns;
static bool watcher_may_end;

static inline void counts_its_turns(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  while (!watcher_may_end) {
    watcher_turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

static inline void add_watcher(mj_scheduler* to) {
  watcher_turns = 0;
  watcher_may_end = false;
  add_task(to, counts_its_turns, NULL);
}

#endif  // BODIES_H
