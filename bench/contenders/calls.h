// Row 12: calls that a task makes in place of the system's, and the system's.
//
// `stream bytes=N count=N unix=N`: a process sends messages to another one, by a Unix socket or by TCP.
// `poll_many count=N`: asks 1,000 descriptors, of which one is ready.
// `poll_waits count=N`: waits for 1,000 descriptors, of which one gets ready meanwhile.
#ifndef CALLS_H
#define CALLS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "contender.h"

// ---- what a contender supplies

// Runs a function where the calls may be made.
static void calls_run(void (*function)(void));
// A connection that the calls are for.
static void calls_begin(int fd);
static void calls_end(int fd);
// All of the bytes. Returns how many, or less than 0.
static ssize_t calls_read_all(int fd, void *buffer, size_t bytes);
static ssize_t calls_write_all(int fd, const void *buffer, size_t bytes);
// As poll(2), without a limit.
static int calls_poll(struct pollfd *fds, nfds_t count);
// Writes to a descriptor while the next calls_poll() waits.
static void calls_write_later(int fd);

// ---- the tests

static struct {
  int fds[2];
  size_t bytes;
  uint64_t count;
  char *buffer;
} stream;

static void connect_by_tcp(int fds[2]) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
      connect(fds[0], (struct sockaddr *)&address, length) != 0) {
    fail("a connection");
  }
  fds[1] = accept(listener, NULL, NULL);
  close(listener);
}

static void receive_stream(void) {
  calls_begin(stream.fds[1]);
  for (uint64_t i = 0; i < stream.count; i++) {
    if (calls_read_all(stream.fds[1], stream.buffer, stream.bytes) != (ssize_t)stream.bytes) fail("read");
  }
  if (calls_write_all(stream.fds[1], "x", 1) != 1) fail("write");
  calls_end(stream.fds[1]);
}

static void send_stream(void) {
  char byte;
  calls_begin(stream.fds[0]);
  for (uint64_t i = 0; i < stream.count; i++) {
    if (calls_write_all(stream.fds[0], stream.buffer, stream.bytes) != (ssize_t)stream.bytes) fail("write");
  }
  if (calls_read_all(stream.fds[0], &byte, 1) != 1) fail("read");
  calls_end(stream.fds[0]);
}

static double seconds_of(struct timeval time) { return (double)time.tv_sec + (double)time.tv_usec / 1e6; }

static void test_stream(void) {
  stream.bytes = argument("bytes");
  stream.count = argument("count");
  stream.buffer = (char *)calloc(1, stream.bytes);
  memset(stream.buffer, 'x', stream.bytes);
  if (argument("unix") == 0) {
    connect_by_tcp(stream.fds);
  } else if (socketpair(AF_UNIX, SOCK_STREAM, 0, stream.fds) != 0) {
    fail("socketpair");
  }
  pid_t child = fork();
  if (child < 0) fail("fork");
  close(stream.fds[child == 0 ? 0 : 1]);
  if (child == 0) {
    calls_run(receive_stream);
    _exit(0);
  }
  uint64_t began = wall_ns(), cpu_began = cpu_ns();
  calls_run(send_stream);
  uint64_t took = wall_ns() - began, cpu_took = cpu_ns() - cpu_began;
  int status;
  struct rusage of_child;
  if (wait4(child, &status, 0, &of_child) != child || status != 0) fail("the receiver");
  double cpu = (double)cpu_took + (seconds_of(of_child.ru_utime) + seconds_of(of_child.ru_stime)) * 1e9;
  report("work", (double)stream.count);
  report("ns", (double)took / (double)stream.count);
  report("cpu_ns", cpu / (double)stream.count);
}

enum { POLLED = 1000 };

static struct {
  struct pollfd fds[POLLED];
  uint64_t count;
  int waits;
} polled;

static void poll_all(void) {
  uint64_t number = 1;
  int ready = polled.fds[POLLED / 2].fd;
  if (!polled.waits && write(ready, &number, sizeof number) != sizeof number) fail("write");
  for (uint64_t i = 0; i < polled.count; i++) {
    if (polled.waits) calls_write_later(ready);
    if (calls_poll(polled.fds, POLLED) != 1 || polled.fds[POLLED / 2].revents != POLLIN) fail("poll");
    if (polled.waits && read(ready, &number, sizeof number) != sizeof number) fail("read");
  }
}

static void test_polled(int waits) {
  polled.count = argument("count");
  polled.waits = waits;
  for (int i = 0; i < POLLED; i++) {
    polled.fds[i] = (struct pollfd){.fd = eventfd(0, EFD_NONBLOCK), .events = POLLIN};
    if (polled.fds[i].fd < 0) fail("eventfd");
  }
  uint64_t began = cpu_ns();
  calls_run(poll_all);
  report("work", (double)polled.count);
  report("ns", (double)(cpu_ns() - began) / (double)polled.count);
}

static void test_poll_many(void) { test_polled(0); }
static void test_poll_waits(void) { test_polled(1); }

#define CALL_TESTS \
  {"stream", test_stream}, {"poll_many", test_poll_many}, {"poll_waits", test_poll_waits}

#endif
