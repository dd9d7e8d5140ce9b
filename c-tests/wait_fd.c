// Waiting for events of descriptors: what is returned, and when.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "log_lines.h"
#include "waiters.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static void fill(int fd) {
  static const char zeros[4096];
  while (write(fd, zeros, sizeof zeros) > 0) {
  }
  while (write(fd, zeros, 1) > 0) {
  }
  CHECK_INT(errno, ==, EAGAIN);
}

static void drain(int fd) {
  char bytes[4096];
  while (read(fd, bytes, sizeof bytes) > 0) {
  }
}

static int listen_on_loopback(struct sockaddr_in* address) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  CHECK_INT(fd, >=, 0);
  memset(address, 0, sizeof *address);
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof *address;
  CHECK_INT(bind(fd, (struct sockaddr*)address, length), ==, 0);
  CHECK_INT(getsockname(fd, (struct sockaddr*)address, &length), ==, 0);
  CHECK_INT(listen(fd, 8), ==, 0);
  return fd;
}

// The two ends of a connection over TCP.
static void open_tcp(int fds[2]) {
  struct sockaddr_in address;
  int listener = listen_on_loopback(&address);
  fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(fds[0], >=, 0);
  CHECK_INT(connect(fds[0], (struct sockaddr*)&address, sizeof address), ==, 0);
  fds[1] = accept(listener, NULL, NULL);
  CHECK_INT(fds[1], >=, 0);
  close(listener);
}

static void close_with_a_reset(int fd) {
  const struct linger no_linger = {.l_onoff = 1, .l_linger = 0};
  CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof no_linger), ==, 0);
  close(fd);
}

// ---- The same bits as poll(2) ----

// Opens the descriptor to wait for, and others that it needs; unused ones stay -1.
typedef void situation(int fds[2]);

static void an_empty_pipe(int fds[2]) { open_pipe(fds); }

static void a_pipe_with_data(int fds[2]) {
  open_pipe(fds);
  put_byte(fds[1]);
}

static void a_pipe_without_writer(int fds[2]) {
  open_pipe(fds);
  close(fds[1]);
  fds[1] = -1;
}

static void a_pipe_with_data_and_without_writer(int fds[2]) {
  a_pipe_with_data(fds);
  close(fds[1]);
  fds[1] = -1;
}

static void exchange(int fds[2]) {
  int first = fds[0];
  fds[0] = fds[1];
  fds[1] = first;
}

static void a_pipe_to_write_to(int fds[2]) {
  open_pipe(fds);
  exchange(fds);
}

static void a_full_pipe(int fds[2]) {
  a_pipe_to_write_to(fds);
  fill(fds[0]);
}

static void a_pipe_without_reader(int fds[2]) {
  a_pipe_to_write_to(fds);
  close(fds[1]);
  fds[1] = -1;
}

static void a_full_pipe_without_reader(int fds[2]) {
  a_full_pipe(fds);
  close(fds[1]);
  fds[1] = -1;
}

static void an_idle_socket(int fds[2]) { open_pair(fds); }

static void a_socket_with_data(int fds[2]) {
  open_pair(fds);
  put_byte(fds[1]);
}

static void a_full_socket(int fds[2]) {
  open_pair(fds);
  fill(fds[0]);
}

static void a_full_socket_with_data(int fds[2]) {
  a_socket_with_data(fds);
  fill(fds[0]);
}

static void a_socket_that_is_shut_down(int fds[2]) {
  open_pair(fds);
  CHECK_INT(shutdown(fds[1], SHUT_WR), ==, 0);
}

static void a_socket_without_peer(int fds[2]) {
  open_pair(fds);
  close(fds[1]);
  fds[1] = -1;
}

static void an_idle_connection(int fds[2]) { open_tcp(fds); }

static void a_connection_with_urgent_data(int fds[2]) {
  open_tcp(fds);
  CHECK_INT(send(fds[1], "x", 1, MSG_OOB), ==, 1);
}

static void a_connection_that_was_closed(int fds[2]) {
  open_tcp(fds);
  close(fds[1]);
  fds[1] = -1;
}

static void a_connection_that_was_reset(int fds[2]) {
  open_tcp(fds);
  close_with_a_reset(fds[1]);
  fds[1] = -1;
}

