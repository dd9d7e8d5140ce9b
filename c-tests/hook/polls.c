// poll(2), select(2), epoll(7) and their kin.
#define _GNU_SOURCE
#include "hooked.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static int ends[2];
static unsigned ended;

static void close_ends(void) {
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
}

static void write_later(void* argument) {
  let_others_wait();
  CHECK_INT(write(*(int*)argument, "x", 1), ==, 1);
  add_one(&ended);
}

static void make_sockets(void) { CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0); }

static uint64_t ms_since(uint64_t began) { return (now_ns() - began) / 1000000; }

static void none_is_a_sleep(void) {
  uint64_t began = now_ns();
  CHECK_INT(poll(NULL, 0, 0), ==, 0);
  CHECK_INT(poll(NULL, 0, 1), ==, 0);
  CHECK_INT(poll(NULL, 0, 20), ==, 0);
  struct timespec time = {0, 10000000};
  CHECK_INT(ppoll(NULL, 0, &time, NULL), ==, 0);
  CHECK_INT(time.tv_nsec, ==, 10000000);
  struct timeval interval = {0, 10000};
  CHECK_INT(select(0, NULL, NULL, NULL, &interval), ==, 0);
  CHECK_INT(interval.tv_sec + interval.tv_usec, ==, 0);  // What is left.
  CHECK_INT(pselect(0, NULL, NULL, NULL, &time, NULL), ==, 0);
  CHECK_UINT(ms_since(began), >=, 50);
  struct pollfd none = {-1, POLLIN, 99};
  CHECK_INT(poll(&none, 1, 5), ==, 0);
  CHECK_INT(none.revents, ==, 0);
}

static void several_are_one_poll(void) {
  make_sockets();
  // Negative ones are left out, and one may be there more than once.
  struct pollfd fds[5] = {{-1, POLLIN, 99},
                          {ends[0], POLLIN, 99},
                          {ends[0], POLLIN | POLLOUT, 99},
                          {-5, POLLOUT, 99},
                          {ends[0], 0, 99}};
  CHECK_INT(poll(fds, 5, -1), ==, 1);
  CHECK_INT(fds[2].revents, ==, POLLOUT);
  fds[2].events = POLLIN | POLLRDHUP;
  ended = 0;
  start(write_later, &ends[1]);
  CHECK_INT(poll(fds, 5, -1), ==, 2);
  CHECK_INT(fds[0].revents, ==, 0);
  CHECK_INT(fds[1].revents, ==, POLLIN);
  CHECK_INT(fds[2].revents, ==, POLLIN);
  CHECK_INT(fds[3].revents, ==, 0);
  CHECK_INT(fds[4].revents, ==, 0);
  wait_until(&ended, 1);
  // The end of the other side, also for who asks for nothing.
  CHECK_INT(shutdown(ends[1], SHUT_RDWR), ==, 0);
  CHECK_INT(poll(fds, 5, -1), ==, 3);
  CHECK_INT(fds[2].revents, ==, POLLIN | POLLRDHUP | POLLHUP);
  CHECK_INT(fds[4].revents, ==, POLLHUP);
  close_ends();
}

static void time_is_over(void) {
  make_sockets();
  struct pollfd fds[2] = {{ends[0], POLLIN, 99}, {ends[1], POLLIN, 99}};
  CHECK_INT(poll(fds, 2, 0), ==, 0);
  for (nfds_t count = 1; count <= 2; count++) {
    fds[0].revents = fds[1].revents = 99;
    uint64_t began = now_ns();
    CHECK_INT(poll(fds, count, 1), ==, 0);
    CHECK_INT(poll(fds, count, 30), ==, 0);
    CHECK_UINT(ms_since(began), >=, 31);
    CHECK_INT(fds[0].revents, ==, 0);
    struct timespec time = {0, 20000000};
    began = now_ns();
    CHECK_INT(ppoll(fds, count, &time, NULL), ==, 0);
    CHECK_UINT(ms_since(began), >=, 20);
  }
  close_ends();
}

