// A thread with a pending request of pthread_cancel() that calls the library: no call is a
// cancellation point, so each does its work, leaves nothing locked, and the thread ends afterwards.
// In a run the request waits until the run is over.
#define _GNU_SOURCE
#include "child.h"
#include "calls_of_tasks.h"
#include "clusters.h"
#include "pipes.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static mj_scheduler* other;  // one that does not run
static int ends[2];          // a pipe with a byte in it
static int given;            // a socket that listens, which the process was given
static FILE* nowhere;        // without a buffer
static char log_path[] = "/tmp/majjen-cancel-XXXXXX";

static bool in_a_task(void) { return mj_task_current() != NULL; }

static void ends_at_once(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_exit();
}

// ---- The calls ----

static uint64_t reads_clock(void* user_data) {
  (void)user_data;
  poll(NULL, 0, 0);  // A cancellation point of the program's own.
  return now_ns();
}

static void is_a_callback(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
  poll(NULL, 0, 0);
}

static void creates_and_destroys(void) { mj_scheduler_destroy(mj_scheduler_create()); }

static void sets_up(void) { mj_scheduler_destroy(setup_scheduler_with_epoll()); }

static void uses_a_clock(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_scheduler_set_clock(scheduler, reads_clock, NULL);
  CHECK_UINT(mj_scheduler_now_ns(scheduler), >, 0);
  mj_scheduler_destroy(scheduler);
}

static void stops(void) { CHECK_INT(mj_scheduler_stop(other), ==, 0); }

static void stops_remotely(void) {
  mj_remote* remote = mj_scheduler_remote(other);
  CHECK_INT(mj_remote_stop(remote), ==, 0);
  mj_remote_release(remote);
}

static void waits_by_epoll(void) { mj_wait_epoll(other, 0, NULL); }
static void waits_by_poll(void) { mj_wait_poll(other, 0, NULL); }
static void waits_by_nanosleep(void) { mj_wait_nanosleep(other, 0, NULL); }

