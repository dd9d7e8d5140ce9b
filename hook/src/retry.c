// Waiting until a call that has found nothing may find something.
#include <sys/stat.h>

#include "hook.h"

enum { A_FEW = 8 };

// How long it waits at most before it tries again: the file may have been closed, or another put in its
// place, where this library does not see it, as by another thread.
#define A_LOOK_NS ((uint64_t)3 * NS_PER_S)

uint64_t limit_ns(int fd, short events) {
  struct timeval limit;
  socklen_t bytes = sizeof limit;
  int option = events & POLLOUT ? SO_SNDTIMEO : SO_RCVTIMEO;
  if (getsockopt(fd, SOL_SOCKET, option, &limit, &bytes) != 0) return FOREVER;
  if (limit.tv_sec == 0 && limit.tv_usec == 0) return FOREVER;
  // The kernel takes more than 64 bits of nanoseconds can tell.
  struct timespec time = {limit.tv_sec, limit.tv_usec * NS_PER_US};
  return ns_of_time(&time);
}

// Which file a number is now. It is of none: the call tells.
static struct file_id file_of(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return (struct file_id){0, 0};
  return (struct file_id){status.st_dev, status.st_ino};
}

static int begin(struct attempt *attempt) {
  int flags = REAL(fcntl)(attempt->fd, F_GETFL);
  if (flags < 0) return -errno;
  if (flags & O_NONBLOCK) {
    completed();
    return -EAGAIN;
  }
  if (!may_suspend()) return PINNED;
  attempt->limit_ns = limit_ns(attempt->fd, attempt->events);
  attempt->deadline_ns = attempt->limit_ns == FOREVER ? FOREVER : after_ns(attempt->limit_ns);
  attempt->file = file_of(attempt->fd);
  attempt->has_begun = true;
  return 0;
}

void has_written_some(struct attempt *attempt) {
  attempt->futile = 0;
  if (!attempt->has_begun || attempt->limit_ns == FOREVER) return;
  int domain;
  socklen_t bytes = sizeof domain;
  if (getsockopt(attempt->fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain == AF_UNIX)
    attempt->deadline_ns = after_ns(attempt->limit_ns);
}

// Whether there is the event for what it has not found.
static bool is_ready(const struct attempt *attempt) {
  struct pollfd one = {.fd = attempt->fd, .events = attempt->events};
  return REAL(poll)(&one, 1, 0) > 0;
}

int wait_to_retry(struct attempt *attempt) {
  if (!attempt->has_begun) {
    int begun = begin(attempt);
    if (begun != 0) return begun;
  }
  uint64_t timeout_ns = left_ns(attempt->deadline_ns), look_ns = 0;
  int waited;
  // What it was woken for may have been taken by others.
  if (attempt->futile >= A_FEW && !is_ready(attempt)) attempt->futile = 1;
  if (attempt->futile < A_FEW) {
    if (timeout_ns > A_LOOK_NS) {
      timeout_ns = A_LOOK_NS;
      look_ns = after_ns(A_LOOK_NS);
    }
    waited = suspend_for_fd(attempt->fd, attempt->events, timeout_ns);
    if (waited == -ETIMEDOUT && look_ns != 0 && left_ns(look_ns) == 0) waited = 0;
    else attempt->futile++;
  } else {
    // There is no event for what it waits for, as for room in the queue of a local datagram socket.
    waited = suspend_for_ns(timeout_ns < NS_PER_MS ? timeout_ns : NS_PER_MS);
    if (waited == 0 && timeout_ns == 0) waited = -ETIMEDOUT;
  }
  if (waited == -ETIMEDOUT) return timed_out(attempt->deadline_ns, -EAGAIN);
  if (could_not_wait(waited)) return PINNED;
  if (waited < 0) return waited;
  // What another file has is not for who waited for this one.
  struct file_id now = file_of(attempt->fd);
  return now.device == attempt->file.device && now.number == attempt->file.number ? 0 : -EBADF;
}
