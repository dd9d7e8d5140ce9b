// To be preloaded: makes this system look like one without the features that MAJJEN_FALLBACKS
// names.
//
//   guards   no lightweight guard pages: madvise(102) is EINVAL, as before Linux 6.13
//   batches  no process_madvise of the process itself: EBADF, as before Linux 6.15
//   pwait2   no epoll_pwait2: ENOSYS, as before Linux 5.11
//   nowait   no RWF_NOWAIT of preadv2 and pwritev2: EOPNOTSUPP, as before Linux 4.14
//   nosignal no RWF_NOSIGNAL of pwritev2: EOPNOTSUPP, as before Linux 6.18
//   wipe     no pages that fork() clears: madvise(MADV_WIPEONFORK) is EINVAL, as before Linux 4.14
//   futex    no futex by its number, which the C library uses itself: EACCES, as by a filter
//   counter  the kernel's clock source cannot be read, so the cycle counter is not trusted
//
// Appends the name of each feature that was asked for to the file in MAJJEN_FALLBACKS_MET.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static bool lacks(const char* what, bool* met) {
  const char* names = getenv("MAJJEN_FALLBACKS");
  if (names == NULL || strstr(names, what) == NULL) return false;
  const char* path = getenv("MAJJEN_FALLBACKS_MET");
  if (path != NULL && !__atomic_exchange_n(met, true, __ATOMIC_RELAXED)) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (write(fd, what, strlen(what)) < 0) abort();
    close(fd);
  }
  return true;
}

int madvise(void* memory, size_t bytes, int advice) {
  static bool met, wipe_met;
  if (advice == 102 && lacks("guards", &met)) return errno = EINVAL, -1;
  if (advice == MADV_WIPEONFORK && lacks("wipe", &wipe_met)) return errno = EINVAL, -1;
  return (int)syscall(SYS_madvise, memory, bytes, advice);
}

// Does what the C library's function does, without calling it: looking it up allocates, and an
// allocator that is not ready yet may be the caller.
static long system_call(long number, const long of[6]) {
#ifdef __x86_64__
  long result = number;
  register long r10 __asm__("r10") = of[3];
  register long r8 __asm__("r8") = of[4];
  register long r9 __asm__("r9") = of[5];
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"(of[0]), "S"(of[1]), "d"(of[2]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
#else
  register long result __asm__("x0") = of[0];
  register long x1 __asm__("x1") = of[1];
  register long x2 __asm__("x2") = of[2];
  register long x3 __asm__("x3") = of[3];
  register long x4 __asm__("x4") = of[4];
  register long x5 __asm__("x5") = of[5];
  register long x8 __asm__("x8") = number;
  __asm__ volatile("svc 0"
                   : "+r"(result)
                   : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8)
                   : "memory");
#endif
  return result < 0 && result >= -4095 ? (errno = (int)-result, -1) : result;
}

// The C library has process_madvise() since 2.36, and epoll_pwait2() since 2.35; the library calls
// both by number. A system call has at most six arguments, and ignores the rest.
long syscall(long number, ...) {
  static bool met, pwait2_met, futex_met;
  if (number == SYS_futex && lacks("futex", &futex_met)) return errno = EACCES, -1;
  if (number == SYS_process_madvise && lacks("batches", &met)) return errno = EBADF, -1;
  if (number == SYS_epoll_pwait2 && lacks("pwait2", &pwait2_met)) return errno = ENOSYS, -1;
  va_list arguments;
  va_start(arguments, number);
  long of[6];
  for (int i = 0; i < 6; i++) of[i] = va_arg(arguments, long);
  va_end(arguments);
  return system_call(number, of);
}

ssize_t preadv2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  static bool met;
  if ((flags & 8) != 0 && lacks("nowait", &met)) return errno = EOPNOTSUPP, -1;
  return syscall(SYS_preadv2, fd, parts, count, offset, 0, flags);
}

ssize_t pwritev2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  static bool met, signal_met;
  if ((flags & 8) != 0 && lacks("nowait", &met)) return errno = EOPNOTSUPP, -1;
  if ((flags & 0x100) != 0 && lacks("nosignal", &signal_met)) return errno = EOPNOTSUPP, -1;
  return syscall(SYS_pwritev2, fd, parts, count, offset, 0, flags);
}

int open(const char* path, int flags, ...) {
  static bool met;
  if (strstr(path, "/clocksource/") != NULL && lacks("counter", &met)) return errno = ENOENT, -1;
  va_list arguments;
  va_start(arguments, flags);
  unsigned mode = va_arg(arguments, unsigned);
  va_end(arguments);
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
