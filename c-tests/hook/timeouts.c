// Time limits of sockets: SO_RCVTIMEO, SO_SNDTIMEO. They are as long as they say, 0 is none, and what was
// transferred before counts.
#define _GNU_SOURCE
#include "hooked.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static int ends[2];
static unsigned ended;

static void set_limit(int fd, int option, long ms) {
  struct timeval limit = {ms / 1000, ms % 1000 * 1000};
  CHECK_INT(setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit), ==, 0);
}

static uint64_t ms_since(uint64_t began) { return (now_ns() - began) / 1000000; }

// The kernel counts in jiffies, and may be early by a part of one.
enum { JIFFY_MS = 10 };
#define CHECK_TOOK(began, ms) CHECK_UINT(ms_since(began) + (in_threads() ? JIFFY_MS : 0), >=, ms)

static void fill(int fd) {
  static char data[4096];
  while (send(fd, data, sizeof data, MSG_DONTWAIT) > 0) continue;
  while (send(fd, data, 1, MSG_DONTWAIT) > 0) continue;
  CHECK_INT(errno, ==, EAGAIN);
}

static void close_ends(void) {
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
}

static void receives_end_in_time(void) {
  char data[8];
  struct iovec one = {data, sizeof data};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
  for (int i = 0; i < 3; i++) {
    CHECK_INT(socketpair(AF_UNIX, types[i], 0, ends), ==, 0);
    for (long ms = 10; ms <= 70; ms += 60) {
      set_limit(ends[0], SO_RCVTIMEO, ms);
      uint64_t began = now_ns();
      CHECK_FAILS(recv(ends[0], data, sizeof data, 0), EAGAIN);
      CHECK_TOOK(began, ms);
      began = now_ns();
      CHECK_FAILS(read(ends[0], data, sizeof data), EAGAIN);
      CHECK_TOOK(began, ms);
      began = now_ns();
      CHECK_FAILS(recvmsg(ends[0], &message, 0), EAGAIN);
      CHECK_TOOK(began, ms);
      // A dup has the same limit.
      int copy = dup(ends[0]);
      began = now_ns();
      CHECK_FAILS(recvfrom(copy, data, sizeof data, MSG_WAITALL, NULL, NULL), EAGAIN);
      CHECK_TOOK(began, ms);
      close(copy);
    }
    // What is there is not waited for.
    CHECK_INT(send(ends[1], "now", 3, 0), ==, 3);
    CHECK_INT(recv(ends[0], data, sizeof data, 0), ==, 3);
    close_ends();
  }
}

static void sends_later(void* argument) {
  usleep((useconds_t)(intptr_t)argument * 1000);
  CHECK_INT(send(ends[1], "later", 5, 0), ==, 5);
  add_one(&ended);
}

static void nothing_is_no_limit(void) {
  char data[8];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = 0;
  set_limit(ends[0], SO_RCVTIMEO, 5);
  CHECK_FAILS(recv(ends[0], data, sizeof data, 0), EAGAIN);
  set_limit(ends[0], SO_RCVTIMEO, 0);
  start(sends_later, (void*)60);
  uint64_t began = now_ns();
  CHECK_INT(recv(ends[0], data, sizeof data, 0), ==, 5);
  CHECK_UINT(ms_since(began), >=, 50);
  wait_until(&ended, 1);
  close_ends();
}

// A limit that is set while a call waits is for later calls.
static void a_limit_is_that_of_the_calls_beginning(void) {
  char data[8];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = 0;
  start(sends_later, (void*)80);
  set_limit(ends[0], SO_RCVTIMEO, 10000);
  uint64_t began = now_ns();
  CHECK_INT(recv(ends[0], data, sizeof data, MSG_WAITALL | MSG_PEEK), ==, 5);
  CHECK_UINT(ms_since(began), >=, 50);
  wait_until(&ended, 1);
  close_ends();
}

static void what_has_come_counts(void) {
  char data[16];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  set_limit(ends[0], SO_RCVTIMEO, 30);
  CHECK_INT(send(ends[1], "part", 4, 0), ==, 4);
  uint64_t began = now_ns();
  CHECK_INT(recv(ends[0], data, sizeof data, MSG_WAITALL), ==, 4);
  CHECK_TOOK(began, 30);

  static char large[1 << 20];
  set_limit(ends[1], SO_SNDTIMEO, 30);
  began = now_ns();
  ssize_t sent = write(ends[1], large, sizeof large);
  CHECK_TOOK(began, 30);
  CHECK_INT(sent, >, 1000);
  CHECK_INT(sent, <, sizeof large);
  CHECK_FAILS(write(ends[1], large, sizeof large), EAGAIN);
  CHECK_FAILS(send(ends[1], large, 1 << 19, 0), EAGAIN);
  // All that it said had been sent is there.
  ssize_t got, all = 0;
  while ((got = recv(ends[0], large, sizeof large, MSG_DONTWAIT)) > 0) all += got;
  CHECK_INT(all, ==, sent);
  close_ends();
}

static void reads_slowly(void* argument) {
  (void)argument;
  static char piece[1 << 16];
  size_t all = 0;
  ssize_t got;
  while ((got = recv(ends[0], piece, sizeof piece, 0)) > 0) {
    all += (size_t)got;
    usleep(5000);
  }
  CHECK_UINT(all, ==, 4 << 20);
  add_one(&ended);
}

