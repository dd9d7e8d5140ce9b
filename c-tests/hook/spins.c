// Calls that do not wait, made again and again until another task or thread has done something.
#define _GNU_SOURCE
#include "hooked.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static int ends[2];
static unsigned ended;

// ---- a byte that comes

static bool is_there_by_poll(void) {
  struct pollfd one = {ends[0], POLLIN, 0};
  return poll(&one, 1, 0) == 1;
}

static bool is_there_by_ppoll(void) {
  struct pollfd one = {ends[0], POLLIN, 0};
  struct timespec none = {0, 0};
  return ppoll(&one, 1, &none, NULL) == 1;
}

static bool is_there_by_select(void) {
  struct timeval none = {0, 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  return select(ends[0] + 1, &set, NULL, NULL, &none) == 1;
}

static bool is_there_by_pselect(void) {
  struct timespec none = {0, 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  return pselect(ends[0] + 1, &set, NULL, NULL, &none, NULL) == 1;
}

static int set;

static bool is_there_by_epoll_wait(void) {
  struct epoll_event event;
  return epoll_wait(set, &event, 1, 0) == 1;
}

static bool is_there_by_epoll_pwait(void) {
  struct epoll_event event;
  return epoll_pwait(set, &event, 1, 0, NULL) == 1;
}

static bool is_there_by_recv(void) {
  char byte;
  return recv(ends[0], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
}

static bool is_there_by_recvmsg(void) {
  char byte;
  struct iovec one = {&byte, 1};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
  return recvmsg(ends[0], &message, MSG_DONTWAIT | MSG_PEEK) == 1;
}

static bool is_there_by_read(void) {
  char byte;
  if (read(ends[0], &byte, 1) == 1) return true;
  CHECK_INT(errno, ==, EAGAIN);
  return false;
}

static void sends(void* argument) {
  (void)argument;
  let_others_wait();
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  add_one(&ended);
}

static void a_byte_comes(bool (*is_there)(void)) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  CHECK_INT(set = epoll_create1(0), >=, 0);
  struct epoll_event event = {.events = EPOLLIN};
  CHECK_INT(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event), ==, 0);
  if (is_there == is_there_by_read) CHECK_INT(fcntl(ends[0], F_SETFL, O_NONBLOCK), ==, 0);
  ended = 0;
  start(sends, NULL);
  while (!is_there()) continue;
  wait_until(&ended, 1);
  CHECK_INT(close(set) | close(ends[0]) | close(ends[1]), ==, 0);
}

static void bytes_come(void) {
  a_byte_comes(is_there_by_poll);
  a_byte_comes(is_there_by_ppoll);
  a_byte_comes(is_there_by_select);
  a_byte_comes(is_there_by_pselect);
  a_byte_comes(is_there_by_epoll_wait);
  a_byte_comes(is_there_by_epoll_pwait);
  a_byte_comes(is_there_by_recv);
  a_byte_comes(is_there_by_recvmsg);
  a_byte_comes(is_there_by_read);
}

// ---- room that is made

static void reads_all(void* argument) {
  char some[4096];
  (void)argument;
  let_others_wait();
  while (recv(ends[1], some, sizeof some, MSG_DONTWAIT) > 0) continue;
  add_one(&ended);
}

static void room_is_made(void) {
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
  while (send(ends[0], "x", 1, MSG_DONTWAIT) == 1) continue;
  ended = 0;
  start(reads_all, NULL);
  while (send(ends[0], "x", 1, MSG_DONTWAIT) < 0) CHECK_INT(errno, ==, EAGAIN);
  wait_until(&ended, 1);
  CHECK_INT(close(ends[0]) | close(ends[1]), ==, 0);
}

// ---- a connection, a child, a lock

static int listener;
static struct sockaddr_storage address;
static socklen_t length;

static void connects(void* argument) {
  (void)argument;
  let_others_wait();
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK_INT(connect(fd, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(close(fd), ==, 0);
  add_one(&ended);
}

static void a_connection_comes(void) {
  int fd;
  CHECK_INT(listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), >=, 0);
  address.ss_family = AF_UNIX; // The system chooses a name.
  CHECK_INT(bind(listener, (struct sockaddr*)&address, sizeof address.ss_family), ==, 0);
  CHECK_INT(listen(listener, 1), ==, 0);
  length = sizeof address;
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  ended = 0;
  start(connects, NULL);
  while ((fd = accept(listener, NULL, NULL)) < 0) CHECK_INT(errno, ==, EAGAIN);
  wait_until(&ended, 1);
  CHECK_INT(close(fd) | close(listener), ==, 0);
}

// Which ends when the other end of its pipe is closed.
static void lets_go(void* argument) {
  let_others_wait();
  CHECK_INT(close(*(int*)argument), ==, 0);
}

static void a_child_ends(void) {
  int status, pipe_[2];
  pid_t ended_one;
  CHECK_INT(pipe(pipe_), ==, 0);
  pid_t child = fork();
  if (child == 0) {
    char byte;
    close(pipe_[1]);
    _exit((int)read(pipe_[0], &byte, 1) + 3);
  }
  CHECK_INT(close(pipe_[0]), ==, 0);
  start(lets_go, &pipe_[1]);
  while ((ended_one = waitpid(child, &status, WNOHANG)) == 0) continue;
  CHECK_INT(ended_one, ==, child);
  CHECK_INT(WEXITSTATUS(status), ==, 3);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static unsigned held;

static void holds(void* argument) {
  (void)argument;
  CHECK_INT(pthread_mutex_lock(&mutex) | pthread_rwlock_rdlock(&rwlock), ==, 0);
  add_one(&held);
  let_others_wait();
  CHECK_INT(pthread_rwlock_unlock(&rwlock), ==, 0);
  let_others_wait();
  CHECK_INT(pthread_mutex_unlock(&mutex), ==, 0);
  add_one(&ended);
}

static void a_lock_is_left(void) {
  held = ended = 0;
  start(holds, NULL);
  wait_until(&held, 1);
  while (pthread_rwlock_trywrlock(&rwlock) == EBUSY) continue;
  while (pthread_mutex_trylock(&mutex) == EBUSY) continue;
  CHECK_INT(pthread_rwlock_unlock(&rwlock) | pthread_mutex_unlock(&mutex), ==, 0);
  wait_until(&ended, 1);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(bytes_come);
  RUN_HOOKED(room_is_made);
  RUN_HOOKED(a_connection_comes);
  RUN_HOOKED(a_child_ends);
  RUN_HOOKED(a_lock_is_left);
  return 0;
}
