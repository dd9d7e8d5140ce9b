// Writing to streams: what is collected, what is written when, and what stays when a call fails.
#define _GNU_SOURCE
#include "log_lines.h"
#include "streams.h"

static void small_writes_are_collected(void) {
  ends both = open_stream(0, 8);
  check_write(both.stream, "abc");
  check_write(both.stream, "defgh");
  check_received(both.other, "");
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "abcdefgh");
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "");
  close_ends(both);
}

// Each write to a socket of records is one record, so their number is that of the system calls.
static void a_large_write_goes_with_what_is_collected(void) {
  int fds[2];
  CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
  ends both = {new_stream(fds[0], 0, 8), fds[1]};
  check_write(both.stream, "head ");
  check_write(both.stream, "and a long body");
  check_received(both.other, "head and a long body");
  check_write(both.stream, "another long body");
  check_received(both.other, "another long body");
  check_write(both.stream, "12345678");
  check_write(both.stream, "9");
  check_received(both.other, "123456789");
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "");
  close_ends(both);
}

static void a_flush_that_times_out_keeps_the_rest(void) {
  ends both = open_stream(0, 0);
  size_t zeros = fill_up(mj_stream_fd(both.stream));
  check_write(both.stream, "first,");
  CHECK_INT(mj_stream_flush(both.stream, short_ns()), ==, -ETIMEDOUT);
  check_write(both.stream, "second");
  CHECK_INT(mj_stream_flush(both.stream, 0), ==, -ETIMEDOUT);
  drain(both.other, zeros);
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "first,second");
  close_ends(both);
}

// The data that comes in order, whatever the calls that wrote it ended with.
static void check_in_order(int fd, unsigned char* next, size_t bytes) {
  unsigned char room[4096];
  while (bytes > 0) {
    ssize_t count = read(fd, room, bytes < sizeof room ? bytes : sizeof room);
    CHECK_INT(count, >, 0);
    for (ssize_t i = 0; i < count; i++) CHECK_INT(room[i], ==, (*next)++);
    bytes -= (size_t)count;
  }
}

static void a_write_that_times_out_tells_how_much_is_done(void) {
  ends both = open_stream(0, 1000);
  static unsigned char data[4000000];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)i;
  size_t given = 0, done = 77;
  unsigned char next = 0;
  CHECK_INT(mj_stream_write(both.stream, data, 500, LONG_NS, &done), ==, 0);
  given += done;
  CHECK_INT(mj_stream_write(both.stream, data + given, sizeof data - given, 0, &done), ==,
            -ETIMEDOUT);
  CHECK_UINT(done, >, 0);
  CHECK_UINT(done, <, sizeof data - given);
  given += done;
  // Nothing is collected, and there is no room: it is collected.
  CHECK_INT(mj_stream_write(both.stream, data + given, 700, 0, &done), ==, 0);
  CHECK_UINT(done, ==, 700);
  size_t collected = 700;
  given += done;
  // And now nothing of it can be done.
  CHECK_INT(mj_stream_write(both.stream, data + given, 700, 0, &done), ==, -ETIMEDOUT);
  CHECK_UINT(done, ==, 0);
  check_in_order(both.other, &next, given - collected);
  CHECK_INT(mj_stream_write(both.stream, data + given, 700, LONG_NS, &done), ==, 0);
  CHECK_UINT(done, ==, 700);
  check_in_order(both.other, &next, collected + 700);
  check_received(both.other, "");
  close_ends(both);
}