static void what_is_no_descriptor_is_said(void) {
  make_sockets();
  int closed = dup(ends[0]);
  close(closed);
  struct pollfd fds[2] = {{closed, POLLIN, 0}, {ends[0], POLLIN, 0}};
  CHECK_INT(poll(fds, 1, -1), ==, 1);
  CHECK_INT(fds[0].revents, ==, POLLNVAL);
  CHECK_INT(poll(fds, 2, -1), ==, 1);
  CHECK_INT(fds[0].revents, ==, POLLNVAL);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(closed, &set);
  CHECK_FAILS(select(closed + 1, &set, NULL, NULL, NULL), EBADF);
  volatile int negative = -1;
  struct timeval wrong = {0, -1};
  CHECK_FAILS(select(negative, NULL, NULL, NULL, NULL), EINVAL);
  CHECK_FAILS(select(0, NULL, NULL, NULL, &wrong), EINVAL);
  struct timespec wrong_time = {0, 1000000000};
  CHECK_FAILS(ppoll(fds, 1, &wrong_time, NULL), EINVAL);
  CHECK_FAILS(pselect(0, NULL, NULL, NULL, &wrong_time, NULL), EINVAL);
  close_ends();
}

static void files_are_always_ready(void) {
  make_sockets();
  int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0);
  struct pollfd fds[2] = {{file, POLLIN, 0}, {ends[0], POLLIN, 0}};
  CHECK_INT(poll(fds, 1, -1), ==, 1);
  CHECK_INT(fds[0].revents, ==, POLLIN);
  CHECK_INT(poll(fds, 2, -1), ==, 1);
  CHECK_INT(fds[0].revents, ==, POLLIN);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(file, &set);
  FD_SET(ends[0], &set);
  CHECK_INT(select(ends[0] + 9, &set, NULL, NULL, NULL), ==, 1);
  CHECK(FD_ISSET(file, &set) && !FD_ISSET(ends[0], &set));
  close(file);
  close_ends();
}

// ---- many

static void allow_many(void) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  limit.rlim_cur = limit.rlim_max < 5000 ? limit.rlim_max : 5000;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
}

static void a_thousand_are_waited_for(void) {
  enum { PAIRS = 500 };
  static struct pollfd fds[2 * PAIRS];
  allow_many();
  for (int i = 0; i < PAIRS; i++) {
    make_sockets();
    for (int j = 0; j < 2; j++) fds[2 * i + j] = (struct pollfd){ends[j], POLLIN, 0};
  }
  for (int i = 0; i < 3; i++) {
    int last = fds[2 * PAIRS - 1 - 400 * i].fd;
    int writer = fds[2 * PAIRS - 2 - 400 * i].fd;
    ended = 0;
    start(write_later, &writer);
    CHECK_INT(poll(fds, 2 * PAIRS, -1), ==, 1);
    CHECK_INT(fds[2 * PAIRS - 1 - 400 * i].revents, ==, POLLIN);
    char byte;
    CHECK_INT(read(last, &byte, 1), ==, 1);
    wait_until(&ended, 1);
  }
  CHECK_INT(poll(fds, 2 * PAIRS, 10), ==, 0);
  for (int i = 0; i < 2 * PAIRS; i++) close(fds[i].fd);
}

// The kernel limits how many wake-ups may be nested: by epoll a file cannot be waited for more than some 500
// times at once.
static void one_file_is_waited_for_by_many_numbers(void) {
  enum { COPIES = 600 };
  static struct pollfd fds[COPIES];
  allow_many();
  make_sockets();
  for (int i = 0; i < COPIES; i++) {
    fds[i] = (struct pollfd){dup(ends[0]), POLLIN, 0};
    CHECK(fds[i].fd >= 0);
  }
  ended = 0;
  CHECK_INT(poll(fds, COPIES, 20), ==, 0);
  start(write_later, &ends[1]);
  CHECK_INT(poll(fds, COPIES, -1), ==, COPIES);
  wait_until(&ended, 1);
  for (int i = 0; i < COPIES; i++) close(fds[i].fd);
  close_ends();
}

// ---- select(2)

