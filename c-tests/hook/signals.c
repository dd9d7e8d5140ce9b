// Signals: a handler's calls block the thread, and are counted; what interrupts a call, and SIGPIPE, are as
// without the library.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int ends[2], pipe_ends[2];
static unsigned ended, handled;

static void close_both(int fds[2]) {
  CHECK_INT(close(fds[0]), ==, 0);
  CHECK_INT(close(fds[1]), ==, 0);
}

static void fill(int fd) {
  static char data[4096];
  CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0);
  while (write(fd, data, sizeof data) > 0) continue;
  CHECK_INT(fcntl(fd, F_SETFL, 0), ==, 0);
}

// ---- handlers that block

// A thread, in each way to run this: it lets the handler go on.
static void* helps_later(void* fill_) {
  static char data[1 << 17];
  usleep(30000);
  if (fill_ != NULL) CHECK_INT(read(pipe_ends[0], data, sizeof data), >, 0);
  else CHECK_INT(write(pipe_ends[1], "x", 1), ==, 1);
  return NULL;
}

static void reads_in_handler(int number) {
  (void)number;
  char byte;
  CHECK_INT(read(pipe_ends[0], &byte, 1), ==, 1);
  handled++;
}

static void writes_in_handler(int number) {
  (void)number;
  CHECK_INT(write(pipe_ends[1], "y", 1), ==, 1);
  handled++;
}

static void polls_in_handler(int number) {
  (void)number;
  struct pollfd one = {pipe_ends[0], POLLIN, 0};
  CHECK_INT(poll(&one, 1, -1), ==, 1);
  handled++;
}

static void sleeps_in_handler(int number) {
  (void)number;
  CHECK_INT(usleep(5000), ==, 0);
  handled++;
}

static void handle(void (*handler)(int), int flags, struct sigaction* before) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  CHECK_INT(sigaction(SIGUSR1, &action, before), ==, 0);
}

static void is_pinned(void (*handler)(int), int flags) {
  struct sigaction before;
  CHECK_INT(pipe(pipe_ends), ==, 0);
  if (handler == writes_in_handler) fill(pipe_ends[1]);
  pthread_t thread;
  void* fills = handler == writes_in_handler ? &thread : NULL;
  CHECK_INT(pthread_create(&thread, NULL, helps_later, fills), ==, 0);
  handle(handler, flags, &before);
  handled = 0;
  mj_hook_counts old = hook_counts();
  CHECK_INT(raise(SIGUSR1), ==, 0);
  CHECK_UINT(handled, ==, 1);
  mj_hook_counts new = hook_counts();
  CHECK_UINT(new.suspended, ==, old.suspended);
  if (!in_threads()) CHECK_UINT(new.pinned, ==, old.pinned + 1);
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
  // The task's own calls suspend it, as before.
  old = hook_counts();
  CHECK_INT(usleep(100), ==, 0);
  if (!in_threads()) CHECK_UINT(hook_counts().suspended, ==, old.suspended + 1);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  close_both(pipe_ends);
}

static void all_are_pinned(int flags) {
  is_pinned(reads_in_handler, flags);
  is_pinned(writes_in_handler, flags);
  is_pinned(polls_in_handler, flags);
  is_pinned(sleeps_in_handler, flags);
}

static void handlers_on_the_stack_of_a_task_block(void) { all_are_pinned(0); }

static void handlers_on_a_stack_of_their_own_block(void) {
  stack_t own = {.ss_sp = allocate(1 << 16), .ss_size = 1 << 16}, before;
  CHECK_INT(sigaltstack(&own, &before), ==, 0);
  all_are_pinned(SA_ONSTACK);
  CHECK_INT(sigaltstack(&before, NULL), ==, 0);
  free(own.ss_sp);
}

static sigjmp_buf back;
static void jumps_out(int number) {
  (void)number;
  char byte;
  CHECK_INT(read(pipe_ends[0], &byte, 1), ==, 1);
  siglongjmp(back, 1);
}