static void a_socket_that_was_never_connected(int fds[2]) {
  fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void a_listener(int fds[2]) {
  struct sockaddr_in address;
  fds[0] = listen_on_loopback(&address);
}

static void a_listener_with_a_client(int fds[2]) {
  struct sockaddr_in address;
  fds[0] = listen_on_loopback(&address);
  fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(connect(fds[1], (struct sockaddr*)&address, sizeof address), ==, 0);
}

static void a_counter_at_0(int fds[2]) { fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static void a_counter_at_1(int fds[2]) { fds[0] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); }

static void a_full_counter(int fds[2]) {
  a_counter_at_0(fds);
  uint64_t most = UINT64_MAX - 1;
  CHECK_INT(write(fds[0], &most, sizeof most), ==, sizeof most);
}

static void set_timer(int fds[2], time_t seconds, long nanoseconds) {
  fds[0] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  const struct itimerspec time = {.it_value = {seconds, nanoseconds}};
  CHECK_INT(timerfd_settime(fds[0], 0, &time, NULL), ==, 0);
}

static void a_timer_that_runs(int fds[2]) { set_timer(fds, 1000, 0); }

static void a_timer_that_is_over(int fds[2]) {
  set_timer(fds, 0, 1);
  struct pollfd poll_fd = {.fd = fds[0], .events = POLLIN};
  CHECK_INT(poll(&poll_fd, 1, 10000), ==, 1);
}

static void an_epoll_set_with(int fds[2], unsigned count) {
  fds[0] = epoll_create1(EPOLL_CLOEXEC);
  fds[1] = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK_INT(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], &event), ==, 0);
}

static void an_idle_epoll_set(int fds[2]) { an_epoll_set_with(fds, 0); }

static void a_ready_epoll_set(int fds[2]) { an_epoll_set_with(fds, 1); }

static void an_empty_epoll_set(int fds[2]) { fds[0] = epoll_create1(EPOLL_CLOEXEC); }

static void a_regular_file(int fds[2]) {
  fds[0] = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fds[0] >= 0) return;
  // Not every file system has O_TMPFILE.
  FILE* file = tmpfile();
  CHECK(file != NULL);
  fds[0] = dup(fileno(file));
  fclose(file);
}

static void the_null_device(int fds[2]) { fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC); }

static void a_directory(int fds[2]) { fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }

static const struct {
  const char* name;
  situation* make;
} situations[] = {
    {"an empty pipe", an_empty_pipe},
    {"a pipe with data", a_pipe_with_data},
    {"a pipe without writer", a_pipe_without_writer},
    {"a pipe with data and without writer", a_pipe_with_data_and_without_writer},
    {"a pipe to write to", a_pipe_to_write_to},
    {"a full pipe", a_full_pipe},
    {"a pipe without reader", a_pipe_without_reader},
    {"a full pipe without reader", a_full_pipe_without_reader},
    {"an idle socket", an_idle_socket},
    {"a socket with data", a_socket_with_data},
    {"a full socket", a_full_socket},
    {"a full socket with data", a_full_socket_with_data},
    {"a socket that is shut down", a_socket_that_is_shut_down},
    {"a socket without peer", a_socket_without_peer},
    {"an idle connection", an_idle_connection},
    {"a connection with urgent data", a_connection_with_urgent_data},
    {"a connection that was closed", a_connection_that_was_closed},
    {"a connection that was reset", a_connection_that_was_reset},
    {"a socket that was never connected", a_socket_that_was_never_connected},
    {"a listener", a_listener},
    {"a listener with a client", a_listener_with_a_client},
    {"a counter at 0", a_counter_at_0},
    {"a counter at 1", a_counter_at_1},
    {"a full counter", a_full_counter},
    {"a timer that runs", a_timer_that_runs},
    {"a timer that is over", a_timer_that_is_over},
    {"an idle epoll set", an_idle_epoll_set},
    {"a ready epoll set", a_ready_epoll_set},
    {"an empty epoll set", an_empty_epoll_set},
};

// Files that epoll(7) does not support, since they never block.
static const struct {
  const char* name;
  situation* make;
} files[] = {
    {"a regular file", a_regular_file},
    {"the null device", the_null_device},
    {"a directory", a_directory},
};

static const short masks[] = {
    0,
    POLLIN,
    POLLOUT,
    POLLIN | POLLOUT,
    POLLPRI,
    POLLRDHUP,
    POLLIN | POLLRDHUP,
    POLLRDNORM,
    POLLWRNORM,
    POLLRDBAND,
    POLLWRBAND,
    POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND,
};

