// The budget of a turn: each call that may suspend is one of its 64, and only one. By a program's clock, so
// that nothing but calls counts.
#define _GNU_SOURCE
#include "check.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BUDGET = 64, MOST = 200, ROOM = 2 * MOST };

static mj_scheduler* scheduler;
static int filled[2], empty[2], full[2], listener;
static mj_stream *of_filled, *of_empty;
static mj_chan *chan_of_many, *chan_of_none, *chan_with_room, *full_chan;
static mj_xchan *xchan_of_many, *xchan_of_none, *xchan_with_room, *full_xchan;
static mj_mutex *free_mutex, *locked_mutex;
static mj_sem *permits, *no_permits;
static mj_waitgroup *none_left, *some_left;
static mj_group *no_members, *full_group;
static mj_process* ended_child;
static mj_task_id ended_task, sleeping_task;

static uint64_t number;
static int status;
static char text[32], *found;
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct iovec part = {text, 1};
static struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
static int signals[] = {SIGUSR1};

static int polls(int fd, short events, uint64_t timeout_ns) {
  struct pollfd one = {.fd = fd, .events = events};
  return mj_poll(&one, 1, timeout_ns);
}

static int selects(mj_chan* chan, mj_select_op op, uint64_t timeout_ns) {
  mj_select_case one = {.chan = chan, .op = op, .element = &number};
  return mj_select(&one, 1, timeout_ns);
}

static int selects_xchan(mj_xchan* xchan, mj_select_op op, uint64_t timeout_ns) {
  mj_select_case one = {.xchan = xchan, .op = op, .element = &number};
  return mj_select(&one, 1, timeout_ns);
}

static int selects_fd(int fd, uint64_t timeout_ns) {
  mj_select_case one = {.fd = fd, .op = MJ_SELECT_FD, .events = POLLIN};
  return mj_select(&one, 1, timeout_ns);
}

static int looks_up(const char* host) {
  struct addrinfo* list;
  int result = mj_getaddrinfo(host, "80", NULL, &list, LONG_NS);
  if (result == 0) freeaddrinfo(list);
  return result;
}

static int locks(void) {
  int result = mj_mutex_lock(free_mutex, LONG_NS);
  return result == 0 ? mj_mutex_unlock(free_mutex) : result;
}

static int does_nothing(void* argument) { return argument != NULL; }

// name, call, its result
#define CALLS_DONE_AT_ONCE(X)                                                       \
  X(read, mj_read(filled[0], text, 1, LONG_NS), 1)                                  \
  X(read_exact, mj_read_exact(filled[0], text, 1, LONG_NS, NULL), 1)                \
  X(readv, mj_readv(filled[0], &part, 1, LONG_NS), 1)                               \
  X(recvfrom, mj_recvfrom(filled[0], text, 1, 0, NULL, NULL, LONG_NS), 1)           \
  X(recvmsg, mj_recvmsg(filled[0], &message, 0, LONG_NS), 1)                        \
  X(write, mj_write(filled[0], "x", 1, LONG_NS), 1)                                 \
  X(write_all, mj_write_all(filled[0], "x", 1, LONG_NS, NULL), 0)                   \
  X(writev, mj_writev(filled[0], &part, 1, LONG_NS), 1)                             \
  X(sendto, mj_sendto(filled[0], "x", 1, 0, NULL, 0, LONG_NS), 1)                   \
  X(sendmsg, mj_sendmsg(filled[0], &message, 0, LONG_NS), 1)                        \
  X(poll, polls(filled[0], POLLIN, LONG_NS), 1)                                     \
  X(stream_read, mj_stream_read(of_filled, text, 1, LONG_NS), 1)                    \
  X(stream_read_exact, mj_stream_read_exact(of_filled, text, 1, LONG_NS, NULL), 1)  \
  X(stream_read_until, mj_stream_read_until(of_filled, 'x', &found, LONG_NS), 1)    \
  X(stream_peek, mj_stream_peek(of_filled, 1, &found, LONG_NS) > 0, 1)              \
  X(stream_flush, mj_stream_flush(of_filled, LONG_NS), 0)                           \
  X(getaddrinfo, looks_up("127.0.0.1"), 0)                                          \
  X(getnameinfo,                                                                    \
    mj_getnameinfo((struct sockaddr*)&address, sizeof address, text, sizeof text,   \
                   NULL, 0, NI_NUMERICHOST, LONG_NS),                               \
    0)                                                                              \
  X(join, mj_task_join(ended_task, LONG_NS), -ESRCH)                              \
  X(chan_send, mj_chan_send(chan_with_room, &number, LONG_NS), 0)                   \
  X(chan_recv, mj_chan_recv(chan_of_many, &number, LONG_NS), 0)                     \
  X(xchan_send, mj_xchan_send(xchan_with_room, &number, LONG_NS), 0)                \
  X(xchan_recv, mj_xchan_recv(xchan_of_many, &number, LONG_NS), 0)                  \
  X(select, selects(chan_with_room, MJ_SELECT_SEND, LONG_NS), 0)                    \
  X(select_xchan, selects_xchan(xchan_of_many, MJ_SELECT_XRECV, LONG_NS), 0)        \
  X(select_fd, selects_fd(filled[0], LONG_NS), 0)                                   \
  X(mutex_lock, locks(), 0)                                                         \
  X(sem_acquire, mj_sem_acquire(permits, 1, LONG_NS), 0)                            \
  X(waitgroup_wait, mj_waitgroup_wait(none_left, LONG_NS), 0)                       \
  X(group_wait, mj_group_wait(no_members, LONG_NS), 0)                              \
  X(process_wait, mj_process_wait(ended_child, &status, LONG_NS), 0)

