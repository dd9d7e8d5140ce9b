// Clusters where something is wrong: cores that end early or stall, clients that come and go while it ends, want of
// descriptors, functions that do not do what they should.
#define _GNU_SOURCE
#include "check.h"
#include "clusters.h"
#include "child.h"
#include "log_lines.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static mj_cluster* cluster;

static void counts(void* counter) { atomic_fetch_add((atomic_int*)counter, 1); }

static void is_canceled(void* counter) {
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  atomic_fetch_add((atomic_int*)counter, 1);
}

static void never_ends(void* unused) {
  (void)unused;
  mj_sleep_ns(MJ_FOREVER);
  abort();
}

static atomic_int called;

static int never_returns(void* unused) {
  (void)unused;
  atomic_fetch_add(&called, 1);
  mj_sleep_ns(MJ_FOREVER);
  abort();
}

// ---- A core that is over before the others

static int second_fails(mj_scheduler* scheduler, size_t core, void* user_data) {
  (void)scheduler;
  (void)user_data;
  return core == 1 ? -EXDEV : 0;
}

static void what_a_core_was_given_is_abandoned_if_its_set_up_fails(void) {
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = 3, .set_up = second_fails});
  atomic_int abandoned = 0, canceled = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, is_canceled, &canceled, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, never_ends, &abandoned, counts), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, -EXDEV);
  CHECK_INT(abandoned, ==, 1);
  CHECK_INT(canceled, ==, 1);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void stops_its_scheduler(void* unused) {
  (void)unused;
  mj_task_sleep_ms(5);
  CHECK_INT(mj_scheduler_stop(mj_scheduler_current()), ==, 0);
}

