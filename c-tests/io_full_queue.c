// Sending to the full queue of a datagram socket that the sender is not connected to: the kernel says that
// there is room, always, and then that there is none. A call that waits tries now and then.
#define _GNU_SOURCE
#include "calls.h"

#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un address;
static socklen_t length;

static int server(void) {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  address.sun_family = AF_UNIX;
  length = sizeof address.sun_family;
  CHECK_INT(bind(fd, (struct sockaddr*)&address, length), ==, 0);  // A name that the kernel chooses.
  length = sizeof address;
  CHECK_INT(getsockname(fd, (struct sockaddr*)&address, &length), ==, 0);
  return fd;
}

static int calls_sendto(call* self) {
  return (int)mj_sendto(self->fd, "last", 4, 0, (struct sockaddr*)&address, length, self->timeout_ns);
}

static void a_full_queue_is_tried_now_and_then(bool owned) {
  int receiver = server();
  int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (owned) CHECK_INT(mj_fd_adopt(sender), ==, 0);
  size_t sent = 0;
  while (sendto(sender, "x", 1, MSG_DONTWAIT, (struct sockaddr*)&address, length) == 1) sent++;
  CHECK_INT(errno, ==, EAGAIN);
  CHECK_INT(mj_sendto(sender, "x", 1, 0, (struct sockaddr*)&address, length, short_ns()), ==,
            -ETIMEDOUT);
  call waits = {.make = calls_sendto, .fd = sender, .timeout_ns = MJ_FOREVER};
  begin_call(&waits);
  uint64_t before = mj_scheduler_get_metrics(scheduler)->task_executions, began = now_ns();
  CHECK_INT(mj_sleep_ns(100000000), ==, 0);
  // At most once a millisecond.
  uint64_t turns = mj_scheduler_get_metrics(scheduler)->task_executions - before;
  CHECK_UINT(turns, <, 20 + (now_ns() - began) / 1000000);
  CHECK(!waits.returned);
  char byte;
  for (size_t i = 0; i < sent; i++) CHECK_INT(read(receiver, &byte, 1), ==, 1);
  CHECK_INT(result_of(&waits), ==, 4);

  // A close ends it.
  while (sendto(sender, "x", 1, MSG_DONTWAIT, (struct sockaddr*)&address, length) == 1) {
  }
  waits.returned = false;
  begin_call(&waits);
  mj_sleep_ns(short_ns());
  CHECK_INT(mj_fd_close(sender), ==, 0);
  CHECK_INT(result_of(&waits), ==, -EBADF);
  close(receiver);
}

static void of_a_raw_descriptor(void) { a_full_queue_is_tried_now_and_then(false); }
static void of_an_owned_descriptor(void) { a_full_queue_is_tried_now_and_then(true); }

int main(void) {
  RUN_IN_TASK(of_a_raw_descriptor);
  RUN_IN_TASK(of_an_owned_descriptor);
  return 0;
}
