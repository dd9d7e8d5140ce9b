// Listening, accepting and connecting.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "io.h"
#include "log_lines.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/un.h>

static struct sockaddr_in address_of(int fd) {
  struct sockaddr_in address;
  socklen_t length = sizeof address;
  CHECK_INT(getsockname(fd, (struct sockaddr*)&address, &length), ==, 0);
  return address;
}

static int connects(call* self) {
  return mj_connect(self->fd, self->object, sizeof(struct sockaddr_in), self->timeout_ns);
}

static int accepts(call* self) { return mj_accept(self->fd, NULL, NULL, self->timeout_ns); }

static int new_socket(bool nonblocking) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
  CHECK_INT(fd, >=, 0);
  return fd;
}

// ---- Listening ----

static int listens_at(const char* address, const char* service, unsigned flags) {
  errno = 4321;
  int fd = mj_listen(address, service, 0, flags);
  CHECK_INT(errno, ==, 4321);
  return fd;
}

static void check_listener(int fd) {
  CHECK_INT(fd, >=, 0);
  int listens = 0;
  socklen_t length = sizeof listens;
  CHECK_INT(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length), ==, 0);
  CHECK(listens);
  CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
  CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
}

static void listeners(void) {
  const char* addresses[] = {"127.0.0.1", "::1", "::", "0.0.0.0", NULL, ""};
  for (int i = 0; i < 6; i++) {
    int fd = listens_at(addresses[i], "0", 0);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) continue;  // No IPv6 here.
    check_listener(fd);
    CHECK(ntohs(address_of(fd).sin_port) > 0);
    if (i != 1) {
      // At "::" connections from IPv4 come too.
      struct sockaddr_in to = address_of(fd);
      to.sin_family = AF_INET;
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      int client = new_socket(i % 2);
      CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, 0);
      int server = mj_accept(fd, NULL, NULL, MJ_FOREVER);
      CHECK_INT(server, >=, 0);
      CHECK_INT(fcntl(server, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
      CHECK_INT(fcntl(server, F_GETFD), ==, FD_CLOEXEC);
      CHECK_INT(mj_fd_close(server), ==, 0);
      CHECK_INT(mj_fd_close(client), ==, 0);
    }
    CHECK_INT(mj_fd_close(fd), ==, 0);
  }
  struct {
    const char *address, *service;
    unsigned flags;
    int error;
  } bad[] = {
      {"127.0.0.1", NULL, 0, EINVAL},
      {"127.0.0.1", "", 0, EINVAL},
      {"127.0.0.1", "http", 0, EINVAL},
      {"127.0.0.1", "65536", 0, EINVAL},
      {"127.0.0.1", "-1", 0, EINVAL},
      {"127.0.0.1", "+0", 0, EINVAL},
      {"127.0.0.1", " 0", 0, EINVAL},
      {"127.0.0.1", "0", 8, EINVAL},
      {"127.0.0.1", "0", MJ_LISTEN_V6ONLY, EINVAL},
      {"192.0.2.1", "0", 0, EADDRNOTAVAIL},
      {"unix:", NULL, 0, EINVAL},
      {"unix:/tmp/x", "0", 0, EINVAL},
      {"unix:/tmp/x", NULL, MJ_LISTEN_REUSEPORT, EINVAL},
      {"unix:/tmp/no/such/directory", NULL, 0, ENOENT},
      {"unix:/tmp", NULL, 0, EADDRINUSE},
      {"unix:/tmp/a-path-with-more-than-a-hundred-and-seven-bytes/0123456789/0123456789/"
       "0123456789/0123456789/0123456789/0123456789/0123456789",
       NULL, 0, EINVAL},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_INT(listens_at(bad[i].address, bad[i].service, bad[i].flags), ==, -bad[i].error);
  }
  // The port is somebody's; then it is shared.
  for (unsigned flags = 0; flags <= MJ_LISTEN_REUSEPORT; flags++) {
    int first = listens_at("127.0.0.1", "0", flags);
    char service[8];
    snprintf(service, sizeof service, "%d", ntohs(address_of(first).sin_port));
    int second = listens_at("127.0.0.1", service, flags);
    if (flags == 0) {
      CHECK_INT(second, ==, -EADDRINUSE);
    } else {
      check_listener(second);
      CHECK_INT(mj_fd_close(second), ==, 0);
    }
    CHECK_INT(mj_fd_close(first), ==, 0);
  }
  int v6_only = listens_at("::", "0", MJ_LISTEN_V6ONLY);
  if (v6_only >= 0) {
    struct sockaddr_in to = address_of(v6_only);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = new_socket(true);
    CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, -ECONNREFUSED);
    close(client);
    CHECK_INT(mj_fd_close(v6_only), ==, 0);
  }
}

