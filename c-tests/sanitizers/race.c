// Tasks of two threads write to the same variable without a lock: a report must say so and name the
// function, and not those that other tasks are in the middle of.
#include "majjen.h"

#include <pthread.h>

static int unprotected;

// What one thread does before it logs its end happens before what the other one does after it has logged
// its start, by the lock of stdout. So the threads meet in the middle of their runs.
static pthread_barrier_t middle;

static void writes_without_a_lock(void) { unprotected++; }

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
  for (int i = 0; i < 100; i++) {
    mj_task_yield();
    writes_without_a_lock();
    if (i % 10 == 0) mj_task_sleep_ns(100000);
  }
  mj_task_exit();
}

static void meets_the_other(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 20; i++) mj_task_yield();
  pthread_barrier_wait(&middle);
  mj_task_exit();
}

static void* run_scheduler(void* unused) {
  (void)unused;
  mj_scheduler* scheduler = mj_scheduler_create();
  for (int i = 0; i < 6; i++) {
    mj_create_task(scheduler, i % 2 == 0 ? works : is_elsewhere, NULL);
  }
  mj_create_task(scheduler, meets_the_other, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

int main(void) {
  pthread_t threads[2];
  pthread_barrier_init(&middle, NULL, 2);
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run_scheduler, NULL);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return 0;
}
