// Descriptors that one task closes while another waits for them: it is told, by each call, and what the next file
// of the same number has is not its own. Not in threads, where who waits has the file itself, and waits on.
#define _GNU_SOURCE
#include "hooked.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char data[1000];
static struct iovec part = {data, sizeof data};
static struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

static int reads(int fd) { return (int)read(fd, data, sizeof data); }
static int reads_parts(int fd) { return (int)readv(fd, &part, 1); }
static int receives(int fd) { return (int)recv(fd, data, sizeof data, 0); }
static int receives_all(int fd) { return (int)recv(fd, data, sizeof data, MSG_WAITALL); }
static int receives_from(int fd) { return (int)recvfrom(fd, data, sizeof data, 0, NULL, NULL); }
static int receives_message(int fd) { return (int)recvmsg(fd, &message, 0); }
static int receives_messages(int fd) {
  struct mmsghdr all = {.msg_hdr = message};
  return recvmmsg(fd, &all, 1, 0, NULL);
}
static int writes(int fd) { return (int)write(fd, data, sizeof data); }
static int writes_parts(int fd) { return (int)writev(fd, &part, 1); }
static int sends(int fd) { return (int)send(fd, data, sizeof data, 0); }
static int sends_message(int fd) { return (int)sendmsg(fd, &message, 0); }
static int sends_file(int fd) {
  int file = open("/proc/self/exe", O_RDONLY);
  int sent = (int)sendfile(fd, file, NULL, sizeof data), error = errno;
  close(file);
  errno = error;
  return sent;
}
static int accepts(int fd) { return accept(fd, NULL, NULL); }
static int accepts_with_flags(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC); }
static int waits_for_a_set(int fd) {
  struct epoll_event event;
  return epoll_wait(fd, &event, 1, -1);
}

// These tell by what they leave.
static int failed_poll(struct pollfd* one, int ready) {
  CHECK_INT(ready, ==, 1);
  CHECK_INT(one->revents, ==, POLLNVAL);
  errno = EBADF;
  return -1;
}
static int polls(int fd) {
  struct pollfd one = {fd, POLLIN, 0};
  return failed_poll(&one, poll(&one, 1, -1));
}
static int polls_two(int fd) {
  struct pollfd two[2] = {{-1, POLLIN, 0}, {fd, POLLIN, 0}};
  return failed_poll(&two[1], poll(two, 2, -1));
}
static int polls_with_mask(int fd) {
  struct pollfd one = {fd, POLLIN, 0};
  return failed_poll(&one, ppoll(&one, 1, NULL, NULL));
}
static int selects(int fd) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  return select(fd + 1, &set, NULL, NULL, NULL);
}

enum kind { EMPTY, FULL, LISTENER, SET };

static const struct {
  const char* name;
  int (*call)(int fd);
  enum kind kind;
} ALL[] = {
    {"read", reads, EMPTY},
    {"readv", reads_parts, EMPTY},
    {"recv", receives, EMPTY},
    {"recv of all", receives_all, EMPTY},
    {"recvfrom", receives_from, EMPTY},
    {"recvmsg", receives_message, EMPTY},
    {"recvmmsg", receives_messages, EMPTY},
    {"write", writes, FULL},
    {"writev", writes_parts, FULL},
    {"send", sends, FULL},
    {"sendmsg", sends_message, FULL},
    {"sendfile", sends_file, FULL},
    {"accept", accepts, LISTENER},
    {"accept4", accepts_with_flags, LISTENER},
    {"poll", polls, EMPTY},
    {"poll of two", polls_two, EMPTY},
    {"ppoll", polls_with_mask, EMPTY},
    {"select", selects, EMPTY},
    {"epoll_wait", waits_for_a_set, SET},
};
enum { CALLS = sizeof ALL / sizeof ALL[0] };

static int fds[CALLS];
static unsigned ended;

// What is waited for, and another end of it.
static void open_one(size_t i, int* other) {
  int ends[2];
  struct sockaddr_in address = {.sin_family = AF_INET};
  *other = -1;
  switch (ALL[i].kind) {
    case LISTENER:
      fds[i] = socket(AF_INET, SOCK_STREAM, 0);
      CHECK_INT(bind(fds[i], (struct sockaddr*)&address, sizeof address), ==, 0);
      CHECK_INT(listen(fds[i], 1), ==, 0);
      return;
    case SET: CHECK_INT(fds[i] = epoll_create1(0), >=, 0); return;
    default: CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  }
  fds[i] = ends[0];
  *other = ends[1];
  if (ALL[i].kind == FULL)
    while (send(fds[i], data, sizeof data, MSG_DONTWAIT) > 0) continue;
}

static void is_told(void* argument) {
  size_t i = (size_t)(intptr_t)argument;
  if (ALL[i].call(fds[i]) != -1) fprintf(stderr, "%s\n", ALL[i].name);
  else if (errno == EBADF) add_one(&ended);
  else fprintf(stderr, "%s: %s\n", ALL[i].name, strerror(errno));
}

static void each_call_is_told(bool number_is_used_again) {
  if (in_threads()) return;
  for (size_t i = 0; i < CALLS; i++) {
    int other, next[2];
    char byte = 'z';
    ended = 0;
    open_one(i, &other);
    start(is_told, (void*)(intptr_t)i);
    let_others_wait();
    CHECK_INT(close(fds[i]), ==, 0);
    if (number_is_used_again) {
      CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, next), ==, 0);
      CHECK(next[0] == fds[i] || next[1] == fds[i]);
      for (int end = 0; end < 2; end++) CHECK_INT(send(next[end], &byte, 1, 0), ==, 1);
    }
    wait_until(&ended, 1);
    for (int end = 0; number_is_used_again && end < 2; end++) {
      CHECK_INT(recv(next[end], data, sizeof data, MSG_DONTWAIT), ==, 1);
      close(next[end]);
    }
    if (other >= 0) close(other);
  }
}

static void who_waits_is_told(void) { each_call_is_told(false); }
static void the_next_of_that_number_is_left_alone(void) { each_call_is_told(true); }

int main(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN_HOOKED(who_waits_is_told);
  RUN_HOOKED(the_next_of_that_number_is_left_alone);
  return 0;
}
