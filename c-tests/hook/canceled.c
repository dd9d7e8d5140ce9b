// A task that is canceled: each call that waits, or would, fails with ECANCELED; what can be had without
// waiting is had, and nothing is lost.
#define _GNU_SOURCE
#include "hooked.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int ends[2], full_ends[2], listener, epoll;
static struct sockaddr_in full_address;
static unsigned ended, waits;

typedef int call(void);

static int by_read(void) { char byte; return (int)read(ends[0], &byte, 1); }
static int by_recv(void) { char byte; return (int)recv(ends[0], &byte, 1, 0); }
static int by_recv_of_all(void) { char bytes[9]; return (int)recv(ends[0], bytes, 9, MSG_WAITALL); }
static int by_recvmsg(void) {
  char byte;
  struct iovec one = {&byte, 1};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  return (int)recvmsg(ends[0], &message, 0);
}
static int by_write(void) { return (int)write(full_ends[1], "x", 1); }
static int by_send(void) { return (int)send(full_ends[1], "x", 1, 0); }
static int by_accept(void) { return accept(listener, NULL, NULL); }
static int by_poll(void) {
  struct pollfd one = {ends[0], POLLIN, 0};
  return poll(&one, 1, -1);
}
static int by_poll_of_two(void) {
  struct pollfd two[2] = {{ends[0], POLLIN, 0}, {full_ends[1], POLLOUT, 0}};
  return poll(two, 2, 100000);
}
static int by_select(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  return select(ends[0] + 1, &set, NULL, NULL, NULL);
}
static int by_epoll_wait(void) {
  struct epoll_event event;
  return epoll_wait(epoll, &event, 1, -1);
}
static int by_nanosleep(void) {
  struct timespec time = {1000, 0};
  return nanosleep(&time, NULL);
}
static int by_usleep(void) { return usleep(900000000); }
static int by_clock_nanosleep(void) {
  struct timespec time = {1000, 0};
  errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
  return errno == 0 ? 0 : -1;
}
static int by_connect(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int result = connect(fd, (struct sockaddr*)&full_address, sizeof full_address), error = errno;
  CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, 0);
  CHECK_INT(close(fd), ==, 0);
  errno = error;
  return result;
}

static call* const CALLS[] = {
    by_read,   by_recv,        by_recv_of_all, by_recvmsg,    by_write,     by_send,
    by_accept, by_poll,        by_poll_of_two, by_select,     by_epoll_wait, by_nanosleep,
    by_usleep, by_clock_nanosleep, by_connect,
};
enum { CALL_COUNT = sizeof CALLS / sizeof *CALLS, CLIENTS = 8 };

static int clients[CLIENTS];

static void open_all(void) {
  static char data[4096];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, full_ends), ==, 0);
  while (send(full_ends[1], data, sizeof data, MSG_DONTWAIT) > 0) continue;
  while (send(full_ends[1], data, 1, MSG_DONTWAIT) > 0) continue;
  epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {EPOLLIN, {.fd = 0}};
  CHECK_INT(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event), ==, 0);
  // A listener that nobody connects to, and one whose queue is full.
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  int full = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(full, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(full, 0), ==, 0);
  CHECK_INT(getsockname(full, (struct sockaddr*)&full_address, &length), ==, 0);
  clients[0] = full;
  for (int i = 1; i < CLIENTS; i++) {
    clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(clients[i], (struct sockaddr*)&full_address, length);
  }
}

static void close_all(void) {
  for (int i = 0; i < CLIENTS; i++) close(clients[i]);
  close(listener);
  close(epoll);
  for (int i = 0; i < 2; i++) close(ends[i]), close(full_ends[i]);
}

