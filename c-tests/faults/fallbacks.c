// To be preloaded: makes this system look like one that lacks what MAJJEN_FALLBACKS names.
//
//   guards   no lightweight guard pages: madvise(102) is EINVAL, as before Linux 6.13
//   pwait2   no epoll_pwait2: ENOSYS, as before Linux 5.11
//   counter  the kernel's clock source cannot be read, so the cycle counter is not trusted
//
// The name of each that was met is appended to the file that MAJJEN_FALLBACKS_MET names.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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
  static bool met;
  if (advice == 102 && lacks("guards", &met)) return errno = EINVAL, -1;
  return (int)syscall(SYS_madvise, memory, bytes, advice);
}

int epoll_pwait2(int epoll_fd, struct epoll_event* events, int count,
                 const struct timespec* timeout, const sigset_t* mask) {
  static bool met;
  static __typeof__(&epoll_pwait2) real;
  if (lacks("pwait2", &met)) return errno = ENOSYS, -1;
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "epoll_pwait2");
  return real(epoll_fd, events, count, timeout, mask);
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