static void a_core_that_stops_with_tasks_stops_the_others(void) {
  for (int urges = 0; urges < 2; urges++) {
    cluster = new_cluster(2);
    atomic_int canceled = 0;
    if (urges == 0) CHECK_INT(mj_cluster_go(cluster, 0, is_canceled, &canceled, NULL), ==, 0);
    CHECK_INT(mj_cluster_go(cluster, 1, never_ends, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_go(cluster, 1, stops_its_scheduler, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    if (urges == 1) CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
    CHECK_INT(mj_cluster_join(cluster), ==, 0);
    CHECK_INT(canceled, ==, urges == 0);
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  }
}

static void calls_what_never_returns(void* ended) {
  CHECK_INT(mj_cluster_call(cluster, 1, never_returns, NULL, MJ_FOREVER, NULL), ==, -EPIPE);
  CHECK_INT(mj_cluster_call(cluster, 1, never_returns, NULL, MJ_FOREVER, NULL), ==, -EPIPE);
  atomic_fetch_add((atomic_int*)ended, 1);
}

static void calls_what_never_returns_deaf(void* ended) {
  mj_task_set_cancelable(false, NULL);
  calls_what_never_returns(ended);
}

// When all calls have begun: who is canceled before begins none.
static void stops_when_all_are_called(void* unused) {
  while (called < 10) mj_task_sleep_ms(1);
  stops_its_scheduler(unused);
}

static void calls_of_a_core_that_stops_end(void) {
  cluster = new_cluster(2);
  atomic_int ended = 0;
  called = 0;
  for (int i = 0; i < 10; i++) {
    mj_go_fn function = i % 2 ? calls_what_never_returns : calls_what_never_returns_deaf;
    CHECK_INT(mj_cluster_go(cluster, 0, function, &ended, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_go(cluster, 1, stops_when_all_are_called, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(ended, ==, 10);
}

enum { CALLS_IN_VAIN = 4 };

// Keeps its core until all calls are counted, so that no call begins: they are on their way still; or, when it has yielded, have
// tasks that have had no turn.
static void stops_before_calls_begin(void* yields) {
  while (mj_cluster_load(cluster, 1) < 1 + CALLS_IN_VAIN) usleep(100);
  usleep(1000);  // What is counted is sent then.
  if (*(bool*)yields) mj_task_yield();
  CHECK_INT(mj_scheduler_stop(mj_scheduler_current()), ==, 0);
}

static void calls_that_a_core_that_stops_has_not_begun_end(void) {
  for (int i = 0; i < 2; i++) {
    cluster = new_cluster(2);
    bool yields = i == 1;
    atomic_int ended = 0;
    called = 0;
    CHECK_INT(mj_cluster_go(cluster, 1, stops_before_calls_begin, &yields, NULL), ==, 0);
    for (int j = 0; j < CALLS_IN_VAIN; j++) {
      bool is_deaf = j % 2 || !yields;
      mj_go_fn function = is_deaf ? calls_what_never_returns_deaf : calls_what_never_returns;
      CHECK_INT(mj_cluster_go(cluster, 0, function, &ended, NULL), ==, 0);
    }
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    for (int ms = 0; ms < 20000 && ended < CALLS_IN_VAIN; ms++) usleep(1000);
    CHECK_INT(ended, ==, CALLS_IN_VAIN);
    CHECK_INT(called, ==, 0);
    join_and_destroy(cluster);
  }
}

// If it is told anything before its own core is over, then that the other one is.
static void calls_what_never_returns_unheard(void* unused) {
  CHECK_INT(mj_cluster_call(cluster, 1, never_returns, unused, MJ_FOREVER, NULL), ==, -EPIPE);
}

// ---- Connections

// The state of a connection's task, whose descriptor is closed at its end, also if that is the scheduler's.
static void closes(void* fd) { close((int)(intptr_t)fd); }

static atomic_int begun, on_core[3];

static void* counts_and_closes_later(int fd, void* made) {
  CHECK_PTR(made, ==, &begun);
  atomic_fetch_add(&begun, 1);
  atomic_fetch_add(&on_core[mj_cluster_here(cluster)], 1);
  CHECK_INT(mj_task_defer(closes, (void*)(intptr_t)fd), ==, 0);
  int* state = malloc(sizeof *state);
  *state = fd;
  return state;
}

static atomic_int handled;

static void answers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  char byte;
  while (mj_read(fd, &byte, 1, MJ_FOREVER) == 1 && mj_write(fd, &byte, 1, MJ_FOREVER) == 1) continue;
  atomic_fetch_add(&handled, 1);
  mj_task_exit();
}

static mj_service echo(void) {
  begun = handled = 0;
  for (int i = 0; i < 3; i++) on_core[i] = 0;
  return (mj_service){.handler = answers, .connection = counts_and_closes_later, .user_data = &begun};
}

static struct sockaddr_in address_of(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

// Returns -1 if the connection is refused.
static int dial_or_be_refused(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(fd, >=, 0);
  struct sockaddr_in address = address_of(port);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) == 0) return fd;
  CHECK(errno == ECONNREFUSED || errno == ECONNRESET);
  close(fd);
  return -1;
}

static int dial(int port) {
  int fd = dial_or_be_refused(port);
  CHECK_INT(fd, >=, 0);
  return fd;
}

static const char* path_of_test(void) {
  static char path[64];
  snprintf(path, sizeof path, "unix:/tmp/majjen-cluster-edges-%d", (int)getpid());
  unlink(path + 5);
  return path;
}

static int dial_path(const char* path) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, path + 5);
  CHECK_INT(connect(fd, (struct sockaddr*)&address, sizeof address), ==, 0);
  return fd;
}

// Waits for readable descriptors. Returns how many there are.
static int readable(struct pollfd* of, int count, int timeout_ms) {
  int ready = poll(of, (nfds_t)count, timeout_ms);
  CHECK_INT(ready, >=, 0);
  return ready;
}

static void has_answered(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLIN};
  CHECK_INT(readable(&one, 1, 50000), ==, 1);
  char byte;
  CHECK_INT(read(fd, &byte, 1), ==, 1);
}

// A core that does nothing until it is let go on.
static int gate[2];
static atomic_int is_blocked;

static void close_gate(void) { CHECK_INT(pipe(gate), ==, 0); }

static void blocks_its_thread(void* unused) {
  (void)unused;
  is_blocked = 1;
  char byte;
  CHECK_INT(read(gate[0], &byte, 1), ==, 1);
}

// At the same gate as those that are blocked already.
static void block_too(size_t core) {
  is_blocked = 0;
  CHECK_INT(mj_cluster_go(cluster, core, blocks_its_thread, NULL, NULL), ==, 0);
  while (!is_blocked) usleep(100);
}

static void block(size_t core) {
  close_gate();
  block_too(core);
}

static void unblock(void) { CHECK_INT(write(gate[1], "x", 1), ==, 1); }

static void remove_gate(void) {
  close(gate[0]);
  close(gate[1]);
}

static void the_others_go_on_while_one_core_stalls(void) {
  enum { CONNECTIONS = 60 };
  cluster = new_cluster(2);
  mj_service service = echo();
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
  CHECK_INT(port, >, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  block(0);
  struct pollfd fds[CONNECTIONS];
  for (int i = 0; i < CONNECTIONS; i++) {
    fds[i] = (struct pollfd){.fd = dial(port), .events = POLLIN};
    CHECK_INT(write(fds[i].fd, "x", 1), ==, 1);
  }
  // Those that the kernel has given to the other core are served, but for those that this has handed over: some.
  atomic_int done = 0;
  CHECK_INT(mj_cluster_go(cluster, 1, counts, &done, NULL), ==, 0);
  while (done == 0 || readable(fds, CONNECTIONS, 50000) == 0) usleep(100);
  CHECK_INT(on_core[0], ==, 0);
  CHECK_INT(on_core[1], >, 0);
  unblock();
  for (int i = 0; i < CONNECTIONS; i++) {
    has_answered(fds[i].fd);
    close(fds[i].fd);
  }
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  join_and_destroy(cluster);
  CHECK_INT(handled, ==, CONNECTIONS);
  remove_gate();
}

static void what_is_handed_over_with_data_is_answered(void) {
  enum { CONNECTIONS = 30 };
  const char* path = path_of_test();
  cluster = new_cluster(3);
  mj_service service = echo();
  CHECK_INT(mj_cluster_listen(cluster, path, NULL, &service), ==, 0);
  int fds[CONNECTIONS];
  for (int i = 0; i < CONNECTIONS; i++) {
    fds[i] = dial_path(path);
    CHECK_INT(write(fds[i], "xy", 2), ==, 2);
    if (i % 2) shutdown(fds[i], SHUT_WR);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  for (int i = 0; i < CONNECTIONS; i++) {
    has_answered(fds[i]);
    has_answered(fds[i]);
    close(fds[i]);
  }
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  join_and_destroy(cluster);
  CHECK_INT(handled, ==, CONNECTIONS);
  for (int i = 0; i < 3; i++) CHECK_INT(on_core[i], >, 0);
  unlink(path + 5);
}

static void peers_may_be_gone_before_the_hand_over(void) {
  enum { CONNECTIONS = 60 };
  const char* path = path_of_test();
  cluster = new_cluster(3);
  mj_service service = echo();
  CHECK_INT(mj_cluster_listen(cluster, path, NULL, &service), ==, 0);
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
  for (int i = 0; i < CONNECTIONS; i++) {
    int fd = i % 2 ? dial(port) : dial_path(path);
    if (i % 3 == 0) CHECK_INT(write(fd, "x", 1), ==, 1);
    struct linger at_once = {.l_onoff = 1};  // A TCP connection is reset.
    if (i % 4 > 1) CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), ==, 0);
    close(fd);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  join_and_destroy(cluster);
  CHECK_INT(handled, ==, begun);
  CHECK_INT(handled, >=, CONNECTIONS / 2);  // Linux does not accept all that were reset.
  unlink(path + 5);
}

// ---- Want of descriptors

static atomic_int refusals;

static void sees_refusals(mj_log_level level, const char* text, void* unused) {
  (void)unused;
  if (level == MJ_LOG_ERROR && strstr(text, "cannot accept connections") != NULL) atomic_fetch_add(&refusals, 1);
}

static int port_pipe[2];
enum { CLIENTS = 24 };

// A process of its own, which has descriptors: all connections are there at once, and each is answered in the end.
static void has_many_connections(void) {
  int port;
  CHECK_INT(read(port_pipe[0], &port, sizeof port), ==, sizeof port);
  struct pollfd fds[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    fds[i] = (struct pollfd){.fd = dial(port), .events = POLLIN};
    CHECK_INT(write(fds[i].fd, "x", 1), ==, 1);
  }
  for (int left = CLIENTS; left > 0;) {
    readable(fds, CLIENTS, -1);
    for (int i = 0; i < CLIENTS; i++) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char byte;
      CHECK_INT(read(fds[i].fd, &byte, 1), ==, 1);
      usleep(20000);  // The others wait meanwhile.
      close(fds[i].fd);
      fds[i].fd = -1;
      left--;
    }
  }
}

static void want_of_descriptors_is_overcome(void) {
  CHECK_INT(pipe(port_pipe), ==, 0);
  pid_t clients = start_child(has_many_connections);
  cluster = new_cluster(2);
  mj_service service = echo();
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  // Cores that have begun have all their descriptors.
  for (size_t core = 0; core < 2; core++) {
    atomic_int done = 0;
    CHECK_INT(mj_cluster_go(cluster, core, counts, &done, NULL), ==, 0);
    while (done == 0) usleep(100);
  }
  refusals = 0;
  mj_log_set_callback(sees_refusals, NULL);
  int first_free = dup(0);
  close(first_free);
  struct rlimit before, few;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
  few = (struct rlimit){(rlim_t)first_free + 4, before.rlim_max};
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
  CHECK_INT(write(port_pipe[1], &port, sizeof port), ==, sizeof port);
  CHECK_INT(status_of(clients), ==, 0);
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  join_and_destroy(cluster);
  mj_log_set_callback(NULL, NULL);
  CHECK_INT(handled, ==, CLIENTS);
  CHECK_INT(refusals, >, 0);
  close(port_pipe[0]);
  close(port_pipe[1]);
}

// ---- Ends at any time

static int client_port;
static atomic_int answered, reset;

// Connects until it is refused: who is connected gets an answer or is told that the connection is over.
static void* connects_again_and_again(void* unused) {
  for (;;) {
    int fd = dial_or_be_refused(client_port);
    if (fd < 0) return unused;
    struct timeval long_time = {.tv_sec = 50};
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof long_time), ==, 0);
    char byte = 'x';
    ssize_t count = send(fd, &byte, 1, MSG_NOSIGNAL);
    if (count == 1) count = read(fd, &byte, 1);
    if (count == 1) {
      atomic_fetch_add(&answered, 1);
    } else {
      CHECK(count == 0 || errno == ECONNRESET || errno == EPIPE);
      atomic_fetch_add(&reset, 1);
    }
    close(fd);
  }
}

