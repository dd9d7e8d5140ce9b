// Closing a descriptor that tasks wait for, and reusing its number.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"
#include "waiters.h"

#include <limits.h>
#include <pthread.h>

static void close_while_others_wait(void) {
  int fds[2], unrelated[2];
  open_pipe(fds);
  open_pipe(unrelated);
  call waits[4], other;
  begin_wait(&waits[0], fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&waits[1], fds[0], POLLIN, LONG_NS);
  begin_wait(&waits[2], fds[0], 0, MJ_FOREVER);
  begin_wait(&waits[3], fds[0], POLLPRI, LONG_NS);
  begin_wait(&other, unrelated[0], POLLIN, LONG_NS);
  CHECK_UINT(scheduler->timer_count, ==, 3);
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  // mj_fd_close() does not suspend, so the tasks have not run yet; but they will, without any
  // event.
  for (int i = 0; i < 4; i++) {
    CHECK(!waits[i].returned);
    CHECK_INT(waits[i].task->state, ==, MJ_TASK_RUNNABLE);
  }
  CHECK_UINT(scheduler->timer_count, ==, 1);
  CHECK_INT(fcntl(fds[0], F_GETFD), ==, -1);
  mj_task_yield();
  for (int i = 0; i < 4; i++) {
    CHECK(waits[i].returned);
    CHECK_INT(waits[i].result, ==, -EBADF);
  }
  check_waiting(&other);
  put_byte(unrelated[1]);
  CHECK_INT(result_of(&other), ==, POLLIN);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 1);

  CHECK_INT(mj_fd_close(fds[0]), ==, -EBADF);
  CHECK_INT(mj_fd_close(-1), ==, -EBADF);
  CHECK_INT(mj_fd_close(INT_MAX), ==, -EBADF);
  CHECK_INT(mj_fd_close(INT_MIN), ==, -EBADF);
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  close_both(unrelated);
}

static void closing_wakes_all_waiters(void) {
  in_a_task(close_while_others_wait);
  // Outside a run it is close(2).
  int fds[2];
  open_pipe(fds);
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  CHECK_INT(mj_fd_close(fds[0]), ==, -EBADF);
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
}

static void after_a_plain_close_the_wait_can_still_be_ended(void) {
  int fds[2];
  open_pipe(fds);
  call reader;
  begin_wait(&reader, fds[0], POLLIN, MJ_FOREVER);
  let_events_come();
  close(fds[0]);
  let_events_come();
  // As documented: close(2) alone does not tell the task.
  check_waiting(&reader);
  CHECK_INT(mj_fd_close(fds[0]), ==, -EBADF);
  CHECK_INT(result_of(&reader), ==, -EBADF);
  close(fds[1]);
}

static void a_plain_close_can_come_before_the_first_poll(void) {
  int fds[2];
  open_pipe(fds);
  call reader;
  begin_wait(&reader, fds[0], POLLIN, MJ_FOREVER);
  // Before the scheduler has polled it.
  close(fds[0]);
  CHECK_INT(result_of(&reader), ==, -EBADF);
  close(fds[1]);
}

static void a_duplicate_outlives_the_descriptor(void) {
  int fds[2];
  open_pipe(fds);
  int other_name = dup(fds[0]);
  CHECK_INT(other_name, >=, 0);
  call closed, open;
  begin_wait(&closed, fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&open, other_name, POLLIN, MJ_FOREVER);
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  CHECK_INT(result_of(&closed), ==, -EBADF);
  let_events_come();
  check_waiting(&open);
  // The open file lives on under its other number, which alone gets its events.
  put_byte(fds[1]);
  CHECK_INT(result_of(&open), ==, POLLIN);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 1);
  take_byte(other_name);
  begin_wait(&open, other_name, POLLIN, MJ_FOREVER);
  let_events_come();
  check_waiting(&open);
  CHECK_INT(mj_fd_close(other_name), ==, 0);
  CHECK_INT(result_of(&open), ==, -EBADF);
  close(fds[1]);
}

// Puts a new pipe's read end under a free number, and returns its write end.
static int open_under(int number) {
  int fds[2];
  open_pipe(fds);
  if (fds[0] != number) {
    CHECK_INT(dup2(fds[0], number), ==, number);
    close(fds[0]);
  }
  return fds[1];
}

