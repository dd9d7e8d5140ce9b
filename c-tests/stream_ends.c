// How streams begin and end: who owns the descriptor, and what uses the stream keeps it alive.
#define _GNU_SOURCE
#include "bodies.h"
#include "log_lines.h"
#include "streams.h"

#include <limits.h>
#include <pthread.h>

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void a_stream_owns_its_descriptor(void) {
  ends both = open_stream(0, 0);
  int fd = mj_stream_fd(both.stream);
  CHECK(is_open(fd));
  CHECK_INT(mj_stream_destroy(both.stream), ==, 0);
  CHECK(!is_open(fd));
  close(both.other);
  // What was accepted is the library's already.
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK_INT(listener, >=, 0);
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(mj_connect(client, (struct sockaddr*)&address, length, LONG_NS), ==, 0);
  int accepted = mj_accept(listener, NULL, NULL, LONG_NS);
  CHECK_INT(accepted, >=, 0);
  mj_stream *server = new_stream(accepted, 0, 0), *stream = new_stream(client, 0, 0);
  check_write(stream, "hello\n");
  CHECK_INT(mj_stream_close(stream, LONG_NS), ==, 0);
  check_line(server, "hello\n");
  check_line(server, "");
  CHECK_INT(mj_stream_close(server, LONG_NS), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

static void what_cannot_be_made_leaves_the_descriptor(void) {
  errno = 0;
  CHECK(mj_stream_create(-1, 0, 0) == NULL);
  CHECK_INT(errno, ==, EBADF);
  int fds[2];
  open_pipe(fds);
  CHECK(mj_stream_create(fds[0], SIZE_MAX, 0) == NULL);
  CHECK_INT(errno, ==, EINVAL);
  CHECK(mj_stream_create(fds[0], 0, (size_t)SSIZE_MAX) == NULL);
  CHECK_INT(errno, ==, EINVAL);
  if (!sanitized()) {  // Their allocators end the program.
    CHECK(mj_stream_create(fds[0], (size_t)SSIZE_MAX - 1, 0) == NULL);
    CHECK_INT(errno, ==, ENOMEM);
  }
  // It is not owned.
  CHECK_INT(mj_fd_release(fds[0]), ==, -EINVAL);
  close_both(fds);
}

static void a_descriptor_can_be_kept(void) {
  ends both = open_stream(0, 0);
  int fd = mj_stream_fd(both.stream);
  check_write(both.stream, "lost");
  CHECK_INT(mj_fd_release(fd), ==, 0);
  CHECK_INT(mj_stream_fd(both.stream), ==, -EBADF);
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, -EBADF);
  check_no_line(both.stream, -EBADF, LONG_NS);
  CHECK_INT(mj_stream_destroy(both.stream), ==, 0);
  CHECK(is_open(fd));
  put_byte(fd);
  check_received(both.other, "x");
  close(fd);
  close(both.other);
}

static void a_number_that_is_used_again_is_left_alone(void) {
  ends both = open_stream(0, 0);
  int fd = mj_stream_fd(both.stream);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  int fds[2];
  open_pair(fds);
  CHECK_INT(fds[0], ==, fd);
  put_byte(fds[1]);
  check_no_line(both.stream, -EBADF, LONG_NS);
  check_write(both.stream, "not for you");
  CHECK_INT(mj_stream_close(both.stream, LONG_NS), ==, -EBADF);
  CHECK(is_open(fd));
  check_received(fds[1], "");
  take_byte(fds[0]);
  close_both(fds);
  close(both.other);
}

// The budget of a turn is spent, so that the next call yields before it does anything.
static void spend_the_budget(void) {
  mj_sem* free_one = mj_sem_create(scheduler, 1);
  CHECK(free_one != NULL);
  mj_yield();
  for (int i = 0; i < 64; i++) {
    CHECK_INT(mj_sem_acquire(free_one, 1, LONG_NS), ==, 0);
    CHECK_INT(mj_sem_release(free_one, 1), ==, 0);
  }
  CHECK_INT(mj_sem_destroy(free_one), ==, 0);
}

static int replaced, replacement[2];

static int reads_when_the_budget_is_spent(call* self) {
  char byte;
  spend_the_budget();
  return self->value == 0 ? (int)mj_read(self->fd, &byte, 1, LONG_NS)
                          : (int)mj_stream_read(self->object, &byte, 1, LONG_NS);
}

static void replaces_the_descriptor(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_fd_close(replaced), ==, 0);
  open_pair(replacement);
  CHECK_INT(replacement[0], ==, replaced);
  put_byte(replacement[1]);
  mj_task_exit();
}