// In small pieces to a slow reader, so that the buffer is left in every state.
static void many_short_limits_lose_nothing(void) {
  int fds[2];
  open_pair(fds);
  int small = 4096;
  CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), ==, 0);
  ends both = {new_stream(fds[0], 0, 64), fds[1]};
  static unsigned char data[200000];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)i;
  uint64_t random = 7;
  unsigned char next = 0, room[1024];
  size_t given = 0, received = 0, late = 0;
  while (received < sizeof data) {
    size_t done, piece = next_random(&random) % 200;
    if (piece > sizeof data - given) piece = sizeof data - given;
    int result = mj_stream_write(both.stream, data + given, piece, 0, &done);
    CHECK(result == 0 || result == -ETIMEDOUT);
    if (result == 0) CHECK_UINT(done, ==, piece);
    given += done;
    if (given == sizeof data) {
      int flushed = mj_stream_flush(both.stream, 0);
      CHECK(flushed == 0 || flushed == -ETIMEDOUT);
    }
    if (result == 0 && given < sizeof data) continue;
    late++;
    ssize_t count = read(both.other, room, 1 + next_random(&random) % sizeof room);
    CHECK_INT(count, >, 0);
    for (ssize_t i = 0; i < count; i++) CHECK_INT(room[i], ==, next++);
    received += (size_t)count;
  }
  CHECK_UINT(late, >, 10);
  close_ends(both);
}

static void a_canceled_write_loses_nothing(void) {
  ends both = open_stream(0, 0);
  size_t zeros = fill_up(mj_stream_fd(both.stream));
  check_write(both.stream, "kept");
  call flushes;
  begin(&flushes, calls_flush, both.stream, 0, MJ_FOREVER);
  check_waiting(&flushes);
  CHECK_INT(mj_task_cancel(flushes.task), ==, 0);
  CHECK_INT(result_of(&flushes), ==, -ECANCELED);
  drain(both.other, zeros);
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "kept");
  close_ends(both);
}

static void a_second_writer_is_refused(void) {
  ends both = open_stream(0, 8);
  size_t zeros = fill_up(mj_stream_fd(both.stream));
  check_write(both.stream, "kept");
  call flushes;
  begin(&flushes, calls_flush, both.stream, 0, MJ_FOREVER);
  size_t done = 77;
  CHECK_INT(mj_stream_write(both.stream, "x", 1, LONG_NS, &done), ==, -EBUSY);
  CHECK_UINT(done, ==, 0);
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, -EBUSY);
  CHECK_INT(mj_stream_shutdown(both.stream, SHUT_WR, LONG_NS), ==, -EBUSY);
  // But somebody may read.
  send_text(both.other, "line\n");
  check_line(both.stream, "line\n");
  drain(both.other, zeros);
  CHECK_INT(result_of(&flushes), ==, 0);
  check_received(both.other, "kept");
  close_ends(both);
}

static void nobody_reads_any_more(void) {
  int fds[2];
  open_pipe(fds);
  mj_stream* stream = new_stream(fds[1], 0, 8);
  check_write(stream, "kept");
  close(fds[0]);
  // Without a SIGPIPE, which would end the program.
  CHECK_INT(mj_stream_flush(stream, LONG_NS), ==, -EPIPE);
  size_t done = 77;
  CHECK_INT(mj_stream_write(stream, "123456", 6, LONG_NS, &done), ==, -EPIPE);
  CHECK_UINT(done, ==, 0);
  CHECK_INT(mj_stream_close(stream, LONG_NS), ==, -EPIPE);
}

static void a_shutdown_writes_what_is_collected(void) {
  ends both = open_stream(0, 0);
  check_write(both.stream, "bye");
  CHECK_INT(mj_stream_shutdown(both.stream, 3, LONG_NS), ==, -EINVAL);
  CHECK_INT(mj_stream_shutdown(both.stream, -1, LONG_NS), ==, -EINVAL);
  CHECK_INT(mj_stream_shutdown(both.stream, SHUT_WR, LONG_NS), ==, 0);
  check_received(both.other, "bye");
  char byte;
  CHECK_INT(read(both.other, &byte, 1), ==, 0);
  // Reading goes on, until it ends too.
  send_text(both.other, "answer\n");
  check_line(both.stream, "answer\n");
  call reads;
  begin(&reads, calls_read_line, both.stream, 0, MJ_FOREVER);
  CHECK_INT(mj_stream_shutdown(both.stream, SHUT_RD, LONG_NS), ==, 0);
  CHECK_INT(result_of(&reads), ==, 0);
  close_ends(both);
}

