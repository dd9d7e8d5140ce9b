// Handing listening sockets over to a new process, and what a process tells who has started it.
#define _GNU_SOURCE
#include "check.h"
#include "in_a_task.h"
#include "log_lines.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define MS UINT64_C(1000000)
#define LIST(...) ((const char* const[]){__VA_ARGS__, NULL})

static const char* self;  // This program, which is also the one that takes over.

// ---- the server that is restarted

typedef struct {
  const char *address, *service, *mode;
  int generation, listeners[2], count;
} server;

static server serving;

// Answers a line with which generation this is, and which process.
static void answers(void* argument) {
  int fd = (int)(intptr_t)argument;
  char line[8], answer[40];
  size_t done = 0;
  while (done == 0 || line[done - 1] != '\n') {
    ssize_t got = mj_read(fd, line + done, sizeof line - done, LONG_NS);
    if (got <= 0) break;
    done += (size_t)got;
  }
  int length = snprintf(answer, sizeof answer, "%d %d\n", serving.generation, getpid());
  mj_write(fd, answer, (size_t)length, LONG_NS);
  mj_fd_close(fd);
}

static void accepts(void* argument) {
  int fd;
  while ((fd = mj_accept(*(int*)argument, NULL, NULL, MJ_FOREVER)) >= 0) {
    CHECK_INT(mj_go(mj_scheduler_current(), answers, (void*)(intptr_t)fd, NULL), ==, 0);
  }
  CHECK_INT(fd, ==, -EBADF);  // It is closed here: those who wait are the next one's.
}

static void restarts(void* argument) {
  (void)argument;
  const int signals[] = {SIGUSR2, SIGTERM};
  char generation[12];
  snprintf(generation, sizeof generation, "%d", serving.generation + 1);
  const char* service = serving.service ? serving.service : "";
  while (mj_signal_wait(signals, 2, NULL, MJ_FOREVER) == SIGUSR2) {
    const char* const* next = LIST(self, "serves", serving.address, service, generation, serving.mode);
    if (mj_process_hand_over(next, NULL, serving.listeners, (size_t)serving.count, LONG_NS, NULL) == 0) break;
  }
  for (int i = 0; i < serving.count; i++) CHECK_INT(mj_fd_close(serving.listeners[i]), ==, 0);
}

// The same on two cores. The number behind the mode "cores" is that of the sockets: three are more than there are cores;
// one of another user, beside which nobody may listen, serves both.
enum { MOST_SOCKETS = 3 };
static const char cores_mode[] = "cores";

static int sockets_of_cores(void) {
  return atoi(serving.mode + strlen(cores_mode));
}

static void answers_on_a_core(mj_scheduler* running, void* user_state) {
  (void)running;
  answers((void*)(intptr_t) * (int*)user_state);
  mj_task_exit();
}

static void restarts_all_cores(void* cluster) {
  const int signals[] = {SIGUSR2, SIGTERM};
  char generation[12];
  snprintf(generation, sizeof generation, "%d", serving.generation + 1);
  while (mj_signal_wait(signals, 2, NULL, MJ_FOREVER) == SIGUSR2) {
    int fds[MOST_SOCKETS];
    int count = sockets_of_cores();
    CHECK_INT(mj_cluster_listeners(cluster, fds, MOST_SOCKETS), ==, count);
    const char* const* next = LIST(self, "serves", serving.address, serving.service, generation, serving.mode);
    if (mj_process_hand_over(next, NULL, fds, (size_t)count, LONG_NS, NULL) == 0) break;
  }
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
}

static int serves_on_cores(void) {
  mj_log_set_level(MJ_LOG_WARN);
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){.cores = 2});
  const mj_service what = {.handler = answers_on_a_core, .flags = MJ_LISTEN_INHERITED};
  CHECK_INT(mj_cluster_listen(cluster, serving.address, serving.service, &what), ==, atoi(serving.service));
  CHECK_INT(mj_cluster_listeners(cluster, NULL, 0), ==, sockets_of_cores());  // All that it was given, and no other.
  CHECK_INT(mj_close_inherited(), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 0, restarts_all_cores, cluster, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_notify("READY=1"), ==, serving.generation > 1);
  int result = mj_cluster_join(cluster);
  CHECK_INT(mj_cluster_listeners(cluster, NULL, 0), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  return result;
}

