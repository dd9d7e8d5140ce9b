// Fault injection: the n-th call of one function of the C library fails, once or more often, if the
// library makes it (or the C library on its behalf) while faults are armed. Calls of the test
// program itself never fail.
//
// These definitions replace the C library's, since the loader looks in the program first.
#ifndef INJECT_H
#define INJECT_H

#include "../check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

// The functions that can fail. MEMORY is malloc() and its family.
typedef enum call {
  MEMORY,
  MMAP,
  EPOLL_CREATE1,
  EVENTFD,
  EPOLL_CTL,
  EPOLL_PWAIT2,
  EPOLL_WAIT,
  MADVISE,
  MPROTECT,
  MUNMAP,
  WRITE,
  WRITE_TO_FILE,
  READ,
  FCNTL,
  POLL,
  PPOLL,
  OPEN,
  NANOSLEEP,
  DUP3,
  SOCKET,
  CONNECT,
  SEND,
  RECVFROM,
  SENDTO,
  PREADV2,
  PWRITEV2,
  ACCEPT4,
  CONNECT_TCP,
  GETSOCKOPT,
  RECVMSG,
  SENDMSG,
  SENDFILE,
  SHUTDOWN,
  SETSOCKOPT,
  BIND,
  LISTEN,
  PTHREAD_CREATE,
  CLOCK_GETTIME,
  READV,
  PREAD,
  PIPE2,
  PIDFD_OPEN,
  POSIX_SPAWNP,
} call;

// Threads of a scenario count together.
static struct {
  bool armed;
  call call;
  int error;
  bool harmless;         // whether the library works without the call
  bool has_child;        // no call fails: at the first one there is a child of fork(), for a moment
  unsigned long first;   // the number of the first call that fails, from 1
  unsigned long length;  // how many fail; ULONG_MAX: from then on
  unsigned long calls;
  unsigned long failed;
  unsigned long forked;
} fault;

// Simulates older kernels: no lightweight guard pages, no epoll_pwait2.
static bool no_guards, no_pwait2;

// The log daemon's address, in place of /dev/log.
static struct sockaddr_un log_daemon_address = {.sun_family = AF_UNIX};

// Threads that only keep something busy are left alone.
static __thread bool is_spared;

// How many epoll sets were made, and how often a write of the library's found no room.
static unsigned long sets_made, writes_without_room;

// Live blocks of malloc() in the whole process, and live mappings of the library. Threads of a scenario may
// change them, so by atomic operations.
static long live_blocks, live_mappings;

extern const char __executable_start, etext;

static bool is_in_program(const void* caller) {
  return (const char*)caller >= &__executable_start && (const char*)caller < &etext;
}

// Its end is not the library's to know of.
static void have_child(void) {
  int error = errno, status = 0;
  fault.forked++;
  pid_t child = fork();
  if (child == 0) _exit(0);
  CHECK_INT(child, >, 0);
  while (waitpid(child, &status, 0) != child) CHECK_INT(errno, ==, EINTR);
  CHECK_INT(status, ==, 0);
  errno = error;
}

static bool hits(call call, const void* caller) {
  if (!fault.armed || call != fault.call || is_spared || is_in_program(caller)) return false;
  unsigned long number = __atomic_add_fetch(&fault.calls, 1, __ATOMIC_RELAXED);
  if (number < fault.first || number - fault.first >= fault.length) return false;
  if (fault.has_child) return have_child(), false;
  __atomic_add_fetch(&fault.failed, 1, __ATOMIC_RELAXED);
  return true;
}

#define HITS(call) hits(call, __builtin_return_address(0))

// ---- Memory ----

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* block);

static void* counted(void* block) {
  if (block != NULL) __atomic_fetch_add(&live_blocks, 1, __ATOMIC_RELAXED);
  return block;
}

static void* no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

void* malloc(size_t bytes) { return HITS(MEMORY) ? no_memory() : counted(__libc_malloc(bytes)); }

void* calloc(size_t count, size_t bytes) {
  return HITS(MEMORY) ? no_memory() : counted(__libc_calloc(count, bytes));
}

void* realloc(void* block, size_t bytes) {
  if (HITS(MEMORY)) return no_memory();
  void* moved = __libc_realloc(block, bytes);
  if (block == NULL) counted(moved);
  return moved;
}

void* aligned_alloc(size_t alignment, size_t bytes) {
  return HITS(MEMORY) ? no_memory() : counted(__libc_memalign(alignment, bytes));
}

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  if (HITS(MEMORY)) return ENOMEM;
  void* memory = counted(__libc_memalign(alignment, bytes));
  if (memory == NULL) return ENOMEM;
  *block = memory;
  return 0;
}

