// Handles that outlive the scheduler: stopping it by a handle, from threads and signal handlers,
// and after it was destroyed.
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <signal.h>

static void sleeps_for_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_sleep_s(1000000);
}

static void yields_for_ever(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) mj_task_yield();
}

static void* stops(void* remote) {
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  mj_remote_release(remote);
  return NULL;
}

static void a_thread_stops_a_run(void) {
  mj_task_fn* bodies[] = {sleeps_for_long, yields_for_ever};
  for (int i = 0; i < 2; i++) {
    mj_scheduler* scheduler = new_scheduler();
    add_task(scheduler, bodies[i], NULL);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, stops, mj_scheduler_remote(scheduler)), ==, 0);
    mj_scheduler_run(scheduler);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 1);
    mj_scheduler_destroy(scheduler);
  }
}

static void waits_on_its_own(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_wait_epoll(scheduler, MJ_FOREVER, NULL);
  mj_task_yield();
  CHECK(false);
}

static void* stops_in_a_while(void* remote) {
  usleep(20000);
  return stops(remote);
}

// The loop knows nothing of a wait function that a task calls itself.
static void a_thread_stops_a_wait_within_a_task(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, waits_on_its_own, NULL);
  pthread_t thread;
  void* remote = mj_scheduler_remote(scheduler);
  CHECK_INT(pthread_create(&thread, NULL, stops_in_a_while, remote), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void after_the_end_it_is_an_error(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_PTR(mj_remote_retain(remote), ==, remote);
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_remote_stop(remote), ==, -EPIPE);
  mj_remote_release(remote);
  CHECK_INT(mj_remote_stop(remote), ==, -EPIPE);
  mj_remote_release(remote);
}

static void a_stop_before_the_run_counts_once(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  add_task(scheduler, sleeps_for_long, NULL);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_remote_stop(remote), ==, 0);
    mj_scheduler_run(scheduler);
  }
  mj_remote_release(remote);
  mj_scheduler_destroy(scheduler);
}

static mj_remote* of_the_handler;
static size_t turns_after_the_signal;

static void on_signal(int signal_number) {
  (void)signal_number;
  CHECK_INT(mj_remote_stop(of_the_handler), ==, 0);
}

static void is_interrupted(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  raise(SIGUSR1);
  for (;;) {
    mj_task_yield();
    turns_after_the_signal++;
  }
}

// On the scheduler's thread: the interrupted task is the last one that runs.
static void a_signal_handler_stops_a_run(void) {
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
  mj_scheduler* scheduler = new_scheduler();
  of_the_handler = mj_scheduler_remote(scheduler);
  add_task(scheduler, is_interrupted, NULL);
  add_task(scheduler, yields_for_ever, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(turns_after_the_signal, ==, 0);
  mj_remote_release(of_the_handler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
}

static void* stops_until_it_is_gone(void* remote) {
  int result;
  do {
    result = mj_remote_stop(remote);
  } while (result == 0);
  CHECK_INT(result, ==, -EPIPE);
  mj_remote_release(remote);
  return NULL;
}

static void stops_race_with_the_end(void) {
  for (size_t round = 0; round < times(200, 20); round++) {
    mj_scheduler* scheduler = new_scheduler();
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
      void* remote = mj_scheduler_remote(scheduler);
      CHECK_INT(pthread_create(&threads[i], NULL, stops_until_it_is_gone, remote), ==, 0);
    }
    add_task(scheduler, sleeps_for_long, NULL);
    mj_scheduler_run(scheduler);
    mj_scheduler_destroy(scheduler);
    for (int i = 0; i < 2; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  }
}

static void null_is_refused(void) {
  errno = 0;
  CHECK_PTR(mj_scheduler_remote(NULL), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  CHECK_PTR(mj_remote_retain(NULL), ==, NULL);
  CHECK_INT(mj_remote_stop(NULL), ==, -EINVAL);
  mj_remote_release(NULL);
}

int main(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN(a_thread_stops_a_run);
  RUN(a_thread_stops_a_wait_within_a_task);
  RUN(after_the_end_it_is_an_error);
  RUN(a_stop_before_the_run_counts_once);
  RUN(a_signal_handler_stops_a_run);
  RUN(stops_race_with_the_end);
  RUN(null_is_refused);
}
