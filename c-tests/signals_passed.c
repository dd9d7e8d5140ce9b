// A signal that nobody has a use for is handed on to what was there before the library's handler: on several threads at
// once, and by handlers that do not return.
#define _GNU_SOURCE
#include "child.h"
#include "in_a_task.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>

static int wait_for(int number) { return mj_signal_wait(&number, 1, NULL, 0); }

static void set_handler(void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
}

static atomic_int counted, covered;

static void counts(int number) {
  (void)number;
  atomic_fetch_add(&counted, 1);
}

// ---- Two threads at once ----

enum moment { BEGINNING, FIRST_IS_IN, SECOND_IS_IN, FIRST_IS_BACK };

static atomic_int moment;
static _Thread_local int place;
static struct sigaction ours;

static void await(int wanted) {
  while (atomic_load(&moment) < wanted) usleep(100);
}

// Over ours, and calls it: when the other thread has come as far as it shall.
static void passes_on(int number, siginfo_t* info, void* context) {
  CHECK_INT(atomic_fetch_add(&covered, 1), <, 100);
  if (place == 1 && atomic_load(&moment) == BEGINNING) {
    atomic_store(&moment, FIRST_IS_IN);
    await(SECOND_IS_IN);
  } else if (place == 2 && atomic_load(&moment) == FIRST_IS_IN) {
    atomic_store(&moment, SECOND_IS_IN);
    await(FIRST_IS_BACK);
  }
  ours.sa_sigaction(number, info, context);
}

static void* is_the_first(void* unused) {
  place = 1;
  CHECK_INT(raise(SIGUSR1), ==, 0);
  atomic_store(&moment, FIRST_IS_BACK);
  return unused;
}

static void* is_the_second(void* unused) {
  place = 2;
  await(FIRST_IS_IN);
  CHECK_INT(raise(SIGUSR1), ==, 0);
  return unused;
}

