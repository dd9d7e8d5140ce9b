// Does jobs for clients of a Unix socket, several at a time. `make examples` builds it:
//   target/examples/job_server PATH JOBS LIMIT-MS STOP-MS
//
// A client, such as nc -U PATH, sends one line, and reads the answer to its end:
//   HASH file      job NUMBER, hash 85944171f73967e8
//   RUN command    job NUMBER, each line of the output behind a >, exit 0
//   CANCEL number  ok; and the job's own client reads: Operation canceled
//   STATUS         the jobs, and how late a timer beside them was served
//
// On SIGTERM or Ctrl+C it takes no more clients; jobs may go on for STOP-MS, or until a second
// signal. A job whose client has gone ends when it next has something to say.
#define _GNU_SOURCE
#include "majjen.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define PATIENCE_NS (10000 * MS)  // For a client to send its line, and to take each one of ours.
#define GRACE_NS (1000 * MS)      // For a command to end when it is told to.
#define LINE_BYTES 4096
#define BEATS 256

static mj_scheduler* scheduler;
static mj_group* clients;
static mj_task_id acceptor;
static size_t most_jobs, jobs, beats;
static uint64_t limit_ns, stop_ns;
static int late_us[BEATS];

static int say(mj_stream* client, const char* format, ...) {
  char text[LINE_BYTES + 8];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  const int result = mj_stream_write(client, text, strlen(text), PATIENCE_NS, NULL);
  return result == 0 ? mj_stream_flush(client, PATIENCE_NS) : result;
}

typedef struct { const char* path; uint64_t hash; int error; } file;

// FNV-1a, on a thread of the library.
static void hash_file(void* argument) {
  file* f = argument;
  unsigned char part[1 << 14];
  const int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  ssize_t bytes = fd;
  f->hash = UINT64_C(0xcbf29ce484222325);
  while (fd >= 0 && !mj_offload_canceled() && (bytes = read(fd, part, sizeof part)) > 0) {
    for (ssize_t i = 0; i < bytes; i++) f->hash = (f->hash ^ part[i]) * UINT64_C(0x100000001b3);
  }
  f->error = bytes < 0 ? -errno : bytes > 0 ? -ECANCELED : 0;
  if (fd >= 0) close(fd);
}

static int hash(mj_stream* client, const char* path) {
  file f = {.path = path};
  int result = mj_offload_in(MJ_OFFLOAD_FILE, hash_file, &f, NULL, MJ_FOREVER);
  if (result == 0) result = f.error;
  return result == 0 ? say(client, "hash %016llx\n", (unsigned long long)f.hash) : result;
}

