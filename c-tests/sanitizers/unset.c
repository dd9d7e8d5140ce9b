// Branches on an uninitialized variable, on a stack that another task has written to before: only a
// tool that knows where the stacks are and when frames begin can report that.
#include "majjen.h"

__attribute__((noinline)) static int decides(void) {
  volatile int values[64];
  mj_task_yield();
  if (values[40] > 0) puts("greater");
  return 1;
}

__attribute__((noinline)) static int fills(void) {
  volatile int values[256];
  for (int i = 0; i < 256; i++) values[i] = i;
  mj_task_yield();
  return values[200];
}

static void works(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int result = user_state == NULL ? fills() : decides();
  if (result == 0) mj_task_yield();
  mj_task_exit();
}

int main(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  for (int i = 0; i < 2; i++) {
    mj_create_task(scheduler, works, i == 0 ? NULL : malloc(1));
    mj_scheduler_run(scheduler);  // The second one gets the stack of the first one.
  }
  mj_scheduler_destroy(scheduler);
  return 0;
}
