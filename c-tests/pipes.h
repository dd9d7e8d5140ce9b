// Pairs of descriptors, and a byte that goes from one end to the other.
#ifndef PIPES_H
#define PIPES_H

#include "check.h"

#include <fcntl.h>
#include <sys/socket.h>

static inline void open_pipe(int fds[2]) { CHECK_INT(pipe2(fds, O_CLOEXEC | O_NONBLOCK), ==, 0); }

static inline void open_pair(int fds[2]) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), ==, 0);
}

static inline void close_both(const int fds[2]) {
  close(fds[0]);
  close(fds[1]);
}

static inline void put_byte(int fd) { CHECK_INT(write(fd, "x", 1), ==, 1); }

static inline void take_byte(int fd) {
  char byte = 0;
  CHECK_INT(read(fd, &byte, 1), ==, 1);
  CHECK_INT(byte, ==, 'x');
}

#endif  // PIPES_H
