// The scenario of streams, gathered transfers, files that are sent and listeners: any call may fail, and what
// has been read then is a beginning of what was written.
#ifndef STREAMS_H
#define STREAMS_H

#include "transfers.h"

enum { STREAM_BYTES = 300, FIRST_LINE = 9, COLLECTED = 64 };

static int line_ends[2], part_ends[2], sent_file;
static char stream_text[STREAM_BYTES];

static void open_streams(mj_scheduler* scheduler) {
  (void)scheduler;
  for (int i = 0; i < STREAM_BYTES; i++) {
    stream_text[i] = i == FIRST_LINE - 1 ? '\n' : (char)('a' + i % 26);
  }
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, line_ends), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, part_ends), ==, 0);
  sent_file = memfd_create("sent", MFD_CLOEXEC);
  CHECK_INT(write(sent_file, stream_text, STREAM_BYTES), ==, STREAM_BYTES);
}

static void close_streams(void) {
  for (int i = 0; i < 2; i++) CHECK_INT(mj_fd_close(part_ends[i]), ==, 0);
  CHECK_INT(close(sent_file), ==, 0);
}

// A stream of a descriptor, which is closed if there is no memory for one.
static mj_stream* stream_of(int fd, size_t bytes) {
  mj_stream* stream = mj_stream_create(fd, bytes, bytes);
  if (stream != NULL) return stream;
  CHECK_ALLOWED(-errno);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  return NULL;
}

// What has not been written in time is lost, but the stream is gone.
static void close_stream(mj_stream* stream) {
  int result = mj_stream_close(stream, PART_NS);
  CHECK_ALLOWED_BESIDE(result);
  CHECK(result != -EBUSY && result != -EPERM && result != -EINVAL);
}

static void writes_lines(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_stream* stream = stream_of(line_ends[1], COLLECTED);
  size_t done, more = 0;
  if (stream != NULL) {
    CHECK_ALLOWED_BESIDE(mj_stream_write(stream, stream_text, FIRST_LINE, PART_NS, &done));
    if (done == FIRST_LINE) {
      size_t rest = STREAM_BYTES - FIRST_LINE;
      CHECK_ALLOWED_BESIDE(mj_stream_write(stream, stream_text + done, rest, PART_NS, &more));
      CHECK_UINT(more, <=, rest);
    }
    CHECK_ALLOWED_BESIDE(mj_stream_flush(stream, PART_NS));
    CHECK_ALLOWED_BESIDE(mj_stream_shutdown(stream, SHUT_WR, PART_NS));
    close_stream(stream);
  }
  end();
}

static void reads_lines(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_stream* stream = stream_of(line_ends[0], COLLECTED);
  if (stream != NULL) {
    char *line, rest[STREAM_BYTES];
    size_t done = 0;
    ssize_t length = mj_stream_read_line(stream, &line, 4 * PART_NS), others = 0;
    CHECK_ALLOWED_BESIDE(length);
    if (length > 0) {
      CHECK_INT(memcmp(line, stream_text, (size_t)length), ==, 0);
      others = mj_stream_read_exact(stream, rest, STREAM_BYTES - FIRST_LINE, PART_NS, &done);
      CHECK_ALLOWED_BESIDE(others);
      CHECK_INT(memcmp(rest, stream_text + length, done), ==, 0);
    }
    if (must_succeed(length) && must_succeed(others)) CHECK_INT(length + (ssize_t)done, ==, STREAM_BYTES);
    close_stream(stream);
  }
  end();
}

static void sends_a_file(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  off_t offset = 0;
  ssize_t sent = mj_sendfile(part_ends[1], sent_file, &offset, STREAM_BYTES / 2, PART_NS);
  CHECK_ALLOWED_BESIDE(sent);
  CHECK_INT(offset, ==, sent > 0 ? sent : 0);
  struct iovec parts[] = {{stream_text + offset, 50}, {stream_text + offset + 50, 100}};
  CHECK_ALLOWED_BESIDE(mj_writev(part_ends[1], parts, 2, PART_NS));
  CHECK_INT(shutdown(part_ends[1], SHUT_WR), ==, 0);
  end();
}

static void reads_parts(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char text[STREAM_BYTES];
  size_t done = 0;
  ssize_t result = 1;
  while (result > 0) {
    size_t half = (STREAM_BYTES - done + 1) / 2;
    struct iovec parts[] = {{text + done, half}, {text + done + half, STREAM_BYTES - done - half}};
    result = mj_readv(part_ends[0], parts, 2, 4 * PART_NS);
    CHECK_ALLOWED_BESIDE(result);
    if (result > 0) done += (size_t)result;
    if (done == STREAM_BYTES) break;
  }
  CHECK_INT(memcmp(text, stream_text, done), ==, 0);
  if (must_succeed(result)) CHECK_UINT(done, ==, STREAM_BYTES);
  end();
}

static void listens_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int fd = mj_listen("127.0.0.1", "0", 8, 0);
  CHECK_ALLOWED_BESIDE(fd);
  if (fd >= 0) CHECK_INT(mj_fd_close(fd), ==, 0);
  end();
}

static void use_streams(mj_scheduler** scheduler) {
  mj_task_fn* const bodies[] = {reads_lines, writes_lines, reads_parts, sends_a_file, listens_once};
  for (size_t i = 0; i < 5; i++) {
    while (spawn(*scheduler, bodies[i], 0) == NULL) fault.armed = false;
  }
  run(*scheduler);
}

#endif  // STREAMS_H
