// For tests of streams: a stream over one end of a socket pair or a pipe, and calls of other tasks.
#ifndef STREAMS_H
#define STREAMS_H

#include "calls.h"
#include "pipes.h"

// A stream over one end, and the descriptor of the other end.
typedef struct ends {
  mj_stream* stream;
  int other;
} ends;

static inline mj_stream* new_stream(int fd, size_t read_bytes, size_t write_bytes) {
  mj_stream* stream = mj_stream_create(fd, read_bytes, write_bytes);
  CHECK(stream != NULL);
  return stream;
}

static inline ends open_stream(size_t read_bytes, size_t write_bytes) {
  int fds[2];
  open_pair(fds);
  return (ends){new_stream(fds[0], read_bytes, write_bytes), fds[1]};
}

static inline void close_ends(ends both) {
  CHECK_INT(mj_stream_destroy(both.stream), ==, 0);
  close(both.other);
}

static inline void send_text(int fd, const char* text) {
  CHECK_INT(write(fd, text, strlen(text)), ==, strlen(text));
}

// What the other end has received so far must be this.
static inline void check_received(int fd, const char* text) {
  char got[256] = "";
  ssize_t count = read(fd, got, sizeof got - 1);
  if (count < 0) {
    CHECK_INT(errno, ==, EAGAIN);
    count = 0;
  }
  got[count] = '\0';
  CHECK_STR(got, text);
}

// The next line of the stream must be this, with its end; or, if it is "", the end of the stream.
static inline void check_line(mj_stream* stream, const char* text) {
  char* line = NULL;
  CHECK_INT(mj_stream_read_line(stream, &line, LONG_NS), ==, strlen(text));
  CHECK(line != NULL);
  CHECK_STR(line, text);
}

static inline void check_no_line(mj_stream* stream, int error, uint64_t timeout_ns) {
  char* line = "not set";
  CHECK_INT(mj_stream_read_line(stream, &line, timeout_ns), ==, error);
  CHECK(line == NULL);
}

// What the stream has read ahead must be this.
static inline void check_ahead(mj_stream* stream, const char* text) {
  char* data;
  ssize_t count = mj_stream_peek(stream, 0, &data, 0);
  CHECK_INT(count, ==, strlen(text));
  CHECK_INT(memcmp(data, text, strlen(text)), ==, 0);
}

static inline void check_write(mj_stream* stream, const char* text) {
  size_t done = 77;
  CHECK_INT(mj_stream_write(stream, text, strlen(text), LONG_NS, &done), ==, 0);
  CHECK_UINT(done, ==, strlen(text));
}

// Fills the buffers of the kernel, so that the next byte has to wait; returns how much they hold.
static inline size_t fill_up(int fd) {
  static char zeros[65536];
  size_t total = 0;
  for (ssize_t count; (count = send(fd, zeros, sizeof zeros, MSG_DONTWAIT)) > 0;) total += (size_t)count;
  CHECK_INT(errno, ==, EAGAIN);
  return total;
}

// Reads so many bytes without waiting.
static inline void drain(int fd, size_t bytes) {
  static char room[65536];
  while (bytes > 0) {
    ssize_t count = read(fd, room, bytes < sizeof room ? bytes : sizeof room);
    CHECK_INT(count, >, 0);
    bytes -= (size_t)count;
  }
}

static inline int calls_read(call* self) {
  char room[64];
  return (int)mj_stream_read(self->object, room, self->value, self->timeout_ns);
}

static inline int calls_read_line(call* self) {
  char* line;
  return (int)mj_stream_read_line(self->object, &line, self->timeout_ns);
}

static inline int calls_flush(call* self) { return mj_stream_flush(self->object, self->timeout_ns); }

#endif  // STREAMS_H
