// Reading from streams: by lines and other pieces, and what a call that fails leaves for the next one.
#define _GNU_SOURCE
#include "log_lines.h"
#include "streams.h"

#include <limits.h>
#include <termios.h>

static void lines_come_with_their_ends(void) {
  ends both = open_stream(0, 0);
  send_text(both.other, "one\n\nthree\r\nrest");
  check_line(both.stream, "one\n");
  check_line(both.stream, "\n");
  check_line(both.stream, "three\r\n");
  shutdown(both.other, SHUT_WR);
  check_line(both.stream, "rest");
  check_line(both.stream, "");
  check_line(both.stream, "");
  close_ends(both);
}

static void a_line_may_be_written_to(void) {
  ends both = open_stream(0, 0);
  send_text(both.other, "key=value\nnext\n");
  char* line;
  CHECK_INT(mj_stream_read_line(both.stream, &line, LONG_NS), ==, 10);
  memset(line, 'x', 10);
  // The NUL behind a line is not in place of the next one's first byte.
  check_ahead(both.stream, "next\n");
  check_line(both.stream, "next\n");
  close_ends(both);
}

static void other_pieces_end_with_any_byte(void) {
  ends both = open_stream(0, 0);
  CHECK_INT(write(both.other, "a;b\0c\xff" "d", 7), ==, 7);
  char* text;
  CHECK_INT(mj_stream_read_until(both.stream, ';', &text, LONG_NS), ==, 2);
  CHECK_STR(text, "a;");
  CHECK_INT(mj_stream_read_until(both.stream, '\0', &text, LONG_NS), ==, 2);
  CHECK_STR(text, "b");
  CHECK_INT(mj_stream_read_until(both.stream, '\xff', &text, LONG_NS), ==, 2);
  CHECK_STR(text, "c\xff");
  CHECK_INT(mj_stream_read_until(both.stream, 256, &text, LONG_NS), ==, -EINVAL);
  CHECK_INT(mj_stream_read_until(both.stream, -129, &text, LONG_NS), ==, -EINVAL);
  CHECK(text == NULL);
  check_ahead(both.stream, "d");
  close_ends(both);
}

static void a_line_that_is_too_long_stays(void) {
  ends both = open_stream(8, 0);
  send_text(both.other, "1234567\n12345678\nend\n");
  check_line(both.stream, "1234567\n");
  check_no_line(both.stream, -EMSGSIZE, LONG_NS);
  check_no_line(both.stream, -EMSGSIZE, LONG_NS);
  check_ahead(both.stream, "12345678");
  CHECK_INT(mj_stream_skip(both.stream, 9), ==, -EINVAL);
  CHECK_INT(mj_stream_skip(both.stream, 6), ==, 0);
  check_line(both.stream, "78\n");
  check_line(both.stream, "end\n");
  close_ends(both);
}

static void a_limit_is_of_the_whole_call_and_nothing_is_lost(void) {
  ends both = open_stream(0, 0);
  send_text(both.other, "be");
  check_no_line(both.stream, -ETIMEDOUT, 0);
  check_ahead(both.stream, "be");
  // A byte now and then does not begin the time anew.
  call slow;
  uint64_t limit_ns = 20 * short_ns();
  begin(&slow, calls_read_line, both.stream, 0, limit_ns);
  uint64_t began = now_ns();
  while (!slow.returned) {
    send_text(both.other, "x");
    mj_sleep_ns(limit_ns / 8);
    CHECK_UINT(now_ns() - began, <, 30000000000);
  }
  CHECK_INT(slow.result, ==, -ETIMEDOUT);
  send_text(both.other, "\n");
  char* line;
  ssize_t length = mj_stream_read_line(both.stream, &line, LONG_NS);
  CHECK_INT(length, >=, 5);
  CHECK_INT(memcmp(line, "bexx", 4), ==, 0);
  close_ends(both);
}

static void a_canceled_call_loses_nothing(void) {
  ends both = open_stream(0, 0);
  send_text(both.other, "begun");
  call waits;
  begin(&waits, calls_read_line, both.stream, 0, MJ_FOREVER);
  check_waiting(&waits);
  CHECK_INT(mj_task_cancel(waits.task), ==, 0);
  CHECK_INT(result_of(&waits), ==, -ECANCELED);
  check_ahead(both.stream, "begun");
  send_text(both.other, " ended\n");
  check_line(both.stream, "begun ended\n");
  close_ends(both);
}

static void a_reset_comes_after_what_was_read(void) {
  ends both = open_stream(0, 0);
  send_text(both.other, "last\nwords");
  check_line(both.stream, "last\n");
  // Closing with data that nobody has read is a reset.
  CHECK_INT(send(mj_stream_fd(both.stream), "x", 1, MSG_NOSIGNAL), ==, 1);
  close(both.other);
  check_no_line(both.stream, -ECONNRESET, LONG_NS);
  check_ahead(both.stream, "words");
  check_line(both.stream, "words");
  CHECK_INT(mj_stream_destroy(both.stream), ==, 0);
}

