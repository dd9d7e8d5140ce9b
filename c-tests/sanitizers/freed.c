// Reads memory that another task has freed: the report must say so, with the stacks of both tasks,
// and without functions of other suspended tasks.
#include "majjen.h"

static int* volatile shared;

__attribute__((noinline)) static void frees(void) { free(shared); }

__attribute__((noinline)) static int reads(void) { return *shared; }

__attribute__((noinline)) static void yields_in_a_call(void) {
  for (int i = 0; i < 10; i++) mj_task_yield();
}

static void works(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_yield();
  frees();
  for (int i = 0; i < 3; i++) mj_task_yield();
  mj_task_exit();
}

static void works_later(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 5; i++) mj_task_yield();
  printf("%d\n", reads());
  mj_task_exit();
}

static void is_elsewhere(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  yields_in_a_call();
  mj_task_exit();
}

int main(void) {
  shared = calloc(1, sizeof *shared);
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_create_task(scheduler, works, NULL);
  mj_create_task(scheduler, is_elsewhere, NULL);
  mj_create_task(scheduler, works_later, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return 0;
}
