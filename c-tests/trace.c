// What a record says of the scheduler's other parts: names of what lives, descriptors, posts of other threads, and
// tasks that the program takes out of the queue. tests/behaviour/trace.rs has the rest, of both APIs.
#define _GNU_SOURCE
#include "check.h"
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

static mj_scheduler* scheduler;

static void begins(void) {
  scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_trace(scheduler, 1024), ==, 0);
}

static void add(mj_go_fn function, void* argument) {
  CHECK_INT(mj_go(scheduler, function, argument, NULL), ==, 0);
}

static void runs(void) { CHECK_INT(mj_run(scheduler), ==, 0); }

static void ends(void) { mj_scheduler_destroy(scheduler); }

// How often something is in the record.
static int times_told(const char* what) {
  char* text = NULL;
  size_t length = 0;
  int count = 0;
  FILE* stream = open_memstream(&text, &length);
  CHECK(stream != NULL);
  CHECK_INT(mj_scheduler_write_trace(scheduler, stream), ==, 0);
  CHECK_INT(fclose(stream), ==, 0);
  for (const char* at = text; (at = strstr(at, what)) != NULL; at++) count++;
  free(text);
  return count;
}

// ---- names

static void parks(void* name) {
  CHECK_INT(mj_task_set_name(mj_task_current(), name), ==, 0);
  CHECK_INT(mj_task_park(MJ_FOREVER), ==, 0);
}

static void looks_at_names(void* woken) {
  CHECK_INT(times_told("\"name\":\"process_name\",\"args\":{\"name\":\"front\"}"), ==, 1);
  CHECK_INT(times_told("\"name\":\"thread_name\",\"args\":{\"name\":\"waits\"}"), ==, 1);
  CHECK_INT(mj_scheduler_wake(scheduler, *(mj_task_id*)woken), ==, 1);
}

static void what_lives_has_its_name(void) {
  static char name[] = "waits";
  mj_task_id id;
  begins();
  CHECK_INT(mj_scheduler_set_name(scheduler, "front"), ==, 0);
  CHECK_INT(mj_go(scheduler, parks, name, &id), ==, 0);
  add(looks_at_names, &id);
  runs();
  ends();
}

// ---- descriptors

static int pipe_ends[2];

static void waits_for_pipe(void* unused) {
  (void)unused;
  CHECK_INT(mj_task_wait_fd(pipe_ends[0], POLLIN, LONG_NS), ==, POLLIN);
}

static void writes_to_pipe(void* unused) {
  (void)unused;
  CHECK_INT(write(pipe_ends[1], "x", 1), ==, 1);
}

static void a_wait_tells_its_descriptor(void) {
  char event[64];
  begins();
  CHECK_INT(pipe2(pipe_ends, O_CLOEXEC), ==, 0);
  add(waits_for_pipe, NULL);
  add(writes_to_pipe, NULL);
  runs();
  snprintf(event, sizeof event, "\"waits for fd\",\"args\":{\"object\":\"0x%x\"}", pipe_ends[0]);
  CHECK_INT(times_told(event), ==, 1);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  ends();
}

// ---- posts

static void is_posted(void* unused) { (void)unused; }

static void* posts(void* remote) {
  for (int i = 0; i < 3; i++) CHECK_INT(mj_post(remote, is_posted, NULL, NULL), ==, 0);
  return NULL;
}

static void lets_post(void* remote) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, posts, remote), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
}

static void a_post_is_made_ready_by_another_thread(void) {
  begins();
  mj_remote* remote = mj_scheduler_remote(scheduler);
  add(lets_post, remote);
  runs();
  CHECK_INT(times_told("\"by\":\"another thread\""), ==, 3);
  mj_remote_release(remote);
  ends();
}

// ---- the queue

enum { YIELDS = 5 };

static void yields(void* unused) {
  (void)unused;
  for (int i = 0; i < YIELDS; i++) mj_task_yield();
}

// The task that it takes out is the one of which the recorder knows that it came last.
static void takes_out_and_puts_back(void* unused) {
  (void)unused;
  for (int i = 0; i < YIELDS; i++) {
    mj_task* task = mj_scheduler_dequeue(scheduler);
    mj_task_yield();
    if (task != NULL) mj_scheduler_enqueue(scheduler, task);
    mj_task_yield();
  }
}

