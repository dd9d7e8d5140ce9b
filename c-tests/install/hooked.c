// A program that is written as one that blocks, and linked with libmajjen-hook.
#define _DEFAULT_SOURCE  // for nanosleep
#include <majjen-hook.h>
#include <majjen.h>
#include <stdio.h>
#include <time.h>

static void sleeper(mj_scheduler* scheduler, void* user_state) {
  const struct timespec moment = {0, 1000000};
  (void)scheduler;
  (void)user_state;
  nanosleep(&moment, NULL);
  mj_task_exit();
}

int main(void) {
  mj_hook_counts counts;
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_log_set_level(MJ_LOG_WARN);
  for (int i = 0; i < 10; i++) mj_create_task(scheduler, sleeper, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  mj_hook_get_counts(&counts, sizeof counts);
  printf("%d tasks have slept, %d pinned\n", (int)counts.suspended, (int)counts.pinned);
  return 0;
}
