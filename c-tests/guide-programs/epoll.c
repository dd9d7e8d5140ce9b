// The guide's epoll section, pasted into a program: its functions replace the library's functions
// of the same names. Its mj_task_wait_readable() marks the task and returns, so a body that waits
// returns too, and is called again from the top when the guide's wait_epoll() has enqueued the
// task.
#define _GNU_SOURCE
#include "../check.h"
#include "../log_lines.h"

#include <fcntl.h>

#include "../guide/17-wait-epoll.c"
#include "../guide/18-setup-scheduler-with-epoll.c"
#include "../guide/19-task-wait-readable.c"

static mj_scheduler* guide_scheduler(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  CHECK(scheduler != NULL);
  // The function above, not the library's.
  CHECK(scheduler->wait_func == wait_epoll);
  CHECK(scheduler->wait_data != NULL);
  return scheduler;
}

// The guide never frees its wait function's data.
static void destroy(mj_scheduler* scheduler) {
  mj_epoll_data* epoll_data = scheduler->wait_data;
  mj_scheduler_destroy(scheduler);
  close(epoll_data->epoll_fd);
  free(epoll_data);
}

static void open_pipe(int fds[2]) { CHECK_INT(pipe(fds), ==, 0); }

// A byte that was not written means that something else woke the task. Nonblocking, so that this
// fails instead of hanging.
static void read_byte(int fd) {
  char byte = 0;
  CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
  CHECK_INT(read(fd, &byte, 1), ==, 1);
  CHECK_INT(byte, ==, 'x');
}

static void write_byte(int fd) { CHECK_INT(write(fd, "x", 1), ==, 1); }

enum { STAGES = 5 };

typedef struct stages {
  int fds[STAGES][2];
  int waits;
} stages;

static int calls;

// Each call does one stage, which only the state selects.
static void reads_in_stages(mj_scheduler* scheduler, void* user_state) {
  stages* state = user_state;
  mj_task* self = scheduler->current_task;
  calls++;
  CHECK_INT(self->state, ==, MJ_TASK_RUNNABLE);
  if (state->waits > 0) {
    int readable = state->fds[state->waits - 1][0];
    read_byte(readable);
    close(readable);
  }
  if (state->waits == STAGES) {
    mj_task_exit();
    return;
  }
  mj_task_wait_readable(state->fds[state->waits][0]);
  // It has only marked the task.
  CHECK_INT(self->state, ==, MJ_TASK_WAITING_IO);
  CHECK_PTR(scheduler->current_task, ==, self);
  state->waits++;
}

typedef struct writer {
  mj_task* reader;
  stages* stages;
} writer;

// On its own stack, with the library's sleep, beside a task of the guide's kind.
static void writes_in_stages(mj_scheduler* scheduler, void* user_state) {
  writer* state = user_state;
  for (int stage = 0; stage < STAGES; stage++) {
    do {
      mj_task_sleep_ms(1);
    } while (state->stages->waits == stage);
    CHECK_INT(state->stages->waits, ==, stage + 1);
    CHECK_INT(state->reader->state, ==, MJ_TASK_WAITING_IO);
    CHECK_UINT(scheduler->metrics.io_events, ==, (uint64_t)stage);
    write_byte(state->stages->fds[stage][1]);
    close(state->stages->fds[stage][1]);
  }
  mj_task_exit();
}

static void a_task_that_marks_itself_and_returns_is_called_again_from_the_top(void) {
  log_lines_begin();
  calls = 0;
  mj_scheduler* scheduler = guide_scheduler();
  stages* state = allocate(sizeof *state);
  for (int stage = 0; stage < STAGES; stage++) open_pipe(state->fds[stage]);
  writer* writing = allocate(sizeof *writing);
  writing->reader = add_task(scheduler, reads_in_stages, state);
  writing->stages = state;
  add_task(scheduler, writes_in_stages, writing);
  mj_scheduler_run(scheduler);
  CHECK_INT(calls, ==, STAGES + 1);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->io_events, ==, STAGES);
  CHECK_UINT(metrics->timer_expirations, >=, STAGES);
  CHECK_UINT(metrics->timer_cancellations, ==, 0);
  CHECK_UINT(metrics->tasks_exited, ==, 2);
  CHECK_UINT(metrics->wait_calls, >=, STAGES);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  destroy(scheduler);
  log_lines_end();
}

