// Descriptors that the library owns: adopted and released, of one scheduler at a time, and closed behind
// its back.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "io.h"

#include <pthread.h>

// ---- Adopting and releasing ----

static void adopting_and_releasing(void) {
  int fds[2];
  char byte;
  open_unix(fds);
  CHECK_CALL(mj_fd_release(fds[0]), ==, -EINVAL);
  for (int i = 0; i < 3; i++) {
    CHECK_CALL(mj_fd_adopt(fds[0]), ==, 0);
    CHECK_CALL(mj_fd_adopt(fds[0]), ==, 0);
    CHECK_CALL(mj_read(fds[0], &byte, 1, 100000), ==, -ETIMEDOUT);
    CHECK_CALL(mj_fd_release(fds[0]), ==, 0);
    CHECK_CALL(mj_fd_release(fds[0]), ==, -EINVAL);
    CHECK_CALL(mj_read(fds[0], &byte, 1, 100000), ==, -ETIMEDOUT);
  }
  // Waits go on: begun raw, adopted, released.
  transfer readers[3];
  for (int i = 0; i < 3; i++) {
    begin_transfer(&readers[i], reads, fds[0], &byte, 1, LONG_NS);
    mj_sleep_ns(100000);
    if (i == 0) CHECK_CALL(mj_fd_adopt(fds[0]), ==, 0);
    if (i == 1) CHECK_CALL(mj_fd_release(fds[0]), ==, 0);
    mj_sleep_ns(100000);
  }
  for (int i = 0; i < 3; i++) check_waiting(&readers[i].call);
  CHECK_INT(write(fds[1], "abc", 3), ==, 3);
  for (int i = 0; i < 3; i++) CHECK_INT(result_of_transfer(&readers[i]), ==, 1);
  // The program closes it then, and the number is another file's.
  begin_transfer(&readers[0], reads, fds[0], &byte, 1, LONG_NS);
  mj_sleep_ns(100000);
  CHECK_INT(mj_fd_adopt(fds[0]), ==, 0);
  begin_transfer(&readers[1], reads, fds[0], &byte, 1, LONG_NS);
  mj_sleep_ns(100000);
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  for (int i = 0; i < 2; i++) CHECK_INT(result_of_transfer(&readers[i]), ==, -EBADF);
  CHECK_CALL(mj_fd_release(fds[0]), ==, -EINVAL);
  close(fds[1]);
}

// mj_task_wait_fd() and mj_poll() for a descriptor that is registered.
static void other_waits_for_owned_descriptors(void) {
  int fds[2];
  char byte;
  open_unix(fds);
  CHECK_CALL(mj_fd_adopt(fds[0]), ==, 0);
  CHECK_CALL(mj_read(fds[0], &byte, 1, 100000), ==, -ETIMEDOUT);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 100000), ==, -ETIMEDOUT);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLOUT, LONG_NS), ==, POLLOUT);
    struct pollfd poll = {.fd = fds[0], .events = POLLIN};
    CHECK_CALL(mj_poll(&poll, 1, 100000), ==, -ETIMEDOUT);
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, LONG_NS), ==, POLLIN);
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, LONG_NS), ==, POLLIN);
    CHECK_CALL(mj_poll(&poll, 1, LONG_NS), ==, 1);
    CHECK_CALL(mj_read(fds[0], &byte, 1, LONG_NS), ==, 1);
    CHECK_CALL(mj_read(fds[0], &byte, 1, 100000), ==, -ETIMEDOUT);
  }
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  close(fds[1]);
}

// ---- Two schedulers ----

static int shared;
static pthread_barrier_t barrier;

static void uses_the_shared_one(void) {
  char byte;
  CHECK_CALL(mj_read(shared, &byte, 1, 100000), ==, -ETIMEDOUT);  // It is this scheduler's now.
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  CHECK_CALL(mj_read(shared, &byte, 1, LONG_NS), ==, 1);
}

static void* runs_another(void* argument) {
  (void)argument;
  mj_scheduler* other = new_scheduler();
  count_calls_only(other);
  add_task(other, runs_the_test, NULL);
  mj_scheduler_run(other);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  mj_scheduler_destroy(other);
  return NULL;
}