static int serves(char** argv) {
  alarm(100);
  signal(SIGPIPE, SIG_IGN);
  serving = (server){argv[0], *argv[1] ? argv[1] : NULL, argv[3], atoi(argv[2]), {-1, -1}, 1};
  if (strncmp(serving.mode, cores_mode, strlen(cores_mode)) == 0) return serves_on_cores();
  bool is_set = strcmp(serving.mode, "set") == 0;
  if (is_set) serving.count = 2;
  for (int i = 0; i < serving.count; i++) {
    unsigned flags = MJ_LISTEN_INHERITED | (is_set ? MJ_LISTEN_REUSEPORT : 0);
    serving.listeners[i] = mj_listen(serving.address, serving.service, 0, flags);
    CHECK_INT(serving.listeners[i], ==, 3 + i);  // As it was given, and not anew.
  }
  CHECK_INT(mj_close_inherited(), ==, 0);
  mj_log_set_level(MJ_LOG_WARN);
  scheduler = new_scheduler();
  for (int i = 0; i < serving.count; i++) {
    CHECK_INT(mj_go(scheduler, accepts, &serving.listeners[i], NULL), ==, 0);
  }
  CHECK_INT(mj_go(scheduler, restarts, NULL, NULL), ==, 0);
  CHECK_INT(mj_notify("READY=1"), ==, serving.generation > 1);  // Of the first one nobody asks it.
  int result = mj_run(scheduler);
  mj_scheduler_destroy(scheduler);
  return result;
}

// ---- the clients

static struct {
  struct sockaddr_storage at;
  socklen_t length;
  bool is_over;
  int generation, pid;      // The latest that has answered.
  unsigned requests, slow;  // That were answered.
} visited;

// One request, in two parts if it is a slow one. Everything that goes wrong is the end of the test.
static void requests_once(bool is_slow) {
  int fd = socket(visited.at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(fd, >=, 0);
  int failed = connect(fd, (struct sockaddr*)&visited.at, visited.length) != 0 ? errno : 0;
  CHECK_INT(failed, ==, 0);
  char answer[40];
  size_t done = 0;
  if (is_slow) {
    CHECK_INT(send(fd, "?", 1, MSG_NOSIGNAL), ==, 1);
    usleep(20000);
  }
  CHECK_INT(send(fd, "\n", 1, MSG_NOSIGNAL), ==, 1);
  for (;;) {
    ssize_t got = recv(fd, answer + done, sizeof answer - 1 - done, 0);
    failed = got < 0 ? errno : 0;
    CHECK_INT(failed, ==, 0);
    if (got == 0) break;
    done += (size_t)got;
  }
  answer[done] = '\0';
  int generation, pid;
  CHECK_INT(sscanf(answer, "%d %d\n", &generation, &pid), ==, 2);
  CHECK_INT(close(fd), ==, 0);
  __atomic_fetch_add(is_slow ? &visited.slow : &visited.requests, 1, __ATOMIC_RELAXED);
  if (generation > __atomic_load_n(&visited.generation, __ATOMIC_RELAXED)) {
    __atomic_store_n(&visited.pid, pid, __ATOMIC_RELAXED);
    __atomic_store_n(&visited.generation, generation, __ATOMIC_RELEASE);
  }
}

static void* requests(void* is_slow) {
  while (!__atomic_load_n(&visited.is_over, __ATOMIC_RELAXED)) requests_once(is_slow != NULL);
  return NULL;
}

static void wait_for_generation(int generation) {
  while (__atomic_load_n(&visited.generation, __ATOMIC_ACQUIRE) < generation) usleep(1000);
}

// ---- the launcher, which does as systemd does

static void start_server(const int* fds, int count, const char* address, const char* service, const char* mode) {
  fflush(NULL);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    char text[12];
    for (int i = 0; i < count; i++) CHECK_INT(dup2(fds[i], 3 + i), ==, 3 + i);
    snprintf(text, sizeof text, "%d", count);
    setenv("LISTEN_FDS", text, 1);
    snprintf(text, sizeof text, "%d", getpid());
    setenv("LISTEN_PID", text, 1);
    setenv("LISTEN_FDNAMES", "web", 1);
    execl(self, self, "serves", address, service, "1", mode, (char*)NULL);
    _exit(127);
  }
}

static void check_ended_well(pid_t pid) {
  int status;
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(status, ==, 0);
}