// Uses the stack where the handler's frame was, and writes to none of it.
__attribute__((noinline)) static void waits_above_what_is_left(void) {
  volatile char unset[8192];
  __asm__ volatile("" : : "r"(unset) : "memory");
  mj_hook_counts old = hook_counts();
  CHECK_INT(usleep(100), ==, 0);
  mj_hook_counts new = hook_counts();
  if (!in_threads()) CHECK_UINT(new.suspended, ==, old.suspended + 1);
  CHECK_UINT(new.pinned, ==, old.pinned);
}

// A handler that was left by a jump is none any more.
static void a_jump_leaves_a_handler(void) {
  struct sigaction before;
  CHECK_INT(pipe(pipe_ends), ==, 0);
  handle(jumps_out, 0, &before);
  for (volatile int i = 0; i < 3; i++) {
    CHECK_INT(write(pipe_ends[1], "x", 1), ==, 1);
    if (sigsetjmp(back, 1) == 0) raise(SIGUSR1);
    waits_above_what_is_left();
  }
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
  close_both(pipe_ends);
}

// ---- interrupted

static void does_nothing(int number) { (void)number; }

static struct {
  pthread_t thread;
  mj_task_id id;
  unsigned waits;
} sleeper;

// Interrupts the call in which the other one waits: a task by waking it, a thread by a signal.
static void interrupt(void) {
  let_others_wait();
  if (in_threads()) CHECK_INT(pthread_kill(sleeper.thread, SIGUSR1), ==, 0);
  else CHECK_INT(mj_scheduler_wake(hooked_scheduler, sleeper.id), ==, 1);
}

static void next_call(void) { add_one(&sleeper.waits); }

static void is_interrupted(void* argument) {
  (void)argument;
  char data[8];
  struct iovec one = {data, sizeof data};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  struct pollfd fds[2] = {{ends[0], POLLIN, 0}, {ends[0], POLLIN, 0}};
  sleeper.thread = pthread_self();
  next_call();
  CHECK_FAILS(read(ends[0], data, sizeof data), EINTR);
  next_call();
  CHECK_FAILS(recv(ends[0], data, sizeof data, 0), EINTR);
  next_call();
  CHECK_FAILS(recvmsg(ends[0], &message, 0), EINTR);
  next_call();
  CHECK_FAILS(poll(fds, 1, -1), EINTR);
  next_call();
  CHECK_FAILS(poll(fds, 2, 100000), EINTR);
  next_call();
  CHECK_INT(sleep(100), >=, 99);
  next_call();
  CHECK_FAILS(usleep(900000000), EINTR);
  next_call();
  struct timespec time = {100, 0}, rest = {0, 0};
  CHECK_FAILS(nanosleep(&time, &rest), EINTR);
  CHECK(rest.tv_sec == 99);
  next_call();
  CHECK_INT(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &rest), ==, EINTR);
  CHECK(rest.tv_sec == 99);
  next_call();
  // What has been transferred counts more.
  static char large[1 << 20];
  ssize_t sent = write(ends[0], large, sizeof large);
  CHECK(sent > 0 && sent < (ssize_t)sizeof large);
  next_call();
  CHECK_INT(recv(ends[0], data, sizeof data, MSG_WAITALL), ==, 3);
  add_one(&ended);
}

static void who_waits_is_interrupted(void) {
  struct sigaction before;
  handle(does_nothing, 0, &before);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = sleeper.waits = 0;
  sleeper.id = start(is_interrupted, NULL);
  for (unsigned i = 1; i <= 11; i++) {
    wait_until(&sleeper.waits, i);
    if (i == 11) CHECK_INT(write(ends[1], "abc", 3), ==, 3);
    interrupt();
  }
  wait_until(&ended, 1);
  close_both(ends);
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
}

