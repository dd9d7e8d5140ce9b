// The built-in wait functions: what each serves, by itself and wrapped in a program's function.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"
#include "pipes.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/time.h>

// ---- A program's wait function around a built-in one ----

typedef struct wrapper {
  mj_wait_fn inner;
  uint64_t calls;
  uint64_t waits;        // Calls with a timeout that is not 0.
  uint64_t most_events;
  uint64_t events;
  void (*before_first_wait)(void);
} wrapper;

static int wraps(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  wrapper* self = user_data;
  self->calls++;
  if (timeout_ns > 0 && self->waits++ == 0 && self->before_first_wait != NULL) {
    self->before_first_wait();
  }
  // The built-in functions ignore their user_data.
  int events = self->inner(scheduler, timeout_ns, (void*)(uintptr_t)1);
  CHECK_INT(events, >=, 0);
  if ((uint64_t)events > self->most_events) self->most_events = (uint64_t)events;
  self->events += (uint64_t)events;
  return events;
}

// A way to set a scheduler's wait function.
typedef struct variant {
  const char* name;
  mj_wait_fn function;
  mj_wait_fn wrapped;
} variant;

static const variant for_descriptors[] = {
    {"unset", NULL, NULL},
    {"mj_wait_epoll", mj_wait_epoll, NULL},
    {"mj_wait_poll", mj_wait_poll, NULL},
    {"mj_wait_epoll within another", wraps, mj_wait_epoll},
    {"mj_wait_poll within another", wraps, mj_wait_poll},
};
enum { descriptor_variants = sizeof for_descriptors / sizeof for_descriptors[0] };

static const variant for_timers[] = {
    {"unset", NULL, NULL},
    {"mj_wait_epoll", mj_wait_epoll, NULL},
    {"mj_wait_poll", mj_wait_poll, NULL},
    {"mj_wait_nanosleep", mj_wait_nanosleep, NULL},
    {"mj_wait_nanosleep within another", wraps, mj_wait_nanosleep},
};
enum { timer_variants = sizeof for_timers / sizeof for_timers[0] };

static wrapper wrapped;
static const char* running_before;

static mj_scheduler* scheduler_with(const variant* variant) {
  running_before = check_running;
  check_running = variant->name;
  wrapped = (wrapper){.inner = variant->wrapped};
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, variant->function, &wrapped);
  CHECK_PTR(scheduler->wait_data, ==, &wrapped);
  return scheduler;
}

// Also checks what must hold after every run.
static void destroy(mj_scheduler* scheduler) {
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  if (wrapped.inner != NULL) CHECK_UINT(metrics->wait_calls, ==, wrapped.calls);
  CHECK_UINT(metrics->total_wait_time_ns, <=, metrics->total_loop_time_ns);
  mj_scheduler_destroy(scheduler);
  check_running = running_before;
}

// ---- Descriptors ----

static int there[2], back[2];
static int exchanges, finished;

static void open_pipes(void) {
  open_pipe(there);
  open_pipe(back);
  finished = 0;
}

static void close_pipes(void) {
  close_both(there);
  close_both(back);
}

static void serves(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < exchanges; i++) {
    put_byte(there[1]);
    CHECK_INT(mj_task_wait_fd(back[0], POLLIN, i % 2 == 0 ? MJ_FOREVER : LONG_NS), ==, POLLIN);
    take_byte(back[0]);
  }
  finished++;
  mj_task_exit();
}

static void returns_the_serve(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < exchanges; i++) {
    mj_task_wait_readable(there[0]);
    take_byte(there[0]);
    put_byte(back[1]);
  }
  finished++;
  mj_task_exit();
}

static void* returns_the_serve_from_a_thread(void* argument) {
  (void)argument;
  for (int i = 0; i < exchanges; i++) {
    struct pollfd poll_fd = {.fd = there[0], .events = POLLIN};
    CHECK_INT(poll(&poll_fd, 1, -1), ==, 1);
    take_byte(there[0]);
    // Usually the run has gone to sleep by then.
    if (i % 8 == 0) usleep(1000);
    put_byte(back[1]);
  }
  return NULL;
}

static void descriptors_are_served(void) {
  exchanges = (int)times(100, 20);
  for (int i = 0; i < descriptor_variants; i++) {
    open_pipes();
    mj_scheduler* scheduler = scheduler_with(&for_descriptors[i]);
    add_task(scheduler, serves, NULL);
    add_task(scheduler, returns_the_serve, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, 2);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 2 * exchanges);
    // Some events are seen before the function is called.
    if (wrapped.inner != NULL) CHECK_UINT(wrapped.events, <=, 2 * exchanges);

    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, returns_the_serve_from_a_thread, NULL), ==, 0);
    add_task(scheduler, serves, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
    CHECK_INT(finished, ==, 3);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 3 * exchanges);
    destroy(scheduler);
    close_pipes();
  }
}