#define CALLS_THAT_WAIT(X)                                                          \
  X(read_none, mj_read(empty[0], text, 1, 0), -ETIMEDOUT)                           \
  X(read_exact_none, mj_read_exact(empty[0], text, 1, 0, NULL), -ETIMEDOUT)         \
  X(readv_none, mj_readv(empty[0], &part, 1, 0), -ETIMEDOUT)                        \
  X(recvfrom_none, mj_recvfrom(empty[0], text, 1, 0, NULL, NULL, 0), -ETIMEDOUT)    \
  X(recvmsg_none, mj_recvmsg(empty[0], &message, 0, 0), -ETIMEDOUT)                 \
  X(write_full, mj_write(full[0], "x", 1, 0), -ETIMEDOUT)                           \
  X(write_all_full, mj_write_all(full[0], "x", 1, 0, NULL), -ETIMEDOUT)             \
  X(sendto_full, mj_sendto(full[0], "x", 1, 0, NULL, 0, 0), -ETIMEDOUT)             \
  X(accept_none, mj_accept(listener, NULL, NULL, 0), -ETIMEDOUT)                    \
  X(poll_none, polls(empty[0], POLLIN, 0), -ETIMEDOUT)                              \
  X(stream_read_none, mj_stream_read(of_empty, text, 1, 0), -ETIMEDOUT)             \
  X(join_living, mj_task_join(sleeping_task, 0), -ETIMEDOUT)                        \
  X(signal_none, mj_signal_wait(signals, 1, NULL, 0), -ETIMEDOUT)                   \
  X(chan_send_full, mj_chan_send(full_chan, &number, 0), -ETIMEDOUT)                \
  X(chan_recv_none, mj_chan_recv(chan_of_none, &number, 0), -ETIMEDOUT)             \
  X(xchan_send_full, mj_xchan_send(full_xchan, &number, 0), -ETIMEDOUT)             \
  X(xchan_recv_none, mj_xchan_recv(xchan_of_none, &number, 0), -ETIMEDOUT)          \
  X(select_none, selects(chan_of_none, MJ_SELECT_RECV, 0), -ETIMEDOUT)              \
  X(select_xchan_none, selects_xchan(xchan_of_none, MJ_SELECT_XRECV, 0), -ETIMEDOUT) \
  X(select_fd_none, selects_fd(empty[0], 0), -ETIMEDOUT)                            \
  X(mutex_lock_locked, mj_mutex_lock(locked_mutex, 0), -ETIMEDOUT)                  \
  X(sem_acquire_none, mj_sem_acquire(no_permits, 1, 0), -ETIMEDOUT)                 \
  X(waitgroup_some, mj_waitgroup_wait(some_left, 0), -ETIMEDOUT)                    \
  X(group_wait_member, mj_group_wait(full_group, 0), -ETIMEDOUT)                    \
  X(group_go_full, mj_group_go(full_group, does_nothing, NULL, 0), -ETIMEDOUT)