static int poll_once(int fd, short events) {
  struct pollfd poll_fd = {.fd = fd, .events = events};
  CHECK_INT(poll(&poll_fd, 1, 0), >=, 0);
  return poll_fd.revents;
}

static void check_agrees_with_poll(const char* name, situation* make) {
  const char* test = check_running;
  int fds[2] = {-1, -1};
  make(fds);
  CHECK_INT(fds[0], >=, 0);
  for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
    char text[80];
    snprintf(text, sizeof text, "%s, events %#x", name, (unsigned)masks[i]);
    check_running = text;
    int expected = poll_once(fds[0], masks[i]);
    CHECK_INT(mj_task_wait_fd(fds[0], masks[i], 0), ==, expected != 0 ? expected : -ETIMEDOUT);
    if (expected != 0) {
      CHECK_INT(mj_task_wait_fd(fds[0], masks[i], LONG_NS), ==, expected);
      CHECK_INT(mj_task_wait_fd(fds[0], masks[i], MJ_FOREVER), ==, expected);
    } else {
      uint64_t before = now_ns();
      CHECK_INT(mj_task_wait_fd(fds[0], masks[i], 50000), ==, -ETIMEDOUT);
      CHECK_UINT(now_ns() - before, >=, 50000);
    }
    check_running = test;
  }
  CHECK_INT(mj_fd_close(fds[0]), ==, 0);
  if (fds[1] >= 0) CHECK_INT(mj_fd_close(fds[1]), ==, 0);
}

static void the_bits_are_those_of_poll(void) {
  for (size_t i = 0; i < sizeof situations / sizeof situations[0]; i++) {
    check_agrees_with_poll(situations[i].name, situations[i].make);
  }
}

static void files_are_as_poll_says(void) {
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    check_agrees_with_poll(files[i].name, files[i].make);
  }
}

// ---- Timeouts ----

static void a_wait_is_never_over_early(void) {
  int fds[2];
  open_pipe(fds);
  static const uint64_t limits_ns[] = {1, 1000, 49999, 300000, 1000001, 5000000};
  for (size_t i = 0; i < sizeof limits_ns / sizeof limits_ns[0]; i++) {
    uint64_t before = now_ns();
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, limits_ns[i]), ==, -ETIMEDOUT);
    CHECK_UINT(now_ns() - before, >=, limits_ns[i]);
  }
  // Two tasks with different timeouts for one descriptor, the shorter one last.
  call longer, shorter, endless;
  begin_wait(&endless, fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&longer, fds[0], POLLIN, LONG_NS);
  begin_wait(&shorter, fds[0], POLLIN, 1000000);
  CHECK_INT(result_of(&shorter), ==, -ETIMEDOUT);
  check_waiting(&longer);
  check_waiting(&endless);
  put_byte(fds[1]);
  CHECK_INT(result_of(&longer), ==, POLLIN);
  CHECK_INT(result_of(&endless), ==, POLLIN);
  // Nothing remains of the wait that timed out: the next one is independent.
  take_byte(fds[0]);
  begin_wait(&shorter, fds[0], POLLIN, MJ_FOREVER);
  let_events_come();
  check_waiting(&shorter);
  put_byte(fds[1]);
  CHECK_INT(result_of(&shorter), ==, POLLIN);
  close_both(fds);
}

static int late_writer;

static void puts_a_byte(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  put_byte(late_writer);
  mj_task_exit();
}

static void a_zero_timeout_polls_after_one_yield(void) {
  int fds[2];
  open_pipe(fds);
  add_watcher(scheduler);
  for (uint64_t i = 1; i <= 100; i++) {
    CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 0), ==, -ETIMEDOUT);
    CHECK_UINT(watcher_turns, ==, i);
  }
  // What other tasks do during the yield is seen.
  late_writer = fds[1];
  add_task(scheduler, puts_a_byte, NULL);
  CHECK_INT(mj_task_wait_fd(fds[0], POLLIN, 0), ==, POLLIN);
  // It counts neither as a timer nor as an event.
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->heap_operations, ==, 0);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 0);
  watcher_may_end = true;
  close_both(fds);
}

