// A pipeline: one task reads numbers, several work on them, one collects the results. The stages
// are connected by channels, so each runs at the speed of the slowest; a wait group tells when the
// workers have finished, and a second channel lets the collector stop early.
//
// Links with -lmajjen. `make examples` builds and runs it.
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"

#include <inttypes.h>

#define NUMBERS 2000
#define WORKERS 4
#define QUEUE 8

typedef struct result {
  uint64_t number;
  unsigned worker;
  unsigned steps;  // to 1, by the Collatz rule
} result;

typedef struct pipeline {
  mj_chan* numbers;
  mj_chan* results;
  mj_chan* quit;  // carries no data: closed when no more numbers are wanted
  mj_waitgroup* workers;
  unsigned next_worker, by_worker[WORKERS];
  size_t most_queued;
  unsigned long received, steps;
  result longest;
} pipeline;

static pipeline line;

// Ends the program: in such a small one an error cannot be handled better.
static void check(int result, const char* call) {
  if (result >= 0) return;
  fprintf(stderr, "pipeline: %s: %s\n", call, strerror(-result));
  exit(1);
}

static void producer(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (uint64_t number = 1; number <= NUMBERS; number++) {
    mj_select_case cases[] = {
        {.chan = line.numbers, .op = MJ_SELECT_SEND, .element = &number},
        {.chan = line.quit, .op = MJ_SELECT_RECV},
    };
    int chosen = mj_select(cases, 2, MJ_FOREVER);
    check(chosen, "mj_select");
    if (chosen == 1) break;
    size_t queued = mj_chan_length(line.numbers);
    if (queued > line.most_queued) line.most_queued = queued;
  }
  // The workers still receive the queued numbers, and then -EPIPE.
  check(mj_chan_close(line.numbers), "mj_chan_close");
  mj_task_exit();
}

static void worker(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  result one = {.worker = line.next_worker++};
  while (mj_chan_recv(line.numbers, &one.number, MJ_FOREVER) == 0) {
    one.steps = 0;
    for (uint64_t n = one.number; n != 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1) one.steps++;
    if (one.number % 16 == 0) mj_task_sleep_ns(1000);  // simulates a query to another service
    if (mj_chan_send(line.results, &one, MJ_FOREVER) != 0) break;
  }
  check(mj_waitgroup_done(line.workers), "mj_waitgroup_done");
  mj_task_exit();
}

// Closes the results when all senders have finished.
static void closer(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  check(mj_waitgroup_wait(line.workers, MJ_FOREVER), "mj_waitgroup_wait");
  check(mj_chan_close(line.results), "mj_chan_close");
  mj_task_exit();
}

static void collector(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  unsigned long wanted = *(unsigned long*)user_state;
  result one;
  while (mj_chan_recv(line.results, &one, MJ_FOREVER) == 0) {
    line.received++;
    line.by_worker[one.worker]++;
    line.steps += one.steps;
    if (one.steps > line.longest.steps) line.longest = one;
    // Enough: the producer stops, and results in flight still arrive.
    if (line.received == wanted) check(mj_chan_close(line.quit), "mj_chan_close");
  }
  mj_task_exit();
}

static void* made(void* object) {
  if (object == NULL) check(-errno, "creating");
  return object;
}

// Runs the pipeline until at least this many results have arrived.
static void run(unsigned long wanted) {
  memset(&line, 0, sizeof line);
  mj_scheduler* scheduler = made(mj_scheduler_create());
  line.numbers = made(mj_chan_create(scheduler, sizeof(uint64_t), QUEUE));
  line.results = made(mj_chan_create(scheduler, sizeof(result), 0));
  line.quit = made(mj_chan_create(scheduler, 0, 0));
  line.workers = made(mj_waitgroup_create(scheduler));
  check(mj_waitgroup_add(line.workers, WORKERS), "mj_waitgroup_add");

  unsigned long* limit = made(malloc(sizeof *limit));
  *limit = wanted;
  made(mj_create_task(scheduler, producer, NULL));
  for (int i = 0; i < WORKERS; i++) made(mj_create_task(scheduler, worker, NULL));
  made(mj_create_task(scheduler, closer, NULL));
  made(mj_create_task(scheduler, collector, limit));
  mj_scheduler_run(scheduler);

  check(mj_chan_destroy(line.numbers), "mj_chan_destroy");
  check(mj_chan_destroy(line.results), "mj_chan_destroy");
  check(mj_chan_destroy(line.quit), "mj_chan_destroy");
  check(mj_waitgroup_destroy(line.workers), "mj_waitgroup_destroy");
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);

  run(NUMBERS);
  printf("%lu numbers, %lu steps; %" PRIu64 " took the most, %u\n", line.received, line.steps,
         line.longest.number, line.longest.steps);
  unsigned least = line.by_worker[0];
  for (int i = 1; i < WORKERS; i++) {
    if (line.by_worker[i] < least) least = line.by_worker[i];
  }
  printf("each worker had at least %u; at most %zu were queued\n", least, line.most_queued);
  bool complete = line.received == NUMBERS && least > 0 && line.most_queued <= QUEUE;

  run(100);
  printf("stopped after %lu\n", line.received);
  // Numbers that were queued, being worked on, or being sent when it stopped are still processed.
  return complete && line.received >= 100 && line.received <= 100 + QUEUE + WORKERS + 1 ? 0 : 1;
}