// A call that yields before it begins finds another file under the number.
static void a_call_that_yields_first_does_not_take_the_next_file(void) {
  for (uint64_t kind = 0; kind < 2; kind++) {
    ends both = open_stream(0, 0);
    replaced = mj_stream_fd(both.stream);
    call reads = {.make = reads_when_the_budget_is_spent, .object = both.stream, .fd = replaced,
                  .value = kind};
    spawn_call(&reads);
    mj_yield();  // It is in the yield of spend_the_budget().
    add_task(scheduler, replaces_the_descriptor, NULL);
    CHECK_INT(result_of(&reads), ==, -EBADF);
    take_byte(replacement[0]);
    CHECK_INT(mj_stream_destroy(both.stream), ==, 0);
    close_both(replacement);
    close(both.other);
  }
}

static void what_uses_a_stream_keeps_it(void) {
  ends both = open_stream(0, 8);
  call reads;
  begin(&reads, calls_read, both.stream, 8, MJ_FOREVER);
  check_write(both.stream, "kept");
  CHECK_INT(mj_stream_destroy(both.stream), ==, -EBUSY);
  CHECK_INT(mj_stream_close(both.stream, LONG_NS), ==, -EBUSY);
  check_received(both.other, "");
  put_byte(both.other);
  CHECK_INT(result_of(&reads), ==, 1);

  size_t zeros = fill_up(mj_stream_fd(both.stream));
  call flushes;
  begin(&flushes, calls_flush, both.stream, 0, MJ_FOREVER);
  CHECK_INT(mj_stream_destroy(both.stream), ==, -EBUSY);
  CHECK_INT(mj_stream_close(both.stream, LONG_NS), ==, -EBUSY);
  drain(both.other, zeros);
  CHECK_INT(result_of(&flushes), ==, 0);
  CHECK_INT(mj_stream_close(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "kept");
  close(both.other);
}

static int calls_close(call* self) { return mj_stream_close(self->object, self->timeout_ns); }

static void closing_writes_in_time_or_not_at_all(void) {
  ends both = open_stream(0, 0);
  int fd = mj_stream_fd(both.stream);
  size_t zeros = fill_up(fd);
  check_write(both.stream, "lost");
  CHECK_INT(mj_stream_close(both.stream, short_ns()), ==, -ETIMEDOUT);
  CHECK(!is_open(fd));
  drain(both.other, zeros);
  check_received(both.other, "");
  close(both.other);

  // Nobody reads from it or writes to it while it is being closed.
  both = open_stream(0, 0);
  zeros = fill_up(mj_stream_fd(both.stream));
  check_write(both.stream, "kept");
  call closes;
  begin(&closes, calls_close, both.stream, 0, MJ_FOREVER);
  check_no_line(both.stream, -EBUSY, LONG_NS);
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, -EBUSY);
  CHECK_INT(mj_stream_destroy(both.stream), ==, -EBUSY);
  drain(both.other, zeros);
  CHECK_INT(result_of(&closes), ==, 0);
  check_received(both.other, "kept");
  close(both.other);

  // A canceled task writes what there is room for.
  both = open_stream(0, 0);
  check_write(both.stream, "goodbye");
  CHECK_INT(mj_task_cancel(mj_task_current()), ==, 0);
  CHECK_INT(mj_stream_close(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "goodbye");
  close(both.other);
}

static ends shared;

static void waits_for_a_line(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  char* line;
  mj_stream_read_line(shared.stream, &line, MJ_FOREVER);
  CHECK(!"it has a line");
}

static void reads_a_line(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  check_line(shared.stream, "begun ended\n");
  mj_task_exit();
}

static void is_refused(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_stream_skip(shared.stream, 0), ==, -EPERM);
  check_no_line(shared.stream, -EPERM, LONG_NS);
  CHECK_INT(mj_stream_write(shared.stream, "x", 1, LONG_NS, NULL), ==, -EPERM);
  CHECK_INT(mj_stream_shutdown(shared.stream, SHUT_RD, LONG_NS), ==, -EPERM);
  CHECK_INT(mj_stream_close(shared.stream, LONG_NS), ==, -EPERM);
  CHECK_INT(mj_stream_destroy(shared.stream), ==, -EPERM);
  mj_task_exit();
}

