// Reading and writing.
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "hook.h"
#include "transfer.h"

#define READS(descriptor) (struct attempt){.fd = (descriptor), .events = POLLIN}
#define WRITES(descriptor) (struct attempt){.fd = (descriptor), .events = POLLOUT}

// ---- lists of buffers

bool is_readable(const void *address) {
  // It copies the set before it sees that there is no such operation.
  enum { NO_OPERATION = -1, SET_BYTES = 8 };
  int error = errno;
  syscall(SYS_rt_sigprocmask, NO_OPERATION, address, NULL, SET_BYTES);
  bool readable = errno != EFAULT;
  errno = error;
  return address != NULL && readable;
}

static size_t bytes_of(const struct iovec *buffers, size_t buffer_count) {
  size_t bytes = 0;
  for (size_t i = 0; i < buffer_count; i++) bytes += buffers[i].iov_len;
  return bytes;
}

// A list of buffers without the first bytes: of those that are left the first few.
enum { WINDOW = 16 };

static int skip(const struct iovec *buffers, int buffer_count, size_t done, struct iovec *window) {
  int used = 0;
  for (int i = 0; i < buffer_count && used < WINDOW; i++) {
    if (done >= buffers[i].iov_len) {
      done -= buffers[i].iov_len;
      continue;
    }
    window[used++] = (struct iovec){(char *)buffers[i].iov_base + done, buffers[i].iov_len - done};
    done = 0;
  }
  return used;
}

// ---- files

static void make_file_call(void *argument) {
  struct file_call *call = argument;
  call->result = call->writes
                     ? REAL(pwritev2)(call->fd, call->buffers, call->count, call->offset, call->flags)
                     : REAL(preadv2)(call->fd, call->buffers, call->count, call->offset, call->flags);
  call->error = errno;
}

bool is_of_a_disk(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return false;
  return S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode);
}

ssize_t transfer_file(struct file_call call) {
  if (is_hooked(MJ_HOOK_FILES) && may_suspend()) {
    int done = have_done(OFFLOAD_FILE, make_file_call, &call, NULL);
    if (done == -1) return -1;
    if (done == 0) return call.result < 0 ? failed(call.error) : call.result;
  }
  make_file_call(&call);
  return call.result < 0 ? failed(call.error) : call.result;
}

// Where a file ends; 0 for what has no end, such as a pipe.
static off_t end_of(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) return 0;
  return S_ISBLK(status.st_mode) ? INT64_MAX : status.st_size;
}

ssize_t read_rest(struct file_call call, ssize_t done) {
  const size_t all = bytes_of(call.buffers, (size_t)call.count);
  const off_t end = done > 0 && (size_t)done < all ? end_of(call.fd) : 0;
  const off_t from = call.offset;
  if (end == 0 || (from >= 0 ? from + done : lseek(call.fd, 0, SEEK_CUR)) >= end) return done;
  struct file_call rest = call;
  struct iovec window[WINDOW];
  rest.buffers = window;
  int error = errno;
  while ((size_t)done < all) {
    rest.count = skip(call.buffers, call.count, (size_t)done, window);
    if (from >= 0) rest.offset = from + done;
    ssize_t more = transfer_file(rest);
    if (more <= 0) break; // The next call tells.
    done += more;
  }
  errno = error;
  return done;
}

// ---- read(2), write(2)

// Of a file, only a part of what was asked for may be in memory. That is all the same no short read.
static ssize_t read_now(int fd, const struct iovec *buffers, int buffer_count) {
  bool is_socket;
  ssize_t count_ = calls()->try_readv(fd, buffers, buffer_count, &is_socket);
  if (count_ < 0) return failed((int)-count_);
  if (is_socket) return count_;
  return read_rest((struct file_call){.fd = fd, .buffers = buffers, .count = buffer_count, .offset = -1}, count_);
}

