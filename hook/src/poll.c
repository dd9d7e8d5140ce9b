// Waiting for several descriptors.
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "hook.h"
#include "transfer.h"

// ppoll(2) and the like with a mask that changes anything go to the system: which signals are let in is the
// thread's matter.
static bool changes_mask(const sigset_t *mask) {
  if (mask == NULL) return false;
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  for (int number = 1; number <= SIGRTMAX; number++)
    if (sigismember(&now, number) != sigismember(mask, number)) return true;
  return false;
}

// Whether a call with this limit need not wait, or is one that the system refuses.
static bool goes_on_at_once(const struct timespec *timeout) {
  return timeout != NULL && (!is_valid_time(timeout) || ns_of_time(timeout) == 0);
}

static bool pinned_by(const sigset_t *mask) {
  if (!changes_mask(mask)) return false;
  count(&counts.pinned);
  return true;
}

static uint64_t ns_of_ms(int ms) { return ms < 0 ? FOREVER : (uint64_t)ms * NS_PER_MS; }

// poll(2): how many are ready, PINNED_POLL, or -1 with errno.
enum { PINNED_POLL = -2, MANY = 256 };

static int poll_in_task(struct pollfd *fds, nfds_t fd_count, uint64_t timeout_ns) {
  if (!may_suspend()) return PINNED_POLL;
  uint64_t deadline_ns = timeout_ns == FOREVER ? FOREVER : after_ns(timeout_ns);
  int result;
  if (fd_count == 1 && fds->fd >= 0 && fds->events != 0) {
    fds->revents = 0;
    result = suspend_for_fd(fds->fd, fds->events, timeout_ns);
    if (result == -EBADF) result = POLLNVAL;
    if (result > 0) {
      fds->revents = (short)result;
      return 1;
    }
  } else {
    result = suspend_for_poll(fds, fd_count, timeout_ns);
    if (result >= 0) return result;
  }
  if (result == -ETIMEDOUT) result = timed_out(deadline_ns, 0);
  if (result == 0) return 0;
  if (ends_call(result)) return (int)failed(-result);
  count(&counts.pinned); // It cannot be waited for here, or the system says what is wrong.
  return PINNED_POLL;
}

EXPORT int HOOK(poll)(struct pollfd *fds, nfds_t fd_count, int timeout_ms) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(poll)(fds, fd_count, timeout_ms);
  if (timeout_ms == 0) return AT_ONCE(REAL(poll)(fds, fd_count, 0));
  // The kernel looks at what may be wrong, or too many.
  if (fds == NULL || fd_count > MANY) {
    int ready = REAL(poll)(fds, fd_count, 0);
    if (ready != 0) return ready;
  }
  int ready = poll_in_task(fds, fd_count, ns_of_ms(timeout_ms));
  return ready == PINNED_POLL ? REAL(poll)(fds, fd_count, timeout_ms) : ready;
}
ALSO(__poll, poll);

EXPORT int HOOK(ppoll)(struct pollfd *fds, nfds_t fd_count, const struct timespec *timeout,
                       const sigset_t *mask) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(ppoll)(fds, fd_count, timeout, mask);
  if (goes_on_at_once(timeout)) return AT_ONCE(REAL(ppoll)(fds, fd_count, timeout, mask));
  if (!pinned_by(mask)) {
    int ready = poll_in_task(fds, fd_count, ns_of_time(timeout));
    if (ready != PINNED_POLL) return ready;
  }
  return REAL(ppoll)(fds, fd_count, timeout, mask);
}

__attribute__((noreturn)) void __chk_fail(void);

EXPORT int HOOK(__poll_chk)(struct pollfd *fds, nfds_t fd_count, int timeout_ms, size_t room) {
  if (room / sizeof *fds < fd_count) __chk_fail();
  return HOOK(poll)(fds, fd_count, timeout_ms);
}

EXPORT int HOOK(__ppoll_chk)(struct pollfd *fds, nfds_t fd_count, const struct timespec *timeout,
                             const sigset_t *mask, size_t room) {
  if (room / sizeof *fds < fd_count) __chk_fail();
  return HOOK(ppoll)(fds, fd_count, timeout, mask);
}

// ---- select(2)