static int listener_at(struct sockaddr* at, socklen_t length, bool reuse) {
  int fd = socket(at->sa_family, SOCK_STREAM, 0), on = 1;
  if (reuse) CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), ==, 0);
  CHECK_INT(bind(fd, at, length), ==, 0);
  CHECK_INT(listen(fd, 128), ==, 0);
  visited.length = sizeof visited.at;
  CHECK_INT(getsockname(fd, (struct sockaddr*)&visited.at, &visited.length), ==, 0);
  int high = fcntl(fd, F_DUPFD_CLOEXEC, 100);
  CHECK_INT(close(fd), ==, 0);
  return high;
}

// Three restarts while clients make requests all the time.
static void restart_thrice(const int* fds, int count, const char* address, const char* service, const char* mode) {
  enum { clients = 4 };
  start_server(fds, count, address, service, mode);
  for (int i = 0; i < count; i++) CHECK_INT(close(fds[i]), ==, 0);  // Nobody but the server has it from here on.
  pthread_t ids[clients];
  for (int i = 0; i < clients; i++) {
    CHECK_INT(pthread_create(&ids[i], NULL, requests, i == 0 ? &visited : NULL), ==, 0);
  }
  for (int generation = 1; generation <= 4; generation++) {
    wait_for_generation(generation);
    pid_t pid = __atomic_load_n(&visited.pid, __ATOMIC_RELAXED);
    unsigned before = __atomic_load_n(&visited.requests, __ATOMIC_RELAXED);
    while (__atomic_load_n(&visited.requests, __ATOMIC_RELAXED) < before + 100) usleep(1000);
    if (generation == 4) {
      __atomic_store_n(&visited.is_over, true, __ATOMIC_RELAXED);
      for (int i = 0; i < clients; i++) CHECK_INT(pthread_join(ids[i], NULL), ==, 0);
    }
    CHECK_INT(kill(pid, generation == 4 ? SIGTERM : SIGUSR2), ==, 0);
    check_ended_well(pid);  // The later ones are adopted by this process.
  }
  CHECK_INT(visited.generation, ==, 4);
  CHECK_INT(visited.slow, >, 0);
  fprintf(stderr, "  %u requests, and %u slow ones\n", visited.requests, visited.slow);
  memset(&visited, 0, sizeof visited);
}

static void nobody_is_refused_in_rolling_restarts(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int fds[] = {listener_at((struct sockaddr*)&at, sizeof at, false)};
  char service[8];
  snprintf(service, sizeof service, "%d", ntohs(((struct sockaddr_in*)&visited.at)->sin_port));
  restart_thrice(fds, 1, "127.0.0.1", service, "alone");
}

static void nobody_is_refused_in_a_set(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fds[2] = {listener_at((struct sockaddr*)&at, sizeof at, true)};
  at.sin_port = ((struct sockaddr_in*)&visited.at)->sin_port;
  fds[1] = listener_at((struct sockaddr*)&at, sizeof at, true);
  char service[8];
  snprintf(service, sizeof service, "%d", ntohs(at.sin_port));
  restart_thrice(fds, 2, "127.0.0.1", service, "set");
}

static void nobody_is_refused_on_all_cores(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fds[MOST_SOCKETS];
  for (int i = 0; i < MOST_SOCKETS; i++) {
    fds[i] = listener_at((struct sockaddr*)&at, sizeof at, true);
    at.sin_port = ((struct sockaddr_in*)&visited.at)->sin_port;
  }
  char service[8];
  snprintf(service, sizeof service, "%d", ntohs(at.sin_port));
  restart_thrice(fds, MOST_SOCKETS, "127.0.0.1", service, "cores3");
}

// Only root can make a socket of another user: for others this is one of theirs, beside which the second core listens.
static void nobody_is_refused_at_another_users_socket(void) {
  enum { another = 12345 };
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setfsuid(another);
  bool is_anothers = setfsuid((uid_t)-1) == another;  // What it was: nobody has this number.
  const int fds[] = {listener_at((struct sockaddr*)&at, sizeof at, false)};
  setfsuid(geteuid());
  char service[8];
  snprintf(service, sizeof service, "%d", ntohs(((struct sockaddr_in*)&visited.at)->sin_port));
  restart_thrice(fds, 1, "127.0.0.1", service, is_anothers ? "cores1" : "cores2");
}

