// Child processes.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIST(...) ((const char* const[]){__VA_ARGS__, NULL})

static mj_process* spawn(const char* const* arguments, const mj_process_options* options) {
  mj_process* process = mj_process_spawn(arguments, options);
  if (process == NULL) fprintf(stderr, "%s: %s\n", arguments[0], strerror(errno));
  CHECK(process != NULL);
  return process;
}

static mj_process* shell(const char* script, const mj_process_options* options) {
  return spawn(LIST("sh", "-c", script), options);
}

// Fails, but waits for those that were let go.
static void makes_no_child(void) {
  const mj_process_options options = {.output = 9999};
  CHECK_PTR(mj_process_spawn(LIST("true"), &options), ==, NULL);
  CHECK_INT(errno, ==, EBADF);
}

static int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

static int code_of(mj_process* process) {
  int status;
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_process_let_go(process), ==, 0);
  return exit_code(status);
}

// All that a child writes to a pipe, until that is at its end.
static const char* output_of(mj_process* process, int descriptor) {
  static char text[4096];
  size_t done = 0;
  int fd = mj_process_take_pipe(process, descriptor);
  CHECK_INT(fd, >, 2);
  ssize_t count;
  while ((count = mj_read(fd, text + done, sizeof text - 1 - done, MJ_FOREVER)) > 0) done += (size_t)count;
  CHECK_INT(count, ==, 0);
  CHECK_INT(close(fd), ==, 0);
  text[done] = '\0';
  return text;
}

static const char* shell_says(const char* script) {
  const mj_process_options options = {.output = MJ_PROCESS_PIPE};
  mj_process* process = shell(script, &options);
  const char* text = output_of(process, 1);
  CHECK_INT(code_of(process), ==, 0);
  return text;
}

static void has_no_children(void) {
  CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
  CHECK_INT(errno, ==, ECHILD);
}

static mj_process* shared;
static int told;

// ---- in tasks

static void (*body)(void);

static void task(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  body();
  mj_task_exit();
}

static mj_scheduler* scheduler;

static void in_task(void (*function)(void)) {
  body = function;
  scheduler = new_scheduler();
  add_task(scheduler, task, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
  has_no_children();
}

#define RUN_IN_TASK(function) \
  static void function##_in_task(void) { in_task(function); }

static void ends_are_told(void) {
  CHECK_INT(code_of(spawn(LIST("true"), NULL)), ==, 0);
  CHECK_INT(code_of(shell("exit 7", NULL)), ==, 7);
  CHECK_INT(code_of(shell("kill -USR1 $$", NULL)), ==, -SIGUSR1);
  mj_process* process = shell("exec sleep 100", NULL);
  CHECK_INT(mj_process_pid(process), >, 1);
  CHECK_INT(mj_process_wait(process, NULL, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_process_wait(process, NULL, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_process_kill(process, 0), ==, 0);
  CHECK_INT(mj_process_kill(process, SIGKILL), ==, 0);
  int status = 0;
  for (int i = 0; i < 3; i++) {
    CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
    CHECK_INT(exit_code(status), ==, -SIGKILL);
  }
  CHECK_INT(mj_process_kill(process, 0), ==, -ESRCH);
  CHECK_INT(mj_process_kill(process, SIGTERM), ==, -ESRCH);
  CHECK_INT(mj_process_let_go(process), ==, 0);
}
RUN_IN_TASK(ends_are_told)

static void streams_are_what_is_asked_for(void) {
  mj_process_options options = {
      .input = MJ_PROCESS_PIPE, .output = MJ_PROCESS_PIPE, .error = MJ_PROCESS_PIPE};
  mj_process* process = shell("read line; echo \"got $line\"; echo oh >&2", &options);
  int to = mj_process_take_pipe(process, 0);
  CHECK_INT(to, >, 2);
  CHECK_INT(mj_process_take_pipe(process, 0), ==, -EBADF);
  CHECK_INT(mj_write(to, "this\n", 5, MJ_FOREVER), ==, 5);
  CHECK_INT(close(to), ==, 0);
  CHECK_STR(output_of(process, 1), "got this\n");
  CHECK_STR(output_of(process, 2), "oh\n");
  CHECK_INT(code_of(process), ==, 0);

  options = (mj_process_options){.input = MJ_PROCESS_NULL, .output = MJ_PROCESS_PIPE, .error = MJ_PROCESS_OUTPUT};
  process = shell("cat; echo one; echo two >&2", &options);
  CHECK_STR(output_of(process, 1), "one\ntwo\n");
  CHECK_INT(code_of(process), ==, 0);

  // Those of this process, also where one's number is another's.
  int ends[2];
  CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
  options = (mj_process_options){.output = ends[1], .error = MJ_PROCESS_OUTPUT};
  process = shell("echo here; echo there >&2", &options);
  CHECK_INT(code_of(process), ==, 0);
  CHECK_INT(close(ends[1]), ==, 0);
  char text[32] = "";
  CHECK_INT(mj_read(ends[0], text, sizeof text - 1, MJ_FOREVER), ==, 11);
  CHECK_STR(text, "here\nthere\n");
  CHECK_INT(close(ends[0]), ==, 0);

  // Also where that is the standard one.
  options = (mj_process_options){.error = MJ_PROCESS_OUTPUT};
  process = shell("test -e /proc/self/fd/2 && test /proc/self/fd/1 -ef /proc/self/fd/2", &options);
  CHECK_INT(code_of(process), ==, 0);

  options = (mj_process_options){.output = 2, .error = MJ_PROCESS_NULL};
  CHECK_INT(code_of(shell("test /dev/stderr -ef /dev/null", &options)), ==, 0);
  options = (mj_process_options){.output = MJ_PROCESS_NULL, .error = 1};
  const char* script = "test /dev/stdout -ef /dev/null && test /dev/stderr -ef /proc/$PPID/fd/1";
  CHECK_INT(code_of(shell(script, &options)), ==, 0);
}
RUN_IN_TASK(streams_are_what_is_asked_for)

static void begins_clean(void) {
  // What this process ignores and blocks is not the child's.
  sigset_t blocked, before;
  sigfillset(&blocked);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &blocked, &before), ==, 0);
  void (*handler)(int) = signal(SIGPIPE, SIG_IGN);
  // But for the two that are the C library's own, 32 and 33, which its posix_spawn() has ignored.
  const char* signals = shell_says(
      "cat /proc/self/status | grep -E 'Sig(Blk|Ign|Cgt)' | tr -d '0\\t\\n' | sed s/SigIgn:18/SigIgn:/");
  CHECK_STR(signals, "SigBlk:SigIgn:SigCgt:");
  signal(SIGPIPE, handler);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &before, NULL), ==, 0);
  // No descriptor but the first three, and the one that lists them.
  const mj_process_options options = {.output = MJ_PROCESS_PIPE};
  mj_process* process = spawn(LIST("ls", "/proc/self/fd"), &options);
  const char* descriptors = output_of(process, 1);
  if (!under_valgrind()) CHECK_STR(descriptors, "0\n1\n2\n3\n"); // It has some of its own.
  CHECK_INT(code_of(process), ==, 0);
  CHECK_STR(shell_says("cat /proc/self/timerslack_ns"), "50000\n");
}
RUN_IN_TASK(begins_clean)

