// A handler that makes calls of its own, at any moment of others' calls: also in the middle of one that is hooked.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

enum { PAIRS = 10, LENGTH = 1 << 20, PERIOD_US = 300 };

static int ends[PAIRS][2], told[2];
static unsigned ended, handled;

static unsigned handled_by_now(void) { return __atomic_load_n(&handled, __ATOMIC_ACQUIRE); }

static void handles(int number) {
  (void)number;
  int error = errno;
  struct pollfd one = {told[1], POLLOUT, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  CHECK_INT(write(told[1], "x", 1), ==, 1);
  if (handled_by_now() % 8 == 0) CHECK(usleep(50) == 0 || errno == EINTR);
  add_one(&handled);
  errno = error;
}

// What the handler says, it says to a thread.
static void* hears(void* argument) {
  size_t* heard = (size_t*)argument;
  char text[64];
  for (;;) {
    ssize_t got = read(told[0], text, sizeof text);
    if (got < 0 && errno == EINTR) continue;
    CHECK_INT(got, >=, 0);
    if (got == 0) return NULL;
    *heard += (size_t)got;
  }
}

static size_t bytes_of(size_t done, uint64_t* state) {
  size_t bytes = (size_t)(next_random(state) % 9000) + 1;
  return bytes < LENGTH - done ? bytes : LENGTH - done;
}

static void writes(void* argument) {
  uint64_t number = (uint64_t)(intptr_t)argument, state = number + 1;
  char text[9000];
  memset(text, (int)('a' + number), sizeof text);
  for (size_t done = 0; done < LENGTH;) {
    size_t bytes = bytes_of(done, &state);
    struct iovec parts[2] = {{text, bytes / 2}, {text, bytes - bytes / 2}};
    ssize_t some = done % 2 ? write(ends[number][0], text, bytes) : writev(ends[number][0], parts, 2);
    if (some < 0 && errno == EINTR) continue;
    CHECK_INT(some, >, 0);
    done += (size_t)some;
  }
  add_one(&ended);
}

static void reads(void* argument) {
  uint64_t number = (uint64_t)(intptr_t)argument, state = number + 100;
  char text[9000];
  for (size_t done = 0; done < LENGTH;) {
    struct pollfd one = {ends[number][1], POLLIN, 0};
    if (done % 3 == 0 && poll(&one, 1, -1) != 1) {
      CHECK_INT(errno, ==, EINTR);
      continue;
    }
    ssize_t some = recv(ends[number][1], text, bytes_of(done, &state), 0);
    if (some < 0 && errno == EINTR) continue;
    CHECK_INT(some, >, 0);
    for (ssize_t i = 0; i < some; i++) CHECK_INT(text[i], ==, 'a' + (int)number);
    done += (size_t)some;
  }
  add_one(&ended);
}

// Until the handler has run often.
static void calls_are_interrupted(int flags) {
  struct sigaction action = {.sa_handler = handles, .sa_flags = flags};
  struct itimerval period = {{0, PERIOD_US}, {0, PERIOD_US}}, never = {{0, 0}, {0, 0}};
  pthread_t thread;
  size_t heard = 0;
  handled = 0;
  CHECK_INT(pipe(told), ==, 0);
  CHECK_INT(pthread_create(&thread, NULL, hears, &heard), ==, 0);
  CHECK_INT(sigaction(SIGALRM, &action, NULL), ==, 0);
  CHECK_INT(setitimer(ITIMER_REAL, &period, NULL), ==, 0);
  while (handled_by_now() < times(200, 20)) {
    ended = 0;
    for (int i = 0; i < PAIRS; i++) CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), ==, 0);
    for (int i = 0; i < PAIRS; i++) start(writes, (void*)(intptr_t)i);
    for (int i = 0; i < PAIRS; i++) start(reads, (void*)(intptr_t)i);
    wait_until(&ended, 2 * PAIRS);
    for (int i = 0; i < PAIRS; i++) close(ends[i][0]), close(ends[i][1]);
  }
  CHECK_INT(setitimer(ITIMER_REAL, &never, NULL), ==, 0);
  // The last one may still be on its way, and be later than that under Valgrind.
  while (usleep(1000) != 0) continue;
  signal(SIGALRM, SIG_IGN);
  close(told[1]);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  close(told[0]);
  CHECK_UINT(heard, ==, handled_by_now());
}

static void calls_go_on(void) { calls_are_interrupted(SA_RESTART); }
static void calls_may_fail(void) { calls_are_interrupted(0); }

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(calls_go_on);
  RUN_HOOKED(calls_may_fail);
  return 0;
}