// One call returns all: they are written in the wait function, when all tasks wait.
enum { counter_count = 10 };

static int counters[counter_count];

static void raise_all(void) {
  for (int i = 0; i < counter_count; i++) {
    const uint64_t one = 1;
    CHECK_INT(write(counters[i], &one, sizeof one), ==, sizeof one);
  }
}

static void waits_for_a_counter(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  CHECK_INT(mj_task_wait_fd(*(int*)user_state, POLLIN, MJ_FOREVER), ==, POLLIN);
  finished++;
  mj_task_exit();
}

static void wait_functions_return_the_number_of_events(void) {
  for (int i = 0; i < descriptor_variants; i++) {
    if (for_descriptors[i].wrapped == NULL) continue;
    finished = 0;
    mj_scheduler* scheduler = scheduler_with(&for_descriptors[i]);
    wrapped.before_first_wait = raise_all;
    for (int j = 0; j < counter_count; j++) {
      counters[j] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
      CHECK_INT(counters[j], >=, 0);
      // Two tasks wait for one of them, which is still one event.
      for (int k = 0; k < (j == 0 ? 2 : 1); k++) {
        int* fd = allocate(sizeof *fd);
        *fd = counters[j];
        add_task(scheduler, waits_for_a_counter, fd);
      }
    }
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, counter_count + 1);
    CHECK_UINT(wrapped.events, ==, counter_count);
    CHECK_UINT(wrapped.most_events, ==, counter_count);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, counter_count);
    destroy(scheduler);
    for (int j = 0; j < counter_count; j++) close(counters[j]);
  }
}

// ---- Timers ----

static void sleeps_often(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  static const uint64_t spans_ns[] = {0, 1, 1000, 100000, 1000000, 2500000, 50001, 999999};
  for (size_t i = 0; i < sizeof spans_ns / sizeof spans_ns[0]; i++) {
    uint64_t before = now_ns();
    CHECK_INT(mj_sleep_ns(spans_ns[i]), ==, 0);
    CHECK_UINT(now_ns() - before, >=, spans_ns[i]);
  }
  finished++;
  mj_task_exit();
}

static void timers_are_served(void) {
  for (int i = 0; i < timer_variants; i++) {
    finished = 0;
    mj_scheduler* scheduler = scheduler_with(&for_timers[i]);
    for (int j = 0; j < 3; j++) add_task(scheduler, sleeps_often, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, 3);
    const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
    CHECK_UINT(metrics->timer_expirations, ==, 3 * 8);
    CHECK_UINT(metrics->wait_calls, >=, 1);
    CHECK_UINT(metrics->io_events, ==, 0);
    destroy(scheduler);
  }
}

// A signal that arrives meanwhile ends no sleep, and is no failure.
static volatile sig_atomic_t alarms;

static void counts_an_alarm(int signal) {
  (void)signal;
  alarms++;
}

static void sleeps_20_ms(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  uint64_t before = now_ns();
  CHECK_INT(mj_sleep_ns(20000000), ==, 0);
  CHECK_UINT(now_ns() - before, >=, 20000000);
  mj_task_exit();
}

static void signals_are_no_failure(void) {
  struct sigaction action, saved;
  memset(&action, 0, sizeof action);
  action.sa_handler = counts_an_alarm;
  CHECK_INT(sigaction(SIGALRM, &action, &saved), ==, 0);
  for (int i = 0; i < timer_variants; i++) {
    alarms = 0;
    log_lines_begin();
    mj_scheduler* scheduler = scheduler_with(&for_timers[i]);
    add_task(scheduler, sleeps_20_ms, NULL);
    const struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    CHECK_INT(setitimer(ITIMER_REAL, &often, NULL), ==, 0);
    mj_scheduler_run(scheduler);
    CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
    CHECK_INT(alarms, >=, 1);
    CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
    destroy(scheduler);
    log_lines_end();
  }
  CHECK_INT(sigaction(SIGALRM, &saved, NULL), ==, 0);
}

// ---- Stops ----

static mj_scheduler* to_stop;

static void* stops_after_5_ms(void* argument) {
  (void)argument;
  usleep(5000);
  CHECK_INT(mj_scheduler_stop(to_stop), ==, 0);
  return NULL;
}

static void check_is_stopped(mj_scheduler* scheduler) {
  to_stop = scheduler;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, stops_after_5_ms, NULL), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(finished, ==, 0);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 1);
}

