// Listening sockets that a process was given by who has started it: systemd's protocol. Each test is a child, which
// gives itself sockets and the environment, since that is read once in each process.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "in_a_task.h"
#include "log_lines.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { first = 3 };

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un path;
} place;

static place at_v4(uint32_t address, uint16_t port) {
  return (place){.v4 = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(address)}};
}

// A socket that listens, of the program's own and under a high number, and its place. -1 if there is no such family.
static int raw_listener(place* at, int options) {
  int fd = socket(at->any.sa_family, SOCK_STREAM, 0), on = 1;
  if (fd < 0) return -1;
  socklen_t length = sizeof *at;
  if (options == SO_REUSEPORT) CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), ==, 0);
  if (bind(fd, &at->any, at->any.sa_family == AF_UNIX ? sizeof at->path : sizeof at->v6) != 0) {
    CHECK_INT(errno, ==, EADDRNOTAVAIL);
    close(fd);
    return -1;
  }
  CHECK_INT(listen(fd, 8), ==, 0);
  CHECK_INT(getsockname(fd, &at->any, &length), ==, 0);
  int high = fcntl(fd, F_DUPFD, 100);
  CHECK_INT(high, >=, 100);
  CHECK_INT(close(fd), ==, 0);
  return high;
}

static const char* port_of(place at) {
  static __thread char port[6];
  snprintf(port, sizeof port, "%d", ntohs(at.v4.sin_port));
  return port;
}

// Sets what there is from 3 on, and what the environment says. A text is NULL where it says nothing, and "own" is the
// number of this process.
static void give(const int* fds, int count, const char* number, const char* pid) {
  for (int i = 0; i < count; i++) CHECK_INT(dup2(fds[i], first + i), ==, first + i);
  char text[24];
  snprintf(text, sizeof text, "%d", getpid());
  if (pid != NULL && strcmp(pid, "own") == 0) pid = text;
  CHECK_INT(pid == NULL ? unsetenv("LISTEN_PID") : setenv("LISTEN_PID", pid, 1), ==, 0);
  CHECK_INT(number == NULL ? unsetenv("LISTEN_FDS") : setenv("LISTEN_FDS", number, 1), ==, 0);
  setenv("LISTEN_FDNAMES", "web:other", 1);
}

static void give_all(const int* fds, int count) {
  char number[8];
  snprintf(number, sizeof number, "%d", count);
  give(fds, count, number, "own");
}

static int take(const char* address, const char* service) {
  return mj_listen(address, service, 0, MJ_LISTEN_INHERITED);
}

static void check_taken(int fd, int expected) {
  CHECK_INT(fd, ==, expected);
  CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
  CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
  CHECK_INT(mj_fd_release(fd), ==, 0);  // It was owned.
  CHECK_INT(mj_fd_adopt(fd), ==, 0);
}

// ---- what is taken