static void closes(void) {
  int fd = dup(ends[0]);
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

static void closes_for_a_scheduler(void) { CHECK_INT(mj_scheduler_close_fd(other, dup(ends[0])), ==, 0); }

static void asks_for_the_backend(void) { CHECK_INT(mj_scheduler_backend_fd(other), >=, 0); }

static void adopts_and_releases(void) {
  int both[2];
  open_pair(both);
  CHECK_INT(mj_fd_adopt(both[0]), ==, 0);
  CHECK_INT(mj_fd_release(both[0]), ==, 0);
  CHECK_INT(mj_fd_close(both[0]), ==, 0);  // close(2) is a cancellation point of the program's own.
  CHECK_INT(mj_fd_adopt(both[1]), ==, 0);
  CHECK_INT(mj_fd_close(both[1]), ==, 0);
}

static void prints(void) {
  char text[100];
  mj_scheduler_print_metrics(other, nowhere);
  CHECK_INT(mj_scheduler_write_metrics(other, text, sizeof text, MJ_METRICS_JSON), >, 0);
  mj_scheduler_dump(other, nowhere);
}

static void logs(void) {
  for (int i = 0; i < 3; i++) MJ_ERROR("a line");
  MJ_INFO("%2000d", 1);  // Needs memory.
}

static void logs_to_a_file(void) {
  CHECK_INT(mj_log_to_file(log_path), ==, 0);
  MJ_INFO("a line");
  CHECK_INT(mj_log_reopen(), ==, 0);
  mj_log_set_callback(NULL, NULL);
}

static void logs_to_the_system(void) {
  mj_log_to_syslog("majjen-test");  // There may be no daemon.
  MJ_DEBUG("nothing");
  mj_log_set_callback(NULL, NULL);
}

static void listens(void) {
  CHECK_INT(mj_listen("192.0.2.1", "0", 0, 0), ==, -EADDRNOTAVAIL);
  setenv("NOTIFY_SOCKET", "/tmp/majjen-nobody-is-told", 1);
  CHECK_INT(mj_notify("READY=1"), <, 0);
}

static void logs_to_stderr(void) {
  CHECK_INT(mj_log_to_stderr(), ==, 0);
  MJ_ERROR("a line");
  mj_log_set_callback(NULL, NULL);
}

static void logs_to_a_callback(void) {
  mj_log_set_callback(is_a_callback, NULL);
  MJ_INFO("a line");
  mj_task_yield();  // A line of the library's own, outside a task.
  mj_log_set_callback(NULL, NULL);
}

static void configures(void) {
  mj_logger logger;
  mj_log_get_config(&logger);
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  mj_log_set_escape(false);
  mj_log_set_level(MJ_LOG_INFO);
}

static void creates_objects(void) {
  mj_scheduler* running = mj_scheduler_current();
  mj_scheduler* scheduler = running != NULL ? running : other;
  mj_create_task(scheduler, ends_at_once, NULL);
  mj_mutex_destroy(mj_mutex_create(scheduler));
  mj_cond_destroy(mj_cond_create(scheduler));
  mj_sem_destroy(mj_sem_create(scheduler, 1));
  mj_waitgroup_destroy(mj_waitgroup_create(scheduler));
  mj_chan* chan = mj_chan_create(scheduler, 1, 1);
  char element = 'x';
  CHECK_INT(mj_chan_try_send(chan, &element), ==, 0);
  CHECK_INT(mj_chan_try_recv(chan, &element), ==, 0);
  mj_chan_close(chan);
  mj_chan_destroy(chan);
}

static void does_nothing(void* argument) { (void)argument; }

static void posts(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  CHECK_INT(mj_post(remote, does_nothing, NULL, does_nothing), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_post(remote, does_nothing, NULL, NULL), ==, -EPIPE);
  mj_remote_release(remote);
  if (!in_a_task()) return;
  remote = mj_scheduler_remote(mj_scheduler_current());
  CHECK_INT(mj_post(remote, does_nothing, NULL, NULL), ==, 0);
  mj_remote_release(remote);
}

// A post that was accepted is abandoned, once.
static void abandons(void* count) { ++*(int*)count; }

static void posts_with_a_node(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  mj_post_node node;
  int abandoned = 0;
  CHECK_INT(mj_post_with_node(remote, &node, does_nothing, &abandoned, abandons), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(abandoned, ==, 1);
  CHECK_INT(mj_post_with_node(remote, &node, does_nothing, NULL, NULL), ==, -EPIPE);
  mj_remote_release(remote);
}

static void wakes_and_cancels_remotely(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_remote* remote = mj_remote_retain(mj_scheduler_remote(scheduler));
  mj_metrics metrics;
  mj_task_id id = mj_task_get_id(add_task(scheduler, ends_at_once, NULL));
  CHECK_INT(mj_remote_wake(remote, id), ==, 0);
  CHECK_INT(mj_remote_cancel(remote, id), ==, 0);
  CHECK_INT(mj_remote_set_post_limit(remote, 3), ==, 0);
  CHECK_INT(mj_remote_metrics(remote, &metrics, sizeof metrics), ==, 0);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_remote_wake(remote, id), ==, -EPIPE);
  CHECK_INT(mj_remote_cancel(remote, id), ==, -EPIPE);
  for (int i = 0; i < 2; i++) mj_remote_release(remote);
}

// ---- Runs: in one they are refused ----

static void runs_to_the_end(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  add_task(scheduler, ends_at_once, NULL);
  CHECK_INT(mj_run(scheduler), ==, in_a_task() ? -EBUSY : 0);
  mj_scheduler_destroy(scheduler);
}

static void raises_sigterm(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  raise(SIGTERM);
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

static void runs_until_a_signal(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  add_task(scheduler, raises_sigterm, NULL);
  CHECK_INT(mj_run_until_signal(scheduler, does_nothing, NULL, 0), ==, in_a_task() ? -EBUSY : 0);
  CHECK_INT(mj_scheduler_signal(scheduler), ==, in_a_task() ? 0 : SIGTERM);
  mj_scheduler_destroy(scheduler);
}

static void lists_tasks_at_a_signal(void) {
  mj_scheduler* running = mj_scheduler_current();
  mj_scheduler* scheduler = running != NULL ? running : other;
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, SIGUSR2), ==, 0);
  raise(SIGUSR2);
  if (in_a_task()) CHECK_INT(mj_sleep_ns(1000000), ==, 0);  // The loop writes the lines.
  CHECK_INT(mj_scheduler_dump_on_signal(scheduler, 0), ==, 0);
}

