// A task that calls into another Rust library.

#include <majjen.h>

int other_answer(void);

static int answer;

static void asker(mj_scheduler *scheduler, void *user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_ms(1);
  answer = other_answer();
  mj_task_exit();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler *scheduler = mj_scheduler_create();
  mj_create_task(scheduler, asker, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return answer == 42 ? 0 : 1;
}
