// A server on several cores whose clients are processes that are killed at any point: when all are gone it has as many
// descriptors as before, and no more memory. The argument is how many seconds each half of the load takes.
#define _GNU_SOURCE
#include "../check.h"
#include "../child.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CORES = 3, CLIENTS = 6, CONNECTIONS = 40 };

static mj_cluster* cluster;
static int port;
static atomic_long on_core[CORES], messages;

static void* counts_connection(int fd, void* unused) {
  (void)unused;
  atomic_fetch_add(&on_core[mj_cluster_here(cluster)], 1);
  int* state = malloc(sizeof *state);
  *state = fd;
  return state;
}

static void answers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  char bytes[512];
  for (;;) {
    ssize_t count = mj_read(fd, bytes, sizeof bytes, MJ_FOREVER);
    if (count <= 0 || mj_write(fd, bytes, (size_t)count, MJ_FOREVER) != count) break;
    atomic_fetch_add(&messages, 1);
  }
  close(fd);
  mj_task_exit();
}

// ---- The clients, which call nothing that a child of a process with threads may not

static int dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(fd, (struct sockaddr*)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

static void hangs_up(int fd, bool resets) {
  struct linger at_once = {.l_onoff = 1};
  if (resets) setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

static void is_a_client(unsigned seed) {
  int fds[CONNECTIONS];
  for (int i = 0; i < CONNECTIONS; i++) fds[i] = -1;
  for (;;) {
    int* fd = &fds[rand_r(&seed) % CONNECTIONS];
    if (*fd < 0) *fd = dial();
    if (*fd < 0) continue;
    char bytes[256] = "";
    size_t size = 1 + (size_t)rand_r(&seed) % sizeof bytes;
    if (send(*fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) _exit(1);
    int next = rand_r(&seed) % 16;
    if (next > 1 && recv(*fd, bytes, size, MSG_WAITALL) != (ssize_t)size) _exit(1);
    if (next < 4) {
      hangs_up(*fd, next % 2);
      *fd = -1;
    }
  }
}

// Waits until no core has anything to do: then all clients' connections have ended.
static void wait_until_idle(void) {
  for (size_t core = 0; core < CORES; core++) {
    while (mj_cluster_load(cluster, core) > 0) usleep(1000);
  }
}

static unsigned seed_of_kills = 24;

static pid_t new_client(void) {
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(300);
    is_a_client(seed_of_kills);
  }
  return child;
}

static void kill_client(pid_t client) {
  int status;
  CHECK_INT(kill(client, SIGKILL), ==, 0);
  CHECK_INT(waitpid(client, &status, 0), ==, client);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);  // Until then it was served.
}

static void serve_for(uint64_t ns) {
  uint64_t end = now_ns() + ns;
  long before = messages;
  pid_t clients[CLIENTS];
  for (int i = 0; i < CLIENTS; i++, seed_of_kills++) clients[i] = new_client();
  while (now_ns() < end || messages - before < 100) {
    usleep((useconds_t)(rand_r(&seed_of_kills) % 20000));
    pid_t* one = &clients[rand_r(&seed_of_kills) % CLIENTS];
    kill_client(*one);
    *one = new_client();
  }
  for (int i = 0; i < CLIENTS; i++) kill_client(clients[i]);
  wait_until_idle();
}

// ---- What the process has

static long resident_kib(void) {
  FILE* status = fopen("/proc/self/status", "r");
  CHECK(status != NULL);
  char line[200];
  long kib = 0;
  while (fgets(line, sizeof line, status)) sscanf(line, "VmRSS: %ld kB", &kib);
  fclose(status);
  return kib;
}

// What of the stacks that are kept warm was touched differs from time to time: on each core 64 of them.
enum { SLACK_KIB = CORES * 64 * 16 };

static void nothing_is_left_of_killed_clients(uint64_t half) {
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = CORES});
  mj_service service = {.handler = answers, .connection = counts_connection};
  port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
  CHECK_INT(port, >, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  serve_for(half / 4);  // All tables have their size.
  int descriptors = open_descriptors();
  long after_half = 0;
  for (int i = 0; i < 2; i++) {
    serve_for(half);
    CHECK_INT(open_descriptors(), ==, descriptors);
    long now = resident_kib();
    if (i == 1 && !sanitized() && !under_valgrind()) CHECK_INT(now - after_half, <=, SLACK_KIB);
    after_half = now;
  }
  long all = 0;
  for (int i = 0; i < CORES; i++) all += on_core[i];
  printf("%ld messages on %ld connections: %ld, %ld, %ld; %ld KiB\n", (long)messages, all,
          (long)on_core[0], (long)on_core[1], (long)on_core[2], after_half);
  for (int i = 0; i < CORES; i++) CHECK_INT(on_core[i], >=, all / CORES / 4);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

int main(int argc, char** argv) {
  CHECK_INT(argc, ==, 2);
  int before = open_descriptors();
  nothing_is_left_of_killed_clients(UINT64_C(1000000000) * strtoul(argv[1], NULL, 10));
  CHECK_INT(open_descriptors(), ==, before);
  return 0;
}
