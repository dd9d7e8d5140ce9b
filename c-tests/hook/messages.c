// Several messages in one call, files to sockets, and closing.
#define _GNU_SOURCE
#include "hooked.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static int ends[2];
static unsigned ended;

static void close_ends(void) {
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
}

enum { MESSAGES = 8 };
static char texts[MESSAGES][16];
static struct iovec lists[MESSAGES];
static struct mmsghdr messages[MESSAGES];

static struct mmsghdr* new_messages(void) {
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < MESSAGES; i++) {
    lists[i] = (struct iovec){texts[i], sizeof texts[i]};
    messages[i].msg_hdr.msg_iov = &lists[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  return messages;
}

static void sends_one_after_another(void* argument) {
  (void)argument;
  for (int i = 0; i < MESSAGES; i++) {
    usleep(2000);
    CHECK_INT(send(ends[0], "0123456789", (size_t)i + 1, 0), ==, i + 1);
  }
  add_one(&ended);
}

static void all_are_waited_for(void) {
  ended = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), ==, 0);
  start(sends_one_after_another, NULL);
  CHECK_INT(recvmmsg(ends[1], new_messages(), MESSAGES, 0, NULL), ==, MESSAGES);
  for (int i = 0; i < MESSAGES; i++) CHECK_UINT(messages[i].msg_len, ==, i + 1);
  wait_until(&ended, 1);
  CHECK_FAILS(recvmmsg(ends[1], new_messages(), MESSAGES, MSG_DONTWAIT, NULL), EAGAIN);
  close_ends();
}

static void the_first_is_waited_for(void) {
  ended = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), ==, 0);
  start(sends_one_after_another, NULL);
  int received = 0;
  while (received < MESSAGES) {
    int some = recvmmsg(ends[1], new_messages(), MESSAGES, MSG_WAITFORONE, NULL);
    CHECK_INT(some, >, 0);
    received += some;
  }
  wait_until(&ended, 1);
  close_ends();
}

static void the_time_is_looked_at_between_messages(void) {
  ended = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), ==, 0);
  start(sends_one_after_another, NULL);
  struct timespec moment = {0, 1000000};
  int some = recvmmsg(ends[1], new_messages(), MESSAGES, 0, &moment);
  CHECK_INT(some, >=, 1);
  wait_until(&ended, 1);
  close_ends();
}

static void takes_slowly(void* argument) {
  (void)argument;
  char data[2048];
  for (int i = 0; i < 200; i++) {
    CHECK_INT(recv(ends[1], data, sizeof data, 0), ==, 16);
    if (i % 50 == 0) usleep(2000);
  }
  add_one(&ended);
}

static void many_are_sent(void) {
  ended = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), ==, 0);
  start(takes_slowly, NULL);
  for (int i = 0; i < 200 / MESSAGES; i++)
    CHECK_INT(sendmmsg(ends[0], new_messages(), MESSAGES, 0), ==, MESSAGES);
  CHECK_UINT(messages[0].msg_len, ==, 16);
  wait_until(&ended, 1);
  CHECK_INT(sendmmsg(ends[0], new_messages(), 0, 0), ==, 0);
  CHECK_FAILS(sendmmsg(-1, new_messages(), 1, 0), EBADF);
  close_ends();
}

// ---- files

enum { LENGTH = 3 << 20 };
static size_t got;

static void reads_all(void* argument) {
  (void)argument;
  static char data[65536];
  ssize_t some;
  got = 0;
  while ((some = read(ends[1], data, sizeof data)) > 0) {
    for (ssize_t i = 0; i < some; i++) CHECK_INT(data[i], ==, (char)((got + (size_t)i) * 3));
    got += (size_t)some;
    if (got % (1 << 18) < sizeof data) usleep(1000);
  }
  CHECK_INT(some, ==, 0);
  add_one(&ended);
}