static void reads_take_what_is_ahead_first(void) {
  ends both = open_stream(8, 0);
  char room[32] = "";
  send_text(both.other, "abcdefghijkl");
  CHECK_INT(mj_stream_read(both.stream, room, 2, LONG_NS), ==, 2);
  check_ahead(both.stream, "cdefgh");
  CHECK_INT(mj_stream_read(both.stream, room, sizeof room, LONG_NS), ==, 6);
  CHECK_INT(memcmp(room, "cdefgh", 6), ==, 0);
  // With room for more than the buffer has, it is read past the buffer.
  send_text(both.other, "mnopqr");
  CHECK_INT(mj_stream_read(both.stream, room, sizeof room, LONG_NS), ==, 10);
  CHECK_INT(memcmp(room, "ijklmnopqr", 10), ==, 0);
  CHECK_INT(mj_stream_read(both.stream, NULL, 0, LONG_NS), ==, 0);
  CHECK_INT(mj_stream_read(both.stream, room, 1, 0), ==, -ETIMEDOUT);
  close_ends(both);
}

static void exact_reads_tell_what_came(void) {
  ends both = open_stream(8, 0);
  char room[32] = "";
  size_t done = 77;
  send_text(both.other, "abcdefghijklmnop");
  CHECK_INT(mj_stream_read_exact(both.stream, room, 3, LONG_NS, &done), ==, 3);
  CHECK_UINT(done, ==, 3);
  CHECK_INT(mj_stream_read_exact(both.stream, room, 20, 0, &done), ==, -ETIMEDOUT);
  CHECK_UINT(done, ==, 13);
  send_text(both.other, "qrstuvwx");
  shutdown(both.other, SHUT_WR);
  CHECK_INT(mj_stream_read_exact(both.stream, room + done, 7, LONG_NS, NULL), ==, 7);
  CHECK_STR(room, "defghijklmnopqrstuvw");
  CHECK_INT(mj_stream_read_exact(both.stream, room, 2, LONG_NS, &done), ==, 1);
  CHECK_UINT(done, ==, 1);
  CHECK_INT(mj_stream_read_exact(both.stream, NULL, 2, LONG_NS, &done), ==, -EINVAL);
  CHECK_UINT(done, ==, 0);
  close_ends(both);
}

static void peeks_leave_what_they_show(void) {
  ends both = open_stream(8, 0);
  char* data;
  send_text(both.other, "abc");
  CHECK_INT(mj_stream_peek(both.stream, 0, &data, LONG_NS), ==, 0);
  CHECK_INT(mj_stream_peek(both.stream, 2, &data, LONG_NS), ==, 3);
  CHECK_INT(memcmp(data, "abc", 3), ==, 0);
  CHECK_INT(mj_stream_peek(both.stream, 4, &data, 0), ==, -ETIMEDOUT);
  CHECK(data == NULL);
  CHECK_INT(mj_stream_peek(both.stream, 9, &data, LONG_NS), ==, -EMSGSIZE);
  CHECK_INT(mj_stream_skip(both.stream, 2), ==, 0);
  send_text(both.other, "defghij");
  CHECK_INT(mj_stream_peek(both.stream, 8, &data, LONG_NS), ==, 8);
  CHECK_INT(memcmp(data, "cdefghij", 8), ==, 0);
  shutdown(both.other, SHUT_WR);
  CHECK_INT(mj_stream_skip(both.stream, 7), ==, 0);
  CHECK_INT(mj_stream_peek(both.stream, 8, &data, LONG_NS), ==, 1);
  CHECK_INT(*data, ==, 'j');
  close_ends(both);
}

static void a_second_reader_is_refused(void) {
  ends both = open_stream(0, 0);
  call reads;
  begin(&reads, calls_read, both.stream, 8, MJ_FOREVER);
  check_waiting(&reads);
  char room[8], *data;
  CHECK_INT(mj_stream_read(both.stream, room, 8, LONG_NS), ==, -EBUSY);
  CHECK_INT(mj_stream_read_exact(both.stream, room, 8, LONG_NS, NULL), ==, -EBUSY);
  check_no_line(both.stream, -EBUSY, LONG_NS);
  CHECK_INT(mj_stream_peek(both.stream, 0, &data, LONG_NS), ==, -EBUSY);
  CHECK_INT(mj_stream_skip(both.stream, 0), ==, -EBUSY);
  // But somebody may write.
  check_write(both.stream, "hello");
  CHECK_INT(mj_stream_flush(both.stream, LONG_NS), ==, 0);
  check_received(both.other, "hello");
  put_byte(both.other);
  CHECK_INT(result_of(&reads), ==, 1);
  close_ends(both);
}

