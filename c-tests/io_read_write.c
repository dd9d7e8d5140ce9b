// Reading and writing descriptors of all kinds.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"
#include "log_lines.h"

#include <limits.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static char eight[8] = "\1\0\0\0\0\0\0";

static void put_eight(int fd) { CHECK_INT(write(fd, eight, 8), ==, 8); }

// ---- Reading ----

static void one_reads(way* way, int fds[2]) {
  char bytes[8] = "";
  transfer reader;
  begin_transfer(&reader, reads, fds[0], bytes, 8, MJ_FOREVER);
  mj_sleep_ns(100000);
  check_waiting(&reader.call);
  put_eight(fds[1]);
  CHECK_INT(result_of_transfer(&reader), ==, 8);
  CHECK_INT(memcmp(bytes, eight, 8), ==, 0);
  for (int i = 0; i < 3; i++) {
    // What is there already.
    put_eight(fds[1]);
    if (!way->owned) {
      CHECK_AT_ONCE(mj_read(fds[0], bytes, 8, MJ_FOREVER), ==, 8);
    } else {
      CHECK_CALL(mj_read(fds[0], bytes, 8, MJ_FOREVER), ==, 8);
    }
    CHECK_CALL(mj_read(fds[0], bytes, 8, 0), ==, -ETIMEDOUT);
    uint64_t start = now_ns();
    CHECK_CALL(mj_read(fds[0], bytes, 8, 300000), ==, -ETIMEDOUT);
    CHECK_UINT(now_ns() - start, >=, 300000);
    // Of what is there though the limit is 0.
    put_eight(fds[1]);
    CHECK_CALL(mj_read(fds[0], bytes, 8, 0), ==, 8);
  }
  CHECK_AT_ONCE(mj_read(fds[0], NULL, 0, MJ_FOREVER), ==, 0);
  // A wake-up does not end it, and a cancel does.
  begin_transfer(&reader, reads, fds[0], bytes, 8, LONG_NS);
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_task_wake(reader.call.task), ==, 1);
    mj_task_yield();
    check_waiting(&reader.call);
  }
  CHECK_INT(mj_task_cancel(reader.call.task), ==, 0);
  CHECK_INT(result_of_transfer(&reader), ==, -ECANCELED);
  // What comes while a canceled task waits is not lost.
  put_eight(fds[1]);
  CHECK_CALL(mj_read(fds[0], bytes, 8, 0), ==, 8);
  if (way->kind->after_close == 1) return;
  begin_transfer(&reader, reads, fds[0], bytes, 8, MJ_FOREVER);
  CHECK_INT(fcntl(fds[1], F_GETFL), ==, way->flags[1]);
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  CHECK_INT(result_of_transfer(&reader), ==, way->kind->after_close);
  CHECK_CALL(mj_read(fds[0], bytes, 8, MJ_FOREVER), ==, way->kind->after_close);
}

static void each_kind_is_read(void) { in_all_ways(one_reads); }

static void one_is_closed(way* way, int fds[2]) {
  char bytes[8];
  transfer readers[3];
  for (int i = 0; i < 3; i++) {
    begin_transfer(&readers[i], i == 1 ? reads_exactly : reads, fds[0], bytes, 8, LONG_NS);
  }
  mj_sleep_ns(100000);
  CHECK_INT(fcntl(fds[0], F_GETFL), ==, way->flags[0]);
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  // The number is another file's at once, which has something to read.
  int writer = reuse(fds[0]);
  put_eight(writer);
  for (int i = 0; i < 3; i++) CHECK_INT(result_of_transfer(&readers[i]), ==, -EBADF);
  CHECK_INT(readers[1].done, ==, 0);
  CHECK_CALL(mj_read(fds[0], bytes, 8, 0), ==, 8);
  close(writer);
  CHECK_INT(close(fds[0]), ==, 0);
  CHECK_CALL(mj_read(fds[0], bytes, 8, MJ_FOREVER), ==, -EBADF);
}

