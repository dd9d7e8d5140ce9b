// The system's own calls, which block, in one thread: what rows 12 and 13 compare with.
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>

#include "calls.h"

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

static void test_version(void) { printf("version=\n"); }

int main(int argc, char **argv) {
  static const struct test tests[] = {CALL_TESTS, CHILD_TESTS, {"version", test_version}, {NULL, NULL}};
  return run_test(argc, argv, tests);
}
