// Clusters in a child of fork(), which has one thread: that of a core, or another.
#define _GNU_SOURCE
#include "check.h"
#include "clusters.h"
#include "child.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static mj_cluster* cluster;
static atomic_int counter;

static void counts(void* unused) {
  (void)unused;
  atomic_fetch_add(&counter, 1);
}

static void answers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  char byte;
  while (mj_read(fd, &byte, 1, MJ_FOREVER) == 1) CHECK_INT(mj_write(fd, &byte, 1, MJ_FOREVER), ==, 1);
  close(fd);
  mj_task_exit();
}

static int returns(void* unused) {
  (void)unused;
  return 0;
}

// What the child is told of the cluster that it has a copy of.
static void is_told_that_it_is_the_parents(void) {
  const mj_service service = {.handler = answers};
  CHECK_INT(mj_cluster_start(cluster), ==, -EOWNERDEAD);
  CHECK_INT(mj_cluster_join(cluster), ==, -EOWNERDEAD);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, -EOWNERDEAD);
  CHECK_INT(mj_cluster_go(cluster, 0, counts, NULL, NULL), ==, -EOWNERDEAD);
  CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &service), ==, -EOWNERDEAD);
  CHECK_UINT(mj_cluster_size(cluster), ==, 2);
}

// ---- Outside

static void uses_a_copy_and_one_of_its_own(void) {
  is_told_that_it_is_the_parents();
  for (int i = 0; i < 4; i++) CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
  // What the parent's threads have is lost with it, which valgrind would report.
  if (!under_valgrind()) CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  if (under_tsan()) return;
  mj_cluster* own = new_cluster(2);
  counter = 0;
  for (size_t i = 0; i < 10; i++) CHECK_INT(mj_cluster_go(own, i % 2, counts, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_run(own, 0), ==, 0);
  CHECK_INT(counter, ==, 10);
  CHECK_INT(mj_cluster_destroy(own), ==, 0);
}

static void a_child_of_another_thread_has_a_copy(void) {
  cluster = new_cluster(2);
  CHECK_INT(status_of_child(uses_a_copy_and_one_of_its_own), ==, 0);  // Not started.
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(status_of_child(uses_a_copy_and_one_of_its_own), ==, 0);  // It runs.
  counter = 0;
  for (size_t i = 0; i < 10; i++) CHECK_INT(mj_cluster_go(cluster, i % 2, counts, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(counter, ==, 10);
  CHECK_INT(status_of_child(uses_a_copy_and_one_of_its_own), ==, 0);  // It has ended.
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// ---- In a task of a core

static pid_t parent;
static int ends_of_child[2];  // A byte for each task that has ended in the child, and one for its tear-down.

static void tells_parent(void) { CHECK_INT(write(ends_of_child[1], "x", 1), ==, 1); }

static void tells_of_child(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)unused;
  CHECK(scheduler != NULL);
  if (getpid() == parent) return;
  CHECK_UINT(core, ==, 1);
  tells_parent();
  if (sanitized()) _exit(0);  // In such a child a search for leaks finds what its parent's threads have.
}

static atomic_int is_called, has_forked;

static int waits_for_child(void* unused) {
  (void)unused;
  is_called = 1;
  while (!has_forked) mj_task_sleep_ms(1);
  return 7;
}

static void calls_meanwhile(void* unused) {
  int result = 0;
  int called = mj_cluster_call(cluster, 0, waits_for_child, unused, MJ_FOREVER, &result);
  if (getpid() == parent) {
    CHECK_INT(called, ==, 0);
    CHECK_INT(result, ==, 7);
    return;
  }
  CHECK_INT(called, ==, -EOWNERDEAD);
  CHECK_INT(mj_cluster_call(cluster, 0, returns, NULL, MJ_FOREVER, NULL), ==, -EOWNERDEAD);
  tells_parent();
}

static void forks(void* unused) {
  (void)unused;
  while (!is_called) mj_task_sleep_ms(1);  // The other one waits.
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(50);
    is_told_that_it_is_the_parents();
    CHECK_INT(mj_cluster_here(cluster), ==, 1);
    CHECK_INT(mj_cluster_destroy(cluster), ==, -EBUSY);
    mj_task_sleep_ms(1);
    tells_parent();
    return;  // With its last thread the child ends.
  }
  has_forked = 1;
  CHECK_INT(status_of(child), ==, 0);
}

static void a_core_goes_on_alone_in_a_child(void) {
  parent = getpid();
  CHECK_INT(pipe(ends_of_child), ==, 0);
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = 2, .tear_down = tells_of_child});
  CHECK_INT(mj_cluster_go(cluster, 1, calls_meanwhile, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, forks, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  join_and_destroy(cluster);
  close(ends_of_child[1]);
  char told[10];
  CHECK_INT(read(ends_of_child[0], told, sizeof told), ==, 3);
  close(ends_of_child[0]);
}

// ---- Connections in the child

static const char* path;

static void sleeps(void* unused) {
  (void)unused;
  mj_sleep_ns(MJ_FOREVER);
}

// In the child: the core has more to do than the other one, which is the parent's and would never answer.
static void is_served_by_the_child(void) {
  for (int i = 0; i < 5; i++) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path + 5);
    CHECK_INT(mj_connect(fd, (struct sockaddr*)&address, sizeof address, MJ_FOREVER), ==, 0);
    char byte = 'x';
    CHECK_INT(mj_write(fd, &byte, 1, MJ_FOREVER), ==, 1);
    CHECK_INT(mj_read(fd, &byte, 1, UINT64_C(40000000000)), ==, 1);
    close(fd);
  }
}

