// Row 14: Majjen's clusters. See `cores.h`.
#ifndef CLUSTERS_H
#define CLUSTERS_H

#include <pthread.h>

#include "cores.h"
#include "majjen.h"
#include "server.h"

enum { MOST_CORES = 64 };

static mj_cluster *cluster;
static mj_scheduler *core_schedulers[MOST_CORES];

static int keep_scheduler(mj_scheduler *scheduler, size_t core, void *unused) {
  (void)unused;
  core_schedulers[core] = scheduler;
  return 0;
}

static void cluster_make(uint64_t cores) {
  const mj_cluster_options options = {.cores = cores, .set_up = keep_scheduler};
  mj_log_set_level(MJ_LOG_ERROR);
  if (cores > MOST_CORES) fail("too many cores");
  cluster = mj_cluster_create(&options);
  if (cluster == NULL) fail("mj_cluster_create");
}

static void cluster_start(uint64_t cores) {
  cluster_make(cores);
  if (mj_cluster_start(cluster) != 0) fail("mj_cluster_start");
}

static void cluster_give(size_t core, mj_go_fn function, void *argument) {
  if (mj_cluster_go(cluster, core, function, argument, NULL) != 0) fail("mj_cluster_go");
}

static void cluster_end(void) {
  if (mj_cluster_join(cluster) != 0 || mj_cluster_destroy(cluster) != 0) fail("mj_cluster_join");
}

// ---- held: what the clients were told is compared with the load of each core

static void hold_connection(mj_scheduler *scheduler, void *state) {
  int fd = *(int *)state;
  char core = (char)mj_cluster_here(cluster), unused;
  (void)scheduler;
  if (mj_fd_adopt(fd) != 0 || mj_write(fd, &core, 1, MJ_FOREVER) != 1) fail("mj_write");
  while (mj_read(fd, &unused, 1, MJ_FOREVER) > 0) {
  }
  mj_fd_close(fd);
  mj_task_exit();
}

static void test_held(void) {
  begin_held();
  cluster_start(held.cores);
  const mj_service service = {.handler = hold_connection};
  int port = mj_cluster_listen(cluster, "127.0.0.1", "0", &service);
  if (port < 0) fail("mj_cluster_listen");
  hold_connections((uint16_t)port);
  for (uint64_t core = 0; core < held.cores; core++) {
    if (mj_cluster_load(cluster, core) != held.served[core]) fail("the load is not what was served");
  }
  report_held();
  mj_cluster_stop(cluster, 0);
  cluster_end();
}

// ---- made: `way=0` to the least loaded core, 1 to each in turn, 2 by a task on each core for itself

static void make_given(void *index) { make_one((uint64_t)(uintptr_t)index); }

static void give_all(void *in_turn) {
  for (uint64_t i = 0; i < made.count; i++) {
    size_t core = in_turn != NULL ? mj_cluster_next(cluster) : mj_cluster_least_loaded(cluster);
    cluster_give(core, make_given, (void *)(uintptr_t)i);
  }
}

static void go_all(void *core) {
  uint64_t given = 0;
  for (uint64_t i = (uint64_t)(uintptr_t)core; i < made.count; i += made.cores) {
    mj_scheduler *scheduler = core_schedulers[(uintptr_t)core];
    if (mj_go(scheduler, make_given, (void *)(uintptr_t)i, NULL) != 0) fail("mj_go");
    if (++given % 64 == 0) mj_yield();
  }
}

static void test_made(void) {
  uint64_t way = argument("way"), cores = argument("cores");
  cluster_start(cores);
  begin_made();
  if (way < 2) {
    cluster_give(0, give_all, way == 0 ? NULL : cluster);
  } else {
    for (uint64_t core = 0; core < cores; core++) cluster_give(core, go_all, (void *)(uintptr_t)core);
  }
  cluster_end();
  report_made();
}

// ---- servers: `serve_on_cores cores=N kind=N log=N` as `serve calls=1`; `serve_jobs cores=N rounds=N way=N`, where a
// heavy request is computed 0 by the connection's task, 1 on the least loaded core, 2 on the pool

static void *connected(int fd, void *unused) {
  (void)unused;
  if (mj_fd_adopt(fd) != 0) return NULL;
  return new_connection(fd);
}