static void nobody_is_refused_at_a_path(void) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  char address[128];
  snprintf(at.sun_path, sizeof at.sun_path, "/tmp/majjen-restart-%d", getpid());
  snprintf(address, sizeof address, "unix:%s", at.sun_path);
  const int fds[] = {listener_at((struct sockaddr*)&at, sizeof at, false)};
  restart_thrice(fds, 1, address, "", "alone");
  CHECK_INT(unlink(at.sun_path), ==, 0);
}

// ---- what the new process has

static uint16_t port_at(int fd) {
  struct sockaddr_in at;
  socklen_t length = sizeof at;
  if (getsockname(fd, (struct sockaddr*)&at, &length) != 0) return 0;
  return ntohs(at.sin_port);
}

// Looks at what it was given, and is ready. The arguments are the ports in their order.
static int looks(char** ports) {
  alarm(100);
  int count = 0;
  for (; ports[count] != NULL; count++) CHECK_INT(port_at(3 + count), ==, atoi(ports[count]));
  CHECK_INT(open_descriptors(), ==, 3 + count + under_valgrind());  // Its log, which a fork opens.
  CHECK_INT(atoi(getenv("LISTEN_FDS")), ==, count);
  CHECK_PTR(getenv("LISTEN_PID"), ==, NULL);
  CHECK_PTR(getenv("LISTEN_FDNAMES"), ==, NULL);
  CHECK_STR(getenv("KEPT"), "this");
  pid_t child = fork();
  if (child == 0) _exit(mj_notify("READY=1") == 0 ? 0 : 1);  // It is not asked.
  check_ended_well(child);
  CHECK_INT(mj_notify("STATUS=nearly"), ==, 0);
  CHECK_INT(mj_notify("READY=1\nSTATUS=now"), ==, 1);
  pause();
  return 0;
}

static int raw_listener(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(bind(fd, (struct sockaddr*)&at, sizeof at), ==, 0);
  CHECK_INT(listen(fd, 1), ==, 0);
  return fd;
}

static int given[3];

static int hand_over(const char* const* arguments, uint64_t timeout_ns, mj_process** process) {
  return mj_process_hand_over(arguments, NULL, given, 1, timeout_ns, process);
}

static void end_by(mj_process* process, int signal) {
  int status;
  CHECK_INT(mj_process_end(process, LONG_NS, &status), ==, 0);
  CHECK_INT(status, ==, signal);
}

// In an order that is not that of their numbers, some of which are to be others'.
static void gives_three(void) {
  char ports[3][8];
  for (int i = 0; i < 3; i++) snprintf(ports[i], sizeof ports[i], "%d", port_at(given[i]));
  setenv("KEPT", "this", 1);
  setenv("LISTEN_PID", "1", 1);
  setenv("LISTEN_FDNAMES", "a:b", 1);
  mj_process* process = NULL;
  const char* const* looks_at_three = LIST(self, "looks", ports[0], ports[1], ports[2]);
  CHECK_INT(mj_process_hand_over(looks_at_three, NULL, given, 3, LONG_NS, &process), ==, 0);
  CHECK_INT(mj_process_take_pipe(process, 3), ==, -EINVAL);
  end_by(process, SIGTERM);
  // Into /dev/null what it says, and with an environment of its own; without any socket.
  const char* last = under_valgrind() ? "MAJJEN_VALGRIND=1" : NULL;
  const mj_process_options options = {
      .environment = LIST("KEPT=this", "LISTEN_FDS=7", last), .output = MJ_PROCESS_NULL};
  CHECK_INT(mj_process_hand_over(LIST(self, "looks"), &options, NULL, 0, LONG_NS, &process), ==, 0);
  end_by(process, SIGTERM);
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDNAMES");
}

static void the_new_process_has_what_it_is_given_and_nothing_else(void) {
  int fds[3] = {raw_listener(), raw_listener(), raw_listener()};
  given[0] = fds[2], given[1] = fds[0], given[2] = fds[1];
  in_a_task(gives_three);
  for (int i = 0; i < 3; i++) CHECK_INT(close(fds[i]), ==, 0);
}

// ---- new processes that do not come up

