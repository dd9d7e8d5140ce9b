// Calls in a task, and a child, whichever library comes first. Prints how many calls were hooked.
#define _GNU_SOURCE
#include "../hooked.h"

#include <sys/wait.h>

static void calls(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int status;
  CHECK_INT(usleep(1000), ==, 0);
  pid_t child = fork();
  if (child == 0) _exit(usleep(1000) + 3);
  CHECK_INT(waitpid(child, &status, 0), ==, child);
  CHECK_INT(WEXITSTATUS(status), ==, 3);
  mj_task_exit();
}

int main(void) {
  mj_hook_counts counts;
  mj_log_set_level(MJ_LOG_WARN);
  for (int i = 0; i < 2; i++) {
    mj_scheduler* scheduler = new_scheduler();
    add_task(scheduler, calls, NULL);
    CHECK_INT(mj_run(scheduler), ==, 0);
    mj_scheduler_destroy(scheduler);
  }
  CHECK_INT(mj_hook_get_counts(&counts, sizeof counts), ==, 0);
  printf("%u\n", (unsigned)counts.suspended);
  return 0;
}
