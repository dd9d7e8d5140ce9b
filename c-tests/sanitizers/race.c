// Tasks of two threads write to the same variable without a lock: the report must say so and name
// the function, and no function of other suspended tasks.
#include "majjen.h"

#include <pthread.h>

// ThreadSanitizer drops a report when it no longer knows the stack of the other access. With one
// variable that was every report of one run in 700, so there are many.
static int unprotected[64];

static void writes_without_a_lock(int i) { unprotected[i % 64]++; }

__attribute__((noinline)) static void yields_in_a_call(void) {
  for (int i = 0; i < 300; i++) mj_task_yield();
}

static void is_elsewhere(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  yields_in_a_call();
  mj_task_exit();
}

static void works(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 300; i++) {
    mj_task_yield();
    writes_without_a_lock(i);
    if (i % 10 == 0) mj_task_sleep_ns(100000);
  }
  mj_task_exit();
}

static void* run_scheduler(void* unused) {
  (void)unused;
  mj_scheduler* scheduler = mj_scheduler_create();
  for (int i = 0; i < 6; i++) {
    mj_create_task(scheduler, i % 2 == 0 ? works : is_elsewhere, NULL);
  }
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run_scheduler, NULL);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return 0;
}
