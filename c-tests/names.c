// Names: looking them up, connecting to them, listening at them.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"
#include "log_lines.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/un.h>

static struct addrinfo* const untouched = (struct addrinfo*)&untouched;

static int look_up(const char* host, const char* service, const struct addrinfo* hints,
                   struct addrinfo** list) {
  *list = untouched;
  errno = 4321;
  int result = mj_getaddrinfo(host, service, hints, list, LONG_NS);
  CHECK_INT(errno, ==, 4321);
  CHECK((result == 0) == (*list != untouched));
  return result;
}

// ---- Looking up ----

static void what_is_numeric_is_as_by_getaddrinfo(void) {
  struct {
    const char *host, *service;
    int flags, family;
  } cases[] = {
      {"127.0.0.1", "80", 0, 0},
      {"127.0.0.1", NULL, 0, 0},
      {"::1", "443", 0, 0},
      {"::1", "443", 0, AF_INET},
      {"127.0.0.1", "1", 0, AF_INET6},
      {"127.0.0.1", "1", AI_V4MAPPED, AF_INET6},
      {NULL, "80", AI_PASSIVE, 0},
      {NULL, "80", 0, AF_INET},
      {NULL, NULL, 0, 0},
      {"127.0.0.1", "80", AI_CANONNAME, 0},
      {"127.0.0.1", "no-such-service", 0, 0},
      {"127.0.0.1", "no-such-service", AI_NUMERICSERV, 0},
      {"127.0.0.1", "80", 0, 12345},
      {"127.0.0.1", "80", 0x4000000, 0},
      {"nonsense", "80", AI_NUMERICHOST, 0},
      {"", "80", AI_NUMERICHOST, 0},
      {"127.1", "80", 0, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fprintf(stderr, "  %s %s %#x %d\n", cases[i].host, cases[i].service, cases[i].flags,
            cases[i].family);
    struct addrinfo hints = {.ai_flags = cases[i].flags, .ai_family = cases[i].family};
    struct addrinfo *expected, *list;
    int error = getaddrinfo(cases[i].host, cases[i].service, &hints, &expected);
    CHECK_INT(look_up(cases[i].host, cases[i].service, &hints, &list), ==, -error);
    if (error != 0) continue;
    struct addrinfo* one = list;
    for (struct addrinfo* other = expected; other != NULL; other = other->ai_next) {
      CHECK(one != NULL && one->ai_family == other->ai_family);
      CHECK_INT(one->ai_socktype, ==, other->ai_socktype);
      CHECK_UINT(one->ai_addrlen, ==, other->ai_addrlen);
      CHECK_INT(memcmp(one->ai_addr, other->ai_addr, one->ai_addrlen), ==, 0);
      CHECK((one->ai_canonname == NULL) == (other->ai_canonname == NULL));
      one = one->ai_next;
    }
    CHECK(one == NULL);
    freeaddrinfo(list);
    freeaddrinfo(expected);
  }
}

// Before any name was looked up.
static void what_is_numeric_takes_no_thread(void) {
  struct addrinfo* list;
  CHECK_CALL(mj_getaddrinfo("127.0.0.1", "80", NULL, &list, LONG_NS), ==, 0);
  freeaddrinfo(list);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  char host[64], service[32];
  const int flags = NI_NUMERICHOST | NI_NUMERICSERV;
  CHECK_CALL(mj_getnameinfo((struct sockaddr*)&address, sizeof address, host, sizeof host, service,
                            sizeof service, flags, LONG_NS),
             ==, 0);
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK_INT(listener, >=, 0);
  socklen_t length = sizeof address;
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  snprintf(service, sizeof service, "%d", ntohs(address.sin_port));
  int fd = mj_dial("127.0.0.1", service, LONG_NS);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_DNS, &counts, sizeof counts), ==, 0);
  CHECK_UINT(counts.threads, ==, 0);
}

