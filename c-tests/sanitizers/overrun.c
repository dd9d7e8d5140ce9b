// Writes past the end of a variable on a task's stack, after many switches: the report must say so
// and name the function.
#include "majjen.h"

static volatile int index_past_the_end = 8;

static void writes_past_the_end(void) {
  int values[8];
  for (int i = 0; i < 8; i++) values[i] = i;
  mj_task_yield();
  values[index_past_the_end] = 1;
  printf("%d\n", values[7]);
}

static void works(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  for (int i = 0; i < 10; i++) mj_task_yield();
  if (user_state != NULL) writes_past_the_end();
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
