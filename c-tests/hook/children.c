// Child processes: waiting for one, for any, for a group; commands.
#define _GNU_SOURCE
#include "hooked.h"

#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned ended;

// Of many at once, fewer where each takes long.
static unsigned many(unsigned native) { return under_valgrind() ? native / 5 : native; }

// A child that ends after a while.
static pid_t child_that_ends(unsigned after_us, int status) {
  pid_t pid = fork();
  CHECK_INT(pid, >=, 0);
  if (pid == 0) {
    usleep(after_us);
    _exit(status);
  }
  return pid;
}

static void one_is_waited_for(void) {
  start_ticker();
  int status;
  pid_t pid = child_that_ends(30000, 7);
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  CHECK_FAILS(waitpid(pid, &status, 0), ECHILD);

  pid = child_that_ends(10000, 0);
  CHECK_INT(waitpid(pid, &status, WNOHANG), ==, 0);
  struct rusage usage;
  CHECK_INT(wait4(pid, &status, 0, &usage), ==, pid);
  CHECK_INT(status, ==, 0);

  siginfo_t info;
  pid = child_that_ends(10000, 3);
  CHECK_INT(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), ==, 0);
  CHECK_INT(info.si_pid, ==, pid);
  CHECK_INT(info.si_status, ==, 3);
  CHECK_INT(waitid(P_PID, (id_t)pid, NULL, WEXITED), ==, 0);
  stop_ticker(under_valgrind() ? 0 : 2);
}

static void any_is_waited_for(void) {
  pid_t one = child_that_ends(20000, 1), other = child_that_ends(1000, 2);
  int status;
  pid_t first = wait(&status);
  CHECK(first == one || first == other);
  CHECK_INT(WEXITSTATUS(status), ==, first == one ? 1 : 2);
  pid_t second = waitpid(-1, &status, 0);
  CHECK_INT(second, ==, first == one ? other : one);
  CHECK_INT(WEXITSTATUS(status), ==, second == one ? 1 : 2);
  CHECK_FAILS(wait3(&status, 0, NULL), ECHILD);
  siginfo_t info;
  CHECK_FAILS(waitid(P_ALL, 0, &info, WEXITED), ECHILD);
}

static void a_group_is_waited_for(void) {
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    usleep(20000);
    _exit(5);
  }
  setpgid(pid, pid);
  int status;
  CHECK_INT(waitpid(-pid, &status, 0), ==, pid);
  CHECK_INT(WEXITSTATUS(status), ==, 5);
}

static void a_stop_is_told(void) {
  int status;
  pid_t pid = child_that_ends(100000000, 0);
  kill(pid, SIGSTOP);
  CHECK_INT(waitpid(pid, &status, WUNTRACED), ==, pid);
  CHECK(WIFSTOPPED(status));
  kill(pid, SIGKILL);
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK(WIFSIGNALED(status));
}

static void has_a_child(void* argument) {
  (void)argument;
  int status;
  pid_t pid = child_that_ends(20000, 9);
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(WEXITSTATUS(status), ==, 9);
  add_one(&ended);
}

static void each_task_has_one(void) {
  ended = 0;
  for (unsigned i = 0; i < many(50); i++) start(has_a_child, NULL);
  wait_until(&ended, many(50));
}

static void nobody_comes_where_they_are_ignored(void) {
  signal(SIGCHLD, SIG_IGN);
  pid_t pid = child_that_ends(10000, 0);
  CHECK_FAILS(waitpid(pid, NULL, 0), ECHILD);
  signal(SIGCHLD, SIG_DFL);
}

// ---- commands

static void commands_run(void) {
  struct sigaction before, after;
  sigaction(SIGINT, NULL, &before);
  start_ticker();
  CHECK_INT(WEXITSTATUS(system("sleep 0.3; exit 4")), ==, 4);
  CHECK_INT(system("true"), ==, 0);
  CHECK_INT(WEXITSTATUS(system("/no/such/program 2>/dev/null")), ==, 127);
  CHECK_INT(system(NULL), !=, 0);
  stop_ticker(under_valgrind() ? 0 : 2);
  int status = system("kill -TERM $$");
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  sigaction(SIGINT, NULL, &after);
  CHECK(before.sa_handler == after.sa_handler);
}

static void runs_a_command(void* argument) {
  (void)argument;
  // SIGINT is not ignored in the command.
  int status = system("sleep 0.02; kill -INT $$; exit 3");
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
  add_one(&ended);
}

static void commands_run_at_once(void) {
  ended = 0;
  struct sigaction before, after;
  sigaction(SIGINT, NULL, &before);
  for (unsigned i = 0; i < many(20); i++) start(runs_a_command, NULL);
  wait_until(&ended, many(20));
  sigaction(SIGINT, NULL, &after);
  CHECK(before.sa_handler == after.sa_handler);
}

