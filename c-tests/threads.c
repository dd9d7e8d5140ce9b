// Several threads, each with its own scheduler; and what a thread must not do to another thread's
// scheduler.
#define _GNU_SOURCE
#include "child.h"
#include "log_lines.h"

#include <fcntl.h>
#include <pthread.h>

enum { thread_count = 4, most_rounds = 200 };

static size_t rounds;

// The data of one thread, which no other thread touches.
typedef struct thread_data {
  int there[2];
  int back[2];
  mj_scheduler* scheduler;
  size_t ticks;
  size_t served;
  size_t answered;
  bool ended;
} thread_data;

static thread_data* data_of(void* user_state) { return *(thread_data**)user_state; }

static void check_thread_data(const thread_data* data, mj_scheduler* scheduler) {
  CHECK_PTR(scheduler, ==, data->scheduler);
  CHECK_PTR(mj_scheduler_current(), ==, data->scheduler);
}

static void ticks(mj_scheduler* scheduler, void* user_state) {
  thread_data* data = data_of(user_state);
  for (size_t i = 0; i < rounds; i++) {
    uint64_t before = now_ns();
    mj_task_sleep_ns(100000);
    CHECK_UINT(now_ns() - before, >=, 100000);
    check_thread_data(data, scheduler);
    data->ticks++;
  }
  mj_task_exit();
}

static void serves(mj_scheduler* scheduler, void* user_state) {
  thread_data* data = data_of(user_state);
  for (size_t i = 0; i < rounds; i++) {
    char byte = (char)i;
    CHECK_INT(write(data->there[1], &byte, 1), ==, 1);
    mj_task_wait_readable(data->back[0]);
    check_thread_data(data, scheduler);
    CHECK_INT(read(data->back[0], &byte, 1), ==, 1);
    CHECK_INT(byte, ==, (char)(i + 1));
    data->served++;
  }
  mj_task_exit();
}

static void answers(mj_scheduler* scheduler, void* user_state) {
  thread_data* data = data_of(user_state);
  for (size_t i = 0; i < rounds; i++) {
    char byte;
    mj_task_wait_readable(data->there[0]);
    check_thread_data(data, scheduler);
    CHECK_INT(read(data->there[0], &byte, 1), ==, 1);
    byte++;
    CHECK_INT(write(data->back[1], &byte, 1), ==, 1);
    data->answered++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void* works(void* argument) {
  thread_data* data = argument;
  static mj_task_fn* const bodies[] = {ticks, serves, answers};
  // Several schedulers one after the other, on the same thread.
  for (int i = 0; i < 3; i++) {
    CHECK_INT(pipe2(data->there, O_CLOEXEC | O_NONBLOCK), ==, 0);
    CHECK_INT(pipe2(data->back, O_CLOEXEC | O_NONBLOCK), ==, 0);
    data->ticks = data->served = data->answered = 0;
    data->scheduler = new_scheduler();
    CHECK_PTR(mj_scheduler_current(), ==, NULL);
    for (size_t j = 0; j < 3; j++) {
      thread_data** state = allocate(sizeof *state);
      *state = data;
      add_task(data->scheduler, bodies[j], state);
    }
    mj_scheduler_run(data->scheduler);
    CHECK_PTR(mj_scheduler_current(), ==, NULL);
    CHECK_UINT(data->ticks, ==, rounds);
    CHECK_UINT(data->served, ==, rounds);
    CHECK_UINT(data->answered, ==, rounds);
    CHECK_UINT(mj_scheduler_get_metrics(data->scheduler)->tasks_exited, ==, 3);
    mj_scheduler_destroy(data->scheduler);
    for (int j = 0; j < 2; j++) {
      close(data->there[j]);
      close(data->back[j]);
    }
  }
  data->ended = true;
  return NULL;
}

static void each_thread_runs_a_scheduler_of_its_own(void) {
  rounds = times(most_rounds, 30);
  pthread_t threads[thread_count];
  thread_data data[thread_count];
  memset(data, 0, sizeof data);
  for (size_t i = 0; i < thread_count; i++) {
    CHECK_INT(pthread_create(&threads[i], NULL, works, &data[i]), ==, 0);
  }
  for (size_t i = 0; i < thread_count; i++) {
    CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    CHECK(data[i].ended);
  }
}

static int turns;

static void counts_a_turn(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  turns++;
  mj_task_exit();
}

// ---- A scheduler may move to another thread between runs, with its tasks ----

// errno belongs to the thread. The compiler may cache its address, so a task that may have moved to
// another thread reads it in a function of its own.
__attribute__((noinline)) static int get_errno(void) { return errno; }
__attribute__((noinline)) static void set_errno(int value) { errno = value; }

static void counts_to_three(mj_scheduler* scheduler, void* user_state) {
  int* count = *(int**)user_state;
  for (int i = 0; i < 3; i++) {
    ++*count;
    mj_scheduler_stop(scheduler);
    set_errno(1000 + i);
    mj_task_yield();
    CHECK_PTR(mj_scheduler_current(), ==, scheduler);
    CHECK_INT(get_errno(), ==, 1000 + i);
  }
  mj_task_exit();
}

static void* runs_once(void* scheduler) {
  mj_scheduler_run(scheduler);
  return NULL;
}

static void a_scheduler_moves_between_runs(void) {
  int count = 0;
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  int** state = allocate(sizeof *state);
  *state = &count;
  add_task(scheduler, counts_to_three, state);
  for (int round = 1; round <= 4; round++) {
    if (round % 2 == 0) {
      mj_scheduler_run(scheduler);
    } else {
      pthread_t thread;
      CHECK_INT(pthread_create(&thread, NULL, runs_once, scheduler), ==, 0);
      CHECK_INT(pthread_join(thread, NULL), ==, 0);
    }
    CHECK_INT(count, ==, round < 3 ? round : 3);
    // With each move that takes a task along which has started.
    CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, round - 1);
  }
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 1);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// What has not started knows no thread yet.
static void a_scheduler_moves_without_a_word_before_its_tasks_start(void) {
  turns = 0;
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 2; j++) add_task(scheduler, counts_a_turn, NULL);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, runs_once, scheduler), ==, 0);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    add_task(scheduler, counts_a_turn, NULL);
    mj_scheduler_run(scheduler);
  }
  CHECK_INT(turns, ==, 9);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// Nor on the thread where they are.
