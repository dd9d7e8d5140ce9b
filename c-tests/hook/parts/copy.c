// A program with a copy of Majjen, and a plugin with another: this file is both.
#define _GNU_SOURCE
#include "../hooked.h"

#include <dlfcn.h>

enum { SOME = 10 };
static int slept;
unsigned expected_suspensions = SOME;

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(usleep(20000), ==, 0);
  slept++;
  mj_task_exit();
}

// Runs tasks that sleep at once, by the copy that this was linked with.
static void run_some(void) {
  mj_hook_counts before, after;
  CHECK_INT(mj_hook_get_counts(&before, sizeof before), ==, 0);
  slept = 0;
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < SOME; i++) add_task(scheduler, sleeps, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(slept, ==, SOME);
  CHECK_INT(mj_hook_get_counts(&after, sizeof after), ==, 0);
  CHECK_UINT(after.suspended - before.suspended, ==, expected_suspensions);
  CHECK_UINT(after.pinned, ==, before.pinned);
}

#ifdef PLUGIN

void run_in_plugin(void);
void run_in_plugin(void) { run_some(); }

const void* create_in_plugin(void);
const void* create_in_plugin(void) { return (const void*)mj_scheduler_create; }

#else

static void (*run_in_plugin)(void);

static void runs_the_other(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_hook_counts before, after;
  CHECK_INT(usleep(1000), ==, 0);
  run_in_plugin();
  // It is this copy's turn again.
  CHECK_INT(mj_hook_get_counts(&before, sizeof before), ==, 0);
  CHECK_INT(usleep(1000), ==, 0);
  CHECK_INT(mj_hook_get_counts(&after, sizeof after), ==, 0);
  CHECK_UINT(after.suspended, ==, before.suspended + 1);
  mj_task_exit();
}

int main(int argc, char** argv) {
  CHECK_INT(argc, ==, 2);
  run_some();
  void* plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(plugin != NULL);
  const void* (*create_in_plugin)(void);
  *(void**)&run_in_plugin = dlsym(plugin, "run_in_plugin");
  *(void**)&create_in_plugin = dlsym(plugin, "create_in_plugin");
  CHECK(run_in_plugin != NULL && create_in_plugin != NULL);
  // There are two.
  CHECK_PTR(create_in_plugin(), !=, (const void*)mj_scheduler_create);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, runs_the_other, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  run_some();
  return 0;
}

#endif
