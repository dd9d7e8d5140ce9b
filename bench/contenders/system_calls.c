// The system's own calls, which block, in one thread, and in row 14 in several: what rows 12 to 14 compare with.
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>

#include "calls.h"
#include "cores.h"

extern char **environ;

static void child_run(const char *const *arguments) {
  pid_t pid;
  int status = -1;
  if (posix_spawn(&pid, arguments[0], NULL, NULL, (char *const *)arguments, environ) != 0) fail("posix_spawn");
  if (waitpid(pid, &status, 0) != pid || status != 0) fail("waitpid");
}

#include "children.h"

static void calls_run(void (*function)(void)) { function(); }

static void calls_begin(int fd) { (void)fd; }
static void calls_end(int fd) { close(fd); }

static ssize_t calls_read_all(int fd, void *buffer, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    ssize_t count = read(fd, (char *)buffer + done, bytes - done);
    if (count <= 0) return count;
    done += (size_t)count;
  }
  return (ssize_t)done;
}

static ssize_t calls_write_all(int fd, const void *buffer, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    ssize_t count = write(fd, (const char *)buffer + done, bytes - done);
    if (count <= 0) return count;
    done += (size_t)count;
  }
  return (ssize_t)done;
}

static int calls_poll(struct pollfd *fds, nfds_t count) { return poll(fds, count, -1); }

// Another thread writes, which may be before poll() sleeps.
static struct {
  sem_t asked;
  int fd;
} later;

static void *write_when_asked(void *unused) {
  (void)unused;
  for (;;) {
    uint64_t number = 1;
    while (sem_wait(&later.asked) != 0) {
    }
    if (write(later.fd, &number, sizeof number) != sizeof number) fail("write");
  }
  return NULL;
}

static void calls_write_later(int fd) {
  if (later.fd == 0) {
    pthread_t thread;
    later.fd = fd;
    if (sem_init(&later.asked, 0, 0) != 0 || pthread_create(&thread, NULL, write_when_asked, NULL) != 0) {
      fail("a thread");
    }
  }
  sem_post(&later.asked);
}

// ---- row 14: threads. Of `held` each has a socket of its own, and the kernel alone spreads the connections
// (SO_REUSEPORT); of `made` each has its part of the tasks from the beginning.

static int listen_beside(uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0) {
    fail("listen");
  }
  return fd;
}

struct listening {
  int fd;
  unsigned char core;
};

// The connections stay open until the process ends.
static void *accept_and_greet(void *state) {
  struct listening *listening = state;
  for (;;) {
    int fd = accept4(listening->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || write(fd, &listening->core, 1) != 1) fail("accept");
  }
  return NULL;
}

static void test_held(void) {
  begin_held();
  struct listening *each = calloc(held.cores, sizeof *each);
  struct sockaddr_in address = {0};
  socklen_t length = sizeof address;
  for (uint64_t core = 0; core < held.cores; core++) {
    each[core] = (struct listening){listen_beside(ntohs(address.sin_port)), (unsigned char)core};
    if (getsockname(each[core].fd, (struct sockaddr *)&address, &length) != 0) fail("getsockname");
  }
  for (uint64_t core = 0; core < held.cores; core++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, accept_and_greet, &each[core]) != 0) fail("a thread");
  }
  hold_connections(ntohs(address.sin_port));
  report_held();
}

static void *make_part(void *first) {
  for (uint64_t i = (uint64_t)(uintptr_t)first; i < made.count; i += made.cores) make_one(i);
  return NULL;
}

static void test_made(void) {
  begin_made();
  pthread_t *threads = calloc(made.cores, sizeof *threads);
  for (uint64_t core = 0; core < made.cores; core++) {
    if (pthread_create(&threads[core], NULL, make_part, (void *)(uintptr_t)core) != 0) fail("a thread");
  }
  for (uint64_t core = 0; core < made.cores; core++) pthread_join(threads[core], NULL);
  report_made();
}

static void test_version(void) { printf("version=\n"); }

int main(int argc, char **argv) {
  static const struct test tests[] = {CALL_TESTS,          CHILD_TESTS,
                                      {"held", test_held}, {"made", test_made},
                                      {"version", test_version}, {NULL, NULL}};
  return run_test(argc, argv, tests);
}
