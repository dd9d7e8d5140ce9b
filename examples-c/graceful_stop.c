// An orderly end at SIGTERM or SIGINT: the server accepts nobody any more, its sessions go on for a little, those
// that are left then are canceled, and each cleans up with its cancellation held. A second signal ends the run at
// once.
//
// Links with -lmajjen. `make examples` builds and runs it. It has clients of its own, and sends the signal to
// itself; with the argument `wait` it waits for one.
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS 4
#define MS UINT64_C(1000000)

static mj_scheduler* scheduler;
static int listener;
static unsigned told, goodbyes, saved;

// A part of a session that is not to be cut short.
static void saves(void* argument) {
  (void)argument;
  mj_sleep_ns(5 * MS);
  saved++;
}

static void session(void* argument) {
  int fd = (int)(intptr_t)argument;
  char line[100];
  // Its work, until the client goes, or a call says that the task is canceled.
  ssize_t got;
  while ((got = mj_read(fd, line, sizeof line, MJ_FOREVER)) > 0) {
    if (mj_write_all(fd, line, (size_t)got, MJ_FOREVER, NULL) != 0) break;
  }
  if (got == -ECANCELED) told++;
  // Now it cleans up. While the cancellation is held, calls wait as ever: the task sleeps until its child
  // has ended, where it could only ask again and again.
  bool old;
  mj_task_set_cancelable(false, &old);
  mj_task_id child;
  if (mj_go(scheduler, saves, NULL, &child) == 0) mj_task_join(child, 1000 * MS);
  if (mj_write_all(fd, "goodbye\n", 8, 100 * MS, NULL) == 0) goodbyes++;
  mj_task_set_cancelable(old, NULL);
  mj_fd_close(fd);
}

static void accepts(void* argument) {
  (void)argument;
  for (;;) {
    int fd = mj_accept(listener, NULL, NULL, MJ_FOREVER);
    if (fd < 0) break;  // -EBADF: the listener is closed.
    if (mj_go(scheduler, session, (void*)(intptr_t)fd, NULL) != 0) mj_fd_close(fd);
  }
}

// The run is to end: in a task of its own, before the sessions have their time.
static void stops_accepting(void* argument) {
  (void)argument;
  printf("signal %d\n", mj_scheduler_signal(scheduler));
  mj_fd_close(listener);
}

// A client that says something and waits for the end.
static void visits(void* argument) {
  char line[100];
  int fd = mj_dial("127.0.0.1", argument, 1000 * MS);
  if (fd < 0) return;
  mj_write_all(fd, "hello\n", 6, 1000 * MS, NULL);
  bool old;
  mj_task_set_cancelable(false, &old);  // It is not the server's.
  while (mj_read(fd, line, sizeof line, MJ_FOREVER) > 0) {
  }
  mj_fd_close(fd);
}

static void sends_the_signal(void* argument) {
  (void)argument;
  mj_sleep_ns(100 * MS);
  kill(getpid(), SIGTERM);
}

int main(int argc, char** argv) {
  mj_log_set_level(MJ_LOG_WARN);
  scheduler = mj_scheduler_create();
  listener = mj_listen("127.0.0.1", "0", 0, 0);
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  if (scheduler == NULL || listener < 0) return 1;
  if (getsockname(listener, (struct sockaddr*)&address, &length) != 0) return 1;
  char port[6];
  snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
  if (mj_go(scheduler, accepts, NULL, NULL) != 0) return 1;
  for (int i = 0; i < SESSIONS; i++) {
    if (mj_go(scheduler, visits, port, NULL) != 0) return 1;
  }
  if (argc < 2 || strcmp(argv[1], "wait") != 0) mj_go(scheduler, sends_the_signal, NULL, NULL);

  // Until no task is left, which gives 0.
  int result = mj_run_until_signal(scheduler, stops_accepting, NULL, 50 * MS);
  printf("%u were told, %u have saved, %u have said goodbye\n", told, saved, goodbyes);
  mj_scheduler_destroy(scheduler);
  return result == 0 && goodbyes == SESSIONS ? 0 : 1;
}