static void serve_on_cores(mj_task_fn *handler) {
  const mj_service service = {.handler = handler, .connection = connected};
  signal(SIGPIPE, SIG_IGN);
  cluster_make(argument("cores"));
  if (mj_cluster_listen(cluster, "0.0.0.0", "8080", &service) < 0) fail("mj_cluster_listen");
  mj_cluster_run(cluster, 0);
}

static void test_serve_on_cores(void) {
  server.kind = argument("kind");
  server.log = argument("log");
  serve_on_cores(serve_by_calls);
}

static struct {
  uint64_t rounds, way;
} jobs;

static void do_job(void *state) {
  struct job *job = state;
  job->result = crunch(job->seed, job->rounds);
}

static int do_called_job(void *job) {
  do_job(job);
  return 0;
}

static void serve_jobs(mj_scheduler *scheduler, void *state) {
  struct connection *connection = state;
  (void)scheduler;
  for (;;) {
    ssize_t bytes = mj_read(connection->fd, connection->buffer + connection->bytes_read,
                            sizeof connection->buffer - connection->bytes_read - 1, MJ_FOREVER);
    struct job job;
    char text[128];
    if (bytes <= 0) break;
    connection->bytes_read += (size_t)bytes;
    connection->buffer[connection->bytes_read] = '\0';
    if (!parse_job(connection->buffer, jobs.rounds, &job)) continue;
    connection->bytes_read = 0;
    int failed = 0;
    if (job.rounds == 0 || jobs.way == 0) {
      do_job(&job);
    } else if (jobs.way == 1) {
      failed = mj_cluster_call(cluster, mj_cluster_least_loaded(cluster), do_called_job, &job, MJ_FOREVER, NULL);
    } else {
      failed = mj_offload(do_job, &job, NULL, MJ_FOREVER);
    }
    if (failed) fail("a job was not done");
    if (mj_write(connection->fd, text, write_result(text, sizeof text, &job), MJ_FOREVER) < 0) break;
  }
  mj_fd_close(connection->fd);
  mj_task_exit();
}

static void test_serve_jobs(void) {
  jobs.rounds = argument("rounds");
  jobs.way = argument("way");
  serve_on_cores(serve_jobs);
}

// ---- round_trips: `way=0` by calls, 1 by a channel each way

static mj_xchan *there, *back;

static int add_one(void *number) {
  if (mj_cluster_here(cluster) != 1) fail("on the wrong core");
  ++*(uint64_t *)number;
  return 0;
}

static void call_there(void *unused) {
  uint64_t number = 0;
  (void)unused;
  begin_pair();
  for (uint64_t i = 0; i < pair.count; i++) {
    if (mj_cluster_call(cluster, 1, add_one, &number, MJ_FOREVER, NULL) != 0) fail("mj_cluster_call");
  }
  report_pair(number);
}

static void send_there(void *unused) {
  uint64_t number = 0;
  (void)unused;
  begin_pair();
  for (uint64_t i = 0; i < pair.count; i++) {
    if (mj_xchan_send(there, &number, MJ_FOREVER) != 0) fail("mj_xchan_send");
    if (mj_xchan_recv(back, &number, MJ_FOREVER) != 0 || number != i + 1) fail("mj_xchan_recv");
  }
  report_pair(number);
  mj_xchan_close(there);
}

static void send_back(void *unused) {
  uint64_t number;
  (void)unused;
  while (mj_xchan_recv(there, &number, MJ_FOREVER) == 0) {
    number++;
    if (mj_xchan_send(back, &number, MJ_FOREVER) != 0) fail("mj_xchan_send");
  }
}

static void test_round_trips(void) {
  uint64_t way = argument("way");
  there = mj_xchan_create(sizeof(uint64_t), 1);
  back = mj_xchan_create(sizeof(uint64_t), 1);
  cluster_start(2);
  if (way == 1) cluster_give(1, send_back, NULL);
  cluster_give(0, way == 0 ? call_there : send_there, NULL);
  cluster_end();
}

// ---- messages: `way=0` by a channel, 1 functions of mj_cluster_go(), whose sender waits where there is no room

static uint64_t message_sum, messages_begun;

static void send_messages(void *unused) {
  (void)unused;
  begin_pair();
  for (uint64_t i = 1; i <= pair.count; i++) {
    if (mj_xchan_send(there, &i, MJ_FOREVER) != 0) fail("mj_xchan_send");
  }
  mj_xchan_close(there);
}