static uint64_t long_turns_of(mj_scheduler* scheduler) { return mj_scheduler_get_metrics(scheduler)->long_turns; }

// Until it is found to, however busy the machine is.
static void computes_for_long(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  uint64_t before = long_turns_of(scheduler);
  while (long_turns_of(scheduler) == before) continue;
  mj_task_exit();
}

// With a thread of the library's, which makes the handler of a signal copy the stack.
static void reports_long_turns(void) {
  mj_scheduler* running = mj_scheduler_current();
  CHECK_INT(mj_set_long_turn_signal(SIGRTMIN + 3), ==, 0);
  mj_scheduler* scheduler = running != NULL ? running : mj_scheduler_create();
  CHECK_INT(mj_scheduler_report_long_turns(scheduler, 1000000), ==, 0);
  mj_task_id id = mj_task_get_id(add_task(scheduler, computes_for_long, NULL));
  if (in_a_task()) {
    CHECK_INT(mj_task_join(id, LONG_NS), ==, 0);
  } else {
    CHECK_INT(mj_run(scheduler), ==, 0);
  }
  CHECK_INT(mj_scheduler_report_long_turns(scheduler, 0), ==, 0);
  if (running == NULL) mj_scheduler_destroy(scheduler);
  CHECK_INT(mj_set_long_turn_signal(0), ==, 0);
}

static void sets_stacks(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  CHECK_INT(mj_scheduler_set_name(scheduler, "a name"), ==, 0);
  CHECK_INT(mj_scheduler_set_stack_size(scheduler, 65536), ==, 0);
  CHECK_INT(mj_scheduler_set_guard_size(scheduler, 65536), ==, 0);
  CHECK_INT(mj_scheduler_set_overflow_report(scheduler, true), ==, 0);
  mj_task* task = add_task(scheduler, ends_at_once, NULL);
  CHECK_INT(mj_task_set_stack_size(task, 131072), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, in_a_task() ? -EBUSY : 0);
  mj_scheduler_destroy(scheduler);
  if (in_a_task() && !under_valgrind()) CHECK_UINT(mj_task_stack_used(mj_task_current()), >, 0);
}

static void writes_metrics_remotely(void) {
  char text[100];
  mj_remote* remote = mj_scheduler_remote(other);
  CHECK_INT(mj_remote_write_metrics(remote, text, sizeof text, MJ_METRICS_JSON), >, 0);
  mj_remote_release(remote);
}

static void writes_a_trace(void) {
  CHECK_INT(mj_scheduler_trace(other, 1024), ==, 0);
  CHECK_INT(mj_scheduler_write_trace(other, nowhere), ==, 0);
  CHECK_INT(mj_scheduler_trace(other, 0), ==, 0);
}

static void closes_inherited(void) {
  static bool has_closed;
  CHECK_INT(mj_close_inherited(), ==, !has_closed);
  has_closed = true;
}