// The limit of a local stream is for each piece, not for the call: one that goes on slowly is not ended.
static void a_write_that_goes_on_is_not_ended(void) {
  static char large[4 << 20];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = 0;
  start(reads_slowly, NULL);
  set_limit(ends[1], SO_SNDTIMEO, 200);
  uint64_t began = now_ns();
  CHECK_INT(send(ends[1], large, sizeof large, 0), ==, sizeof large);
  CHECK_UINT(ms_since(began), >=, 210);
  CHECK_INT(shutdown(ends[1], SHUT_WR), ==, 0);
  wait_until(&ended, 1);
  close_ends();
}

static void messages_that_find_no_room_end_in_time(void) {
  static const int types[] = {SOCK_DGRAM, SOCK_SEQPACKET};
  for (int i = 0; i < 2; i++) {
    CHECK_INT(socketpair(AF_UNIX, types[i], 0, ends), ==, 0);
    fill(ends[1]);
    set_limit(ends[1], SO_SNDTIMEO, 30);
    uint64_t began = now_ns();
    CHECK_FAILS(send(ends[1], "x", 1, 0), EAGAIN);
    CHECK_TOOK(began, 30);
    close_ends();
  }
}

// ---- connecting and accepting

static void accepting_ends_in_time(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(fd, (struct sockaddr*)&address, sizeof address), ==, 0);
  CHECK_INT(listen(fd, 1), ==, 0);
  set_limit(fd, SO_RCVTIMEO, 30);
  uint64_t began = now_ns();
  CHECK_FAILS(accept(fd, NULL, NULL), EAGAIN);
  CHECK_TOOK(began, 30);
  began = now_ns();
  CHECK_FAILS(accept4(fd, NULL, NULL, SOCK_CLOEXEC), EAGAIN);
  CHECK_TOOK(began, 30);
  close(fd);
}

// A listener that takes no more: its queue is full.
static int full_listener(struct sockaddr_in* address, int* clients, size_t count) {
  socklen_t length = sizeof *address;
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)address, length), ==, 0);
  CHECK_INT(listen(listener, 0), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)address, &length), ==, 0);
  for (size_t i = 0; i < count; i++) {
    clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(clients[i], (struct sockaddr*)address, length);
  }
  usleep(10000);
  return listener;
}

static void connecting_ends_in_time(void) {
  struct sockaddr_in address;
  int clients[8];
  int listener = full_listener(&address, clients, 8);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  set_limit(fd, SO_SNDTIMEO, 40);
  uint64_t began = now_ns();
  CHECK_FAILS(connect(fd, (struct sockaddr*)&address, sizeof address), EINPROGRESS);
  CHECK_TOOK(began, 40);
  CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, 0);
  // It goes on: the next call waits for the same.
  began = now_ns();
  CHECK_FAILS(connect(fd, (struct sockaddr*)&address, sizeof address), EALREADY);
  CHECK_TOOK(began, 40);
  close(fd);
  for (int i = 0; i < 8; i++) close(clients[i]);
  close(listener);
}

static struct sockaddr_un local;

static void connects(void* argument) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (argument != NULL) {
    set_limit(fd, SO_SNDTIMEO, 40);
    uint64_t began = now_ns();
    CHECK_FAILS(connect(fd, (struct sockaddr*)&local, sizeof local), EAGAIN);
    CHECK_TOOK(began, 40);
  } else {
    CHECK_INT(connect(fd, (struct sockaddr*)&local, sizeof local), ==, 0);
  }
  close(fd);
  add_one(&ended);
}

// The queue of a local listener.
static void local_connections_wait_for_room(void) {
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  local = (struct sockaddr_un){.sun_family = AF_UNIX};
  snprintf(local.sun_path + 1, sizeof local.sun_path - 1, "majjen-hook-%d", (int)getpid());
  CHECK_INT(bind(listener, (struct sockaddr*)&local, sizeof local), ==, 0);
  CHECK_INT(listen(listener, 0), ==, 0);
  int first = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK_INT(connect(first, (struct sockaddr*)&local, sizeof local), ==, 0);
  ended = 0;
  start(connects, &local);
  wait_until(&ended, 1);
  start(connects, NULL);
  let_others_wait();
  CHECK_UINT(ended, ==, 1);
  for (int i = 0; i < 2; i++) {
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    close(fd);
  }
  wait_until(&ended, 2);
  close(first);
  close(listener);
}

static void refusals_are_told(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(fd, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(getsockname(fd, (struct sockaddr*)&address, &length), ==, 0);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_FAILS(connect(client, (struct sockaddr*)&address, length), ECONNREFUSED);
  CHECK_INT(listen(fd, 5), ==, 0);
  CHECK_INT(connect(client, (struct sockaddr*)&address, length), ==, 0);
  CHECK_FAILS(connect(client, (struct sockaddr*)&address, length), EISCONN);
  CHECK_FAILS(connect(9999, (struct sockaddr*)&address, length), EBADF);
  CHECK_FAILS(accept(client, NULL, NULL), EINVAL);
  CHECK_FAILS(accept(9999, NULL, NULL), EBADF);
  close(client);
  close(fd);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(receives_end_in_time);
  RUN_HOOKED(nothing_is_no_limit);
  RUN_HOOKED(a_limit_is_that_of_the_calls_beginning);
  RUN_HOOKED(what_has_come_counts);
  RUN_HOOKED(a_write_that_goes_on_is_not_ended);
  RUN_HOOKED(messages_that_find_no_room_end_in_time);
  RUN_HOOKED(accepting_ends_in_time);
  RUN_HOOKED(connecting_ends_in_time);
  RUN_HOOKED(local_connections_wait_for_room);
  RUN_HOOKED(refusals_are_told);
  return 0;
}