static void closing_ends_all_reads(void) { in_all_ways(one_is_closed); }

// It is woken because something can be read, and the descriptor is closed before it runs.
static void one_is_closed_when_woken(way* way, int fds[2]) {
  char bytes[8];
  transfer reader;
  (void)way;
  begin_transfer(&reader, reads, fds[0], bytes, 8, LONG_NS);
  mj_sleep_ns(100000);
  put_eight(fds[1]);
  while (reader.call.task->state != MJ_TASK_RUNNABLE) {
    // The loop looks at descriptors, and the reader is queued behind this task.
    CHECK(!reader.call.returned);
    mj_sleep_ns(1);
    if (reader.call.returned) return;  // It was before this task. The other kinds show it.
  }
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  int writer = reuse(fds[0]);
  put_eight(writer);
  CHECK_INT(result_of_transfer(&reader), ==, -EBADF);
  close(writer);
  close(fds[0]);
}

static void closing_ends_reads_that_were_woken(void) { in_all_ways(one_is_closed_when_woken); }

// ---- Yields in the middle of calls ----

static void closes_and_reuses(mj_scheduler* running, void* user_state) {
  (void)running;
  int* fds = *(int**)user_state;
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  open_blocking_pipe(fds);
  put_eight(fds[1]);
  mj_task_exit();
}

// The budget of the turn is spent, so that the call yields before it reads.
static void a_descriptor_is_closed_while_a_call_yields(void) {
  int fds[2], other[2];
  open_unix(fds);
  int number = fds[0], peer = fds[1];
  char byte;
  int** state = allocate(sizeof *state);
  *state = fds;
  add_task(scheduler, closes_and_reuses, state);
  ssize_t result = 1;
  for (int i = 0; i < 200 && result == 1; i++) {
    CHECK_INT(write(peer, "x", 1), ==, 1);
    result = mj_read(number, &byte, 1, MJ_FOREVER);
  }
  CHECK_INT(fds[0], ==, number);
  CHECK_INT(result, ==, -EBADF);
  other[0] = fds[0], other[1] = fds[1];
  CHECK_INT(mj_read(other[0], eight, 8, 0), ==, 8);
  close(other[0]);
  close(other[1]);
  close(peer);
}

// ---- Exactly so many bytes ----

static void one_reads_exactly(way* way, int fds[2]) {
  if (!way->kind->is_stream) return;
  char bytes[9] = "";
  transfer reader;
  size_t done = 77;
  begin_transfer(&reader, reads_exactly, fds[0], bytes, 8, MJ_FOREVER);
  for (int i = 0; i < 4; i++) {
    CHECK_INT(write(fds[1], "abcdefgh" + 2 * i, 2), ==, 2);
    mj_sleep_ns(100000);
  }
  CHECK_INT(result_of_transfer(&reader), ==, 8);
  CHECK_UINT(reader.done, ==, 8);
  CHECK_STR(bytes, "abcdefgh");
  // The limit is of the whole call, and what has come is told.
  begin_transfer(&reader, reads_exactly, fds[0], bytes, 8, 2000000);
  for (int i = 0; i < 5 && !reader.call.returned; i++) {
    CHECK_INT(write(fds[1], "x", 1), ==, 1);
    mj_sleep_ns(1000000);
  }
  CHECK_INT(result_of_transfer(&reader), ==, -ETIMEDOUT);
  CHECK_UINT(reader.done, >, 0);
  CHECK_UINT(reader.done, <, 8);
  while (mj_read(fds[0], bytes, 8, 0) > 0) {
  }
  begin_transfer(&reader, reads_exactly, fds[0], bytes, 8, MJ_FOREVER);
  CHECK_INT(write(fds[1], "abc", 3), ==, 3);
  mj_sleep_ns(200000);
  CHECK_INT(mj_task_cancel(reader.call.task), ==, 0);
  CHECK_INT(result_of_transfer(&reader), ==, -ECANCELED);
  CHECK_UINT(reader.done, ==, 3);
  CHECK_CALL(mj_read_exact(fds[0], NULL, 8, MJ_FOREVER, &done), ==, -EINVAL);
  CHECK_UINT(done, ==, 0);
  CHECK_CALL(mj_read_exact(fds[0], NULL, 0, MJ_FOREVER, NULL), ==, 0);
  // Fewer at the end.
  CHECK_INT(write(fds[1], "de", 2), ==, 2);
  if (way->kind->after_close < 0) mj_sleep_ns(100000);  // A terminal's close may overtake.
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  ssize_t result = mj_read_exact(fds[0], bytes, 8, MJ_FOREVER, &done);
  CHECK_INT(result, ==, way->kind->after_close < 0 ? way->kind->after_close : 2);
  CHECK_UINT(done, ==, 2);
}

