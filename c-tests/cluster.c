// Clusters: schedulers on threads of their own, what they are given, and how they end.
#define _GNU_SOURCE
#include "check.h"
#include "clusters.h"
#include "log_lines.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int threads_of_this_process(void) {
  FILE* status = fopen("/proc/self/status", "r");
  CHECK(status != NULL);
  char line[200];
  int threads = 0;
  while (fgets(line, sizeof line, status)) sscanf(line, "Threads: %d", &threads);
  fclose(status);
  return threads;
}

// An emulator has threads of its own, and those that have ended for a moment longer.
static void check_threads(int expected) {
  if (!emulated()) CHECK_INT(threads_of_this_process(), ==, expected);
}

// ---- Making and ending

static void wrong_options_are_refused(void) {
  mj_cluster_options options = {.cores = 0};
  CHECK(mj_cluster_create(&options) == NULL && errno == EINVAL);
  options.cores = 1025;
  CHECK(mj_cluster_create(&options) == NULL && errno == EINVAL);
  options = (mj_cluster_options){.cores = 1, .reserved = {0, 1}};
  CHECK(mj_cluster_create(&options) == NULL && errno == EINVAL);
  CHECK_INT(mj_cluster_start(NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_join(NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_run(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_cluster_stop(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_cluster_destroy(NULL), ==, 0);
  CHECK_UINT(mj_cluster_size(NULL), ==, 0);
  CHECK_INT(mj_cluster_here(NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_signal(NULL), ==, 0);
  CHECK(mj_cluster_remote(NULL, 0) == NULL && errno == EINVAL);
  CHECK_INT(mj_cluster_go(NULL, 0, NULL, NULL, NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_listen(NULL, NULL, "0", NULL), ==, -EINVAL);
  CHECK_INT(mj_cluster_write_metrics(NULL, NULL, 0, MJ_METRICS_TEXT), ==, -EINVAL);
  CHECK_INT(mj_cluster_listeners(NULL, NULL, 0), ==, -EINVAL);
}

static void has_as_many_cores_as_processors_by_default(void) {
  cpu_set_t may;
  CHECK_INT(sched_getaffinity(0, sizeof may, &may), ==, 0);
  mj_cluster* cluster = mj_cluster_create(NULL);
  CHECK_UINT(mj_cluster_size(cluster), <=, (size_t)CPU_COUNT(&may));
  CHECK_UINT(mj_cluster_size(cluster), >=, 1);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void one_that_was_not_started_leaves_nothing(void) {
  int before = threads_of_this_process();
  mj_cluster* cluster = new_cluster(3);
  check_threads(before + 3);
  CHECK_INT(mj_cluster_join(cluster), ==, -EINVAL);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  check_threads(before);
}

static void one_without_work_ends_when_it_is_joined(void) {
  int before = threads_of_this_process();
  mj_cluster* cluster = new_cluster(2);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, -EBUSY);
  CHECK_INT(mj_cluster_destroy(cluster), ==, -EBUSY);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  check_threads(before);
  CHECK_INT(mj_cluster_go(cluster, 0, (mj_go_fn)abort, NULL, NULL), ==, -EPIPE);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// ---- Setting up and tearing down

typedef struct visits {
  atomic_int set_up, torn_down;
  int fails_at;
} visits;

static int sets_up(mj_scheduler* scheduler, size_t core, void* user_data) {
  visits* seen = user_data;
  char name[16], expected[16];
  CHECK_INT(pthread_getname_np(pthread_self(), name, sizeof name), ==, 0);
  snprintf(expected, sizeof expected, "web-%zu", core);
  CHECK_STR(name, expected);
  CHECK(scheduler != NULL && mj_scheduler_current() == NULL);
  atomic_fetch_add(&seen->set_up, 1);
  return (int)core == seen->fails_at ? -EXDEV : 0;
}

static void tears_down(mj_scheduler* scheduler, size_t core, void* user_data) {
  visits* seen = user_data;
  (void)core;
  CHECK(scheduler != NULL);
  atomic_fetch_add(&seen->torn_down, 1);
}

static void cores_are_set_up_and_torn_down_on_their_threads(void) {
  visits seen = {.fails_at = -1};
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){
      .cores = 3, .name = "web", .set_up = sets_up, .tear_down = tears_down, .user_data = &seen});
  CHECK(cluster != NULL);
  CHECK_INT(seen.set_up, ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(seen.set_up, ==, 3);
  CHECK_INT(seen.torn_down, ==, 3);
}

static void a_set_up_that_fails_ends_the_others(void) {
  visits seen = {.fails_at = 1};
  mj_log_set_level(MJ_LOG_ERROR);  // Of all threads one logs, and is counted.
  log_lines_begin();
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){
      .cores = 3, .name = "web", .set_up = sets_up, .tear_down = tears_down, .user_data = &seen});
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, -EXDEV);
  CHECK_INT(seen.torn_down, ==, 3);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  CHECK_UINT(log_lines_from(MJ_LOG_ERROR), ==, 1);
  CHECK(strstr(log_line_last, "core 1 cannot be set up") != NULL);
  log_lines_end();
  mj_log_set_level(MJ_LOG_INFO);
}

static int is_on_one_processor(mj_scheduler* scheduler, size_t core, void* processors) {
  (void)scheduler;
  cpu_set_t may;
  CHECK_INT(sched_getaffinity(0, sizeof may, &may), ==, 0);
  CHECK_INT(CPU_COUNT(&may), ==, 1);
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(i, &may)) ((int*)processors)[core] = i;
  }
  return 0;
}

static void threads_can_be_pinned(void) {
  cpu_set_t may;
  CHECK_INT(sched_getaffinity(0, sizeof may, &may), ==, 0);
  int processors[3];
  run_to_its_end(mj_cluster_create(&(mj_cluster_options){
      .cores = 3, .pin = true, .set_up = is_on_one_processor, .user_data = processors}));
  for (int i = 0; i < 3; i++) CHECK(CPU_ISSET(processors[i], &may));
  if (CPU_COUNT(&may) >= 3) CHECK(processors[0] != processors[1] && processors[1] != processors[2]);
}

// ---- Work

typedef struct work {
  mj_cluster* cluster;
  size_t core;
  atomic_int* done;
} work;

static void is_where_it_belongs(void* argument) {
  work* of = argument;
  CHECK_INT(mj_cluster_here(of->cluster), ==, (int)of->core);
  CHECK_UINT(mj_cluster_load(of->cluster, of->core), >=, 1);
  mj_yield();
  atomic_fetch_add(of->done, 1);
}

static void each_core_does_what_it_is_given(void) {
  mj_cluster* cluster = new_cluster(3);
  atomic_int done = 0;
  work of[300];
  CHECK_INT(mj_cluster_here(cluster), ==, -ESRCH);
  for (size_t i = 0; i < 300; i++) {
    of[i] = (work){cluster, mj_cluster_next(cluster), &done};
    CHECK_INT(mj_cluster_go(cluster, of[i].core, is_where_it_belongs, &of[i], NULL), ==, 0);
  }
  for (size_t i = 0; i < 3; i++) CHECK_UINT(mj_cluster_load(cluster, i), ==, 100);
  CHECK_UINT(mj_cluster_load(cluster, 3), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 3, is_where_it_belongs, of, NULL), ==, -EINVAL);
  run_to_its_end(cluster);
  CHECK_INT(done, ==, 300);
}

