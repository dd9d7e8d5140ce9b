// Memory that nobody holds any more: of a task that has ended, and of one that was destroyed with its
// scheduler. LeakSanitizer reports both, although the stacks were used, and the first is still there.
#define _GNU_SOURCE
#include "../check.h"

__attribute__((noinline)) static void* memory_of_the_ended(void) { return malloc(4321); }

__attribute__((noinline)) static void* memory_of_the_destroyed(void) { return malloc(1234); }

static void ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char* volatile memory = memory_of_the_ended();
  mj_task_yield();
  CHECK(memory != NULL);
  mj_task_exit();
}

static void parks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char* volatile memory = memory_of_the_destroyed();
  mj_task_park(MJ_FOREVER);
  CHECK(memory != NULL);
}

static void stops(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 5; i++) mj_task_yield();
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  static mj_scheduler* kept;
  kept = mj_scheduler_create();
  mj_create_task(kept, ends, NULL);
  mj_scheduler_run(kept);
  mj_scheduler* destroyed = mj_scheduler_create();
  mj_create_task(destroyed, parks, NULL);
  mj_create_task(destroyed, stops, NULL);
  mj_scheduler_run(destroyed);
  mj_scheduler_destroy(destroyed);
  return 0;
}