static void uses_a_channel(void) {
  mj_xchan* xchan = mj_xchan_create(1, 1);
  char element = 'x';
  CHECK_INT(mj_xchan_recv(xchan, &element, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_xchan_send(xchan, &element, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_xchan_send(xchan, &element, 1000000), ==, -ETIMEDOUT);
  CHECK_UINT(mj_xchan_length(xchan), ==, 1);
  CHECK_INT(mj_xchan_recv(xchan, &element, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_xchan_try_recv(xchan, &element), ==, -EAGAIN);
  CHECK_INT(mj_xchan_try_send(xchan, &element), ==, 0);
  CHECK_INT(mj_xchan_try_send(xchan, &element), ==, -EAGAIN);
  CHECK_INT(mj_xchan_try_recv(xchan, &element), ==, 0);
  mj_xchan_release(mj_xchan_retain(xchan));
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  mj_xchan_release(xchan);
}

// Outside a task a stream only collects.
static void uses_a_stream(void) {
  int both[2];
  char* line;
  open_pair(both);
  mj_stream* stream = mj_stream_create(both[0], 0, 0);
  CHECK(stream != NULL);
  CHECK_INT(mj_stream_write(stream, "a line\n", 7, MJ_FOREVER, NULL), ==, 0);
  if (in_a_task()) {
    put_byte(both[1]);  // A cancellation point of the program's own, which is none in a run.
    CHECK_INT(mj_stream_flush(stream, MJ_FOREVER), ==, 0);
    CHECK_INT(mj_stream_peek(stream, 1, &line, MJ_FOREVER), ==, 1);
    CHECK_INT(mj_stream_skip(stream, 1), ==, 0);
    CHECK_INT(mj_stream_read_line(stream, &line, 1000000), ==, -ETIMEDOUT);
    CHECK_INT(mj_stream_shutdown(stream, SHUT_WR, MJ_FOREVER), ==, 0);
    CHECK_INT(mj_stream_close(stream, MJ_FOREVER), ==, 0);
  } else {
    CHECK_INT(mj_stream_flush(stream, MJ_FOREVER), ==, -EPERM);
    CHECK_INT(mj_stream_read_line(stream, &line, MJ_FOREVER), ==, -EPERM);
    CHECK_INT(mj_stream_destroy(stream), ==, 0);
  }
  CHECK_INT(mj_fd_close(both[1]), ==, 0);
}

// Children that end by themselves, are ended, and are let go.
static void has_children(void) {
  const char* const ends_soon[] = {"true", NULL};
  const char* const stays[] = {"sleep", "100", NULL};
  const mj_process_options with_pipes = {.input = MJ_PROCESS_PIPE, .output = MJ_PROCESS_PIPE};
  int status = -1;
  mj_process* process = mj_process_spawn(ends_soon, NULL);
  CHECK(process != NULL);
  if (in_a_task()) {
    CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
    CHECK_INT(status, ==, 0);
  }
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  process = mj_process_spawn(stays, &with_pipes);
  CHECK(process != NULL);
  CHECK_INT(mj_process_wait(process, NULL, 1000000), ==, in_a_task() ? -ETIMEDOUT : -EPERM);
  CHECK_INT(mj_fd_close(mj_process_take_pipe(process, 1)), ==, 0);
  CHECK_INT(mj_process_kill(process, 0), ==, 0);
  CHECK_INT(mj_process_end(process, LONG_NS, &status), ==, 0);
  CHECK(WIFSIGNALED(status));
  CHECK_INT(mj_process_let_go(mj_process_spawn(ends_soon, &with_pipes)), ==, 0);
}

static void looks_up_what_is_numeric(void) {
  struct addrinfo* list = NULL;
  int found = mj_getaddrinfo("127.0.0.1", "80", NULL, &list, MJ_FOREVER);
  CHECK_INT(found, ==, in_a_task() ? 0 : -EPERM);
  if (found == 0) freeaddrinfo(list);
}

static void uses_files(void) {
  char byte = 0;
  int fd = mj_open("/proc/self/exe", O_RDONLY, 0, MJ_FOREVER);
  if (!in_a_task()) {
    CHECK_INT(fd, ==, -EPERM);
    return;
  }
  CHECK_INT(mj_pread(fd, &byte, 1, 1, MJ_FOREVER), ==, 1);
  CHECK_INT(byte, ==, 'E');  // Of "ELF".
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

static void polls_in_the_pool(void* argument) {
  (void)argument;
  poll(NULL, 0, 1);
}

static void offloads(void) {
  int expected = in_a_task() ? 0 : -EPERM;
  CHECK_INT(mj_offload(polls_in_the_pool, NULL, NULL, MJ_FOREVER), ==, expected);
  mj_offload_counts counts;
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_CPU, 2), ==, 0);
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, &counts, sizeof counts), ==, 0);
}