static void reads_one(void* argument) {
  (void)argument;
  char byte;
  sleeper.thread = pthread_self();
  next_call();
  CHECK_INT(read(ends[0], &byte, 1), ==, 1);
  add_one(&ended);
}

// With SA_RESTART a signal to the thread goes unnoticed.
static void a_restarted_call_goes_on(void) {
  struct sigaction before;
  handle(does_nothing, SA_RESTART, &before);
  CHECK_INT(pipe(ends), ==, 0);
  ended = sleeper.waits = 0;
  start(reads_one, NULL);
  wait_until(&sleeper.waits, 1);
  for (int i = 0; i < 3; i++) {
    let_others_wait();
    CHECK_INT(pthread_kill(sleeper.thread, SIGUSR1), ==, 0);
  }
  let_others_wait();
  CHECK_UINT(ended, ==, 0);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  wait_until(&ended, 1);
  close_both(ends);
  CHECK_INT(sigaction(SIGUSR1, &before, NULL), ==, 0);
}

// ---- SIGPIPE

static unsigned pipes_broken;
static void counts_broken(int number) {
  (void)number;
  add_one(&pipes_broken);
}

static void check_broken(unsigned expected) {
  CHECK_UINT(__atomic_exchange_n(&pipes_broken, 0, __ATOMIC_ACQ_REL), ==, expected);
}

static void raises_as_ever(int fd, bool is_socket) {
  char data[8] = "";
  struct iovec one[2] = {{data, 4}, {data, 4}};
  struct msghdr message = {.msg_iov = one, .msg_iovlen = 2};
  CHECK_FAILS(write(fd, data, 1), EPIPE);
  check_broken(1);
  CHECK_FAILS(writev(fd, one, 2), EPIPE);
  check_broken(1);
  if (!is_socket) return;
  CHECK_FAILS(send(fd, data, 1, 0), EPIPE);
  check_broken(1);
  CHECK_FAILS(send(fd, data, 1, MSG_DONTWAIT), EPIPE);
  check_broken(1);
  CHECK_FAILS(sendmsg(fd, &message, 0), EPIPE);
  check_broken(1);
  CHECK_FAILS(send(fd, data, 1, MSG_NOSIGNAL), EPIPE);
  CHECK_FAILS(sendto(fd, data, 1, MSG_NOSIGNAL, NULL, 0), EPIPE);
  CHECK_FAILS(sendmsg(fd, &message, MSG_NOSIGNAL), EPIPE);
  check_broken(0);
}

static void closes_later(void* argument) {
  let_others_wait();
  CHECK_INT(close(*(int*)argument), ==, 0);
  add_one(&ended);
}

static void broken_pipes_raise_it(void) {
  static char large[1 << 20];
  struct iovec one = {large, sizeof large};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  struct sigaction action = {.sa_handler = counts_broken, .sa_flags = SA_RESTART}, before;
  CHECK_INT(sigaction(SIGPIPE, &action, &before), ==, 0);
  ended = 0;
  // Already, and in the middle of a call: then a pipe raises it, though the call tells what it has written,
  // and a socket does not.
  for (int i = 0; i < 5; i++) {
    bool is_socket = i != 0;
    if (is_socket) CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    else CHECK_INT(pipe(ends), ==, 0);
    start(closes_later, &ends[0]);
    ssize_t sent = i < 2    ? write(ends[1], large, sizeof large)
                   : i == 2 ? writev(ends[1], &one, 1)
                   : i == 3 ? send(ends[1], large, sizeof large, 0)
                            : sendmsg(ends[1], &message, 0);
    CHECK(sent > 0 && sent < (ssize_t)sizeof large);
    check_broken(!is_socket);
    wait_until(&ended, (unsigned)i + 1);
    raises_as_ever(ends[1], is_socket);
    close(ends[1]);
  }
  // Who ignores it, or blocks it, is not disturbed.
  signal(SIGPIPE, SIG_IGN);
  CHECK_INT(pipe(ends), ==, 0);
  close(ends[0]);
  CHECK_FAILS(write(ends[1], large, 1), EPIPE);
  signal(SIGPIPE, counts_broken);
  sigset_t only, old, pending;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &only, &old), ==, 0);
  CHECK_FAILS(write(ends[1], large, 1), EPIPE);
  check_broken(0);
  // libpq takes it away so, after it has written.
  CHECK_INT(sigpending(&pending), ==, 0);
  CHECK(sigismember(&pending, SIGPIPE));
  int number;
  CHECK_INT(sigwait(&only, &number), ==, 0);
  CHECK_INT(number, ==, SIGPIPE);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &old, NULL), ==, 0);
  check_broken(0);
  close(ends[1]);
  CHECK_INT(sigaction(SIGPIPE, &before, NULL), ==, 0);
}