// ---- Accepting ----

static void accepting(void) {
  for (int way = 0; way < 4; way++) {
    bool nonblocking = way & 1, owned = way & 2;
    int listener = new_socket(nonblocking);
    CHECK_INT(listen(listener, 8), ==, 0);
    int flags = fcntl(listener, F_GETFL);
    if (owned) CHECK_INT(mj_fd_adopt(listener), ==, 0);
    struct sockaddr_in to = address_of(listener), from;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_CALL(mj_accept(listener, NULL, NULL, 0), ==, -ETIMEDOUT);
    CHECK_CALL(mj_accept(listener, NULL, NULL, 1000000), ==, -ETIMEDOUT);
    CHECK_CALL(mj_accept(listener, (struct sockaddr*)&from, NULL, MJ_FOREVER), ==, -EINVAL);
    for (int i = 0; i < 3; i++) {
      call acceptor = {.make = accepts, .fd = listener, .timeout_ns = MJ_FOREVER};
      begin_call(&acceptor);
      mj_task_wake(acceptor.task);
      settle();
      check_waiting(&acceptor);
      int client = new_socket(i % 2);
      CHECK_INT(connect(client, (struct sockaddr*)&to, sizeof to), ==, i % 2 ? -1 : 0);
      int server = result_of(&acceptor);
      CHECK_INT(server, >=, 0);
      // It is the library's.
      CHECK_CALL(mj_fd_release(server), ==, 0);
      close(server);
      close(client);
      // With the address.
      client = new_socket(false);
      CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, 0);
      CHECK_INT(fcntl(client, F_GETFL) & O_NONBLOCK, ==, 0);
      socklen_t length = sizeof from;
      memset(&from, 0, sizeof from);
      server = mj_accept(listener, (struct sockaddr*)&from, &length, MJ_FOREVER);
      CHECK_INT(server, >=, 0);
      CHECK_INT(length, ==, sizeof from);
      CHECK_INT(from.sin_port, ==, address_of(client).sin_port);
      CHECK_INT(mj_fd_close(server), ==, 0);
      CHECK_INT(mj_fd_close(client), ==, 0);
    }
    call acceptors[2];
    for (int i = 0; i < 2; i++) {
      acceptors[i] = (call){.make = accepts, .fd = listener, .timeout_ns = LONG_NS};
      begin_call(&acceptors[i]);
    }
    CHECK_INT(mj_task_cancel(acceptors[0].task), ==, 0);
    CHECK_INT(result_of(&acceptors[0]), ==, -ECANCELED);
    CHECK_INT(fcntl(listener, F_GETFL), ==, flags);
    CHECK_INT(mj_fd_close(listener), ==, 0);
    CHECK_INT(result_of(&acceptors[1]), ==, -EBADF);
  }
  // What does not listen.
  int fds[2];
  open_blocking_pipe(fds);
  CHECK_CALL(mj_accept(fds[0], NULL, NULL, MJ_FOREVER), ==, -ENOTSOCK);
  close(fds[0]);
  close(fds[1]);
  int idle = new_socket(false);
  CHECK_CALL(mj_accept(idle, NULL, NULL, MJ_FOREVER), ==, -EINVAL);
  close(idle);
  open_unix(fds);
  CHECK_CALL(mj_accept(fds[0], NULL, NULL, MJ_FOREVER), ==, -EINVAL);
  close(fds[0]);
  close(fds[1]);
}

// Connections that come all at once do not keep those from their turns that were accepted before.
enum { MANY_CONNECTIONS = 200 };
static int taken, served, most_unserved;

