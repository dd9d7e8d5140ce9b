// Eight threads, each with its own scheduler, whose runs end only by a stop: from another thread,
// from a handler on the thread that runs it, or from a handler on another thread. The argument is
// the total number of runs. A lost stop hangs the program.
#define _GNU_SOURCE
#include "../check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { thread_count = 8, runs_of_a_scheduler = 25 };

typedef struct runner {
  pthread_t thread;
  mj_scheduler* scheduler;
  size_t runs;
  // How many runs have begun, how many stops were requested, and how many of those from here.
  atomic_size_t begun;
  atomic_size_t stopped;
  // Written by the stopper and read by the runner after the run: only the stop orders them.
  size_t written_before_the_stop;
} runner;

static runner runners[thread_count];
// A call that ThreadSanitizer intercepts: it runs signal handlers only at such calls.
static void pause_a_moment(void) { usleep(10); }

// The scheduler that the next handler stops, and how many of these stops have been made.
static runner* _Atomic to_stop;
static atomic_size_t handled;
static size_t rounds;

static void stop(runner* one) {
  one->written_before_the_stop++;
  if (mj_scheduler_stop(one->scheduler) != 0) abort();
}

static void stops_from_a_handler(int number) {
  (void)number;
  int saved = errno;
  runner* one = atomic_exchange(&to_stop, NULL);
  if (one != NULL) {
    stop(one);
    atomic_fetch_add(&handled, 1);
  }
  errno = saved;
}

// ThreadSanitizer queues a signal for the fiber in which it arrived. Occasionally that is a task
// that does not run again, so the signal is sent again.
static void stop_by_handler(runner* one, const runner* on) {
  size_t before = atomic_load(&handled);
  atomic_store(&to_stop, one);
  for (size_t i = 0; atomic_load(&handled) == before; i++) {
    if (i % 1000 == 0) CHECK_INT(pthread_kill(on->thread, SIGUSR1), ==, 0);
    pause_a_moment();
  }
}

// One after the other, at every point of the runs.
static void* stops_all(void* unused) {
  (void)unused;
  for (size_t round = 0; round < rounds; round++) {
    for (size_t i = 0; i < thread_count; i++) {
      runner* one = &runners[i];
      while (atomic_load(&one->begun) == round) pause_a_moment();
      switch ((round + i) % 3) {
        case 0: stop(one); break;
        case 1: stop_by_handler(one, one); break;
        case 2: stop_by_handler(one, &runners[(i + 1) % thread_count]); break;
      }
      atomic_store(&one->stopped, round + 1);
    }
  }
  return NULL;
}

// ---- The tasks: one that yields, one that sleeps, one that waits for a descriptor ----

static void announces_the_run(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  atomic_fetch_add(&(*(runner**)user_state)->begun, 1);
  mj_task_exit();
}

static void yields(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 200; i++) mj_task_yield();
  mj_task_exit();
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) mj_task_sleep_ns(50000);
}

static void waits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  for (;;) mj_task_wait_fd(fd, 1, MJ_FOREVER);
}

static void add(mj_scheduler* scheduler, mj_task_fn* body, const void* state, size_t bytes) {
  void* copy = allocate(bytes);
  memcpy(copy, state, bytes);
  add_task(scheduler, body, copy);
}

static void* runs(void* argument) {
  runner* self = argument;
  int channel[2];
  CHECK_INT(pipe(channel), ==, 0);
  for (size_t round = 0; round < rounds; round++) {
    if (round % runs_of_a_scheduler == 0) {
      self->scheduler = new_scheduler();
      add(self->scheduler, waits, &channel[0], sizeof channel[0]);
      if (round % (2 * runs_of_a_scheduler) == 0) add(self->scheduler, sleeps, "", 1);
    }
    add(self->scheduler, announces_the_run, &self, sizeof self);
    if (round % 2 == 0) add(self->scheduler, yields, "", 1);
    mj_scheduler_run(self->scheduler);
    CHECK_UINT(self->written_before_the_stop, ==, round + 1);
    self->runs++;
    // The call may not have returned yet, and the next stop is for the next run.
    while (atomic_load(&self->stopped) == round) pause_a_moment();
    if ((round + 1) % runs_of_a_scheduler == 0 || round + 1 == rounds) {
      mj_scheduler_destroy(self->scheduler);
    }
  }
  // A handler may run on this thread until all is done.
  while (atomic_load(&runners[thread_count - 1].stopped) < rounds) usleep(1000);
  close(channel[0]);
  close(channel[1]);
  return NULL;
}

int main(int argument_count, char** arguments) {
  rounds = (argument_count > 1 ? strtoul(arguments[1], NULL, 10) : 10000) / thread_count;
  mj_log_set_level(MJ_LOG_WARN);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = stops_from_a_handler;
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
  for (size_t i = 0; i < thread_count; i++) {
    CHECK_INT(pthread_create(&runners[i].thread, NULL, runs, &runners[i]), ==, 0);
  }
  pthread_t stopper;
  CHECK_INT(pthread_create(&stopper, NULL, stops_all, NULL), ==, 0);
  CHECK_INT(pthread_join(stopper, NULL), ==, 0);
  size_t total = 0;
  for (size_t i = 0; i < thread_count; i++) {
    CHECK_INT(pthread_join(runners[i].thread, NULL), ==, 0);
    total += runners[i].runs;
  }
  CHECK_UINT(total, ==, rounds * thread_count);
  printf("%zu runs on %d threads, each ended by a stop\n", total, thread_count);
  return 0;
}
