// Majjen, through its header and its shared library.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "majjen.h"

static mj_scheduler *the_scheduler;

#define TASK(name) static void name(mj_scheduler *scheduler_, void *state_)
#define TASK_END \
  do { \
    (void)scheduler_, (void)state_; \
    mj_task_exit(); \
    return; \
  } while (0)
#define CAN_WAKE 1
typedef mj_task_fn task_body;
typedef mj_task *task_handle;
static inline task_handle task_spawn(task_body *body) { return mj_create_task(the_scheduler, body, NULL); }
static inline void task_yield(void) { mj_task_yield(); }
static inline void task_sleep(uint64_t ns) { mj_task_sleep_ns(ns); }
static inline void task_wake(task_handle task) { mj_task_wake(task); }
static void run_tasks(task_body *first);

#include "calls.h"

static void child_run(const char *const *arguments) {
  int status = -1;
  mj_process *process = mj_process_spawn(arguments, NULL);
  if (process == NULL) fail("mj_process_spawn");
  if (mj_process_wait(process, &status, MJ_FOREVER) != 0 || status != 0) fail("mj_process_wait");
  mj_process_let_go(process);
}

#include "children.h"
#include "dead_names.h"
#include "server.h"
#include "tasks.h"
#include "threads.h"

// With `stack=bytes` tasks have stacks of that size instead of the default one, with `trace=events` they are recorded,
// with `watch=ns` turns that are longer are reported.
static void run_tasks(task_body *first) {
  mj_log_set_level(MJ_LOG_WARN);
  the_scheduler = mj_scheduler_create();
  if (the_scheduler == NULL) fail("mj_scheduler_create");
  for (int i = 2; i < argument_count; i++) {
    if (strncmp(argument_values[i], "stack=", 6) == 0 &&
        mj_scheduler_set_stack_size(the_scheduler, argument("stack")) != 0) {
      fail("mj_scheduler_set_stack_size");
    }
    if (strncmp(argument_values[i], "trace=", 6) == 0 &&
        mj_scheduler_trace(the_scheduler, argument("trace")) != 0) {
      fail("mj_scheduler_trace");
    }
    if (strncmp(argument_values[i], "watch=", 6) == 0 &&
        mj_scheduler_report_long_turns(the_scheduler, argument("watch")) != 0) {
      fail("mj_scheduler_report_long_turns");
    }
  }
  task_spawn(first);
  mj_scheduler_run(the_scheduler);
  const mj_metrics *metrics = mj_scheduler_get_metrics(the_scheduler);
  if (metrics->current_tasks != 0 || metrics->task_executions == 0) fail("the metrics are wrong");
  report("scheduler_loops", (double)metrics->scheduler_loops);
  mj_scheduler_destroy(the_scheduler);
}

// ---- rows 6 to 8: servers. Row 6 has the guide's own program besides.

static void serve_connection(mj_scheduler *scheduler, void *state) {
  struct connection *connection = state;
  (void)scheduler;
  do {
    mj_task_wait_readable(connection->fd);
  } while (serve_readable(connection));
  close(connection->fd);
  mj_task_exit();
}

static void accept_connections(mj_scheduler *scheduler, void *state) {
  (void)state;
  for (;;) {
    mj_task_wait_readable(server.listen_fd);
    struct connection *connection = accept_connection();
    if (connection != NULL) mj_create_task(scheduler, serve_connection, connection);
  }
}

// The same by the library's own calls.
static void serve_by_calls(mj_scheduler *scheduler, void *state) {
  struct connection *connection = state;
  (void)scheduler;
  for (;;) {
    ssize_t bytes = mj_read(connection->fd, connection->buffer + connection->bytes_read,
                            sizeof connection->buffer - connection->bytes_read - 1, MJ_FOREVER);
    if (bytes <= 0) break;
    size_t length;
    const char *text = answer(connection, (size_t)bytes, &length);
    if (length == 0) continue;
    if (mj_write(connection->fd, text, length, MJ_FOREVER) < 0 || server.kind == SERVE_ONCE) break;
  }
  mj_fd_close(connection->fd);
  mj_task_exit();
}

static void accept_by_calls(mj_scheduler *scheduler, void *state) {
  (void)state;
  if (mj_fd_adopt(server.listen_fd) != 0) fail("mj_fd_adopt");
  for (;;) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int fd = mj_accept(server.listen_fd, (struct sockaddr *)&address, &length, MJ_FOREVER);
    if (fd == -ECANCELED) break;
    if (fd < 0) fail("mj_accept");
    mj_create_task(scheduler, serve_by_calls, new_connection(fd));
  }
  mj_task_exit();
}

