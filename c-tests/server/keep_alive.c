// A client asks a server over one connection 1000 times, in the same process: run under strace, which counts the
// system calls.
#define _GNU_SOURCE
#include "../check.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum { requests = 1000 };
static int listener;

static void serves(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char bytes[64];
  ssize_t count;
  int fd = mj_accept(listener, NULL, NULL, MJ_FOREVER);
  CHECK_INT(fd, >=, 0);
  while ((count = mj_read(fd, bytes, sizeof bytes, MJ_FOREVER)) > 0) {
    CHECK_INT(mj_write(fd, bytes, (size_t)count, MJ_FOREVER), ==, count);
  }
  CHECK_INT(mj_fd_close(fd), ==, 0);
  mj_task_exit();
}

static void asks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  char bytes[64];
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(mj_connect(fd, (struct sockaddr*)&address, length, MJ_FOREVER), ==, 0);
  for (int i = 0; i < requests; i++) {
    CHECK_INT(mj_write(fd, "hello", 6, MJ_FOREVER), ==, 6);
    CHECK_INT(mj_read(fd, bytes, sizeof bytes, MJ_FOREVER), ==, 6);
  }
  CHECK_INT(mj_fd_close(fd), ==, 0);
  mj_task_exit();
}

int main(void) {
  mj_scheduler* scheduler = new_scheduler();
  listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK_INT(listener, >=, 0);
  add_task(scheduler, serves, NULL);
  add_task(scheduler, asks, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  return 0;
}
