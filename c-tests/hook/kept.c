// What a thread has, and each task for itself while it waits: the locale, h_errno, the mask of signals.
#define _GNU_SOURCE
#include "hooked.h"

#include <locale.h>
#include <netdb.h>
#include <signal.h>

static unsigned ended;

static bool is_blocked(int number) {
  sigset_t mask;
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &mask), ==, 0);
  return sigismember(&mask, number) == 1;
}

static sigset_t only(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  return set;
}

// As libraries do that do not want to be killed by a closed connection.
static void holds_a_signal_off(void* argument) {
  int number = *(int*)argument;
  for (int i = 0; i < 5; i++) {
    sigset_t set = only(number), before;
    CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
    CHECK_INT((i % 2 ? sigprocmask : pthread_sigmask)(SIG_BLOCK, &set, &before), ==, 0);
    CHECK(!sigismember(&before, SIGUSR1) && !sigismember(&before, SIGUSR2));
    usleep(1000 + (unsigned)number * 50);
    CHECK(is_blocked(number));
    CHECK(!is_blocked(number == SIGUSR1 ? SIGUSR2 : SIGUSR1));
    usleep(700);
    CHECK(is_blocked(number));
    CHECK_INT(pthread_sigmask(SIG_SETMASK, &before, NULL), ==, 0);
    CHECK(!is_blocked(number));
    usleep(500);
    CHECK(!is_blocked(number));
  }
  add_one(&ended);
}

static void masks_are_each_tasks(void) {
  static int one = SIGUSR1, other = SIGUSR2;
  ended = 0;
  for (int i = 0; i < 20; i++) start(holds_a_signal_off, i % 2 ? &one : &other);
  wait_until(&ended, 20);
  CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
  sigset_t set = only(SIGUSR1);
  CHECK_INT(pthread_sigmask(99, &set, NULL), ==, EINVAL);
  CHECK_FAILS(sigprocmask(99, &set, NULL), EINVAL);
}

// The kernel puts back what a handler changes.
static void blocks_another(int number) {
  (void)number;
  sigset_t set = only(SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void is_interrupted(void* argument) {
  (void)argument;
  CHECK_INT(pthread_kill(pthread_self(), SIGUSR1), ==, 0);
  CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
  usleep(1000);
  CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
  add_one(&ended);
}

static void sees_no_mask(void* argument) {
  (void)argument;
  for (int i = 0; i < 5; i++) {
    usleep(500);
    CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
  }
  add_one(&ended);
}

static void handlers_change_no_mask(void) {
  struct sigaction action = {.sa_handler = blocks_another}, before;
  CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
  ended = 0;
  start(is_interrupted, NULL);
  start(sees_no_mask, NULL);
  wait_until(&ended, 2);
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
}

static void leaves_a_mask(void* argument) {
  (void)argument;
  sigset_t set = only(SIGUSR1);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &set, NULL), ==, 0);
  add_one(&ended);
}

static void holds_another_off(void* argument) {
  (void)argument;
  wait_until(&ended, 1);
  sigset_t set = only(SIGUSR2), before;
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &set, &before), ==, 0);
  CHECK(!sigismember(&before, SIGUSR1) && !is_blocked(SIGUSR1));
  usleep(1000);
  CHECK(is_blocked(SIGUSR2) && !is_blocked(SIGUSR1));
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &before, NULL), ==, 0);
  add_one(&ended);
}

static void a_mask_ends_with_its_task(void) {
  ended = 0;
  start(leaves_a_mask, NULL);
  wait_until(&ended, 1);
  start(holds_another_off, NULL);
  start(sees_no_mask, NULL);
  wait_until(&ended, 3);
  CHECK(!is_blocked(SIGUSR1) && !is_blocked(SIGUSR2));
  start(leaves_a_mask, NULL); // The run's end is the end of it.
  wait_until(&ended, 4);
}

static void a_mask_ends_with_the_run(void) { CHECK(!is_blocked(SIGUSR1)); }

static void has_a_locale(void* argument) {
  locale_t own = newlocale(LC_ALL_MASK, argument == NULL ? "C" : "POSIX", (locale_t)0);
  CHECK(own != (locale_t)0);
  CHECK(uselocale((locale_t)0) == LC_GLOBAL_LOCALE);
  for (int i = 0; i < 5; i++) {
    locale_t before = uselocale(own);
    CHECK(before == LC_GLOBAL_LOCALE);
    usleep(1000);
    CHECK(uselocale(before) == own);
    usleep(300);
    CHECK(uselocale((locale_t)0) == LC_GLOBAL_LOCALE);
  }
  freelocale(own);
  add_one(&ended);
}

static void locales_are_each_tasks(void) {
  ended = 0;
  for (int i = 0; i < 20; i++) start(has_a_locale, i % 2 ? &ended : NULL);
  wait_until(&ended, 20);
}

// A thread may have a locale of its own, which its tasks have, too; after it others may run them.
static locale_t threads_locale;

static void has_the_threads(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  CHECK(uselocale((locale_t)0) == threads_locale);
  mj_scheduler_stop(scheduler);
  usleep(1000);
  CHECK(uselocale((locale_t)0) == threads_locale);
  mj_task_exit();
}

static void* runs(void* scheduler) {
  CHECK_INT(mj_run((mj_scheduler*)scheduler), ==, 0);
  CHECK(uselocale((locale_t)0) == LC_GLOBAL_LOCALE);
  return NULL;
}

static void a_locale_is_its_threads_unless_the_tasks(void) {
  if (in_threads()) return;
  locale_t own = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
  if (own == (locale_t)0) own = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  mj_scheduler* scheduler = new_scheduler();
  threads_locale = own;
  add_task(scheduler, has_the_threads, NULL);
  uselocale(own);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  uselocale(LC_GLOBAL_LOCALE);
  freelocale(own);
  threads_locale = LC_GLOBAL_LOCALE;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs, scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void has_a_reason(void* argument) {
  int reason = (int)(intptr_t)argument;
  for (int i = 0; i < 5; i++) {
    h_errno = reason;
    errno = reason + 1;
    usleep(1000);
    CHECK_INT(h_errno, ==, reason);
    CHECK_INT(errno, ==, reason + 1);
  }
  add_one(&ended);
}

static void reasons_are_each_tasks(void) {
  ended = 0;
  for (int i = 0; i < 20; i++) start(has_a_reason, (void*)(intptr_t)(i + 1));
  wait_until(&ended, 20);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(masks_are_each_tasks);
  RUN_HOOKED(handlers_change_no_mask);
  RUN_HOOKED(a_mask_ends_with_its_task);
  RUN(a_mask_ends_with_the_run);
  RUN_HOOKED(locales_are_each_tasks);
  RUN(a_locale_is_its_threads_unless_the_tasks);
  RUN_HOOKED(reasons_are_each_tasks);
  return 0;
}
