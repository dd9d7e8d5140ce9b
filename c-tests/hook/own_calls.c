// Calls that Majjen itself makes are never hooked: neither in its log, which may run in the middle of
// anything, nor twice in its own calls that wait. A callback of the program is the program's code.
#define _GNU_SOURCE
#include "hooked.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int ends[2];
static unsigned ended;

static void fill(int fd) {
  static char data[4096];
  int flags = fcntl(fd, F_GETFL);
  CHECK_INT(fcntl(fd, F_SETFL, flags | O_NONBLOCK), ==, 0);
  while (write(fd, data, sizeof data) > 0) continue;
  CHECK_INT(fcntl(fd, F_SETFL, flags), ==, 0);
}

// A thread makes room a little later, and reads what comes until all is written.
static char drained[1 << 18];
static size_t drained_bytes;
static unsigned all_is_written;

static void* drains_later(void* fd) {
  usleep(30000);
  drained_bytes = 0;
  while (drained_bytes < sizeof drained) {
    struct pollfd one = {*(int*)fd, POLLIN, 0};
    bool is_all = __atomic_load_n(&all_is_written, __ATOMIC_ACQUIRE);
    int ready = poll(&one, 1, 20);
    if (ready != 1 && is_all) break;
    if (ready != 1) continue;
    ssize_t got = read(*(int*)fd, drained + drained_bytes, sizeof drained - drained_bytes);
    CHECK_INT(got, >, 0);
    drained_bytes += (size_t)got;
  }
  return NULL;
}

static pthread_t start_thread(void* body(void*), int* fd) {
  pthread_t thread;
  all_is_written = 0;
  CHECK_INT(pthread_create(&thread, NULL, body, fd), ==, 0);
  return thread;
}

static void end_thread(pthread_t thread) {
  __atomic_store_n(&all_is_written, 1, __ATOMIC_RELEASE);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static bool has_come(const char* text) {
  return memmem(drained, drained_bytes, text, strlen(text)) != NULL;
}

static void a_log_to_a_full_pipe_blocks(void) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/majjen-hook-%d.fifo", (int)getpid());
  CHECK_INT(mkfifo(path, 0600), ==, 0);
  int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), writer = open(path, O_WRONLY | O_CLOEXEC);
  CHECK(reader >= 0 && writer >= 0);
  CHECK_INT(mj_log_to_file(path), ==, 0);
  fill(writer);
  pthread_t thread = start_thread(drains_later, &reader);
  mj_hook_counts before = hook_counts();
  MJ_ERROR("a line for %s", "the pipe");
  mj_hook_counts after = hook_counts();
  mj_log_set_callback(NULL, NULL);
  CHECK_UINT(after.suspended, ==, before.suspended);
  CHECK_UINT(after.pinned, ==, before.pinned);
  end_thread(thread);
  CHECK(has_come("a line for the pipe\n"));
  close(reader);
  close(writer);
  CHECK_INT(unlink(path), ==, 0);
}

static void writes_line(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)user_data;
  CHECK_INT(write(ends[1], message, strlen(message)), ==, strlen(message));
  CHECK_INT(write(ends[1], "\n", 1), ==, 1);
}

static void logs_too(void* argument) {
  (void)argument;
  MJ_ERROR("the second line");
  add_one(&ended);
}

// Once the ticker has shown that the tasks' thread goes on.
static void* drains_after_ticks(void* fd) {
  while (__atomic_load_n(&ticks, __ATOMIC_ACQUIRE) < 5) usleep(1000);
  return drains_later(fd);
}

// The program's own function, in a task: it suspends, as it may.
static void a_callback_suspends_its_task(void) {
  CHECK_INT(pipe(ends), ==, 0);
  fill(ends[1]);
  mj_log_set_callback(writes_line, NULL);
  ended = 0;
  start_ticker();
  start(logs_too, NULL);
  pthread_t thread = start_thread(drains_after_ticks, &ends[0]);
  mj_hook_counts before = hook_counts();
  MJ_ERROR("the first line");
  wait_until(&ended, 1);
  mj_hook_counts after = hook_counts();
  mj_log_set_callback(NULL, NULL);
  CHECK_UINT(after.suspended, >=, before.suspended + 2);
  stop_ticker(5);
  end_thread(thread);
  CHECK(has_come("the first line") && has_come("the second line"));
  close(ends[0]);
  close(ends[1]);
}

// ---- a stream of the program

static ssize_t cookie_writes(void* cookie, const char* data, size_t bytes) {
  return write(*(int*)cookie, data, bytes);
}

