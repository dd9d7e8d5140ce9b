// Connecting and accepting.
//
// There is no flag for these by which they do not wait, so O_NONBLOCK is set for the length of the system
// call. Other processes that have the socket, too, may see it meanwhile.
#include "hook.h"

// Whether it blocks, and does not now.
static bool begin_nonblocking(int fd, int *flags) {
  *flags = REAL(fcntl)(fd, F_GETFL);
  if (*flags < 0 || *flags & O_NONBLOCK) return false;
  return REAL(fcntl)(fd, F_SETFL, *flags | O_NONBLOCK) == 0;
}

static void end_nonblocking(int fd, int flags) {
  int error = errno;
  REAL(fcntl)(fd, F_SETFL, flags);
  errno = error;
}

static int connect_now(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
  int flags;
  if (!begin_nonblocking(fd, &flags)) return REAL(connect)(fd, address, length);
  int result = REAL(connect)(fd, address, length);
  end_nonblocking(fd, flags);
  return result;
}

static int connect_socket(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
  struct attempt attempt = {.fd = fd, .events = POLLOUT};
  int flags = REAL(fcntl)(fd, F_GETFL), first_error = 0;
  if (flags < 0 || flags & O_NONBLOCK || !may_suspend()) return REAL(connect)(fd, address, length);
  for (;;) {
    int result = connect_now(fd, address, length);
    if (result == 0) return 0;
    int error = errno;
    // The next try tells how it has ended, and leaves the socket as a call that has blocked does.
    if (first_error != 0 && error == EISCONN) return 0;
    if (first_error == 0) first_error = error;
    // A local server's queue is full: there is no event for that.
    if (error == EAGAIN) attempt.futile = UINT16_MAX;
    else if (error != EINPROGRESS && error != EALREADY) return failed(error);
    int waited = wait_to_retry(&attempt);
    if (waited == PINNED) return REAL(connect)(fd, address, length);
    if (waited == -EAGAIN) return (int)failed(first_error);
    if (waited < 0) return (int)failed(-waited);
  }
}

EXPORT int HOOK(connect)(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(connect)(fd, address, length);
  return connect_socket(fd, address, length);
}
ALSO(__connect, connect);

static int accept_now(int fd, __SOCKADDR_ARG address, socklen_t *length, int with) {
  int flags;
  if (!begin_nonblocking(fd, &flags)) return REAL(accept4)(fd, address, length, with);
  int result = REAL(accept4)(fd, address, length, with);
  end_nonblocking(fd, flags);
  return result;
}

EXPORT int HOOK(accept4)(int fd, __SOCKADDR_ARG address, socklen_t *length, int with) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(accept4)(fd, address, length, with);
  struct attempt attempt = {.fd = fd, .events = POLLIN};
  return (int)UNTIL_DONE(&attempt, accept_now(fd, address, length, with),
                         REAL(accept4)(fd, address, length, with));
}

EXPORT int HOOK(accept)(int fd, __SOCKADDR_ARG address, socklen_t *length) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(accept)(fd, address, length);
  return HOOK(accept4)(fd, address, length, 0);
}