static void clients_come_while_it_ends(void) {
  enum { THREADS = 4 };
  for (size_t round = 0; round < times(30, 5); round++) {
    cluster = new_cluster(2);
    mj_service service = echo();
    client_port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    answered = reset = 0;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
      CHECK_INT(pthread_create(&threads[i], NULL, connects_again_and_again, NULL), ==, 0);
    }
    while (answered < 20) usleep(100);
    CHECK_INT(mj_cluster_stop(cluster, round % 3 == 2 ? 0 : MJ_FOREVER), ==, 0);
    CHECK_INT(mj_cluster_join(cluster), ==, 0);
    for (int i = 0; i < THREADS; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    CHECK_INT(handled, ==, begun);  // What a core has accepted it serves to the end.
    if (round % 3 != 2) CHECK_INT(answered, ==, handled);
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  }
}

static void nothing_is_left_of_what_was_under_way(void) {
  const char* path = path_of_test();
  cluster = new_cluster(2);
  mj_service service = echo();
  CHECK_INT(mj_cluster_listen(cluster, path, NULL, &service), ==, 0);
  CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &service), >, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  block(1);
  int fds[40];
  atomic_int abandoned = 0;
  for (int i = 0; i < 40; i++) {
    fds[i] = dial_path(path);
    CHECK_INT(mj_cluster_go(cluster, 1, never_ends, &abandoned, counts), ==, 0);
    CHECK_INT(mj_cluster_go(cluster, 0, calls_what_never_returns_unheard, NULL, NULL), ==, 0);
  }
  // The first core has handed over what it will.
  while (mj_cluster_load(cluster, 0) + mj_cluster_load(cluster, 1) < 1 + 3 * 40 + 40) usleep(100);
  // It blocks, too, so that it does not see the second stop, which cancels, before the third.
  block_too(0);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  unblock();
  unblock();
  join_and_destroy(cluster);
  CHECK_INT(abandoned, ==, 40);
  CHECK_INT(handled, ==, 0);
  for (int i = 0; i < 40; i++) {
    char byte;
    CHECK_INT(read(fds[i], &byte, 1), ==, 0);
    close(fds[i]);
  }
  unlink(path + 5);
  remove_gate();
}

