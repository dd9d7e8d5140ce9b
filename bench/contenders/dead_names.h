// Row 11: reads of a file that is in memory, alone and beside look-ups whose server is dead. The process has a
// network and a view of the files of its own, in which the resolver asks a socket that nobody reads.
//
// `dead_names count=N whole=N`: N reads, by the task itself or, with `whole=1`, of the whole file by the pool;
// first alone, then beside the look-ups.
#ifndef DEAD_NAMES_H
#define DEAD_NAMES_H

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "contender.h"

enum { DEAD_NAMES = 100, READ_BYTES = 4096 };

static struct {
  uint64_t count, started, ended;
  int whole;
  char directory[40], file[60];
  int64_t *alone_ns, *beside_ns;
} dead;

// ---- a world of its own

static int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  size_t bytes = strlen(text);
  int written = fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes;
  if (fd >= 0) close(fd);
  return written;
}

// Lets this process see other contents of a file.
static void replace_file(const char *path, const char *name, const char *text) {
  char copy[80];
  snprintf(copy, sizeof copy, "%s/%s", dead.directory, name);
  if (!write_text(copy, text) || mount(copy, path, NULL, MS_BIND, NULL) != 0) fail("a file in place of another");
  unlink(copy);
}

// Returns whether the system lets it.
static int enter_own_world(void) {
  char map[40];
  unsigned user = (unsigned)getuid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) return 0;
  snprintf(map, sizeof map, "%u %u 1\n", user, user);
  if (!write_text("/proc/self/uid_map", map)) return 0;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 0;
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
  if (fd >= 0) close(fd);
  return is_up;
}

// Whom the resolver asks: the socket stays open, so that nothing is refused, and is never read.
static void bury_names(void) {
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (bind(fd, (struct sockaddr *)&server, sizeof server) != 0) fail("bind");
  replace_file("/etc/resolv.conf", "resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:2\n");
  if (access("/etc/nsswitch.conf", F_OK) == 0) replace_file("/etc/nsswitch.conf", "nsswitch.conf", "hosts: dns\n");
}

static void write_read_file(void) {
  char bytes[READ_BYTES + 1];
  memset(bytes, 'x', READ_BYTES);
  bytes[READ_BYTES] = 0;
  if (!write_text(dead.file, bytes)) fail("a file to read");
}

// ---- the test

static void look_up_dead(void *number) {
  char name[40];
  struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
  snprintf(name, sizeof name, "host-%d.example", (int)(intptr_t)number);
  dead.started++;
  int result = mj_getaddrinfo(name, "80", &hints, &list, MJ_FOREVER);
  dead.ended++;
  if (result != -ECANCELED) fail("a look-up has ended by itself");
}

static void read_dead(int64_t *took_ns) {
  char bytes[READ_BYTES], *whole;
  int fd = mj_open(dead.file, O_RDONLY, 0, MJ_FOREVER);
  for (uint64_t i = 0; i < dead.count; i++) {
    uint64_t began_ns = wall_ns();
    ssize_t got = dead.whole ? mj_file_read_all(dead.file, READ_BYTES, &whole, NULL, MJ_FOREVER)
                             : mj_pread(fd, bytes, READ_BYTES, 0, MJ_FOREVER) - READ_BYTES;
    took_ns[i] = (int64_t)(wall_ns() - began_ns);
    if (got != 0) fail("a read");
    if (dead.whole) free(whole);
    mj_sleep_ns(20000);
  }
  mj_fd_close(fd);
}

static void read_alone_and_beside(void *scheduler) {
  mj_task_id ids[DEAD_NAMES];
  read_dead(dead.beside_ns);  // Once more than is measured, so that both find everything in the caches.
  read_dead(dead.alone_ns);
  for (int i = 0; i < DEAD_NAMES; i++) mj_go(scheduler, look_up_dead, (void *)(intptr_t)i, &ids[i]);
  read_dead(dead.beside_ns);
  mj_offload_counts counts;
  mj_offload_get_counts(MJ_OFFLOAD_DNS, &counts, sizeof counts);
  if (dead.started != DEAD_NAMES || dead.ended != 0 || counts.running == 0) fail("the look-ups have let up");
  for (int i = 0; i < DEAD_NAMES; i++) mj_scheduler_cancel(scheduler, ids[i]);
}

static void report_reads(const char *name, int64_t *took_ns) {
  char words[40];
  qsort(took_ns, dead.count, sizeof *took_ns, compare_lateness);
  snprintf(words, sizeof words, "%s_p50_ns", name);
  report(words, (double)took_ns[dead.count / 2]);
  snprintf(words, sizeof words, "%s_p99_ns", name);
  report(words, (double)took_ns[dead.count * 99 / 100]);
}

static void test_dead_names(void) {
  dead.count = argument("count");
  dead.whole = argument("whole") != 0;
  report("work", (double)dead.count);
  snprintf(dead.directory, sizeof dead.directory, "/tmp/majjen-bench-XXXXXX");
  if (mkdtemp(dead.directory) == NULL) fail("mkdtemp");
  snprintf(dead.file, sizeof dead.file, "%s/file", dead.directory);
  int is_own = enter_own_world();
  report("is_own", is_own);
  if (is_own) {
    bury_names();
    write_read_file();
    dead.alone_ns = (int64_t *)malloc(dead.count * sizeof *dead.alone_ns);
    dead.beside_ns = (int64_t *)malloc(dead.count * sizeof *dead.beside_ns);
    mj_log_set_level(MJ_LOG_WARN);
    mj_scheduler *scheduler = mj_scheduler_create();
    mj_go(scheduler, read_alone_and_beside, scheduler, NULL);
    mj_run(scheduler);
    mj_scheduler_destroy(scheduler);
    report_reads("alone", dead.alone_ns);
    report_reads("beside", dead.beside_ns);
    report("ratio", (double)dead.beside_ns[dead.count * 99 / 100] / (double)dead.alone_ns[dead.count * 99 / 100]);
    unlink(dead.file);
  }
  rmdir(dead.directory);
  fflush(stdout);
  _exit(0);  // The look-ups go on for as long as the resolver waits.
}

#endif