static void a_pipe_is_closed_when_its_command_has_ended(void) {
  start_ticker();
  FILE* stream = popen("sleep 0.3; exit 6", "r");
  CHECK(stream != NULL);
  int status = pclose(stream);
  CHECK_INT(WEXITSTATUS(status), ==, 6);
  stop_ticker(under_valgrind() ? 0 : 2);
  stream = popen("cat >/dev/null", "w");
  CHECK_INT(fputs("some text", stream), >, 0);
  CHECK_INT(pclose(stream), ==, 0);
}

static void ends_by_and_by(void* argument) {
  (void)argument;
  for (unsigned i = 0; i < many(10); i++) {
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    CHECK_INT(pid, >, 0);
    CHECK_INT(WEXITSTATUS(status), ==, 40);
  }
  add_one(&ended);
}

static void several_wait_for_any(void) {
  ended = 0;
  for (unsigned i = 0; i < 4 * many(10); i++) child_that_ends(i * 1000, 40);
  start_ticker();
  for (int i = 0; i < 4; i++) start(ends_by_and_by, NULL);
  wait_until(&ended, 4);
  stop_ticker(1);
  CHECK_FAILS(waitpid(-1, NULL, 0), ECHILD);
}

static void one_is_waited_for_by_its_descriptor(void) {
  pid_t pid = child_that_ends(20000, 8);
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) {
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    return;
  }
  siginfo_t info;
  CHECK_INT(waitid(P_PIDFD, (id_t)fd, &info, WEXITED), ==, 0);
  CHECK_INT(info.si_pid, ==, pid);
  CHECK_INT(info.si_status, ==, 8);
  CHECK_INT(fcntl(fd, F_GETFD), >=, 0);  // It is the caller's.
  CHECK_INT(close(fd), ==, 0);
  CHECK_FAILS(waitid(P_PID, (id_t)pid, &info, WEXITED), ECHILD);
}

static void others_are_spawned(void) {
  char* arguments[] = {"sh", "-c", "sleep 0.02; exit 5", NULL};
  pid_t pid;
  int status;
  start_ticker();
  CHECK_INT(posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ), ==, 0);
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(WEXITSTATUS(status), ==, 5);
  stop_ticker(2);
}

// A child that is made while a command of another task runs has its parent's signals.
static void runs_a_long_command(void* argument) {
  (void)argument;
  CHECK_INT(WEXITSTATUS(system("sleep 0.1; exit 1")), ==, 1);
  add_one(&ended);
}

static void children_know_of_no_command(void) {
  ended = 0;
  start(runs_a_long_command, NULL);
  let_others_wait();
  pid_t pid = fork();
  CHECK_INT(pid, >=, 0);
  if (pid == 0) {
    struct sigaction interrupt;
    sigaction(SIGINT, NULL, &interrupt);
    bool is_as_before = interrupt.sa_handler == SIG_DFL;
    _exit(in_threads() || is_as_before ? WEXITSTATUS(system("exit 11")) : 1);
  }
  int status;
  CHECK_INT(waitpid(pid, &status, 0), ==, pid);
  CHECK_INT(WEXITSTATUS(status), ==, 11);
  wait_until(&ended, 1);
}

// ---- ends of waits

static pid_t waited_child;
static void is_canceled(void* argument) {
  (void)argument;
  CHECK_FAILS(waitpid(waited_child, NULL, 0), ECANCELED);
  CHECK_FAILS(waitpid(waited_child, NULL, 0), ECANCELED);
  CHECK_FAILS(waitpid(-1, NULL, 0), ECANCELED);
  CHECK_FAILS(system("sleep 100"), ECANCELED);
  add_one(&ended);
}

static void a_canceled_task_leaves_its_child(void) {
  if (in_threads()) return;
  ended = 0;
  waited_child = child_that_ends(100000000, 0);
  mj_task_id id = start(is_canceled, NULL);
  usleep(10000);
  mj_scheduler_cancel(hooked_scheduler, id);
  wait_until(&ended, 1);
  kill(waited_child, SIGKILL);
  CHECK_INT(waitpid(-1, NULL, 0), ==, waited_child);
  CHECK_FAILS(waitpid(-1, NULL, 0), ECHILD);  // No shell is left.
}

static void runs_a_command_in_vain(void* argument) {
  (void)argument;
  struct sigaction before, after;
  sigaction(SIGINT, NULL, &before);
  CHECK_FAILS(system("exec sleep 100"), ECANCELED);
  sigaction(SIGINT, NULL, &after);
  CHECK(before.sa_handler == after.sa_handler);
  add_one(&ended);
}