static void listeners_are_closed_however_it_ends(void) {
  for (int round = 0; round < 20; round++) {
    cluster = new_cluster(2);
    mj_service service = echo();
    CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &service), >, 0);
    if (round % 5 > 0) {
      CHECK_INT(mj_cluster_start(cluster), ==, 0);
      if (round % 2) usleep(2000);
      for (int i = 0; i < round % 5; i++) CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
      CHECK_INT(mj_cluster_join(cluster), ==, 0);
    }
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  }
}

static atomic_int called, given_up, accepted;
static atomic_int may_begin;

static void is_called(void* counter) {
  atomic_fetch_add(&called, 1);
  if ((uintptr_t)counter % 3 == 0) mj_yield();
}

static void is_given_up(void* unused) {
  (void)unused;
  atomic_fetch_add(&given_up, 1);
}

// Gives work until it is not taken any more; beside load more slowly, since ThreadSanitizer ends a process with 8,000
// tasks.
static void* gives(void* unused) {
  while (!may_begin) continue;
  for (uintptr_t i = 0;; i++) {
    if (accepted - called - given_up > 1000) usleep(1000);
    int result = mj_cluster_go(cluster, mj_cluster_next(cluster), is_called, (void*)i, is_given_up);
    if (result == -EPIPE) return unused;
    CHECK(result == 0 || result == -EAGAIN);
    if (result == 0) atomic_fetch_add(&accepted, 1);
  }
}

