// Numbers of descriptors: small and large ones, closed while a task waits, and given to another file.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

static int ends[2];
static unsigned ended;

static void write_later(void* argument) {
  let_others_wait();
  CHECK_INT(write(*(int*)argument, "x", 1), ==, 1);
  add_one(&ended);
}

static void read_one_through(int fd) {
  char byte = 0;
  ended = 0;
  start(write_later, &ends[1]);
  CHECK_INT(read(fd, &byte, 1), ==, 1);
  CHECK_INT(byte, ==, 'x');
  wait_until(&ended, 1);
  start(write_later, &ends[1]);
  struct pollfd one = {fd, POLLIN, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  CHECK_INT(one.revents, ==, POLLIN);
  CHECK_INT(recv(fd, &byte, 1, 0), ==, 1);
  wait_until(&ended, 2);
}

static void number_0_is_one_like_others(void) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  int before = dup(0);
  CHECK(before > 0);
  CHECK_INT(dup2(ends[0], 0), ==, 0);
  read_one_through(0);
  CHECK_INT(dup2(before, 0), ==, 0);
  close(before);
  close(ends[0]);
  close(ends[1]);
}

static void large_numbers_work(void) {
  enum { LARGE = 200000 };
  struct rlimit limit, more;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  more = limit;
  if (more.rlim_cur <= LARGE) more.rlim_cur = LARGE + 1;
  if (more.rlim_max < more.rlim_cur) more.rlim_max = more.rlim_cur;
  bool has_large = setrlimit(RLIMIT_NOFILE, &more) == 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  int large = fcntl(ends[0], F_DUPFD_CLOEXEC, has_large && !under_valgrind() ? LARGE : 200);
  if (large < 0) large = fcntl(ends[0], F_DUPFD_CLOEXEC, 200);
  CHECK(large >= 200);
  read_one_through(large);
  close(large);
  close(ends[0]);
  close(ends[1]);
}

// ---- closed while a task waits for it

static void reads_or_fails(void* argument) {
  int fd = *(int*)argument;
  char byte;
  ssize_t got = read(fd, &byte, 1);
  CHECK(got == 1 ? byte == 'x' : got == 0 || errno == EBADF);
  add_one(&ended);
}

enum closing { BY_CLOSE, BY_CLOSE_RANGE, BY_DUP2, BY_THREAD, WAYS };

static void* closes(void* fd) {
  CHECK_INT(close(*(int*)fd), ==, 0);
  return NULL;
}

static void close_by(enum closing way, int fd, int other) {
  pthread_t thread;
  switch (way) {
    case BY_CLOSE: CHECK_INT(close(fd), ==, 0); break;
    case BY_CLOSE_RANGE: CHECK_INT(close_range((unsigned)fd, (unsigned)fd, 0), ==, 0); break;
    case BY_DUP2: CHECK_INT(dup2(other, fd), ==, fd); break;
    default:
      CHECK_INT(pthread_create(&thread, NULL, closes, &fd), ==, 0);
      CHECK_INT(pthread_join(thread, NULL), ==, 0);
  }
}

// Whatever happens to the number, who waits for it returns; and what the next file of that number has is not
// his. In a thread the call has the file itself, and the other end still writes to that.
static void who_waits_returns(void) {
  int fds[WAYS], writers[WAYS], other[WAYS][2], next[WAYS][2];
  ended = 0;
  for (enum closing way = BY_CLOSE; way < WAYS; way++) {
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    fds[way] = ends[0];
    writers[way] = ends[1];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, other[way]), ==, 0);
    start(reads_or_fails, &fds[way]);
  }
  let_others_wait();
  for (enum closing way = BY_CLOSE; way < WAYS; way++) {
    close_by(way, fds[way], other[way][0]);
    ssize_t sent = send(writers[way], "x", 1, MSG_NOSIGNAL);
    CHECK(sent == 1 || errno == EPIPE);
    close(writers[way]);
    if (way == BY_DUP2) CHECK_INT(write(other[way][1], "z", 1), ==, 1);
    // The lowest number, which is the one that was closed.
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, next[way]), ==, 0);
    if (way != BY_DUP2) CHECK(next[way][0] == fds[way] || next[way][1] == fds[way]);
    for (int i = 0; i < 2; i++) CHECK_INT(write(next[way][i], "z", 1), ==, 1);
  }
  wait_until(&ended, WAYS);
  for (enum closing way = BY_CLOSE; way < WAYS; way++) {
    char byte;
    if (way == BY_DUP2) {
      CHECK_INT(read(fds[way], &byte, 1), ==, 1);
      close(fds[way]);
    }
    for (int i = 0; i < 2; i++) {
      CHECK_INT(read(next[way][i], &byte, 1), ==, 1);
      close(next[way][i]);
      close(other[way][i]);
    }
  }
}

// Numbers that are used again and again, by files of different kinds.
static void numbers_are_used_again(void) {
  int first = -1;
  for (int i = 0; i < 20; i++) {
    if (i % 2) CHECK_INT(socketpair(AF_UNIX, i % 4 == 1 ? SOCK_STREAM : SOCK_DGRAM, 0, ends), ==, 0);
    else CHECK_INT(pipe(ends), ==, 0);
    if (first < 0) first = ends[0];
    CHECK_INT(ends[0], ==, first);
    ended = 0;
    start(write_later, &ends[1]);
    char byte = 0;
    CHECK_INT(read(ends[0], &byte, 1), ==, 1);
    CHECK_INT(byte, ==, 'x');
    wait_until(&ended, 1);
    close(ends[0]);
    close(ends[1]);
  }
}

static void closes_later(void* argument) {
  let_others_wait();
  CHECK_INT(close(*(int*)argument), ==, 0);
  add_one(&ended);
}

static void the_other_end_may_go(void) {
  char byte;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = 0;
  start(closes_later, &ends[1]);
  CHECK_INT(read(ends[0], &byte, 1), ==, 0);
  wait_until(&ended, 1);
  close(ends[0]);
  CHECK_INT(pipe(ends), ==, 0);
  start(closes_later, &ends[1]);
  CHECK_INT(read(ends[0], &byte, 1), ==, 0);
  wait_until(&ended, 2);
  close(ends[0]);
}

int main(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN_HOOKED(number_0_is_one_like_others);
  RUN_HOOKED(large_numbers_work);
  RUN_HOOKED(who_waits_returns);
  RUN_HOOKED(numbers_are_used_again);
  RUN_HOOKED(the_other_end_may_go);
  return 0;
}