static void hands_on_in_two_threads(void) {
  void* (*const functions[])(void*) = {is_the_first, is_the_second};
  for (int round = 1; round <= 3; round++) {
    pthread_t threads[2];
    atomic_store(&moment, BEGINNING);
    for (int i = 0; i < 2; i++) CHECK_INT(pthread_create(&threads[i], NULL, functions[i], NULL), ==, 0);
    for (int i = 0; i < 2; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    CHECK_INT(atomic_load(&covered), ==, 2 * round);
    CHECK_INT(atomic_load(&counted), ==, 2 * round);
  }
}

// In a child of fork(), whose signals the task does not get: each goes to the handler over ours, from there back to
// ours, and then to the one that was there first.
static void each_thread_hands_on_its_own_signal(void) {
  set_handler(counts);
  CHECK_INT(wait_for(SIGUSR1), ==, -ETIMEDOUT);
  struct sigaction chained;
  memset(&chained, 0, sizeof chained);
  chained.sa_sigaction = passes_on;
  chained.sa_flags = SA_SIGINFO;
  CHECK_INT(sigaction(SIGUSR1, &chained, &ours), ==, 0);
  CHECK_INT(mj_signal_release(), ==, 0);
  CHECK_INT(wait_for(SIGUSR1), ==, -ETIMEDOUT);
  CHECK_INT(WEXITSTATUS(status_of_child(hands_on_in_two_threads)), ==, 0);
  CHECK_INT(mj_signal_release(), ==, 0);
  set_handler(SIG_DFL);
}

// ---- What was there ----

static void nothing_happens(void) {
  CHECK_INT(raise(SIGUSR1), ==, 0);
  CHECK_INT(raise(SIGURG), ==, 0);
}

static void what_was_there_may_be_nothing(void) {
  const int both[] = {SIGUSR1, SIGURG};
  set_handler(SIG_IGN);
  CHECK_INT(mj_signal_wait(both, 2, NULL, 0), ==, -ETIMEDOUT);
  CHECK_INT(status_of_child(nothing_happens), ==, 0);
  CHECK_INT(mj_signal_release(), ==, 0);
  set_handler(SIG_DFL);
}

static void is_handled_once(void) {
  atomic_store(&counted, 0);
  CHECK_INT(raise(SIGUSR1), ==, 0);
  CHECK_INT(atomic_load(&counted), ==, 1);
  struct sigaction now;
  CHECK_INT(sigaction(SIGUSR1, NULL, &now), ==, 0);
  CHECK(now.sa_handler == SIG_DFL);
}

static void what_was_there_may_be_for_once(void) {
  struct sigaction once;
  memset(&once, 0, sizeof once);
  once.sa_handler = counts;
  once.sa_flags = (int)SA_RESETHAND;
  CHECK_INT(sigaction(SIGUSR1, &once, NULL), ==, 0);
  CHECK_INT(wait_for(SIGUSR1), ==, -ETIMEDOUT);
  CHECK_INT(status_of_child(is_handled_once), ==, 0);
  CHECK_INT(mj_signal_release(), ==, 0);
  set_handler(SIG_DFL);
}

static int held_off;

static void looks_at_the_mask(int number) {
  (void)number;
  sigset_t now;
  CHECK_INT(pthread_sigmask(SIG_BLOCK, NULL, &now), ==, 0);
  held_off = sigismember(&now, SIGUSR1) | sigismember(&now, SIGUSR2) << 1 | sigismember(&now, SIGHUP) << 2;
}

static void holds_off_itself(void) {
  CHECK_INT(raise(SIGUSR1), ==, 0);
  CHECK_INT(held_off, ==, 1 | 2);
}

static void holds_off_others(void) {
  CHECK_INT(raise(SIGUSR1), ==, 0);
  CHECK_INT(held_off, ==, 2);
}

static void what_it_holds_off_is_held_off(void) {
  // Valgrind's handlers with SA_NODEFER hold off nothing.
  for (int itself = under_valgrind() ? 1 : 0; itself < 2; itself++) {
    struct sigaction before;
    memset(&before, 0, sizeof before);
    before.sa_handler = looks_at_the_mask;
    before.sa_flags = itself ? 0 : (int)SA_NODEFER;
    sigaddset(&before.sa_mask, SIGUSR2);
    CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
    CHECK_INT(wait_for(SIGUSR1), ==, -ETIMEDOUT);
    CHECK_INT(status_of_child(itself ? holds_off_itself : holds_off_others), ==, 0);
    // The same signals while a task gets it, and none afterwards.
    CHECK_INT(raise(SIGUSR1), ==, 0);
    CHECK_INT(wait_for(SIGUSR1), ==, SIGUSR1);
    CHECK_INT(mj_signal_release(), ==, 0);
    set_handler(SIG_DFL);
    CHECK_INT(wait_for(SIGUSR1), ==, -ETIMEDOUT);
    struct sigaction now;
    CHECK_INT(sigaction(SIGUSR1, NULL, &now), ==, 0);
    CHECK_INT(sigismember(&now.sa_mask, SIGUSR2), ==, 0);
    CHECK_INT(mj_signal_release(), ==, 0);
  }
}

// ---- Handlers that do not return ----

static sigjmp_buf place_to_go_on;

static void leaves(int number) {
  (void)number;
  siglongjmp(place_to_go_on, 1);
}

static void is_interrupted_again_and_again(void) {
  static volatile int interruptions;
  while (interruptions < 5) {
    if (sigsetjmp(place_to_go_on, 1) == 0) {
      raise(SIGUSR1);
      _exit(1);  // It was not handled.
    }
    interruptions++;
  }
}

static void a_handler_may_leave_by_a_jump(void) {
  set_handler(leaves);
  CHECK_INT(wait_for(SIGUSR1), ==, -ETIMEDOUT);
  CHECK_INT(status_of_child(is_interrupted_again_and_again), ==, 0);
  CHECK_INT(mj_signal_release(), ==, 0);
  set_handler(SIG_DFL);
}

int main(void) {
  if (emulated()) {
    fprintf(stderr, "the emulator has signals of its own\n");
    return check_skipped;
  }
  mj_log_set_level(MJ_LOG_WARN);
  RUN_IN_TASK(each_thread_hands_on_its_own_signal);
  RUN_IN_TASK(what_was_there_may_be_nothing);
  RUN_IN_TASK(what_was_there_may_be_for_once);
  RUN_IN_TASK(what_it_holds_off_is_held_off);
  RUN_IN_TASK(a_handler_may_leave_by_a_jump);
  return 0;
}