static void environment_and_directory(void) {
  mj_process_options options = {
      .environment = LIST("WHERE=/here", "PATH=/usr/bin:/bin"), .directory = "/", .output = MJ_PROCESS_PIPE};
  mj_process* process = shell("echo $WHERE $PWD $HOME", &options);
  CHECK_STR(output_of(process, 1), "/here /\n");
  CHECK_INT(code_of(process), ==, 0);
  CHECK_INT(setenv("MAJJEN_TEST_WORD", "inherited", 1), ==, 0);
  CHECK_STR(shell_says("echo $MAJJEN_TEST_WORD"), "inherited\n");
  options = (mj_process_options){.directory = "/usr/bin"};
  CHECK_INT(code_of(spawn(LIST("./env", "true"), &options)), ==, 0);
}
RUN_IN_TASK(environment_and_directory)

static void mistakes_make_no_child(void) {
  mj_process_options options = {.directory = "/no/such/directory"};
  if (!under_valgrind()) { // There a child tells nobody that its program has not begun.
    CHECK_PTR(mj_process_spawn(LIST("/no/such/program"), NULL), ==, NULL);
    CHECK_INT(errno, ==, ENOENT);
    CHECK_PTR(mj_process_spawn(LIST("no-such-program"), NULL), ==, NULL);
    CHECK_INT(errno, ==, ENOENT);
    CHECK_PTR(mj_process_spawn(LIST("/etc/passwd"), NULL), ==, NULL);
    CHECK_INT(errno, ==, EACCES);
    CHECK_PTR(mj_process_spawn(LIST("true"), &options), ==, NULL);
    CHECK_INT(errno, ==, ENOENT);
  }
  CHECK_PTR(mj_process_spawn(NULL, NULL), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  CHECK_PTR(mj_process_spawn((const char* const[]){NULL}, NULL), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  const int wrong[] = {-1, 9999, -4, -5, INT_MIN};
  const int errors[] = {EBADF, EBADF, EINVAL, EINVAL, EINVAL};
  for (int i = 0; i < 5; i++) {
    options = (mj_process_options){.output = wrong[i]};
    CHECK_PTR(mj_process_spawn(LIST("true"), &options), ==, NULL);
    CHECK_INT(errno, ==, errors[i]);
  }
  options = (mj_process_options){.reserved = {0, 1}};
  CHECK_PTR(mj_process_spawn(LIST("true"), &options), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  // What has been opened for it is closed again.
  options = (mj_process_options){.input = MJ_PROCESS_PIPE, .output = MJ_PROCESS_PIPE, .error = MJ_PROCESS_NULL};
  if (!under_valgrind()) CHECK_PTR(mj_process_spawn(LIST("/no/such/program"), &options), ==, NULL);

  CHECK_INT(mj_process_pid(NULL), ==, -EINVAL);
  CHECK_INT(mj_process_wait(NULL, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_process_kill(NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_process_end(NULL, 0, NULL), ==, -EINVAL);
  CHECK_INT(mj_process_let_go(NULL), ==, 0);
  CHECK_INT(mj_process_take_pipe(NULL, 0), ==, -EINVAL);
  mj_process* process = spawn(LIST("true"), NULL);
  CHECK_INT(mj_process_take_pipe(process, 0), ==, -EBADF);
  CHECK_INT(mj_process_take_pipe(process, 3), ==, -EINVAL);
  CHECK_INT(mj_process_take_pipe(process, -1), ==, -EINVAL);
  CHECK_INT(mj_process_kill(process, 9999), ==, -EINVAL);
  CHECK_INT(code_of(process), ==, 0);
}
RUN_IN_TASK(mistakes_make_no_child)

// ---- ending

static void one_is_ended(void) {
  int status;
  CHECK_INT(mj_process_end(shell("exec sleep 100", NULL), MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  CHECK_INT(mj_process_end(spawn(LIST("true"), NULL), MJ_FOREVER, NULL), ==, 0);
  // It does not listen.
  mj_process_options options = {.output = MJ_PROCESS_PIPE};
  mj_process* process = shell("trap '' TERM; sleep 2 & echo; for i in $(seq 20); do sleep 0.5; done", &options);
  int fd = mj_process_take_pipe(process, 1);
  char byte;
  CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 1);
  options = (mj_process_options){0};
  CHECK_INT(mj_process_end(process, 1000000, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGKILL);
  // Its own child has the pipe still.
  CHECK_INT(mj_read(fd, &byte, 1, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(close(fd), ==, 0);
  // It cleans up.
  options.output = MJ_PROCESS_PIPE;
  process = shell("trap 'exit 5' TERM; echo; for i in $(seq 2000); do sleep 0.01; done", &options);
  fd = mj_process_take_pipe(process, 1);
  CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 1);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, 5);
  CHECK_INT(close(fd), ==, 0);
}
RUN_IN_TASK(one_is_ended)

// With a group, what it has started goes with it, and the pipe ends; also if it has been waited for before.
static void a_group_is_ended(void) {
  const mj_process_options options = {.output = MJ_PROCESS_PIPE, .new_group = true};
  const char* scripts[] = {"sleep 100 & echo; wait", "trap 'exit 0' TERM; (trap '' TERM; sleep 100) & echo; wait"};
  for (int i = 0; i < 2; i++) {
    mj_process* process = shell(scripts[i], &options);
    int fd = mj_process_take_pipe(process, 1);
    char byte;
    CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 1);
    CHECK_INT(getpgid(mj_process_pid(process)), ==, mj_process_pid(process));
    CHECK_INT(mj_process_end(process, MJ_FOREVER, NULL), ==, 0);
    CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 0);
    CHECK_INT(close(fd), ==, 0);
  }
  int status;
  mj_process* process = shell("sleep 100 & exit 6", &options);
  int fd = mj_process_take_pipe(process, 1);
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(exit_code(status), ==, 6);
  CHECK_INT(mj_process_kill(process, 0), ==, 0);
  status = 0;
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, 6);
  char byte;
  CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, 0);
  CHECK_INT(close(fd), ==, 0);
  process = shell("kill -KILL $$", &options);
  CHECK_INT(code_of(process), ==, -SIGKILL);
}
RUN_IN_TASK(a_group_is_ended)


static void waits_too(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  int status;
  CHECK_INT(mj_process_wait(shared, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  told++;
  mj_task_exit();
}

static void ends_once(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  CHECK_INT(mj_process_end(shared, 0, NULL), ==, -EBUSY);
  CHECK_INT(mj_process_let_go(shared), ==, -EBUSY);
  CHECK_INT(mj_process_kill(shared, SIGCONT), ==, 0);
  told++;
  mj_task_exit();
}

static void all_who_wait_are_told(void) {
  told = 0;
  shared = shell("exec sleep 100", NULL);
  CHECK_INT(mj_process_kill(shared, SIGSTOP), ==, 0);  // So that it ends when all have begun.
  siginfo_t info;
  CHECK_INT(waitid(P_PID, (id_t)mj_process_pid(shared), &info, WSTOPPED | WNOWAIT), ==, 0);
  for (int i = 0; i < 3; i++) add_task(scheduler, waits_too, NULL);
  CHECK_INT(mj_yield(), ==, 0);
  add_task(scheduler, ends_once, NULL);
  int status;
  CHECK_INT(mj_process_end(shared, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  while (told < 4) mj_yield();
}
RUN_IN_TASK(all_who_wait_are_told)

static void is_canceled(mj_scheduler* of, void* user_state) {
  (void)user_state;
  mj_process* process = shell("trap 'sleep 0.02; exit 3' TERM; kill -USR1 $PPID; for i in $(seq 2000); do sleep 0.01; done", NULL);
  CHECK_INT(mj_process_wait(process, NULL, MJ_FOREVER), ==, -ECANCELED);
  int status;
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, 3);
  process = shell("exec sleep 100", NULL);
  CHECK_INT(mj_task_set_deadline(mj_scheduler_now_ns(of), NULL), ==, 0);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  told++;
  mj_task_exit();
}

static volatile sig_atomic_t is_ready;
static void note_ready(int number) { (void)number; is_ready = 1; }

static void a_canceled_task_ends_its_child(void) {
  told = 0;
  void (*before)(int) = signal(SIGUSR1, note_ready);
  mj_task_id id = mj_task_get_id(add_task(scheduler, is_canceled, NULL));
  while (!is_ready) CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_INT(mj_scheduler_cancel(scheduler, id), ==, 0);
  while (told == 0) mj_yield();
  signal(SIGUSR1, before);
}
RUN_IN_TASK(a_canceled_task_ends_its_child)

// The first descriptor of a child from this number on; -1 if there is none.
static int descriptor_of_a_child(int fd) {
  for (; fd < 1000; fd++) {
    char path[32], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof target - 1) > 0 && strstr(target, "pidfd") != NULL) return fd;
  }
  return -1;
}

// As a program does that closes all descriptors from 3 on.
static void close_descriptors_of_children(void) {
  for (int fd = 3; (fd = descriptor_of_a_child(fd)) >= 0; fd++) CHECK_INT(close(fd), ==, 0);
}

static void kills(void* process) { CHECK_INT(mj_process_kill(process, SIGUSR1), ==, 0); }

// The descriptors from 3 on that there are, and those that come later.
enum { HIGH = 100 };
static bool was_open[HIGH];

static void note_descriptors(void) {
  for (int fd = 3; fd < HIGH; fd++) was_open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static bool is_new(int fd) { return !was_open[fd] && fcntl(fd, F_GETFD) >= 0; }

// The program closes all that it does not know, and opens others, which get the numbers.
static void others_have_the_numbers_of_its_descriptors(void) {
  int status;
  bool is_own[HIGH] = {false};
  note_descriptors();
  const mj_process_options options = {.output = MJ_PROCESS_PIPE};
  mj_process* process = shell("exec sleep 100", &options);
  for (int fd = 3; fd < HIGH; fd++) {
    if (!is_new(fd)) continue;
    is_own[fd] = true;
    int other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK_INT(dup3(other, fd, O_CLOEXEC), ==, fd);
    CHECK_INT(close(other), ==, 0);
  }
  // They are always ready, and it has not ended.
  CHECK_INT(mj_process_wait(process, &status, 10000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_process_take_pipe(process, 1), ==, -EBADF);
  CHECK_INT(mj_go(scheduler, kills, process, NULL), ==, 0);  // While it is waited for.
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGUSR1);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGUSR1);
  for (int fd = 3; fd < HIGH; fd++) {
    if (is_own[fd]) CHECK_INT(close(fd), ==, 0);  // It has not been closed.
  }
}
RUN_IN_TASK(others_have_the_numbers_of_its_descriptors)

// Those are another child's: it gets no signal, keeps its pipe, and its end is not the first one's.
static void another_child_has_the_numbers_of_its_descriptors(void) {
  mj_log_set_level(MJ_LOG_FATAL);
  int status;
  note_descriptors();
  const mj_process_options options = {.output = MJ_PROCESS_PIPE};
  mj_process* process = shell("exec sleep 100", &options);
  for (int fd = 3; fd < HIGH; fd++) {
    if (is_new(fd)) CHECK_INT(close(fd), ==, 0);
  }
  mj_process* other = shell("echo it is there; exec sleep 100", &options);
  CHECK_INT(mj_process_take_pipe(process, 1), ==, -EBADF);
  CHECK_INT(mj_process_kill(process, SIGTERM), ==, 0);
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, NULL), ==, 0);
  CHECK_INT(mj_process_wait(other, &status, 1000000), ==, -ETIMEDOUT);
  char text[16] = "";
  int output = mj_process_take_pipe(other, 1);
  CHECK_INT(mj_read(output, text, sizeof text, MJ_FOREVER), ==, 12);
  CHECK_STR(text, "it is there\n");
  CHECK_INT(mj_fd_close(output), ==, 0);
  CHECK_INT(mj_process_end(other, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  mj_log_set_level(MJ_LOG_ERROR);
}
RUN_IN_TASK(another_child_has_the_numbers_of_its_descriptors)

static void one_is_ended_whose_descriptor_is_closed(void) {
  mj_log_set_level(MJ_LOG_FATAL);
  mj_process* process = shell("exec sleep 100", NULL);
  close_descriptors_of_children();
  CHECK_INT(mj_process_kill(process, 0), ==, 0);
  CHECK_INT(mj_process_wait(process, NULL, 1000000), ==, -ETIMEDOUT);
  int status;
  CHECK_INT(mj_process_end(process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  mj_log_set_level(MJ_LOG_ERROR);
}
RUN_IN_TASK(one_is_ended_whose_descriptor_is_closed)

// ---- letting go, and schedulers that go

// Each is waited for by a later call of the library, also one that fails.
static void those_let_go_are_waited_for(void) {
  // More than it looks at a time, and some of them go on.
  for (int i = 0; i < 100; i++) CHECK_INT(mj_process_let_go(spawn(LIST(i % 2 ? "true" : "sleep", "0.2"), NULL)), ==, 0);
  siginfo_t info = {0};
  for (int i = 0; waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0; i++) {
    CHECK_INT(i, <, 1000);
    CHECK_INT(mj_sleep_ns(10000000), ==, 0);
    makes_no_child();
  }
  CHECK_INT(errno, ==, ECHILD);
}
RUN_IN_TASK(those_let_go_are_waited_for)

static void waits_for_shared(mj_scheduler* of, void* user_state) {
  (void)user_state;
  mj_scheduler_stop(of);
  mj_process_wait(shared, NULL, MJ_FOREVER);
  mj_task_exit();
}

static void a_child_outlives_its_scheduler(void) {
  shared = shell("exec sleep 100", NULL);
  mj_scheduler* first = new_scheduler();
  add_task(first, waits_for_shared, NULL);
  CHECK_INT(mj_run(first), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(first);
  CHECK_INT(mj_process_kill(shared, 0), ==, 0);
  // Outside tasks: nothing waits, but the end of it.
  CHECK_INT(mj_process_wait(shared, NULL, MJ_FOREVER), ==, -EPERM);
  int status;
  CHECK_INT(mj_process_end(shared, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  shared = shell("trap '' TERM; for i in $(seq 2000); do sleep 0.01; done", NULL);
  CHECK_INT(mj_process_end(shared, 1000000, &status), ==, 0);
  CHECK(WIFSIGNALED(status));
  has_no_children();
}

static void ends_shared(mj_scheduler* of, void* user_state) {
  (void)user_state;
  mj_scheduler_stop(of);
  mj_process_end(shared, MJ_FOREVER, NULL);
  mj_task_exit();
}

// What one was about that went with its scheduler is not done: the next one does it.
static void an_end_may_go_with_its_scheduler(void) {
  for (int by_end = 0; by_end < 2; by_end++) {
    const mj_process_options options = {.output = MJ_PROCESS_PIPE};
    shared = shell("trap '' TERM; echo; exec sleep 100 >/dev/null", &options);
    int fd = mj_process_take_pipe(shared, 1);
    char byte;
    CHECK_INT(read(fd, &byte, 1), ==, 1);
    CHECK_INT(close(fd), ==, 0);
    mj_scheduler* first = new_scheduler();
    add_task(first, ends_shared, NULL);
    add_task(first, waits_for_shared, NULL);
    CHECK_INT(mj_run(first), ==, MJ_RUN_STOPPED);
    mj_scheduler_destroy(first);
    CHECK_INT(mj_process_wait(shared, NULL, MJ_FOREVER), ==, -EPERM);
    CHECK_INT(mj_process_kill(shared, 0), ==, 0);
    CHECK_INT(mj_process_kill(shared, SIGKILL), ==, 0);
    if (by_end) CHECK_INT(mj_process_end(shared, MJ_FOREVER, NULL), ==, 0);
    else CHECK_INT(mj_process_let_go(shared), ==, 0);
  }
  siginfo_t info = {0};
  for (int i = 0; waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0; i++) {
    CHECK_INT(i, <, 10000);
    usleep(1000);
    makes_no_child();
  }
}

static void ends_it(void* process) {
  int status;
  CHECK_INT(mj_process_end((mj_process*)process, MJ_FOREVER, &status), ==, 0);
  CHECK_INT(exit_code(status), ==, -SIGTERM);
  told++;
}

static void defers_its_end(mj_scheduler* of, void* user_state) {
  (void)user_state;
  CHECK_INT(mj_task_defer(ends_it, shared), ==, 0);
  mj_scheduler_stop(of);
  mj_process_wait(shared, NULL, MJ_FOREVER);
  mj_task_exit();
}

static void a_deferred_end_is_made_with_its_scheduler(void) {
  told = 0;
  shared = shell("exec sleep 100", NULL);
  mj_scheduler* first = new_scheduler();
  add_task(first, defers_its_end, NULL);
  CHECK_INT(mj_run(first), ==, MJ_RUN_STOPPED);
  mj_scheduler_destroy(first);
  CHECK_INT(told, ==, 1);
  has_no_children();
}

// What the program has given up goes with the tasks that wait for it.
static void waits_in_vain(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  mj_process_wait(shared, NULL, MJ_FOREVER);
  mj_task_exit();
}

static bool stops;

static void gives_it_up(mj_scheduler* of, void* user_state) {
  const bool ends = *(bool*)user_state;
  if (!ends) CHECK_INT(mj_yield(), ==, 0);
  CHECK_INT(ends ? mj_process_end(shared, MJ_FOREVER, NULL) : mj_process_let_go(shared), ==, 0);
  if (stops) mj_scheduler_stop(of);
  mj_task_exit();
}

// A scheduler in which a task gives up what two others wait for.
static mj_scheduler* scheduler_of_those(const char* script, bool ends) {
  shared = shell(script, NULL);
  mj_scheduler* first = new_scheduler();
  bool* how = allocate(sizeof *how);
  *how = ends;
  // The first one to wait is the first one to be told; but by descriptors only, which Valgrind has not.
  add_task(first, gives_it_up, how);
  for (int i = 0; i < 2; i++) add_task(first, waits_in_vain, NULL);
  return first;
}

// It goes with the last one that waits, before the scheduler does.
static void one_that_was_given_up_goes_with_the_last_to_wait(void) {
  stops = false;
  for (int ends = 0; ends < 2; ends++) {
    mj_scheduler* first = scheduler_of_those(ends ? "exec sleep 100" : "sleep 0.02", ends != 0);
    CHECK_INT(mj_run(first), ==, 0);
    makes_no_child();  // It would look for those that are to go.
    mj_scheduler_destroy(first);
    has_no_children();
  }
}

static void one_that_was_given_up_goes_with_its_scheduler(void) {
  stops = true;
  for (int ends = 0; ends < 2; ends++) {
    mj_scheduler* first = scheduler_of_those("exec sleep 100", ends != 0);
    const pid_t pid = mj_process_pid(shared);
    const int result = mj_run(first);
    CHECK(result == MJ_RUN_STOPPED || (result == 0 && (under_valgrind() || sanitized())));
    mj_scheduler_destroy(first);
    if (!ends) CHECK_INT(kill(pid, SIGKILL), ==, 0);
    siginfo_t info = {0};
    for (int i = 0; waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0; i++) {
      CHECK_INT(i, <, 1000);
      usleep(10000);
      makes_no_child();
    }
    makes_no_child();
  }
  has_no_children();
}

static void another_scheduler_may_not(void) {
  CHECK_INT(mj_process_wait(shared, NULL, 0), ==, -EPERM);
  CHECK_INT(mj_process_kill(shared, 0), ==, -EPERM);
  CHECK_INT(mj_process_end(shared, 0, NULL), ==, -EPERM);
}

static void a_child_is_one_schedulers(void) {
  mj_scheduler* other = new_scheduler();
  shared = shell("exec sleep 100", NULL);
  add_task(other, waits_for_shared, NULL);
  CHECK_INT(mj_run(other), ==, MJ_RUN_STOPPED);
  body = another_scheduler_may_not;
  mj_scheduler* second = new_scheduler();
  add_task(second, task, NULL);
  CHECK_INT(mj_run(second), ==, 0);
  mj_scheduler_destroy(second);
  mj_scheduler_destroy(other);
  CHECK_INT(mj_process_end(shared, MJ_FOREVER, NULL), ==, 0);
}

// Each line says which call it was.
static void* uses_it_elsewhere(void* process) {
#define CHECK_REFUSED(call, ...) \
  do { \
    CHECK_WARNS(CHECK_INT(call(__VA_ARGS__), ==, -EPERM)); \
    CHECK(strstr(log_line_warning, #call ": the scheduler is running on another thread") != NULL); \
  } while (0)
  CHECK_REFUSED(mj_process_wait, process, NULL, 0);
  CHECK_REFUSED(mj_process_kill, process, 0);
  CHECK_REFUSED(mj_process_end, process, 0, NULL);
  CHECK_REFUSED(mj_process_let_go, process);
  CHECK_UINT(log_lines_from(MJ_LOG_WARN), ==, 4);
  return NULL;
}

static void another_thread_may_not(void) {
  mj_process* process = shell("exec sleep 100", NULL);
  CHECK_INT(mj_process_wait(process, NULL, 0), ==, -ETIMEDOUT);
  pthread_t thread;
  log_lines_begin();
  CHECK_INT(pthread_create(&thread, NULL, uses_it_elsewhere, process), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  log_lines_end();
  CHECK_INT(mj_process_end(process, MJ_FOREVER, NULL), ==, 0);
}
RUN_IN_TASK(another_thread_may_not)

// Others have waited for it: nobody knows how it has ended, and nobody else is signaled.
static void others_have_waited_for_it(void) {
  mj_process* process = shell("exit 3", NULL);
  CHECK_INT(waitpid(mj_process_pid(process), NULL, 0), ==, mj_process_pid(process));
  CHECK_INT(mj_process_kill(process, SIGKILL), ==, -ESRCH);
  CHECK_INT(mj_process_wait(process, NULL, MJ_FOREVER), ==, -ECHILD);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, NULL), ==, -ECHILD);
  void (*before)(int) = signal(SIGCHLD, SIG_IGN);
  process = spawn(LIST("true"), NULL);
  CHECK_INT(mj_process_wait(process, NULL, MJ_FOREVER), ==, -ECHILD);
  CHECK_INT(mj_process_let_go(process), ==, 0);
  signal(SIGCHLD, before);
}
RUN_IN_TASK(others_have_waited_for_it)

// A child of fork() has its parent's handles, but not its children.
static void a_fork_has_no_children(void) {
  mj_process* process = shell("exec sleep 100", NULL);
  pid_t pid = fork();
  CHECK_INT(pid, >=, 0);
  if (pid == 0) {
    bool is_right = mj_process_kill(process, SIGKILL) == -ESRCH &&
                    mj_process_wait(process, NULL, MJ_FOREVER) == -ECHILD &&
                    mj_process_end(process, 0, NULL) == -ECHILD;
    _exit(is_right ? 0 : 1);
  }
  int status;
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(exit_code(status), ==, 0);
  CHECK_INT(mj_process_kill(process, 0), ==, 0);
  CHECK_INT(mj_process_wait(process, NULL, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, NULL), ==, 0);
}
RUN_IN_TASK(a_fork_has_no_children)

// One that does not begin another program has a copy of the child's descriptor. What that tells wakes nobody who waits
// for what has its number next, whether the end of the child has woken a task or was found by a look.
static void a_fork_that_keeps_its_descriptor_wakes_nobody(void) {
  static mj_process* process;  // The fork ends with a copy of it, which Valgrind is to find.
  for (int is_found = 0; is_found < 2; is_found++) {
    process = shell("exec sleep 100", NULL);
    CHECK_INT(mj_process_wait(process, NULL, 1000000), ==, -ETIMEDOUT);
    int fd = descriptor_of_a_child(3), control[2], fds[2];
    CHECK_INT(pipe(control), ==, 0);
    pid_t holder = fork();
    CHECK_INT(holder, >=, 0);
    if (holder == 0) {
      alarm(50);
      close(control[1]);
      char byte;
      _exit(read(control[0], &byte, 1) == 0 ? 0 : 1);
    }
    CHECK_INT(mj_process_kill(process, SIGKILL), ==, 0);
    siginfo_t info;
    if (is_found) CHECK_INT(waitid(P_PID, (id_t)mj_process_pid(process), &info, WEXITED | WNOWAIT), ==, 0);
    CHECK_INT(code_of(process), ==, -SIGKILL);
    CHECK_INT(descriptor_of_a_child(3), ==, -1);
    if (fd >= 0) { // Elsewhere children are looked for.
      CHECK_INT(pipe(fds), ==, 0);
      CHECK_INT(fds[0], ==, fd);
      CHECK_INT(mj_task_wait_fd(fd, POLLIN, 20000000), ==, -ETIMEDOUT);
      CHECK_INT(write(fds[1], "x", 1), ==, 1);
      CHECK_INT(mj_task_wait_fd(fd, POLLIN, MJ_FOREVER), ==, POLLIN);
      for (int i = 0; i < 2; i++) CHECK_INT(close(fds[i]), ==, 0);
    }
    for (int i = 0; i < 2; i++) CHECK_INT(close(control[i]), ==, 0);
    int status;
    CHECK_INT(waitpid(holder, &status, 0), ==, holder);
    CHECK_INT(exit_code(status), ==, 0);
  }
}
RUN_IN_TASK(a_fork_that_keeps_its_descriptor_wakes_nobody)

// ---- many

static void runs_one(mj_scheduler* of, void* user_state) {
  (void)of;
  (void)user_state;
  mj_process* process = shell("sleep 0.05; exit 9", NULL);
  CHECK_INT(code_of(process), ==, 9);
  told++;
  mj_task_exit();
}

static void many_at_once(void) {
  enum { MANY = 200 };
  told = 0;
  for (int i = 0; i < MANY; i++) add_task(scheduler, runs_one, NULL);
  while (told < MANY) CHECK_INT(mj_sleep_ns(1000000), ==, 0);
}
RUN_IN_TASK(many_at_once)

static void limits_are_told(void) {
  struct rlimit before, none;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
  int next = dup(0);
  CHECK_INT(next, >, 2);
  CHECK_INT(close(next), ==, 0);
  none = before;
  none.rlim_cur = (rlim_t)next;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
  mj_process_options options = {.output = MJ_PROCESS_PIPE};
  CHECK_PTR(mj_process_spawn(LIST("true"), &options), ==, NULL);
  CHECK_INT(errno, ==, EMFILE);
  options.output = 2;
  CHECK_PTR(mj_process_spawn(LIST("true"), &options), ==, NULL);
  CHECK_INT(errno, ==, EMFILE);
  options.output = MJ_PROCESS_NULL;
  options.error = MJ_PROCESS_OUTPUT;
  CHECK_INT(code_of(shell("test /dev/stdout -ef /dev/null && test /dev/stderr -ef /dev/null", &options)), ==, 0);
  // It needs none, and is looked for again and again.
  mj_process* process = shell("sleep 0.05; exit 4", NULL);
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
  CHECK_INT(mj_process_wait(process, NULL, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(code_of(process), ==, 4);
}
RUN_IN_TASK(limits_are_told)

// In a child of this process, as a user who has no way around the limit.
static void a_limit_of_processes_is_told(void) {
  pid_t pid = fork();
  CHECK_INT(pid, >=, 0);
  if (pid == 0) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NPROC, &none) != 0 || (getuid() == 0 && setuid(65534) != 0)) _exit(2);
    errno = 0;
    _exit(mj_process_spawn(LIST("true"), NULL) == NULL && errno == EAGAIN ? 0 : 1);
  }
  int status;
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(exit_code(status), ==, 0);
}
RUN_IN_TASK(a_limit_of_processes_is_told)

int main(void) {
  if (emulated()) {
    fprintf(stderr, "the emulator tells of the ends of children in a way of its own: some waits never end there\n");
    return check_skipped;
  }
  for (int fd = 3; fd < 1024; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC); // What this test was started with.
  mj_log_set_level(MJ_LOG_ERROR);
  RUN(ends_are_told_in_task);
  RUN(streams_are_what_is_asked_for_in_task);
  RUN(begins_clean_in_task);
  RUN(environment_and_directory_in_task);
  RUN(mistakes_make_no_child_in_task);
  RUN(one_is_ended_in_task);
  RUN(a_group_is_ended_in_task);
  RUN(all_who_wait_are_told_in_task);
  RUN(a_canceled_task_ends_its_child_in_task);
  RUN(one_is_ended_whose_descriptor_is_closed_in_task);
  RUN(others_have_the_numbers_of_its_descriptors_in_task);
  RUN(another_child_has_the_numbers_of_its_descriptors_in_task);
  RUN(those_let_go_are_waited_for_in_task);
  RUN(a_child_outlives_its_scheduler);
  RUN(an_end_may_go_with_its_scheduler);
  RUN(a_deferred_end_is_made_with_its_scheduler);
  RUN(one_that_was_given_up_goes_with_its_scheduler);
  RUN(one_that_was_given_up_goes_with_the_last_to_wait);
  RUN(a_child_is_one_schedulers);
  RUN(another_thread_may_not_in_task);
  RUN(others_have_waited_for_it_in_task);
  RUN(a_fork_has_no_children_in_task);
  RUN(a_fork_that_keeps_its_descriptor_wakes_nobody_in_task);
  RUN(many_at_once_in_task);
  RUN(limits_are_told_in_task);
  RUN(a_limit_of_processes_is_told_in_task);
  return 0;
}