// A timeout that expires at the same time as the event: either result is right, and no event is
// lost.
static size_t race_rounds, ready_first, time_first;
static int race[2];
static bool race_on;
static uint64_t race_due_ns;

static void writes_as_the_time_comes(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  uint64_t random = 88172645463325252u;
  size_t round = 0;
  while (race_on) {
    if (race_due_ns == 0) {
      mj_task_yield();
      continue;
    }
    // From long before to after the deadline; now and then through the loop.
    int64_t offset_ns = (int64_t)(next_random(&random) % 30000) - 20000;
    uint64_t at = race_due_ns + (uint64_t)offset_ns;
    race_due_ns = 0;
    round++;
    while (now_ns() < at) {
      if (round % 3 == 0) mj_task_yield();
    }
    put_byte(race[1]);
    mj_task_yield();
  }
  mj_task_exit();
}

static void waits_for_20_us(void) {
  open_pipe(race);
  race_on = true;
  race_due_ns = 0;
  add_task(scheduler, writes_as_the_time_comes, NULL);
  for (size_t i = 0; i < race_rounds; i++) {
    uint64_t due_ns = now_ns() + 20000;
    race_due_ns = due_ns;
    int result = mj_task_wait_fd(race[0], POLLIN, 20000);
    if (result == -ETIMEDOUT) {
      CHECK_UINT(now_ns(), >=, due_ns);
      time_first++;
      CHECK_INT(mj_task_wait_fd(race[0], POLLIN, MJ_FOREVER), ==, POLLIN);
    } else {
      CHECK_INT(result, ==, POLLIN);
      ready_first++;
    }
    take_byte(race[0]);
    CHECK_INT(poll_once(race[0], POLLIN), ==, 0);
  }
  race_on = false;
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  // A byte that is written after the timer fires and before the task runs ends the wait
  // successfully.
  CHECK_UINT(metrics->timer_expirations, >=, time_first);
  CHECK_UINT(metrics->timer_expirations + metrics->timer_cancellations, ==, race_rounds);
  // Each byte counted as one event.
  CHECK_UINT(metrics->io_events, ==, race_rounds);
  close_both(race);
}

static void a_timeout_and_an_event_can_coincide(void) {
  race_rounds = times(1000, 100);
  ready_first = time_first = 0;
  in_a_task(waits_for_20_us);
  CHECK_UINT(ready_first + time_first, ==, race_rounds);
}

// ---- Ends of connections ----

static void a_hangup_alone_wakes_all(void) {
  int fds[2];
  open_pipe(fds);
  call readers[3];
  begin_wait(&readers[0], fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&readers[1], fds[0], 0, MJ_FOREVER);
  begin_wait(&readers[2], fds[0], POLLPRI, LONG_NS);
  let_events_come();
  for (int i = 0; i < 3; i++) check_waiting(&readers[i]);
  // No data arrives, so this is the only event.
  close(fds[1]);
  for (int i = 0; i < 3; i++) CHECK_INT(result_of(&readers[i]), ==, POLLHUP);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 1);
  close(fds[0]);
}

static void an_error_alone_wakes_all(void) {
  int fds[2];
  open_pipe(fds);
  fill(fds[1]);
  call writers[2];
  begin_wait(&writers[0], fds[1], POLLOUT, MJ_FOREVER);
  begin_wait(&writers[1], fds[1], 0, MJ_FOREVER);
  let_events_come();
  for (int i = 0; i < 2; i++) check_waiting(&writers[i]);
  close(fds[0]);
  // Whether a full pipe also counts as writable is up to the kernel.
  CHECK_INT(result_of(&writers[0]) & ~POLLOUT, ==, POLLERR);
  CHECK_INT(result_of(&writers[1]), ==, POLLERR);
  close(fds[1]);
}

static void a_reset_wakes_all(void) {
  int fds[2];
  open_tcp(fds);
  call waits[4];
  begin_wait(&waits[0], fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&waits[1], fds[0], POLLRDHUP, MJ_FOREVER);
  begin_wait(&waits[2], fds[0], POLLPRI, LONG_NS);
  begin_wait(&waits[3], fds[0], 0, MJ_FOREVER);
  let_events_come();
  for (int i = 0; i < 4; i++) check_waiting(&waits[i]);
  close_with_a_reset(fds[1]);
  const short errors = POLLERR | POLLHUP;
  CHECK_INT(result_of(&waits[0]), ==, POLLIN | errors);
  CHECK_INT(result_of(&waits[1]), ==, POLLRDHUP | errors);
  CHECK_INT(result_of(&waits[2]), ==, errors);
  CHECK_INT(result_of(&waits[3]), ==, errors);
  char byte;
  CHECK_INT(recv(fds[0], &byte, 1, MSG_DONTWAIT), ==, -1);
  CHECK_INT(errno, ==, ECONNRESET);
  close(fds[0]);
}