static void sets_say_what_is_ready(void) {
  make_sockets();
  fd_set readable, writable, urgent;
  for (int i = 0; i < 2; i++) {
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_ZERO(&urgent);
    FD_SET(ends[0], &readable);
    FD_SET(ends[0], &urgent);
    if (i == 1) FD_SET(ends[0], &writable);
    ended = 0;
    start(write_later, &ends[1]);
    struct timeval time = {10, 0};
    int count = select(ends[1] + 1, &readable, &writable, &urgent, i == 0 ? &time : NULL);
    CHECK_INT(count, ==, 1);
    CHECK_INT(FD_ISSET(ends[0], &readable) != 0, ==, i == 0);
    CHECK_INT(FD_ISSET(ends[0], &writable) != 0, ==, i == 1);
    CHECK(!FD_ISSET(ends[0], &urgent));
    if (i == 0) CHECK(time.tv_sec == 9 && time.tv_usec > 0);
    wait_until(&ended, 1);
    char byte;
    CHECK_INT(read(ends[0], &byte, 1), ==, 1);
  }
  // One descriptor in two sets counts twice.
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  FD_ZERO(&readable);
  FD_SET(ends[0], &readable);
  writable = readable;
  CHECK_INT(pselect(ends[0] + 1, &readable, &writable, NULL, NULL, NULL), ==, 2);
  close_ends();
}

static void sends_urgent(void* argument) {
  let_others_wait();
  CHECK_INT(send(*(int*)argument, "!", 1, MSG_OOB), ==, 1);
  add_one(&ended);
}

static void urgent_data_is_an_exception(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  ends[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(connect(ends[0], (struct sockaddr*)&address, length), ==, 0);
  ends[1] = accept(listener, NULL, NULL);
  fd_set urgent, readable;
  FD_ZERO(&urgent);
  FD_SET(ends[0], &urgent);
  FD_ZERO(&readable);
  FD_SET(listener, &readable);
  ended = 0;
  start(sends_urgent, &ends[1]);
  CHECK_INT(select(ends[1] + 1, &readable, NULL, &urgent, NULL), ==, 1);
  CHECK(FD_ISSET(ends[0], &urgent) && !FD_ISSET(listener, &readable));
  wait_until(&ended, 1);
  char byte;
  CHECK_INT(recv(ends[0], &byte, 1, MSG_OOB), ==, 1);
  close(listener);
  close_ends();
}

// Sets may be longer than an fd_set is.
static void sets_may_be_larger(void) {
  enum { WORDS = 64 };
  unsigned long set[WORDS] = {0}, bits = 8 * sizeof *set;
  allow_many();
  make_sockets();
  int large = fcntl(ends[0], F_DUPFD_CLOEXEC, 2000);
  if (large < 0) {
    close_ends();
    return;  // No number is that large here.
  }
  set[(unsigned)large / bits] |= 1UL << ((unsigned)large % bits);
  ended = 0;
  start(write_later, &ends[1]);
  CHECK_INT(select(large + 1, (fd_set*)set, NULL, NULL, NULL), ==, 1);
  CHECK_UINT(set[(unsigned)large / bits], ==, 1UL << ((unsigned)large % bits));
  wait_until(&ended, 1);
  close(large);
  close_ends();
}

// ---- masks

static unsigned signals;
static void count_signal(int number) {
  (void)number;
  add_one(&signals);
}

// A mask that lets a signal in is the thread's, so such a call goes to the kernel; one that changes nothing
// is as none.
static void masks_are_the_threads(void) {
  struct sigaction action = {.sa_handler = count_signal}, before;
  CHECK_INT(sigaction(SIGUSR1, &action, &before), ==, 0);
  sigset_t blocked, open_, same;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &blocked, &open_), ==, 0);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, NULL, &same), ==, 0);
  make_sockets();
  struct pollfd one = {ends[0], POLLIN, 0};
  struct timespec time = {0, 5000000};
  uint64_t pinned_before = pinned();
  CHECK_INT(ppoll(&one, 1, &time, &same), ==, 0);
  CHECK_INT(pselect(0, NULL, NULL, NULL, &time, &same), ==, 0);
  CHECK_UINT(pinned(), ==, pinned_before);
  signals = 0;
  CHECK_INT(pthread_kill(pthread_self(), SIGUSR1), ==, 0);
  CHECK_UINT(signals, ==, 0);
  CHECK_FAILS(ppoll(&one, 1, NULL, &open_), EINTR);
  CHECK_UINT(signals, ==, 1);
  CHECK_INT(pthread_kill(pthread_self(), SIGUSR1), ==, 0);
  CHECK_FAILS(pselect(0, NULL, NULL, NULL, NULL, &open_), EINTR);
  CHECK_UINT(signals, ==, 2);
  CHECK_INT(pthread_kill(pthread_self(), SIGUSR1), ==, 0);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event;
  CHECK_FAILS(epoll_pwait(epoll, &event, 1, -1, &open_), EINTR);
  CHECK_UINT(signals, ==, 3);
  if (!in_threads()) CHECK_UINT(pinned(), ==, pinned_before + 3);
  close(epoll);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &open_, NULL), ==, 0);
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
  close_ends();
}