#define FUNCTION(name, call, result) \
  static bool does_##name(void) { return (call) == (result); }
#define ROW(name, call, result) {#name, does_##name},

CALLS_DONE_AT_ONCE(FUNCTION)
CALLS_THAT_WAIT(FUNCTION)

typedef struct {
  const char* name;
  bool (*make)(void);
} call;

static const call done_at_once[] = {CALLS_DONE_AT_ONCE(ROW)};
static const call that_wait[] = {CALLS_THAT_WAIT(ROW)};

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

// ---- what they are made with

static unsigned turns_of_other;
static bool is_over;

static void has_turns(void* argument) {
  (void)argument;
  for (; !is_over; turns_of_other++) CHECK_INT(mj_yield(), ==, 0);
}

static void ends(void* argument) { (void)argument; }

static void waits_with_a_mutex(void* argument) {
  (void)argument;
  CHECK_INT(mj_mutex_lock(locked_mutex, LONG_NS), ==, 0);
  CHECK_INT(mj_task_park(MJ_FOREVER), ==, -ECANCELED);
  CHECK_INT(mj_mutex_unlock(locked_mutex), ==, 0);
}

static int waits_as_member(void* argument) {
  (void)argument;
  return mj_task_park(MJ_FOREVER) == -ECANCELED ? 0 : -EIO;
}

static void open_pair(int fds[2]) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static mj_stream* stream_of_many(void) {
  char many[ROOM];
  int fds[2];
  open_pair(fds);
  memset(many, 'x', sizeof many);
  CHECK_INT(write(fds[1], many, sizeof many), ==, ROOM);
  CHECK_INT(close(fds[1]), ==, 0);
  mj_stream* made = mj_stream_create(fds[0], 0, 0);
  CHECK(made != NULL);
  return made;
}

static void open_all(void) {
  open_pair(filled);
  open_pair(empty);
  open_pair(full);
  while (write(full[0], text, sizeof text) > 0) {
  }
  while (write(full[0], text, 1) > 0) {
  }
  listener = mj_listen("127.0.0.1", "0", 1, 0);
  CHECK_INT(listener, >=, 0);
  of_filled = stream_of_many();
  of_empty = mj_stream_create(dup(empty[0]), 0, 0);
  chan_of_many = mj_chan_create(scheduler, sizeof number, ROOM);
  chan_of_none = mj_chan_create(scheduler, sizeof number, 1);
  chan_with_room = mj_chan_create(scheduler, sizeof number, ROOM);
  full_chan = mj_chan_create(scheduler, sizeof number, 1);
  xchan_of_many = mj_xchan_create(sizeof number, ROOM);
  xchan_of_none = mj_xchan_create(sizeof number, 1);
  xchan_with_room = mj_xchan_create(sizeof number, ROOM);
  full_xchan = mj_xchan_create(sizeof number, 1);
  for (int i = 0; i < MOST; i++) {
    CHECK_INT(mj_chan_try_send(chan_of_many, &number), ==, 0);
    CHECK_INT(mj_xchan_try_send(xchan_of_many, &number), ==, 0);
  }
  CHECK_INT(mj_chan_try_send(full_chan, &number), ==, 0);
  CHECK_INT(mj_xchan_try_send(full_xchan, &number), ==, 0);
  free_mutex = mj_mutex_create(scheduler);
  locked_mutex = mj_mutex_create(scheduler);
  permits = mj_sem_create(scheduler, MOST);
  no_permits = mj_sem_create(scheduler, 0);
  none_left = mj_waitgroup_create(scheduler);
  some_left = mj_waitgroup_create(scheduler);
  CHECK_INT(mj_waitgroup_add(some_left, 1), ==, 0);
  no_members = mj_group_create(scheduler, 0);
  full_group = mj_group_create(scheduler, 1);
  CHECK_INT(mj_group_go(full_group, waits_as_member, NULL, LONG_NS), ==, 0);
  ended_child = mj_process_spawn((const char* const[]){"true", NULL}, NULL);
  CHECK(ended_child != NULL);
  CHECK_INT(mj_process_wait(ended_child, NULL, LONG_NS), ==, 0);
  CHECK_INT(mj_go(scheduler, has_turns, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, ends, NULL, &ended_task), ==, 0);
  CHECK_INT(mj_go(scheduler, waits_with_a_mutex, NULL, &sleeping_task), ==, 0);
  CHECK_INT(mj_task_join(ended_task, LONG_NS), ==, 0);
  CHECK_INT(mj_yield(), ==, 0);
}

