// Names that a server is asked for: what the system is set up to do with them (search domains, which kinds of
// addresses) a task is told, too, and one that is asked for what nobody answers keeps no other task waiting.
//
// The process has a network and files of its own, where the server is a thread of this program.
#define _GNU_SOURCE
#include "hooked.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

// ---- a world of its own

static void skip(const char* why) {
  fprintf(stderr, "no network and files of its own: %s: %s\n", why, strerror(errno));
  exit(check_skipped);
}

static void write_text(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) skip(path);
  close(fd);
}

// Lets this process see other contents of a file.
static void replace(const char* path, const char* text) {
  char copy[] = "/tmp/majjen-XXXXXX";
  int fd = mkstemp(copy);
  if (fd < 0) skip(copy);
  close(fd);
  write_text(copy, text);
  int failed = chmod(copy, 0644) != 0 || mount(copy, path, "none", MS_BIND, "") != 0;
  unlink(copy);
  if (failed) skip(path);
}

static void set_up(const char* device, const char* address) {
  struct ifreq request = {.ifr_flags = 0};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
  if (address != NULL) {
    struct sockaddr_in one = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &one.sin_addr);
    memcpy(&request.ifr_addr, &one, sizeof one);
    if (ioctl(fd, SIOCSIFADDR, &request) != 0) skip(address);
  }
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) skip(device);
  close(fd);
}

static void enter_own_world(void) {
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) {
    char user_map[40], group_map[40];
    snprintf(user_map, sizeof user_map, "0 %d 1", (int)getuid());
    snprintf(group_map, sizeof group_map, "0 %d 1", (int)getgid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) skip("unshare");
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", user_map);
    write_text("/proc/self/gid_map", group_map);
  }
  if (mount("none", "/", "none", MS_REC | MS_PRIVATE, "") != 0) skip("mount --make-rprivate /");
  replace("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n10.7.7.7 of-the-file other-name\n");
  replace("/etc/nsswitch.conf", "hosts: files dns\n");
  replace("/etc/resolv.conf",
          "nameserver 127.0.0.1\nsearch first.test second.test\noptions timeout:1 attempts:1\n");
  set_up("lo", NULL);
}

// ---- the server

static const struct record {
  const char *name, *ipv4, *ipv6;
} records[] = {
    {"host.second.test", "10.1.2.3", NULL},
    {"both.first.test", "10.1.2.4", "fd00::4"},
    {"both.second.test", "10.1.2.5", "fd00::5"},
    {"six.second.test", NULL, "fd00::6"},
    {"dotted.name", "10.1.2.7", NULL},
    {"dotted.name.second.test", "10.1.2.8", NULL},
};

static int server;
static unsigned unanswered;

// The name of a question, in words with points; returns what comes after it.
static const unsigned char* name_of(const unsigned char* at, char* name) {
  for (; *at != 0; at += *at + 1) name += sprintf(name, "%.*s.", *at, (const char*)at + 1);
  name[-1] = '\0';
  return at + 1;
}

// Appends an address as an answer to the question; returns how many answers that are.
static unsigned char append(unsigned char* message, size_t* bytes, int family, const char* address) {
  if (address == NULL) return 0;
  size_t length = family == AF_INET ? 4 : 16;
  unsigned char head[] = {0xc0, 12, 0, family == AF_INET ? 1 : 28, 0, 1, 0, 0, 0, 60, 0, (unsigned char)length};
  memcpy(message + *bytes, head, sizeof head);
  CHECK_INT(inet_pton(family, address, message + *bytes + sizeof head), ==, 1);
  *bytes += sizeof head + length;
  return 1;
}

static size_t answer(unsigned char* message) {
  enum { HEAD = 12, NO_SUCH_NAME = 3 };
  char name[256];
  const unsigned char* end = name_of(message + HEAD, name);
  size_t bytes = (size_t)(end + 4 - message);
  unsigned char result = NO_SUCH_NAME, count = 0;
  for (char* at = name; *at != '\0'; at++) *at = (char)tolower((unsigned char)*at);
  if (strstr(name, ".dead.") != NULL) return 0;
  for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
    if (strcmp(records[i].name, name) != 0) continue;
    result = 0;
    if (end[1] == 1) count = append(message, &bytes, AF_INET, records[i].ipv4);
    if (end[1] == 28) count = append(message, &bytes, AF_INET6, records[i].ipv6);
  }
  message[2] = 0x85;  // An answer, by who knows.
  message[3] = 0x80 | result;
  message[7] = count;
  memset(message + 8, 0, 4);
  return bytes;
}

