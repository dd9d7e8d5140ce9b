// A C program that loads the C++ runtime: from then on each task has its own copy of the runtime's
// per-thread state (the exceptions being handled).
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>

// As the C++ ABI defines it.
typedef struct cxx_globals {
  void* caught;
  unsigned uncaught;
} cxx_globals;

static cxx_globals* (*get_globals)(void);
static int ended;

static void keeps_its_own(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  CHECK_PTR(get_globals()->caught, ==, NULL);
  get_globals()->caught = user_state;
  get_globals()->uncaught = 7;
  for (int i = 0; i < 10; i++) {
    mj_task_yield();
    mj_task_sleep_ns(1000);
    CHECK_PTR(get_globals()->caught, ==, user_state);
    CHECK_UINT(get_globals()->uncaught, ==, 7);
  }
  get_globals()->caught = NULL;
  get_globals()->uncaught = 0;
  ended++;
  mj_task_exit();
}

static void each_task_has_its_own_exceptions(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) add_task(scheduler, keeps_its_own, allocate(1));
  mj_scheduler_run(scheduler);
  CHECK_INT(ended, ==, 3);
  CHECK_PTR(get_globals()->caught, ==, NULL);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  void* runtime = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL);
  if (runtime == NULL) {
    printf("%s\n", dlerror());
    return 77;
  }
  *(void**)&get_globals = dlsym(runtime, "__cxa_get_globals");
  CHECK(get_globals != NULL);
  RUN(each_task_has_its_own_exceptions);
  return 0;
}
