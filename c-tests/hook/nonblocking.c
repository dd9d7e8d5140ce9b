// Descriptors with O_NONBLOCK: their calls never wait, however it was set; and no descriptor of others ever
// shows that flag, since it may be another process's, too.
#define _GNU_SOURCE
#include "hooked.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int ends[2];
static unsigned ended;

static void close_ends(void) {
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
}

static bool is_nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  CHECK_INT(flags, >=, 0);
  return (flags & O_NONBLOCK) != 0;
}

// No call on either end waits, or is counted.
static void never_waits(int reader, int writer, bool is_socket) {
  static char data[4096];
  struct iovec one = {data, sizeof data};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  mj_hook_counts before = hook_counts();
  CHECK_FAILS(read(reader, data, sizeof data), EAGAIN);
  CHECK_FAILS(readv(reader, &one, 1), EAGAIN);
  if (is_socket) {
    CHECK_FAILS(recv(reader, data, sizeof data, 0), EAGAIN);
    CHECK_FAILS(recv(reader, data, sizeof data, MSG_WAITALL), EAGAIN);
    CHECK_FAILS(recvmsg(reader, &message, 0), EAGAIN);
  }
  ssize_t sent;
  while ((sent = write(writer, data, sizeof data)) > 0) continue;
  CHECK_FAILS(sent, EAGAIN);
  CHECK_FAILS(writev(writer, &one, 1), EAGAIN);
  if (is_socket) {
    CHECK_FAILS(send(writer, data, sizeof data, 0), EAGAIN);
    CHECK_FAILS(sendmsg(writer, &message, 0), EAGAIN);
    // A part, if there is room for a part.
    CHECK_INT(recv(reader, data, 1000, MSG_WAITALL), ==, 1000);
  }
  CHECK_UINT(hook_counts().suspended, ==, before.suspended);
  CHECK_UINT(hook_counts().pinned, ==, before.pinned);
  CHECK(is_nonblocking(reader) && is_nonblocking(writer));
}

static void set_by_fcntl(int fd) { CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), ==, 0); }
static void set_by_ioctl(int fd) {
  int on = 1;
  CHECK_INT(ioctl(fd, FIONBIO, &on), ==, 0);
}

static void any_way_to_set_it_counts(void) {
  for (int i = 0; i < 6; i++) {
    bool is_socket = i % 2 == 0;
    int flag = i < 2 ? O_NONBLOCK : 0;
    if (is_socket) CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | flag, 0, ends), ==, 0);
    else CHECK_INT(pipe2(ends, flag), ==, 0);
    for (int j = 0; j < 2; j++) {
      if (i / 2 == 1) set_by_fcntl(ends[j]);
      if (i / 2 == 2) set_by_ioctl(ends[j]);
    }
    never_waits(ends[0], ends[1], is_socket);
    close_ends();
  }
}

static void a_copy_has_it_too(void) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  int copies[2] = {dup(ends[0]), fcntl(ends[1], F_DUPFD_CLOEXEC, 100)};
  set_by_fcntl(copies[0]);
  set_by_ioctl(ends[1]);
  never_waits(ends[0], copies[1], true);
  close(copies[0]);
  close(copies[1]);
  close_ends();
}

static void accepted_ones_have_what_accept4_says(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 10), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  for (int i = 0; i < 3; i++) {
    int client = socket(AF_INET, SOCK_STREAM | (i == 2 ? SOCK_NONBLOCK : 0), 0);
    int connected = connect(client, (struct sockaddr*)&address, length);
    if (i == 2) CHECK_FAILS(connected, EINPROGRESS);
    else CHECK_INT(connected, ==, 0);
    if (i == 2) {
      struct pollfd fd = {client, POLLOUT, 0};
      CHECK_INT(poll(&fd, 1, -1), ==, 1);
    }
    CHECK_INT(is_nonblocking(client), ==, i == 2);
    int fd = i == 0 ? accept(listener, NULL, NULL) : accept4(listener, NULL, NULL, i == 1 ? SOCK_NONBLOCK : 0);
    CHECK(fd >= 0);
    CHECK_INT(is_nonblocking(fd), ==, i == 1);
    CHECK(!is_nonblocking(listener));
    close(fd);
    close(client);
  }
  set_by_fcntl(listener);
  CHECK_FAILS(accept(listener, NULL, NULL), EAGAIN);
  CHECK_FAILS(accept4(listener, NULL, NULL, 0), EAGAIN);
  close(listener);
}