// `calls=0`: waits and reads, as the guide's server does. `calls=1`: the library's own calls.
static void test_serve(void) {
  start_server();
  mj_scheduler *scheduler = setup_scheduler_with_epoll();
  mj_create_task(scheduler, argument("calls") ? accept_by_calls : accept_connections, NULL);
  mj_scheduler_run(scheduler);
}

// ---- row 14, whose servers are those of row 7

#include "clusters.h"

// ---- row 9: the log

static void test_log_disabled(void) {
  uint64_t count = argument("count"), written = 0;
  mj_log_set_level(MJ_LOG_INFO);
  for (uint64_t i = 0; i < 1000; i++) MJ_DEBUG("step %d of %s", (int)i, "many");
  uint64_t began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) {
    MJ_DEBUG("step %d of %s", (int)i, "many");
    written++;
  }
  uint64_t took = cpu_ns() - began;
  report("work", (double)written);
  report("ns", (double)took / (double)count);
}

// Prints to standard error, since standard output is where the lines go.
static void report_log(uint64_t lines, uint64_t took_ns, uint64_t bytes) {
  fprintf(stderr, "work=%llu\nns=%.17g\nbytes=%llu\n", (unsigned long long)lines,
          (double)took_ns / (double)lines, (unsigned long long)bytes);
}

// `reference=0`: MJ_INFO lines. `reference=1`: the bytes of such a line, by fwrite and fflush.
static void test_log_line(void) {
  uint64_t count = argument("count"), reference = argument("reference");
  const char line[] = "[2025-01-01 00:00:00] [INFO] New connection accepted on fd 7\n";
  int fd = fileno(stdout);
  if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) fail("standard output is no file");
  uint64_t began = cpu_ns();
  if (reference) {
    for (uint64_t i = 0; i < count; i++) {
      fwrite(line, 1, sizeof line - 1, stdout);
      fflush(stdout);
    }
  } else {
    mj_log_set_level(MJ_LOG_INFO);
    for (uint64_t i = 0; i < count; i++) MJ_INFO("New connection accepted on fd %d", 7);
  }
  uint64_t took = cpu_ns() - began;
  report_log(count, took, (uint64_t)lseek(fd, 0, SEEK_END));
}

// ---- channels: what a send and a receive take. With room for elements, one task does both, and none waits;
// without, one task sends to the other, and each second call waits.

static struct {
  mj_chan *chan;
  uint64_t count, received;
} channel;

static void receive_all(mj_scheduler *scheduler, void *state) {
  (void)scheduler, (void)state;
  uint64_t element;
  while (mj_chan_recv(channel.chan, &element, MJ_FOREVER) == 0) channel.received++;
  mj_task_exit();
}

static void send_all(mj_scheduler *scheduler, void *state) {
  (void)state;
  int alone = argument("capacity") > 0;
  channel.chan = mj_chan_create(scheduler, sizeof(uint64_t), argument("capacity"));
  if (!alone) mj_create_task(scheduler, receive_all, NULL);
  for (uint64_t i = 0; i < channel.count; i++) {
    if (mj_chan_send(channel.chan, &i, MJ_FOREVER) != 0) fail("mj_chan_send");
    uint64_t element;
    if (alone) channel.received += mj_chan_recv(channel.chan, &element, MJ_FOREVER) == 0 && element == i;
  }
  mj_chan_close(channel.chan);
  mj_task_exit();
}

static void test_channel(void) {
  channel.count = argument("count");
  uint64_t began = cpu_ns();
  run_tasks(send_all);
  uint64_t took = cpu_ns() - began;
  mj_chan_destroy(channel.chan);
  report("work", (double)channel.received);
  report("ns", (double)took / (double)channel.received);
}

// ---- reading and writing what is there and has room: a byte at a time, by the library's calls, or by the system's
// with `bare=1`. A round writes as many as it reads then.

static struct {
  int fds[2];
  uint64_t rounds, moved;
} transfers;

enum { ROUND = 32 };

static void transfer_all(mj_scheduler *scheduler, void *state) {
  (void)scheduler, (void)state;
  int bare = argument("bare") != 0, read_end = transfers.fds[0], write_end = transfers.fds[1];
  char bytes[ROUND];
  for (uint64_t round = 0; round < transfers.rounds; round++) {
    for (int i = 0; i < ROUND; i++) {
      if ((bare ? send(write_end, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) : mj_write(write_end, "x", 1, MJ_FOREVER)) != 1)
        fail("write");
    }
    for (int i = 0; i < ROUND; i++) {
      if ((bare ? recv(read_end, bytes, 1, MSG_DONTWAIT) : mj_read(read_end, bytes, 1, MJ_FOREVER)) != 1) fail("read");
    }
    transfers.moved += 2 * ROUND;
    if (bare) mj_yield();  // The library's calls yield as often.
  }
  mj_task_exit();
}