// A canceled task gets what has been read ahead, but not for ever.
static int reads_on_and_on(call* self) {
  char room[1];
  for (;;) {
    ssize_t count = mj_stream_read(self->object, room, 1, LONG_NS);
    if (count != 1) return (int)count;
    self->value++;
  }
}

static void what_is_ahead_costs_of_the_budget(void) {
  ends both = open_stream(4096, 0);
  char many[4096];
  memset(many, 'x', sizeof many);
  CHECK_INT(write(both.other, many, sizeof many), ==, sizeof many);
  char* data;
  CHECK_INT(mj_stream_peek(both.stream, sizeof many, &data, LONG_NS), ==, sizeof many);
  call one;
  begin(&one, reads_on_and_on, both.stream, 0, 0);
  // It has let this task go on though it did not have to wait.
  CHECK_UINT(one.value, >, 32);
  CHECK_UINT(one.value, <, 4096);
  CHECK_INT(mj_task_cancel(one.task), ==, 0);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  CHECK_INT(mj_stream_peek(both.stream, 0, &data, 0), ==, (ssize_t)(sizeof many - one.value));
  close_ends(both);
}

static void blocking_pipes_and_terminals_are_read(void) {
  int fds[2];
  CHECK_INT(pipe(fds), ==, 0);
  mj_stream* stream = new_stream(fds[0], 0, 0);
  send_text(fds[1], "through a pipe\n");
  check_line(stream, "through a pipe\n");
  check_no_line(stream, -ETIMEDOUT, short_ns());
  close(fds[1]);
  check_line(stream, "");
  CHECK_INT(mj_stream_destroy(stream), ==, 0);

  int keyboard = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK_INT(keyboard, >=, 0);
  CHECK_INT(grantpt(keyboard), ==, 0);
  CHECK_INT(unlockpt(keyboard), ==, 0);
  int terminal = open(ptsname(keyboard), O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK_INT(terminal, >=, 0);
  stream = new_stream(terminal, 0, 0);
  check_no_line(stream, -ETIMEDOUT, short_ns());
  send_text(keyboard, "typed\n");
  check_line(stream, "typed\n");
  CHECK_INT(fcntl(terminal, F_GETFL) & O_NONBLOCK, ==, 0);
  CHECK_INT(mj_stream_destroy(stream), ==, 0);
  close(keyboard);
}

static void wrong_arguments_are_refused(void) {
  ends both = open_stream(0, 0);
  char room[8], *data = room;
  CHECK_INT(mj_stream_read(NULL, room, 8, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_read(both.stream, NULL, 8, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_read(both.stream, room, (size_t)SSIZE_MAX + 1, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_read_exact(NULL, room, 8, 0, NULL), ==, -EINVAL);
  CHECK_INT(mj_stream_read_line(NULL, &data, 0), ==, -EINVAL);
  CHECK(data == NULL);
  CHECK_INT(mj_stream_read_line(both.stream, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_read_until(both.stream, 0, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_read_until(NULL, 0, &data, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_peek(NULL, 0, &data, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_peek(both.stream, 0, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_skip(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_stream_fd(NULL), ==, -EINVAL);
  close_ends(both);
}

static void outside_a_task_the_buffer_is_read(void) {
  ends both = open_stream(0, 0);
  char* line;
  char room[8];
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_stream_read_line(both.stream, &line, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_stream_read(both.stream, room, 8, LONG_NS), ==, -EPERM));
  log_lines_end();
  CHECK_INT(mj_stream_read(both.stream, room, 0, LONG_NS), ==, 0);
  CHECK_INT(mj_stream_peek(both.stream, 0, &line, LONG_NS), ==, 0);
  close_ends(both);
}

int main(void) {
  RUN_IN_TASK(lines_come_with_their_ends);
  RUN_IN_TASK(a_line_may_be_written_to);
  RUN_IN_TASK(other_pieces_end_with_any_byte);
  RUN_IN_TASK(a_line_that_is_too_long_stays);
  RUN_IN_TASK(a_limit_is_of_the_whole_call_and_nothing_is_lost);
  RUN_IN_TASK(a_canceled_call_loses_nothing);
  RUN_IN_TASK(a_reset_comes_after_what_was_read);
  RUN_IN_TASK(reads_take_what_is_ahead_first);
  RUN_IN_TASK(exact_reads_tell_what_came);
  RUN_IN_TASK(peeks_leave_what_they_show);
  RUN_IN_TASK(a_second_reader_is_refused);
  RUN_IN_TASK(what_is_ahead_costs_of_the_budget);
  RUN_IN_TASK(blocking_pipes_and_terminals_are_read);
  RUN_IN_TASK(wrong_arguments_are_refused);
  RUN(outside_a_task_the_buffer_is_read);
  return 0;
}