static void a_task_that_is_taken_out_is_told_when_it_is_back(void) {
  begins();
  add(yields, NULL);
  add(takes_out_and_puts_back, NULL);
  runs();
  CHECK_INT(times_told("\"name\":\"runs\""), ==, (YIELDS + 1) + (2 * YIELDS + 1));
  CHECK_INT(times_told("\"name\":\"ended\""), ==, 2);
  ends();
}

// ---- the file that MAJJEN_TRACE asks for

static int errors;

static void counts_errors(mj_log_level level, const char* message, void* error) {
  errors += level >= MJ_LOG_ERROR && strstr(message, error) != NULL;
}

// Returns how often the log tells of this error.
static int run_with_trace_file(const char* path, int error) {
  CHECK_INT(setenv("MAJJEN_TRACE", path, 1), ==, 0);
  mj_log_set_callback(counts_errors, strerror(error));
  errors = 0;
  scheduler = new_scheduler();
  for (int i = 0; i < 100; i++) add(yields, NULL);
  runs();
  ends();
  return errors;
}

static void writes_where_no_room_is(void) { CHECK_INT(run_with_trace_file("/dev/full", ENOSPC), ==, 1); }

static char path[] = "/tmp/majjen-trace-XXXXXX/file";

static void make_directory(void) {
  char* name = strrchr(path, '/');
  *name = '\0';
  CHECK(mkdtemp(path) != NULL);
  *name = '/';
}

static void remove_directory(void) {
  CHECK_INT(unlink(path), ==, 0);
  *strrchr(path, '/') = '\0';
  CHECK_INT(rmdir(path), ==, 0);
}

static void writes_where_nobody_reads(void) {
  make_directory();
  CHECK_INT(mkfifo(path, 0600), ==, 0);
  CHECK_INT(run_with_trace_file(path, ENXIO), ==, 1);
  remove_directory();
}

static void* reads_some_of_it(void* fd) {
  char bytes[100];
  struct pollfd reader = {.fd = *(int*)fd, .events = POLLIN};
  CHECK_INT(poll(&reader, 1, -1), ==, 1);
  CHECK_INT(read(reader.fd, bytes, sizeof bytes), ==, sizeof bytes);
  CHECK_INT(close(reader.fd), ==, 0);
  return NULL;
}

// With the signal's default action, which is to kill.
static void writes_where_the_reader_goes_away(void) {
  pthread_t thread;
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  make_directory();
  CHECK_INT(mkfifo(path, 0600), ==, 0);
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(fcntl(fd, F_SETPIPE_SZ, 4096), >, 0);  // So that not all of it has room.
  CHECK_INT(pthread_create(&thread, NULL, reads_some_of_it, &fd), ==, 0);
  CHECK_INT(run_with_trace_file(path, EPIPE), ==, 1);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  remove_directory();
}

// As above.
static void writes_more_than_it_may(void) {
  const struct rlimit limit = {5000, 5000};
  struct stat file;
  CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
  make_directory();
  CHECK_INT(run_with_trace_file(path, EFBIG), ==, 1);
  CHECK_INT(stat(path, &file), ==, 0);
  CHECK_INT(file.st_size, ==, 5000);
  remove_directory();
}

static void a_file_that_cannot_be_written_is_an_error_in_the_log(void) {
  CHECK_INT(status_of_child(writes_where_no_room_is), ==, 0);
  CHECK_INT(status_of_child(writes_where_nobody_reads), ==, 0);
  CHECK_INT(status_of_child(writes_more_than_it_may), ==, 0);
  CHECK_INT(status_of_child(writes_where_the_reader_goes_away), ==, 0);
}

int main(void) {
  CHECK_INT(unsetenv("MAJJEN_TRACE"), ==, 0);
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_file_that_cannot_be_written_is_an_error_in_the_log);  // First: the first scheduler has no number.
  RUN(what_lives_has_its_name);
  RUN(a_wait_tells_its_descriptor);
  RUN(a_post_is_made_ready_by_another_thread);
  RUN(a_task_that_is_taken_out_is_told_when_it_is_back);
  return 0;
}
