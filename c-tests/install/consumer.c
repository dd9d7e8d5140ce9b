// A program of a user who has installed the library: C99 and C++, with any build system.

#include <majjen.h>

static int finished;

static void sleeper(mj_scheduler *scheduler, void *user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_ms(1);
  finished++;
  mj_task_exit();
}

int main(void) {
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", MJ_VERSION_MAJOR, MJ_VERSION_MINOR, MJ_VERSION_PATCH);
  if (strcmp(version, mj_version()) != 0) {
    fprintf(stderr, "the header is %s, the library %s\n", version, mj_version());
    return 1;
  }
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler *scheduler = mj_scheduler_create();
  for (int i = 0; i < 10; i++) mj_create_task(scheduler, sleeper, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  printf("%d tasks with %s\n", finished, version);
  return finished == 10 ? 0 : 1;
}