static void takes_each_once(void) {
  place one = at_v4(INADDR_LOOPBACK, 0), other = at_v4(INADDR_LOOPBACK, 0);
  const int fds[] = {raw_listener(&one, 0), raw_listener(&other, 0)};
  give_all(fds, 2);
  log_lines_begin();
  CHECK_INT(mj_listen("127.0.0.1", port_of(other), 0, 0), ==, -EADDRINUSE);  // Nobody has asked for it.
  check_taken(take("127.0.0.1", port_of(other)), 4);
  CHECK_INT(take("127.0.0.1", port_of(other)), ==, -EADDRINUSE);
  CHECK_INT(take("127.0.0.2", port_of(one)), >, 4);  // Not this very address.
  CHECK_INT(take("127.0.0.1", "0"), >, 4);           // Nor any port.
  check_taken(take("127.0.0.1", port_of(one)), 3);
  CHECK_INT(mj_close_inherited(), ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  // The number is another file's by now.
  CHECK_INT(mj_fd_close(3), ==, 0);
  CHECK_INT(dup2(fds[0], 3), ==, 3);
  CHECK_INT(take("127.0.0.1", port_of(one)), ==, -EADDRINUSE);
}

static void each_is_taken_once(void) { CHECK_INT(status_of_child(takes_each_once), ==, 0); }

static place visited;

static void serves_who_waits(void) {
  int listener = take("127.0.0.1", port_of(visited));
  check_taken(listener, 3);
  int fd = mj_accept(listener, NULL, NULL, LONG_NS);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(mj_write(fd, "x", 1, LONG_NS), ==, 1);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

static void serves_who_has_come_before(void) {
  visited = at_v4(INADDR_LOOPBACK, 0);
  const int fds[] = {raw_listener(&visited, 0)};
  int client = fcntl(socket(AF_INET, SOCK_STREAM, 0), F_DUPFD, 100);
  CHECK_INT(connect(client, &visited.any, sizeof visited.v4), ==, 0);
  give_all(fds, 1);
  in_a_task(serves_who_waits);
  char byte = 0;
  CHECK_INT(recv(client, &byte, 1, 0), ==, 1);
  CHECK_INT(byte, ==, 'x');
}

static void connections_in_the_queue_are_served(void) {
  CHECK_INT(status_of_child(serves_who_has_come_before), ==, 0);
}

// ---- several at one address

static void takes_a_set(void) {
  place at = at_v4(INADDR_LOOPBACK, 0);
  int fds[3];
  for (int i = 0; i < 3; i++) fds[i] = raw_listener(&at, SO_REUSEPORT);
  give_all(fds, 3);
  const unsigned flags = MJ_LISTEN_INHERITED | MJ_LISTEN_REUSEPORT;
  for (int i = 0; i < 3; i++) check_taken(mj_listen("127.0.0.1", port_of(at), 0, flags), first + i);
  int more = mj_listen("127.0.0.1", port_of(at), 0, flags);
  CHECK_INT(more, >, 5);
  CHECK_INT(fcntl(more, F_GETFD), ==, FD_CLOEXEC);
}

// One that was made to be alone is joined by others, if the program asks for that.
static void makes_a_set_of_one(void) {
  place at = at_v4(INADDR_LOOPBACK, 0);
  const int fds[] = {raw_listener(&at, 0)};
  give_all(fds, 1);
  const unsigned flags = MJ_LISTEN_INHERITED | MJ_LISTEN_REUSEPORT;
  check_taken(mj_listen("127.0.0.1", port_of(at), 0, flags), 3);
  CHECK_INT(mj_listen("127.0.0.1", port_of(at), 0, flags), >, 3);
}

static place shared_place;

static void* takes_one(void* argument) {
  *(int*)argument = mj_listen("127.0.0.1", port_of(shared_place), 0, MJ_LISTEN_INHERITED | MJ_LISTEN_REUSEPORT);
  return NULL;
}

static void takes_on_threads(void) {
  enum { threads = 16 };
  pthread_t ids[threads];
  int fds[threads], taken[threads];
  shared_place = at_v4(INADDR_LOOPBACK, 0);
  for (int i = 0; i < threads; i++) fds[i] = raw_listener(&shared_place, SO_REUSEPORT);
  give_all(fds, threads);
  for (int i = 0; i < threads; i++) CHECK_INT(pthread_create(&ids[i], NULL, takes_one, &taken[i]), ==, 0);
  bool seen[threads] = {false};
  for (int i = 0; i < threads; i++) {
    CHECK_INT(pthread_join(ids[i], NULL), ==, 0);
    CHECK_INT(taken[i], >=, first);
    CHECK_INT(taken[i], <, first + threads);
    CHECK(!seen[taken[i] - first]);
    seen[taken[i] - first] = true;
  }
}

static void several_at_one_address_are_given_out_one_by_one(void) {
  CHECK_INT(status_of_child(takes_a_set), ==, 0);
  CHECK_INT(status_of_child(makes_a_set_of_one), ==, 0);
  CHECK_INT(status_of_child(takes_on_threads), ==, 0);
}

// ---- other places

static void takes_a_path(void) {
  place at = {.path = {.sun_family = AF_UNIX}};
  char address[128];
  snprintf(at.path.sun_path, sizeof at.path.sun_path, "/tmp/majjen-inherited-%d", getpid());
  snprintf(address, sizeof address, "unix:%s", at.path.sun_path);
  const int fds[] = {raw_listener(&at, 0)};
  give_all(fds, 1);
  CHECK_INT(mj_listen(address, NULL, 0, MJ_LISTEN_INHERITED | MJ_LISTEN_REUSEPORT), ==, -EINVAL);
  CHECK_INT(mj_listen(address, NULL, 0, 0), ==, -EADDRINUSE);
  check_taken(take(address, NULL), 3);
  CHECK_INT(take(address, NULL), ==, -EADDRINUSE);
  unlink(address + 5);
  int anew = take(address, NULL);
  CHECK_INT(anew, >, 3);
  unlink(address + 5);
}

static void takes_all_addresses(void) {
  place v4 = at_v4(INADDR_ANY, 0), v6 = {.v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any}};
  const int fds[] = {raw_listener(&v4, 0), raw_listener(&v6, 0)};
  give_all(fds, fds[1] < 0 ? 1 : 2);
  check_taken(take(NULL, port_of(v4)), 3);
  if (fds[1] < 0) return;  // There is no IPv6.
  check_taken(take(NULL, port_of(v6)), 4);
}

static void takes_no_v4_for_v6(void) {
  place v4 = at_v4(INADDR_ANY, 0);
  const int fds[] = {raw_listener(&v4, 0)};
  give_all(fds, 1);
  int fd = mj_listen(NULL, port_of(v4), 0, MJ_LISTEN_INHERITED | MJ_LISTEN_V6ONLY);
  CHECK(fd > 3 || fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL);
}

static void takes_in_a_task(void) {
  check_taken(take("localhost", port_of(visited)), 3);
  CHECK_INT(mj_fd_close(3), ==, 0);
}

static void takes_at_a_name(void) {
  visited = at_v4(INADDR_LOOPBACK, 0);
  const int fds[] = {raw_listener(&visited, 0)};
  give_all(fds, 1);
  in_a_task(takes_in_a_task);
}

static void paths_names_and_all_addresses_are_taken(void) {
  CHECK_INT(status_of_child(takes_a_path), ==, 0);
  CHECK_INT(status_of_child(takes_all_addresses), ==, 0);
  CHECK_INT(status_of_child(takes_no_v4_for_v6), ==, 0);
  if (under_valgrind()) return;  // It counts what a thread has that is there when a child ends: one of the pool.
  CHECK_INT(status_of_child(takes_at_a_name), ==, 0);
}

// ---- what the environment may say

struct saying {
  const char *number, *pid;
  bool is_taken;
  int warnings;
};

static struct saying said;

static void hears(void) {
  place at = at_v4(INADDR_LOOPBACK, 0);
  const int fds[] = {raw_listener(&at, 0)};
  for (int fd = 4; fd < 20; fd++) close(fd);
  give(fds, 1, said.number, said.pid);
  close(fds[0]);  // Else it is one of 4096.
  log_lines_begin();
  CHECK_INT(take("127.0.0.1", port_of(at)), ==, said.is_taken ? 3 : -EADDRINUSE);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, said.warnings);
  CHECK_INT(fcntl(3, F_GETFD), ==, said.is_taken ? FD_CLOEXEC : 0);
  // It is read once.
  give(NULL, 0, "1", "own");
  CHECK_INT(take("127.0.0.1", port_of(at)), ==, -EADDRINUSE);
  CHECK_INT(mj_close_inherited(), ==, 0);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, said.warnings);
}

