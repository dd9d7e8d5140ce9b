// For tests of the calls that read and write: pairs of descriptors of each kind, and calls that are made
// by tasks of their own.
#ifndef IO_H
#define IO_H

#include "calls.h"
#include "pipes.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <netinet/in.h>

// ---- Pairs: what is written to the second can be read from the first ----

static inline void open_tcp(int fds[2]) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int few = 16384;  // So that a megabyte has no room.
  setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &few, sizeof few);
  CHECK_INT(connect(fds[1], (struct sockaddr*)&address, length), ==, 0);
  fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  CHECK_INT(fds[0], >=, 0);
  close(listener);
}

static inline void open_unix(int fds[2]) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static inline void open_records(int fds[2]) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static inline void open_datagrams(int fds[2]) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static inline void open_blocking_pipe(int fds[2]) { CHECK_INT(pipe2(fds, O_CLOEXEC), ==, 0); }

static inline void open_fifo(int fds[2]) {
  char directory[] = "/tmp/majjen-fifo-XXXXXX", path[64];
  CHECK(mkdtemp(directory) != NULL);
  snprintf(path, sizeof path, "%s/fifo", directory);
  CHECK_INT(mkfifo(path, 0600), ==, 0);
  fds[0] = open(path, O_RDWR | O_CLOEXEC);  // Does not wait for the other end.
  fds[1] = open(path, O_WRONLY | O_CLOEXEC);
  close(fds[0]);
  fds[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  CHECK_INT(fcntl(fds[0], F_SETFL, 0), ==, 0);
  CHECK(fds[0] >= 0 && fds[1] >= 0);
  unlink(path);
  rmdir(directory);
}

// A terminal: its program writes to the second, and the terminal's window reads from the first.
static inline void open_terminal(int fds[2]) {
  fds[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK(fds[0] >= 0 && grantpt(fds[0]) == 0 && unlockpt(fds[0]) == 0);
  fds[1] = open(ptsname(fds[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK_INT(fds[1], >=, 0);
}

static inline void open_counter(int fds[2]) {
  fds[0] = eventfd(0, EFD_CLOEXEC);
  fds[1] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
  CHECK(fds[0] >= 0 && fds[1] >= 0);
}

// Puts the read end of a new pipe under a number that is free, and returns the write end.
static inline int reuse(int number) {
  int fds[2];
  open_blocking_pipe(fds);
  int writer = fcntl(fds[1], F_DUPFD_CLOEXEC, 600), reader = fcntl(fds[0], F_DUPFD_CLOEXEC, 600);
  close(fds[0]);
  close(fds[1]);
  CHECK_INT(dup2(reader, number), ==, number);
  close(reader);
  return writer;
}

typedef struct kind {
  const char* name;
  void (*open)(int fds[2]);
  bool is_stream;   // of bytes, and not of records
  int after_close;  // what a read returns when the other end is closed; 1: there is no such thing
} kind;

static const kind kinds[] = {
    {"TCP", open_tcp, true, 0},
    {"AF_UNIX stream", open_unix, true, 0},
    {"SOCK_SEQPACKET", open_records, false, 0},
    {"datagrams", open_datagrams, false, 1},
    {"pipe", open_blocking_pipe, true, 0},
    {"FIFO", open_fifo, true, 0},
    {"terminal", open_terminal, true, -EIO},
    {"eventfd", open_counter, false, 1},
};
enum { kind_count = sizeof kinds / sizeof kinds[0] };

// How a pair is opened: each kind in each way.
typedef struct way {
  const kind* kind;
  bool nonblocking, owned;
  int flags[2];
} way;

static inline void open_in_way(way* way, int fds[2]) {
  way->kind->open(fds);
  for (int i = 0; i < 2; i++) {
    int flags = fcntl(fds[i], F_GETFL);
    if (way->nonblocking) CHECK_INT(fcntl(fds[i], F_SETFL, flags | O_NONBLOCK), ==, 0);
    way->flags[i] = fcntl(fds[i], F_GETFL);
    if (way->owned) CHECK_INT(mj_fd_adopt(fds[i]), ==, 0);
  }
}

// Closes what is still open.
static inline void close_in_way(const way* way, const int fds[2]) {
  for (int i = 0; i < 2; i++) {
    int flags = fcntl(fds[i], F_GETFL);
    if (flags < 0) continue;
    CHECK_INT(flags, ==, way->flags[i]);
    CHECK_INT(mj_fd_close(fds[i]), ==, 0);
  }
}

static inline void in_all_ways(void (*test)(way* way, int fds[2])) {
  for (int number = 0; number < 4 * kind_count; number++) {
    way way = {.kind = &kinds[number / 4], .nonblocking = number & 1, .owned = number & 2};
    fprintf(stderr, "  %s, %s, %s\n", way.kind->name,
            way.nonblocking ? "does not block" : "blocks", way.owned ? "owned" : "raw");
    int fds[2];
    open_in_way(&way, fds);
    test(&way, fds);
    close_in_way(&way, fds);
  }
}

// ---- Clocks ----

// With a clock of the program's, each wait for an owned descriptor is registered at once, and the budget of
// a turn is a number of calls. With the system's, waits rely on earlier registrations.
static bool by_system_clock;

static inline void run_by_system_clock(void) {
  scheduler = new_scheduler();
  by_system_clock = true;
  add_task(scheduler, runs_the_test, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
  by_system_clock = false;
}

#define RUN_BY_SYSTEM_CLOCK(test) \
  do { \
    test_body = test; \
    check_run(#test, run_by_system_clock); \
  } while (0)

#define RUN_BY_BOTH_CLOCKS(test) \
  do { \
    RUN_IN_TASK(test); \
    RUN_BY_SYSTEM_CLOCK(test); \
  } while (0)

// ---- Calls by tasks of their own ----

typedef struct transfer {
  call call;
  void* buffer;
  size_t bytes;
  size_t done;
  int flags;
} transfer;

static inline int reads(call* self) {
  transfer* one = (transfer*)self;
  return (int)mj_read(self->fd, one->buffer, one->bytes, self->timeout_ns);
}

static inline int reads_exactly(call* self) {
  transfer* one = (transfer*)self;
  return (int)mj_read_exact(self->fd, one->buffer, one->bytes, self->timeout_ns, &one->done);
}

static inline int writes(call* self) {
  transfer* one = (transfer*)self;
  return mj_write_all(self->fd, one->buffer, one->bytes, self->timeout_ns, &one->done);
}

static inline int receives(call* self) {
  transfer* one = (transfer*)self;
  return (int)mj_recvfrom(self->fd, one->buffer, one->bytes, one->flags, NULL, NULL,
                          self->timeout_ns);
}

// Has a task make a call, until it blocks.
static inline void begin_transfer(transfer* one, int (*make)(call* self), int fd, void* buffer,
                                  size_t bytes, uint64_t timeout_ns) {
  *one = (transfer){.call = {.make = make, .fd = fd, .timeout_ns = timeout_ns},
                    .buffer = buffer,
                    .bytes = bytes};
  begin_call(&one->call);
}

static inline int result_of_transfer(const transfer* one) { return result_of(&one->call); }

// A call that must not suspend: another task that is ready does not run. By the system's clock the budget of
// the turn may end meanwhile.
static bool others_ran;

static inline void notes_that_it_ran(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  others_ran = true;
  mj_task_exit();
}

#define CHECK_AT_ONCE(call, op, expected) \
  do { \
    mj_task_yield(); \
    others_ran = false; \
    add_task(scheduler, notes_that_it_ran, NULL); \
    errno = 4321; \
    CHECK_INT(call, op, expected); \
    CHECK_INT(errno, ==, 4321); \
    CHECK(!others_ran || by_system_clock); \
    mj_task_yield(); \
    CHECK(others_ran); \
  } while (0)

// The same for any call: errno is as it was.
#define CHECK_CALL(call, op, expected) \
  do { \
    errno = 4321; \
    CHECK_INT(call, op, expected); \
    CHECK_INT(errno, ==, 4321); \
  } while (0)

// Bytes that tell where they are.
static inline void fill_with_pattern(unsigned char* bytes, size_t count) {
  for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)(33 + i % 89);
}

static inline void check_pattern(const unsigned char* bytes, size_t from, size_t count) {
  for (size_t i = 0; i < count; i++) CHECK_INT(bytes[i], ==, 33 + (from + i) % 89);
}

#endif  // IO_H