static void test_transfer(void) {
  transfers.rounds = argument("count") / (2 * ROUND);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, transfers.fds) != 0) fail("socketpair");
  for (int i = 0; i < 2 && argument("owned") != 0; i++) {
    if (mj_fd_adopt(transfers.fds[i]) != 0) fail("mj_fd_adopt");
  }
  run_tasks(transfer_all);
  report("work", (double)transfers.moved);
}

// ---- what is deferred to the end of a task: added, and called

static struct {
  uint64_t count, called;
} deferrals;

static void count_call(void *unused) {
  (void)unused;
  deferrals.called++;
}

static void defer_all(mj_scheduler *scheduler, void *state) {
  (void)scheduler, (void)state;
  for (uint64_t i = 0; i < deferrals.count; i++) {
    if (mj_task_defer(count_call, NULL) != 0) fail("mj_task_defer");
  }
  mj_task_exit();
}

static void test_defer(void) {
  deferrals.count = argument("count");
  uint64_t began = cpu_ns();
  run_tasks(defer_all);
  report("work", (double)deferrals.called);
  report("ns", (double)(cpu_ns() - began) / (double)deferrals.count);
}

// ---- row 4: how late a sleep of 10 ms ends beside something that never lets up

enum { BESIDE_NOTHING, BESIDE_PEER, BESIDE_CHANNEL, BESIDE_DESCRIPTOR };

static struct {
  uint64_t what, moved;
  int fds[2];
  mj_chan *chan;
} beside;

static void sleep_10_ms(mj_scheduler *scheduler, void *state) {
  (void)scheduler, (void)state;
  for (uint64_t i = 0; i < late.count; i++) {
    uint64_t began_ns = wall_ns();
    mj_task_sleep_ms(10);
    late.lateness_ns[i] = (int64_t)(wall_ns() - began_ns) - 10000000;
  }
  late.done = 1;
  if (beside.chan != NULL) mj_chan_close(beside.chan);
  for (int i = 0; i < 2; i++) {
    if (beside.fds[i] >= 0) mj_fd_close(beside.fds[i]);
  }
  mj_task_exit();
}

// One side of what goes on all the time: there is always something to take, and room for more.
static void never_lets_up(mj_scheduler *scheduler, void *state) {
  (void)scheduler, (void)state;
  char bytes[4096] = {0};
  uint64_t element = 0;
  while (!late.done) {
    if (beside.what == BESIDE_PEER) {
      if (mj_write(beside.fds[0], bytes, sizeof bytes, MJ_FOREVER) < 0) break;
      if (mj_read_exact(beside.fds[1], bytes, sizeof bytes, MJ_FOREVER, NULL) < 0) break;
    } else if (beside.what == BESIDE_CHANNEL) {
      if (mj_chan_send(beside.chan, &element, MJ_FOREVER) != 0) break;
      if (mj_chan_recv(beside.chan, &element, MJ_FOREVER) != 0) break;
    } else {
      if (mj_task_wait_fd(beside.fds[0], POLLOUT, MJ_FOREVER) < 0) break;
    }
    beside.moved++;
  }
  mj_task_exit();
}

static void start_beside(mj_scheduler *scheduler, void *state) {
  (void)state;
  mj_create_task(scheduler, sleep_10_ms, NULL);
  if (beside.what == BESIDE_CHANNEL) beside.chan = mj_chan_create(scheduler, sizeof(uint64_t), 16);
  if (beside.what != BESIDE_NOTHING) mj_create_task(scheduler, never_lets_up, NULL);
  mj_task_exit();
}

static void test_beside(void) {
  late.count = argument("count");
  late.lateness_ns = (int64_t *)malloc(late.count * sizeof *late.lateness_ns);
  beside.what = argument("what");
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, beside.fds) != 0) fail("socketpair");
  run_tasks(start_beside);
  if (beside.chan != NULL) mj_chan_destroy(beside.chan);
  if (beside.what != BESIDE_NOTHING && beside.moved < late.count) fail("it let up");
  report_lateness(late.lateness_ns, late.count);
}

// ---- row 11

static struct {
  mj_scheduler *scheduler;
  mj_remote *remote;
  mj_task_id keeper;
  int busy;
} threads_row;

static int thread_post(void (*function)(void *), void *argument) {
  return mj_post(threads_row.remote, function, argument, NULL) == 0;
}