static void a_half_close_is_reported_to_waiters_of_pollrdhup(void) {
  int fds[2];
  open_tcp(fds);
  call reader, watcher, urgent;
  begin_wait(&reader, fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&watcher, fds[0], POLLIN | POLLRDHUP, MJ_FOREVER);
  begin_wait(&urgent, fds[0], POLLPRI, LONG_NS);
  // A half-closed connection is still open: no hang-up, and no event for the waiter of urgent data.
  CHECK_INT(shutdown(fds[1], SHUT_WR), ==, 0);
  CHECK_INT(result_of(&reader), ==, POLLIN);
  CHECK_INT(result_of(&watcher), ==, POLLIN | POLLRDHUP);
  let_events_come();
  check_waiting(&urgent);
  CHECK_INT(mj_task_wake(urgent.task), ==, 1);
  CHECK_INT(result_of(&urgent), ==, -EINTR);
  close_both(fds);
}

static int begin_to_connect(const struct sockaddr_in* address) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  CHECK_INT(fd, >=, 0);
  errno = 0;
  int status = connect(fd, (const struct sockaddr*)address, sizeof *address);
  // On the loopback device a connection may be made, or refused, within the call.
  CHECK(status == 0 || errno == EINPROGRESS || errno == ECONNREFUSED);
  return fd;
}

static int socket_error(int fd) {
  int error = -1;
  socklen_t length = sizeof error;
  CHECK_INT(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), ==, 0);
  return error;
}

static void a_refused_connection_is_writable(void) {
  struct sockaddr_in address;
  int listener = listen_on_loopback(&address);
  int fd = begin_to_connect(&address);
  CHECK_INT(mj_task_wait_fd(fd, POLLOUT, MJ_FOREVER), ==, POLLOUT);
  CHECK_INT(socket_error(fd), ==, 0);
  put_byte(fd);
  close(fd);
  close(listener);

  // No socket listens on the port any more, and while this one is bound no other can.
  int placeholder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int yes = 1;
  CHECK_INT(setsockopt(placeholder, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), ==, 0);
  CHECK_INT(bind(placeholder, (struct sockaddr*)&address, sizeof address), ==, 0);
  for (int i = 0; i < 2; i++) {
    fd = begin_to_connect(&address);
    bool at_once = errno == ECONNREFUSED;
    int result = mj_task_wait_fd(fd, POLLOUT, MJ_FOREVER);
    CHECK_INT(result & (POLLOUT | POLLHUP), ==, POLLOUT | POLLHUP);
    CHECK_INT(socket_error(fd), ==, at_once ? 0 : ECONNREFUSED);
    close(fd);
  }
  close(placeholder);
}

static void write_when_possible(void) {
  int fds[2];
  open_pipe(fds);
  CHECK_INT(mj_task_wait_fd(fds[1], POLLOUT, MJ_FOREVER), ==, POLLOUT);
  fill(fds[1]);
  call writer;
  begin_wait(&writer, fds[1], POLLOUT, MJ_FOREVER);
  let_events_come();
  check_waiting(&writer);
  drain(fds[0]);
  CHECK_INT(result_of(&writer), ==, POLLOUT);
  close(fds[0]);
  // The next write() still gets the error.
  CHECK_INT(mj_task_wait_fd(fds[1], POLLOUT, MJ_FOREVER), ==, POLLOUT | POLLERR);
  CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  CHECK_INT(mj_task_wait_fd(fds[1], POLLOUT, MJ_FOREVER), ==, -EBADF);
  CHECK_INT(mj_task_wait_fd(-1, POLLOUT, MJ_FOREVER), ==, -EBADF);
}

static void writers_wait_for_room(void) {
  log_lines_begin();
  in_a_task(write_when_possible);
  log_lines_end();
}

// ---- Several waiters, one descriptor ----