static ssize_t read_buffers(int fd, const struct iovec *buffers, int buffer_count) {
  struct attempt attempt = READS(fd);
  for (;;) {
    ssize_t result = read_now(fd, buffers, buffer_count);
    if (result >= 0 || (errno != EAGAIN && errno != EINVAL)) {
      completed();
      return result;
    }
    // Of what is wrong the system tells more exactly.
    if (errno == EINVAL) return REAL(readv)(fd, buffers, buffer_count);
    if (!attempt.has_begun && is_of_a_disk(fd)) {
      return transfer_file((struct file_call){
          .fd = fd, .buffers = buffers, .count = buffer_count, .offset = -1});
    }
    int waited = is_hooked(MJ_HOOK_SOCKETS) ? wait_to_retry(&attempt) : PINNED;
    if (waited == PINNED) return REAL(readv)(fd, buffers, buffer_count);
    if (waited < 0) return failed(-waited);
  }
}

// Of nothing, a socket is not even asked. Of what is wrong the system tells.
static bool are_no_bytes(const struct iovec *buffers, int buffer_count) {
  return buffers == NULL || buffer_count <= 0 || buffer_count > MOST_BUFFERS ||
         bytes_of(buffers, (size_t)buffer_count) == 0;
}

static ssize_t write_now(int fd, const struct iovec *buffers, int buffer_count) {
  ssize_t count_ = calls()->try_writev(fd, buffers, buffer_count);
  return count_ < 0 ? failed((int)-count_) : count_;
}

// The other side is gone: a pipe raises the signal also where the call tells how much it has written.
static void tell_of_broken_pipe(int fd, size_t done) {
  int error = errno, type;
  socklen_t bytes = sizeof type;
  if (done == 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0)
    raise_broken_pipe();
  errno = error;
}

// Writes all, as write(2) does to a descriptor that blocks.
static ssize_t write_buffers(int fd, const struct iovec *buffers, int buffer_count) {
  struct attempt attempt = WRITES(fd);
  struct iovec window[WINDOW];
  const struct iovec *rest = buffers;
  int rest_count = buffer_count;
  size_t done = 0, all = bytes_of(buffers, (size_t)buffer_count);
  for (;;) {
    ssize_t result = write_now(fd, rest, rest_count);
    if (result >= 0) {
      done += (size_t)result;
      if (done >= all || (result == 0 && rest_count > 0)) break;
      has_written_some(&attempt);
      rest_count = skip(buffers, buffer_count, done, window);
      rest = window;
      continue;
    }
    int waited = -errno;
    if (waited == -EINVAL && done == 0) return REAL(writev)(fd, buffers, buffer_count);
    if (waited == -EPIPE) tell_of_broken_pipe(fd, done);
    if (waited == -EAGAIN) {
      bool is_file = !attempt.has_begun && is_of_a_disk(fd);
      waited = !is_file && is_hooked(MJ_HOOK_SOCKETS) ? wait_to_retry(&attempt) : PINNED;
      if (waited == 0) continue;
      if (waited == PINNED) {
        ssize_t last = is_file ? transfer_file((struct file_call){.fd = fd, .buffers = rest,
                                     .count = rest_count, .offset = -1, .writes = true})
                               : REAL(writev)(fd, rest, rest_count);
        if (last < 0 && done == 0) return -1;
        return (ssize_t)done + (last < 0 ? 0 : last);
      }
    }
    if (done > 0) break; // The next call tells.
    return failed(-waited);
  }
  completed();
  return (ssize_t)done;
}

EXPORT ssize_t HOOK(read)(int fd, void *buffer, size_t bytes) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_FILES) == NULL || bytes == 0) return REAL(read)(fd, buffer, bytes);
  struct iovec one = {buffer, bytes};
  return read_buffers(fd, &one, 1);
}
ALSO(__read, read);

