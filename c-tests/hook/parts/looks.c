// How often a program without libmajjen-hook looks for it: once a run, and once if it never runs.
#define _GNU_SOURCE
#include "../../check.h"

#include <dlfcn.h>

static unsigned looked_for;

// In front of the C library's.
void* dlsym(void* restrict handle, const char* restrict name) {
  static void* (*real)(void*, const char*);
  if (real == NULL) {
    void* found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (found == NULL) found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    CHECK(found != NULL);
    memcpy(&real, &found, sizeof real);
  }
  if (strncmp(name, "mj_hook", 7) == 0) looked_for++;
  return real(handle, name);
}

static void does_little(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(mj_yield(), ==, 0);
  CHECK_INT(usleep(1000), ==, 0);
  mj_task_exit();
}

static void run_one(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, does_little, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  for (unsigned i = 1; i <= 5; i++) {
    run_one();
    CHECK_UINT(looked_for, ==, i);
  }
  // One that has not run may have been told how, so it is to be forgotten.
  mj_scheduler_destroy(new_scheduler());
  CHECK_UINT(looked_for, ==, 6);
  return 0;
}
