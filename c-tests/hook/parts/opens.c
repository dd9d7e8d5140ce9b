// Opens a library that blocks: for itself alone, and so that it finds the C library's functions first.
#define _GNU_SOURCE
#include "../hooked.h"

#include <dlfcn.h>

static int (*wait_a_while)(void);
static int (*pass_on)(int from, int to);
static int pipes[4][2];
static int waited, passed;

static void* open_library(const char* path, int flags) {
  void* library = dlopen(path, RTLD_NOW | flags);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror());
  CHECK(library != NULL);
  *(void**)&wait_a_while = dlsym(library, "wait_a_while");
  *(void**)&pass_on = dlsym(library, "pass_on");
  CHECK(wait_a_while != NULL && pass_on != NULL);
  return library;
}

static void waits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(wait_a_while(), ==, 0);
  waited++;
  mj_task_exit();
}

static void passes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int which = 2 - passed++;
  CHECK_INT(pass_on(pipes[which][0], pipes[which + 1][1]), ==, 1);
  mj_task_exit();
}

static uint64_t run_some(int count) {
  mj_hook_counts before, after;
  CHECK_INT(mj_hook_get_counts(&before, sizeof before), ==, 0);
  waited = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < count; i++) add_task(scheduler, waits, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(waited, ==, count);
  CHECK_INT(mj_hook_get_counts(&after, sizeof after), ==, 0);
  return after.suspended - before.suspended;
}

static void run_a_chain(void) {
  char byte = 'x';
  for (int i = 0; i < 4; i++) CHECK_INT(pipe(pipes[i]), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  // The first waits for what the last passes on.
  passed = 0;
  add_task(scheduler, passes, NULL);
  add_task(scheduler, passes, NULL);
  add_task(scheduler, passes, NULL);
  CHECK_INT(write(pipes[0][1], &byte, 1), ==, 1);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(read(pipes[3][0], &byte, 1), ==, 1);
  for (int i = 0; i < 4; i++) close(pipes[i][0]), close(pipes[i][1]);
}

int main(int argc, char** argv) {
  CHECK_INT(argc, ==, 2);
  mj_log_set_level(MJ_LOG_WARN);
  void* library = open_library(argv[1], RTLD_LOCAL);
  CHECK_UINT(run_some(10), ==, 10);
  run_a_chain();
  CHECK_INT(dlclose(library), ==, 0);
  library = open_library(argv[1], RTLD_LOCAL | RTLD_DEEPBIND);
  CHECK_UINT(run_some(2), ==, 0);
  CHECK_INT(dlclose(library), ==, 0);
  return 0;
}
