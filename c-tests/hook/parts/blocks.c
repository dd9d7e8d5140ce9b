// A library that knows nothing of Majjen.
#define _GNU_SOURCE
#include <poll.h>
#include <time.h>
#include <unistd.h>

int wait_a_while(void);
int wait_a_while(void) {
  const struct timespec time = {0, 20000000};
  return nanosleep(&time, NULL);
}

// Copies one byte.
int pass_on(int from, int to);
int pass_on(int from, int to) {
  char byte;
  struct pollfd fd = {from, POLLIN, 0};
  if (poll(&fd, 1, -1) != 1 || read(from, &byte, 1) != 1) return -1;
  return (int)write(to, &byte, 1);
}