static void* listens(void* service) {
  while (!may_begin) continue;
  for (int i = 0; i < 20; i++) {
    int port = mj_cluster_listen(cluster, "127.0.0.1", "0", service);
    if (port == -EPIPE) break;
    CHECK_INT(port, >, 0);
  }
  return NULL;
}

// Whatever comes first: each function is called or given up once, and each socket is closed.
static void threads_give_work_while_it_ends(void) {
  enum { THREADS = 4 };
  unsigned seed = 24;
  for (size_t round = 0; round < times(200, 20); round++) {
    cluster = new_cluster(2);
    mj_service service = echo();
    called = given_up = accepted = may_begin = 0;
    pthread_t threads[THREADS + 1];
    for (int i = 0; i < THREADS; i++) CHECK_INT(pthread_create(&threads[i], NULL, gives, NULL), ==, 0);
    CHECK_INT(pthread_create(&threads[THREADS], NULL, listens, &service), ==, 0);
    if (round % 4) CHECK_INT(mj_cluster_start(cluster), ==, 0);
    may_begin = 1;
    usleep((useconds_t)(rand_r(&seed) % 1500));
    for (int stops = 1 + rand_r(&seed) % 3; stops > 0; stops--) {
      CHECK_INT(mj_cluster_stop(cluster, rand_r(&seed) % 2 ? 0 : 1000), ==, 0);
      usleep((useconds_t)(rand_r(&seed) % 200));
    }
    // One whose grace is not over takes work until then.
    if (round % 4 == 0) CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
    if (round % 4 == 0 && round % 8) CHECK_INT(mj_cluster_start(cluster), ==, 0);
    if (round % 8) CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
    for (int i = 0; i <= THREADS; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
    if (round % 8) CHECK_INT(mj_cluster_join(cluster), ==, 0);
    CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
    CHECK_INT(called + given_up, ==, accepted);
  }
}

// ---- Several clusters

static mj_cluster* inner;

static int is_inside(void* number) {
  CHECK_INT(mj_cluster_here(inner), ==, 1);
  CHECK_INT(mj_cluster_here(cluster), ==, -ESRCH);
  return ++*(int*)number;
}

static void makes_one(void* unused) {
  (void)unused;
  inner = new_cluster(2);
  CHECK_INT(mj_cluster_start(inner), ==, 0);
  int number = 1, result = 0;
  CHECK_INT(mj_cluster_call(inner, 1, is_inside, &number, MJ_FOREVER, &result), ==, 0);
  CHECK_INT(result, ==, 2);
  CHECK_INT(mj_cluster_join(inner), ==, -EBUSY);
  CHECK_INT(mj_cluster_destroy(inner), ==, -EBUSY);
  CHECK_INT(mj_cluster_stop(inner, 0), ==, 0);
}

static void a_task_makes_a_cluster(void) {
  cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 1, makes_one, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  join_and_destroy(inner);
}

static int passes_on(void* left) {
  if (--*(int*)left <= 0) return 0;
  mj_cluster* other = mj_cluster_here(cluster) >= 0 ? inner : cluster;
  int called_there = mj_cluster_call(other, (size_t)*(int*)left % 2, passes_on, left, MJ_FOREVER, NULL);
  CHECK(called_there == 0 || called_there == -EPIPE);
  return 0;
}

static void passes_on_first(void* unused) {
  (void)unused;
  int left = 40;
  passes_on(&left);
  CHECK_INT(left, ==, 0);
}

static void two_clusters_call_each_other(void) {
  cluster = new_cluster(2);
  inner = new_cluster(2);
  for (size_t i = 0; i < 20; i++) {
    CHECK_INT(mj_cluster_go(i % 4 < 2 ? cluster : inner, i % 2, passes_on_first, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_start(inner), ==, 0);
  // Each is held by what its own tasks have not ended, and by what the other one's have it called.
  for (size_t i = 0; i < 2; i++) {
    while (mj_cluster_load(cluster, i) + mj_cluster_load(inner, i) > 0) usleep(100);
  }
  join_and_destroy(cluster);
  join_and_destroy(inner);
}

static atomic_int of_caller;

static void calls_one_that_never_starts(void* unused) {
  mj_cluster_call(cluster, 1, never_returns, unused, MJ_FOREVER, NULL);
  abort();
}

static void gives_up_in_time(void* unused) {
  CHECK_INT(mj_cluster_call(cluster, 1, never_returns, unused, 2000000, NULL), ==, -ETIMEDOUT);
  atomic_fetch_add(&of_caller, 1);
}

static void stops_soon(void* scheduler) {
  mj_task_sleep_ms(5);
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
}

// Who calls a core that does not run is not kept by it.
static void callers_of_a_cluster_that_never_starts_leave(void) {
  cluster = new_cluster(2);
  of_caller = 0;
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, gives_up_in_time, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(of_caller, ==, 1);
  CHECK_INT(mj_go(scheduler, calls_one_that_never_starts, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(scheduler, stops_soon, scheduler, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// ---- Setting up

static atomic_int of_set_up;

static void ends_soon(void* unused) {
  (void)unused;
  mj_task_sleep_ms(1);
  atomic_fetch_add(&of_set_up, 1);
}

static int makes_tasks(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)unused;
  for (size_t i = 0; i <= core; i++) CHECK_INT(mj_go(scheduler, ends_soon, NULL, NULL), ==, 0);
  return 0;
}

static void tasks_of_a_set_up_hold_the_run(void) {
  of_set_up = 0;
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = 3, .set_up = makes_tasks});
  run_to_its_end(cluster);
  CHECK_INT(of_set_up, ==, 1 + 2 + 3);
}

static int stops_the_cluster(mj_scheduler* scheduler, size_t core, void* stops) {
  (void)scheduler;
  if (core != 1) return 0;
  for (size_t i = 0; i < *(size_t*)stops; i++) CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  return 0;
}

static void a_set_up_can_stop_the_cluster(void) {
  for (size_t stops = 1; stops <= 3; stops++) {
    cluster = mj_cluster_create(
        &(mj_cluster_options){.cores = 3, .set_up = stops_the_cluster, .user_data = &stops});
    mj_service service = echo();
    CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &service), >, 0);
    run_to_its_end(cluster);
  }
}

static int blocks_the_last(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)scheduler;
  if (core == 2) blocks_its_thread(unused);
  return 0;
}

static void a_set_up_that_blocks_delays_its_core_alone(void) {
  close_gate();
  cluster = mj_cluster_create(&(mj_cluster_options){.cores = 3, .set_up = blocks_the_last});
  atomic_int done = 0;
  for (size_t core = 0; core < 3; core++) CHECK_INT(mj_cluster_go(cluster, core, counts, &done, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  while (done < 2) usleep(100);
  CHECK_INT(mj_cluster_load(cluster, 2), ==, 1);
  unblock();
  join_and_destroy(cluster);
  CHECK_INT(done, ==, 3);
  remove_gate();
}

static void is_refused(void* scheduler) { CHECK_WARNS(mj_scheduler_destroy(scheduler)); }

static int destroys_its_scheduler(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)core;
  (void)unused;
  is_refused(scheduler);
  CHECK(strstr(log_line_warning, "which destroys it") != NULL);
  CHECK_INT(mj_go(scheduler, is_refused, scheduler, NULL), ==, 0);
  return mj_go(scheduler, ends_soon, NULL, NULL);
}

static void destroys_its_scheduler_at_last(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)core;
  (void)unused;
  is_refused(scheduler);
}

static void the_scheduler_of_a_core_stays_the_clusters(void) {
  of_set_up = 0;
  log_lines_begin();
  cluster = mj_cluster_create(&(mj_cluster_options){
      .cores = 1, .set_up = destroys_its_scheduler, .tear_down = destroys_its_scheduler_at_last});
  run_to_its_end(cluster);
  log_lines_end();
  CHECK_INT(of_set_up, ==, 1);
}

// ---- Handlers

static void exits_at_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  close(*(int*)user_state);
  mj_task_exit();
}