static void serves_one(void* argument) {
  served++;
  CHECK_INT(mj_fd_close((int)(intptr_t)argument), ==, 0);
}

static void accepts_give_way(void) {
  int listener = mj_listen("127.0.0.1", "0", MANY_CONNECTIONS, 0), clients[MANY_CONNECTIONS];
  CHECK_INT(listener, >=, 0);
  struct sockaddr_in to = address_of(listener);
  for (int i = 0; i < MANY_CONNECTIONS; i++) {
    clients[i] = new_socket(false);
    CHECK_INT(connect(clients[i], (struct sockaddr*)&to, sizeof to), ==, 0);
  }
  taken = served = most_unserved = 0;
  while (taken < MANY_CONNECTIONS) {
    int fd = mj_accept(listener, NULL, NULL, MJ_FOREVER);
    CHECK_INT(fd, >=, 0);
    taken++;
    CHECK_INT(mj_go(scheduler, serves_one, (void*)(intptr_t)fd, NULL), ==, 0);
    if (taken - served > most_unserved) most_unserved = taken - served;
  }
  CHECK_INT(most_unserved, <=, 65);
  while (served < taken) CHECK_INT(mj_yield(), ==, 0);
  for (int i = 0; i < MANY_CONNECTIONS; i++) close(clients[i]);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

static void no_descriptor_is_left(void) {
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  struct sockaddr_in to = address_of(listener);
  int clients[2] = {new_socket(true), new_socket(true)};
  for (int i = 0; i < 2; i++) {
    CHECK_INT(mj_connect(clients[i], (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, 0);
  }
  struct rlimit before, none;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
  none = before;
  int probe = dup(listener);
  close(probe);
  none.rlim_cur = (rlim_t)probe;  // Every smaller number is in use.
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
  log_lines_begin();
  CHECK_CALL(mj_accept(listener, NULL, NULL, 0), ==, -ETIMEDOUT);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  uint64_t start = now_ns();
  CHECK_CALL(mj_accept(listener, NULL, NULL, 250000000), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - start, >=, 250000000);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 2);
  // It goes on when there is room, and a cancel ends it.
  call acceptors[2];
  for (int i = 0; i < 2; i++) {
    acceptors[i] = (call){.make = accepts, .fd = listener, .timeout_ns = MJ_FOREVER};
    begin_call(&acceptors[i]);
  }
  CHECK_INT(mj_task_cancel(acceptors[1].task), ==, 0);
  CHECK_INT(result_of(&acceptors[1]), ==, -ECANCELED);
  mj_sleep_ns(250000000);
  CHECK(!acceptors[0].returned);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 4);
  log_lines_end();
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
  int server = result_of(&acceptors[0]);
  CHECK_INT(server, >=, 0);
  CHECK_INT(mj_fd_close(server), ==, 0);
  // Closed in the pause, with the number reused.
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
  log_lines_begin();
  acceptors[0] = (call){.make = accepts, .fd = listener, .timeout_ns = MJ_FOREVER};
  begin_call(&acceptors[0]);
  log_lines_end();
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  int writer = reuse(listener);
  CHECK_INT(result_of(&acceptors[0]), ==, -EBADF);
  close(writer);
  close(listener);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_fd_close(clients[i]), ==, 0);
}

// ---- Connecting ----

static void connecting(void) {
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  struct sockaddr_in to = address_of(listener);
  for (int way = 0; way < 4; way++) {
    int client = new_socket(way & 1);
    int flags = fcntl(client, F_GETFL);
    if (way & 2) CHECK_INT(mj_fd_adopt(client), ==, 0);
    CHECK_CALL(mj_connect(client, NULL, sizeof to, MJ_FOREVER), ==, -EINVAL);
    CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, 1, MJ_FOREVER), ==, -EINVAL);
    CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, 0);
    // Again: it is connected.
    CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, 0);
    CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, 0);
    CHECK_INT(fcntl(client, F_GETFL), ==, flags);
    int server = mj_accept(listener, NULL, NULL, MJ_FOREVER);
    CHECK_CALL(mj_write(server, "x", 1, MJ_FOREVER), ==, 1);
    char byte;
    CHECK_CALL(mj_read(client, &byte, 1, MJ_FOREVER), ==, 1);
    CHECK_INT(mj_fd_close(server), ==, 0);
    CHECK_CALL(mj_fd_release(client), ==, 0);  // It was the library's.
    close(client);
  }
  CHECK_CALL(mj_connect(-1, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, -EBADF);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  // Nobody listens there now. The descriptor is still the program's.
  for (int way = 0; way < 2; way++) {
    int client = new_socket(way);
    for (int attempt = 0; attempt < 3; attempt++) {  // Each begins anew.
      CHECK_CALL(mj_connect(client, (struct sockaddr*)&to, sizeof to, MJ_FOREVER), ==, -ECONNREFUSED);
    }
    CHECK_CALL(mj_fd_release(client), ==, -EINVAL);
    close(client);
  }
}

