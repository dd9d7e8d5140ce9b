// Children: in one of fork() nothing is hooked until it runs a scheduler of its own; one of vfork() has its
// parent's memory, and never suspends.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

extern char** environ;

static int ends[2];

// A check that fails in a child has printed its place.
static void check_child(pid_t pid, int expected) {
  int status;
  CHECK(pid > 0);
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK(WIFEXITED(status));
  CHECK_INT(WEXITSTATUS(status), ==, expected);
}

static void close_ends(void) {
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
}

// Calls of each kind, which block this process.
static void block(void) {
  char byte;
  int own[2];
  CHECK_INT(pipe(own), ==, 0);
  CHECK_INT(write(own[1], "x", 1), ==, 1);
  struct pollfd one = {own[0], POLLIN, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  CHECK_INT(read(own[0], &byte, 1), ==, 1);
  CHECK_INT(poll(&one, 1, 5), ==, 0);
  CHECK_INT(usleep(5000), ==, 0);
  close(own[0]);
  close(own[1]);
}

static void child_blocks(void) {
  mj_hook_counts before = hook_counts();
  block();
  char byte;
  CHECK_INT(read(ends[0], &byte, 1), ==, 1);  // Of the parent, later.
  CHECK_INT(write(ends[0], &byte, 1), ==, 1);
  if (!in_threads()) {
    mj_hook_counts after = hook_counts();
    CHECK_UINT(after.suspended, ==, before.suspended);
    CHECK_UINT(after.pinned, ==, before.pinned);
    CHECK_INT(mj_hook_set_enabled(true), ==, -EPERM);
  }
  // A child of a child.
  pid_t pid = fork();
  if (pid == 0) {
    block();
    _exit(9);
  }
  check_child(pid, 9);
  _exit(7);
}

static void a_child_is_not_hooked(void) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  start_ticker();
  pid_t pid = fork();
  if (pid == 0) child_blocks();
  CHECK_INT(usleep(20000), ==, 0);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  char byte;
  CHECK_INT(read(ends[1], &byte, 1), ==, 1);
  check_child(pid, 7);
  stop_ticker(2);
  close_ends();
}

static unsigned slept;

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(usleep(10000), ==, 0);
  slept++;
  mj_task_exit();
}

// In a scheduler of the child's own all is hooked, and after its run nothing.
static void* child_runs(void* unused) {
  mj_hook_counts before = hook_counts();
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 5; i++) add_task(scheduler, sleeps, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_UINT(slept, ==, 5);
  mj_hook_counts after = hook_counts();
  if (!in_threads()) CHECK_UINT(after.suspended, ==, before.suspended + 5);
  block();
  CHECK_UINT(hook_counts().suspended, ==, after.suspended);
  return unused;
}

static void a_child_may_run_a_scheduler(void) {
  pid_t pid = fork();
  if (pid == 0) {
    // On this thread it would be a run within the one that there was.
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, child_runs, NULL), ==, 0);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    _exit(3);
  }
  check_child(pid, 3);
  // The parent's goes on.
  CHECK_INT(usleep(1000), ==, 0);
}

static void* helps_later(void* fd) {
  usleep(30000);
  CHECK_INT(write(*(int*)fd, "x", 1), ==, 1);
  return NULL;
}

// The child's calls block the thread of its parent, which waits for it in any case.
static void children_of_vfork_block(void) {
  CHECK_INT(pipe(ends), ==, 0);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, helps_later, &ends[1]), ==, 0);
  mj_hook_counts before = hook_counts();
  static const struct timespec time = {0, 1000000};
  static char byte;
  pid_t pid = vfork();
  if (pid == 0) {
    if (read(ends[0], &byte, 1) != 1) _exit(1);
    if (nanosleep(&time, NULL) != 0) _exit(2);
    execl("/bin/sh", "sh", "-c", "exit 5", (char*)NULL);
    _exit(127);
  }
  mj_hook_counts after = hook_counts();
  CHECK_UINT(after.suspended, ==, before.suspended);
  if (!in_threads()) CHECK_UINT(after.pinned, ==, before.pinned + 2);
  check_child(pid, 5);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(usleep(1000), ==, 0);
  close_ends();
}