static void exactly_so_many_bytes(void) { in_all_ways(one_reads_exactly); }

// ---- Writing ----

enum { large = 1 << 20 };
static unsigned char source[large], target[large];

static int reads_to_the_end(call* self) {
  size_t* count = self->object;
  for (;;) {
    ssize_t result = mj_read(self->fd, target + *count, large - *count, LONG_NS);
    if (result <= 0) return (int)result;
    *count += (size_t)result;
    if (*count == large) return 0;
  }
}

static void one_writes(way* way, int fds[2]) {
  if (!way->kind->is_stream) return;
  size_t bytes = way->kind->open == open_terminal ? large / 16 * 5 : large;
  memset(target, 0, large);
  size_t count = 0, done = 77;
  if (way->kind->open == open_terminal) {
    struct termios modes;  // 0 of `source` would be mangled, but it has none.
    CHECK_INT(tcgetattr(fds[1], &modes), ==, 0);
    cfmakeraw(&modes);
    CHECK_INT(tcsetattr(fds[1], TCSANOW, &modes), ==, 0);
  }
  // There is no room for all of it, and nobody reads.
  CHECK_CALL(mj_write_all(fds[1], source, large, 1000000, &done), ==, -ETIMEDOUT);
  CHECK_UINT(done, >, 0);
  CHECK_UINT(done, <, large);
  size_t first = done;
  CHECK_CALL(mj_write(fds[1], source, large, 0), ==, -ETIMEDOUT);
  transfer writer;
  begin_transfer(&writer, writes, fds[1], source, bytes, MJ_FOREVER);
  // A terminal may have room for some more by now.
  while (writer.call.task->state == MJ_TASK_RUNNABLE) mj_task_yield();
  CHECK_INT(mj_task_wake(writer.call.task), ==, 1);
  mj_task_yield();
  check_waiting(&writer.call);
  CHECK_INT(mj_task_cancel(writer.call.task), ==, 0);
  CHECK_INT(result_of_transfer(&writer), ==, -ECANCELED);
  CHECK_UINT(writer.done, <, bytes);
  // What was written is there, and no more.
  for (;;) {
    ssize_t result = mj_read(fds[0], target + count, large - count, times(2000000, 200000000));
    if (result == -ETIMEDOUT) break;
    CHECK_INT(result, >, 0);
    count += (size_t)result;
  }
  CHECK_UINT(count, >=, first + writer.done);
  check_pattern(target, 0, first);
  // All of it, while another task reads.
  count = large - bytes;
  begin_transfer(&writer, writes, fds[1], source, bytes, MJ_FOREVER);
  call reader = {.make = reads_to_the_end, .fd = fds[0], .object = &count};
  begin_call(&reader);
  CHECK_INT(result_of_transfer(&writer), ==, 0);
  CHECK_UINT(writer.done, ==, bytes);
  CHECK_INT(result_of(&reader), ==, 0);
  check_pattern(target + large - bytes, 0, bytes);
  CHECK_AT_ONCE(mj_write(fds[1], "x", 1, MJ_FOREVER), ==, 1);
  CHECK_AT_ONCE(mj_write(fds[1], NULL, 0, MJ_FOREVER), ==, 0);
  if (way->kind->after_close != 0) return;
  // Nobody reads any more: an error, and no signal.
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  ssize_t result = 0;
  for (int i = 0; i < 3; i++) {
    result = mj_write_all(fds[1], source, 8, MJ_FOREVER, &done);
    if (result == 0) mj_sleep_ns(1000000);  // TCP has to be told first.
  }
  CHECK(result == -EPIPE || result == -ECONNRESET);
  CHECK_UINT(done, ==, 0);
}

