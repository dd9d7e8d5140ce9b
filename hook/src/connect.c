// Connecting and accepting, which have no flag by which they do not wait.
//
// For connect(2) O_NONBLOCK is set for the length of the system call: a socket that connects is mostly one
// task's. Other processes that have it, too, may see it meanwhile. A listener is often shared.
#include <stdlib.h>
#include <string.h>

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
  if (flags < 0 || flags & O_NONBLOCK) return AT_ONCE(REAL(connect)(fd, address, length));
  if (!may_suspend()) return REAL(connect)(fd, address, length);
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

// An accept(2) that a thread makes once a connection is there. Another process or thread may have taken that one
// by then: so it is not made here, where it would block all tasks; nor with O_NONBLOCK, which the others would
// see.
struct acceptance {
  int fd, with, result, error;
  struct sockaddr_storage address;
  socklen_t length;
};

static void accept_there(void *argument) {
  struct acceptance *it = argument;
  it->length = sizeof it->address;
  it->result = REAL(accept4)(it->fd, (struct sockaddr *)&it->address, &it->length, it->with);
  it->error = errno;
}

static void close_accepted(void *argument) {
  struct acceptance *it = argument;
  if (it->result >= 0) REAL(close)(it->result);
  free(it);
}

// Whether it has been made; else it is to be made as it is.
static bool accept_by_thread(int fd, __SOCKADDR_ARG address, socklen_t *length, int with, int *result) {
  struct acceptance *it = calloc(1, sizeof *it);
  if (it == NULL) return false;
  *it = (struct acceptance){.fd = fd, .with = with, .result = -1};
  int done = have_done(OFFLOAD_FILE, accept_there, it, close_accepted);
  *result = -1;
  if (done == -1) return true;
  if (done == UNDONE) {
    free(it);
    return false;
  }
  struct sockaddr *to = address.__sockaddr__;
  if (it->result >= 0 && to != NULL && length != NULL) {
    memcpy(to, &it->address, *length < it->length ? *length : it->length);
    *length = it->length;
  }
  *result = it->result >= 0 ? it->result : (int)failed(it->error);
  free(it);
  return true;
}

EXPORT int HOOK(accept4)(int fd, __SOCKADDR_ARG address, socklen_t *length, int with) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(accept4)(fd, address, length, with);
  struct attempt attempt = {.fd = fd, .events = POLLIN};
  int flags = REAL(fcntl)(fd, F_GETFL), result, listens = 0;
  socklen_t bytes = sizeof listens;
  if (flags < 0 || flags & O_NONBLOCK || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) != 0 || !listens)
    return AT_ONCE(REAL(accept4)(fd, address, length, with));
  for (;;) {
    struct pollfd one = {fd, POLLIN, 0};
    if (REAL(poll)(&one, 1, 0) != 0) {
      if (one.revents == POLLIN && may_suspend() && accept_by_thread(fd, address, length, with, &result)) return result;
      return REAL(accept4)(fd, address, length, with);
    }
    int waited = wait_to_retry(&attempt);
    if (waited == PINNED) return REAL(accept4)(fd, address, length, with);
    if (waited < 0) return (int)failed(-waited);
  }
}

EXPORT int HOOK(accept)(int fd, __SOCKADDR_ARG address, socklen_t *length) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(accept)(fd, address, length);
  return HOOK(accept4)(fd, address, length, 0);
}