typedef unsigned long word;
enum { WORD_BITS = 8 * sizeof(word), A_FEW = 32 };

// The three sets of select(2), by their words, since they may be longer than an fd_set.
struct sets {
  word *set[3];
};

static const short EVENTS[3] = {POLLIN | POLLRDBAND, POLLOUT | POLLWRBAND, POLLPRI};
static const short SHOWN[3] = {
    POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR,
    POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR,
    POLLPRI,
};

static bool is_in(const word *set, int fd) {
  return set != NULL && (set[fd / WORD_BITS] >> (fd % WORD_BITS) & 1) != 0;
}

// The descriptors of the sets, at most `room` of them; returns how many there are.
static size_t list(const struct sets *sets, int end, struct pollfd *fds, size_t room) {
  size_t used = 0;
  for (int fd = 0; fd < end; fd++) {
    short events = 0;
    for (int i = 0; i < 3; i++)
      if (is_in(sets->set[i], fd)) events |= EVENTS[i];
    if (events == 0) continue;
    if (used < room) fds[used] = (struct pollfd){fd, events, 0};
    used++;
  }
  return used;
}

// Leaves in the sets what is ready; returns how many bits that are.
static int show(const struct sets *sets, const struct pollfd *fds, size_t used) {
  int bits = 0;
  struct sets asked = *sets;
  for (size_t i = 0; i < used; i++) {
    for (int which = 0; which < 3; which++) {
      word *set = sets->set[which];
      if (!is_in(asked.set[which], fds[i].fd)) continue;
      word bit = (word)1 << (fds[i].fd % WORD_BITS);
      if (fds[i].revents & SHOWN[which]) bits++;
      else set[fds[i].fd / WORD_BITS] &= ~bit;
    }
  }
  return bits;
}

// How many descriptors the process has room for: the kernel looks at no more, whatever it is told.
static int most_descriptors(void) {
  char text[4096];
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FD_SETSIZE;
  ssize_t bytes = REAL(read)(fd, text, sizeof text - 1);
  REAL(close)(fd);
  text[bytes < 0 ? 0 : bytes] = '\0';
  const char *found = strstr(text, "FDSize:");
  return found == NULL ? FD_SETSIZE : atoi(found + strlen("FDSize:"));
}

static int select_in_task(int end, const struct sets *sets, uint64_t timeout_ns) {
  if (end > FD_SETSIZE) {
    int most = most_descriptors();
    if (end > most) end = most;
  }
  for (int i = 0; i < 3; i++)
    if (end > 0 && sets->set[i] != NULL && !is_readable(sets->set[i])) return (int)failed(EFAULT);
  struct pollfd few[A_FEW], *fds = few;
  size_t used = list(sets, end, few, A_FEW);
  if (used > A_FEW) {
    fds = malloc(used * sizeof *fds);
    if (fds == NULL) return PINNED_POLL;
    list(sets, end, fds, used);
  }
  int ready = poll_in_task(fds, used, timeout_ns);
  if (ready >= 0) {
    bool is_open = true;
    for (size_t i = 0; i < used; i++) is_open &= (fds[i].revents & POLLNVAL) == 0;
    ready = is_open ? show(sets, fds, used) : (int)failed(EBADF);
  }
  int error = errno;
  if (fds != few) free(fds);
  errno = error;
  return ready;
}

EXPORT int HOOK(select)(int end, fd_set *readable, fd_set *writable, fd_set *urgent,
                        struct timeval *timeout) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(select)(end, readable, writable, urgent, timeout);
  if (end < 0 || (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_usec < 0 ||
                                      (timeout->tv_sec == 0 && timeout->tv_usec == 0))))
    return AT_ONCE(REAL(select)(end, readable, writable, urgent, timeout));
  uint64_t ns = FOREVER;
  if (timeout != NULL) {
    struct timespec time = {timeout->tv_sec + timeout->tv_usec / 1000000,
                            timeout->tv_usec % 1000000 * NS_PER_US};
    ns = ns_of_time(&time);
  }
  uint64_t deadline_ns = ns == FOREVER ? FOREVER : after_ns(ns);
  struct sets sets = {{(word *)readable, (word *)writable, (word *)urgent}};
  int ready = select_in_task(end, &sets, ns);
  if (ready == PINNED_POLL) return REAL(select)(end, readable, writable, urgent, timeout);
  if (timeout != NULL && ns != FOREVER) { // As Linux does.
    int error = errno;
    uint64_t left = left_ns(deadline_ns);
    *timeout = (struct timeval){(time_t)(left / NS_PER_S), (suseconds_t)(left % NS_PER_S / NS_PER_US)};
    errno = error;
  }
  return ready;
}
ALSO(__select, select);