static void files_are_sent(void) {
  char path[] = "/tmp/majjen-hook-XXXXXX";
  int file = mkstemp(path);
  unlink(path);
  char* data = (char*)allocate(LENGTH);
  for (size_t i = 0; i < LENGTH; i++) data[i] = (char)(i * 3);
  CHECK_INT(write(file, data, LENGTH), ==, LENGTH);
  free(data);
  for (int with_offset = 0; with_offset < 2; with_offset++) {
    ended = 0;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    start_ticker();
    start(reads_all, NULL);
    off_t offset = 0;
    CHECK_INT(lseek(file, 0, SEEK_SET), ==, 0);
    CHECK_INT(sendfile(ends[0], file, with_offset ? &offset : NULL, LENGTH + 100), ==, LENGTH);
    if (with_offset) CHECK_INT(offset, ==, LENGTH);
    CHECK_INT(lseek(file, 0, SEEK_CUR), ==, with_offset ? 0 : LENGTH);
    CHECK_INT(sendfile(ends[0], file, &offset, 0), ==, 0);
    close(ends[0]);
    wait_until(&ended, 1);
    CHECK_UINT(got, ==, LENGTH);
    stop_ticker(1);
    close(ends[1]);
  }
  CHECK_FAILS(sendfile(-1, file, NULL, 10), EBADF);
  off_t offset = 0;
  int from[2], to[2];
  CHECK_INT(pipe(from) | pipe(to), ==, 0);
  CHECK_FAILS(sendfile(to[1], from[0], NULL, 10), EINVAL);
  CHECK_FAILS(sendfile(to[1], from[0], &offset, 10), ESPIPE);
  CHECK_FAILS(sendfile(to[1], from[1], &offset, 10), EBADF);
  CHECK_INT(close(from[0]) | close(from[1]) | close(to[0]) | close(to[1]) | close(file), ==, 0);
}

// ---- closing

static void is_closed(void* argument) {
  (void)argument;
  char byte;
  CHECK_FAILS(read(ends[1], &byte, 1), EBADF);
  add_one(&ended);
}

static void polls_what_is_closed(void* argument) {
  (void)argument;
  struct pollfd one = {ends[1], POLLIN, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  CHECK_INT(one.revents, ==, POLLNVAL);
  add_one(&ended);
}

// In threads these would wait on.
static void who_waits_is_told_of_the_end(void) {
  CHECK_FAILS(close(-1), EBADF);
  CHECK_FAILS(close(100000), EBADF);
  if (in_threads()) return;
  ended = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  for (int i = 0; i < 5; i++) start(is_closed, NULL);
  start(polls_what_is_closed, NULL);
  let_others_wait();
  CHECK_INT(close(ends[1]), ==, 0);
  wait_until(&ended, 6);
  close(ends[0]);
}

static void descriptors_are_closed_by_the_row(void) {
  int copies[100];
  CHECK_INT(pipe(ends), ==, 0);
  for (int i = 0; i < 100; i++) copies[i] = dup(ends[0]);
  for (int i = 0; i < 100; i++) CHECK_INT(close(copies[i]), ==, 0);
  for (int i = 0; i < 100; i++) CHECK_FAILS(close(copies[i]), EBADF);
  close_ends();
}

// Each byte wakes both, and one of them gets it. The other waits for an event again, and is not polled for.
static unsigned bytes_read;

static void reads_byte_for_byte(void* argument) {
  (void)argument;
  char byte;
  while (read(ends[1], &byte, 1) == 1) add_one(&bytes_read);
  add_one(&ended);
}

static void who_was_woken_for_nothing_waits_for_events(void) {
  ended = bytes_read = 0;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  for (int i = 0; i < 2; i++) start(reads_byte_for_byte, NULL);
  let_others_wait();
  for (unsigned bytes = 1; bytes <= 50; bytes++) {
    CHECK_INT(write(ends[0], "x", 1), ==, 1);
    wait_until(&bytes_read, bytes);
  }
  let_others_wait();
  uint64_t before = hook_counts().suspended;
  usleep(100000);
  CHECK_UINT(hook_counts().suspended - before, <, 10);
  CHECK_INT(close(ends[0]), ==, 0);
  wait_until(&ended, 2);
  CHECK_INT(close(ends[1]), ==, 0);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(all_are_waited_for);
  RUN_HOOKED(the_first_is_waited_for);
  RUN_HOOKED(the_time_is_looked_at_between_messages);
  RUN_HOOKED(many_are_sent);
  RUN_HOOKED(files_are_sent);
  RUN_HOOKED(who_waits_is_told_of_the_end);
  RUN_HOOKED(descriptors_are_closed_by_the_row);
  RUN_HOOKED(who_was_woken_for_nothing_waits_for_events);
  return 0;
}