// The event of the old file is pending when its number is closed and reused. The file may stay open
// under another number, and the number may be closed without telling the library.
static void a_reused_number_has_its_own_events(void) {
  const int number = 300;
  for (int variant = 0; variant < 4; variant++) {
    bool with_duplicate = variant % 2 == 1, plainly = variant >= 2;
    int old_writer = open_under(number);
    int duplicate = with_duplicate ? dup(number) : -1;
    call old, new;
    begin_wait(&old, number, POLLIN, MJ_FOREVER);
    uint64_t events_before = mj_scheduler_get_metrics(scheduler)->io_events;
    // Nothing polls descriptors from here to this task's next wait.
    put_byte(old_writer);
    if (plainly) {
      CHECK_INT(mj_task_wake(old.task), ==, 1);
      CHECK_INT(close(number), ==, 0);
    } else {
      CHECK_INT(mj_fd_close(number), ==, 0);
    }
    int new_writer = open_under(number);
    begin_wait(&new, number, POLLIN, 1000000);
    CHECK(old.returned);
    CHECK_INT(old.result, ==, plainly ? -EINTR : -EBADF);
    if (with_duplicate) put_byte(old_writer);
    CHECK_INT(result_of(&new), ==, -ETIMEDOUT);
    begin_wait(&new, number, POLLIN, MJ_FOREVER);
    let_events_come();
    check_waiting(&new);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, events_before);
    if (with_duplicate) put_byte(old_writer);
    put_byte(new_writer);
    CHECK_INT(result_of(&new), ==, POLLIN);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, events_before + 1);
    CHECK_INT(mj_fd_close(number), ==, 0);
    close(old_writer);
    close(new_writer);
    if (with_duplicate) close(duplicate);
  }
}

// How many descriptors the scheduler's epoll set contains, according to the kernel; -1 if it does
// not say.
static int watched_by_the_kernel(void) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", mj_scheduler_backend_fd(scheduler));
  FILE* file = fopen(path, "r");
  if (file == NULL) return -1;
  int count = 0;
  while (fgets(line, sizeof line, file) != NULL) count += strncmp(line, "tfd:", 4) == 0;
  fclose(file);
  return count;
}

// Otherwise a file that stays open under another number would be watched for ever, once for each
// number.
static void a_closed_descriptor_is_not_watched(void) {
  int fds[2];
  open_pipe(fds);
  int before = watched_by_the_kernel();
  for (int i = 0; i < 50; i++) {
    int fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 300 + i);
    call one;
    begin_wait(&one, fd, POLLIN, MJ_FOREVER);
    CHECK_INT(mj_fd_close(fd), ==, 0);
    CHECK_INT(result_of(&one), ==, -EBADF);
  }
  CHECK_INT(watched_by_the_kernel(), ==, before);
  close_both(fds);
}

// Many closes at random: each wait belongs to the file that it began with, and gets that file's
// events.
enum { slot_count = 6, wait_count = 24, first_number = 400 };

typedef struct generation {
  bool written, closed;
} generation;

static generation* generations;

static void no_wait_gets_the_event_of_another_file(void) {
  size_t steps = times(3000, 300);
  generations = allocate((slot_count + steps) * sizeof *generations);
  size_t generation_count = 0, current[slot_count];
  int writers[slot_count];
  call waits[wait_count];
  size_t began_with[wait_count];
  for (int i = 0; i < slot_count; i++) {
    current[i] = generation_count++;
    writers[i] = open_under(first_number + i);
  }
  for (int i = 0; i < wait_count; i++) waits[i] = (call){.returned = true, .result = -1000};
  uint64_t random = 88172645463325252u;
  size_t results[4] = {0};
  for (size_t step = 0; step < steps; step++) {
    size_t slot = next_random(&random) % slot_count;
    size_t choice = next_random(&random) % 8;
    if (choice == 0) {
      if (!generations[current[slot]].written) put_byte(writers[slot]);
      generations[current[slot]].written = true;
    } else if (choice == 1) {
      generations[current[slot]].closed = true;
      CHECK_INT(mj_fd_close(first_number + (int)slot), ==, 0);
      close(writers[slot]);
      writers[slot] = open_under(first_number + (int)slot);
      current[slot] = generation_count++;
    } else if (choice == 2) {
      CHECK_INT(mj_sleep_ns(10000), ==, 0);
    }
    size_t index = next_random(&random) % wait_count;
    call* one = &waits[index];
    if (!one->returned) {
      if (choice == 3) CHECK_INT(mj_task_wake(one->task), >=, 0);
      continue;
    }
    if (one->result != -1000) {
      const generation* own = &generations[began_with[index]];
      if (one->result == POLLIN) {
        CHECK(own->written);
        results[0]++;
      } else if (one->result == -EBADF) {
        CHECK(own->closed);
        results[1]++;
      } else if (one->result == -ETIMEDOUT) {
        results[2]++;
      } else {
        CHECK_INT(one->result, ==, -EINTR);
        results[3]++;
      }
    }
    began_with[index] = current[slot];
    uint64_t limit_ns = choice < 4 ? MJ_FOREVER : choice < 6 ? LONG_NS : 20000;
    begin_wait(one, first_number + (int)slot, POLLIN, limit_ns);
  }
  // All outcomes have occurred, or this has tested nothing.
  for (int i = 0; i < 4; i++) CHECK_UINT(results[i], >, 0);
  for (int i = 0; i < slot_count; i++) {
    CHECK_INT(mj_fd_close(first_number + i), ==, 0);
    close(writers[i]);
  }
  for (int i = 0; i < wait_count; i++) {
    if (!waits[i].returned) result_of(&waits[i]);
  }
  free(generations);
}