static void is_refused(void) {
  char bytes[2];
  struct iovec part = {bytes, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  size_t done = 77;
  CHECK_CALL(mj_read(shared, bytes, 1, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_read_exact(shared, bytes, 1, LONG_NS, &done), ==, -EBUSY);
  CHECK_UINT(done, ==, 0);
  CHECK_CALL(mj_write(shared, bytes, 1, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_readv(shared, &part, 1, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_writev(shared, &part, 1, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_recvfrom(shared, bytes, 1, 0, NULL, NULL, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_sendto(shared, bytes, 1, 0, NULL, 0, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_recvmsg(shared, &message, 0, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_sendmsg(shared, &message, 0, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_accept(shared, NULL, NULL, LONG_NS), ==, -EBUSY);
  CHECK_CALL(mj_fd_adopt(shared), ==, -EBUSY);
  CHECK_CALL(mj_fd_release(shared), ==, -EBUSY);
}

static void has_it(void) {
  char byte;
  CHECK_CALL(mj_read(shared, &byte, 1, 100000), ==, -ETIMEDOUT);
  CHECK_CALL(mj_read(shared, &byte, 1, 100000), ==, -ETIMEDOUT);
  CHECK_CALL(mj_fd_adopt(shared), ==, 0);
}

static void one_scheduler_has_it(void) {
  int fds[2];
  open_unix(fds);
  shared = fds[0];
  CHECK_CALL(mj_fd_adopt(shared), ==, 0);
  CHECK_INT(pthread_barrier_init(&barrier, NULL, 2), ==, 0);
  pthread_t thread;
  test_body = uses_the_shared_one;
  CHECK_INT(pthread_create(&thread, NULL, runs_another, NULL), ==, 0);
  pthread_barrier_wait(&barrier);
  in_a_task(is_refused);
  CHECK_CALL(mj_fd_release(shared), ==, -EBUSY);
  CHECK_INT(write(fds[1], "x", 1), ==, 1);
  pthread_barrier_wait(&barrier);
  // Its run has ended, and it is still there.
  pthread_barrier_wait(&barrier);
  in_a_task(is_refused);
  pthread_barrier_wait(&barrier);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  // It is destroyed.
  in_a_task(has_it);
  in_a_task(has_it);
  CHECK_CALL(mj_fd_release(shared), ==, 0);
  pthread_barrier_destroy(&barrier);
  close(fds[0]);
  close(fds[1]);
}

// ---- Closed behind the library's back ----

// Reads from a number that was an owned file's and is another one's, whose bytes come after a while.
// `others` wait for other descriptors, that begin to wait just before.
static void read_after_raw_close(bool old_lives, uint64_t after_ns, int readers, int others) {
  int old[2], (*pairs)[2] = allocate((size_t)(others + 1) * sizeof *pairs);
  char bytes[8];
  transfer *waiting = allocate((size_t)(others + 1) * sizeof *waiting), reading[4];
  for (int i = 0; i < others; i++) {
    open_unix(pairs[i]);
    CHECK_INT(mj_fd_adopt(pairs[i][0]), ==, 0);
    for (int n = 0; n < 2; n++) {  // The second wait is not registered anew.
      begin_transfer(&waiting[i], reads, pairs[i][0], bytes, 1, LONG_NS);
      if (n == 1) break;
      CHECK_INT(write(pairs[i][1], "x", 1), ==, 1);
      CHECK_INT(result_of_transfer(&waiting[i]), ==, 1);
    }
  }
  open_unix(old);
  CHECK_INT(mj_fd_adopt(old[0]), ==, 0);
  CHECK_CALL(mj_read(old[0], bytes, 1, 200000), ==, -ETIMEDOUT);
  int duplicate = old_lives ? fcntl(old[0], F_DUPFD_CLOEXEC, 900) : -1;
  CHECK_INT(close(old[0]), ==, 0);
  int writer = reuse(old[0]);
  if (after_ns == 0) CHECK_INT(write(writer, "abcd", (size_t)readers), ==, readers);
  for (int i = 0; i < readers; i++) {
    begin_transfer(&reading[i], reads, old[0], bytes, 1, LONG_NS);
  }
  uint64_t until = now_ns() + after_ns;
  while (now_ns() < until) {
    // Events of the old file wake nobody for good.
    if (old_lives) CHECK_INT(write(old[1], "x", 1), ==, 1);
    mj_sleep_ns(after_ns / 10);
    for (int i = 0; i < readers; i++) CHECK(!reading[i].call.returned);
  }
  if (after_ns > 0) CHECK_INT(write(writer, "abcd", (size_t)readers), ==, readers);
  for (int i = 0; i < readers; i++) CHECK_INT(result_of_transfer(&reading[i]), ==, 1);
  CHECK_CALL(mj_read(old[0], bytes, 1, 200000), ==, -ETIMEDOUT);
  // It is as any other now.
  begin_transfer(&reading[0], reads, old[0], bytes, 1, LONG_NS);
  mj_sleep_ns(20000000);
  CHECK_INT(write(writer, "x", 1), ==, 1);
  CHECK_INT(result_of_transfer(&reading[0]), ==, 1);
  CHECK_INT(mj_fd_close(old[0]), ==, 0);
  close(old[1]);
  close(writer);
  if (old_lives) close(duplicate);
  for (int i = 0; i < others; i++) {
    check_waiting(&waiting[i].call);
    CHECK_INT(write(pairs[i][1], "x", 1), ==, 1);
  }
  for (int i = 0; i < others; i++) {
    CHECK_INT(result_of_transfer(&waiting[i]), ==, 1);
    CHECK_INT(mj_fd_close(pairs[i][0]), ==, 0);
    close(pairs[i][1]);
  }
  free(pairs);
  free(waiting);
}

static void a_raw_close_hangs_nobody(void) {
  const uint64_t after_ns[] = {0, 5000000, 50000000, 200000000};
  for (int i = 0; i < 4; i++) {
    for (int old_lives = 0; old_lives < 2; old_lives++) {
      read_after_raw_close(old_lives, after_ns[i], 1, 0);
      read_after_raw_close(old_lives, after_ns[i], 4, 0);
      read_after_raw_close(old_lives, after_ns[i], 2, 200);
    }
  }
}

// Nothing has the number.
static void a_raw_close_alone(void) {
  int fds[2];
  char byte;
  for (int i = 0; i < 2; i++) {
    open_unix(fds);
    CHECK_INT(mj_fd_adopt(fds[0]), ==, 0);
    CHECK_CALL(mj_read(fds[0], &byte, 1, 200000), ==, -ETIMEDOUT);
    transfer reader;
    begin_transfer(&reader, reads, fds[0], &byte, 1, LONG_NS);
    int duplicate = i ? dup(fds[0]) : -1;
    close(fds[0]);
    CHECK_INT(result_of_transfer(&reader), ==, -EBADF);
    CHECK_CALL(mj_read(fds[0], &byte, 1, LONG_NS), ==, -EBADF);
    if (i) close(duplicate);
    close(fds[1]);
  }
}

// A wait that was registered for the old file, and one for the new one.
static void one_is_left_behind(void) {
  int fds[2];
  char byte;
  for (int i = 0; i < 2; i++) {
    open_unix(fds);
    CHECK_INT(mj_fd_adopt(fds[0]), ==, 0);
    transfer left, other;
    begin_transfer(&left, reads, fds[0], &byte, 1, LONG_NS);
    mj_sleep_ns(200000);
    int duplicate = i ? fcntl(fds[0], F_DUPFD_CLOEXEC, 900) : -1;
    close(fds[0]);
    int writer = reuse(fds[0]);
    begin_transfer(&other, reads, fds[0], &byte, 1, LONG_NS);
    CHECK_INT(result_of_transfer(&left), ==, -EBADF);
    check_waiting(&other.call);
    CHECK_INT(write(writer, "x", 1), ==, 1);
    CHECK_INT(result_of_transfer(&other), ==, 1);
    CHECK_INT(mj_fd_close(fds[0]), ==, 0);
    if (i) close(duplicate);
    close(writer);
    close(fds[1]);
  }
}

// The way in which the old file was read and written would block with the new one.
static void the_new_file_is_of_another_kind(void) {
  static unsigned char bytes[1 << 20];
  for (int i = 0; i < 2; i++) {
    int terminal[2], fds[2];
    size_t done = 0;
    char byte = 0;
    open_terminal(terminal);
    CHECK_CALL(mj_read(terminal[1], &byte, 1, 1000000), ==, -ETIMEDOUT);
    CHECK_CALL(mj_write_all(terminal[1], bytes, sizeof bytes, 1000000, &done), ==, -ETIMEDOUT);
    CHECK_INT(i ? close(terminal[1]) : mj_fd_close(terminal[1]), ==, 0);
    open_unix(fds);  // One of the two has the number.
    CHECK(fds[0] == terminal[1] || fds[1] == terminal[1]);
    alarm(60);
    CHECK_INT(write(fds[0] == terminal[1] ? fds[1] : fds[0], "x", 1), ==, 1);
    CHECK_CALL(mj_read(terminal[1], &byte, 1, LONG_NS), ==, 1);
    CHECK_INT(byte, ==, 'x');
    CHECK_CALL(mj_write_all(terminal[1], bytes, sizeof bytes, 1000000, &done), ==, -ETIMEDOUT);
    CHECK_UINT(done, >, 0);
    alarm(0);
    close(terminal[0]);
    close(fds[0]);
    close(fds[1]);
  }
}

// ---- A child of fork() ----

static int inherited[2];

static void child_uses_what_it_inherits(void) {
  char bytes[2];
  transfer reader;
  // Its own epoll set knows nothing yet.
  CHECK_CALL(mj_read(inherited[0], bytes, 1, 200000), ==, -ETIMEDOUT);
  begin_transfer(&reader, reads, inherited[0], bytes, 1, LONG_NS);
  mj_sleep_ns(20000000);
  CHECK_CALL(mj_write(inherited[1], "x", 1, LONG_NS), ==, 1);
  CHECK_INT(result_of_transfer(&reader), ==, 1);
  CHECK_CALL(mj_write(inherited[1], "x", 1, LONG_NS), ==, 1);
  CHECK_CALL(mj_read(inherited[0], bytes, 1, LONG_NS), ==, 1);
  CHECK_INT(mj_fd_close(inherited[0]), ==, 0);
  CHECK_CALL(mj_write(inherited[1], "x", 1, LONG_NS), ==, 1);
}

// Both processes read and write the same socket, and close it in turn.
static void a_child_uses_inherited_descriptors(void) {
  open_unix(inherited);
  int third = dup(inherited[0]);
  CHECK_INT(mj_fd_adopt(inherited[0]), ==, 0);
  CHECK_INT(mj_fd_adopt(inherited[1]), ==, 0);
  char bytes[2];
  CHECK_CALL(mj_read(inherited[0], bytes, 1, 200000), ==, -ETIMEDOUT);
  int status = status_of_child(child_uses_what_it_inherits);
  CHECK_INT(status, ==, 0);
  // The parent's registration is as it was.
  CHECK_CALL(mj_read(inherited[0], bytes, 2, LONG_NS), ==, 1);
  transfer reader;
  begin_transfer(&reader, reads, inherited[0], bytes, 1, LONG_NS);
  mj_sleep_ns(20000000);
  CHECK_CALL(mj_write(inherited[1], "x", 1, LONG_NS), ==, 1);
  CHECK_INT(result_of_transfer(&reader), ==, 1);
  CHECK_INT(mj_fd_close(inherited[0]), ==, 0);
  CHECK_INT(mj_fd_close(inherited[1]), ==, 0);
  close(third);
}

int main(void) {
  RUN_BY_BOTH_CLOCKS(adopting_and_releasing);
  RUN_BY_BOTH_CLOCKS(other_waits_for_owned_descriptors);
  RUN(one_scheduler_has_it);
  RUN_BY_BOTH_CLOCKS(a_raw_close_hangs_nobody);
  RUN_BY_SYSTEM_CLOCK(a_raw_close_alone);
  RUN_BY_SYSTEM_CLOCK(one_is_left_behind);
  RUN_BY_BOTH_CLOCKS(the_new_file_is_of_another_kind);
  RUN_BY_BOTH_CLOCKS(a_child_uses_inherited_descriptors);
  return 0;
}
