// A program that uses a bit of everything and tolerates the failure of any system call: it ends
// with exit code 0 or 1. Run under strace, which injects the failures.
#include "majjen.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static int channel[2];

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) mj_task_sleep_ns(200000);
  mj_task_exit();
}

static void waits(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  char byte = 0;
  if (mj_task_wait_fd(channel[0], POLLIN, 20000000) > 0 && read(channel[0], &byte, 1) < 0) byte = 1;
  MJ_INFO("the byte is %d", byte);
  mj_task_exit();
}

static void writes(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  static char text[3000];
  mj_task_sleep_ns(300000);
  if (write(channel[1], "x", 1) < 0) MJ_WARN("the byte is not written");
  memset(text, 'x', sizeof text - 1);
  MJ_INFO("%s", text);
  mj_task_sleep_ns(300000);
  mj_scheduler_dump(scheduler, stdout);
  mj_scheduler_stop(scheduler);
  mj_task_exit();
}

int main(void) {
  if (pipe2(channel, O_NONBLOCK) < 0) return 1;
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  if (scheduler == NULL) {
    perror("setup_scheduler_with_epoll");
    return 1;
  }
  mj_create_task(scheduler, waits, NULL);
  mj_create_task(scheduler, writes, NULL);
  for (int i = 0; i < 6; i++) mj_create_task(scheduler, sleeps, malloc(1));
  for (int i = 0; i < 3; i++) mj_scheduler_run(scheduler);
  mj_scheduler_print_metrics(scheduler, stdout);
  mj_scheduler_destroy(scheduler);
  return 0;
}