static int run(mj_stream* client, const char* command) {
  const char* const arguments[] = {"sh", "-c", command, NULL};
  const mj_process_options options = {.input = MJ_PROCESS_NULL, .output = MJ_PROCESS_PIPE,
                                      .error = MJ_PROCESS_OUTPUT, .new_group = true};
  mj_process* process = mj_process_spawn(arguments, &options);
  if (process == NULL) return -errno;
  const int pipe = mj_process_take_pipe(process, 1);
  mj_stream* output = mj_stream_create(pipe, LINE_BYTES, 0);
  int status = 0, result = output == NULL ? -ENOMEM : 0;
  char* line;
  ssize_t bytes;
  while (result == 0 && (bytes = mj_stream_read_line(output, &line, MJ_FOREVER)) != 0) {
    if (bytes > 0) line[strcspn(line, "\n")] = '\0';
    result = bytes > 0 ? say(client, "> %s\n", line) : (int)bytes;
  }
  output == NULL ? close(pipe) : mj_stream_destroy(output);
  if (result == 0) result = mj_process_wait(process, NULL, MJ_FOREVER);
  mj_process_end(process, GRACE_NS, &status);  // It waits also in a task that is canceled.
  if (result != 0) return result;
  return say(client, "exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static int do_job(mj_stream* client, int (*work)(mj_stream*, const char*), const char* text) {
  if (jobs == most_jobs) return say(client, "too many jobs\n");
  jobs++;
  mj_task_set_name(mj_task_current(), "job");
  const mj_task_id number = mj_task_get_id(mj_task_current());  // No other job ever has it.
  const uint64_t deadline_ns = mj_deadline_after(limit_ns);
  mj_task_set_deadline(deadline_ns, NULL);
  int result = say(client, "job %llu\n", (unsigned long long)number);
  if (result == 0) result = work(client, text);
  jobs--;
  mj_task_set_deadline(MJ_FOREVER, NULL);  // Last words are said in any case.
  mj_task_set_cancelable(false, NULL);
  const bool is_over = mj_deadline_left(deadline_ns) == 0;
  return result == 0 ? 0 : say(client, "%s\n", is_over ? "out of time" : strerror(-result));
}

static int cancel(mj_stream* client, mj_task_id number) {
  mj_task* task = mj_task_find(scheduler, number);
  if (strcmp(mj_task_get_name(task), "job") != 0) return say(client, "no such job\n");
  mj_task_cancel(task);
  return say(client, "ok\n");
}

static int by_size(const void* a, const void* b) { return *(const int*)a - *(const int*)b; }

static int show_status(mj_stream* client) {
  int late[BEATS];
  memcpy(late, late_us, sizeof late);
  qsort(late, BEATS, sizeof *late, by_size);
  return say(client, "jobs %zu of %zu\nbeats %zu\nlate p99 %d us\n", jobs, most_jobs, beats,
             late[BEATS * 99 / 100]);
}

static int serve(void* argument) {
  mj_stream* client = mj_stream_create((int)(intptr_t)argument, LINE_BYTES, 0);
  if (client == NULL) return mj_fd_close((int)(intptr_t)argument);
  char* line;  // In the stream's buffer, where it stays: no more is read.
  if (mj_stream_read_line(client, &line, PATIENCE_NS) > 0) {
    line[strcspn(line, "\r\n")] = '\0';
    if (strncmp(line, "HASH ", 5) == 0) do_job(client, hash, line + 5);
    else if (strncmp(line, "RUN ", 4) == 0) do_job(client, run, line + 4);
    else if (strncmp(line, "CANCEL ", 7) == 0) cancel(client, strtoull(line + 7, NULL, 10));
    else if (strcmp(line, "STATUS") == 0) show_status(client);
    else say(client, "HASH file, RUN command, CANCEL number or STATUS\n");
  }
  return mj_stream_destroy(client);
}

static void accept_clients(void* argument) {
  const int listener = *(int*)argument;
  for (int fd; (fd = mj_accept(listener, NULL, NULL, MJ_FOREVER)) >= 0;) {
    if (mj_group_go(clients, serve, (void*)(intptr_t)fd, MJ_FOREVER) != 0) mj_fd_close(fd);
  }
  mj_fd_close(listener);
  mj_group_end(clients, stop_ns);  // Waits for so long, and cancels those that are left.
}

// This task and the next one are daemons: the run ends without them.
static void stop(void* unused) {
  const int signals[] = {SIGTERM, SIGINT};
  mj_task_set_daemon(unused == NULL);
  if (mj_signal_wait(signals, 2, NULL, MJ_FOREVER) > 0) mj_scheduler_cancel(scheduler, acceptor);
  if (mj_signal_wait(signals, 2, NULL, MJ_FOREVER) > 0) mj_group_cancel(clients);
}

static void beat(void* unused) {
  mj_task_set_daemon(unused == NULL);
  uint64_t due_ns = mj_deadline_after(10 * MS);
  for (; mj_task_sleep_until_ns(due_ns) == 0; due_ns += 10 * MS) {
    late_us[beats++ % BEATS] = (int)((mj_scheduler_now_ns(scheduler) - due_ns) / 1000);
  }
}

int main(int argc, char** argv) {
  if (argc != 5) return fprintf(stderr, "job_server PATH JOBS LIMIT-MS STOP-MS\n"), 2;
  mj_log_set_level(MJ_LOG_WARN);
  most_jobs = strtoul(argv[2], NULL, 10);
  limit_ns = strtoull(argv[3], NULL, 10) * MS;
  stop_ns = strtoull(argv[4], NULL, 10) * MS;
  char address[128];
  snprintf(address, sizeof address, "unix:%s", argv[1]);
  int listener = mj_listen(address, NULL, 0, 0);
  if (listener < 0) return fprintf(stderr, "job_server: %s\n", strerror(-listener)), 1;
  scheduler = setup_scheduler_with_epoll();
  clients = mj_group_create(scheduler, 1000);  // Others wait until they are accepted.
  if (mj_go(scheduler, accept_clients, &listener, &acceptor) != 0 ||
      mj_go(scheduler, stop, NULL, NULL) != 0 || mj_go(scheduler, beat, NULL, NULL) != 0) return 1;
  const int result = mj_run(scheduler);
  mj_group_destroy(clients);
  mj_scheduler_destroy(scheduler);
  unlink(argv[1]);
  return result != 0;
}