static void two_readers_and_a_writer_share_a_socket(void) {
  int fds[2];
  open_pair(fds);
  fill(fds[0]);
  call readers[2], writer;
  begin_wait(&readers[0], fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&writer, fds[0], POLLOUT, MJ_FOREVER);
  begin_wait(&readers[1], fds[0], POLLIN, LONG_NS);
  let_events_come();
  check_waiting(&readers[0]);
  check_waiting(&readers[1]);
  check_waiting(&writer);

  // A readable descriptor need not be writable.
  put_byte(fds[1]);
  CHECK_INT(result_of(&readers[0]), ==, POLLIN);
  CHECK_INT(result_of(&readers[1]), ==, POLLIN);
  let_events_come();
  check_waiting(&writer);

  // And vice versa.
  take_byte(fds[0]);
  begin_wait(&readers[0], fds[0], POLLIN, LONG_NS);
  begin_wait(&readers[1], fds[0], POLLIN, MJ_FOREVER);
  drain(fds[1]);
  CHECK_INT(result_of(&writer), ==, POLLOUT);
  let_events_come();
  check_waiting(&readers[0]);
  check_waiting(&readers[1]);

  // Both at once; and the waiter of either event gets both.
  fill(fds[0]);
  call either;
  begin_wait(&writer, fds[0], POLLOUT, MJ_FOREVER);
  begin_wait(&either, fds[0], POLLIN | POLLOUT, MJ_FOREVER);
  let_events_come();
  check_waiting(&writer);
  check_waiting(&either);
  drain(fds[1]);
  put_byte(fds[1]);
  CHECK_INT(result_of(&writer), ==, POLLOUT);
  CHECK_INT(result_of(&readers[0]), ==, POLLIN);
  CHECK_INT(result_of(&readers[1]), ==, POLLIN);
  CHECK_INT(result_of(&either), ==, POLLIN | POLLOUT);

  // One of them wakes early, and the others keep waiting.
  take_byte(fds[0]);
  fill(fds[0]);
  begin_wait(&readers[0], fds[0], POLLIN, MJ_FOREVER);
  begin_wait(&writer, fds[0], POLLOUT, MJ_FOREVER);
  begin_wait(&readers[1], fds[0], POLLIN, MJ_FOREVER);
  CHECK_INT(mj_task_wake(writer.task), ==, 1);
  CHECK_INT(result_of(&writer), ==, -EINTR);
  drain(fds[1]);
  let_events_come();
  check_waiting(&readers[0]);
  check_waiting(&readers[1]);
  CHECK_INT(mj_task_cancel(readers[0].task), ==, 0);
  CHECK_INT(result_of(&readers[0]), ==, -ECANCELED);
  put_byte(fds[1]);
  CHECK_INT(result_of(&readers[1]), ==, POLLIN);
  close_both(fds);
}

// ---- Errors ----

static void wait_in_vain(void) {
  const char* test = check_running;
  int fds[2];
  open_pipe(fds);
  put_byte(fds[1]);
  for (int bit = 0; bit < 16; bit++) {
    unsigned known = POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLRDBAND |
                     POLLWRNORM | POLLWRBAND | POLLERR | POLLHUP;
    // Obsolete, and without effect in poll(2) on Linux: either answer is accepted.
    known |= 0x400;
    if ((known >> bit & 1) != 0) continue;
    short events = (short)(1u << bit | POLLIN);
    CHECK_INT(mj_task_wait_fd(fds[0], events, 0), ==, -EINVAL);
    CHECK_INT(mj_task_wait_fd(fds[0], events, 1000), ==, -EINVAL);
    CHECK_INT(mj_task_wait_fd(fds[0], events, MJ_FOREVER), ==, -EINVAL);
  }
  CHECK_INT(mj_task_wait_fd(fds[0], -1, MJ_FOREVER), ==, -EINVAL);
  close_both(fds);
  static const uint64_t limits_ns[] = {MJ_FOREVER, LONG_NS, 1, 0};
  const int bad[] = {fds[0], fds[1], 100000, INT_MAX, -1, -2, INT_MIN};
  add_watcher(scheduler);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    for (size_t j = 0; j < sizeof limits_ns / sizeof limits_ns[0]; j++) {
      char text[80];
      snprintf(text, sizeof text, "descriptor %d, limit %" PRIu64, bad[i], limits_ns[j]);
      check_running = text;
      uint64_t before = watcher_turns;
      CHECK_INT(mj_task_wait_fd(bad[i], POLLIN, limits_ns[j]), ==, -EBADF);
      // A loop around it lets other tasks run.
      CHECK_UINT(watcher_turns, ==, before + 1);
      check_running = test;
    }
  }
  watcher_may_end = true;
}