// A stream's function runs with the stream locked for the thread: what the library writes to it blocks.
static void streams_of_a_program_block(void) {
  CHECK_INT(pipe(ends), ==, 0);
  fill(ends[1]);
  cookie_io_functions_t functions = {.write = cookie_writes};
  FILE *stream = fopencookie(&ends[1], "w", functions), *before_ = stderr;
  CHECK(stream != NULL);
  pthread_t thread = start_thread(drains_later, &ends[0]);
  mj_hook_counts before = hook_counts();
  stderr = stream;
  MJ_ERROR("by a stream");
  stderr = before_;
  mj_hook_counts after = hook_counts();
  CHECK_UINT(after.suspended, ==, before.suspended);
  end_thread(thread);
  CHECK(has_come("by a stream\n"));
  // So do its lists.
  fill(ends[1]);
  CHECK_INT(setvbuf(stream, NULL, _IONBF, 0), ==, 0);
  thread = start_thread(drains_later, &ends[0]);
  before = hook_counts();
  mj_scheduler_dump(hooked_scheduler, stream);
  after = hook_counts();
  CHECK_UINT(after.suspended, ==, before.suspended);
  end_thread(thread);
  CHECK_INT(fclose(stream), ==, 0);
  close(ends[0]);
  close(ends[1]);
}

// ---- calls of the library

static void writes_later(void* argument) {
  mj_sleep_ns(5000000);
  CHECK_INT(mj_write(*(int*)argument, "x", 1, MJ_FOREVER), ==, 1);
  add_one(&ended);
}

static void connects(void* argument) {
  const struct sockaddr_in* address = argument;
  mj_sleep_ns(5000000);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fd >= 0);
  CHECK_INT(mj_connect(fd, (const struct sockaddr*)address, sizeof *address, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  add_one(&ended);
}

// They suspend by themselves; nothing in them is hooked.
static void its_own_calls_are_not_hooked_twice(void) {
  char byte;
  mj_hook_counts before = hook_counts();
  ended = 0;
  for (int i = 0; i < 2; i++) {
    if (i == 0) CHECK_INT(pipe(ends), ==, 0);
    else CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
    start(writes_later, &ends[1]);
    CHECK_INT(mj_read(ends[0], &byte, 1, MJ_FOREVER), ==, 1);
    start(writes_later, &ends[1]);
    struct pollfd fds[2] = {{ends[0], POLLIN, 0}, {ends[0], POLLIN, 0}};
    CHECK_INT(mj_poll(fds, 2, MJ_FOREVER), ==, 2);
    CHECK_INT(mj_task_wait_fd(ends[0], POLLIN, MJ_FOREVER), ==, POLLIN);
    CHECK_INT(mj_read(ends[0], &byte, 1, 0), ==, 1);
    CHECK_INT(mj_read(ends[0], &byte, 1, 1000000), ==, -ETIMEDOUT);
    CHECK_INT(mj_fd_close(ends[0]), ==, 0);
    CHECK_INT(mj_fd_close(ends[1]), ==, 0);
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int listener = mj_listen("127.0.0.1", "0", 0, 0);
  CHECK(listener >= 0);
  CHECK_INT(getsockname(listener, (struct sockaddr*)&address, &length), ==, 0);
  start(connects, &address);
  int fd = mj_accept(listener, NULL, NULL, MJ_FOREVER);
  CHECK(fd >= 0);
  CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  while (ended < 5) CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  mj_hook_counts after = hook_counts();
  CHECK_UINT(after.suspended, ==, before.suspended);
  CHECK_UINT(after.pinned, ==, before.pinned);
}

static void offloaded(void* argument) {
  CHECK_INT(usleep(2000), ==, 0);
  CHECK_INT(mj_hook_set_enabled(true), ==, -EPERM);
  add_one((unsigned*)argument);
}

// On a thread of the pool no task runs.
static void threads_of_the_pool_are_not_hooked(void) {
  ended = 0;
  mj_hook_counts before = hook_counts();
  CHECK_INT(mj_offload(offloaded, &ended, NULL, MJ_FOREVER), ==, 0);
  CHECK_UINT(ended, ==, 1);
  CHECK_UINT(hook_counts().suspended, ==, before.suspended);
}

static void* destroys(void* cluster) {
  CHECK_INT(mj_cluster_destroy((mj_cluster*)cluster), ==, 0);
  return NULL;
}

// How many that are is read from files.
static void cores_are_counted_without_a_wait(void) {
  mj_hook_counts before = hook_counts();
  mj_cluster* cluster = mj_cluster_create(&(mj_cluster_options){.cores = MJ_ALL_CORES});
  mj_hook_counts after = hook_counts();
  CHECK(cluster != NULL);
  CHECK_UINT(after.suspended, ==, before.suspended);
  CHECK_UINT(after.pinned, ==, before.pinned);
  pthread_t thread;  // Where no scheduler runs.
  CHECK_INT(pthread_create(&thread, NULL, destroys, cluster), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

int main(void) {
  if (in_threads()) return 0;  // Nothing of the library is in them.
  mj_log_set_level(MJ_LOG_WARN);
  // Its first file has a descriptor that the log keeps.
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  mj_log_set_callback(NULL, NULL);
  RUN_HOOKED(a_log_to_a_full_pipe_blocks);
  RUN_HOOKED(a_callback_suspends_its_task);
  RUN_HOOKED(streams_of_a_program_block);
  RUN_HOOKED(its_own_calls_are_not_hooked_twice);
  RUN_HOOKED(threads_of_the_pool_are_not_hooked);
  RUN_HOOKED(cores_are_counted_without_a_wait);
  return 0;
}
