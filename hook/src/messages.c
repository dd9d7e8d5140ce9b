// Several messages in one call, and files to sockets.
#include <limits.h>

#include "hook.h"
#include "transfer.h"

// Tells how much time is left.
static bool is_over(struct timespec *timeout, uint64_t deadline_ns) {
  if (timeout == NULL) return false;
  uint64_t left = left_ns(deadline_ns);
  if (deadline_ns != FOREVER) *timeout = (struct timespec){(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
  return left == 0;
}

// As the kernel: waits until all have come, or with MSG_WAITFORONE the first; the time limit is looked at
// after each message only.
EXPORT int HOOK(recvmmsg)(int fd, struct mmsghdr *messages, unsigned message_count, int flags,
                          struct timespec *timeout) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(recvmmsg)(fd, messages, message_count, flags, timeout);
  if ((flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB)) != 0 || message_count == 0 ||
      (timeout != NULL && !is_valid_time(timeout)))
    return AT_ONCE(REAL(recvmmsg)(fd, messages, message_count, flags, timeout));
  struct attempt attempt = {.fd = fd, .events = POLLIN};
  int once = (flags & ~MSG_WAITFORONE) | MSG_DONTWAIT;
  uint64_t deadline_ns = timeout == NULL ? FOREVER : after_ns(ns_of_time(timeout));
  unsigned done = 0;
  while (done < message_count) {
    int result = REAL(recvmmsg)(fd, messages + done, message_count - done, once, NULL);
    if (result > 0) {
      done += (unsigned)result;
      attempt.futile = 0;
      bool over = is_over(timeout, deadline_ns);
      if (over || flags & MSG_WAITFORONE) break;
      continue;
    }
    int waited = result == 0 ? -EAGAIN : -errno;
    if (waited == -EAGAIN) waited = wait_to_retry(&attempt);
    if (waited == 0) continue;
    if (waited == PINNED && done == 0) return REAL(recvmmsg)(fd, messages, message_count, flags, timeout);
    if (done == 0) return (int)failed(-waited);
    break;
  }
  completed();
  return (int)done;
}

EXPORT int HOOK(sendmmsg)(int fd, struct mmsghdr *messages, unsigned message_count, int flags) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(sendmmsg)(fd, messages, message_count, flags);
  if ((flags & (MSG_DONTWAIT | MSG_OOB | MSG_FASTOPEN)) != 0 || !is_readable(messages))
    return AT_ONCE(REAL(sendmmsg)(fd, messages, message_count, flags));
  if (message_count > IOV_MAX) message_count = IOV_MAX; // As the kernel.
  unsigned done = 0;
  for (; done < message_count; done++) {
    const struct msghdr *message = &messages[done].msg_hdr;
    ssize_t sent = message->msg_iovlen > MOST_BUFFERS ? failed(EMSGSIZE) : send_message(fd, message, flags);
    if (sent < 0) break;
    messages[done].msg_len = (unsigned)sent;
  }
  return done == 0 && message_count > 0 ? -1 : (int)done;
}

// There is no flag by which it does not wait for room: the core copies, then.
EXPORT ssize_t HOOK(sendfile)(int fd, int file, off_t *offset, size_t bytes) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL || bytes == 0) return REAL(sendfile)(fd, file, offset, bytes);
  int flags = REAL(fcntl)(fd, F_GETFL);
  if (flags < 0 || flags & O_NONBLOCK) return AT_ONCE(REAL(sendfile)(fd, file, offset, bytes));
  if (is_of_a_disk(fd) || !may_suspend()) return REAL(sendfile)(fd, file, offset, bytes);
  uint64_t limit = limit_ns(fd, POLLOUT), deadline_ns = limit == FOREVER ? FOREVER : after_ns(limit);
  ssize_t sent = suspend_for_sendfile(fd, file, offset, bytes, limit);
  if (sent >= 0) return sent;
  // Of what is no file the system tells more exactly.
  if (could_not_wait((int)sent) || sent == -ESPIPE) return REAL(sendfile)(fd, file, offset, bytes);
  if (sent == -ETIMEDOUT) sent = timed_out(deadline_ns, -EAGAIN);
  if (sent == -EPIPE) raise_broken_pipe(); // As sendfile(2) does.
  return failed((int)-sent);
}
ALSO(sendfile64, sendfile);
