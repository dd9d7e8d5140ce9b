// Prints how many instructions calls have outside tasks: in a plain thread, after a run, and in a scheduler's
// loop. A child makes each call between two stops, and is run one instruction at a time between them.
#define _GNU_SOURCE
#include "../../check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static int pipe_ends[2];

// Between the two stops; the first of two calls binds the name.
static void reads(void) {
  char byte;
  CHECK_INT(write(pipe_ends[1], "ab", 2), ==, 2);
  CHECK_INT(read(pipe_ends[0], &byte, 1), ==, 1);
  raise(SIGSTOP);
  ssize_t got = read(pipe_ends[0], &byte, 1);
  raise(SIGSTOP);
  CHECK_INT(got, ==, 1);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

// Both calls that a lock needs, at once.
static void locks(void) {
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  raise(SIGSTOP);
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  raise(SIGSTOP);
}

static void calls(void) {
  reads();
  locks();
}

// In the loop: outside tasks, while a scheduler runs.
static int waits(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)timeout_ns;
  (void)user_data;
  calls();
  mj_scheduler_stop(scheduler);
  return 0;
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

static void child(void) {
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  calls();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sleeps, NULL);
  mj_scheduler_set_wait_func(scheduler, waits, NULL);
  mj_run(scheduler);
  mj_scheduler_destroy(scheduler);
  calls();
  _exit(0);
}

static int wait_for_stop(pid_t pid) {
  int status;
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  if (!WIFSTOPPED(status)) {
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
  }
  return WSTOPSIG(status);
}

static void cannot(const char* what) {
  fprintf(stderr, "%s is not possible here: %s\n", what, strerror(errno));
  exit(check_skipped);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  CHECK_INT(pipe(pipe_ends), ==, 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) child();
  // Up to the first stop it runs freely, and so it does from each second one on.
  for (;;) {
    int number = wait_for_stop(pid);
    if (number == 0) return 0;
    if (number != SIGSTOP) {
      if (ptrace(PTRACE_CONT, pid, NULL, number) != 0) cannot("tracing");
      continue;
    }
    unsigned long steps = 0;
    do {
      if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) cannot("stepping");
      number = wait_for_stop(pid);
      steps++;
    } while (number == SIGTRAP);
    CHECK_INT(number, ==, SIGSTOP);
    printf("%lu\n", steps);
    if (ptrace(PTRACE_CONT, pid, NULL, NULL) != 0) cannot("tracing");
  }
}