static mj_cluster* relayed;
static atomic_int relays_left;

static void relays(void* argument) {
  (void)argument;
  if (atomic_fetch_sub(&relays_left, 1) <= 0) return;
  size_t other = (size_t)(mj_cluster_here(relayed) + 1) % mj_cluster_size(relayed);
  CHECK_INT(mj_cluster_go(relayed, other, relays, NULL, NULL), ==, 0);
}

static void it_goes_on_while_cores_give_each_other_work(void) {
  relayed = new_cluster(2);
  relays_left = 2000;
  CHECK_INT(mj_cluster_go(relayed, 0, relays, NULL, NULL), ==, 0);
  run_to_its_end(relayed);
  CHECK_INT(relays_left, <=, 0);
}

static void counts(void* counter) { atomic_fetch_add((atomic_int*)counter, 1); }

static void what_has_not_begun_is_abandoned(void) {
  mj_cluster* cluster = new_cluster(2);
  atomic_int abandoned = 0;
  for (size_t i = 0; i < 10; i++) {
    CHECK_INT(mj_cluster_go(cluster, i % 2, (mj_go_fn)abort, &abandoned, counts), ==, 0);
  }
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  CHECK_INT(abandoned, ==, 10);
}

static void a_core_that_is_full_says_so(void) {
  mj_cluster* cluster = new_cluster(2);
  mj_remote* remote = mj_cluster_remote(cluster, 1);
  CHECK_INT(mj_remote_set_post_limit(remote, 3), ==, 0);
  mj_remote_release(remote);
  atomic_int done = 0;
  for (int i = 0; i < 3; i++) CHECK_INT(mj_cluster_go(cluster, 1, counts, &done, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, counts, &done, NULL), ==, -EAGAIN);
  CHECK_UINT(mj_cluster_load(cluster, 1), ==, 3);
  CHECK_INT(mj_cluster_go(cluster, 0, counts, &done, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(done, ==, 4);
}

static void keys_are_spread_and_stay(void) {
  mj_cluster* cluster = new_cluster(4);
  mj_cluster* other = new_cluster(4);
  int of_core[4] = {0};
  for (uint64_t key = 0; key < 4000; key++) {
    size_t core = mj_cluster_of_key(cluster, key);
    CHECK_UINT(core, ==, mj_cluster_of_key(other, key));
    of_core[core]++;
  }
  for (int i = 0; i < 4; i++) CHECK(of_core[i] > 800 && of_core[i] < 1200);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  CHECK_INT(mj_cluster_destroy(other), ==, 0);
}

static void the_least_loaded_core_is_found(void) {
  mj_cluster* cluster = new_cluster(5);
  atomic_int done = 0;
  for (size_t core = 0; core < 5; core++) {
    if (core == 3) continue;
    CHECK_INT(mj_cluster_go(cluster, core, counts, &done, NULL), ==, 0);
  }
  for (int i = 0; i < 20; i++) CHECK_UINT(mj_cluster_least_loaded(cluster), ==, 3);
  run_to_its_end(cluster);
  CHECK_INT(done, ==, 4);
}

static void looks_do_not_change_whose_turn_it_is(void) {
  mj_cluster* cluster = new_cluster(2);
  for (size_t i = 0; i < 10; i++) {
    mj_cluster_least_loaded(cluster);
    CHECK_UINT(mj_cluster_next(cluster), ==, i % 2);
  }
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// ---- Stopping

static atomic_int canceled;

static void waits_until_it_is_canceled(void* argument) {
  (void)argument;
  CHECK_INT(mj_sleep_ns(MJ_FOREVER), ==, -ECANCELED);
  atomic_fetch_add(&canceled, 1);
}

static void ends_by_itself(void* ended) {
  CHECK_INT(mj_sleep_ns(20000000), ==, 0);
  atomic_fetch_add((atomic_int*)ended, 1);
}

static void tasks_have_their_grace(void) {
  mj_cluster* cluster = new_cluster(2);
  atomic_int ended = 0;
  canceled = 0;
  for (size_t i = 0; i < 4; i++) {
    CHECK_INT(mj_cluster_go(cluster, i % 2, ends_by_itself, &ended, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(ended, ==, 4);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void what_is_left_after_the_grace_is_canceled(void) {
  mj_cluster* cluster = new_cluster(2);
  canceled = 0;
  for (size_t i = 0; i < 4; i++) {
    CHECK_INT(mj_cluster_go(cluster, i % 2, waits_until_it_is_canceled, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, 10000000), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(canceled, ==, 4);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void a_second_stop_cuts_the_grace_short(void) {
  mj_cluster* cluster = new_cluster(2);
  canceled = 0;
  for (size_t i = 0; i < 4; i++) {
    CHECK_INT(mj_cluster_go(cluster, i % 2, waits_until_it_is_canceled, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  usleep(5000);
  CHECK_INT(canceled, ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(canceled, ==, 4);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void becomes_a_daemon(void* argument) {
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  waits_until_it_is_canceled(argument);
}

static void daemons_are_canceled_after_the_grace_too(void) {
  mj_cluster* cluster = new_cluster(2);
  canceled = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, becomes_a_daemon, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, 10000000), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(canceled, ==, 1);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void is_deaf(void* argument) {
  (void)argument;
  mj_task_set_cancelable(false, NULL);
  for (;;) mj_task_sleep_ms(1);
}

static void a_third_stop_leaves_tasks(void) {
  mj_cluster* cluster = new_cluster(2);
  CHECK_INT(mj_cluster_go(cluster, 1, is_deaf, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  for (int i = 0; i < 3; i++) CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void a_stop_before_the_start_holds(void) {
  mj_cluster* cluster = new_cluster(2);
  canceled = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, waits_until_it_is_canceled, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 0, waits_until_it_is_canceled, NULL, NULL), ==, -EPIPE);
  run_to_its_end(cluster);
  CHECK_INT(canceled, ==, 1);
}

static void stops_its_scheduler(void* argument) {
  (void)argument;
  CHECK_INT(mj_scheduler_stop(mj_scheduler_current()), ==, 0);
}

static void a_core_that_stops_stops_the_others(void) {
  mj_cluster* cluster = new_cluster(3);
  canceled = 0;
  CHECK_INT(mj_cluster_go(cluster, 0, waits_until_it_is_canceled, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_go(cluster, 1, stops_its_scheduler, NULL, NULL), ==, 0);
  run_to_its_end(cluster);
  CHECK_INT(canceled, ==, 1);
}

// As a handler does whose client has gone. A child that another core makes has the descriptors for a moment, too.
static void write_to_nobody(void) {
  int fds[2];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  CHECK_INT(shutdown(fds[0], SHUT_RDWR), ==, 0);
  CHECK(write(fds[1], "x", 1) == -1 && errno == EPIPE);
  close(fds[0]);
  close(fds[1]);
}

static void writes_to_nobody(void* unused) {
  int status;
  (void)unused;
  write_to_nobody();
  // What it starts has neither a handler nor the signal blocked.
  const char* const kills_itself[] = {"sh", "-c", "kill -PIPE $$", NULL};
  mj_process* process = mj_process_spawn(kills_itself, NULL);
  CHECK(process != NULL);
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
  CHECK_INT(mj_process_end(process, 0, &status), ==, 0);
}

static int writes_in_its_set_up(mj_scheduler* scheduler, size_t core, void* unused) {
  (void)scheduler;
  (void)core;
  (void)unused;
  write_to_nobody();
  return 0;
}

static void a_write_that_nobody_reads_is_an_error(void) {
  struct sigaction before, after;
  CHECK_INT(sigaction(SIGPIPE, NULL, &before), ==, 0);
  CHECK(before.sa_handler == SIG_DFL);
  mj_cluster_options options = {.cores = 2, .set_up = writes_in_its_set_up};
  mj_cluster* cluster = mj_cluster_create(&options);
  CHECK(cluster != NULL);
  for (size_t core = 0; core < 2; core++) {
    CHECK_INT(mj_cluster_go(cluster, core, writes_to_nobody, NULL, NULL), ==, 0);
  }
  run_to_its_end(cluster);
  CHECK_INT(sigaction(SIGPIPE, NULL, &after), ==, 0);
  CHECK(after.sa_handler == SIG_DFL);
}

static void calls_what_blocks(void* argument) {
  mj_cluster* cluster = argument;
  CHECK_INT(mj_cluster_join(cluster), ==, -EBUSY);
  CHECK_INT(mj_cluster_destroy(cluster), ==, -EBUSY);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, -EBUSY);
}

static void its_own_tasks_cannot_wait_for_it(void) {
  mj_cluster* cluster = new_cluster(1);
  CHECK_INT(mj_cluster_go(cluster, 0, calls_what_blocks, cluster, NULL), ==, 0);
  run_to_its_end(cluster);
}

static int is_refused_what_blocks(mj_scheduler* scheduler, size_t core, void* cluster_of) {
  (void)scheduler;
  (void)core;
  calls_what_blocks(*(mj_cluster**)cluster_of);
  return 0;
}

static void is_refused_at_the_end(mj_scheduler* scheduler, size_t core, void* cluster_of) {
  is_refused_what_blocks(scheduler, core, cluster_of);
}

// Where no scheduler runs on them either.
static void its_own_threads_cannot_wait_for_it(void) {
  mj_cluster* cluster = NULL;
  cluster = mj_cluster_create(&(mj_cluster_options){
      .cores = 2, .set_up = is_refused_what_blocks, .tear_down = is_refused_at_the_end, .user_data = &cluster});
  run_to_its_end(cluster);
}

static void sends_signals(void* argument) {
  (void)argument;
  mj_task_sleep_ms(5);
  CHECK_INT(kill(getpid(), SIGTERM), ==, 0);
}

static void one_signal_stops_all(void) {
  mj_cluster* cluster = new_cluster(2);
  canceled = 0;
  for (size_t i = 0; i < 2; i++) {
    CHECK_INT(mj_cluster_go(cluster, i, waits_until_it_is_canceled, NULL, NULL), ==, 0);
  }
  CHECK_INT(mj_cluster_go(cluster, 1, sends_signals, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_run(cluster, 20000000), ==, 0);
  CHECK_INT(mj_cluster_signal(cluster), ==, SIGTERM);
  CHECK_INT(canceled, ==, 2);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void runs_again(void* cluster) { *(int*)((void**)cluster)[1] = mj_cluster_start(((void**)cluster)[0]); }

static void one_runs_it(void) {
  mj_cluster* cluster = new_cluster(2);
  int result = 1;
  void* pair[] = {cluster, &result};
  CHECK_INT(mj_cluster_go(cluster, 0, runs_again, pair, NULL), ==, 0);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, 0);
  CHECK_INT(result, ==, -EBUSY);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void a_run_ends_without_work(void) {
  mj_cluster* cluster = new_cluster(2);
  atomic_int done = 0;
  CHECK_INT(mj_cluster_go(cluster, 1, counts, &done, NULL), ==, 0);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, 0);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, -EBUSY);
  CHECK_INT(mj_cluster_signal(cluster), ==, 0);
  CHECK_INT(done, ==, 1);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// ---- Connections

static void answers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  char byte;
  while (mj_read(fd, &byte, 1, MJ_FOREVER) == 1) {
    CHECK_INT(mj_write(fd, &byte, 1, MJ_FOREVER), ==, 1);
  }
  close(fd);
  mj_task_exit();
}

static int dial(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  CHECK_INT(connect(fd, (struct sockaddr*)&address, sizeof address), ==, 0);
  return fd;
}

static void is_answered(int fd) {
  char byte = 'x';
  CHECK_INT(write(fd, &byte, 1), ==, 1);
  CHECK_INT(read(fd, &byte, 1), ==, 1);
}

static void connections_are_spread_evenly(void) {
  enum { CONNECTIONS = 200 };
  mj_cluster* cluster = new_cluster(2);
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &(mj_service){.handler = answers});
  CHECK_INT(port, >, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  int fds[CONNECTIONS];
  for (int i = 0; i < CONNECTIONS; i++) {
    fds[i] = dial(port);
    is_answered(fds[i]);
  }
  // Each core listens, which is not counted.
  size_t first = mj_cluster_load(cluster, 0), second = mj_cluster_load(cluster, 1);
  CHECK_UINT(first + second, ==, CONNECTIONS);
  CHECK_UINT(first, <=, CONNECTIONS / 2 + CONNECTIONS / 20);
  CHECK_UINT(second, <=, CONNECTIONS / 2 + CONNECTIONS / 20);
  for (int i = 0; i < CONNECTIONS; i++) close(fds[i]);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  CHECK_UINT(mj_cluster_load(cluster, 0) + mj_cluster_load(cluster, 1), ==, 0);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void what_waits_in_a_queue_is_served_at_the_end(void) {
  mj_cluster* cluster = new_cluster(2);
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &(mj_service){.handler = answers});
  int fds[20];
  for (int i = 0; i < 20; i++) {
    fds[i] = dial(port);
    CHECK_INT(write(fds[i], "x", 1), ==, 1);
    shutdown(fds[i], SHUT_WR);
  }
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_stop(cluster, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  for (int i = 0; i < 20; i++) {
    char byte;
    CHECK_INT(read(fds[i], &byte, 1), ==, 1);
    CHECK_INT(read(fds[i], &byte, 1), ==, 0);
    close(fds[i]);
  }
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void connections_at_a_path_are_handed_over(void) {
  char path[64];
  snprintf(path, sizeof path, "unix:/tmp/majjen-cluster-%d", getpid());
  unlink(path + 5);
  mj_cluster* cluster = new_cluster(2);
  CHECK_INT(mj_cluster_listen(cluster, path, NULL, &(mj_service){.handler = answers}), ==, 0);
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  int fds[40];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, path + 5);
  for (int i = 0; i < 40; i++) {
    fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(fds[i], (struct sockaddr*)&address, sizeof address), ==, 0);
    is_answered(fds[i]);
  }
  CHECK_UINT(mj_cluster_load(cluster, 1), >=, 15);
  CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  for (int i = 0; i < 40; i++) close(fds[i]);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
  unlink(path + 5);
}

static void an_address_in_use_is_an_error(void) {
  mj_cluster* cluster = new_cluster(2);
  int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  CHECK_INT(bind(taken, (struct sockaddr*)&address, length), ==, 0);
  CHECK_INT(listen(taken, 1), ==, 0);
  CHECK_INT(getsockname(taken, (struct sockaddr*)&address, &length), ==, 0);
  char port[16];
  snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
  mj_service what = {.handler = answers};
  CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", port, &what), ==, -EADDRINUSE);
  CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &(mj_service){.flags = 0}), ==, -EINVAL);
  what.reserved[0] = 1;
  CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &what), ==, -EINVAL);
  close(taken);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

static void a_port_is_shared_when_that_is_asked_for(void) {
  mj_cluster* clusters[] = {new_cluster(1), new_cluster(1)};
  const mj_service alone = {.handler = answers}, shared = {.handler = answers, .flags = MJ_LISTEN_REUSEPORT};
  int port = mj_cluster_listen(clusters[0], "127.0.0.1", "0", &shared);
  CHECK_INT(port, >, 0);
  char service[16];
  snprintf(service, sizeof service, "%d", port);
  CHECK_INT(mj_cluster_listen(clusters[1], "127.0.0.1", service, &alone), ==, -EADDRINUSE);
  CHECK_INT(mj_cluster_listen(clusters[1], "127.0.0.1", service, &shared), ==, port);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_cluster_destroy(clusters[i]), ==, 0);
}

static void its_sockets_are_told(void) {
  mj_cluster* cluster = new_cluster(2);
  const mj_service what = {.handler = answers};
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &what);
  CHECK_INT(mj_cluster_listeners(cluster, NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_cluster_listeners(cluster, NULL, 0), ==, 2);
  int fds[3] = {-1, -1, -1};
  CHECK_INT(mj_cluster_listeners(cluster, fds, 1), ==, 2);  // Of which one has room.
  CHECK(fds[0] >= 0 && fds[1] == -1);
  CHECK_INT(mj_cluster_listeners(cluster, fds, 3), ==, 2);
  CHECK(fds[1] >= 0 && fds[1] != fds[0] && fds[2] == -1);
  for (int i = 0; i < 2; i++) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    CHECK_INT(getsockname(fds[i], (struct sockaddr*)&address, &length), ==, 0);
    CHECK_INT(ntohs(address.sin_port), ==, port);
  }
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// ---- Looking in

static void metrics_are_on_one_page(void) {
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){.cores = 2, .name = "web"});
  atomic_int done = 0;
  for (int i = 0; i < 5; i++) CHECK_INT(mj_cluster_go(cluster, i == 0, counts, &done, NULL), ==, 0);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, 0);
  char page[64 * 1024];
  int length = mj_cluster_write_metrics(cluster, page, sizeof page, MJ_METRICS_PROMETHEUS);
  CHECK(length > 0 && length < (int)sizeof page);
  CHECK(strstr(page, "\nmajjen_tasks_exited_total{scheduler=\"web-0\"} 4\n") != NULL);
  CHECK(strstr(page, "\nmajjen_tasks_exited_total{scheduler=\"web-1\"} 1\n") != NULL);
  CHECK(strstr(page, "\nmajjen_cluster_tasks_exited_total 5\n") != NULL);
  CHECK(mj_cluster_write_metrics(cluster, page, sizeof page, MJ_METRICS_JSON) > 0);
  CHECK(strncmp(page, "{\"all\":{", 8) == 0 && strstr(page, "{\"scheduler\":\"web-1\",") != NULL);
  CHECK(mj_cluster_write_metrics(cluster, page, sizeof page, MJ_METRICS_TEXT) > 0);
  CHECK(strstr(page, "Exited:        5") != NULL);
  CHECK_INT(mj_cluster_write_metrics(cluster, NULL, 1, MJ_METRICS_TEXT), ==, -EINVAL);
  CHECK_INT(mj_cluster_write_metrics(cluster, page, 10, 7), ==, -EINVAL);
  CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

int main(void) {
  RUN(wrong_options_are_refused);
  RUN(has_as_many_cores_as_processors_by_default);
  RUN(one_that_was_not_started_leaves_nothing);
  RUN(one_without_work_ends_when_it_is_joined);
  RUN(cores_are_set_up_and_torn_down_on_their_threads);
  RUN(a_set_up_that_fails_ends_the_others);
  RUN(threads_can_be_pinned);
  RUN(each_core_does_what_it_is_given);
  RUN(it_goes_on_while_cores_give_each_other_work);
  RUN(what_has_not_begun_is_abandoned);
  RUN(a_core_that_is_full_says_so);
  RUN(keys_are_spread_and_stay);
  RUN(the_least_loaded_core_is_found);
  RUN(looks_do_not_change_whose_turn_it_is);
  RUN(tasks_have_their_grace);
  RUN(what_is_left_after_the_grace_is_canceled);
  RUN(a_second_stop_cuts_the_grace_short);
  RUN(daemons_are_canceled_after_the_grace_too);
  RUN(a_third_stop_leaves_tasks);
  RUN(a_stop_before_the_start_holds);
  RUN(a_core_that_stops_stops_the_others);
  RUN(a_write_that_nobody_reads_is_an_error);
  RUN(its_own_tasks_cannot_wait_for_it);
  RUN(its_own_threads_cannot_wait_for_it);
  RUN(one_signal_stops_all);
  RUN(one_runs_it);
  RUN(a_run_ends_without_work);
  RUN(connections_are_spread_evenly);
  RUN(what_waits_in_a_queue_is_served_at_the_end);
  RUN(connections_at_a_path_are_handed_over);
  RUN(an_address_in_use_is_an_error);
  RUN(a_port_is_shared_when_that_is_asked_for);
  RUN(its_sockets_are_told);
  RUN(metrics_are_on_one_page);
  return 0;
}