// The queue of the listener is full, so that the system does not answer.
static void a_connection_that_takes_time(void) {
  int listener = mj_listen("127.0.0.1", "0", 1, 0);
  struct sockaddr_in to = address_of(listener);
  enum { most = 8 };
  int clients[most];
  int count = 0, result = 0;
  while (count < most && result == 0) {
    clients[count] = new_socket(count % 2);
    result = mj_connect(clients[count++], (struct sockaddr*)&to, sizeof to, 20000000);
  }
  CHECK_INT(result, ==, -ETIMEDOUT);
  int last = clients[count - 1];
  CHECK_CALL(mj_fd_release(last), ==, -EINVAL);  // Still the program's.
  CHECK_CALL(mj_connect(last, (struct sockaddr*)&to, sizeof to, 0), ==, -ETIMEDOUT);
  call connector = {.make = connects, .fd = last, .object = &to, .timeout_ns = LONG_NS};
  begin_call(&connector);
  mj_task_wake(connector.task);
  settle();
  check_waiting(&connector);
  CHECK_INT(mj_task_cancel(connector.task), ==, 0);
  CHECK_INT(result_of(&connector), ==, -ECANCELED);
  // It goes on, once there is room.
  connector = (call){.make = connects, .fd = last, .object = &to, .timeout_ns = LONG_NS};
  begin_call(&connector);
  for (int i = 0; i < count; i++) {
    int server = mj_accept(listener, NULL, NULL, LONG_NS);
    CHECK_INT(server, >=, 0);
    CHECK_INT(mj_fd_close(server), ==, 0);
  }
  CHECK_INT(result_of(&connector), ==, 0);
  for (int i = 0; i < count; i++) CHECK_INT(mj_fd_close(clients[i]), ==, 0);
  // Closed while it connects.
  count = 0;
  do {
    clients[count] = new_socket(count % 2);
    result = mj_connect(clients[count++], (struct sockaddr*)&to, sizeof to, 20000000);
  } while (count < most && result == 0);
  CHECK_INT(result, ==, -ETIMEDOUT);
  connector = (call){.make = connects, .fd = clients[count - 1], .object = &to, .timeout_ns = LONG_NS};
  begin_call(&connector);
  CHECK_INT(mj_fd_close(clients[count - 1]), ==, 0);
  int writer = reuse(clients[count - 1]);
  CHECK_INT(result_of(&connector), ==, -EBADF);
  close(writer);
  for (int i = 0; i < count; i++) CHECK_INT(mj_fd_close(clients[i]), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

// ---- Sockets in the file system ----

static struct sockaddr_un unix_address;

static int connects_by_path(call* self) {
  return mj_connect(self->fd, (struct sockaddr*)&unix_address, sizeof unix_address,
                    self->timeout_ns);
}

// ---- A fork while it is tried ----

static struct {
  pid_t parent;
  int listener, waits_in_its_queue[2];
  struct sockaddr_in address;
} refused;

static void is_refused(void* dials) {
  int result;
  if (dials == NULL) {
    int fd = new_socket(true);
    result = mj_connect(fd, (struct sockaddr*)&refused.address, sizeof refused.address, LONG_NS);
    close(fd);
  } else {
    char port[8];
    snprintf(port, sizeof port, "%d", ntohs(refused.address.sin_port));
    result = mj_dial("127.0.0.1", port, LONG_NS);
  }
  CHECK_INT(result, ==, getpid() == refused.parent ? -ECONNREFUSED : -ECONNABORTED);
}

// Nobody listens any more, which the child is told of first.
static void forks_meanwhile(void* unused) {
  (void)unused;
  CHECK_INT(mj_sleep_ns(20000000), ==, 0);
  pid_t child = fork();
  close(refused.listener);
  if (child != 0) CHECK_INT(status_of(child), ==, 0);
}

static void fork_while(void* dials) {
  refused.parent = getpid();
  refused.listener = new_socket(false);
  CHECK_INT(listen(refused.listener, 0), ==, 0);
  refused.address = address_of(refused.listener);
  refused.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 2; i++) {
    refused.waits_in_its_queue[i] = new_socket(true);
    connect(refused.waits_in_its_queue[i], (struct sockaddr*)&refused.address, sizeof refused.address);
  }
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, is_refused, dials, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, forks_meanwhile, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  if (getpid() != refused.parent) _exit(0);
  mj_scheduler_destroy(scheduler);
  for (int i = 0; i < 2; i++) close(refused.waits_in_its_queue[i]);
}

static void a_child_leaves_the_reason_to_its_parent(void) {
  fork_while(NULL);
  fork_while(&refused);
}

static void sockets_with_paths(void) {
  char directory[] = "/tmp/majjen-io-XXXXXX", path[128];
  CHECK(mkdtemp(directory) != NULL);
  unix_address.sun_family = AF_UNIX;
  snprintf(unix_address.sun_path, sizeof unix_address.sun_path, "%s/socket", directory);
  snprintf(path, sizeof path, "unix:%s", unix_address.sun_path);
  int listener = mj_listen(path, NULL, 1, 0);
  check_listener(listener);
  CHECK_INT(mj_listen(path, NULL, 1, 0), ==, -EADDRINUSE);
  for (int way = 0; way < 2; way++) {
    // The queue is full.
    enum { most = 8 };
    int clients[most], count = 0, result = 0;
    do {
      clients[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (way ? SOCK_NONBLOCK : 0), 0);
      result = mj_connect(clients[count++], (struct sockaddr*)&unix_address, sizeof unix_address,
                          5000000);
    } while (count < most && result == 0);
    CHECK_INT(result, ==, -ETIMEDOUT);
    call connector = {.make = connects_by_path, .fd = clients[count - 1], .timeout_ns = MJ_FOREVER};
    begin_call(&connector);
    mj_sleep_ns(5000000);
    CHECK(!connector.returned);
    mj_task_wake(connector.task);
    for (int i = 0; i < count; i++) {
      int server = mj_accept(listener, NULL, NULL, MJ_FOREVER);
      CHECK_INT(server, >=, 0);
      CHECK_INT(mj_fd_close(server), ==, 0);
    }
    CHECK_INT(result_of(&connector), ==, 0);
    for (int i = 0; i < count; i++) CHECK_INT(mj_fd_close(clients[i]), ==, 0);
  }
  CHECK_INT(mj_fd_close(listener), ==, 0);
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_CALL(mj_connect(client, (struct sockaddr*)&unix_address, sizeof unix_address, MJ_FOREVER),
             ==, -ECONNREFUSED);
  unlink(unix_address.sun_path);
  CHECK_CALL(mj_connect(client, (struct sockaddr*)&unix_address, sizeof unix_address, MJ_FOREVER),
             ==, -ENOENT);
  close(client);
  rmdir(directory);
}

int main(void) {
  RUN_IN_TASK(listeners);
  RUN_BY_BOTH_CLOCKS(accepting);
  RUN_IN_TASK(accepts_give_way);
  // Valgrind has a limit of descriptors of its own.
  if (!under_valgrind()) RUN_IN_TASK(no_descriptor_is_left);
  RUN_BY_BOTH_CLOCKS(connecting);
  RUN_BY_BOTH_CLOCKS(a_connection_that_takes_time);
  RUN_IN_TASK(sockets_with_paths);
  if (!under_tsan()) RUN(a_child_leaves_the_reason_to_its_parent);
  return 0;
}