// A stream is its first user's, and after that scheduler the next one's.
static void a_stream_outlives_its_scheduler(void) {
  shared = open_stream(0, 0);
  mj_scheduler *first = new_scheduler(), *second = new_scheduler();
  send_text(shared.other, "begun");
  add_task(first, waits_for_a_line, NULL);
  add_task(first, yields_and_stops, NULL);
  mj_scheduler_run(first);
  CHECK_INT(mj_stream_destroy(shared.stream), ==, -EBUSY);
  add_task(second, is_refused, NULL);
  mj_scheduler_run(second);
  mj_scheduler_destroy(first);
  send_text(shared.other, " ended\n");
  add_task(second, reads_a_line, NULL);
  mj_scheduler_run(second);
  // Between two runs it can be destroyed.
  CHECK_INT(mj_stream_destroy(shared.stream), ==, 0);
  mj_scheduler_destroy(second);
  close(shared.other);
}

// One that waits is destroyed with its scheduler, and the stream after both.
static void a_stream_of_no_scheduler_is_destroyed(void) {
  shared = open_stream(0, 0);
  mj_scheduler* only = new_scheduler();
  add_task(only, waits_for_a_line, NULL);
  add_task(only, yields_and_stops, NULL);
  mj_scheduler_run(only);
  mj_scheduler_destroy(only);
  close_ends(shared);
}

static void is_refused_as_busy(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_stream_destroy(shared.stream), ==, -EBUSY);
  mj_task_exit();
}

// Behind its back its descriptor was closed, and a scheduler has the number, which stays that one's.
static void a_stream_does_not_close_what_is_a_schedulers(void) {
  shared = open_stream(0, 0);
  close(mj_stream_fd(shared.stream));
  mj_scheduler* own = new_scheduler();
  add_task(own, is_refused_as_busy, NULL);
  mj_scheduler_run(own);
  mj_scheduler_destroy(own);
  CHECK_INT(mj_stream_destroy(shared.stream), ==, -EBADF);
  close(shared.other);
}

static void* runs_a_line(void* argument) {
  mj_scheduler* own = new_scheduler();
  add_task(own, reads_a_line, NULL);
  mj_scheduler_run(own);
  mj_scheduler_destroy(own);
  return argument;
}

static void runs_a_thread(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, runs_a_line, NULL), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_task_exit();
}

static void a_stream_is_handed_to_another_thread(void) {
  shared = open_stream(0, 0);
  send_text(shared.other, "begun ended\n");
  // Made here, and not used yet, while a scheduler runs.
  mj_scheduler* first = new_scheduler();
  add_task(first, runs_a_thread, NULL);
  mj_scheduler_run(first);
  mj_scheduler_destroy(first);
  close_ends(shared);
}

int main(void) {
  RUN_IN_TASK(a_stream_owns_its_descriptor);
  RUN_IN_TASK(what_cannot_be_made_leaves_the_descriptor);
  RUN_IN_TASK(a_descriptor_can_be_kept);
  RUN_IN_TASK(a_number_that_is_used_again_is_left_alone);
  RUN_IN_TASK(a_call_that_yields_first_does_not_take_the_next_file);
  RUN_IN_TASK(what_uses_a_stream_keeps_it);
  RUN_IN_TASK(closing_writes_in_time_or_not_at_all);
  RUN(a_stream_outlives_its_scheduler);
  RUN(a_stream_of_no_scheduler_is_destroyed);
  RUN(a_stream_does_not_close_what_is_a_schedulers);
  RUN(a_stream_is_handed_to_another_thread);
  return 0;
}
