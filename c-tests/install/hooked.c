// A program that is written as one that blocks, and linked with libmajjen-hook. With BY_LIBRARY nothing in it is
// hooked, but what the library blocks.c does; nor does it ask to be linked with libmajjen-hook.
#define _DEFAULT_SOURCE  // for nanosleep
#include <majjen-hook.h>
#include <majjen.h>
#include <stdio.h>
#include <time.h>

#pragma weak mj_hook_get_counts

#ifdef BY_LIBRARY
void block_a_moment(void);
#else
static void block_a_moment(void) {
  const struct timespec moment = {0, 1000000};
  nanosleep(&moment, NULL);
}
#endif

static void sleeper(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  block_a_moment();
  mj_task_exit();
}

int main(void) {
  mj_hook_counts counts = {0, 0, 0};
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_log_set_level(MJ_LOG_WARN);
  for (int i = 0; i < 10; i++) mj_create_task(scheduler, sleeper, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  if (mj_hook_get_counts != NULL) mj_hook_get_counts(&counts, sizeof counts);
  printf("%d tasks have slept, %d pinned\n", (int)counts.suspended, (int)counts.pinned);
  return 0;
}
