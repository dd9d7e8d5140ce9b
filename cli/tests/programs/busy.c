// Tasks that are busy: a mutex that two of them want, and others that come and go. With an argument, for so many
// rounds, and then another scheduler is for one.
#include <majjen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

static mj_mutex *mutex;
static long rounds = -1;

static void hold(void *argument) {
  (void)argument;
  mj_task_set_name(mj_task_current(), "holder");
  for (;;) {
    mj_mutex_lock(mutex, MJ_FOREVER);
    mj_sleep_ns(1000000);
    mj_mutex_unlock(mutex);
    mj_yield();
  }
}

static void wait_for_it(void *argument) {
  (void)argument;
  mj_task_set_name(mj_task_current(), "waiter");
  for (;;) {
    mj_mutex_lock(mutex, MJ_FOREVER);
    mj_mutex_unlock(mutex);
    mj_sleep_ns(500000);
  }
}

static void nothing(void *argument) { (void)argument; }

static void make(void *argument) {
  mj_task_set_name(mj_task_current(), "maker");
  puts("ready");
  fflush(stdout);
  while (rounds-- != 0) {
    for (int i = 0; i < 20; i++) mj_go(argument, nothing, NULL, NULL);
    mj_sleep_ns(1000000);
  }
  mj_scheduler_stop(argument);
}

static void run(const char *name) {
  mj_scheduler *scheduler = mj_scheduler_create();
  mj_scheduler_set_name(scheduler, name);
  mutex = mj_mutex_create(scheduler);
  mj_go(scheduler, hold, NULL, NULL);
  mj_go(scheduler, wait_for_it, NULL, NULL);
  mj_go(scheduler, make, scheduler, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  mj_mutex_destroy(mutex);
}

int main(int argc, char **argv) {
  mj_log_set_level(MJ_LOG_WARN);
  if (argc > 1) rounds = atol(argv[1]);
  if (getauxval(AT_SECURE) != 0) puts("has more rights");
  run("busy");
  rounds = 1;
  run("next");
  return 0;
}