static void a_command_ends_with_its_task(void) {
  if (in_threads()) return;
  ended = 0;
  mj_task_id id = start(runs_a_command_in_vain, NULL);
  usleep(20000);
  mj_scheduler_cancel(hooked_scheduler, id);
  wait_until(&ended, 1);
  CHECK_FAILS(waitpid(-1, NULL, 0), ECHILD);
}

// The scheduler is destroyed while its task waits for the command. SIGINT is the program's again.
static void runs_one_for_long(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_scheduler_stop(scheduler);
  CHECK(system("sleep 0.05") >= 0);
  mj_task_exit();
}

static void a_command_outlives_its_scheduler(void) {
  if (in_threads()) return;
  struct sigaction before, after;
  sigaction(SIGINT, NULL, &before);
  for (int i = 0; i < 2; i++) {
    mj_scheduler* scheduler = new_scheduler();
    CHECK_INT(mj_hook_set(scheduler, MJ_HOOK_ALL), ==, 0);
    add_task(scheduler, runs_one_for_long, NULL);
    add_task(scheduler, runs_one_for_long, NULL);
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
    mj_scheduler_destroy(scheduler);
    sigaction(SIGINT, NULL, &after);
    CHECK(before.sa_handler == after.sa_handler);
  }
  int found = 0;
  while (waitpid(-1, NULL, 0) > 0) found++;
  CHECK_INT(found, >, 0);
}

// It ends at once; the stream is closed all the same.
static void closes_in_vain(void* argument) {
  FILE* stream = (FILE*)argument;
  add_one(&ended);
  CHECK_FAILS(usleep(100000000), ECANCELED);
  CHECK_FAILS(pclose(stream), ECANCELED);
  add_one(&ended);
}

static void a_canceled_task_waits_for_no_command(void) {
  if (in_threads()) return;
  ended = 0;
  FILE* stream = popen("cat >/dev/null; sleep 0.05", "w");
  CHECK(stream != NULL);
  mj_task_id id = start(closes_in_vain, stream);
  wait_until(&ended, 1);
  uint64_t before = pinned();
  mj_scheduler_cancel(hooked_scheduler, id);
  wait_until(&ended, 2);
  CHECK_UINT(pinned(), ==, before);
  // The thread that closes it has waited for the child by then, or will.
  while (waitid(P_ALL, 0, NULL, WEXITED | WNOWAIT) == 0) usleep(1000);
  CHECK_INT(errno, ==, ECHILD);
}

static void is_woken(void* argument) {
  (void)argument;
  CHECK_FAILS(waitpid(waited_child, NULL, 0), EINTR);
  add_one(&ended);
  CHECK_INT(WEXITSTATUS(system("sleep 0.05; exit 3")), ==, 3);  // It goes on, as with a signal.
  add_one(&ended);
}

// Wakes a task that waits, or will: between two looks for a child it does not.
static void wake(mj_task_id id) {
  int woken;
  while ((woken = mj_scheduler_wake(hooked_scheduler, id)) == 0) usleep(1000);
  CHECK_INT(woken, ==, 1);
}

static void a_woken_task_looks_again(void) {
  if (in_threads()) return;
  ended = 0;
  waited_child = child_that_ends(100000000, 0);
  mj_task_id id = start(is_woken, NULL);
  usleep(10000);
  wake(id);
  wait_until(&ended, 1);
  usleep(10000);
  wake(id);
  wait_until(&ended, 2);
  kill(waited_child, SIGKILL);
  CHECK_INT(waitpid(waited_child, NULL, 0), ==, waited_child);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(one_is_waited_for);
  RUN_HOOKED(any_is_waited_for);
  RUN_HOOKED(a_group_is_waited_for);
  RUN_HOOKED(a_stop_is_told);
  RUN_HOOKED(each_task_has_one);
  RUN_HOOKED(nobody_comes_where_they_are_ignored);
  RUN_HOOKED(commands_run);
  RUN_HOOKED(commands_run_at_once);
  RUN_HOOKED(a_pipe_is_closed_when_its_command_has_ended);
  RUN_HOOKED(several_wait_for_any);
  RUN_HOOKED(one_is_waited_for_by_its_descriptor);
  RUN_HOOKED(others_are_spawned);
  RUN_HOOKED(children_know_of_no_command);
  RUN_HOOKED(a_canceled_task_leaves_its_child);
  RUN_HOOKED(a_command_ends_with_its_task);
  RUN(a_command_outlives_its_scheduler);
  RUN_HOOKED(a_canceled_task_waits_for_no_command);
  RUN_HOOKED(a_woken_task_looks_again);
  return 0;
}