// A run ends with its last task.
static void keep_running(void *argument) {
  (void)argument;
  while (threads_row.busy ? mj_yield() == 0 : mj_sleep_ns(MJ_FOREVER) == 0) {
  }
}

static void __attribute__((constructor)) make_remote(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  threads_row.scheduler = mj_scheduler_create();
  threads_row.remote = mj_scheduler_remote(threads_row.scheduler);
}

static void loop_run(int busy) {
  threads_row.busy = busy;
  mj_go(threads_row.scheduler, keep_running, NULL, &threads_row.keeper);
  mj_run(threads_row.scheduler);
}

static void loop_stop(void) { mj_scheduler_cancel(threads_row.scheduler, threads_row.keeper); }

static void nothing(void *argument) { (void)argument; }

static void offload_nothing(void *argument) {
  (void)argument;
  while (offloads.index < offloads.count) {
    offloads.index++;
    uint64_t began_ns = wall_ns();
    if (mj_offload(nothing, NULL, NULL, MJ_FOREVER) != 0) fail("mj_offload");
    count_offload(began_ns);
  }
}

static void test_offload(void) {
  begin_offloads();
  for (uint64_t i = 0; i < offloads.tasks; i++) mj_go(threads_row.scheduler, offload_nothing, NULL, NULL);
  mj_run(threads_row.scheduler);
  report_offloads();
}

static mj_xchan *elements;

static void *send_elements(void *count) {
  for (uint64_t i = 1; i <= *(uint64_t *)count; i++) {
    if (mj_xchan_send(elements, &i, MJ_FOREVER) != 0) fail("mj_xchan_send");
  }
  return NULL;
}

static void receive_elements(void *argument) {
  uint64_t *count = argument, sum = 0, element = 0;
  for (uint64_t i = 0; i < *count; i++) {
    if (mj_xchan_recv(elements, &element, MJ_FOREVER) != 0) fail("mj_xchan_recv");
    sum += element;
  }
  if (sum != *count * (*count + 1) / 2) fail("the sum is wrong");
}

static void test_elements(void) {
  pthread_t thread;
  uint64_t count = argument("count"), began = wall_ns(), cpu_began = cpu_ns();
  elements = mj_xchan_create(sizeof count, 16384);
  pthread_create(&thread, NULL, send_elements, &count);
  mj_go(threads_row.scheduler, receive_elements, &count, NULL);
  mj_run(threads_row.scheduler);
  report("ns", (double)(wall_ns() - began) / (double)count);
  report("cpu_ns", (double)(cpu_ns() - cpu_began) / (double)count);
  pthread_join(thread, NULL);
  report("work", (double)count);
}

// ---- row 12

static void call_in_task(void *function) { (*(void (**)(void))function)(); }

static void calls_run(void (*function)(void)) {
  mj_log_set_level(MJ_LOG_WARN);
  the_scheduler = mj_scheduler_create();
  if (the_scheduler == NULL || mj_go(the_scheduler, call_in_task, &function, NULL) != 0) fail("mj_go");
  mj_run(the_scheduler);
  mj_scheduler_destroy(the_scheduler);
}

static void calls_begin(int fd) {
  if (mj_fd_adopt(fd) != 0) fail("mj_fd_adopt");
}

static void calls_end(int fd) { mj_fd_close(fd); }

static ssize_t calls_read_all(int fd, void *buffer, size_t bytes) {
  size_t done;
  return mj_read_exact(fd, buffer, bytes, MJ_FOREVER, &done);
}

static ssize_t calls_write_all(int fd, const void *buffer, size_t bytes) {
  return mj_write(fd, buffer, bytes, MJ_FOREVER);
}

static int calls_poll(struct pollfd *fds, nfds_t count) { return mj_poll(fds, count, MJ_FOREVER); }

static int later_fd;

static void write_to_later(void *unused) {
  uint64_t number = 1;
  (void)unused;
  if (write(later_fd, &number, sizeof number) != sizeof number) fail("write");
}

static void calls_write_later(int fd) {
  later_fd = fd;
  if (mj_go(the_scheduler, write_to_later, NULL, NULL) != 0) fail("mj_go");
}

// ---- row 13: lines of many children

static struct {
  uint64_t children, each, running, lines;
  int go;  // The children begin when it is closed.
} talk;

