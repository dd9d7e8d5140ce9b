// Calls that block, in a program that has no Majjen in it.
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void* thread(void* argument) {
  int fd = *(int*)argument;
  pthread_mutex_lock(&mutex);
  usleep(1000);
  pthread_mutex_unlock(&mutex);
  return (void*)write(fd, "later", 5);
}

int main(void) {
  int ends[2], status;
  char data[16] = "";
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
  pthread_t other;
  pthread_mutex_lock(&mutex);
  if (pthread_create(&other, NULL, thread, &ends[1]) != 0) return 1;
  struct pollfd fd = {ends[0], POLLIN, 0};
  printf("poll %d\n", poll(&fd, 1, 1));
  pthread_mutex_unlock(&mutex);
  printf("poll %d\n", poll(&fd, 1, -1));
  printf("read %d\n", (int)read(ends[0], data, sizeof data));
  pthread_join(other, NULL);
  int flags = MSG_DONTWAIT;
  printf("recv %d %s\n", (int)recv(ends[0], data, sizeof data, flags), strerror(errno));
  struct timespec time = {0, 1000}, wrong = {0, -1};
  printf("nanosleep %d %d %s\n", nanosleep(&time, NULL), nanosleep(&wrong, NULL), strerror(errno));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[1], &set);
  printf("select %d\n", select(ends[1] + 1, NULL, &set, NULL, NULL));
  int epoll = epoll_create1(0);
  struct epoll_event event = {EPOLLOUT, {.fd = 7}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, ends[1], &event);
  printf("epoll_wait %d\n", epoll_wait(epoll, &event, 1, -1));
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(read(ends[0], data, 1) == 1 ? 3 : 4);
  printf("write %d\n", (int)write(ends[1], "x", 1));
  printf("waitpid %d\n", waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
  struct addrinfo* found;
  printf("getaddrinfo %d\n", getaddrinfo("127.0.0.1", "80", NULL, &found));
  freeaddrinfo(found);
  printf("system %d\n", system("exit 5"));
  printf("close %d\n", close(ends[0]));
  printf("send %d %s\n", (int)send(ends[1], "x", 1, MSG_NOSIGNAL), strerror(errno));
  printf("read %d %s\n", (int)read(ends[0], data, 1), strerror(errno));
  return 0;
}