static void a_shutdown_that_cannot_write_does_nothing(void) {
  ends both = open_stream(0, 0);
  size_t zeros = fill_up(mj_stream_fd(both.stream));
  check_write(both.stream, "kept");
  CHECK_INT(mj_stream_shutdown(both.stream, SHUT_RDWR, short_ns()), ==, -ETIMEDOUT);
  drain(both.other, zeros);
  CHECK_INT(mj_stream_shutdown(both.stream, SHUT_RDWR, LONG_NS), ==, 0);
  check_received(both.other, "kept");
  close_ends(both);

  int fds[2];
  open_pipe(fds);
  mj_stream* stream = new_stream(fds[1], 0, 0);
  errno = 1234;
  CHECK_INT(mj_stream_shutdown(stream, SHUT_WR, LONG_NS), ==, -ENOTSOCK);
  CHECK_INT(errno, ==, 1234);
  CHECK_INT(mj_stream_destroy(stream), ==, 0);
  close(fds[0]);
}

static void wrong_arguments_are_refused(void) {
  ends both = open_stream(0, 0);
  size_t done = 77;
  CHECK_INT(mj_stream_write(NULL, "x", 1, 0, &done), ==, -EINVAL);
  CHECK_UINT(done, ==, 0);
  CHECK_INT(mj_stream_write(both.stream, NULL, 1, 0, NULL), ==, -EINVAL);
  CHECK_INT(mj_stream_write(both.stream, "x", SIZE_MAX, 0, NULL), ==, -EINVAL);
  CHECK_INT(mj_stream_write(both.stream, NULL, 0, 0, NULL), ==, 0);
  CHECK_INT(mj_stream_flush(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_shutdown(NULL, SHUT_RD, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_close(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_destroy(NULL), ==, -EINVAL);
  close_ends(both);
}

static void outside_a_task_it_is_collected(void) {
  ends both = open_stream(0, 8);
  check_write(both.stream, "1234");
  log_lines_begin();
  size_t done = 77;
  CHECK_WARNS(CHECK_INT(mj_stream_write(both.stream, "56789", 5, 0, &done), ==, -EPERM));
  CHECK_UINT(done, ==, 0);
  CHECK_WARNS(CHECK_INT(mj_stream_flush(both.stream, 0), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_stream_close(both.stream, 0), ==, -EPERM));
  log_lines_end();
  close_ends(both);
  // With nothing collected it can be closed anywhere.
  both = open_stream(0, 0);
  CHECK_INT(mj_stream_flush(both.stream, 0), ==, 0);
  CHECK_INT(mj_stream_shutdown(both.stream, SHUT_WR, 0), ==, 0);
  CHECK_INT(mj_stream_close(both.stream, 0), ==, 0);
  close(both.other);
}

int main(void) {
  RUN_IN_TASK(small_writes_are_collected);
  RUN_IN_TASK(a_large_write_goes_with_what_is_collected);
  RUN_IN_TASK(a_flush_that_times_out_keeps_the_rest);
  RUN_IN_TASK(a_write_that_times_out_tells_how_much_is_done);
  RUN_IN_TASK(many_short_limits_lose_nothing);
  RUN_IN_TASK(a_canceled_write_loses_nothing);
  RUN_IN_TASK(a_second_writer_is_refused);
  RUN_IN_TASK(nobody_reads_any_more);
  RUN_IN_TASK(a_shutdown_writes_what_is_collected);
  RUN_IN_TASK(a_shutdown_that_cannot_write_does_nothing);
  RUN_IN_TASK(wrong_arguments_are_refused);
  RUN(outside_a_task_it_is_collected);
  return 0;
}