EXPORT ssize_t HOOK(readv)(int fd, const struct iovec *buffers, int buffer_count) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_FILES) == NULL || are_no_bytes(buffers, buffer_count))
    return REAL(readv)(fd, buffers, buffer_count);
  return read_buffers(fd, buffers, buffer_count);
}

EXPORT ssize_t HOOK(write)(int fd, const void *buffer, size_t bytes) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_FILES) == NULL || bytes == 0) return REAL(write)(fd, buffer, bytes);
  struct iovec one = {(void *)buffer, bytes};
  return write_buffers(fd, &one, 1);
}
ALSO(__write, write);

EXPORT ssize_t HOOK(writev)(int fd, const struct iovec *buffers, int buffer_count) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_FILES) == NULL || are_no_bytes(buffers, buffer_count))
    return REAL(writev)(fd, buffers, buffer_count);
  return write_buffers(fd, buffers, buffer_count);
}

// What -D_FORTIFY_SOURCE makes of calls: the size of the buffer is checked.
__attribute__((noreturn)) void __chk_fail(void);

EXPORT ssize_t HOOK(__read_chk)(int fd, void *buffer, size_t bytes, size_t room) {
  if (bytes > room) __chk_fail();
  return HOOK(read)(fd, buffer, bytes);
}

// ---- messages

// Flags with which a call does not wait, or means something of its own.
enum { NEVER_WAITS = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB | MSG_FASTOPEN };

static int option(int fd, int which) {
  int value = 0;
  socklen_t bytes = sizeof value;
  return getsockopt(fd, SOL_SOCKET, which, &value, &bytes) == 0 ? value : -1;
}

static bool is_stream(int fd) { return option(fd, SO_TYPE) == SOCK_STREAM; }

static bool is_local(int fd) { return option(fd, SO_DOMAIN) == AF_UNIX; }

// Whether MSG_WAITALL means anything: local sockets show what has come first, whatever is asked for.
static bool waits_for_all(int fd, int flags) {
  return (flags & MSG_WAITALL) != 0 && is_stream(fd) && ((flags & MSG_PEEK) == 0 || !is_local(fd));
}

// A local socket does not go on after descriptors have come.
static bool has_descriptors(const struct msghdr *message) {
  if (message->msg_flags & MSG_CTRUNC) return true;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
       part = CMSG_NXTHDR((struct msghdr *)message, part))
    if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) return true;
  return false;
}

// Whether the other side has ended: no more will come than there is.
static bool has_ended(int fd) {
  struct pollfd poll_ = {fd, POLLRDHUP, 0};
  return REAL(poll)(&poll_, 1, 0) != 0;
}

// With MSG_WAITALL: until all has come, or the end.
static ssize_t receive_all(int fd, struct msghdr *message, int flags) {
  struct attempt attempt = READS(fd);
  int error = errno;
  const struct msghdr before = *message;
  const bool peeks = flags & MSG_PEEK;
  size_t done = 0, all = bytes_of(before.msg_iov, before.msg_iovlen);
  bool is_last = false, has_control = false;
  for (;;) {
    struct iovec window[WINDOW];
    struct msghdr part = before;
    if (done > 0 && !peeks) {
      part.msg_iov = window;
      part.msg_iovlen = (size_t)skip(before.msg_iov, (int)before.msg_iovlen, done, window);
    }
    if (has_control) {
      part.msg_control = NULL; // Those of an earlier part are kept.
      part.msg_controllen = 0;
    }
    ssize_t result = REAL(recvmsg)(fd, &part, flags | MSG_DONTWAIT);
    if (result >= 0) {
      bool is_end = has_descriptors(&part);
      if (done == 0 || peeks) message->msg_namelen = part.msg_namelen;
      if (!has_control) message->msg_controllen = part.msg_controllen;
      message->msg_flags = part.msg_flags;
      has_control |= !peeks && part.msg_controllen > 0;
      done = peeks ? (size_t)result : done + (size_t)result;
      if (result == 0 || done >= all || is_end || is_last) break;
      if (!peeks) {
        attempt.futile = 0;
        continue;
      }
      is_last = has_ended(fd);
      if (is_last) continue;
      // What has been seen stays, and is an event at once: so it looks again after a while.
      attempt.futile = UINT16_MAX;
    } else if (errno != EAGAIN) {
      if (done > 0) break;
      return -1;
    }
    int waited = wait_to_retry(&attempt);
    if (waited == 0) continue;
    if (done > 0 && waited != PINNED) break;
    if (waited != PINNED) return failed(-waited);
    if (done > 0 && !peeks) {
      ssize_t last = REAL(recvmsg)(fd, &part, flags);
      return (ssize_t)done + (last < 0 ? 0 : last);
    }
    *message = before;
    return REAL(recvmsg)(fd, message, flags);
  }
  completed();
  errno = error;
  return (ssize_t)done;
}

