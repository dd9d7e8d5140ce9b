// Tasks in every state, for tests/suite/debugger.rs, which stops the program in stop_here(). With
// an argument it ends with a core file instead.
#include "majjen.h"

#include <unistd.h>

static int channel[2];
static mj_scheduler* main_scheduler;
static int aborts;

__attribute__((noinline)) static void stop_here(int depth) {
  if (depth > 0) stop_here(depth - 1);
  __asm__ volatile("" ::: "memory");
}

static void ends(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_exit();
}

static void sleeps_at_depth(int depth, const char* text) {
  if (depth > 0) {
    sleeps_at_depth(depth - 1, text);
  } else {
    mj_task_sleep_s(1000);
  }
  __asm__ volatile("" ::"r"(text) : "memory");
}

static void sleeper(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_yield();
  sleeps_at_depth(3, "a text on the stack");
  mj_task_exit();
}

static void reader(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  mj_task_exit();
}

static void joiner(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  mj_task_join(*(mj_task_id*)user_state, MJ_FOREVER);
  mj_task_exit();
}

static void runner(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task_sleep_ms(10);
  mj_task_set_name(mj_create_task(scheduler, ends, NULL), "fr\033e\n\"\xc3\xa9");
  if (aborts) abort();
  stop_here(2);
  _exit(0);
}

static mj_task* add(mj_task_fn* body, const char* name, void* user_state) {
  mj_task* task = mj_create_task(main_scheduler, body, user_state);
  mj_task_set_name(task, name);
  return task;
}

int main(int argc, char** argv) {
  (void)argv;
  aborts = argc > 1;
  mj_log_set_level(MJ_LOG_WARN);
  if (pipe(channel) != 0) return 1;
  main_scheduler = mj_scheduler_create();
  mj_task* sleeping = add(sleeper, "sleeper", NULL);
  add(reader, "reader", NULL);
  mj_task_id* id = malloc(sizeof *id);
  if (id == NULL) return 1;
  *id = mj_task_get_id(sleeping);
  add(joiner, "joiner", id);
  add(ends, "gone", NULL);
  add(runner, "runner", NULL);
  mj_scheduler_run(main_scheduler);
  return 1;
}