typedef struct once {
  int fd;
  bool waited;
} once;

static int readers_done;

static void reads_one_byte(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  once* state = user_state;
  if (!state->waited) {
    state->waited = true;
    mj_task_wait_readable(state->fd);
    return;
  }
  read_byte(state->fd);
  close(state->fd);
  readers_done++;
  mj_task_exit();
}

// wait_epoll() takes 32 events at a time.
static void more_descriptors_than_one_call_takes_are_all_served(void) {
  enum { PIPES = 100 };
  log_lines_begin();
  readers_done = 0;
  mj_scheduler* scheduler = guide_scheduler();
  for (int i = 0; i < PIPES; i++) {
    int fds[2];
    open_pipe(fds);
    once* state = allocate(sizeof *state);
    state->fd = fds[0];
    add_task(scheduler, reads_one_byte, state);
    write_byte(fds[1]);
    close(fds[1]);
  }
  mj_scheduler_run(scheduler);
  CHECK_INT(readers_done, ==, PIPES);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, PIPES);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  destroy(scheduler);
  log_lines_end();
}

static void sleeps_odd_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (uint64_t ns = 100000; ns < 5000000; ns += 370000) {
    uint64_t before = now_ns();
    mj_task_sleep_ns(ns);
    CHECK_UINT(now_ns() - before, >=, ns);
  }
  mj_task_exit();
}

// wait_epoll() truncates the timeout to whole milliseconds.
static void timers_are_never_early_beside_a_wait_that_is(void) {
  log_lines_begin();
  mj_scheduler* scheduler = guide_scheduler();
  add_task(scheduler, sleeps_odd_times, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->tasks_exited, ==, 1);
  destroy(scheduler);
  log_lines_end();
}

typedef struct again {
  int fd;
  int calls;
} again;

static void waits_twice_for_one_descriptor(mj_scheduler* scheduler, void* user_state) {
  again* state = user_state;
  size_t errors = log_lines_from(MJ_LOG_ERROR);
  state->calls++;
  if (state->calls == 1) {
    mj_task_wait_readable(state->fd);
    CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_WAITING_IO);
    CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors);
  } else if (state->calls == 2) {
    read_byte(state->fd);
    mj_task_wait_readable(state->fd);
    CHECK_INT(scheduler->current_task->state, ==, MJ_TASK_RUNNABLE);
    CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 1);
  } else {
    mj_task_exit();
  }
}

// The guide's section only ever adds descriptors: the second wait for one fails, and the task is called again
// at once, though there is nothing to read.
static void a_second_wait_for_a_descriptor_is_an_error_and_no_wait(void) {
  log_lines_begin();
  mj_scheduler* scheduler = guide_scheduler();
  int fds[2];
  open_pipe(fds);
  write_byte(fds[1]);
  again* state = allocate(sizeof *state);
  state->fd = fds[0];
  add_task(scheduler, waits_twice_for_one_descriptor, state);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, ==, 3);
  destroy(scheduler);
  log_lines_end();
  close(fds[0]);
  close(fds[1]);
}

int main(void) {
  RUN(a_task_that_marks_itself_and_returns_is_called_again_from_the_top);
  RUN(more_descriptors_than_one_call_takes_are_all_served);
  RUN(timers_are_never_early_beside_a_wait_that_is);
  RUN(a_second_wait_for_a_descriptor_is_an_error_and_no_wait);
  return 0;
}