static void localhost_is_found(void) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list;
  CHECK_INT(look_up("localhost", "80", &hints, &list), ==, 0);
  struct sockaddr_in* address = (struct sockaddr_in*)list->ai_addr;
  CHECK_INT(ntohl(address->sin_addr.s_addr), ==, INADDR_LOOPBACK);
  CHECK_INT(ntohs(address->sin_port), ==, 80);
  freeaddrinfo(list);
  CHECK_INT(look_up("localhost", NULL, NULL, &list), ==, 0);
  freeaddrinfo(list);
}

static void names_of_addresses(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  struct sockaddr* generic = (struct sockaddr*)&address;
  char host[NI_MAXHOST], service[NI_MAXSERV];
  int numeric = NI_NUMERICHOST | NI_NUMERICSERV;
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, host, sizeof host, service, sizeof service,
                            numeric, LONG_NS), ==, 0);
  CHECK_STR(host, "127.0.0.1");
  CHECK_STR(service, "80");
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, NULL, 0, service, sizeof service,
                            numeric, LONG_NS), ==, 0);
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, host, sizeof host, NULL, 0, 0, LONG_NS), ==, 0);
  char expected[NI_MAXHOST];
  CHECK_INT(getnameinfo(generic, sizeof address, expected, sizeof expected, NULL, 0, 0), ==, 0);
  CHECK_STR(host, expected);
  // Too small, both ways; nothing asked for; and what is no address.
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, host, 2, NULL, 0, numeric, LONG_NS), ==,
             -EAI_OVERFLOW);
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, host, 2, NULL, 0, 0, LONG_NS), ==,
             -EAI_OVERFLOW);
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, NULL, 0, NULL, 0, 0, LONG_NS), ==,
             -getnameinfo(generic, sizeof address, NULL, 0, NULL, 0, 0));
  CHECK_CALL(mj_getnameinfo(NULL, 16, host, sizeof host, NULL, 0, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_getnameinfo(generic, 1, host, sizeof host, NULL, 0, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_getnameinfo(generic, 4096, host, sizeof host, NULL, 0, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_getnameinfo(generic, 3, host, sizeof host, NULL, 0, 0, LONG_NS), ==,
             -EAI_FAMILY);
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, NULL, 5, NULL, 0, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, host, 5, NULL, 5, 0, LONG_NS), ==, -EINVAL);
  address.sin_family = 12345;
  CHECK_CALL(mj_getnameinfo(generic, sizeof address, host, sizeof host, NULL, 0, 0, LONG_NS), ==,
             -EAI_FAMILY);
}

// ---- Dialing ----

static int listener_at(const char* address, char service[8]) {
  int listener = mj_listen(address, "0", 0, 0);
  if (listener < 0) return listener;
  struct sockaddr_storage place;
  socklen_t length = sizeof place;
  CHECK_INT(getsockname(listener, (struct sockaddr*)&place, &length), ==, 0);
  uint16_t port = place.ss_family == AF_INET ? ((struct sockaddr_in*)&place)->sin_port
                                             : ((struct sockaddr_in6*)&place)->sin6_port;
  snprintf(service, 8, "%d", ntohs(port));
  return listener;
}

