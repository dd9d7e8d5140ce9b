// Tells which ports of an address accept connections; so many are tried at a time, and each for so
// long: port_scan ADDRESS FIRST LAST [AT-A-TIME [LIMIT-MS]]
#define _POSIX_C_SOURCE 200809L
#include "majjen.h"
#include <netdb.h>

static char** arguments;
static uint64_t limit_ns = UINT64_C(1000000000);

static int scan_port(void* port) {
  mj_task_set_deadline(mj_deadline_after(limit_ns), NULL);  // For all that this task waits for.
  char service[16];
  snprintf(service, sizeof service, "%d", (int)(intptr_t)port);
  struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *address;
  if (getaddrinfo(arguments[1], service, &numeric, &address) != 0) return -EINVAL;
  int fd = socket(address->ai_family, SOCK_STREAM, 0);
  int result = fd < 0 ? -errno : mj_connect(fd, address->ai_addr, address->ai_addrlen, MJ_FOREVER);
  if (result == 0) printf("%s\n", service);
  if (fd >= 0) mj_fd_close(fd);
  freeaddrinfo(address);
  return result == -ECONNREFUSED || result == -ETIMEDOUT ? 0 : result;
}

static void scan(void* group) {
  for (int port = atoi(arguments[2]); port <= atoi(arguments[3]); port++) {
    // Waits while as many as the group may have are under way. After a failure it takes no more.
    if (mj_group_go(group, scan_port, (void*)(intptr_t)port, MJ_FOREVER) != 0) break;
  }
}

int main(int argc, char** argv) {
  if (argc < 4) return fprintf(stderr, "port_scan ADDRESS FIRST LAST [AT-A-TIME [LIMIT-MS]]\n"), 2;
  arguments = argv;
  if (argc > 5) limit_ns = strtoull(argv[5], NULL, 10) * 1000000;
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_group* group = mj_group_create(scheduler, argc > 4 ? strtoul(argv[4], NULL, 10) : 100);
  mj_group_set_fail_fast(group, true);  // No network, a bad address: there is no point in going on.
  if (mj_go(scheduler, scan, group, NULL) == 0) mj_run(scheduler);  // Returns when all have ended.
  int failure = mj_group_error(group);
  if (failure != 0) fprintf(stderr, "port_scan: %s\n", strerror(-failure));
  mj_group_destroy(group);
  mj_scheduler_destroy(scheduler);
  return failure != 0;
}