static void waits_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  mj_task_wait_fd(there[0], POLLIN, *(uint64_t*)user_state);
  finished++;
  mj_task_exit();
}

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  mj_sleep_ns(*(uint64_t*)user_state);
  finished++;
  mj_task_exit();
}

// Twice each: a stop must not end a later wait, nor make a later stop ineffective.
static void check_stops(const variant* variants, int count, mj_task_fn* waits) {
  static const uint64_t limits_ns[] = {MJ_FOREVER, LONG_NS};
  for (int i = 0; i < 2 * count; i++) {
    open_pipes();
    mj_scheduler* scheduler = scheduler_with(&variants[i / 2]);
    uint64_t* limit_ns = allocate(sizeof *limit_ns);
    *limit_ns = limits_ns[i % 2];
    add_task(scheduler, waits, limit_ns);
    for (int round = 0; round < 2; round++) check_is_stopped(scheduler);
    destroy(scheduler);
    close_pipes();
  }
}

static void a_thread_stops_a_wait_for_a_descriptor(void) {
  check_stops(for_descriptors, descriptor_variants, waits_long);
}

static void a_thread_stops_a_sleep(void) {
  check_stops(for_descriptors, descriptor_variants, sleeps_long);
  check_stops(for_timers, timer_variants, sleeps_long);
}

// The thread may stop the run at any point, also between two waits.
static void ticks_without_end(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) mj_sleep_ns(20000);
}

static void* stops_soon(void* argument) {
  usleep((useconds_t)(uintptr_t)argument);
  CHECK_INT(mj_scheduler_stop(to_stop), ==, 0);
  return NULL;
}

static void no_stop_is_missed(void) {
  for (int i = 0; i < timer_variants; i++) {
    mj_scheduler* scheduler = scheduler_with(&for_timers[i]);
    to_stop = scheduler;
    add_task(scheduler, ticks_without_end, NULL);
    for (size_t round = 0; round < times(50, 5); round++) {
      pthread_t thread;
      void* delay_us = (void*)(uintptr_t)(round * 7 % 50);
      CHECK_INT(pthread_create(&thread, NULL, stops_soon, delay_us), ==, 0);
      mj_scheduler_run(scheduler);
      CHECK_INT(pthread_join(thread, NULL), ==, 0);
    }
    destroy(scheduler);
  }
}

// ---- Sleeping only ----

static void with_mj_wait_nanosleep_a_descriptor_alone_is_a_deadlock(void) {
  open_pipes();
  // Ready or not, the wait function does not poll descriptors.
  for (int round = 0; round < 2; round++) {
    finished = 0;
    mj_scheduler* scheduler = scheduler_with(&(variant){"nanosleep", mj_wait_nanosleep, NULL});
    uint64_t* limit_ns = allocate(sizeof *limit_ns);
    *limit_ns = MJ_FOREVER;
    add_task(scheduler, waits_long, limit_ns);
    log_lines_begin();
    mj_scheduler_run(scheduler);
    CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, 1);
    log_lines_end();
    CHECK_INT(finished, ==, 0);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 1);
    // The task is unchanged, and continues with a wait function that does poll.
    if (round == 0) put_byte(there[1]);
    mj_scheduler_set_wait_func(scheduler, mj_wait_poll, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, 1);
    destroy(scheduler);
  }
  close_pipes();
}

static void writes_and_sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < exchanges; i++) {
    CHECK_INT(mj_sleep_ns(500000), ==, 0);
    put_byte(there[1]);
  }
  // After its last sleeps the last byte is found.
  while (finished == 0) CHECK_INT(mj_sleep_ns(500000), ==, 0);
  mj_task_exit();
}

static void reads_with_and_without_limit(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < exchanges; i++) {
    CHECK_INT(mj_task_wait_fd(there[0], POLLIN, i % 2 == 0 ? MJ_FOREVER : LONG_NS), ==, POLLIN);
    take_byte(there[0]);
  }
  CHECK_INT(mj_task_wait_fd(there[0], POLLIN, 1000000), ==, -ETIMEDOUT);
  finished++;
  mj_task_exit();
}

static void with_mj_wait_nanosleep_descriptors_are_polled_after_a_sleep(void) {
  for (int i = 0; i < timer_variants; i++) {
    open_pipes();
    exchanges = 6;
    mj_scheduler* scheduler = scheduler_with(&for_timers[i]);
    add_task(scheduler, writes_and_sleeps, NULL);
    add_task(scheduler, reads_with_and_without_limit, NULL);
    mj_scheduler_run(scheduler);
    CHECK_INT(finished, ==, 1);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, exchanges);
    destroy(scheduler);
    close_pipes();
  }
}

// ---- A program's wait function with a source of its own ----

typedef struct watcher {
  int own_fd;
  mj_task* task;
  uint64_t own_events, library_events;
} watcher;