static void check_dialed(int fd, int listener) {
  CHECK_INT(fd, >=, 0);
  CHECK_INT(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
  CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
  CHECK_INT(mj_fd_release(fd), ==, 0);  // It was owned.
  CHECK_INT(mj_fd_adopt(fd), ==, 0);
  int server = mj_accept(listener, NULL, NULL, LONG_NS);
  CHECK_INT(server, >=, 0);
  char byte = 0;
  CHECK_INT(mj_write(server, "x", 1, LONG_NS), ==, 1);
  CHECK_INT(mj_read(fd, &byte, 1, LONG_NS), ==, 1);
  CHECK_INT(mj_fd_close(server), ==, 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

static int dial(const char* host, const char* service, uint64_t timeout_ns) {
  int before = open_descriptors();
  errno = 4321;
  int fd = mj_dial(host, service, timeout_ns);
  CHECK_INT(errno, ==, 4321);
  if (fd < 0) CHECK_INT(open_descriptors(), ==, before);
  return fd;
}

static void addresses_and_names_are_dialed(void) {
  const char* places[] = {"127.0.0.1", "localhost", "::1"};
  for (int i = 0; i < 3; i++) {
    char service[8];
    int listener = listener_at(i == 1 ? "127.0.0.1" : places[i], service);
    if (i == 2 && listener < 0) continue;  // No IPv6 here.
    // Where localhost is ::1 first, that refuses.
    check_dialed(dial(places[i], service, LONG_NS), listener);
    CHECK_INT(mj_fd_close(listener), ==, 0);
    CHECK_INT(dial(places[i], service, LONG_NS), ==, -ECONNREFUSED);
    // Nothing is left off a number that is no port.
    CHECK_INT(dial(places[i], "65616", LONG_NS), ==, -EINVAL);
  }
}

static void names_are_listened_at(void) {
  char service[8];
  int listener = listener_at("localhost", service);
  CHECK_INT(listener, >=, 0);
  CHECK_INT(fcntl(listener, F_GETFD), ==, FD_CLOEXEC);
  check_dialed(dial("localhost", service, LONG_NS), listener);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  CHECK_INT(mj_listen("localhost", "http", 0, 0), ==, -EINVAL);
  CHECK_INT(mj_listen("localhost", NULL, 0, 0), ==, -EINVAL);
  CHECK_INT(mj_listen("127.0.0.1", "0", 0, MJ_LISTEN_V6ONLY), ==, -EINVAL);
  CHECK_INT(mj_listen("1.2.3", "0", 0, 0), ==, -EADDRNOTAVAIL);  // 1.2.0.3, as it always was.
  CHECK_INT(mj_listen("no such name", "0", 0, 0), ==, -ENOENT);
}

static void paths_are_dialed(void) {
  char path[80];
  snprintf(path, sizeof path, "unix:/tmp/majjen-dial-%d", getpid());
  CHECK_INT(dial(path, NULL, LONG_NS), ==, -ENOENT);
  int listener = mj_listen(path, NULL, 1, 0);
  CHECK_INT(listener, >=, 0);
  check_dialed(dial(path, NULL, LONG_NS), listener);
  // The queue is full after two: not in time, and then there is room.
  int fds[2] = {dial(path, NULL, LONG_NS), dial(path, NULL, LONG_NS)};
  CHECK(fds[0] >= 0 && fds[1] >= 0);
  CHECK_INT(dial(path, NULL, 0), ==, -ETIMEDOUT);
  CHECK_INT(dial(path, NULL, 3000000), ==, -ETIMEDOUT);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_fd_close(fds[i]), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  CHECK_INT(dial(path, NULL, LONG_NS), ==, -ECONNREFUSED);
  unlink(path + 5);
}

static void wrong_arguments(void) {
  struct addrinfo* list;
  CHECK_CALL(mj_getaddrinfo("localhost", NULL, NULL, NULL, LONG_NS), ==, -EINVAL);
  CHECK_INT(look_up(NULL, NULL, NULL, &list), ==, -EAI_NONAME);
  struct {
    const char *host, *service;
    int error;
  } bad[] = {
      {NULL, "80", EINVAL},           {"127.0.0.1", NULL, EINVAL},
      {"", "80", EINVAL},             {"127.0.0.1", "", EINVAL},
      {"unix:", NULL, EINVAL},        {"unix:/tmp/x", "80", EINVAL},
      {"127.0.0.1", "no-such-service", EPROTONOSUPPORT},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    fprintf(stderr, "  %s %s\n", bad[i].host, bad[i].service);
    CHECK_INT(dial(bad[i].host, bad[i].service, LONG_NS), ==, -bad[i].error);
  }
}

static void only_in_tasks(void) {
  struct addrinfo* list = untouched;
  struct sockaddr address = {.sa_family = AF_INET};
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_getaddrinfo("127.0.0.1", "80", NULL, &list, LONG_NS), ==, -EPERM));
  CHECK(list == untouched);
  CHECK_WARNS(
      CHECK_INT(mj_getnameinfo(&address, sizeof address, NULL, 0, NULL, 0, 0, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_dial("127.0.0.1", "80", LONG_NS), ==, -EPERM));
  const char* names[] = {"localhost", "127.0.0.1 ", "1.2.3", "\377", "no such name"};
  for (int i = 0; i < 5; i++) {
    CHECK_WARNS(CHECK_CALL(mj_listen(names[i], "0", 0, 0), ==, -EPERM));
  }
  // What is wrong in any case, or needs no look-up.
  size_t lines = log_lines_from(MJ_LOG_WARN);
  CHECK_INT(mj_listen("localhost", "http", 0, 0), ==, -EINVAL);
  CHECK_INT(mj_listen("localhost", NULL, 0, 0), ==, -EINVAL);
  CHECK_INT(mj_listen("unix:", NULL, 0, 0), ==, -EINVAL);
  const char* places[] = {"127.0.0.1", NULL, ""};
  for (int i = 0; i < 3; i++) {
    int listener = mj_listen(places[i], "0", 0, 0);
    CHECK_INT(listener, >=, 0);
    CHECK_INT(mj_fd_close(listener), ==, 0);
  }
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, lines);
  log_lines_end();
}

// ---- Limits, and cancellation ----

// A listener whose queue is full: further attempts are not answered.
static int full_listener(char service[8], int fillers[3]) {
  int listener = mj_listen("127.0.0.1", "0", 1, 0);
  struct sockaddr_in place;
  socklen_t length = sizeof place;
  CHECK_INT(getsockname(listener, (struct sockaddr*)&place, &length), ==, 0);
  snprintf(service, 8, "%d", ntohs(place.sin_port));
  for (int i = 0; i < 3; i++) {
    fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)connect(fillers[i], (struct sockaddr*)&place, length);
  }
  return listener;
}