static void a_wait_that_is_refused_is_an_error(void) {
  log_lines_begin();
  in_a_task(wait_in_vain);
  log_lines_end();
}

// An epoll set that would contain itself, directly or not, is an error of the kernel.
static void wait_for_the_scheduler(void) {
  int own = mj_scheduler_backend_fd(scheduler);
  CHECK_INT(mj_task_wait_fd(own, POLLIN, MJ_FOREVER), <, 0);
  // Another scheduler's epoll set is an ordinary descriptor.
  mj_scheduler* other = new_scheduler();
  call stop;
  begin_wait(&stop, mj_scheduler_backend_fd(other), POLLIN, MJ_FOREVER);
  let_events_come();
  check_waiting(&stop);
  CHECK_INT(mj_scheduler_stop(other), ==, 0);
  CHECK_INT(result_of(&stop), ==, POLLIN);
  mj_scheduler_destroy(other);
}

static void a_scheduler_can_be_waited_for(void) {
  log_lines_begin();
  in_a_task(wait_for_the_scheduler);
  log_lines_end();
}

static void epoll_sets_can_be_waited_for(void) {
  int fds[2];
  open_pipe(fds);
  int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK_INT(epoll_ctl(inner, EPOLL_CTL_ADD, fds[0], &event), ==, 0);
  CHECK_INT(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event), ==, 0);
  for (int round = 0; round < 3; round++) {
    call waits[2];
    begin_wait(&waits[0], inner, POLLIN, MJ_FOREVER);
    begin_wait(&waits[1], outer, POLLIN, LONG_NS);
    let_events_come();
    check_waiting(&waits[0]);
    check_waiting(&waits[1]);
    put_byte(fds[1]);
    CHECK_INT(result_of(&waits[0]), ==, POLLIN);
    CHECK_INT(result_of(&waits[1]), ==, POLLIN);
    take_byte(fds[0]);
  }
  close(outer);
  close(inner);
  close_both(fds);
}

// ---- Particular numbers, and many of them ----

static void wait_for_0(void) {
  int fds[2];
  open_pipe(fds);
  CHECK_INT(dup2(fds[0], 0), ==, 0);
  call reader;
  begin_wait(&reader, 0, POLLIN, MJ_FOREVER);
  let_events_come();
  check_waiting(&reader);
  put_byte(fds[1]);
  CHECK_INT(result_of(&reader), ==, POLLIN);
  take_byte(0);
  CHECK_INT(mj_task_wait_fd(0, POLLIN, 1000), ==, -ETIMEDOUT);
  begin_wait(&reader, 0, POLLIN, LONG_NS);
  CHECK_INT(mj_fd_close(0), ==, 0);
  CHECK_INT(result_of(&reader), ==, -EBADF);
  close_both(fds);
}

static void descriptor_0_is_like_any_other(void) {
  int saved = fcntl(0, F_DUPFD_CLOEXEC, 3);
  in_a_task(wait_for_0);
  if (saved >= 0) {
    CHECK_INT(dup2(saved, 0), ==, 0);
    close(saved);
  }
}

static size_t many_count;

static void wait_for_many(void) {
  int* fds = allocate(many_count * sizeof *fds);
  call* waits = allocate(many_count * sizeof *waits);
  for (size_t i = 0; i < many_count; i++) {
    fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK_INT(fds[i], >=, 0);
    begin_wait(&waits[i], fds[i], POLLIN, i % 2 == 0 ? MJ_FOREVER : LONG_NS);
  }
  let_events_come();
  // 7919 is a prime that divides none of the counts, so each index comes up once, in a scattered
  // order.
  for (size_t i = 0; i < many_count; i++) {
    size_t index = i * 7919 % many_count;
    check_waiting(&waits[index]);
    uint64_t one = 1;
    CHECK_INT(write(fds[index], &one, sizeof one), ==, sizeof one);
    // One by one, then in batches of a thousand.
    if (i < 100 || i % 1000 == 999) CHECK_INT(result_of(&waits[index]), ==, POLLIN);
  }
  for (size_t i = 0; i < many_count; i++) CHECK_INT(result_of(&waits[i]), ==, POLLIN);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->io_events, ==, many_count);
  CHECK_UINT(metrics->timer_cancellations, ==, many_count / 2);
  // Once more, and now all are closed.
  for (size_t i = 0; i < many_count; i++) {
    uint64_t count;
    CHECK_INT(read(fds[i], &count, sizeof count), ==, sizeof count);
    begin_wait(&waits[i], fds[i], POLLIN, MJ_FOREVER);
  }
  for (size_t i = 0; i < many_count; i++) CHECK_INT(mj_fd_close(fds[i]), ==, 0);
  for (size_t i = 0; i < many_count; i++) CHECK_INT(result_of(&waits[i]), ==, -EBADF);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, many_count);
  free(waits);
  free(fds);
}