// ---- The scheduler's own descriptors ----

static void* stops_in_a_while(void* argument) {
  usleep(20000);
  mj_scheduler_stop(argument);
  return NULL;
}

// The program knows the epoll set; the eventfd is the other descriptor that came with it.
static void touch_its_own(void) {
  int own[2] = {mj_scheduler_backend_fd(scheduler), -1};
  for (int fd = own[0] - 3; fd < own[0] + 3; fd++) {
    char path[64], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length > 0 && strstr(target, "eventfd") != NULL) own[1] = fd;
  }
  CHECK_INT(own[1], >=, 0);
  for (int i = 0; i < 2; i++) {
    size_t errors = log_lines_from(MJ_LOG_ERROR);
    CHECK_INT(mj_task_wait_fd(own[i], POLLIN, 1000000), ==, -EINVAL);
    CHECK_INT(mj_task_wait_fd(own[i], POLLIN, 0), ==, -EINVAL);
    CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 2);
    CHECK_INT(mj_fd_close(own[i]), ==, -EBUSY);
    CHECK_INT(log_lines_from(MJ_LOG_ERROR), ==, errors + 3);
    CHECK_INT(fcntl(own[i], F_GETFD), >=, 0);
  }
  mj_scheduler_stop(scheduler);
}

static void parks_for_good(mj_scheduler* running, void* user_state) {
  (void)running;
  int* fds = user_state;
  mj_task_wait_readable(fds[0]);
  mj_task_exit();
}

// A program uses the scheduler's descriptors by mistake. The second run ends only by a stop from
// another thread, which the eventfd has to report.
static void the_schedulers_own_stay_as_they_are(void) {
  log_lines_begin();
  int fds[2];
  open_pipe(fds);
  scheduler = new_scheduler();
  test_body = touch_its_own;
  int* state = allocate(sizeof fds);
  memcpy(state, fds, sizeof fds);
  add_task(scheduler, parks_for_good, state);
  add_task(scheduler, runs_the_test, NULL);
  mj_scheduler_run(scheduler);
  for (int i = 0; i < 2; i++) {
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, stops_in_a_while, scheduler), ==, 0);
    alarm(30);
    mj_scheduler_run(scheduler);
    alarm(0);
    CHECK_INT(pthread_join(thread, NULL), ==, 0);
  }
  mj_scheduler_destroy(scheduler);
  close_both(fds);
  log_lines_end();
}

int main(void) {
  RUN(closing_wakes_all_waiters);
  RUN_IN_TASK(a_plain_close_can_come_before_the_first_poll);
  RUN_IN_TASK(after_a_plain_close_the_wait_can_still_be_ended);
  RUN_IN_TASK(a_duplicate_outlives_the_descriptor);
  RUN_IN_TASK(a_reused_number_has_its_own_events);
  RUN_IN_TASK(a_closed_descriptor_is_not_watched);
  RUN_IN_TASK(no_wait_gets_the_event_of_another_file);
  RUN(the_schedulers_own_stay_as_they_are);
  return 0;
}