static void close_all(void) {
  is_over = true;
  CHECK_INT(mj_process_end(ended_child, 0, NULL), ==, 0);
  CHECK_INT(mj_scheduler_cancel(scheduler, sleeping_task), ==, 0);
  CHECK_INT(mj_task_join(sleeping_task, LONG_NS), ==, 0);
  CHECK_INT(mj_group_end(full_group, 0), ==, 0);
  CHECK_INT(mj_group_destroy(full_group), ==, 0);
  CHECK_INT(mj_group_destroy(no_members), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(some_left), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(none_left), ==, 0);
  CHECK_INT(mj_sem_destroy(no_permits), ==, 0);
  CHECK_INT(mj_sem_destroy(permits), ==, 0);
  CHECK_INT(mj_mutex_destroy(locked_mutex), ==, 0);
  CHECK_INT(mj_mutex_destroy(free_mutex), ==, 0);
  mj_xchan* between_threads[] = {xchan_of_many, xchan_of_none, xchan_with_room, full_xchan};
  for (int i = 0; i < 4; i++) mj_xchan_release(between_threads[i]);
  mj_chan* channels[] = {chan_of_many, chan_of_none, chan_with_room, full_chan};
  for (int i = 0; i < 4; i++) CHECK_INT(mj_chan_destroy(channels[i]), ==, 0);
  CHECK_INT(mj_stream_close(of_filled, LONG_NS), ==, 0);
  CHECK_INT(mj_stream_close(of_empty, LONG_NS), ==, 0);
  int fds[] = {filled[0], filled[1], empty[0], empty[1], full[0], full[1], listener};
  for (int i = 0; i < 7; i++) CHECK_INT(mj_fd_close(fds[i]), ==, 0);
}

// ---- the tests

static void make(const call* one) {
  if (one->make()) return;
  fprintf(stderr, "%s has another result\n", one->name);
  CHECK(false);
}

// There is as much to read as before. A turn begins.
static void begin_turn(void) {
  char many[ROOM] = {0};
  for (int i = 0; i < 2; i++) {
    while (read(filled[i], many, sizeof many) > 0) {
    }
  }
  CHECK_INT(write(filled[1], many, sizeof many), ==, ROOM);
  CHECK_INT(mj_yield(), ==, 0);
  turns_of_other = 0;
}

static void calls_that_are_done_at_once(void) {
  for (size_t i = 0; i < COUNT(done_at_once); i++) {
    int count = 0;
    begin_turn();
    for (; turns_of_other == 0 && count < MOST; count++) make(&done_at_once[i]);
    if (count != BUDGET + 1) fprintf(stderr, "%s yields at call %d\n", done_at_once[i].name, count);
    CHECK_INT(count, ==, BUDGET + 1);
  }
}

// The last one of the budget suspends once, and the next one twice: it yields before it does
// anything.
static void calls_that_wait(void) {
  for (size_t i = 0; i < COUNT(that_wait); i++) {
    for (unsigned before = BUDGET - 1; before <= BUDGET; before++) {
      begin_turn();
      for (unsigned calls = 0; calls < before; calls++) {
        CHECK_INT(mj_waitgroup_wait(none_left, 0), ==, 0);
      }
      CHECK_UINT(turns_of_other, ==, 0);
      make(&that_wait[i]);
      unsigned expected = before < BUDGET ? 1 : 2;
      if (turns_of_other != expected) {
        fprintf(stderr, "%s suspends %u times after %u calls\n", that_wait[i].name,
                turns_of_other, before);
      }
      CHECK_UINT(turns_of_other, ==, expected);
    }
  }
}

static void makes_all(void* test) {
  open_all();
  (*(void (**)(void))test)();
  close_all();
}

static void in_task(void (*test)(void)) {
  is_over = false;
  scheduler = new_scheduler();
  count_calls_only(scheduler);
  CHECK_INT(mj_go(scheduler, makes_all, &test, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void what_is_done_at_once_is_one_call(void) { in_task(calls_that_are_done_at_once); }

static void what_waits_is_one_call(void) { in_task(calls_that_wait); }

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(what_is_done_at_once_is_one_call);
  RUN(what_waits_is_one_call);
  return 0;
}
