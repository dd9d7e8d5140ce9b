// The pool and the loader: the constructor of a library, which runs while the loader is locked, may offload
// something while another thread begins the pool, for which the library asks the loader.
#define _GNU_SOURCE
#include "check.h"
#include "in_a_task.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_bool is_watched;
static atomic_int asked, offloaded;

static void counts_up(void* counter) { atomic_fetch_add((atomic_int*)counter, 1); }

static void offloads(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_offload(counts_up, &offloaded, NULL, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

static void* is_a_constructor(void* unused) {
  (void)unused;
  mj_scheduler* own = new_scheduler();
  add_task(own, offloads, NULL);
  CHECK_INT(mj_run(own), ==, 0);
  mj_scheduler_destroy(own);
  return NULL;
}

// Takes the place of the C library's, for the library too. The first call is as if another thread had the
// loader's lock: it waits until that has run a constructor.
void* dlopen(const char* name, int flags) {
  if (atomic_load(&is_watched) && atomic_fetch_add(&asked, 1) == 0) {
    pthread_t other;
    struct timespec limit;
    CHECK_INT(clock_gettime(CLOCK_REALTIME, &limit), ==, 0);
    limit.tv_sec += 40;
    CHECK_INT(pthread_create(&other, NULL, is_a_constructor, NULL), ==, 0);
    CHECK_INT(pthread_timedjoin_np(other, NULL, &limit), ==, 0);
    CHECK_INT(offloaded, ==, 1);
  }
  void* (*next)(const char*, int);
  *(void**)&next = dlsym(RTLD_NEXT, "dlopen");
  return next(name, flags);
}

static void a_constructor_offloads_while_the_pool_begins(void) {
  atomic_store(&is_watched, true);
  CHECK_INT(mj_offload(counts_up, &offloaded, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(offloaded, ==, 2);
  CHECK_INT(asked, >=, 1);
}

int main(void) {
  RUN_IN_TASK(a_constructor_offloads_while_the_pool_begins);
  return 0;
}