// recvmsg(2).
static ssize_t receive(int fd, struct msghdr *message, int flags) {
  if (waits_for_all(fd, flags)) {
    bool is_sound = is_readable(message) && message->msg_iovlen <= MOST_BUFFERS &&
                    (message->msg_iovlen == 0 || is_readable(message->msg_iov));
    return is_sound ? receive_all(fd, message, flags) : REAL(recvmsg)(fd, message, flags);
  }
  struct attempt attempt = READS(fd);
  // The kernel looks at it first, which says so where it cannot be read.
  ssize_t result = REAL(recvmsg)(fd, message, flags | MSG_DONTWAIT);
  if (result >= 0 || errno != EAGAIN) {
    completed();
    return result;
  }
  const struct msghdr before = *message;
#define AGAIN(flags_) (*message = before, REAL(recvmsg)(fd, message, flags_))
  return UNTIL_DONE(&attempt, AGAIN(flags | MSG_DONTWAIT), AGAIN(flags));
#undef AGAIN
}

EXPORT ssize_t HOOK(recvmsg)(int fd, struct msghdr *message, int flags) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(recvmsg)(fd, message, flags);
  if (flags & NEVER_WAITS) return AT_ONCE(REAL(recvmsg)(fd, message, flags));
  return receive(fd, message, flags);
}

EXPORT ssize_t HOOK(recvfrom)(int fd, void *buffer, size_t bytes, int flags, __SOCKADDR_ARG address,
                              socklen_t *length) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(recvfrom)(fd, buffer, bytes, flags, address, length);
  if (flags & NEVER_WAITS) return AT_ONCE(REAL(recvfrom)(fd, buffer, bytes, flags, address, length));
  struct sockaddr *from = address.__sockaddr__;
  if (bytes > 0 && (from == NULL || length != NULL) && waits_for_all(fd, flags)) {
    struct iovec one = {buffer, bytes};
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_name = from, .msg_namelen = from == NULL ? 0 : *length};
    ssize_t result = receive(fd, &message, flags);
    if (result >= 0 && from != NULL) *length = message.msg_namelen;
    return result;
  }
  struct attempt attempt = READS(fd);
  return UNTIL_DONE(&attempt, REAL(recvfrom)(fd, buffer, bytes, flags | MSG_DONTWAIT, address, length),
                    REAL(recvfrom)(fd, buffer, bytes, flags, address, length));
}

EXPORT ssize_t HOOK(recv)(int fd, void *buffer, size_t bytes, int flags) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(recv)(fd, buffer, bytes, flags);
  return HOOK(recvfrom)(fd, buffer, bytes, flags, (__SOCKADDR_ARG){NULL}, NULL);
}
ALSO(__recv, recv);

EXPORT ssize_t HOOK(__recv_chk)(int fd, void *buffer, size_t bytes, size_t room, int flags) {
  if (bytes > room) __chk_fail();
  return HOOK(recv)(fd, buffer, bytes, flags);
}

