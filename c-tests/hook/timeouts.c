// Time limits of sockets: SO_RCVTIMEO, SO_SNDTIMEO. They are as long as they say, 0 is none, and what was
// transferred before counts.
#define _GNU_SOURCE
#include "hooked.h"

#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

static int ends[2];
static unsigned ready, ended;

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
    usleep(20000);
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
  set_limit(ends[1], SO_SNDTIMEO, 1000);
  uint64_t began = now_ns();
  CHECK_INT(send(ends[1], large, sizeof large, 0), ==, sizeof large);
  CHECK_UINT(ms_since(began), >=, 1010);
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

// ---- limits that no test waits for

static unsigned waiting;
static int senders[8];

static void receives_in_the_end(void* limit) {
  char data[8];
  int pair[2];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
  struct timeval of_socket = *(struct timeval*)limit;
  CHECK_INT(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &of_socket, sizeof of_socket), ==, 0);
  unsigned number = __atomic_fetch_add(&waiting, 1, __ATOMIC_ACQ_REL);
  senders[number] = pair[1];
  add_one(&ready);
  CHECK_INT(recv(pair[0], data, sizeof data, 0), ==, 3);
  CHECK_INT(close(pair[0]), ==, 0);
  add_one(&ended);
}

// The largest ones are longer than 64 bits of nanoseconds can tell: cut off, one would be 0.3 s.
static void long_limits_are_not_over_soon(void) {
  static struct timeval limits[] = {
      {70, 0}, {3000000, 0}, {10000000000, 0}, {18446744074, 0}, {LONG_MAX, 999999}};
  enum { LIMITS = sizeof limits / sizeof limits[0] };
  ready = ended = waiting = 0;
  for (int i = 0; i < LIMITS; i++) start(receives_in_the_end, &limits[i]);
  wait_until(&ready, LIMITS);
  usleep(600000);
  CHECK_UINT(__atomic_load_n(&ended, __ATOMIC_ACQUIRE), ==, 0);
  for (int i = 0; i < LIMITS; i++) CHECK_INT(send(senders[i], "end", 3, 0), ==, 3);
  wait_until(&ended, LIMITS);
  for (int i = 0; i < LIMITS; i++) CHECK_INT(close(senders[i]), ==, 0);
}

// How long the others take is seen in simulated time, which goes on in steps: by as much as the loop would wait,
// and so much more.
static uint64_t simulated_ns, step_ns;

static uint64_t simulated_clock(void* unused) {
  (void)unused;
  return simulated_ns;
}

static int simulated_wait(mj_scheduler* scheduler, uint64_t timeout_ns, void* unused) {
  (void)scheduler;
  (void)unused;
  if (timeout_ns == 0) return 0;
  CHECK_UINT(timeout_ns, !=, MJ_FOREVER);
  simulated_ns += timeout_ns + step_ns;
  return 0;
}

static void in_simulated_time(mj_go_fn body, uint64_t step) {
  simulated_ns = 1;
  step_ns = step;
  hooked_scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_set_clock(hooked_scheduler, simulated_clock, NULL), ==, 0);
  mj_scheduler_set_wait_func(hooked_scheduler, simulated_wait, NULL);
  CHECK_INT(mj_go(hooked_scheduler, body, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(hooked_scheduler), ==, 0);
  mj_scheduler_destroy(hooked_scheduler);
}

#define S UINT64_C(1000000000)

// A call that ends when its time is over: not before, and no more than two steps later.
#define CHECK_LASTS(call, ns) \
  do { \
    uint64_t began = simulated_ns; \
    call; \
    CHECK_UINT(simulated_ns - began, >=, ns); \
    CHECK_UINT(simulated_ns - began, <=, (ns) + 2 * step_ns + S); \
  } while (0)

static void calls_of_sockets(void* unused) {
  (void)unused;
  char data[8] = "";
  struct sockaddr_in address;
  int clients[8], listener = full_listener(&address, clients, 8);
  int empty = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(listen(empty, 1), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  fill(ends[0]);
  static const long limits_s[] = {70, 3000000};
  for (int i = 0; i < 2; i++) {
    long s = limits_s[i];
    step_ns = i == 0 ? 0 : (uint64_t)s * S / 20;
    set_limit(ends[0], SO_RCVTIMEO, s * 1000);
    set_limit(ends[0], SO_SNDTIMEO, s * 1000);
    set_limit(empty, SO_RCVTIMEO, s * 1000);
    set_limit(client, SO_SNDTIMEO, s * 1000);
    CHECK_LASTS(CHECK_FAILS(recv(ends[0], data, sizeof data, 0), EAGAIN), (uint64_t)s * S);
    CHECK_LASTS(CHECK_FAILS(read(ends[0], data, sizeof data), EAGAIN), (uint64_t)s * S);
    CHECK_LASTS(CHECK_FAILS(send(ends[0], data, 1, 0), EAGAIN), (uint64_t)s * S);
    CHECK_LASTS(CHECK_FAILS(write(ends[0], data, 1), EAGAIN), (uint64_t)s * S);
    CHECK_LASTS(CHECK_FAILS(accept(empty, NULL, NULL), EAGAIN), (uint64_t)s * S);
    CHECK_LASTS(CHECK_FAILS(connect(client, (struct sockaddr*)&address, sizeof address),
                            i == 0 ? EINPROGRESS : EALREADY), (uint64_t)s * S);
  }
  for (int i = 0; i < 8; i++) close(clients[i]);
  close(listener);
  close(empty);
  close(client);
  close_ends();
}

static void other_calls(void* unused) {
  (void)unused;
  int epoll_fd = epoll_create1(0);
  struct epoll_event event;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  struct pollfd fds[] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
  const uint64_t most_ms_ns = (uint64_t)INT_MAX * 1000000, more_ns = 3000000 * S;
  for (unsigned count = 0; count <= 2; count++) {
    struct timespec more = {3000000, 0};
    CHECK_LASTS(CHECK_INT(poll(fds, count, 70000), ==, 0), 70 * S);
    CHECK_LASTS(CHECK_INT(poll(fds, count, INT_MAX), ==, 0), most_ms_ns);
    CHECK_LASTS(CHECK_INT(ppoll(fds, count, &more, NULL), ==, 0), more_ns);
  }
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  struct timeval more = {3000000, 0};
  CHECK_LASTS(CHECK_INT(select(ends[0] + 1, &set, NULL, NULL, &more), ==, 0), more_ns);
  CHECK_LASTS(CHECK_INT(epoll_wait(epoll_fd, &event, 1, INT_MAX), ==, 0), most_ms_ns);
  CHECK_LASTS(CHECK_INT(sleep(UINT_MAX), ==, 0), UINT_MAX * S);
  CHECK_LASTS(CHECK_INT(usleep(UINT_MAX), ==, 0), (uint64_t)UINT_MAX * 1000);
  CHECK_LASTS(CHECK_INT(nanosleep(&(struct timespec){3000000, 1}, NULL), ==, 0), more_ns + 1);
  close(epoll_fd);
  close_ends();
}

static void long_limits_are_as_long_as_they_say(void) {
  if (in_threads()) return;
  in_simulated_time(calls_of_sockets, 0);
  in_simulated_time(other_calls, 0);
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
  RUN_HOOKED(long_limits_are_not_over_soon);
  RUN(long_limits_are_as_long_as_they_say);
  return 0;
}
