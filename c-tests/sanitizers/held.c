// Tasks that hold memory while the program ends, by variables on their stacks, in registers, and by
// their state: LeakSanitizer has nothing to report.
#define _GNU_SOURCE
#include "../check.h"

static void holds(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  char* volatile memory = malloc(4321);
  char* const other = malloc(1234);
  CHECK(memory != NULL && other != NULL);
  memset(memory, 1, 4321);
  memset(other, 1, 1234);
  mj_task_park(user_state == NULL ? MJ_FOREVER : 3600 * UINT64_C(1000000000));
  CHECK(memory[1] == other[1]);
  free(memory);
  free(other);
  mj_task_exit();
}

// A state that holds something in turn.
static void* new_state(void) {
  void** state = malloc(sizeof *state);
  CHECK(state != NULL);
  *state = malloc(77);
  return state;
}

static void ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  if (user_state != NULL) free(*(void**)user_state);
  mj_task_exit();
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 20; i++) mj_task_yield();
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

static void* volatile nowhere;

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  for (int run = 0; run < 2; run++) {
    mj_scheduler* scheduler = mj_scheduler_create();
    for (int i = 0; i < 100; i++) {
      // More than one chunk of tasks; some have ended by the time, and one has not begun.
      CHECK(mj_create_task(scheduler, i % 2 ? holds : ends, i % 3 ? new_state() : NULL) != NULL);
    }
    CHECK(mj_create_task(scheduler, stops, NULL) != NULL);
    mj_scheduler_run(scheduler);
    CHECK(mj_create_task(scheduler, holds, new_state()) != NULL);
    nowhere = run == 0 ? scheduler : nowhere;
  }
  return 0;
}