EXPORT ssize_t HOOK(__recvfrom_chk)(int fd, void *buffer, size_t bytes, size_t room, int flags,
                                    __SOCKADDR_ARG address, socklen_t *length) {
  if (bytes > room) __chk_fail();
  return HOOK(recvfrom)(fd, buffer, bytes, flags, address, length);
}

ssize_t send_message(int fd, const struct msghdr *message, int flags) {
  struct attempt attempt = WRITES(fd);
  int error = errno;
  // The kernel looks at it first, which says so where it cannot be read.
  ssize_t result = REAL(sendmsg)(fd, message, flags | MSG_DONTWAIT);
  if (result < 0 && errno != EAGAIN) return -1;
  size_t done = 0, all = bytes_of(message->msg_iov, message->msg_iovlen);
  struct msghdr part = *message;
  struct iovec window[WINDOW];
  for (bool is_first = true;; is_first = false) {
    // What has been sent is told, and no signal raised.
    int quiet = done > 0 ? MSG_NOSIGNAL : 0;
    if (!is_first) result = REAL(sendmsg)(fd, &part, flags | quiet | MSG_DONTWAIT);
    if (result >= 0) {
      done += (size_t)result;
      if (done >= all || !is_stream(fd)) break;
      has_written_some(&attempt);
      part.msg_iov = window;
      part.msg_iovlen = (size_t)skip(message->msg_iov, (int)message->msg_iovlen, done, window);
      part.msg_control = NULL; // They went with the first byte.
      part.msg_controllen = 0;
      continue;
    }
    int waited = -errno;
    if (waited == -EAGAIN) {
      waited = wait_to_retry(&attempt);
      if (waited == 0) continue;
    }
    if (waited == PINNED) {
      result = REAL(sendmsg)(fd, &part, flags | quiet);
      if (result < 0 && done == 0) return -1;
      return (ssize_t)done + (result < 0 ? 0 : result);
    }
    if (done > 0) break; // The next call tells.
    return failed(-waited);
  }
  completed();
  errno = error;
  return (ssize_t)done;
}

EXPORT ssize_t HOOK(sendmsg)(int fd, const struct msghdr *message, int flags) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(sendmsg)(fd, message, flags);
  if (flags & NEVER_WAITS) return AT_ONCE(REAL(sendmsg)(fd, message, flags));
  return send_message(fd, message, flags);
}

EXPORT ssize_t HOOK(sendto)(int fd, const void *buffer, size_t bytes, int flags,
                            __CONST_SOCKADDR_ARG address, socklen_t length) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(sendto)(fd, buffer, bytes, flags, address, length);
  if (flags & NEVER_WAITS) return AT_ONCE(REAL(sendto)(fd, buffer, bytes, flags, address, length));
  // Mostly there is room for all.
  ssize_t sent = REAL(sendto)(fd, buffer, bytes, flags | MSG_DONTWAIT, address, length);
  if (sent == (ssize_t)bytes || (sent < 0 && errno != EAGAIN)) {
    completed();
    return sent;
  }
  if (sent < 0) sent = 0;
  struct iovec rest = {(char *)buffer + sent, bytes - (size_t)sent};
  struct msghdr message = {
      .msg_name = (void *)address.__sockaddr__, .msg_namelen = length, .msg_iov = &rest, .msg_iovlen = 1};
  // Once a part is sent the end of the reader is no signal, but for the next call.
  ssize_t others = send_message(fd, &message, sent > 0 ? flags | MSG_NOSIGNAL : flags);
  if (others < 0) return sent > 0 ? sent : -1; // The next call tells.
  return sent + others;
}

EXPORT ssize_t HOOK(send)(int fd, const void *buffer, size_t bytes, int flags) {
  if (hooked(MJ_HOOK_SOCKETS) == NULL) return REAL(send)(fd, buffer, bytes, flags);
  return HOOK(sendto)(fd, buffer, bytes, flags, (__CONST_SOCKADDR_ARG){NULL}, 0);
}
ALSO(__send, send);