static void a_scheduler_that_stays_is_not_said_to_move(void) {
  int count = 0;
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  int** state = allocate(sizeof *state);
  *state = &count;
  add_task(scheduler, counts_to_three, state);
  for (int round = 1; round <= 4; round++) mj_scheduler_run(scheduler);
  CHECK_INT(count, ==, 3);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 0);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- Misuse from another thread, while the scheduler runs ----

typedef struct intrusion {
  mj_scheduler* scheduler;
  mj_task* created;
  int create_errno;
} intrusion;

static void* intrudes(void* argument) {
  intrusion* state = argument;
  errno = 0;
  state->created = mj_create_task(state->scheduler, counts_a_turn, NULL);
  state->create_errno = errno;
  mj_scheduler_run(state->scheduler);
  mj_scheduler_destroy(state->scheduler);
  return NULL;
}

static void is_intruded_on(mj_scheduler* scheduler, void* user_state) {
  intrusion* state = *(intrusion**)user_state;
  // The thread works while this task keeps the scheduler running.
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, intrudes, state), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_PTR(mj_scheduler_current(), ==, scheduler);
  mj_task_yield();
  mj_task_sleep_ns(1000);
  turns += 100;
  mj_task_exit();
}

static void another_thread_cannot_intrude_on_a_run(void) {
  turns = 0;
  log_lines_begin();
  intrusion state;
  memset(&state, 0, sizeof state);
  state.scheduler = new_scheduler();
  intrusion** shared = allocate(sizeof *shared);
  *shared = &state;
  add_task(state.scheduler, is_intruded_on, shared);
  mj_scheduler_run(state.scheduler);
  CHECK_PTR(state.created, ==, NULL);
  CHECK_INT(state.create_errno, ==, EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), >=, 2);
  CHECK_INT(turns, ==, 100);
  CHECK_UINT(mj_scheduler_get_metrics(state.scheduler)->tasks_created, ==, 1);
  mj_scheduler_destroy(state.scheduler);
  log_lines_end();
}

