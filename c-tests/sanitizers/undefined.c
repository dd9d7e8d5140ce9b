// A sum that overflows, in a task, after many switches: a report must say so and name the function.
#include "majjen.h"

static volatile int greatest = 2147483647;

static void overflows(void) {
  mj_task_yield();
  printf("%d\n", greatest + 1);
}

static void works(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  for (int i = 0; i < 10; i++) mj_task_yield();
  if (user_state != NULL) overflows();
  mj_task_exit();
}

int main(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_create_task(scheduler, works, NULL);
  mj_create_task(scheduler, works, malloc(1));
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return 0;
}
