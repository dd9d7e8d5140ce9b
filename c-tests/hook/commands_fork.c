// fork() on one thread at the moment that a command ends on another one: the child has its parent's signals.
#define _GNU_SOURCE
#include "hooked.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum moment { NONE, AWAITED, REACHED, PAST };

static atomic_int moment;

extern int __sigaction(int number, const struct sigaction* action, struct sigaction* before);

// Stands in for the C library's: the one that puts SIGINT back waits, for a moment, until the other thread has called
// fork(). That may in turn wait for this.
int sigaction(int number, const struct sigaction* action, struct sigaction* before) {
  int reached = AWAITED;
  bool puts_back = number == SIGINT && action != NULL && action->sa_handler == SIG_DFL;
  if (puts_back && atomic_compare_exchange_strong(&moment, &reached, REACHED)) {
    for (int i = 0; i < 100 && atomic_load(&moment) != PAST; i++) sched_yield();
    struct timespec pause = {0, 50000000};
    if (atomic_load(&moment) != PAST) clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
  }
  return __sigaction(number, action, before);
}

static void* forks(void* unused) {
  (void)unused;
  while (atomic_load(&moment) != REACHED) sched_yield();
  pid_t pid = fork();
  if (pid == 0) {
    struct sigaction interrupt, quit;
    __sigaction(SIGINT, NULL, &interrupt);
    __sigaction(SIGQUIT, NULL, &quit);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    _exit(interrupt.sa_handler == SIG_DFL && quit.sa_handler == SIG_DFL && !sigismember(&mask, SIGINT) ? 0 : 1);
  }
  atomic_store(&moment, PAST);
  int status = -1;
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(status, ==, 0);
  return NULL;
}

static void a_child_knows_of_no_command_that_ends(void) {
  // In the child valgrind takes what belongs to other threads for lost.
  if (in_threads() || under_tsan() || under_valgrind()) return;
  signal(SIGINT, SIG_DFL);
  signal(SIGQUIT, SIG_DFL);
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    atomic_store(&moment, AWAITED);
    CHECK_INT(pthread_create(&thread, NULL, forks, NULL), ==, 0);
    CHECK_INT(WEXITSTATUS(system("exit 3")), ==, 3);
    int reached = AWAITED;
    // Where the library calls the C library's own, there is nothing to wait for.
    if (atomic_compare_exchange_strong(&moment, &reached, REACHED)) fprintf(stderr, "not the one that is called\n");
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
  }
}

int main(void) {
  RUN_HOOKED(a_child_knows_of_no_command_that_ends);
  return 0;
}