// The pattern of the documentation: the backend descriptor in the program's set, and mj_wait_poll()
// when it is readable.
static int watches_both(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  watcher* self = user_data;
  struct pollfd fds[2] = {
      {.fd = mj_scheduler_backend_fd(scheduler), .events = POLLIN},
      {.fd = self->own_fd, .events = POLLIN},
  };
  struct timespec limit = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
  int count = ppoll(fds, 2, timeout_ns == MJ_FOREVER ? NULL : &limit, NULL);
  if (count < 0) return errno == EINTR ? 0 : -1;
  int events = 0;
  if (fds[0].revents != 0) {
    int by_library = mj_wait_poll(scheduler, 0, NULL);
    CHECK_INT(by_library, >=, 0);
    self->library_events += (uint64_t)by_library;
    events += by_library;
  }
  if (fds[1].revents != 0) {
    uint64_t ignored;
    CHECK_INT(read(self->own_fd, &ignored, sizeof ignored), ==, sizeof ignored);
    self->own_events++;
    if (self->task != NULL) mj_scheduler_enqueue(scheduler, self->task);
    events++;
  }
  return events;
}

static watcher watched;

static void parks_and_counts(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  watched.task = scheduler->current_task;
  if (watched.own_events == 5) {
    finished++;
    watched.task = NULL;
    mj_task_exit();
  } else {
    scheduler->current_task->state = MJ_TASK_WAITING_IO;
  }
}

static void* raises_five_times(void* argument) {
  (void)argument;
  for (int i = 0; i < 5; i++) {
    const uint64_t one = 1;
    usleep(1000);
    CHECK_INT(write(watched.own_fd, &one, sizeof one), ==, sizeof one);
    // Until it has been seen: two writes would be one event.
    struct pollfd poll_fd = {.fd = watched.own_fd, .events = POLLIN};
    while (poll(&poll_fd, 1, 0) != 0) usleep(100);
  }
  return NULL;
}

static void a_programs_wait_function_may_call_them(void) {
  open_pipes();
  exchanges = (int)times(50, 10);
  watched = (watcher){.own_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  mj_scheduler* scheduler = scheduler_with(&(variant){"watches_both", NULL, NULL});
  mj_scheduler_set_wait_func(scheduler, watches_both, &watched);
  add_task(scheduler, serves, NULL);
  add_task(scheduler, returns_the_serve, NULL);
  add_task(scheduler, sleeps_often, NULL);
  add_task(scheduler, parks_and_counts, NULL);
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, raises_five_times, NULL), ==, 0);
  mj_scheduler_run(scheduler);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_INT(finished, ==, 4);
  CHECK_UINT(watched.own_events, ==, 5);
  CHECK_UINT(watched.library_events, >, 0);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 2 * exchanges);
  destroy(scheduler);
  close(watched.own_fd);
  close_pipes();
}

// ---- Misuse, and what can be read back ----

static void without_a_scheduler_they_fail(void) {
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_wait_epoll(NULL, 0, NULL), ==, -1));
  CHECK_WARNS(CHECK_INT(mj_wait_poll(NULL, MJ_FOREVER, NULL), ==, -1));
  CHECK_WARNS(CHECK_INT(mj_wait_nanosleep(NULL, MJ_FOREVER, NULL), ==, -1));
  log_lines_end();
}

static void the_field_is_the_function_that_was_set(void) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK(scheduler->wait_func == NULL);
  static const mj_wait_fn functions[] = {wraps, mj_wait_epoll, mj_wait_poll, mj_wait_nanosleep};
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    mj_scheduler_set_wait_func(scheduler, functions[i], &wrapped);
    CHECK_INT((intptr_t)scheduler->wait_func, ==, (intptr_t)functions[i]);
    CHECK_PTR(scheduler->wait_data, ==, &wrapped);
  }
  mj_scheduler_set_wait_func(scheduler, NULL, NULL);
  CHECK(scheduler->wait_func == NULL);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(descriptors_are_served);
  RUN(wait_functions_return_the_number_of_events);
  RUN(timers_are_served);
  RUN(signals_are_no_failure);
  RUN(a_thread_stops_a_wait_for_a_descriptor);
  RUN(a_thread_stops_a_sleep);
  RUN(no_stop_is_missed);
  RUN(with_mj_wait_nanosleep_a_descriptor_alone_is_a_deadlock);
  RUN(with_mj_wait_nanosleep_descriptors_are_polled_after_a_sleep);
  RUN(a_programs_wait_function_may_call_them);
  RUN(without_a_scheduler_they_fail);
  RUN(the_field_is_the_function_that_was_set);
  return 0;
}