// ---- while others wait

static void reads_one(void* argument) {
  char byte;
  CHECK_INT(read(*(int*)argument, &byte, 1), ==, 1);
  add_one(&ended);
}

static void writes_all(void* argument) {
  static char large[1 << 20];
  CHECK_INT(write(*(int*)argument, large, sizeof large), ==, sizeof large);
  add_one(&ended);
}

static void accepts_one(void* argument) {
  int fd = accept(*(int*)argument, NULL, NULL);
  CHECK(fd >= 0);
  close(fd);
  add_one(&ended);
}

static void look_at_it(int fd, unsigned times_) {
  for (unsigned i = 0; i < times_; i++) {
    CHECK(!is_nonblocking(fd));
    usleep(1000);
  }
}

static void nobody_sees_it_while_a_call_waits(void) {
  static char large[1 << 16];
  for (int i = 0; i < 2; i++) {
    if (i == 0) CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    else CHECK_INT(pipe(ends), ==, 0);
    ended = 0;
    start(reads_one, &ends[0]);
    look_at_it(ends[0], 20);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    wait_until(&ended, 1);
    start(writes_all, &ends[1]);
    look_at_it(ends[1], 20);
    for (size_t all = 0; all < 1 << 20;) {
      ssize_t got = read(ends[0], large, sizeof large);
      CHECK_INT(got, >, 0);
      CHECK(!is_nonblocking(ends[1]));
      all += (size_t)got;
    }
    wait_until(&ended, 2);
    close_ends();
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(listener, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(listener, 10), ==, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  ended = 0;
  start(accepts_one, &listener);
  look_at_it(listener, 20);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(connect(client, (struct sockaddr*)&address, length), ==, 0);
  CHECK(!is_nonblocking(client));
  wait_until(&ended, 1);
  close(client);
  close(listener);
}

// It is set while a call waits: that call goes on waiting, the next one does not.
static void a_call_that_waits_goes_on(void) {
  char byte;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  ended = 0;
  start(reads_one, &ends[0]);
  let_others_wait();
  set_by_fcntl(ends[0]);
  let_others_wait();
  CHECK_UINT(ended, ==, 0);
  CHECK_FAILS(read(ends[0], &byte, 1), EAGAIN);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  wait_until(&ended, 1);
  close_ends();
}

// A child that has the same end of a pipe blocks as ever: as cat does on its input.
static void other_processes_block(void) {
  int output[2], status;
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_INT(pipe(output), ==, 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    dup2(ends[0], 0);
    dup2(output[1], 1);
    close_range(3, ~0U, 0);
    execlp("cat", "cat", (char*)NULL);
    _exit(127);
  }
  close(output[1]);
  ended = 0;
  start(reads_one, &ends[0]);  // Both wait for the same.
  let_others_wait();
  CHECK_INT(write(ends[1], "12", 2), ==, 2);
  let_others_wait();
  CHECK_INT(write(ends[1], "34", 2), ==, 2);
  let_others_wait();
  char data[8];
  while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) == 0) {  // The child may have had all.
    CHECK_INT(write(ends[1], "5", 1), ==, 1);
    let_others_wait();
  }
  CHECK(!is_nonblocking(ends[0]));
  close_ends();
  size_t all = 0;
  ssize_t got;
  while ((got = read(output[0], data, sizeof data)) > 0) all += (size_t)got;
  CHECK_INT(got, ==, 0);
  CHECK_UINT(all, >=, 1);  // It has not failed.
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  close(output[0]);
}

// What a child has set is so for its parent.
static void a_child_may_set_it(void) {
  int status;
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFL, O_NONBLOCK);
    _exit(0);
  }
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  never_waits(ends[0], ends[1], true);
  close_ends();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(any_way_to_set_it_counts);
  RUN_HOOKED(a_copy_has_it_too);
  RUN_HOOKED(accepted_ones_have_what_accept4_says);
  RUN_HOOKED(nobody_sees_it_while_a_call_waits);
  RUN_HOOKED(a_call_that_waits_goes_on);
  // Without RWF_NOWAIT a read may block where another process is faster: docs/platforms.md.
  const char* fallbacks = getenv("MAJJEN_FALLBACKS");
  if (fallbacks == NULL || strstr(fallbacks, "nowait") == NULL) RUN_HOOKED(other_processes_block);
  RUN_HOOKED(a_child_may_set_it);
  return 0;
}
