// The calls that wait, once each: what they want is there, or their time is over. Each checks that its work was done.
#ifndef CALLS_OF_TASKS_H
#define CALLS_OF_TASKS_H

#include "pipes.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { A_MOMENT_NS = 1000000 };

// ---- Descriptors ----

static void a_task_reads_and_writes(void) {
  int both[2];
  char bytes[4] = "abc";
  size_t done;
  open_pair(both);
  struct iovec part = {bytes, 2};
  CHECK_INT(mj_read(both[0], bytes, 1, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_write(both[1], bytes, 2, MJ_FOREVER), ==, 2);
  CHECK_INT(mj_read(both[0], bytes, 2, MJ_FOREVER), ==, 2);
  CHECK_INT(mj_write_all(both[1], bytes, 3, MJ_FOREVER, &done), ==, 0);
  CHECK_INT(mj_read_exact(both[0], bytes, 3, MJ_FOREVER, &done), ==, 3);
  CHECK_INT(mj_writev(both[1], &part, 1, MJ_FOREVER), ==, 2);
  CHECK_INT(mj_readv(both[0], &part, 1, MJ_FOREVER), ==, 2);
  close_both(both);
}

static void a_task_sends_and_receives(void) {
  int both[2];
  char byte = 'x';
  open_pair(both);
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  CHECK_INT(mj_recvfrom(both[0], &byte, 1, 0, NULL, NULL, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_sendto(both[1], &byte, 1, 0, NULL, 0, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_recvfrom(both[0], &byte, 1, 0, NULL, NULL, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_sendmsg(both[1], &message, 0, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_recvmsg(both[0], &message, 0, MJ_FOREVER), ==, 1);
  close_both(both);
}

static void a_task_sends_a_file(void) {
  int both[2];
  char text[4];
  off_t offset = 1;
  open_pair(both);
  int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  CHECK_INT(mj_sendfile(both[0], file, &offset, 3, MJ_FOREVER), ==, 3);
  CHECK_INT(mj_read_exact(both[1], text, 3, MJ_FOREVER, NULL), ==, 3);
  CHECK(memcmp(text, "ELF", 3) == 0);
  close(file);
  close_both(both);
}

static void a_task_waits_for_several(void) {
  int both[2];
  open_pair(both);
  struct pollfd polled[2] = {{.fd = both[0], .events = POLLIN}, {.fd = both[1], .events = POLLIN}};
  mj_select_case cases[2] = {{.op = MJ_SELECT_FD, .fd = both[0], .events = POLLIN},
                             {.op = MJ_SELECT_DEADLINE, .deadline_ns = MJ_FOREVER}};
  CHECK_INT(mj_poll(polled, 2, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_select(cases, 2, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_try_select(cases, 2), ==, -EAGAIN);
  put_byte(both[1]);
  CHECK_INT(mj_poll(polled, 2, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_select(cases, 2, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_try_select(cases, 2), ==, 0);
  mj_task_wait_readable(both[0]);
  close_both(both);
}

static void a_task_connects_and_accepts(void) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  char port[8];
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK_INT(listener, >=, 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  CHECK_INT(mj_accept(listener, NULL, NULL, A_MOMENT_NS), ==, -ETIMEDOUT);
  int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(mj_connect(client, (struct sockaddr*)&address, length, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_fd_close(mj_accept(listener, NULL, NULL, MJ_FOREVER)), ==, 0);
  CHECK_INT(mj_fd_close(client), ==, 0);
  snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
  CHECK_INT(mj_fd_close(mj_dial("127.0.0.1", port, MJ_FOREVER)), ==, 0);
  CHECK_INT(mj_fd_close(mj_dial("localhost", port, MJ_FOREVER)), ==, 0);  // By a worker of the pool.
  for (int i = 0; i < 2; i++) CHECK_INT(mj_fd_close(mj_accept(listener, NULL, NULL, MJ_FOREVER)), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

static void a_task_looks_a_name_up(void) {
  char host[64];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int flags = NI_NUMERICHOST;
  CHECK_INT(mj_getnameinfo((struct sockaddr*)&address, sizeof address, host, sizeof host, NULL, 0, flags, MJ_FOREVER),
            ==, 0);
  CHECK_STR(host, "127.0.0.1");
}

// ---- Files ----

static void a_task_changes_a_directory(void) {
  char directory[] = "/tmp/majjen-calls-XXXXXX", file[64], renamed[64], byte = 'x', *data, **names;
  struct stat status;
  size_t bytes, count;
  CHECK(mkdtemp(directory) != NULL);
  CHECK_INT(mj_rmdir(directory, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_mkdir(directory, 0700, MJ_FOREVER), ==, 0);
  snprintf(file, sizeof file, "%s/file", directory);
  snprintf(renamed, sizeof renamed, "%s/renamed", directory);
  int fd = mj_open(file, O_RDWR | O_CREAT, 0600, MJ_FOREVER);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(mj_pwrite(fd, "text", 4, 0, MJ_FOREVER), ==, 4);
  CHECK_INT(mj_write(fd, "x", 1, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_pread(fd, &byte, 1, 1, MJ_FOREVER), ==, 1);
  CHECK_INT(byte, ==, 'e');
  CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_fsync(fd, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  CHECK_INT(mj_rename(file, renamed, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_stat(renamed, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_lstat(renamed, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(status.st_size, ==, 4);
  CHECK_INT(mj_list_directory(directory, 10, &names, NULL, &count, MJ_FOREVER), ==, 0);
  CHECK_UINT(count, ==, 1);
  free(names);
  CHECK_INT(mj_file_read_all(renamed, 10, &data, &bytes, MJ_FOREVER), ==, 0);
  CHECK_STR(data, "xext");
  free(data);
  CHECK_INT(mj_unlink(renamed, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_rmdir(directory, MJ_FOREVER), ==, 0);
}

// ---- Signals, processes ----

static void a_task_waits_for_a_signal(void) {
  int number = SIGUSR1;
  mj_signal_info info;
  CHECK_INT(mj_signal_wait(&number, 1, &info, A_MOMENT_NS), ==, -ETIMEDOUT);
  raise(number);
  CHECK_INT(mj_signal_wait(&number, 1, &info, MJ_FOREVER), ==, number);
  CHECK_INT(info.signal, ==, number);
  CHECK_INT(mj_signal_release(), ==, 0);
}

// The new process ends without a word.
static void a_task_hands_sockets_over(void) {
  const char* const ends_soon[] = {"true", NULL};
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK_INT(mj_process_hand_over(ends_soon, NULL, &listener, 1, MJ_FOREVER, NULL), ==, -ESRCH);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

// ---- Objects ----

static mj_mutex* mutex_of_tasks;
static mj_cond* cond_of_tasks;

static int locks_and_signals(void* unused) {
  (void)unused;
  CHECK_INT(mj_mutex_lock(mutex_of_tasks, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cond_signal(cond_of_tasks), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex_of_tasks), ==, 0);
  return 0;
}

static int sleeps_until_canceled(void* unused) {
  (void)unused;
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  return 1;
}

static void tasks_lock_and_signal(void) {
  mj_group* group = mj_group_create(mj_scheduler_current(), 0);
  mutex_of_tasks = mj_mutex_create(mj_scheduler_current());
  cond_of_tasks = mj_cond_create(mj_scheduler_current());
  CHECK_INT(mj_mutex_lock(mutex_of_tasks, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cond_wait(cond_of_tasks, mutex_of_tasks, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_group_go(group, locks_and_signals, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cond_wait(cond_of_tasks, mutex_of_tasks, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cond_broadcast(cond_of_tasks), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex_of_tasks), ==, 0);
  CHECK_INT(mj_group_wait(group, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_group_try_go(group, sleeps_until_canceled, NULL), ==, 0);
  CHECK_INT(mj_group_wait(group, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_group_end(group, A_MOMENT_NS), ==, 0);
  CHECK_INT(mj_group_error(group), ==, 1);
  CHECK_INT(mj_group_destroy(group), ==, 0);
  CHECK_INT(mj_mutex_destroy(mutex_of_tasks), ==, 0);
  CHECK_INT(mj_cond_destroy(cond_of_tasks), ==, 0);
}

static void a_task_waits_for_objects(void) {
  mj_scheduler* scheduler = mj_scheduler_current();
  char element = 'x';
  mj_sem* sem = mj_sem_create(scheduler, 1);
  mj_waitgroup* work = mj_waitgroup_create(scheduler);
  mj_chan* chan = mj_chan_create(scheduler, 1, 1);
  CHECK_INT(mj_sem_acquire(sem, 1, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_sem_acquire(sem, 1, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_waitgroup_add(work, 1), ==, 0);
  CHECK_INT(mj_waitgroup_wait(work, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_waitgroup_done(work), ==, 0);
  CHECK_INT(mj_chan_send(chan, &element, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_chan_send(chan, &element, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_chan_recv(chan, &element, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_chan_recv(chan, &element, A_MOMENT_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_sleep_until_ns(mj_deadline_after(A_MOMENT_NS)), ==, 0);
  CHECK_INT(mj_sem_destroy(sem), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(work), ==, 0);
  CHECK_INT(mj_chan_destroy(chan), ==, 0);
}

static void (*const calls_of_tasks[])(void) = {
    a_task_reads_and_writes,   a_task_sends_and_receives,   a_task_sends_a_file,        a_task_waits_for_several,
    a_task_connects_and_accepts, a_task_looks_a_name_up,    a_task_changes_a_directory, a_task_waits_for_a_signal,
    a_task_hands_sockets_over, tasks_lock_and_signal,       a_task_waits_for_objects,
};

#endif