EXPORT int HOOK(pselect)(int end, fd_set *readable, fd_set *writable, fd_set *urgent,
                         const struct timespec *timeout, const sigset_t *mask) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(pselect)(end, readable, writable, urgent, timeout, mask);
  if (end < 0 || goes_on_at_once(timeout))
    return AT_ONCE(REAL(pselect)(end, readable, writable, urgent, timeout, mask));
  if (!pinned_by(mask)) {
    struct sets sets = {{(word *)readable, (word *)writable, (word *)urgent}};
    int ready = select_in_task(end, &sets, ns_of_time(timeout));
    if (ready != PINNED_POLL) return ready;
  }
  return REAL(pselect)(end, readable, writable, urgent, timeout, mask);
}

// ---- epoll(7)

// An epoll set can itself be waited for.
static int wait_for_epoll(int epoll_fd, struct epoll_event *events, int room, uint64_t timeout_ns) {
  uint64_t deadline_ns = FOREVER;
  bool has_begun = false;
  for (;;) {
    int ready = REAL(epoll_wait)(epoll_fd, events, room, 0);
    if (ready != 0) {
      completed();
      return ready;
    }
    if (!has_begun) {
      if (!may_suspend()) return PINNED_POLL;
      if (timeout_ns != FOREVER) deadline_ns = after_ns(timeout_ns);
      has_begun = true;
    }
    int waited = suspend_for_fd(epoll_fd, POLLIN, left_ns(deadline_ns));
    if (waited > 0) continue;
    if (waited == -ETIMEDOUT) waited = timed_out(deadline_ns, 0);
    if (waited == 0) return 0;
    if (ends_call(waited) || waited == -EBADF) return (int)failed(-waited);
    count(&counts.pinned);
    return PINNED_POLL;
  }
}

EXPORT int HOOK(epoll_wait)(int epoll_fd, struct epoll_event *events, int room, int timeout_ms) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(epoll_wait)(epoll_fd, events, room, timeout_ms);
  if (timeout_ms == 0) return AT_ONCE(REAL(epoll_wait)(epoll_fd, events, room, 0));
  int ready = wait_for_epoll(epoll_fd, events, room, ns_of_ms(timeout_ms));
  return ready == PINNED_POLL ? REAL(epoll_wait)(epoll_fd, events, room, timeout_ms) : ready;
}

EXPORT int HOOK(epoll_pwait)(int epoll_fd, struct epoll_event *events, int room, int timeout_ms,
                             const sigset_t *mask) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(epoll_pwait)(epoll_fd, events, room, timeout_ms, mask);
  if (timeout_ms == 0) return AT_ONCE(REAL(epoll_pwait)(epoll_fd, events, room, 0, mask));
  if (!pinned_by(mask)) {
    int ready = wait_for_epoll(epoll_fd, events, room, ns_of_ms(timeout_ms));
    if (ready != PINNED_POLL) return ready;
  }
  return REAL(epoll_pwait)(epoll_fd, events, room, timeout_ms, mask);
}

EXPORT int HOOK(epoll_pwait2)(int epoll_fd, struct epoll_event *events, int room,
                              const struct timespec *timeout, const sigset_t *mask) {
  if (hooked(MJ_HOOK_POLL) == NULL) return REAL(epoll_pwait2)(epoll_fd, events, room, timeout, mask);
  if (goes_on_at_once(timeout)) return AT_ONCE(REAL(epoll_pwait2)(epoll_fd, events, room, timeout, mask));
  if (!pinned_by(mask)) {
    int ready = wait_for_epoll(epoll_fd, events, room, ns_of_time(timeout));
    if (ready != PINNED_POLL) return ready;
  }
  return REAL(epoll_pwait2)(epoll_fd, events, room, timeout, mask);
}