static int never_ready(const char* how) {
  alarm(100);
  if (strcmp(how, "ends") == 0) return 3;
  if (strcmp(how, "crashes") == 0) raise(SIGKILL);
  if (strcmp(how, "stubborn") == 0) signal(SIGTERM, SIG_IGN);
  if (strcmp(how, "late") == 0) {
    char byte;
    CHECK_INT(write(1, "begun", 5), ==, 5);
    CHECK_INT(read(0, &byte, 1), ==, 1);
    CHECK_INT(mj_notify("READY=1"), ==, 1);
  }
  if (strcmp(how, "wrong") == 0) {
    // Another process says it, and it says something else.
    CHECK_INT(mj_notify("READY=0\nXREADY=1\nREADY=1 \nSTATUS=READY=1"), ==, 0);
    char parent[80];
    snprintf(parent, sizeof parent, "%d%s", getpid(), strchr(getenv("MAJJEN_PREDECESSOR"), ' '));
    setenv("MAJJEN_PREDECESSOR", parent, 1);
    pid_t child = fork();
    if (child == 0) _exit(mj_notify("READY=1") == 1 ? 0 : 1);
    check_ended_well(child);
    return 3;
  }
  printf("%d\n", getpid());
  fflush(stdout);
  pause();
  return 0;
}

static void nobody_comes_up(void) {
  mj_process* process = (mj_process*)&given;
  CHECK_INT(hand_over(LIST(self, "never ready", "ends"), LONG_NS, &process), ==, -ESRCH);
  CHECK(strstr(log_line_warning, "it has ended before it was ready") != NULL);
  CHECK(strstr(log_line_warning, "status is 0x300") != NULL);
  // Where the system keeps no status of children.
  CHECK(signal(SIGCHLD, SIG_IGN) == SIG_DFL);
  CHECK_INT(hand_over(LIST(self, "never ready", "ends"), LONG_NS, &process), ==, -ECHILD);
  CHECK(strstr(log_line_warning, "does not take over") != NULL);
  CHECK(strstr(log_line_warning, "status") == NULL);
  CHECK(signal(SIGCHLD, SIG_DFL) == SIG_IGN);
  CHECK_INT(hand_over(LIST(self, "never ready", "crashes"), MJ_FOREVER, &process), ==, -ESRCH);
  // Under Valgrind a child that cannot begin has begun, and ended.
  CHECK_INT(hand_over(LIST("/no/such/program"), LONG_NS, &process), ==, under_valgrind() ? -ESRCH : -ENOENT);
  CHECK_INT(hand_over(LIST(self, "never ready", "hangs"), 20 * MS, &process), ==, -ETIMEDOUT);
  CHECK(strstr(log_line_warning, "timed out") != NULL);
  CHECK_INT(hand_over(LIST(self, "never ready", "hangs"), 0, &process), ==, -ETIMEDOUT);
  CHECK_INT(hand_over(LIST(self, "never ready", "wrong"), LONG_NS, &process), ==, -ESRCH);
  CHECK(strstr(log_line_warning, "status is 0x300") != NULL);
  // As soon as it has so much time that it ignores SIGTERM.
  uint64_t limit_ns = 50 * MS, before;
  do {
    limit_ns *= 2;
    before = now_ns();
    CHECK_INT(hand_over(LIST(self, "never ready", "stubborn"), limit_ns, &process), ==, -ETIMEDOUT);
    CHECK_UINT(limit_ns, <, 20000 * MS);
  } while (strstr(log_line_warning, "status is 0x9") == NULL);
  CHECK_UINT(now_ns() - before, >=, limit_ns + 1000 * MS);
  // A service manager that is gone changes nothing but the log.
  size_t lines = log_lines_from(MJ_LOG_WARN);
  setenv("NOTIFY_SOCKET", "@majjen-nobody", 1);
  CHECK_INT(hand_over(LIST(self, "never ready", "ends"), LONG_NS, &process), ==, -ESRCH);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, lines + 3);
  unsetenv("NOTIFY_SOCKET");
  // The task's own deadline is one, too.
  uint64_t old;
  CHECK_INT(mj_task_set_deadline(mj_deadline_after(20 * MS), &old), ==, 0);
  CHECK_INT(hand_over(LIST(self, "never ready", "hangs"), MJ_FOREVER, &process), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_set_deadline(old, NULL), ==, 0);
  CHECK_PTR(process, ==, &given);
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
  CHECK_INT(errno, ==, ECHILD);
}

