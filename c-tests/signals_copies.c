// Two copies of the library in one process, both with tasks that wait for the same signal: whichever began or
// ended first, a signal reaches a task, or else the program, once.
#define _GNU_SOURCE
#include "child.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { none, waits, gives_back, ends };

// A copy, with a scheduler of its own on a thread of its own, whose task does what it is told.
typedef struct copy {
  mj_scheduler* (*create)(void);
  int (*go)(mj_scheduler*, mj_go_fn, void*, mj_task_id*);
  int (*run)(mj_scheduler*);
  void (*destroy)(mj_scheduler*);
  int (*wait)(const int*, size_t, mj_signal_info*, uint64_t);
  int (*release)(void);
  pthread_t thread;
  atomic_int todo;
  int result;
} copy;

static atomic_int handled;

static void counts(int number) {
  (void)number;
  atomic_fetch_add(&handled, 1);
}

static void obeys(void* argument) {
  copy* self = argument;
  const int number = SIGUSR1;
  for (int todo; (todo = atomic_load(&self->todo)) != ends;) {
    if (todo == none) usleep(100);
    if (todo == waits) self->result = self->wait(&number, 1, NULL, 0);
    if (todo == gives_back) self->result = self->release();
    atomic_compare_exchange_strong(&self->todo, &todo, none);
  }
}

static void* runs(void* argument) {
  copy* self = argument;
  mj_scheduler* scheduler = self->create();
  CHECK(scheduler != NULL);
  CHECK_INT(self->go(scheduler, obeys, self, NULL), ==, 0);
  CHECK_INT(self->run(scheduler), ==, 0);
  self->destroy(scheduler);
  return NULL;
}

// Has the copy's task do something, and returns the result.
static int has(copy* self, int todo) {
  atomic_store(&self->todo, todo);
  while (atomic_load(&self->todo) != none) usleep(100);
  return self->result;
}

static void begin(copy* self, void* library) {
  CHECK(library != NULL);
  *(void**)&self->create = dlsym(library, "mj_scheduler_create");
  *(void**)&self->go = dlsym(library, "mj_go");
  *(void**)&self->run = dlsym(library, "mj_run");
  *(void**)&self->destroy = dlsym(library, "mj_scheduler_destroy");
  *(void**)&self->wait = dlsym(library, "mj_signal_wait");
  *(void**)&self->release = dlsym(library, "mj_signal_release");
  void (*set_level)(mj_log_level);
  *(void**)&set_level = dlsym(library, "mj_log_set_level");
  CHECK(self->wait != NULL && set_level != NULL);
  set_level(MJ_LOG_WARN);
  CHECK_INT(pthread_create(&self->thread, NULL, runs, self), ==, 0);
  CHECK_INT(has(self, gives_back), ==, 0);  // It runs.
}

static void end(copy* self) {
  atomic_store(&self->todo, ends);
  CHECK_INT(pthread_join(self->thread, NULL), ==, 0);
}

static void in_a_child(void) {
  raise(SIGUSR1);
  _exit(10 + atomic_load(&handled));
}

static copy first, second;

static void a_signal_reaches_a_task_or_the_program(void) {
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  action.sa_handler = counts;
  CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
  for (int round = 0; round < 3; round++) {
    atomic_store(&handled, 0);
    CHECK_INT(has(&first, waits), ==, -ETIMEDOUT);
    CHECK_INT(has(&second, waits), ==, -ETIMEDOUT);
    // The one that has come last has it,
    raise(SIGUSR1);
    CHECK_INT(has(&second, waits), ==, SIGUSR1);
    CHECK_INT(has(&first, waits), ==, -ETIMEDOUT);
    // and then the other one.
    CHECK_INT(has(&second, gives_back), ==, 0);
    raise(SIGUSR1);
    CHECK_INT(has(&first, waits), ==, SIGUSR1);
    // The one below goes first, and comes again above.
    CHECK_INT(has(&second, waits), ==, -ETIMEDOUT);
    CHECK_INT(has(&first, gives_back), ==, 0);
    raise(SIGUSR1);
    CHECK_INT(has(&second, waits), ==, SIGUSR1);
    CHECK_INT(has(&first, waits), ==, -ETIMEDOUT);
    raise(SIGUSR1);
    CHECK_INT(has(&first, waits), ==, SIGUSR1);
    CHECK_INT(has(&second, gives_back), ==, 0);
    // Neither has a use for it in a child.
    CHECK_INT(atomic_load(&handled), ==, 0);
    CHECK_INT(WEXITSTATUS(status_of_child(in_a_child)), ==, 11);
    CHECK_INT(has(&first, gives_back), ==, 0);
    raise(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 1);
  }
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
}

// Copies the file of the library, and returns the path of the copy.
static const char* copy_of(const char* path) {
  static char copied[] = "/tmp/majjen-copy-XXXXXX";
  int from = open(path, O_RDONLY | O_CLOEXEC), to = mkstemp(copied);
  CHECK(from >= 0 && to >= 0);
  char buffer[65536];
  for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;) {
    CHECK_INT(write(to, buffer, (size_t)got), ==, got);
  }
  close(from);
  close(to);
  return copied;
}

int main(void) {
  Dl_info found;
  if (dladdr((void*)(uintptr_t)mj_signal_wait, &found) == 0 || strstr(found.dli_fname, ".so") == NULL) {
    fprintf(stderr, "the library is linked statically, and cannot be opened a second time\n");
    return check_skipped;
  }
  if (sanitized()) {
    fprintf(stderr, "the sanitizers do not let a library be opened that finds its own symbols first\n");
    return check_skipped;
  }
  const char* path = copy_of(found.dli_fname);
  void* other = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  unlink(path);
  begin(&first, dlopen(found.dli_fname, RTLD_NOW));
  begin(&second, other);
  CHECK(first.wait != second.wait);
  RUN(a_signal_reaches_a_task_or_the_program);
  end(&first);
  end(&second);
  return 0;
}