// ---- epoll(7)

static int epoll_of(int fd, uint32_t events) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  CHECK(epoll >= 0);
  struct epoll_event event = {events, {.u64 = 77}};
  CHECK_INT(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), ==, 0);
  return epoll;
}

static void sets_of_a_program_are_waited_for(void) {
  for (int is_edge = 0; is_edge < 2; is_edge++) {
    make_sockets();
    int epoll = epoll_of(ends[0], EPOLLIN | (is_edge ? EPOLLET : 0));
    struct epoll_event events[4];
    uint64_t began = now_ns();
    CHECK_INT(epoll_wait(epoll, events, 4, 0), ==, 0);
    CHECK_INT(epoll_wait(epoll, events, 4, 20), ==, 0);
    CHECK_UINT(ms_since(began), >=, 20);
    ended = 0;
    start(write_later, &ends[1]);
    CHECK_INT(epoll_wait(epoll, events, 4, -1), ==, 1);
    CHECK_UINT(events[0].data.u64, ==, 77);
    CHECK_UINT(events[0].events, ==, EPOLLIN);
    wait_until(&ended, 1);
    // What has been there is told again, or not.
    CHECK_INT(epoll_wait(epoll, events, 4, 10), ==, !is_edge);
    start(write_later, &ends[1]);
    CHECK_INT(epoll_pwait(epoll, events, 4, -1, NULL), ==, 1);
    wait_until(&ended, 2);
    start(write_later, &ends[1]);
    struct timespec time = {10, 0};
    // Not in each kernel, and not under each tool.
    int count = epoll_pwait2(epoll, events, 4, &time, NULL);
    CHECK(count == 1 || errno == ENOSYS);
    wait_until(&ended, 3);
    volatile int none = 0;
    CHECK_FAILS(epoll_wait(epoll, events, none, 10), EINVAL);
    CHECK_FAILS(epoll_wait(ends[0], events, 4, 10), EINVAL);
    CHECK_FAILS(epoll_wait(9999, events, 4, 10), EBADF);
    close(epoll);
    close_ends();
  }
}

static unsigned turns;
static int shared_epoll;

static void takes_turns(void* argument) {
  (void)argument;
  struct epoll_event event;
  for (int i = 0; i < 10; i++) {
    CHECK_INT(epoll_wait(shared_epoll, &event, 1, -1), ==, 1);
    char byte;
    if (recv(ends[0], &byte, 1, MSG_DONTWAIT) == 1) add_one(&turns);
  }
  add_one(&ended);
}

// An event loop of its own, in two tasks: each event comes to one that waits.
static void two_wait_for_one_set(void) {
  make_sockets();
  shared_epoll = epoll_of(ends[0], EPOLLIN);
  ended = turns = 0;
  start(takes_turns, NULL);
  start(takes_turns, NULL);
  while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < 2) {
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    usleep(1000);
  }
  CHECK_UINT(turns, >=, 10);
  close(shared_epoll);
  close_ends();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(none_is_a_sleep);
  RUN_HOOKED(several_are_one_poll);
  RUN_HOOKED(time_is_over);
  RUN_HOOKED(what_is_no_descriptor_is_said);
  RUN_HOOKED(files_are_always_ready);
  RUN_HOOKED(a_thousand_are_waited_for);
  RUN_HOOKED(one_file_is_waited_for_by_many_numbers);
  RUN_HOOKED(sets_say_what_is_ready);
  RUN_HOOKED(urgent_data_is_an_exception);
  RUN_HOOKED(sets_may_be_larger);
  if (!under_tsan()) RUN_HOOKED(masks_are_the_threads);
  RUN_HOOKED(sets_of_a_program_are_waited_for);
  RUN_HOOKED(two_wait_for_one_set);
  return 0;
}