static void one_that_does_not_come_up_changes_nothing(void) {
  given[0] = raw_listener();
  log_lines_begin();
  in_a_task(nobody_comes_up);
  log_lines_end();
  CHECK_INT(port_at(given[0]), >, 0);
  CHECK_INT(close(given[0]), ==, 0);
}

static int canceled_result;

static void is_canceled(void* argument) {
  (void)argument;
  canceled_result = hand_over(LIST(self, "never ready", "hangs"), MJ_FOREVER, NULL);
  CHECK_INT(hand_over(LIST(self, "never ready", "hangs"), MJ_FOREVER, NULL), ==, -ECANCELED);
}

static void cancels(void) {
  mj_task_id id;
  CHECK_INT(mj_go(scheduler, is_canceled, NULL, &id), ==, 0);
  mj_sleep_ns(20 * MS);
  CHECK_INT(mj_task_cancel(mj_task_find(scheduler, id)), ==, 0);
  CHECK_INT(mj_task_join(id, MJ_FOREVER), ==, 0);
  CHECK_INT(canceled_result, ==, -ECANCELED);
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
}

static void a_cancellation_ends_the_new_one(void) {
  given[0] = raw_listener();
  in_a_task(cancels);
  CHECK_INT(close(given[0]), ==, 0);
}

static pid_t hands_over;            // the process that does
static int to_new[2], from_new[2];  // of the new process: its input and its output

static void hands_over_to_one_that_is_late(void* argument) {
  (void)argument;
  mj_process* process = NULL;
  const char* const* arguments = LIST(self, "never ready", "late");
  const mj_process_options options = {.input = to_new[0], .output = from_new[1]};
  int result = mj_process_hand_over(arguments, &options, given, 1, LONG_NS, &process);
  CHECK_INT(result, ==, getpid() == hands_over ? 0 : -ECHILD);
  if (result == 0) end_by(process, SIGTERM);
}

static void new_one_has_said_something(void) {
  char text[16];
  CHECK_INT(read(from_new[0], text, sizeof text), >, 0);
}

// The child goes on with the run when the new process has said that it is ready, and before its parent does.
static void forks_meanwhile(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_wait_fd(from_new[0], POLLIN, LONG_NS), ==, POLLIN);
  new_one_has_said_something();
  pid_t child = fork();
  if (child == 0) {
    alarm(100);
    CHECK_INT(write(to_new[1], "x", 1), ==, 1);
    new_one_has_said_something();
  } else {
    check_ended_well(child);
  }
}

static void a_child_does_not_take_what_its_parent_is_told(void) {
  given[0] = raw_listener();
  hands_over = getpid();
  CHECK_INT(pipe2(to_new, O_CLOEXEC), ==, 0);
  CHECK_INT(pipe2(from_new, O_CLOEXEC), ==, 0);
  scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, hands_over_to_one_that_is_late, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, forks_meanwhile, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  if (getpid() != hands_over) _exit(0);
  for (int i = 0; i < 2; i++) CHECK_INT(close(to_new[i]) | close(from_new[i]), ==, 0);
  CHECK_INT(close(given[0]), ==, 0);
}

// With its scheduler the task is gone; the process is not.
static int output[2];

static void is_destroyed(void* argument) {
  (void)argument;
  const mj_process_options options = {.output = output[1]};
  mj_process_hand_over(LIST(self, "never ready", "hangs"), &options, given, 1, MJ_FOREVER, NULL);
  CHECK(false);
}

static void stops(void* argument) {
  (void)argument;
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
}

static void a_scheduler_may_be_destroyed_meanwhile(void) {
  given[0] = raw_listener();
  CHECK_INT(pipe2(output, O_CLOEXEC), ==, 0);
  scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, is_destroyed, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, stops, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
  char text[16] = "";
  CHECK_INT(read(output[0], text, sizeof text - 1), >, 0);
  pid_t pid = atoi(text);
  CHECK_INT(kill(pid, 0), ==, 0);
  CHECK_INT(kill(pid, SIGKILL), ==, 0);
  siginfo_t info;
  CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), ==, 0);
  // The library waits for it when it makes another, and closes what it has had for it.
  const mj_process_options wrong = {.output = 9999};
  CHECK_PTR(mj_process_spawn(LIST("true"), &wrong), ==, NULL);
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
  CHECK_INT(close(output[0]), ==, 0);
  CHECK_INT(close(output[1]), ==, 0);
  CHECK_INT(close(given[0]), ==, 0);
}