static void never_starts_a_cluster(void) {
  mj_cluster* cluster = new_cluster(2);
  CHECK_INT(mj_cluster_join(cluster), ==, in_a_task() ? -EBUSY : -EINVAL);
  if (in_a_task()) CHECK_INT(mj_cluster_destroy(cluster), ==, -EBUSY);
  if (!in_a_task()) CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

// Where no scheduler runs, which a cluster wants from who joins it.
static void* joins_and_destroys(void* cluster) {
  join_and_destroy(cluster);
  return NULL;
}

static int returns_seven(void* unused) {
  (void)unused;
  return 7;
}

static void uses_a_cluster(void) {
  char text[100];
  int listeners[2], result = 0;
  pthread_t thread;
  mj_cluster* cluster = new_cluster(2);
  const mj_service service = {.handler = ends_at_once};
  CHECK_INT(mj_cluster_go(cluster, 1, does_nothing, NULL, NULL), ==, 0);
  CHECK_INT(mj_cluster_listen(cluster, "127.0.0.1", "0", &service), >, 0);
  CHECK_INT(mj_cluster_write_metrics(cluster, text, sizeof text, MJ_METRICS_JSON), >, 0);
  CHECK_INT(mj_cluster_listeners(cluster, listeners, 2), ==, 2);
  mj_remote_release(mj_cluster_remote(cluster, 1));
  CHECK_INT(mj_cluster_start(cluster), ==, 0);
  CHECK_INT(mj_cluster_call(cluster, 1, returns_seven, NULL, MJ_FOREVER, &result), ==, in_a_task() ? 0 : -EPERM);
  CHECK_INT(result, ==, in_a_task() ? 7 : 0);
  CHECK_INT(mj_cluster_stop(cluster, 0), ==, 0);
  if (!in_a_task()) {
    join_and_destroy(cluster);
    return;
  }
  CHECK_INT(mj_cluster_join(cluster), ==, -EBUSY);
  CHECK_INT(pthread_create(&thread, NULL, joins_and_destroys, cluster), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static void runs_a_cluster(void) {
  mj_cluster* cluster = new_cluster(1);
  CHECK_INT(mj_cluster_run(cluster, 0), ==, in_a_task() ? -EBUSY : 0);
  if (!in_a_task()) CHECK_INT(mj_cluster_destroy(cluster), ==, 0);
}

typedef void a_call(void);

static a_call* const calls[] = {
    creates_and_destroys, sets_up,        uses_a_clock,       stops,          stops_remotely,
    waits_by_epoll,       waits_by_poll,  waits_by_nanosleep, closes,         prints,
    logs,                 logs_to_a_file, logs_to_the_system, logs_to_stderr, logs_to_a_callback,
    configures,           creates_objects, listens,
    posts, writes_metrics_remotely, writes_a_trace, closes_inherited, uses_a_channel,
    uses_a_stream, has_children, looks_up_what_is_numeric, uses_files, offloads,
    never_starts_a_cluster, uses_a_cluster, runs_a_cluster, closes_for_a_scheduler, asks_for_the_backend,
    adopts_and_releases, posts_with_a_node, wakes_and_cancels_remotely, runs_to_the_end, runs_until_a_signal,
    lists_tasks_at_a_signal, reports_long_turns, sets_stacks,
};
enum { call_count = sizeof calls / sizeof calls[0] };

// ---- Outside a run ----

static void* calls_with_a_request(void* index) {
  pthread_cancel(pthread_self());
  calls[*(int*)index]();
  __atomic_store_n((int*)index, -1, __ATOMIC_SEQ_CST);  // It has returned.
  pthread_testcancel();
  return NULL;
}

// After the thread has ended: nothing is locked.
static void check_nothing_is_locked(void) {
  alarm(20);
  for (int i = 0; i < call_count; i++) calls[i]();
  fprintf(nowhere, "prints\n");
  printf("prints\n");
  fprintf(stderr, "prints\n");
}

static void call_outside_a_run(void) {
  for (int i = 0; i < call_count; i++) {
    pthread_t thread;
    void* result;
    int index = i;
    CHECK_INT(pthread_create(&thread, NULL, calls_with_a_request, &index), ==, 0);
    CHECK_INT(pthread_join(thread, &result), ==, 0);
    CHECK_INT(index, ==, -1);
    CHECK(result == PTHREAD_CANCELED);
  }
  check_nothing_is_locked();
}

// ---- In a run ----

// A wait function of the program's, with a clock of its own: cancellation points both.
static int waits_itself(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  poll(NULL, 0, 0);
  return mj_wait_poll(scheduler, timeout_ns, user_data);
}

static mj_scheduler* with_a_wait_function(void) {
  mj_scheduler* scheduler = mj_scheduler_create();
  mj_scheduler_set_wait_func(scheduler, waits_itself, NULL);
  CHECK_INT(mj_scheduler_set_clock(scheduler, reads_clock, NULL), ==, 0);
  return scheduler;
}

static int type;
static int reached;

static void waits_in_every_way(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  int before;
  CHECK_INT(pthread_setcanceltype(type, &before), ==, 0);
  pthread_cancel(pthread_self());
  mj_task_yield();
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, 0), ==, POLLIN);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, MJ_FOREVER), ==, POLLIN);
  CHECK_INT(mj_task_wait_fd(ends[0], POLLPRI, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_park(1000000), ==, -ETIMEDOUT);
  mj_task* task = add_task(scheduler, ends_at_once, NULL);
  CHECK_INT(mj_task_join(mj_task_get_id(task), MJ_FOREVER), ==, 0);
  for (int i = 0; i < call_count; i++) calls[i]();
  for (size_t i = 0; i < sizeof calls_of_tasks / sizeof *calls_of_tasks; i++) calls_of_tasks[i]();
  // The program's own cancellation points are none here either.
  poll(NULL, 0, 0);
  pthread_testcancel();
  reached++;
  mj_task_exit();
}

