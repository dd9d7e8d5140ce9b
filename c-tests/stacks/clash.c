// A frame that is far larger than the guard, which is one page. Compiled with -fstack-clash-protection
// it touches each page in turn, and so the guard.
#define _GNU_SOURCE
#include "../check.h"

static void steps_far(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  volatile char frame[600 * 1024];
  mj_task_yield();
  frame[0] = 'X';
  frame[1] = frame[0];
  mj_task_exit();
}

int main(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  mj_task* task = mj_create_task(scheduler, steps_far, NULL);
  CHECK_INT(mj_task_set_name(task, "steps far"), ==, 0);
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, 1), ==, 0);
  mj_scheduler_run(scheduler);
  return 0;
}