void free(void* block) {
  if (block != NULL) __atomic_fetch_sub(&live_blocks, 1, __ATOMIC_RELAXED);
  __libc_free(block);
}

// ---- System calls ----

// The C library's own function.
#define REAL(name) \
  static __typeof__(&name) real; \
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, #name)

#define FAIL_IF_HIT(call) \
  if (HITS(call)) return errno = fault.error, -1

void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  REAL(mmap);
  if (HITS(MMAP)) return errno = fault.error, MAP_FAILED;
  void* memory = real(at, bytes, protection, flags, fd, offset);
  if (memory != MAP_FAILED) __atomic_fetch_add(&live_mappings, 1, __ATOMIC_RELAXED);
  return memory;
}

int munmap(void* memory, size_t bytes) {
  REAL(munmap);
  FAIL_IF_HIT(MUNMAP);
  int result = real(memory, bytes);
  if (result == 0) __atomic_fetch_sub(&live_mappings, 1, __ATOMIC_RELAXED);
  return result;
}

int madvise(void* memory, size_t bytes, int advice) {
  REAL(madvise);
  FAIL_IF_HIT(MADVISE);
  if (no_guards && advice == 102) return errno = EINVAL, -1;
  return real(memory, bytes, advice);
}

int mprotect(void* memory, size_t bytes, int protection) {
  REAL(mprotect);
  FAIL_IF_HIT(MPROTECT);
  return real(memory, bytes, protection);
}

int epoll_create1(int flags) {
  REAL(epoll_create1);
  FAIL_IF_HIT(EPOLL_CREATE1);
  sets_made++;
  return real(flags);
}

int eventfd(unsigned count, int flags) {
  REAL(eventfd);
  FAIL_IF_HIT(EVENTFD);
  return real(count, flags);
}

int epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event* event) {
  REAL(epoll_ctl);
  FAIL_IF_HIT(EPOLL_CTL);
  return real(epoll_fd, operation, fd, event);
}

int epoll_wait(int epoll_fd, struct epoll_event* events, int count, int timeout_ms) {
  REAL(epoll_wait);
  FAIL_IF_HIT(EPOLL_WAIT);
  return real(epoll_fd, events, count, timeout_ms);
}

// The library makes these by their numbers.
long syscall(long number, ...) {
  REAL(syscall);
  if (number == SYS_epoll_pwait2) {
    FAIL_IF_HIT(EPOLL_PWAIT2);
    if (no_pwait2) return errno = ENOSYS, -1;
  }
  if (number == SYS_pidfd_open) FAIL_IF_HIT(PIDFD_OPEN);
  if (number == SYS_recvfrom) FAIL_IF_HIT(RECVFROM);
  if (number == SYS_sendto) FAIL_IF_HIT(SENDTO);
  va_list arguments;
  va_start(arguments, number);
  long of[6];
  for (int i = 0; i < 6; i++) of[i] = va_arg(arguments, long);
  va_end(arguments);
  return real(number, of[0], of[1], of[2], of[3], of[4], of[5]);
}

ssize_t write(int fd, const void* bytes, size_t count) {
  REAL(write);
  FAIL_IF_HIT(WRITE);
  struct stat status;
  if (fault.call == WRITE_TO_FILE && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    FAIL_IF_HIT(WRITE_TO_FILE);
  }
  ssize_t written = real(fd, bytes, count);
  bool has_room = written >= 0 || (errno != EAGAIN && errno != EFBIG);
  if (!has_room && !is_in_program(__builtin_return_address(0))) writes_without_room++;
  return written;
}

ssize_t read(int fd, void* bytes, size_t count) {
  REAL(read);
  FAIL_IF_HIT(READ);
  return real(fd, bytes, count);
}

int fcntl(int fd, int request, ...) {
  REAL(fcntl);
  FAIL_IF_HIT(FCNTL);
  va_list arguments;
  va_start(arguments, request);
  long argument = va_arg(arguments, long);
  va_end(arguments);
  return real(fd, request, argument);
}

int open(const char* path, int flags, ...) {
  REAL(open);
  FAIL_IF_HIT(OPEN);
  va_list arguments;
  va_start(arguments, flags);
  unsigned mode = va_arg(arguments, unsigned);
  va_end(arguments);
  return real(path, flags, mode);
}

int poll(struct pollfd* fds, nfds_t count, int timeout_ms) {
  REAL(poll);
  FAIL_IF_HIT(POLL);
  return real(fds, count, timeout_ms);
}

