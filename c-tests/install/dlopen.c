// Opens the library, runs tasks in it, and closes it, a hundred times: each time it is unloaded
// completely.
//
//   dlopen LIBRARY

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <majjen.h>
#include <malloc.h>

enum { ROUNDS = 100, TASKS = 50 };

#define FUNCTIONS(DO) \
  DO(mj_log_set_level) DO(mj_scheduler_create) DO(setup_scheduler_with_epoll) DO(mj_create_task) \
  DO(mj_scheduler_run) DO(mj_scheduler_destroy) DO(mj_task_sleep_ms) DO(mj_task_exit) DO(mj_log)

#define DECLARE(name) static __typeof__(&name) its_##name;
#define FIND(name) \
  its_##name = (__typeof__(&name))dlsym(library, #name); \
  if (!its_##name) fail(dlerror());

FUNCTIONS(DECLARE)

static void fail(const char *why) {
  fprintf(stderr, "%s\n", why);
  exit(1);
}

static void sleeper(mj_scheduler *scheduler, void *user_state) {
  (void)scheduler;
  (void)user_state;
  its_mj_task_sleep_ms(1);
  its_mj_log(MJ_LOG_DEBUG, "a line that is not written");
  its_mj_task_exit();
}

static void use(mj_scheduler *scheduler) {
  if (!scheduler) fail("no scheduler");
  for (int i = 0; i < TASKS; i++)
    if (!its_mj_create_task(scheduler, sleeper, malloc(100))) fail("no task");
  its_mj_scheduler_run(scheduler);
  its_mj_scheduler_destroy(scheduler);
}

static void round_trip(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(dlerror());
  FUNCTIONS(FIND)
  its_mj_log_set_level(MJ_LOG_WARN);
  use(its_mj_scheduler_create());
  use(its_setup_scheduler_with_epoll());
  if (dlclose(library)) fail(dlerror());
  if (dlopen(path, RTLD_NOW | RTLD_NOLOAD)) fail("the library is still there");
}

struct held {
  int mappings, descriptors;
  size_t heap_bytes;
};

static struct held count(void) {
  struct held held = {0, 0, mallinfo2().uordblks};
  FILE *maps = fopen("/proc/self/maps", "r");
  for (int byte; (byte = getc(maps)) != EOF;) held.mappings += byte == '\n';
  fclose(maps);
  DIR *descriptors = opendir("/proc/self/fd");
  while (readdir(descriptors)) held.descriptors++;
  closedir(descriptors);
  return held;
}

int main(int arguments, char **argument) {
  if (arguments != 2) fail("which library?");
  // The first rounds fill the C library's caches: small blocks that were freed.
  struct held first = count();
  for (int i = 0; i < ROUNDS; i++) round_trip(argument[1]);
  first = count();
  for (int i = 0; i < ROUNDS; i++) round_trip(argument[1]);
  struct held last = count();
  printf("mappings %d, then %d; descriptors %d, then %d; heap %zu bytes, then %zu\n", first.mappings,
         last.mappings, first.descriptors, last.descriptors, first.heap_bytes, last.heap_bytes);
  return last.mappings > first.mappings || last.descriptors > first.descriptors ||
         last.heap_bytes > first.heap_bytes;
}