static void* serves_names(void* unused) {
  (void)unused;
  struct sockaddr_in client;
  unsigned char message[600];
  for (;;) {
    socklen_t length = sizeof client;
    ssize_t bytes = recvfrom(server, message, 512, 0, (struct sockaddr*)&client, &length);
    if (bytes <= 1) return NULL;  // It is to end.
    size_t answered = answer(message);
    if (answered == 0) add_one(&unanswered);
    else sendto(server, message, answered, 0, (struct sockaddr*)&client, length);
  }
}

static struct sockaddr_in servers_address(void) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static pthread_t start_server(void) {
  struct sockaddr_in address = servers_address();
  pthread_t thread;
  server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK_INT(bind(server, (struct sockaddr*)&address, sizeof address), ==, 0);
  CHECK_INT(pthread_create(&thread, NULL, serves_names, NULL), ==, 0);
  return thread;
}

static void stop_server(pthread_t thread) {
  struct sockaddr_in address = servers_address();
  CHECK_INT(sendto(server, "", 1, 0, (struct sockaddr*)&address, sizeof address), ==, 1);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  close(server);
}

// ---- what is found

static unsigned ended;

typedef struct {
  char text[1000];
} found_text;

static void add(found_text* to, const char* format, ...) __attribute__((format(printf, 2, 3)));
static void add(found_text* to, const char* format, ...) {
  size_t length = strlen(to->text);
  va_list values;
  va_start(values, format);
  vsnprintf(to->text + length, sizeof to->text - length, format, values);
  va_end(values);
}