static const char* full_service;
static int dials_a_full_one(call* self) {
  return mj_dial("127.0.0.1", full_service, self->timeout_ns);
}

static void an_attempt_that_nobody_answers_ends(void) {
  char service[8];
  int fillers[3], listener = full_listener(service, fillers);
  full_service = service;
  CHECK_INT(dial("127.0.0.1", service, 0), ==, -ETIMEDOUT);
  uint64_t before = now_ns();
  CHECK_INT(dial("127.0.0.1", service, 20000000), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - before, >=, 20000000);
  // By the deadline of the task.
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(5000000), NULL), ==, 0);
  CHECK_INT(dial("127.0.0.1", service, LONG_NS), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_set_deadline(MJ_FOREVER, NULL), ==, 0);
  int open_before = open_descriptors();
  call one = {.make = dials_a_full_one, .timeout_ns = MJ_FOREVER};
  begin_call(&one);
  for (int i = 0; i < 10000 && open_descriptors() == open_before; i++) mj_task_yield();
  CHECK_INT(open_descriptors(), ==, open_before + 1);
  mj_task_cancel(one.task);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  CHECK_INT(open_descriptors(), ==, open_before);
  for (int i = 0; i < 3; i++) close(fillers[i]);
  CHECK_INT(mj_fd_close(listener), ==, 0);
}

int main(void) {
  RUN_IN_TASK(what_is_numeric_takes_no_thread);
  RUN_BY_BOTH_CLOCKS(what_is_numeric_is_as_by_getaddrinfo);
  RUN_IN_TASK(localhost_is_found);
  RUN_IN_TASK(names_of_addresses);
  RUN_BY_BOTH_CLOCKS(addresses_and_names_are_dialed);
  RUN_IN_TASK(names_are_listened_at);
  RUN_IN_TASK(paths_are_dialed);
  RUN_IN_TASK(wrong_arguments);
  RUN(only_in_tasks);
  RUN_BY_BOTH_CLOCKS(an_attempt_that_nobody_answers_ends);
  return 0;
}
