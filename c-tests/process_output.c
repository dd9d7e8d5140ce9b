// What many children write at once: each line comes whole and in its order, and timers are served beside it.
#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINES 100
#define BEAT_NS UINT64_C(10000000)
#define MOST_BEATS 100000

static mj_scheduler* scheduler;
static int children, begun, ended, beats;
// Children wait for the end of this pipe, so that they all begin to write when all are there.
static int gate[2];
static uint64_t late_ns[MOST_BEATS];

// ---- a timer

static void beats_until_all_have_ended(mj_scheduler* of, void* user_state) {
  (void)user_state;
  // Making a child blocks the thread.
  while (begun < children) CHECK_INT(mj_yield(), ==, 0);
  uint64_t due_ns = mj_scheduler_now_ns(of) + BEAT_NS;
  CHECK_INT(close(gate[1]), ==, 0);
  for (; ended < children && beats < MOST_BEATS; due_ns += BEAT_NS) {
    CHECK_INT(mj_task_sleep_until_ns(due_ns), ==, 0);
    late_ns[beats++] = mj_scheduler_now_ns(of) - due_ns;
  }
  mj_task_exit();
}

static int by_size(const void* left, const void* right) {
  const uint64_t a = *(const uint64_t*)left, b = *(const uint64_t*)right;
  return (a > b) - (a < b);
}

static uint64_t p99_ns(void) {
  CHECK_INT(beats, >, 0);
  qsort(late_ns, (size_t)beats, sizeof *late_ns, by_size);
  return late_ns[beats * 99 / 100];
}

// ---- children

static mj_process* shell(const char* script, int number) {
  char text[16];
  snprintf(text, sizeof text, "%d", number);
  const char* const arguments[] = {"sh", "-c", script, "sh", text, NULL};
  const mj_process_options options = {.input = gate[0], .output = MJ_PROCESS_PIPE};
  mj_process* process = mj_process_spawn(arguments, &options);
  if (process == NULL) fprintf(stderr, "sh: %s\n", strerror(errno));
  CHECK(process != NULL);
  begun++;
  return process;
}

static void ends_well(mj_process* process) {
  int status;
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(status, ==, 0);
  CHECK_INT(mj_process_let_go(process), ==, 0);
  ended++;
  mj_task_exit();
}

static int next_number;

static void reads_all_lines(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  const int number = next_number++;
  const char* script = "read go; i=0; while [ $i -lt 100 ]; do echo child $1 line $i of 100; i=$((i+1)); done";
  mj_process* process = shell(script, number);
  // A small buffer: lines go over its end in every way.
  mj_stream* output = mj_stream_create(mj_process_take_pipe(process, 1), 64, 0);
  CHECK(output != NULL);
  for (int i = 0; i < LINES; i++) {
    char expected[64], *line;
    const int bytes = snprintf(expected, sizeof expected, "child %d line %d of 100\n", number, i);
    CHECK_INT(mj_stream_read_line(output, &line, MJ_FOREVER), ==, bytes);
    CHECK_STR(line, expected);
  }
  char* line;
  CHECK_INT(mj_stream_read_line(output, &line, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_stream_destroy(output), ==, 0);
  ends_well(process);
}

static void only_ends(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  ends_well(shell("read go; exit 0", next_number++));
}

// Sleeps as long as it takes for some beats.
static void does_nothing(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  begun++;
  CHECK_INT(mj_sleep_ns(50 * BEAT_NS), ==, 0);
  ended++;
  mj_task_exit();
}

// Runs so many tasks beside the timer, and returns the 99th percentile of how late that was.
static uint64_t runs(int count, mj_task_fn* one) {
  children = count;
  begun = ended = beats = next_number = 0;
  CHECK_INT(pipe2(gate, O_CLOEXEC), ==, 0);
  scheduler = new_scheduler();
  add_task(scheduler, beats_until_all_have_ended, NULL);
  for (int i = 0; i < count; i++) add_task(scheduler, one, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  CHECK_INT(ended, ==, count);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(close(gate[0]), ==, 0);
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
  CHECK_INT(errno, ==, ECHILD);
  return p99_ns();
}

static void no_line_is_lost_or_torn(void) {
  const uint64_t idle_ns = runs(1, does_nothing);
  const uint64_t busy_ns = runs(100, reads_all_lines);
  // Not compared here: there are a hundred shells for few processors. `make bench ROWS=13` measures it.
  printf("p99 of the timer: %llu us late in %d beats, idle %llu us\n", (unsigned long long)busy_ns / 1000, beats,
         (unsigned long long)idle_ns / 1000);
}

static void a_thousand_at_once(void) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  limit.rlim_cur = limit.rlim_max;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  runs(1000, only_ends);
  runs(1000, reads_all_lines);
}

int main(void) {
  mj_log_set_level(MJ_LOG_ERROR);
  RUN(no_line_is_lost_or_torn);
  if (getenv("MAJJEN_TORTURE") != NULL && !under_valgrind()) RUN(a_thousand_at_once);
  return 0;
}
