// Opens the library, has a function run on one of its threads, and closes it while that runs: the thread's
// code stays.
//
//   dlopen_pool LIBRARY

#define _GNU_SOURCE
#include <dlfcn.h>
#include <majjen.h>
#include <stdatomic.h>
#include <unistd.h>

#define FUNCTIONS(DO) \
  DO(mj_log_set_level) DO(mj_scheduler_create) DO(mj_go) DO(mj_scheduler_run) DO(mj_scheduler_destroy) DO(mj_offload)

#define DECLARE(name) static __typeof__(&name) its_##name;
#define FIND(name) \
  its_##name = (__typeof__(&name))dlsym(library, #name); \
  if (!its_##name) fail(dlerror());

FUNCTIONS(DECLARE)

static atomic_bool may_end, has_ended, is_abandoned;

static void fail(const char *why) {
  fprintf(stderr, "%s\n", why);
  exit(1);
}

static void waits(void *argument) {
  (void)argument;
  while (!may_end) usleep(1000);
  has_ended = true;
}

static void abandons(void *argument) {
  (void)argument;
  is_abandoned = true;
}

static void times_out(void *argument) {
  (void)argument;
  if (its_mj_offload(waits, NULL, abandons, 50000000) != -ETIMEDOUT) fail("it has not timed out");
}

int main(int arguments, char **argument) {
  if (arguments != 2) fail("which library?");
  void *library = dlopen(argument[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(dlerror());
  FUNCTIONS(FIND)
  its_mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler *scheduler = its_mj_scheduler_create();
  if (!scheduler || its_mj_go(scheduler, times_out, NULL, NULL)) fail("no task");
  its_mj_scheduler_run(scheduler);
  its_mj_scheduler_destroy(scheduler);
  if (dlclose(library)) fail(dlerror());
  if (is_abandoned) fail("the function has not begun");
  may_end = true;
  while (!is_abandoned) usleep(1000);
  return has_ended ? 0 : 1;
}
