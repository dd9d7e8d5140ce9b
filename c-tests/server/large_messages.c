// A task sends large messages to another one by a Unix socket and by TCP, in the same process: run under strace,
// which counts the system calls.
#define _GNU_SOURCE
#include "../check.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum { MESSAGES = 50, BYTES = 1 << 20 };

typedef struct stream {
  int sender, receiver;
} stream;

static char sent[BYTES], received[BYTES];

static void sends(void* argument) {
  stream* it = argument;
  for (int i = 0; i < MESSAGES; i++) {
    CHECK_INT(mj_write(it->sender, sent, BYTES, MJ_FOREVER), ==, BYTES);
  }
  CHECK_INT(mj_fd_close(it->sender), ==, 0);
}

static void receives(void* argument) {
  stream* it = argument;
  size_t done;
  for (int i = 0; i < MESSAGES; i++) {
    CHECK_INT(mj_read_exact(it->receiver, received, BYTES, MJ_FOREVER, &done), ==, BYTES);
  }
  CHECK_INT(mj_read_exact(it->receiver, received, 1, MJ_FOREVER, &done), ==, 0);
  CHECK_INT(mj_fd_close(it->receiver), ==, 0);
}

static stream by_unix_socket(void) {
  int fds[2];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  CHECK_INT(mj_fd_adopt(fds[0]), ==, 0);
  CHECK_INT(mj_fd_adopt(fds[1]), ==, 0);
  return (stream){fds[0], fds[1]};
}

static stream by_tcp;

static void connects(void* argument) {
  int listener = *(int*)argument;
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  by_tcp.sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(mj_connect(by_tcp.sender, (struct sockaddr*)&address, length, MJ_FOREVER), ==, 0);
  by_tcp.receiver = mj_accept(listener, NULL, NULL, MJ_FOREVER);
  CHECK_INT(by_tcp.receiver, >=, 0);
}

static void stream_through(mj_scheduler* scheduler, stream* it) {
  CHECK_INT(mj_go(scheduler, sends, it, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, receives, it, NULL), ==, 0);
  mj_scheduler_run(scheduler);
}

int main(void) {
  mj_scheduler* scheduler = new_scheduler();
  stream pair = by_unix_socket();
  stream_through(scheduler, &pair);
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK_INT(mj_go(scheduler, connects, &listener, NULL), ==, 0);
  mj_scheduler_run(scheduler);
  stream_through(scheduler, &by_tcp);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  return 0;
}
