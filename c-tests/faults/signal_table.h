// The scenario of one run more, of a scheduler that handles signals, than the table of such runs has room for
// at first: without memory for more the run does not begin, and a later one does.
#ifndef SIGNAL_TABLE_H
#define SIGNAL_TABLE_H

enum { RUNS_OF_A_TABLE = 64 };

static pthread_t busy_threads[RUNS_OF_A_TABLE];
static volatile unsigned busy;  // changed by atomic operations
static int all_go[2];
static bool table_has_grown;

static void is_busy(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  __atomic_fetch_add(&busy, 1, __ATOMIC_RELAXED);
  CHECK_INT(mj_task_wait_fd(all_go[0], POLLIN, MJ_FOREVER), >, 0);
  mj_task_exit();
}

static void* runs_for_long(void* scheduler) {
  is_spared = true;
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

static void fill_table(mj_scheduler* unused) {
  (void)unused;
  CHECK_INT(pipe(all_go), ==, 0);
  for (int i = 0; i < RUNS_OF_A_TABLE; i++) {
    mj_scheduler* scheduler = setup_scheduler_with_epoll();
    CHECK(scheduler != NULL);
    CHECK(mj_create_task(scheduler, is_busy, NULL) != NULL);
    CHECK_INT(pthread_create(&busy_threads[i], NULL, runs_for_long, scheduler), ==, 0);
  }
  while (__atomic_load_n(&busy, __ATOMIC_RELAXED) < RUNS_OF_A_TABLE) sched_yield();
}

static void run_one_more(mj_scheduler** unused) {
  (void)unused;
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  if (scheduler == NULL) CHECK_ALLOWED(-errno);
  if (scheduler == NULL || spawn(scheduler, yields, 0) == NULL) {
    mj_scheduler_destroy(scheduler);
    return;
  }
  int result = mj_run(scheduler);
  CHECK_ALLOWED(result);
  fault.armed = false;
  if (result != 0) CHECK_INT(mj_run(scheduler), ==, 0);
  table_has_grown = true;
  mj_scheduler_destroy(scheduler);
}

static void empty_table(void) {
  close(all_go[1]);
  for (int i = 0; i < RUNS_OF_A_TABLE; i++) CHECK_INT(pthread_join(busy_threads[i], NULL), ==, 0);
  close(all_go[0]);
  // What the table has grown by, it keeps.
  if (table_has_grown) live_blocks--;
}

#endif  // SIGNAL_TABLE_H
