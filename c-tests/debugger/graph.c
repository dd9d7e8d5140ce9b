// Tasks that wait for each other, for tests/suite/debugger.rs. It stops by a signal, which needs no symbols.
#include "majjen.h"

#include <signal.h>
#include <unistd.h>

static mj_scheduler* scheduler;
static struct mj_mutex* mutexes[2];
static struct mj_group* group;
static mj_task_id writer;

static void locks(void* first) {
  int mine = first != NULL;
  mj_task_set_name(mj_task_current(), mine ? "writer" : "read\033er\"");
  mj_mutex_lock(mutexes[mine], MJ_FOREVER);
  mj_yield();
  mj_mutex_lock(mutexes[!mine], MJ_FOREVER);
}

static void joins(void* unused) {
  (void)unused;
  mj_task_set_name(mj_task_current(), "joiner");
  mj_task_join(writer, MJ_FOREVER);
}

static void selects(void* unused) {
  mj_select_case the_end = {.op = MJ_SELECT_TASK, .task = writer};
  (void)unused;
  mj_task_set_name(mj_task_current(), "selector");
  mj_select(&the_end, 1, MJ_FOREVER);
}

static int member(void* unused) {
  (void)unused;
  mj_task_set_name(mj_task_current(), "member");
  return mj_sleep_ns(1000000000000ull);
}

static void waits_for_group(void* unused) {
  (void)unused;
  mj_task_set_name(mj_task_current(), "boss");
  mj_group_go(group, member, NULL, MJ_FOREVER);
  mj_group_wait(group, MJ_FOREVER);
}

static void stops(void* unused) {
  (void)unused;
  mj_sleep_ns(10000000);
  raise(SIGTRAP);
  _exit(0);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler_destroy(mj_scheduler_create());
  scheduler = mj_scheduler_create();
  for (int i = 0; i < 2; i++) mutexes[i] = mj_mutex_create(scheduler);
  group = mj_group_create(scheduler, 0);
  mj_go(scheduler, locks, NULL, NULL);
  mj_go(scheduler, locks, mutexes, &writer);
  mj_go(scheduler, joins, NULL, NULL);
  mj_go(scheduler, selects, NULL, NULL);
  mj_go(scheduler, waits_for_group, NULL, NULL);
  mj_go(scheduler, stops, NULL, NULL);
  mj_scheduler_run(scheduler);
  return 1;
}