static void programs_are_started(void) {
  char program[] = "sh", flag[] = "-c", command[] = "read line; test \"$line\" = hello";
  char* arguments[] = {program, flag, command, NULL};
  CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
  posix_spawn_file_actions_t actions;
  CHECK_INT(posix_spawn_file_actions_init(&actions), ==, 0);
  CHECK_INT(posix_spawn_file_actions_adddup2(&actions, ends[0], 0), ==, 0);
  pid_t pid;
  CHECK_INT(posix_spawnp(&pid, program, &actions, NULL, arguments, environ), ==, 0);
  posix_spawn_file_actions_destroy(&actions);
  CHECK_INT(usleep(5000), ==, 0);
  CHECK_INT(write(ends[1], "hello\n", 6), ==, 6);
  check_child(pid, 0);
  close_ends();
}

// ---- the library's own lock

static unsigned stops;

static void* sets(void* unused) {
  (void)unused;
  char scheduler;  // Any address: it is only compared.
  while (!__atomic_load_n(&stops, __ATOMIC_ACQUIRE)) {
    CHECK_INT(mj_hook_set((mj_scheduler*)&scheduler, MJ_HOOK_DEFAULT), ==, 0);
  }
  return NULL;
}

// What another thread does in the library when a process forks does not hold up its child.
static void a_lock_does_not_stay_in_a_child(void) {
  if (in_threads()) return;
  stops = 0;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, sets, NULL), ==, 0);
  for (size_t i = 0; i < times(100, 5); i++) {
    char scheduler;
    pid_t pid = fork();
    if (pid == 0) {
      CHECK_INT(mj_hook_set((mj_scheduler*)&scheduler, MJ_HOOK_ALL), ==, 0);
      _exit(0);
    }
    check_child(pid, 0);
  }
  __atomic_store_n(&stops, 1, __ATOMIC_RELEASE);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

// ---- tasks that wait in a hooked call when another one forks

static unsigned went_on;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void reads_one(void* argument) {
  (void)argument;
  char bytes[2];
  CHECK_INT(recv(ends[1], bytes, 2, MSG_WAITALL), ==, 2);
  add_one(&went_on);
}

static void polls(void* argument) {
  (void)argument;
  struct pollfd one = {ends[1], POLLIN, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  add_one(&went_on);
}

static void wants_the_lock(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&held), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&held), ==, 0);
  add_one(&went_on);
}

static void sleeps_a_while(void* argument) {
  (void)argument;
  CHECK_INT(usleep(30000), ==, 0);
  add_one(&went_on);
}

// They go on in the child, too, as tasks do.
static void those_in_a_call_go_on_in_a_child(void) {
  if (in_threads()) return;
  went_on = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  CHECK_INT(pthread_mutex_lock(&held), ==, 0);
  start(reads_one, NULL);
  start(polls, NULL);
  start(wants_the_lock, NULL);
  start(sleeps_a_while, NULL);
  let_others_wait();
  pid_t pid = fork();
  if (pid == 0) {
    pthread_mutex_unlock(&held);
    for (int i = 0; i < 2; i++) {
      mj_sleep_ns(1000000);
      CHECK_INT(write(ends[0], "x", 1), ==, 1);
    }
    for (int i = 0; i < 20000 && went_on < 4; i++) mj_sleep_ns(1000000);
    _exit(went_on == 4 ? 7 : (int)went_on);
  }
  CHECK_INT(mj_hook_set_enabled(false), ==, 0);  // What comes is the child's.
  check_child(pid, 7);
  CHECK_INT(mj_hook_set_enabled(true), ==, 0);
  CHECK_INT(pthread_mutex_unlock(&held), ==, 0);
  CHECK_INT(write(ends[0], "xy", 2), ==, 2);
  wait_until(&went_on, 4);
  close_ends();
}

static void fork_between_runs(void) {
  pid_t pid = fork();
  if (pid == 0) {
    block();
    child_runs(NULL);
    _exit(3);
  }
  check_child(pid, 3);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(a_child_is_not_hooked);
  if (!under_tsan()) RUN_HOOKED(a_child_may_run_a_scheduler);
  if (!under_tsan()) RUN_HOOKED(those_in_a_call_go_on_in_a_child);
  RUN_HOOKED(programs_are_started);
  // Valgrind and ThreadSanitizer make a fork() of vfork(). Valgrind also misses what other threads have in a child,
  // where they are not.
  if (!under_valgrind()) {
    if (!under_tsan()) RUN_HOOKED(children_of_vfork_block);
    RUN_HOOKED(a_lock_does_not_stay_in_a_child);
  }
  RUN(fork_between_runs);
  return 0;
}