// A child: writes numbered lines, one in each period.
static void test_write_lines(void) {
  uint64_t each = argument("each"), period_ns = argument("period_ns");
  char byte;
  if (read(STDIN_FILENO, &byte, 1) != 0) fail("read");
  struct timespec due;
  clock_gettime(CLOCK_MONOTONIC, &due);
  for (uint64_t i = 0; i < each; i++) {
    char line[32];
    int length = snprintf(line, sizeof line, "line %010llu\n", (unsigned long long)i);
    if (write(STDOUT_FILENO, line, (size_t)length) != length) fail("write");
    due.tv_nsec += (long)period_ns;
    due.tv_sec += due.tv_nsec / 1000000000;
    due.tv_nsec %= 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0) {
    }
  }
}

static void read_lines(void *argument) {
  mj_process *process = argument;
  mj_stream *stream = mj_stream_create(mj_process_take_pipe(process, 1), 0, 0);
  char *line;
  uint64_t count = 0;
  if (stream == NULL) fail("mj_stream_create");
  for (; mj_stream_read_line(stream, &line, MJ_FOREVER) > 0; count++) {
    if (strtoull(line + 5, NULL, 10) != count) fail("a line is missing");
  }
  mj_stream_destroy(stream);
  if (mj_process_end(process, MJ_FOREVER, NULL) != 0) fail("mj_process_end");
  talk.lines += count;
  if (--talk.running == 0) late.done = 1;
}

static void sleep_10_ms_until_done(void *unused) {
  (void)unused;
  uint64_t index = 0;
  while (!late.done && index < late.count) {
    uint64_t began_ns = wall_ns();
    mj_task_sleep_ms(10);
    late.lateness_ns[index++] = (int64_t)(wall_ns() - began_ns) - 10000000;
  }
  late.count = index;
}

static void start_children(void *unused) {
  (void)unused;
  char each[32], period[40];
  int go[2];
  snprintf(each, sizeof each, "each=%llu", (unsigned long long)talk.each);
  snprintf(period, sizeof period, "period_ns=%llu", (unsigned long long)argument("period_ns"));
  const char *const arguments[] = {argument_values[0], "write_lines", each, period, NULL};
  if (pipe2(go, O_CLOEXEC) != 0) fail("pipe2");
  const mj_process_options options = {.input = go[0], .output = MJ_PROCESS_PIPE};
  for (uint64_t i = 0; i < talk.children; i++) {
    mj_process *process = mj_process_spawn(arguments, &options);
    if (process == NULL || mj_go(the_scheduler, read_lines, process, NULL) != 0) fail("mj_process_spawn");
    talk.running++;
  }
  close(go[0]);
  mj_sleep_ns(100000000);
  talk.go = go[1];
  close(talk.go);
  if (mj_go(the_scheduler, sleep_10_ms_until_done, NULL, NULL) != 0) fail("mj_go");
}

static void test_lines(void) {
  talk.children = argument("children");
  talk.each = argument("each");
  late.count = talk.children == 0 ? talk.each : 4 * talk.each;
  late.lateness_ns = (int64_t *)malloc(late.count * sizeof *late.lateness_ns);
  the_scheduler = mj_scheduler_create();
  if (the_scheduler == NULL || mj_go(the_scheduler, start_children, NULL, NULL) != 0) fail("mj_go");
  uint64_t began = wall_ns();
  mj_run(the_scheduler);
  double seconds = (double)(wall_ns() - began - 100000000) / 1e9;
  mj_scheduler_destroy(the_scheduler);
  report_lateness(late.lateness_ns, late.count);
  report("lines_per_s", (double)talk.lines / seconds);
  report("work", (double)talk.lines);
}

// ---- row 10

static void test_lifecycle(void) {
  uint64_t count = argument("count"), made = 0;
  uint64_t began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) {
    mj_scheduler *scheduler = mj_scheduler_create();
    made += scheduler != NULL;
    mj_scheduler_destroy(scheduler);
  }
  uint64_t took = cpu_ns() - began;
  report("work", (double)made);
  report("ns", (double)took / (double)count);
}

static void test_version(void) { printf("version=%s\n", mj_version()); }

int main(int argc, char **argv) {
  static const struct test tests[] = {
      TASK_TESTS,
      {"serve", test_serve},
      {"log_disabled", test_log_disabled},
      {"log_line", test_log_line},
      {"lifecycle", test_lifecycle},
      {"channel", test_channel},
      {"transfer", test_transfer},
      {"defer", test_defer},
      {"beside", test_beside},
      THREAD_TESTS,
      CALL_TESTS,
      {"elements", test_elements},
      CHILD_TESTS,
      {"lines", test_lines},
      {"write_lines", test_write_lines},
      {"dead_names", test_dead_names},
      CLUSTER_TESTS,
      {"version", test_version},
      {NULL, NULL},
  };
  return run_test(argc, argv, tests);
}