static void set_blocked(bool is_blocked) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  CHECK_INT(pthread_sigmask(is_blocked ? SIG_BLOCK : SIG_UNBLOCK, &only, NULL), ==, 0);
}

static bool is_pending(void) {
  sigset_t pending;
  CHECK_INT(sigpending(&pending), ==, 0);
  return sigismember(&pending, SIGPIPE);
}

static void finds_it_broken(void) { CHECK_FAILS(write(ends[1], "x", 1), EPIPE); }

static void keeps_it_out(void* takes_it) {
  set_blocked(true);
  finds_it_broken();
  for (int i = 0; i < 5; i++) {
    CHECK(is_pending());
    usleep(1000);
  }
  CHECK(is_pending());
  if (takes_it != NULL) {
    sigset_t only;
    int number;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    CHECK_INT(sigwait(&only, &number), ==, 0);
    CHECK(!is_pending());
    set_blocked(false);
  }  // Else it goes with who has kept it out.
  add_one(&ended);
}

static void ends_with_it(void* unused) {
  (void)unused;
  set_blocked(true);
  finds_it_broken();
  add_one(&ended);
}

static void sees_none(void* until) {
  while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < *(unsigned*)until) {
    CHECK(!is_pending());
    usleep(300);
  }
}

static void lets_it_in(void* unused) {
  (void)unused;
  finds_it_broken();
  check_broken(1);
  set_blocked(true);
  finds_it_broken();
  check_broken(0);
  set_blocked(false);
  check_broken(1);
  add_one(&ended);
}

// As a thread does that blocks it for all of its life, or for a while in which it also waits.
static void who_keeps_it_out_has_it_alone(void) {
  enum { SOME = 10 };
  static unsigned all;
  all = 2 * SOME;
  struct sigaction action = {.sa_handler = counts_broken, .sa_flags = SA_RESTART}, before;
  CHECK_INT(sigaction(SIGPIPE, &action, &before), ==, 0);
  CHECK_INT(pipe(ends), ==, 0);
  close(ends[0]);
  ended = 0;
  for (int i = 0; i < SOME; i++) {
    start(keeps_it_out, NULL);
    start(keeps_it_out, &all);
    start(sees_none, &all);
  }
  wait_until(&ended, all);
  check_broken(0);
  CHECK(!is_pending());
  // The one comes behind who has ended so, with no wait between.
  for (int i = 0; i < SOME; i++) {
    start(ends_with_it, NULL);
    start(lets_it_in, NULL);
    wait_until(&ended, all += 2);
  }
  close(ends[1]);
  CHECK_INT(sigaction(SIGPIPE, &before, NULL), ==, 0);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(handlers_on_the_stack_of_a_task_block);
  RUN_HOOKED(handlers_on_a_stack_of_their_own_block);
  RUN_HOOKED(a_jump_leaves_a_handler);
  RUN_HOOKED(who_waits_is_interrupted);
  RUN_HOOKED(a_restarted_call_goes_on);
  RUN_HOOKED(broken_pipes_raise_it);
  RUN_HOOKED(who_keeps_it_out_has_it_alone);
  return 0;
}
