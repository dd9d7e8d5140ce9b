// A scheduler on a thread of its own, for tests/suite/debugger.rs, which stops the first thread in
// stop_here() while a task runs on the other one.
#include "majjen.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

static mj_scheduler* other_scheduler;
static sem_t is_running;
static sem_t never;

__attribute__((noinline)) static void stop_here(void) { __asm__ volatile("" ::: "memory"); }

static void sleeper(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000);
  mj_task_exit();
}

static void runner(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  sem_post(&is_running);
  sem_wait(&never);
  mj_task_exit();
}

static void* run(void* unused) {
  other_scheduler = mj_scheduler_create();
  mj_create_task(other_scheduler, sleeper, NULL);
  mj_create_task(other_scheduler, runner, NULL);
  mj_scheduler_run(other_scheduler);
  return unused;
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  sem_init(&is_running, 0, 0);
  sem_init(&never, 0, 0);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, NULL) != 0) return 1;
  sem_wait(&is_running);
  stop_here();
  _exit(0);
}