static void five_thousand_descriptors_are_waited_for(void) {
  many_count = times(5000, 400);
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  const struct rlimit before = limit;
  // The descriptors that are open already, the scheduler's, and some to spare.
  rlim_t needed = (rlim_t)many_count + 100;
  if (limit.rlim_cur < needed) limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  if (limit.rlim_cur < needed) {
    many_count = limit.rlim_cur - 100;
    printf("only %zu descriptors: the hard limit is %llu\n", many_count,
           (unsigned long long)limit.rlim_max);
  }
  in_a_task(wait_for_many);
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
}

// ---- Waits that remain ----

static void stop_while_others_wait(void) {
  static int fds[2];
  static call waits[3];
  open_pipe(fds);
  for (int i = 0; i < 3; i++) begin_wait(&waits[i], fds[0], POLLIN, i == 0 ? MJ_FOREVER : LONG_NS);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  close_both(fds);
}

static void waiting_tasks_are_destroyed_with_their_scheduler(void) {
  test_body = stop_while_others_wait;
  scheduler = new_scheduler();
  add_task(scheduler, runs_the_test, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 3);
  mj_scheduler_destroy(scheduler);
}

// epoll does not support this file.
static void a_wait_for_what_never_happens_can_be_ended(void) {
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK_INT(null, >=, 0);
  call one;
  begin_wait(&one, null, POLLPRI, MJ_FOREVER);
  let_events_come();
  check_waiting(&one);
  CHECK_INT(mj_task_cancel(one.task), ==, 0);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  close(null);
}

// "Even if not asked for" means that POLLERR and POLLHUP may be asked for, as in poll(2).
static void errors_may_be_asked_for(void) {
  int fds[2];
  open_pipe(fds);
  const short errors = POLLERR | POLLHUP;
  CHECK_INT(mj_task_wait_fd(fds[0], errors, 1000), ==, -ETIMEDOUT);
  close(fds[1]);
  CHECK_INT(mj_task_wait_fd(fds[0], POLLIN | errors, MJ_FOREVER), ==, POLLHUP);
  close(fds[0]);
}

int main(void) {
  RUN_IN_TASK(the_bits_are_those_of_poll);
  RUN_IN_TASK(a_wait_is_never_over_early);
  RUN_IN_TASK(a_zero_timeout_polls_after_one_yield);
  RUN(a_timeout_and_an_event_can_coincide);
  RUN_IN_TASK(a_hangup_alone_wakes_all);
  RUN_IN_TASK(an_error_alone_wakes_all);
  RUN_IN_TASK(a_reset_wakes_all);
  RUN_IN_TASK(a_half_close_is_reported_to_waiters_of_pollrdhup);
  RUN_IN_TASK(a_refused_connection_is_writable);
  RUN(writers_wait_for_room);
  RUN_IN_TASK(two_readers_and_a_writer_share_a_socket);
  RUN(a_scheduler_can_be_waited_for);
  RUN_IN_TASK(epoll_sets_can_be_waited_for);
  RUN(descriptor_0_is_like_any_other);
  RUN(five_thousand_descriptors_are_waited_for);
  RUN(waiting_tasks_are_destroyed_with_their_scheduler);
  RUN_IN_TASK(files_are_as_poll_says);
  RUN(a_wait_that_is_refused_is_an_error);
  RUN_IN_TASK(a_wait_for_what_never_happens_can_be_ended);
  RUN_IN_TASK(errors_may_be_asked_for);
  return 0;
}
