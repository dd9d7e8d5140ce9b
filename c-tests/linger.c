// Closing a socket that lingers: close(2) blocks the thread, and with it all tasks, until the peer has
// what was sent. A task can wait for that before, and then closes at once.
#define _GNU_SOURCE
#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

// The ends of a connection over the loopback interface.
static int sender, receiver;
static size_t sent, received, ticks, ticks_at_close;
static bool is_closed;

static void connect_both(void) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  CHECK_INT(bind(listener, (struct sockaddr*)&address, sizeof address), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(connect(sender, (struct sockaddr*)&address, sizeof address), ==, 0);
  receiver = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  CHECK_INT(receiver, >=, 0);
  CHECK_INT(close(listener), ==, 0);
  CHECK_INT(fcntl(sender, F_SETFL, O_NONBLOCK), ==, 0);
  struct linger linger = {.l_onoff = 1, .l_linger = 20};
  CHECK_INT(setsockopt(sender, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), ==, 0);
}

// As much as goes in, and the close, as docs/c-api.md shows it.
static void sends_and_closes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  static const char data[65536];
  ssize_t count;
  while ((count = write(sender, data, sizeof data)) > 0) sent += (size_t)count;
  CHECK_INT(errno, ==, EAGAIN);

  CHECK_INT(shutdown(sender, SHUT_WR), ==, 0);
  char byte;
  while ((count = read(sender, &byte, 1)) != 0) {
    if (count < 0 && errno != EAGAIN) break;
    if (mj_task_wait_fd(sender, POLLIN, 20 * (uint64_t)1000000000) < 0) break;
  }
  CHECK_INT(count, ==, 0);  // The peer has read all, and closed.
  CHECK_INT(mj_fd_close(sender), ==, 0);
  is_closed = true;
  ticks_at_close = ticks;
  mj_task_exit();
}

static void receives_slowly(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  static char data[1 << 20];
  mj_task_sleep_ms(20);
  for (;;) {
    ssize_t count = read(receiver, data, sizeof data);
    if (count == 0) break;
    if (count > 0) received += (size_t)count;
    mj_task_sleep_ms(1);
  }
  CHECK(!is_closed);
  CHECK_INT(mj_fd_close(receiver), ==, 0);
  mj_task_exit();
}

static void ticks_meanwhile(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (!is_closed) {
    mj_task_sleep_ms(1);
    ticks++;
  }
  mj_task_exit();
}

static void a_task_waits_before_it_closes(void) {
  connect_both();
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sends_and_closes, NULL);
  add_task(scheduler, receives_slowly, NULL);
  add_task(scheduler, ticks_meanwhile, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_UINT(sent, >, 65536);
  CHECK_UINT(received, ==, sent);
  CHECK_UINT(ticks_at_close, >, 1);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  RUN(a_task_waits_before_it_closes);
  return 0;
}