int ppoll(struct pollfd* fds, nfds_t count, const struct timespec* timeout, const sigset_t* mask) {
  REAL(ppoll);
  FAIL_IF_HIT(PPOLL);
  return real(fds, count, timeout, mask);
}

int nanosleep(const struct timespec* time, struct timespec* left) {
  REAL(nanosleep);
  FAIL_IF_HIT(NANOSLEEP);
  return real(time, left);
}

int dup3(int fd, int number, int flags) {
  REAL(dup3);
  FAIL_IF_HIT(DUP3);
  return real(fd, number, flags);
}

int socket(int domain, int type, int protocol) {
  REAL(socket);
  FAIL_IF_HIT(SOCKET);
  return real(domain, type, protocol);
}

int connect(int fd, const struct sockaddr* address, socklen_t length) {
  REAL(connect);
  if (address->sa_family != AF_UNIX) {
    FAIL_IF_HIT(CONNECT_TCP);
    return real(fd, address, length);
  }
  FAIL_IF_HIT(CONNECT);
  if (!is_in_program(__builtin_return_address(0))) {
    CHECK_STR(((const struct sockaddr_un*)address)->sun_path, "/dev/log");
    address = (const struct sockaddr*)&log_daemon_address;
    length = sizeof log_daemon_address;
  }
  return real(fd, address, length);
}

ssize_t send(int fd, const void* bytes, size_t count, int flags) {
  REAL(send);
  FAIL_IF_HIT(SEND);
  return real(fd, bytes, count, flags);
}

ssize_t readv(int fd, const struct iovec* parts, int count) {
  REAL(readv);
  FAIL_IF_HIT(READV);
  return real(fd, parts, count);
}

ssize_t pread(int fd, void* bytes, size_t count, off_t offset) {
  REAL(pread);
  FAIL_IF_HIT(PREAD);
  return real(fd, bytes, count, offset);
}

ssize_t preadv2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  REAL(preadv2);
  FAIL_IF_HIT(PREADV2);
  return real(fd, parts, count, offset, flags);
}

ssize_t pwritev2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  REAL(pwritev2);
  FAIL_IF_HIT(PWRITEV2);
  return real(fd, parts, count, offset, flags);
}

int accept4(int fd, struct sockaddr* address, socklen_t* length, int flags) {
  REAL(accept4);
  FAIL_IF_HIT(ACCEPT4);
  return real(fd, address, length, flags);
}

int getsockopt(int fd, int level, int option, void* value, socklen_t* length) {
  REAL(getsockopt);
  FAIL_IF_HIT(GETSOCKOPT);
  return real(fd, level, option, value, length);
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
  REAL(recvmsg);
  FAIL_IF_HIT(RECVMSG);
  return real(fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  REAL(sendmsg);
  FAIL_IF_HIT(SENDMSG);
  return real(fd, message, flags);
}

ssize_t sendfile(int fd, int file, off_t* offset, size_t count) {
  REAL(sendfile);
  FAIL_IF_HIT(SENDFILE);
  return real(fd, file, offset, count);
}

int shutdown(int fd, int how) {
  REAL(shutdown);
  FAIL_IF_HIT(SHUTDOWN);
  return real(fd, how);
}

int setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  REAL(setsockopt);
  FAIL_IF_HIT(SETSOCKOPT);
  return real(fd, level, option, value, length);
}

int bind(int fd, const struct sockaddr* address, socklen_t length) {
  REAL(bind);
  FAIL_IF_HIT(BIND);
  return real(fd, address, length);
}

int listen(int fd, int backlog) {
  REAL(listen);
  FAIL_IF_HIT(LISTEN);
  return real(fd, backlog);
}

// It returns its error.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) {
  REAL(pthread_create);
  if (HITS(PTHREAD_CREATE)) return fault.error;
  return real(thread, attributes, body, argument);
}

int pipe2(int ends[2], int flags) {
  REAL(pipe2);
  FAIL_IF_HIT(PIPE2);
  return real(ends, flags);
}

int posix_spawnp(pid_t* pid, const char* program, const posix_spawn_file_actions_t* actions,
                 const posix_spawnattr_t* attributes, char* const arguments[], char* const environment[]) {
  REAL(posix_spawnp);
  if (HITS(POSIX_SPAWNP)) return fault.error;
  return real(pid, program, actions, attributes, arguments, environment);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  REAL(clock_gettime);
  FAIL_IF_HIT(CLOCK_GETTIME);
  return real(clock, now);
}

#endif  // INJECT_H