static void mistakes(void) {
  const char* const* arguments = LIST(self, "never ready", "hangs");
  CHECK_INT(mj_process_hand_over(NULL, NULL, given, 1, LONG_NS, NULL), ==, -EINVAL);
  CHECK_INT(mj_process_hand_over(LIST(NULL), NULL, given, 1, LONG_NS, NULL), ==, -EINVAL);
  CHECK_INT(mj_process_hand_over(arguments, NULL, NULL, 1, LONG_NS, NULL), ==, -EINVAL);
  const mj_process_options options = {.reserved = {1}};
  CHECK_INT(mj_process_hand_over(arguments, &options, given, 1, LONG_NS, NULL), ==, -EINVAL);
  int ends[2];
  CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
  CHECK_INT(mj_process_hand_over(arguments, NULL, ends, 1, LONG_NS, NULL), ==, -EINVAL);
  const int closed[] = {given[0], 9999};
  CHECK_INT(mj_process_hand_over(arguments, NULL, closed, 2, LONG_NS, NULL), ==, -EBADF);
  static int many[4097];
  for (int i = 0; i < 4097; i++) many[i] = given[0];
  CHECK_INT(mj_process_hand_over(arguments, NULL, many, 4097, LONG_NS, NULL), ==, -EINVAL);
  CHECK_INT(close(ends[0]), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
}

static void mistakes_start_nothing(void) {
  given[0] = raw_listener();
  in_a_task(mistakes);
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(hand_over(LIST(self, "never ready", "hangs"), LONG_NS, NULL), ==, -EPERM));
  log_lines_end();
  CHECK_INT(close(given[0]), ==, 0);
}

// ---- the service manager

static int manager_at(const char* text) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  snprintf(at.sun_path, sizeof at.sun_path, "%s", text);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + (*text == '/'));
  if (*text == '@') at.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK_INT(bind(fd, (struct sockaddr*)&at, length), ==, 0);
  CHECK_INT(setenv("NOTIFY_SOCKET", text, 1), ==, 0);
  return fd;
}

static const char* told(int manager) {
  static char text[200];
  ssize_t got = recv(manager, text, sizeof text - 1, MSG_DONTWAIT);
  text[got > 0 ? got : 0] = '\0';
  return text;
}

static void a_service_manager_is_told(void) {
  CHECK_INT(unsetenv("NOTIFY_SOCKET"), ==, 0);
  CHECK_INT(mj_notify("READY=1"), ==, 0);
  CHECK_INT(mj_notify(NULL), ==, -EINVAL);
  char name[64];
  for (int i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "%smajjen-manager-%d", i == 0 ? "@" : "/tmp/", getpid());
    int manager = manager_at(name);
    errno = 4321;
    CHECK_INT(mj_notify("READY=1"), ==, 1);
    CHECK_STR(told(manager), "READY=1");
    CHECK_INT(mj_notify("STOPPING=1\nSTATUS=over"), ==, 1);
    CHECK_INT(errno, ==, 4321);
    CHECK_STR(told(manager), "STOPPING=1\nSTATUS=over");
    int most = 0;
    while (most < 100000 && mj_notify("WATCHDOG=1") == 1) most++;
    CHECK_INT(mj_notify("WATCHDOG=1"), ==, -EAGAIN);
    for (int n = 0; n < most; n++) CHECK_STR(told(manager), "WATCHDOG=1");
    CHECK_INT(close(manager), ==, 0);
    CHECK_INT(mj_notify("READY=1"), ==, -ECONNREFUSED);
    unlink(name);
  }
  CHECK_INT(mj_notify("READY=1"), ==, -ENOENT);
}