static void* runs(void* scheduler) {
  int before;
  mj_scheduler_run(scheduler);
  reached++;
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
  CHECK_INT(before, ==, PTHREAD_CANCEL_ENABLE);
  pthread_testcancel();
  reached++;
  return NULL;
}

static void* runs_with_state_disabled(void* scheduler) {
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
  mj_scheduler_run(scheduler);
  reached++;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  CHECK_INT(before, ==, PTHREAD_CANCEL_DISABLE);
  return NULL;
}

static void* (*runner)(void*) = runs;
static mj_scheduler* (*maker)(void) = mj_scheduler_create;

static void call_in_a_run(void) {
  pthread_t thread;
  void* result;
  reached = 0;
  mj_scheduler* scheduler = maker();
  add_task(scheduler, waits_in_every_way, NULL);
  CHECK_INT(pthread_create(&thread, NULL, runner, scheduler), ==, 0);
  CHECK_INT(pthread_join(thread, &result), ==, 0);
  // With the asynchronous type mj_scheduler_run() itself is where it takes effect.
  bool async = type == PTHREAD_CANCEL_ASYNCHRONOUS && runner == runs;
  CHECK_INT(reached, ==, async ? 1 : 2);
  // Where pthread_setcancelstate() ends a thread, older C libraries do not set its result.
  if (!async) CHECK(runner == runs ? result == PTHREAD_CANCELED : result == NULL);
  check_nothing_is_locked();
  // The run was over: the scheduler can run again, on another thread, and be destroyed.
  add_task(scheduler, ends_at_once, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- While others wait for the same ----

static atomic_bool may_end;

static void ends_when_it_may(void* argument) {
  (void)argument;
  while (!may_end) mj_task_sleep_ms(1);
}

static void* joins_with_a_request(void* cluster) {
  pthread_cancel(pthread_self());
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  pthread_testcancel();
  return NULL;
}

static void* joins(void* cluster) {
  CHECK_INT(mj_cluster_join(cluster), ==, 0);
  pthread_testcancel();
  return NULL;
}

// One has the request before, one gets it while it waits, and one gets none.
static void join_a_cluster_by_three(void) {
  for (int i = 0; i < 3; i++) {
    pthread_t threads[3];
    void* results[3];
    may_end = false;
    mj_cluster* cluster = new_cluster(2);
    CHECK_INT(mj_cluster_go(cluster, 1, ends_when_it_may, NULL, NULL), ==, 0);
    CHECK_INT(mj_cluster_start(cluster), ==, 0);
    // Each of them is once the first to wait.
    for (int j = 0; j < 3; j++) {
      int next = (i + j) % 3;
      void* (*function)(void*) = next == 0 ? joins_with_a_request : joins;
      CHECK_INT(pthread_create(&threads[next], NULL, function, cluster), ==, 0);
      usleep(10000);
    }
    pthread_cancel(threads[1]);
    usleep(10000);
    may_end = true;
    for (int j = 0; j < 3; j++) CHECK_INT(pthread_join(threads[j], &results[j]), ==, 0);
    CHECK(results[0] == PTHREAD_CANCELED);
    CHECK(results[1] == PTHREAD_CANCELED);
    CHECK_PTR(results[2], ==, NULL);
    join_and_destroy(cluster);
  }
}

// ---- Tests ----

static void in_a_child(void (*function)(void)) {
  int status = status_of_child(function);
  if (WIFSIGNALED(status)) fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
  CHECK_INT(status, ==, 0);
}

static void no_call_is_a_cancellation_point(void) { in_a_child(call_outside_a_run); }

static void a_join_of_a_cluster_is_none_for_those_who_join_it_too(void) {
  in_a_child(join_a_cluster_by_three);
}

static void a_run_is_over_before_its_thread_is_canceled(void) {
  mj_scheduler* (*const makers[])(void) = {mj_scheduler_create, setup_scheduler_with_epoll, with_a_wait_function};
  for (int i = 0; i < 6; i++) {
    maker = makers[i % 3];
    type = i < 3 ? PTHREAD_CANCEL_DEFERRED : PTHREAD_CANCEL_ASYNCHRONOUS;
    in_a_child(call_in_a_run);
  }
}

static void a_thread_that_holds_off_cancellation_goes_on_doing_so(void) {
  maker = mj_scheduler_create;
  runner = runs_with_state_disabled;
  in_a_child(call_in_a_run);
  runner = runs;
}

// Another thread cancels one that logs as fast as it can.
static void* logs_for_ever(void* argument) {
  for (;;) {
    logs();
    pthread_testcancel();
  }
  return argument;
}

static void cancel_loggers(void) {
  dup2(fileno(nowhere), 1);
  dup2(fileno(nowhere), 2);
  for (int i = 0; i < 50; i++) {
    pthread_t threads[2];
    for (int j = 0; j < 2; j++) pthread_create(&threads[j], NULL, logs_for_ever, NULL);
    usleep((useconds_t)(i * 20));
    for (int j = 0; j < 2; j++) pthread_cancel(threads[j]);
    for (int j = 0; j < 2; j++) pthread_join(threads[j], NULL);
    check_nothing_is_locked();
  }
}

static void threads_that_log_can_be_canceled_at_any_moment(void) { in_a_child(cancel_loggers); }

int main(void) {
  int file = mkstemp(log_path);
  CHECK_INT(file, >=, 0);
  close(file);
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  nowhere = fopen("/dev/null", "w");
  CHECK(nowhere != NULL);
  setvbuf(nowhere, NULL, _IONBF, 0);
  other = new_scheduler();
  add_task(other, ends_at_once, NULL);  // For the dump.
  given = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(given, >=, 3);
  CHECK_INT(listen(given, 1), ==, 0);
  setenv("LISTEN_FDS", "20", 1);  // Only one of these listens.
  if (!under_valgrind()) {  // Children end with what others have allocated.
    RUN(no_call_is_a_cancellation_point);
    RUN(a_join_of_a_cluster_is_none_for_those_who_join_it_too);
    RUN(a_run_is_over_before_its_thread_is_canceled);
    RUN(a_thread_that_holds_off_cancellation_goes_on_doing_so);
    RUN(threads_that_log_can_be_canceled_at_any_moment);
  }
  mj_scheduler_destroy(other);
  fclose(nowhere);
  close(given);
  close(ends[0]);
  close(ends[1]);
  unlink(log_path);
  return 0;
}