static void forks_and_serves(void* unused) {
  (void)unused;
  mj_task_sleep_ms(5);
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(50);
    is_served_by_the_child();
    _exit(0);
  }
  CHECK_INT(status_of(child), ==, 0);  // The parent's core accepts nothing meanwhile.
  CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
}

static void a_child_serves_what_it_accepts(void) {
  static char name[64];
  snprintf(name, sizeof name, "unix:/tmp/majjen-cluster-fork-%d", (int)getpid());
  unlink(name + 5);
  path = name;
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_listen(cluster, path, NULL, &(mj_service){.handler = answers}), ==, 0);
  for (int i = 0; i < 10; i++) CHECK_INT(mj_cluster_go(cluster, 0, sleeps, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 0, forks_and_serves, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  join_and_destroy(cluster);
  unlink(name + 5);
}

// ---- A caller in the child that no core will answer

static mj_scheduler* of_caller;
static atomic_int canceled_in;

static int sleeps_until_it_is_canceled(void* unused) {
  (void)unused;
  is_called = 1;
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  canceled_in = (int)getpid();
  return 0;
}

static void calls_what_sleeps(void* unused) {
  mj_cluster_call(cluster, 0, sleeps_until_it_is_canceled, unused, MJ_FOREVER, NULL);
  abort();  // Its scheduler is destroyed meanwhile.
}

static void stops_when_it_is_called(void* unused) {
  (void)unused;
  while (!is_called) mj_task_sleep_ms(1);
  CHECK_INT(mj_scheduler_stop(of_caller), ==, 0);
}

static void destroys_its_copy(void) { mj_scheduler_destroy(of_caller); }

// The parent's function has not ended, and never does in the child: who waited for it there would wait for ever.
static void a_child_does_not_wait_for_what_its_parent_calls(void) {
  cluster = new_cluster(1);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  of_caller = new_scheduler();
  is_called = canceled_in = 0;
  CHECK_INT(mj_go(of_caller, calls_what_sleeps, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(of_caller, stops_when_it_is_called, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(of_caller), ==, MJ_RUN_STOPPED);
  CHECK_INT(status_of_child(destroys_its_copy), ==, 0);
  CHECK_INT(canceled_in, ==, 0);
  mj_scheduler_destroy(of_caller);
  CHECK_INT(canceled_in, ==, getpid());
  join_and_destroy(cluster);
}

int main(void) {
  if (emulated()) {
    fprintf(stderr, "the emulator makes no thread in a child of a process that has several\n");
    return check_skipped;
  }
  RUN(a_child_of_another_thread_has_a_copy);
  RUN(a_child_does_not_wait_for_what_its_parent_calls);
  // In such a child valgrind takes what the C library has for the other threads for lost.
  if (!under_valgrind() && !under_tsan()) RUN(a_core_goes_on_alone_in_a_child);
  if (!under_valgrind() && !under_tsan()) RUN(a_child_serves_what_it_accepts);
  return 0;
}
