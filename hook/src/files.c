// Files: reading and writing at a place, and waiting for locks.
#include <stdarg.h>

#include "hook.h"
#include "transfer.h"

// ---- at a place

// Tries what is in memory; what takes the time of a disk is done by a thread.
static ssize_t read_at(int fd, const struct iovec *buffers, int buffer_count, off_t offset, int flags) {
  if (hooked(MJ_HOOK_FILES) == NULL || offset < 0 || flags & RWF_NOWAIT)
    return REAL(preadv2)(fd, buffers, buffer_count, offset, flags);
  struct file_call call = {.fd = fd, .buffers = buffers, .count = buffer_count, .offset = offset, .flags = flags};
  ssize_t result = REAL(preadv2)(fd, buffers, buffer_count, offset, flags | RWF_NOWAIT);
  if (result < 0 && (errno == EAGAIN || errno == EOPNOTSUPP || errno == ENOSYS)) return transfer_file(call);
  completed();
  return result > 0 ? read_rest(call, result) : result;
}

static ssize_t write_at(int fd, const struct iovec *buffers, int buffer_count, off_t offset, int flags) {
  if (hooked(MJ_HOOK_FILES) == NULL || offset < 0 || flags & RWF_NOWAIT)
    return REAL(pwritev2)(fd, buffers, buffer_count, offset, flags);
  return transfer_file((struct file_call){.fd = fd, .buffers = buffers, .count = buffer_count,
                                          .offset = offset, .flags = flags, .writes = true});
}

EXPORT ssize_t HOOK(pread)(int fd, void *buffer, size_t bytes, off_t offset) {
  if (hooked(MJ_HOOK_FILES) == NULL || offset < 0) return REAL(pread)(fd, buffer, bytes, offset);
  struct iovec one = {buffer, bytes};
  return read_at(fd, &one, 1, offset, 0);
}
ALSO(pread64, pread);
ALSO(__pread64, pread);

EXPORT ssize_t HOOK(pwrite)(int fd, const void *buffer, size_t bytes, off_t offset) {
  if (hooked(MJ_HOOK_FILES) == NULL || offset < 0) return REAL(pwrite)(fd, buffer, bytes, offset);
  struct iovec one = {(void *)buffer, bytes};
  return write_at(fd, &one, 1, offset, 0);
}
ALSO(pwrite64, pwrite);
ALSO(__pwrite64, pwrite);

EXPORT ssize_t HOOK(preadv)(int fd, const struct iovec *buffers, int buffer_count, off_t offset) {
  if (hooked(MJ_HOOK_FILES) == NULL || offset < 0) return REAL(preadv)(fd, buffers, buffer_count, offset);
  return read_at(fd, buffers, buffer_count, offset, 0);
}
ALSO(preadv64, preadv);

EXPORT ssize_t HOOK(pwritev)(int fd, const struct iovec *buffers, int buffer_count, off_t offset) {
  if (hooked(MJ_HOOK_FILES) == NULL || offset < 0) return REAL(pwritev)(fd, buffers, buffer_count, offset);
  return write_at(fd, buffers, buffer_count, offset, 0);
}
ALSO(pwritev64, pwritev);

// With the offset -1 they are readv(2) and writev(2), but for the flags.
EXPORT ssize_t HOOK(preadv2)(int fd, const struct iovec *buffers, int buffer_count, off_t offset, int flags) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_FILES) == NULL) return REAL(preadv2)(fd, buffers, buffer_count, offset, flags);
  if (offset == -1 && flags == 0) return HOOK(readv)(fd, buffers, buffer_count);
  return read_at(fd, buffers, buffer_count, offset, flags);
}
ALSO(preadv64v2, preadv2);

EXPORT ssize_t HOOK(pwritev2)(int fd, const struct iovec *buffers, int buffer_count, off_t offset, int flags) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_FILES) == NULL) return REAL(pwritev2)(fd, buffers, buffer_count, offset, flags);
  if (offset == -1 && flags == 0) return HOOK(writev)(fd, buffers, buffer_count);
  return write_at(fd, buffers, buffer_count, offset, flags);
}
ALSO(pwritev64v2, pwritev2);

__attribute__((noreturn)) void __chk_fail(void);

EXPORT ssize_t HOOK(__pread_chk)(int fd, void *buffer, size_t bytes, off_t offset, size_t room) {
  if (bytes > room) __chk_fail();
  return HOOK(pread)(fd, buffer, bytes, offset);
}
ALSO(__pread64_chk, __pread_chk);

// ---- locks

// No thread waits for them, since it could not be stopped, and would lock for a task that has gone. So they
// are tried again, at first soon.
#define UNTIL_LOCKED(once, is_held, real)                                      \
  ({                                                                           \
    int result_ = (once);                                                      \
    bool waits_ = result_ != 0 && (is_held);                                   \
    if (waits_ && !may_suspend()) {                                            \
      waits_ = false;                                                          \
      result_ = (real);                                                        \
    }                                                                          \
    for (uint64_t ns_ = FIRST_PAUSE_NS; waits_; ns_ = longer_pause_ns(ns_)) {  \
      int slept_ = suspend_for_ns(ns_);                                        \
      if (slept_ != 0) {                                                       \
        result_ = (int)failed(-slept_);                                        \
        break;                                                                 \
      }                                                                        \
      result_ = (once);                                                        \
      waits_ = result_ != 0 && (is_held);                                      \
    }                                                                          \
    result_;                                                                   \
  })

EXPORT int HOOK(flock)(int fd, int operation) {
  if (hooked(MJ_HOOK_FILES) == NULL || operation & (LOCK_NB | LOCK_UN)) return REAL(flock)(fd, operation);
  return UNTIL_LOCKED(REAL(flock)(fd, operation | LOCK_NB), errno == EWOULDBLOCK, REAL(flock)(fd, operation));
}

EXPORT int HOOK(lockf)(int fd, int command, off_t bytes) {
  if (hooked(MJ_HOOK_FILES) == NULL || command != F_LOCK) return REAL(lockf)(fd, command, bytes);
  return UNTIL_LOCKED(REAL(lockf)(fd, F_TLOCK, bytes), errno == EACCES || errno == EAGAIN,
                      REAL(lockf)(fd, command, bytes));
}
ALSO(lockf64, lockf);

// The third argument, whatever it is, is passed on as a word.
EXPORT int HOOK(fcntl)(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  bool waits = command == F_SETLKW || command == F_OFD_SETLKW;
  if (!waits || hooked(MJ_HOOK_FILES) == NULL) return REAL(fcntl)(fd, command, argument);
  int once = command == F_SETLKW ? F_SETLK : F_OFD_SETLK;
  return UNTIL_LOCKED(REAL(fcntl)(fd, once, argument), errno == EACCES || errno == EAGAIN,
                      REAL(fcntl)(fd, command, argument));
}
ALSO(fcntl64, fcntl);
ALSO(__fcntl, fcntl);

// ---- closing

// Ends the waits of other tasks for the descriptor, as close(2) alone does not.
EXPORT int HOOK(close)(int fd) {
  if (hooked(MJ_HOOK_SOCKETS | MJ_HOOK_POLL) == NULL || !is_in_its_task()) return REAL(close)(fd);
  int closed = calls()->fd_close(fd);
  // The scheduler's own two are not the program's to close.
  if (closed == -EBUSY) return (int)failed(EBADF);
  return closed < 0 ? (int)failed(-closed) : 0;
}
ALSO(__close, close);