static void waits_in(void* argument) {
  call* const* which = argument;
  add_one(&waits);
  CHECK_FAILS((*which)(), ECANCELED);
  // So does each later one.
  for (int i = 0; i < CALL_COUNT; i++) CHECK_FAILS(CALLS[i](), ECANCELED);
  CHECK_INT(sleep(100), ==, 100);
  CHECK_INT(errno, ==, ECANCELED);
  // What need not wait is done: a library can say goodbye, and close its socket.
  int own[2];
  char data[4];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, own), ==, 0);
  CHECK_INT(write(own[0], "bye", 3), ==, 3);
  CHECK_INT(read(own[1], data, 3), ==, 3);
  CHECK_INT(close(own[0]), ==, 0);
  CHECK_INT(close(own[1]), ==, 0);
  add_one(&ended);
}

static void each_call_ends(void) {
  mj_task_id ids[CALL_COUNT];
  open_all();
  ended = waits = 0;
  for (int i = 0; i < CALL_COUNT; i++) ids[i] = start(waits_in, (void*)&CALLS[i]);
  wait_until(&waits, CALL_COUNT);
  let_others_wait();
  CHECK_UINT(ended, ==, 0);
  for (int i = 0; i < CALL_COUNT; i++) {
    CHECK_INT(mj_task_cancel(mj_task_find(hooked_scheduler, ids[i])), ==, 0);
  }
  wait_until(&ended, CALL_COUNT);
  // Nothing of theirs is left: the descriptors are served as before.
  struct epoll_event event;
  CHECK_INT(epoll_wait(epoll, &event, 1, 1), ==, 0);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  CHECK_INT(by_poll(), ==, 1);
  CHECK_INT(epoll_wait(epoll, &event, 1, -1), ==, 1);
  CHECK_INT(by_read(), ==, 1);
  close_all();
}

static void has_been_canceled(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_cancel(mj_task_find(hooked_scheduler, mj_task_get_id(mj_task_current()))), ==, 0);
  for (int i = 0; i < CALL_COUNT; i++) CHECK_FAILS(CALLS[i](), ECANCELED);
  // Held, it is told later.
  mj_task_set_cancelable(false, NULL);
  CHECK_INT(usleep(100), ==, 0);
  mj_task_set_cancelable(true, NULL);
  CHECK_FAILS(usleep(100), ECANCELED);
  add_one(&ended);
}

static void who_has_not_waited_yet_is_told(void) {
  open_all();
  ended = 0;
  start(has_been_canceled, NULL);
  wait_until(&ended, 1);
  close_all();
}

// What was written before counts.
static void writes_much(void* argument) {
  (void)argument;
  static char large[1 << 20];
  ssize_t sent = write(ends[1], large, sizeof large);
  CHECK(sent > 0 && sent < (ssize_t)sizeof large);
  CHECK_FAILS(write(ends[1], large, sizeof large), ECANCELED);
  add_one(&ended);
}

static void a_part_is_told(void) {
  open_all();
  ended = 0;
  mj_task_id id = start(writes_much, NULL);
  let_others_wait();
  CHECK_INT(mj_task_cancel(mj_task_find(hooked_scheduler, id)), ==, 0);
  wait_until(&ended, 1);
  close_all();
}

// A deadline of the task is none of the call's own: it is told as what it is.
static void has_a_deadline(void* argument) {
  (void)argument;
  mj_task_set_deadline(mj_deadline_after(20000000), NULL);
  CHECK_FAILS(by_read(), ETIMEDOUT);
  CHECK_FAILS(by_poll(), ETIMEDOUT);
  CHECK_FAILS(by_poll_of_two(), ETIMEDOUT);
  CHECK_FAILS(by_accept(), ETIMEDOUT);
  add_one(&ended);
}

static void a_deadline_is_not_a_limit_of_the_call(void) {
  open_all();
  ended = 0;
  start(has_a_deadline, NULL);
  wait_until(&ended, 1);
  close_all();
}

int main(void) {
  if (in_threads()) return 0;  // Threads are not canceled like this.
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(each_call_ends);
  RUN_HOOKED(who_has_not_waited_yet_is_told);
  RUN_HOOKED(a_part_is_told);
  RUN_HOOKED(a_deadline_is_not_a_limit_of_the_call);
  return 0;
}