static int last_fd;

static void leaves_it_open(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  last_fd = *(int*)user_state;
  mj_task_exit();
}

static void* takes_none(int fd, void* unused) {
  (void)fd;
  (void)unused;
  return NULL;
}

static void* exits_in_between(int fd, void* unused) {
  (void)unused;
  close(fd);
  mj_task_exit();
  return NULL;
}

static void go_and_exit(void* unused) {
  (void)unused;
  mj_task_exit();
}

static void handlers_end_as_they_like(void) {
  const mj_service services[] = {
      {.handler = exits_at_once},
      {.handler = leaves_it_open},
      {.handler = answers, .connection = takes_none},
      {.handler = answers, .connection = exits_in_between},
  };
  for (size_t i = 0; i < 4; i++) {
    cluster = new_cluster(1);
    int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &services[i]);
    CHECK_INT(mj_cluster_go(cluster, 0, go_and_exit, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    last_fd = -1;
    int fd = dial(port);
    char byte;
    if (i != 1) CHECK_INT(read(fd, &byte, 1), ==, 0);
    CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
    join_and_destroy(cluster);
    if (i == 1) {
      close(last_fd);  // The task's, which has not.
      CHECK_INT(read(fd, &byte, 1), ==, 0);
    }
    close(fd);
  }
}

// ---- How many

static void one_core_has_its_port_alone(void) {
  cluster = new_cluster(1);
  mj_service service = echo();
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
  char text[8];
  snprintf(text, sizeof text, "%d", port);
  mj_cluster* other = new_cluster(2);
  CHECK_INT(mj_cluster_listen(other, "127.0.0.1", text, &service), ==, -EADDRINUSE);
  CHECK_INT(mj_cluster_destroy(other), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  int fds[10];
  for (int i = 0; i < 10; i++) {
    fds[i] = dial(port);
    CHECK_INT(write(fds[i], "x", 1), ==, 1);
    has_answered(fds[i]);
  }
  CHECK_UINT(mj_cluster_load(cluster, 0), ==, 10);
  for (int i = 0; i < 10; i++) close(fds[i]);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  join_and_destroy(cluster);
}

static long own_kilobytes(void) {
  FILE* rollup = fopen("/proc/self/smaps_rollup", "r");
  if (rollup == NULL) return -1;
  char line[200];
  long kilobytes = -1;
  while (fgets(line, sizeof line, rollup)) sscanf(line, "Private_Dirty: %ld kB", &kilobytes);
  fclose(rollup);
  return kilobytes;
}

// With what is touched of its thread's stack.
static void an_idle_core_takes_little_memory(void) {
  enum { CORES = 64 };
  CHECK_INT(mj_cluster_destroy(new_cluster(1)), ==, 0);  // What the process has once.
  long before = own_kilobytes();
  cluster = new_cluster(CORES);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  atomic_int done = 0;
  for (size_t core = 0; core < CORES; core++) {
    CHECK_INT(mj_cluster_go(cluster, core, counts, &done, NULL), ==, 0);
  }
  while (done < CORES) usleep(100);
  long of_each = (own_kilobytes() - before) / CORES;
  fprintf(stderr, "%ld KiB for each idle core\n", of_each);
  if (before >= 0 && !under_valgrind() && !sanitized() && !emulated()) CHECK_INT(of_each, <=, 256);
  join_and_destroy(cluster);
}

int main(void) {
  RUN(what_a_core_was_given_is_abandoned_if_its_set_up_fails);
  RUN(a_core_that_stops_with_tasks_stops_the_others);
  RUN(calls_of_a_core_that_stops_end);
  RUN(calls_that_a_core_that_stops_has_not_begun_end);
  RUN(the_others_go_on_while_one_core_stalls);
  RUN(what_is_handed_over_with_data_is_answered);
  RUN(peers_may_be_gone_before_the_hand_over);
  // Valgrind closes what is accepted beyond the limit.
  if (!under_valgrind()) RUN(want_of_descriptors_is_overcome);
  RUN(clients_come_while_it_ends);
  RUN(nothing_is_left_of_what_was_under_way);
  RUN(listeners_are_closed_however_it_ends);
  RUN(threads_give_work_while_it_ends);
  RUN(a_task_makes_a_cluster);
  RUN(two_clusters_call_each_other);
  RUN(callers_of_a_cluster_that_never_starts_leave);
  RUN(tasks_of_a_set_up_hold_the_run);
  RUN(a_set_up_can_stop_the_cluster);
  RUN(a_set_up_that_blocks_delays_its_core_alone);
  RUN(the_scheduler_of_a_core_stays_the_clusters);
  RUN(handlers_end_as_they_like);
  RUN(one_core_has_its_port_alone);
  RUN(an_idle_core_takes_little_memory);
  return 0;
}