static void receive_messages(void *unused) {
  uint64_t number, sum = 0, received = 0;
  (void)unused;
  for (; mj_xchan_recv(there, &number, MJ_FOREVER) == 0; received++) sum += number;
  check_sum(sum);
  report_pair(received);
}

static void count_message(void *number) {
  message_sum += (uint64_t)(uintptr_t)number;
  if (++messages_begun < pair.count) return;
  check_sum(message_sum);
  report_pair(messages_begun);
}

static void give_messages(void *unused) {
  (void)unused;
  begin_pair();
  for (uint64_t i = 1; i <= pair.count; i++) {
    int given;
    while ((given = mj_cluster_go(cluster, 1, count_message, (void *)(uintptr_t)i, NULL)) == -EAGAIN) {
      mj_sleep_ns(100000);
    }
    if (given != 0) fail("mj_cluster_go");
  }
}

static void test_messages(void) {
  uint64_t way = argument("way");
  there = mj_xchan_create(sizeof(uint64_t), MESSAGES);
  cluster_start(2);
  if (way == 0) cluster_give(1, receive_messages, NULL);
  cluster_give(0, way == 0 ? send_messages : give_messages, NULL);
  cluster_end();
}

// ---- `idle_cores cores=N`: what the process holds when each core has run a function, and how much of it is of the
// stacks of their threads

static struct {
  void *stacks[MOST_CORES];
  size_t stack_bytes[MOST_CORES];
  uint64_t begun;
} idle_cores;

static void note_stack(void *core) {
  size_t index = (size_t)(uintptr_t)core;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0 ||
      pthread_attr_getstack(&attributes, &idle_cores.stacks[index], &idle_cores.stack_bytes[index]) != 0) {
    fail("pthread_attr_getstack");
  }
  pthread_attr_destroy(&attributes);
  __atomic_add_fetch(&idle_cores.begun, 1, __ATOMIC_RELEASE);
}

static uint64_t bytes_of_rollup(const char *name) {
  char line[256];
  unsigned long long kib = 0;
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  if (file == NULL) fail("/proc/self/smaps_rollup");
  while (fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %llu kB", &kib) == 1) break;
  }
  fclose(file);
  if (kib == 0) fail(name);
  return kib * 1024;
}

// The pages of a stack that there are: each has 8 bytes in pagemap, whose highest bit says so.
static uint64_t bytes_of_stack(size_t core) {
  uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE), pages = 0, entry;
  uint64_t first = (uint64_t)(uintptr_t)idle_cores.stacks[core] / page_bytes;
  int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("/proc/self/pagemap");
  for (uint64_t i = 0; i < idle_cores.stack_bytes[core] / page_bytes; i++) {
    if (pread(fd, &entry, sizeof entry, (off_t)((first + i) * sizeof entry)) != sizeof entry) fail("pagemap");
    pages += entry >> 63;
  }
  close(fd);
  if (pages == 0) fail("a thread without a stack");
  return pages * page_bytes;
}

static void test_idle_cores(void) {
  uint64_t cores = argument("cores"), stacks = 0, memory, page_tables;
  cluster_start(cores);
  for (uint64_t core = 0; core < cores; core++) cluster_give(core, note_stack, (void *)(uintptr_t)core);
  while (__atomic_load_n(&idle_cores.begun, __ATOMIC_ACQUIRE) < cores) usleep(1000);
  usleep(100000);
  for (uint64_t core = 0; core < cores; core++) stacks += bytes_of_stack(core);
  resident_bytes(&memory, &page_tables);
  report("private_dirty", (double)bytes_of_rollup("Private_Dirty"));
  report("rss", (double)bytes_of_rollup("Rss"));
  report("stacks", (double)stacks);
  report("page_tables", (double)page_tables);
  report("work", (double)idle_cores.begun);
  cluster_end();
}

#define CLUSTER_TESTS \
  {"held", test_held}, {"made", test_made}, {"serve_on_cores", test_serve_on_cores}, {"serve_jobs", test_serve_jobs}, \
      {"round_trips", test_round_trips}, {"messages", test_messages}, {"idle_cores", test_idle_cores}

#endif