static void each_stream_is_written(void) {
  fill_with_pattern(source, large);
  in_all_ways(one_writes);
}

// ---- Arguments, and where the calls may be made ----

static void wrong_arguments(void) {
  int fds[2];
  open_unix(fds);
  char bytes[8] = "";
  size_t done = 77, most = SSIZE_MAX;
  struct iovec none = {NULL, 8}, halves[2] = {{bytes, most}, {bytes, most}};
  CHECK_CALL(mj_read(fds[0], NULL, 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_read(fds[0], bytes, most + 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_write(fds[0], NULL, 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_write(fds[0], bytes, most + 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_write_all(fds[0], NULL, 1, MJ_FOREVER, &done), ==, -EINVAL);
  CHECK_UINT(done, ==, 0);
  CHECK_CALL(mj_readv(fds[0], &none, 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_readv(fds[0], halves, 2, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_readv(fds[0], NULL, 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_readv(fds[0], halves, -1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_readv(fds[0], halves, IOV_MAX + 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_writev(fds[0], &none, 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_writev(fds[0], NULL, 0, MJ_FOREVER), ==, 0);
  CHECK_CALL(mj_readv(fds[0], NULL, 0, MJ_FOREVER), ==, 0);
  CHECK_CALL(mj_recvfrom(fds[0], NULL, 1, 0, NULL, NULL, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_sendto(fds[0], NULL, 1, 0, NULL, 0, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_recvmsg(fds[0], NULL, 0, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_sendmsg(fds[0], NULL, 0, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_sendfile(fds[0], fds[1], NULL, most + 1, MJ_FOREVER), ==, -EINVAL);
  int closed[] = {-1, INT_MIN, INT_MAX, 999};
  for (int i = 0; i < 4; i++) {
    CHECK_CALL(mj_read(closed[i], bytes, 8, MJ_FOREVER), ==, -EBADF);
    CHECK_CALL(mj_read(closed[i], bytes, 0, MJ_FOREVER), ==, -EBADF);
    CHECK_CALL(mj_read_exact(closed[i], bytes, 8, MJ_FOREVER, NULL), ==, -EBADF);
    CHECK_CALL(mj_write(closed[i], bytes, 8, MJ_FOREVER), ==, -EBADF);
    CHECK_CALL(mj_recvfrom(closed[i], bytes, 8, 0, NULL, NULL, MJ_FOREVER), ==, -EBADF);
    CHECK_CALL(mj_accept(closed[i], NULL, NULL, MJ_FOREVER), ==, -EBADF);
    CHECK_CALL(mj_sendfile(closed[i], fds[0], NULL, 8, MJ_FOREVER), ==, -EBADF);
    CHECK_CALL(mj_fd_adopt(closed[i]), ==, -EBADF);
    CHECK_CALL(mj_fd_release(closed[i]), ==, -EINVAL);
  }
  // In the wrong direction. An emulator without RWF_NOWAIT does not look at a descriptor for no bytes.
  int pipes[2];
  open_blocking_pipe(pipes);
  uint64_t limit_ns = emulated() ? 1000 : MJ_FOREVER;
  ssize_t wrong = emulated() ? -ETIMEDOUT : -EBADF;
  CHECK_CALL(mj_read(pipes[1], bytes, 8, limit_ns), ==, wrong);
  if (!emulated()) CHECK_CALL(mj_write(pipes[0], bytes, 8, limit_ns), ==, wrong);
  close(pipes[0]);
  close(pipes[1]);
  CHECK_CALL(mj_read(fds[0], bytes, 8, 1000), ==, -ETIMEDOUT);
  close(fds[0]);
  close(fds[1]);
}

static void outside_a_task(void) {
  int fds[2];
  open_unix(fds);
  char bytes[8] = "";
  size_t done = 77;
  struct pollfd poll = {.fd = fds[0], .events = POLLIN, .revents = 77};
  CHECK_INT(write(fds[1], "x", 1), ==, 1);
  CHECK_CALL(mj_read(fds[0], bytes, 8, 0), ==, -EPERM);
  CHECK_CALL(mj_read_exact(fds[0], bytes, 8, 0, &done), ==, -EPERM);
  CHECK_UINT(done, ==, 0);
  CHECK_CALL(mj_write(fds[0], bytes, 8, 0), ==, -EPERM);
  CHECK_CALL(mj_recvfrom(fds[0], bytes, 8, 0, NULL, NULL, 0), ==, -EPERM);
  CHECK_CALL(mj_accept(fds[0], NULL, NULL, 0), ==, -EPERM);
  CHECK_CALL(mj_poll(&poll, 1, 0), ==, -EPERM);
  CHECK_INT(poll.revents, ==, 0);
  close(fds[0]);
  close(fds[1]);
}

// ---- Several buffers ----

static void several_buffers(void) {
  // More than one system call takes, in records too.
  enum { most = 40 };
  struct iovec parts[most];
  char out[most * 3], in[most * 3];
  for (int i = 0; i < most * 3; i++) out[i] = (char)('A' + i % 26);
  for (int number = 0; number < kind_count; number++) {
    if (kinds[number].open == open_counter || kinds[number].open == open_terminal) continue;
    int fds[2];
    kinds[number].open(fds);
    for (int i = 0; i < most; i++) parts[i] = (struct iovec){out + 3 * i, i % 7 == 0 ? 0 : 3};
    CHECK_CALL(mj_writev(fds[1], parts, most, MJ_FOREVER), ==, 3 * (most - 6));
    memset(in, 0, sizeof in);
    for (int i = 0; i < most; i++) parts[i].iov_base = in + 3 * i;
    CHECK_CALL(mj_readv(fds[0], parts, most, MJ_FOREVER), ==, 3 * (most - 6));
    for (int i = 0; i < most * 3; i++) CHECK_INT(in[i], ==, i / 3 % 7 == 0 ? 0 : out[i]);
    CHECK_CALL(mj_readv(fds[0], parts, most, 0), ==, -ETIMEDOUT);
    close(fds[0]);
    close(fds[1]);
  }
}

// ---- Files ----

static void regular_files(void) {
  for (int owned = 0; owned < 2; owned++) {
    char path[] = "/tmp/majjen-io-XXXXXX", bytes[64] = "";
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK_INT(fd, >=, 0);
    unlink(path);
    if (owned) CHECK_INT(mj_fd_adopt(fd), ==, 0);
    CHECK_CALL(mj_write(fd, "some text", 9, MJ_FOREVER), ==, 9);
    CHECK_CALL(mj_read(fd, bytes, 8, MJ_FOREVER), ==, 0);
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    CHECK_CALL(mj_read(fd, bytes, 4, MJ_FOREVER), ==, 4);
    CHECK_CALL(mj_read(fd, bytes + 4, 60, 0), ==, 5);
    CHECK_STR(bytes, "some text");
    // Not in memory, if the file system has a disk.
    CHECK_INT(ftruncate(fd, 1 << 20), ==, 0);
    CHECK_INT(fsync(fd), ==, 0);
    CHECK_INT(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    CHECK_CALL(mj_read_exact(fd, target, 1 << 20, MJ_FOREVER, NULL), ==, 1 << 20);
    CHECK_INT(memcmp(target, "some text", 10), ==, 0);
    CHECK_INT(mj_fd_close(fd), ==, 0);
  }
  int directory = open("/tmp", O_RDONLY | O_CLOEXEC);
  char byte = 0;
  CHECK_CALL(mj_read(directory, &byte, 1, MJ_FOREVER), ==, -EISDIR);
  close(directory);
  int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK_CALL(mj_read(zero, &byte, 1, 0), ==, 1);
  CHECK_CALL(mj_read(null, &byte, 1, 0), ==, 0);
  CHECK_CALL(mj_write(null, source, large, MJ_FOREVER), ==, large);
  int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  CHECK_CALL(mj_write(full, &byte, 1, MJ_FOREVER), ==, -ENOSPC);
  close(zero);
  close(null);
  close(full);
}

// What is written may take more room than it has bytes. If that blocked the thread, nobody could read.
static void a_terminal_makes_two_bytes_of_one(void) {
  int fds[2];
  open_terminal(fds);
  memset(target, '\n', large);
  size_t done = 0, count = 0;
  alarm(60);
  CHECK_CALL(mj_write_all(fds[1], target, large, 2000000, &done), ==, -ETIMEDOUT);
  alarm(0);
  CHECK_UINT(done, >, 0);
  for (;;) {
    ssize_t result = mj_read(fds[0], target, large, times(2000000, 200000000));
    if (result == -ETIMEDOUT) break;
    CHECK_INT(result, >, 0);
    count += (size_t)result;
  }
  CHECK_UINT(count, ==, 2 * done);
  close(fds[0]);
  close(fds[1]);
}

static void timers_and_counters(void) {
  for (int owned = 0; owned < 2; owned++) {
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec in_a_while = {.it_value = {0, 2000000}};
    if (owned) CHECK_INT(mj_fd_adopt(timer), ==, 0);
    uint64_t count = 0;
    CHECK_CALL(mj_read(timer, &count, 8, 0), ==, -ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
      CHECK_INT(timerfd_settime(timer, 0, &in_a_while, NULL), ==, 0);
      CHECK_CALL(mj_read(timer, &count, 8, MJ_FOREVER), ==, 8);
      CHECK_UINT(count, ==, 1);
    }
    CHECK_INT(mj_fd_close(timer), ==, 0);
    // A counter that is full.
    int counter = eventfd(0, EFD_CLOEXEC);
    if (owned) CHECK_INT(mj_fd_adopt(counter), ==, 0);
    count = UINT64_MAX - 1;
    CHECK_CALL(mj_write(counter, &count, 8, MJ_FOREVER), ==, 8);
    transfer writer;
    uint64_t one = 1;
    begin_transfer(&writer, writes, counter, &one, 8, MJ_FOREVER);
    mj_sleep_ns(100000);
    check_waiting(&writer.call);
    CHECK_CALL(mj_read(counter, &count, 8, MJ_FOREVER), ==, 8);
    CHECK_INT(result_of_transfer(&writer), ==, 0);
    CHECK_CALL(mj_read(counter, &count, 8, MJ_FOREVER), ==, 8);
    CHECK_UINT(count, ==, 1);
    CHECK_INT(mj_fd_close(counter), ==, 0);
  }
}

int main(void) {
  RUN_BY_BOTH_CLOCKS(each_kind_is_read);
  RUN_BY_BOTH_CLOCKS(closing_ends_all_reads);
  RUN_BY_BOTH_CLOCKS(closing_ends_reads_that_were_woken);
  RUN_IN_TASK(a_descriptor_is_closed_while_a_call_yields);
  RUN_BY_BOTH_CLOCKS(exactly_so_many_bytes);
  RUN_BY_BOTH_CLOCKS(each_stream_is_written);
  RUN_BY_BOTH_CLOCKS(wrong_arguments);
  RUN(outside_a_task);
  RUN_BY_BOTH_CLOCKS(several_buffers);
  RUN_BY_BOTH_CLOCKS(regular_files);
  RUN_BY_BOTH_CLOCKS(a_terminal_makes_two_bytes_of_one);
  RUN_BY_BOTH_CLOCKS(timers_and_counters);
  return 0;
}