static void what_the_environment_says_does_no_harm(void) {
  static char long_text[70000];
  memset(long_text, '9', sizeof long_text - 1);
  const struct saying cases[] = {
      {"1", "own", true, 0},
      {"1", NULL, true, 0},
      {NULL, NULL, false, 0},
      {NULL, "own", false, 0},
      {"0", "own", false, 0},
      {"1", "1", false, 0},  // Another process's, as in what was started by one that was given sockets.
      {"1", "0", false, 0},
      {"4096", "own", true, 1},  // All but the first are not there.
      {"4097", "own", false, 1},
      {"99999999", "own", false, 1},
      {"18446744073709551617", "own", false, 1},
      {"-1", "own", false, 1},
      {"+1", "own", false, 1},
      {"", "own", false, 1},
      {" 1", "own", false, 1},
      {"1\n", "own", false, 1},
      {"\377\033[2J", "own", false, 1},
      {long_text, "own", false, 1},
      {"1", "", false, 1},
      {"1", "-7", false, 1},
      {"1", "4294967297", false, 1},
      {"1", "ourselves", false, 1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    said = cases[i];
    fprintf(stderr, "  LISTEN_FDS=%.20s LISTEN_PID=%s\n", said.number ? said.number : "-", said.pid ? said.pid : "-");
    CHECK_INT(status_of_child(hears), ==, 0);
  }
}

// What is no listening stream socket is left alone, and what the library owns as well.
static void leaves_others_alone(void) {
  place at = at_v4(INADDR_LOOPBACK, 0), bound = at_v4(INADDR_LOOPBACK, 0);
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  int datagrams = socket(AF_INET, SOCK_DGRAM, 0), silent = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(bind(silent, &bound.any, sizeof bound.v4), ==, 0);
  socklen_t length = sizeof bound;
  CHECK_INT(getsockname(silent, &bound.any, &length), ==, 0);
  int listener = raw_listener(&at, 0);
  int fds[] = {ends[0], datagrams, silent, listener, listener, listener};
  for (int i = 0; i < 6; i++) CHECK_INT(fds[i] = fcntl(fds[i], F_DUPFD, 50), >=, 50);
  for (int i = 0; i < 6; i++) close(first + i);
  give(fds, 6, "7", "own");
  CHECK_INT(mj_fd_adopt(7), ==, 0);  // A part of the program has one of them already.
  close(9);
  log_lines_begin();
  check_taken(take("127.0.0.1", port_of(at)), 6);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  CHECK(strstr(log_line_warning, "tells of 5 that cannot be taken: from descriptor 3 on") != NULL);
  CHECK_INT(take("127.0.0.1", port_of(bound)), ==, -EADDRINUSE);
  CHECK_INT(fcntl(3, F_GETFD), ==, 0);
  CHECK_INT(fcntl(4, F_GETFD), ==, 0);
  CHECK_INT(fcntl(5, F_GETFD), ==, 0);
  // Another part of the program closes one that is left, and its number is another file's.
  CHECK_INT(dup2(ends[0], 8), ==, 8);
  CHECK_INT(take("127.0.0.1", port_of(at)), ==, -EADDRINUSE);
  CHECK_INT(mj_close_inherited(), ==, 0);
  CHECK_INT(fcntl(8, F_GETFD), ==, 0);
}

static void what_is_no_listener_is_left_alone(void) { CHECK_INT(status_of_child(leaves_others_alone), ==, 0); }

// ---- those that are left

static void closes_the_others(void) {
  place one = at_v4(INADDR_LOOPBACK, 0), other = at_v4(INADDR_LOOPBACK, 0);
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  int fds[] = {raw_listener(&one, 0), raw_listener(&other, 0), fcntl(ends[0], F_DUPFD, 50), -1};
  fds[3] = fcntl(fds[1], F_DUPFD, 100);
  give_all(fds, 4);
  for (int i = 0; i < 4; i++) close(fds[i]);
  check_taken(take("127.0.0.1", port_of(one)), 3);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(connect(client, &other.any, sizeof other.v4), ==, 0);
  CHECK_INT(mj_close_inherited(), ==, 2);
  CHECK_INT(mj_close_inherited(), ==, 0);
  CHECK_INT(fcntl(3, F_GETFD), ==, FD_CLOEXEC);
  CHECK_INT(fcntl(4, F_GETFD), ==, -1);
  CHECK_INT(fcntl(5, F_GETFD), ==, 0);
  // Nobody waits there for ever: who has connected is told, and so is who comes later.
  char byte;
  CHECK_INT(recv(client, &byte, 1, 0), ==, -1);
  CHECK_INT(errno, ==, ECONNRESET);
  CHECK_INT(take("127.0.0.1", port_of(other)), >, 3);
}

static void those_left_can_be_closed(void) { CHECK_INT(status_of_child(closes_the_others), ==, 0); }

int main(void) {
  RUN(each_is_taken_once);
  RUN(connections_in_the_queue_are_served);
  RUN(several_at_one_address_are_given_out_one_by_one);
  RUN(paths_names_and_all_addresses_are_taken);
  RUN(what_the_environment_says_does_no_harm);
  RUN(what_is_no_listener_is_left_alone);
  RUN(those_left_can_be_closed);
  return 0;
}