static void wrong_addresses_are_told(void) {
  static char long_name[200] = "@";
  memset(long_name + 1, 'x', sizeof long_name - 2);
  const char* wrong[] = {"x", "tcp:1", "vsock:2:1", "@", "./socket", "\377", long_name};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    setenv("NOTIFY_SOCKET", wrong[i], 1);
    int result = mj_notify("READY=1");
    CHECK(result == -EINVAL || (strcmp(wrong[i], "@") == 0 && result == -ECONNREFUSED));
  }
  setenv("NOTIFY_SOCKET", "", 1);
  CHECK_INT(mj_notify("READY=1"), ==, 0);
  // Who says to wait for this process has to be its parent.
  char name[64], parent[80];
  snprintf(name, sizeof name, "@majjen-manager-%d", getpid());
  int manager = manager_at(name);
  snprintf(parent, sizeof parent, "%d", getppid());
  const char* nobody[] = {"", " ", "x", "1", "1 @x", "-1 @x", "99999999999999999999 @x", "\377 @x", parent};
  for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
    setenv("MAJJEN_PREDECESSOR", nobody[i], 1);
    CHECK_INT(mj_notify("READY=1"), ==, 1);
    CHECK_STR(told(manager), "READY=1");
  }
  // Nor does one count that waits no more.
  snprintf(parent, sizeof parent, "%d @majjen-nobody-%d", getppid(), getpid());
  setenv("MAJJEN_PREDECESSOR", parent, 1);
  CHECK_INT(mj_notify("READY=1"), ==, 1);
  CHECK_STR(told(manager), "READY=1");
  unsetenv("MAJJEN_PREDECESSOR");
  unsetenv("NOTIFY_SOCKET");
  CHECK_INT(close(manager), ==, 0);
}

static int manager;

static int says_both(void) {
  alarm(100);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_notify("READY=1"), ==, 1);
  pause();
  return 0;
}

static void reloads(void) {
  char expected[64];
  mj_process* process;
  CHECK_INT(hand_over(LIST(self, "says both"), LONG_NS, &process), ==, 0);
  const char* text = told(manager);
  CHECK_INT(strncmp(text, "RELOADING=1\nMONOTONIC_USEC=", 27), ==, 0);
  CHECK_UINT(strtoull(text + 27, NULL, 10), <=, now_ns() / 1000);
  CHECK_UINT(strtoull(text + 27, NULL, 10), >, 0);
  // The new one says it a second time, which may come in between.
  snprintf(expected, sizeof expected, "READY=1\nMAINPID=%d", mj_process_pid(process));
  while (strcmp(text = told(manager), "READY=1") == 0) {
  }
  CHECK_STR(text, expected);
  end_by(process, SIGTERM);
  while (*told(manager) != '\0') {
  }
  CHECK_INT(hand_over(LIST(self, "never ready", "ends"), LONG_NS, NULL), ==, -ESRCH);
  CHECK_INT(strncmp(told(manager), "RELOADING=1\n", 12), ==, 0);
  CHECK_STR(told(manager), "READY=1");
  CHECK_STR(told(manager), "");
}

static void a_service_manager_is_told_of_a_reload(void) {
  char name[64];
  snprintf(name, sizeof name, "@majjen-manager-%d", getpid());
  manager = manager_at(name);
  given[0] = raw_listener();
  in_a_task(reloads);
  CHECK_INT(close(given[0]), ==, 0);
  CHECK_INT(close(manager), ==, 0);
  unsetenv("NOTIFY_SOCKET");
}

int main(int argc, char** argv) {
  self = argv[0];
  const char* role = argc > 1 ? argv[1] : "";
  if (strcmp(role, "serves") == 0) return serves(argv + 2);
  if (strcmp(role, "looks") == 0) return looks(argv + 2);
  if (strcmp(role, "never ready") == 0) return never_ready(argv[2]);
  if (strcmp(role, "says both") == 0) return says_both();
  if (emulated()) {
    fprintf(stderr, "the emulator tells of the ends of children in a way of its own\n");
    return check_skipped;
  }
  for (int fd = 3; fd < 1024; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);  // What this test was started with.
  CHECK_INT(prctl(PR_SET_CHILD_SUBREAPER, 1), ==, 0);
  RUN(nobody_is_refused_in_rolling_restarts);
  RUN(nobody_is_refused_in_a_set);
  RUN(nobody_is_refused_on_all_cores);
  RUN(nobody_is_refused_at_another_users_socket);
  RUN(nobody_is_refused_at_a_path);
  RUN(the_new_process_has_what_it_is_given_and_nothing_else);
  RUN(one_that_does_not_come_up_changes_nothing);
  RUN(a_cancellation_ends_the_new_one);
  if (!under_tsan()) RUN(a_child_does_not_take_what_its_parent_is_told);
  RUN(a_scheduler_may_be_destroyed_meanwhile);
  RUN(mistakes_start_nothing);
  RUN(a_service_manager_is_told);
  RUN(wrong_addresses_are_told);
  RUN(a_service_manager_is_told_of_a_reload);
  return 0;
}
