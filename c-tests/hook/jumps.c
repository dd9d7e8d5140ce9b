// Code that leaves its functions by longjmp(3), as some libraries do on errors: over calls that wait.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <setjmp.h>
#include <sys/socket.h>

enum { JUMPERS = 30, ROUNDS = 20 };

static int ends[JUMPERS][2];
static unsigned ended;

typedef struct {
  jmp_buf back;
  int fd;
} parser;

// A byte that has an even number is an error, some functions deeper.
__attribute__((noinline)) static int parses(parser* it, int depth) {
  volatile char room[200];
  room[0] = (char)depth;
  unsigned char byte;
  struct pollfd one = {it->fd, POLLIN, 0};
  if (depth % 3 == 1) CHECK_INT(poll(&one, 1, -1), ==, 1);
  if (depth < 5) return parses(it, depth + 1) + room[0] - depth;
  CHECK_INT(read(it->fd, &byte, 1), ==, 1);
  if (byte % 2 == 0) longjmp(it->back, byte + 1000);
  return byte;
}

static void jumps(void* argument) {
  parser mine;
  mine.fd = ends[(intptr_t)argument][0];
  volatile int jumped = 0, returned = 0;
  for (volatile int i = 0; i < ROUNDS; i++) {
    int thrown = setjmp(mine.back);
    if (thrown != 0) {
      CHECK_INT(thrown, ==, i + 1000);
      jumped++;
    } else {
      CHECK_INT(parses(&mine, 0), ==, i);
      returned++;
    }
  }
  CHECK_INT(jumped, ==, ROUNDS / 2);
  CHECK_INT(returned, ==, ROUNDS / 2);
  add_one(&ended);
}

static void errors_jump_over_calls_that_wait(void) {
  ended = 0;
  for (int i = 0; i < JUMPERS; i++) CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]), ==, 0);
  for (int i = 0; i < JUMPERS; i++) start(jumps, (void*)(intptr_t)i);
  for (unsigned char round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < JUMPERS; i++) CHECK_INT(write(ends[i][1], &round, 1), ==, 1);
    usleep(500);
  }
  wait_until(&ended, JUMPERS);
  for (int i = 0; i < JUMPERS; i++) close(ends[i][0]), close(ends[i][1]);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(errors_jump_over_calls_that_wait);
  return 0;
}
