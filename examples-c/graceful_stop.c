// An orderly end at SIGTERM or SIGINT. The signal ends the run, and mj_run() says so. Then the program tells
// its tasks to end, and runs them once more: each finishes what it is at, with its cancellation held, and
// ends. A second signal ends that run too, and then the program does not wait any longer.
//
// Links with -lmajjen. `make examples` builds and runs it. It sends the signal to itself; with the
// argument `wait` it waits for one.
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"

#include <signal.h>
#include <unistd.h>

#define SESSIONS 4
#define MS UINT64_C(1000000)

// The tasks that are to be told, by their ids: a task that has ended is just not found any more.
static mj_task_id sessions[SESSIONS];
static unsigned told, goodbyes, saved;

// A part of a session that is not to be cut short.
static void saves(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(5 * MS);
  saved++;
  mj_task_exit();
}

static void session(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  // Its work, here only waiting: until a call says that the task is canceled.
  while (mj_sleep_ns(10 * MS) == 0) {
  }
  told++;
  // Now it cleans up. While the cancellation is held, calls wait as ever: the task sleeps until its child
  // has ended, where it could only ask again and again.
  bool old;
  mj_task_set_cancelable(false, &old);
  mj_task* child = mj_create_task(scheduler, saves, NULL);
  if (child != NULL) mj_task_join(mj_task_get_id(child), 1000 * MS);
  mj_sleep_ns(MS);  // As if it said goodbye to its client.
  goodbyes++;
  mj_task_set_cancelable(old, NULL);
  mj_task_exit();
}

static void sends_the_signal(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(30 * MS);
  kill(getpid(), SIGTERM);
  mj_task_exit();
}

int main(int argc, char** argv) {
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  if (scheduler == NULL) return 1;
  for (int i = 0; i < SESSIONS; i++) {
    mj_task* task = mj_create_task(scheduler, session, NULL);
    if (task == NULL) return 1;
    sessions[i] = mj_task_get_id(task);
  }
  if (argc < 2 || strcmp(argv[1], "wait") != 0) mj_create_task(scheduler, sends_the_signal, NULL);

  int result = mj_run(scheduler);
  if (result == MJ_RUN_SIGNAL) {
    printf("signal %d\n", mj_scheduler_signal(scheduler));
    for (int i = 0; i < SESSIONS; i++) mj_scheduler_cancel(scheduler, sessions[i]);
    // Until no task is left, which gives 0.
    result = mj_run(scheduler);
  }
  printf("%u were told, %u have saved, %u have said goodbye\n", told, saved, goodbyes);
  mj_scheduler_destroy(scheduler);
  return result == 0 && goodbyes == SESSIONS ? 0 : 1;
}
