// Tells which ports of a host accept connections; so many are tried at a time, and each for so
// long: port_scan HOST FIRST LAST [AT-A-TIME [LIMIT-MS]]
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"
#include <netdb.h>

static char **arguments, host[64];
static uint64_t limit_ns = UINT64_C(1000000000);

static int scan_port(void* port) {
  char service[16];
  snprintf(service, sizeof service, "%d", (int)(intptr_t)port);
  int fd = mj_dial(host, service, limit_ns);
  if (fd >= 0) printf("%s\n", service);
  return fd >= 0 ? mj_fd_close(fd) : fd == -ECONNREFUSED || fd == -ETIMEDOUT ? 0 : fd;
}

static void scan(void* group) {
  struct addrinfo* list;  // Looked up once; what is dialed is numeric.
  int error = mj_getaddrinfo(arguments[1], NULL, NULL, &list, MJ_FOREVER);
  const char* why = error > 0 ? gai_strerror(-error) : strerror(-error);
  if (error != 0) exit(fprintf(stderr, "port_scan: %s: %s\n", arguments[1], why) != 0);
  mj_getnameinfo(list->ai_addr, list->ai_addrlen, host, 64, NULL, 0, NI_NUMERICHOST, MJ_FOREVER);
  freeaddrinfo(list);
  for (int port = atoi(arguments[2]); port <= atoi(arguments[3]); port++) {
    // Waits while as many as the group may have are under way. After a failure it takes no more.
    if (mj_group_go(group, scan_port, (void*)(intptr_t)port, MJ_FOREVER) != 0) break;
  }
}

int main(int argc, char** argv) {
  if (argc < 4) return fprintf(stderr, "port_scan HOST FIRST LAST [AT-A-TIME [LIMIT-MS]]\n"), 2;
  arguments = argv;
  if (argc > 5) limit_ns = strtoull(argv[5], NULL, 10) * 1000000;
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_group* group = mj_group_create(scheduler, argc > 4 ? strtoul(argv[4], NULL, 10) : 100);
  mj_group_set_fail_fast(group, true);  // No network: there is no point in going on.
  if (mj_go(scheduler, scan, group, NULL) == 0) mj_run(scheduler);  // Returns when all have ended.
  int failure = mj_group_error(group);
  if (failure != 0) fprintf(stderr, "port_scan: %s\n", strerror(-failure));
  mj_group_destroy(group);
  mj_scheduler_destroy(scheduler);
  return failure != 0;
}