// Each call is refused and reports it, and nothing changes.
static void* calls_all(void* argument) {
  mj_scheduler* scheduler = argument;
  mj_task* task = scheduler->current_task;
  mj_task_id id = mj_task_get_id(task);
  CHECK_WARNS(CHECK_INT(mj_scheduler_enqueue(scheduler, task), ==, -EPERM));
  CHECK_WARNS(mj_scheduler_enqueue(scheduler, task));
  CHECK_WARNS(CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, NULL));
  errno = 0;
  CHECK_WARNS(CHECK_PTR(mj_task_find(scheduler, id), ==, NULL));
  CHECK_INT(errno, ==, EPERM);
  CHECK_WARNS(CHECK_PTR(mj_scheduler_get_metrics(scheduler), ==, NULL));
  CHECK_WARNS(mj_scheduler_reset_metrics(scheduler));
  char text[100] = "untouched";
  CHECK_WARNS(CHECK_INT(
      mj_scheduler_write_metrics(scheduler, text, sizeof text, MJ_METRICS_JSON), ==, -EPERM));
  CHECK_STR(text, "untouched");
  CHECK_WARNS(mj_scheduler_print_metrics(scheduler, stdout));
  CHECK_WARNS(mj_scheduler_dump(scheduler, stdout));
  CHECK_WARNS(CHECK_INT(mj_scheduler_backend_fd(scheduler), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_scheduler_set_stack_size(scheduler, 65536), ==, -EPERM));
  CHECK_WARNS(CHECK_UINT(mj_scheduler_now_ns(scheduler), ==, 0));
  CHECK_WARNS(mj_scheduler_set_wait_func(scheduler, mj_wait_nanosleep, NULL));
  mj_wait_fn const waits[] = {mj_wait_epoll, mj_wait_poll, mj_wait_nanosleep};
  for (size_t i = 0; i < 3; i++) CHECK_WARNS(CHECK_INT(waits[i](scheduler, 0, NULL), ==, -1));
  CHECK_INT(mj_scheduler_set_clock(scheduler, NULL, NULL), ==, -EBUSY);
  CHECK_INT(mj_scheduler_set_overflow_report(scheduler, true), ==, -EBUSY);
  return NULL;
}

static void has_another_thread_call_all(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, calls_all, scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_UINT(scheduler->runnable_count, ==, 1);
  CHECK(scheduler->wait_func == NULL);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_created, ==, 2);
  mj_task_exit();
}

static void calls_of_another_thread_are_refused(void) {
  turns = 0;
  log_lines_begin();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, has_another_thread_call_all, NULL);
  add_task(scheduler, counts_a_turn, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 1);
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// Without these refusals the borrow counts, which are not atomic, end up wrong, and crash the
// process.
static bool intruder_ends;

static void* looks_on(void* scheduler) {
  while (!__atomic_load_n(&intruder_ends, __ATOMIC_RELAXED)) {
    mj_scheduler_get_metrics(scheduler);
    mj_scheduler_backend_fd(scheduler);
    mj_task_find(scheduler, 1);
  }
  return NULL;
}

static void is_looked_on(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, looks_on, scheduler), ==, 0);
  for (size_t i = 0; i < times(2000, 50); i++) {
    for (int j = 0; j < 100; j++) add_task(scheduler, counts_a_turn, NULL);
    mj_task_yield();
  }
  __atomic_store_n(&intruder_ends, true, __ATOMIC_RELAXED);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_task_exit();
}

static void another_thread_that_looks_on_does_no_harm(void) {
  intruder_ends = false;
  turns = 0;
  mj_log_set_level(MJ_LOG_SILENT);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, is_looked_on, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(turns, ==, 100 * times(2000, 50));
  mj_scheduler_destroy(scheduler);
  mj_log_set_level(MJ_LOG_INFO);
}

// ---- A thread that ends in the middle of a run ----

static mj_scheduler* left_running;

static void ends_its_thread(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  pthread_exit(&left_running);
}

static void* runs_it(void* unused) {
  (void)unused;
  mj_scheduler_run(left_running);
  return NULL;
}

static void leaves_a_run_by_the_end_of_its_thread(void) {
  left_running = new_scheduler();
  add_task(left_running, ends_its_thread, NULL);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs_it, NULL), ==, 0);
  void* result = NULL;
  CHECK_INT(pthread_join(thread, &result), ==, 0);
  CHECK_PTR(result, ==, &left_running);
  log_lines_begin();
  CHECK_WARNS(mj_scheduler_run(left_running));
  CHECK_WARNS(mj_scheduler_destroy(left_running));
  log_lines_end();
}

// In a child, since it keeps its descriptors.
static void a_scheduler_whose_thread_has_ended_counts_as_running(void) {
  if (sanitized()) return;  // They do not bear the end of a thread on another stack than its own.
  CHECK_INT(status_of_child(leaves_a_run_by_the_end_of_its_thread), ==, 0);
}

int main(void) {
  RUN(each_thread_runs_a_scheduler_of_its_own);
  RUN(a_scheduler_moves_between_runs);
  RUN(a_scheduler_moves_without_a_word_before_its_tasks_start);
  RUN(a_scheduler_that_stays_is_not_said_to_move);
  RUN(another_thread_cannot_intrude_on_a_run);
  RUN(calls_of_another_thread_are_refused);
  RUN(another_thread_that_looks_on_does_no_harm);
  RUN(a_scheduler_whose_thread_has_ended_counts_as_running);
  return 0;
}