static void look_up(found_text* to, const char* name, const char* service, const struct addrinfo* hints) {
  struct addrinfo* list = NULL;
  int code = getaddrinfo(name, service, hints, &list);
  add(to, "%d", code);
  for (struct addrinfo* one = list; one != NULL; one = one->ai_next) {
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
    getnameinfo(one->ai_addr, one->ai_addrlen, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    add(to, " %d/%d/%d %s %s", one->ai_family, one->ai_socktype, one->ai_protocol, host, port);
    if (one->ai_canonname != NULL) add(to, " (%s)", one->ai_canonname);
  }
  if (code == 0) freeaddrinfo(list);
}

static void look_up_in_the_old_way(found_text* to, const char* name) {
  struct hostent* host = gethostbyname(name);
  add(to, "%d", host == NULL ? h_errno : 0);
  if (host == NULL) return;
  add(to, " %s", host->h_name);
  for (char** alias = host->h_aliases; *alias != NULL; alias++) add(to, " %s", *alias);
  for (char** one = host->h_addr_list; *one != NULL; one++) {
    char address[INET_ADDRSTRLEN];
    add(to, " %s", inet_ntop(AF_INET, *one, address, sizeof address));
  }
}

static void look_for_name(found_text* to, const char* address) {
  struct sockaddr_in one = {.sin_family = AF_INET};
  char host[NI_MAXHOST] = "";
  inet_pton(AF_INET, address, &one.sin_addr);
  int code = getnameinfo((struct sockaddr*)&one, sizeof one, host, sizeof host, NULL, 0, NI_NAMEREQD);
  add(to, "%d %s", code, code == 0 ? host : "");
}

static const char* const names[] = {"host", "both", "both.second.test.", "six", "dotted.name", "no-such", "localhost",
                                    "of-the-file", "192.0.2.1", "fe80::1%lo", "a..b"};
static const int flags[] = {0, AI_ADDRCONFIG, AI_CANONNAME, AI_V4MAPPED, AI_V4MAPPED | AI_ALL | AI_ADDRCONFIG,
                            AI_PASSIVE};
static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
enum {
  NAMES = sizeof names / sizeof names[0],
  FLAGS = sizeof flags / sizeof flags[0],
  FAMILIES = sizeof families / sizeof families[0],
  ALL = NAMES * FLAGS * FAMILIES + NAMES + 2,
};

static found_text expected[ALL];

static void look_up_all(found_text* to) {
  memset(to, 0, ALL * sizeof *to);
  for (int name = 0; name < NAMES; name++) {
    for (int flag = 0; flag < FLAGS; flag++) {
      for (int family = 0; family < FAMILIES; family++) {
        struct addrinfo hints = {.ai_flags = flags[flag], .ai_family = families[family],
                                 .ai_socktype = SOCK_STREAM};
        look_up(to++, names[name], "80", &hints);
      }
    }
    look_up_in_the_old_way(to++, names[name]);
  }
  look_for_name(to++, "10.7.7.7");
  look_for_name(to++, "10.1.2.3");
}

static void* expects(void* unused) {
  (void)unused;
  look_up_all(expected);
  return NULL;
}

static void finds_the_same(void* unused) {
  (void)unused;
  found_text* found = (found_text*)allocate(ALL * sizeof *found);
  look_up_all(found);
  for (int i = 0; i < ALL; i++) CHECK_STR(found[i].text, expected[i].text);
  free(found);
  add_one(&ended);
}

static void is_found(const char* name, int flag, const char* text) {
  struct addrinfo hints = {.ai_flags = flag, .ai_socktype = SOCK_STREAM};
  found_text found = {""};
  look_up(&found, name, NULL, &hints);
  CHECK_STR(found.text, text);
}

// A thread of its own is asked for the same.
static void answers_are_those_of_a_thread(void) {
  pthread_t serving = start_server(), asking;
  for (int with_ipv4 = 0; with_ipv4 <= 1; with_ipv4++) {
    // Now there is an address of one kind but the loopback's.
    if (with_ipv4) set_up("lo:1", "10.9.9.9");
    ended = 0;
    CHECK_INT(pthread_create(&asking, NULL, expects, NULL), ==, 0);
    CHECK_INT(pthread_join(asking, NULL), ==, 0);
    // gethostbyname() has one result for all threads, and one for each task.
    unsigned askers = in_threads() ? 1 : 5;
    for (unsigned i = 0; i < askers; i++) start(finds_the_same, NULL);
    wait_until(&ended, askers);
    // So that the thread is known to have found what there is.
    is_found("host", AI_CANONNAME, "0 2/1/6 10.1.2.3 0 (host.second.test)");
    is_found("dotted.name", 0, "0 2/1/6 10.1.2.7 0");
    if (with_ipv4) is_found("both", AI_ADDRCONFIG, "0 2/1/6 10.1.2.4 0");
  }
  stop_server(serving);
}

// ---- a server that says nothing

enum { DEAD = 4, MOST_TICKING = 1000, LEAST_TICKS = 5 };
static unsigned ticks_of[MOST_TICKING], all_run;

static void ticks_too(void* argument) {
  while (__atomic_load_n(&all_run, __ATOMIC_ACQUIRE)) {
    add_one(&ticks_of[(intptr_t)argument]);
    usleep(20000);
  }
  add_one(&ended);
}

static void is_not_answered(void* argument) {
  char name[32];
  struct addrinfo* found = NULL;
  snprintf(name, sizeof name, "name%d.dead.test.", (int)(intptr_t)argument);
  CHECK_INT(getaddrinfo(name, "80", NULL, &found), ==, EAI_AGAIN);
  add_one(&ended);
}

static void many_go_on_beside_what_is_not_answered(void) {
  unsigned ticking = (unsigned)times(MOST_TICKING, 50);
  ended = unanswered = 0;
  all_run = 1;
  pthread_t serving = start_server();
  memset(ticks_of, 0, sizeof ticks_of);
  uint64_t began = now_ns();
  for (intptr_t i = 0; i < DEAD; i++) start(is_not_answered, (void*)i);
  for (intptr_t i = 0; i < (intptr_t)ticking; i++) start(ticks_too, (void*)i);
  wait_until(&ended, DEAD);
  CHECK_UINT(now_ns() - began, >=, 1000000000);
  CHECK_UINT(__atomic_load_n(&unanswered, __ATOMIC_ACQUIRE), >=, DEAD);
  if (!in_threads())
    for (unsigned i = 0; i < ticking; i++)
      CHECK_UINT(__atomic_load_n(&ticks_of[i], __ATOMIC_ACQUIRE), >=, LEAST_TICKS);
  __atomic_store_n(&all_run, 0, __ATOMIC_RELEASE);
  wait_until(&ended, DEAD + ticking);
  stop_server(serving);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  enter_own_world();
  RUN_HOOKED(answers_are_those_of_a_thread);
  RUN_HOOKED(many_go_on_beside_what_is_not_answered);
  return 0;
}
