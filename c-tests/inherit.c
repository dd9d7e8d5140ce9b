// What the threads, programs and children that a task makes inherit: nothing that the library has
// changed for its run. And signals where several runs overlap.
#define _GNU_SOURCE
#include "child.h"
#include "pipes.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

extern char** environ;

static const int looked_after[] = {SIGINT, SIGTERM, SIGPIPE};

// ---- Threads, programs ----

typedef struct heritage {
  unsigned blocked, ignored;  // a bit for each signal
  int slack_ns;
} heritage;

static heritage look(void) {
  heritage found = {0, 0, prctl(PR_GET_TIMERSLACK)};
  sigset_t mask;
  CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &mask), ==, 0);
  for (int number = 1; number < 32; number++) {
    struct sigaction action;
    if (number == SIGKILL || number == SIGSTOP) continue;
    CHECK_INT(sigaction(number, NULL, &action), ==, 0);
    if (sigismember(&mask, number)) found.blocked |= 1u << number;
    if (action.sa_handler == SIG_IGN) found.ignored |= 1u << number;
  }
  return found;
}

static void check_same(heritage found, heritage expected) {
  CHECK_UINT(found.blocked, ==, expected.blocked);
  CHECK_UINT(found.ignored, ==, expected.ignored);
  CHECK_INT(found.slack_ns, ==, expected.slack_ns);
}

static void* looks(void* result) {
  *(heritage*)result = look();
  return NULL;
}

static heritage of_a_thread(void) {
  heritage found;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, looks, &found), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  return found;
}

// Neither an emulator nor valgrind runs the programs that a program starts by this path.
static bool starts_programs(void) { return !emulated() && !under_valgrind(); }

// This program, started with an argument, writes what it has inherited.
static heritage of_a_program_with(const posix_spawnattr_t* attributes) {
  char* arguments[] = {"inherit", "looks", NULL};
  posix_spawn_file_actions_t actions;
  heritage found;
  pid_t program;
  int ends[2];
  CHECK_INT(pipe2(ends, O_CLOEXEC), ==, 0);
  CHECK_INT(posix_spawn_file_actions_init(&actions), ==, 0);
  CHECK_INT(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), ==, 0);
  CHECK_INT(posix_spawn(&program, "/proc/self/exe", &actions, attributes, arguments, environ), ==, 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  CHECK_INT(read(ends[0], &found, sizeof found), ==, sizeof found);
  close(ends[0]);
  CHECK_INT(status_of(program), ==, 0);
  return found;
}

static heritage of_a_program(void) { return of_a_program_with(NULL); }

static heritage here, thread_of_main, program_of_main;

static void makes_them(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int round = 0; round < 2; round++) {
    check_same(look(), here);
    check_same(of_a_thread(), thread_of_main);
    if (starts_programs()) check_same(of_a_program(), program_of_main);
    CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  }
  mj_task_exit();
}

static void what_a_task_makes_is_as_what_main_makes(void) {
  here = look();
  thread_of_main = of_a_thread();
  if (starts_programs()) program_of_main = of_a_program();
  mj_scheduler* (*const makers[])(void) = {mj_scheduler_create, setup_scheduler_with_epoll};
  static const mj_wait_fn functions[] = {mj_wait_epoll, mj_wait_poll, mj_wait_nanosleep};
  for (size_t i = 0; i < 2; i++) {
    for (size_t j = 0; j < sizeof functions / sizeof *functions; j++) {
      mj_scheduler* scheduler = makers[i]();
      CHECK(scheduler != NULL);
      mj_scheduler_set_wait_func(scheduler, functions[j], NULL);
      add_task(scheduler, makes_them, NULL);
      CHECK_INT(mj_run(scheduler), ==, 0);
      mj_scheduler_destroy(scheduler);
    }
  }
}

static void sets_its_slack(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  CHECK_INT(prctl(PR_SET_TIMERSLACK, 12345), ==, 0);
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  CHECK_INT(prctl(PR_GET_TIMERSLACK), ==, 12345);
  mj_task_exit();
}

static void the_slack_that_a_task_sets_stays(void) {
  int before = prctl(PR_GET_TIMERSLACK);
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, sets_its_slack, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
  CHECK_INT(prctl(PR_GET_TIMERSLACK), ==, 12345);
  CHECK_INT(prctl(PR_SET_TIMERSLACK, before), ==, 0);
}

// ---- Programs of a function of the pool, whose thread blocks signals ----

static heritage found_there;

static void starts_one(void* unused) {
  (void)unused;
  found_there = of_a_program();
}

static void starts_one_with_an_empty_mask(void* unused) {
  (void)unused;
  posix_spawnattr_t attributes;
  sigset_t none;
  sigemptyset(&none);
  CHECK_INT(posix_spawnattr_init(&attributes), ==, 0);
  CHECK_INT(posix_spawnattr_setsigmask(&attributes, &none), ==, 0);
  CHECK_INT(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK), ==, 0);
  found_there = of_a_program_with(&attributes);
  posix_spawnattr_destroy(&attributes);
}

// As around popen(3) and system(3), which have no attributes.
static void unblocks_around_it(void* unused) {
  sigset_t none, before;
  sigemptyset(&none);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &none, &before), ==, 0);
  starts_one(unused);
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &before, NULL), ==, 0);
}

static void starts_one_from_a_task(void) {
  const char* const arguments[] = {"/proc/self/exe", "looks", NULL};
  const mj_process_options options = {.output = MJ_PROCESS_PIPE};
  int status;
  mj_process* process = mj_process_spawn(arguments, &options);
  CHECK(process != NULL);
  int output = mj_process_take_pipe(process, 1);
  CHECK_INT(mj_read_exact(output, &found_there, sizeof found_there, MJ_FOREVER, NULL), ==, sizeof found_there);
  close(output);
  CHECK_INT(mj_process_wait(process, &status, MJ_FOREVER), ==, 0);
  CHECK_INT(status, ==, 0);
  CHECK_INT(mj_process_end(process, MJ_FOREVER, NULL), ==, 0);
}

static void starts_programs_in_the_pool(void* unused) {
  unsigned stopping = 0;
  for (size_t i = 0; i < sizeof looked_after / sizeof *looked_after; i++) stopping |= 1u << looked_after[i];
  CHECK_INT(mj_offload(starts_one, unused, NULL, MJ_FOREVER), ==, 0);
  CHECK_UINT(found_there.blocked & stopping, ==, stopping);
  CHECK_INT(mj_offload(starts_one_with_an_empty_mask, unused, NULL, MJ_FOREVER), ==, 0);
  CHECK_UINT(found_there.blocked, ==, 0);
  CHECK_INT(mj_offload(unblocks_around_it, unused, NULL, MJ_FOREVER), ==, 0);
  CHECK_UINT(found_there.blocked, ==, 0);
  starts_one_from_a_task();
  CHECK_UINT(found_there.blocked, ==, 0);
}

static void a_program_of_the_pool_can_begin_without_its_mask(void) {
  if (!starts_programs()) return;
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, starts_programs_in_the_pool, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Children ----

static void breaks_a_pipe(void) {
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  close(ends[0]);
  CHECK_INT(write(ends[1], "x", 1), ==, -1);
  CHECK_INT(errno, ==, EPIPE);
  close(ends[1]);
}

static void meets(int number) {
  if (number == SIGPIPE) {
    breaks_a_pipe();
  } else {
    raise(number);
  }
}

static int signal_to_meet;
static bool by_system_call;

static void works(void) {
  meets(signal_to_meet);
  _exit(3);
}

static pid_t start_worker(void) {
  if (!by_system_call) return start_child(works);
  pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) works();
  return child;
}

static void check_killed_by(int status, int number) {
  if (!WIFSIGNALED(status)) CHECK_INT(WEXITSTATUS(status), ==, -1);
  CHECK_INT(WTERMSIG(status), ==, number);
}

static void has_workers(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  bool clears = madvise(NULL, 0, MADV_WIPEONFORK) == 0 && !emulated();
  for (int raw = 0; raw < (clears ? 2 : 1); raw++) {
    for (size_t i = 0; i < sizeof looked_after / sizeof *looked_after; i++) {
      by_system_call = raw;
      signal_to_meet = looked_after[i];
      check_killed_by(status_of(start_worker()), signal_to_meet);
    }
  }
  // The run that the parent goes on with was not stopped, and has what it had.
  breaks_a_pipe();
  mj_task_yield();
  CHECK_INT(raise(SIGTERM), ==, 0);
  mj_task_yield();
  CHECK(!"the run goes on after SIGTERM");
}

static void a_worker_of_a_task_dies_of_its_first_signal(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  add_task(scheduler, has_workers, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_SIGNAL);
  mj_scheduler_destroy(scheduler);
}

static void raises_sigterm(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  breaks_a_pipe();
  raise(SIGTERM);
  mj_task_yield();
  _exit(3);
}

static void runs_one_of_its_own(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  add_task(scheduler, raises_sigterm, NULL);
  _exit(mj_run(scheduler) == MJ_RUN_SIGNAL ? 0 : 4);
}

static void* runs_in_a_child(void* unused) {
  CHECK_INT(status_of_child(runs_one_of_its_own), ==, 0);
  return unused;
}

static void forks_from_another_thread(mj_scheduler* scheduler, void* user_state) {
  pthread_t thread;
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pthread_create(&thread, NULL, runs_in_a_child, NULL), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  mj_task_exit();
}

// In a child the parent's run, which goes on there on no thread, takes nothing from one of its own.
static void a_child_that_runs_a_scheduler_is_stopped(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  add_task(scheduler, forks_from_another_thread, NULL);
  CHECK_INT(mj_run(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static bool goes_on_as_child;

static void forks_and_goes_on(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child > 0) {
    CHECK_INT(status_of(child), ==, 0);
    CHECK_INT(mj_sleep_ns(1000000), ==, 0);
    mj_task_exit();
    return;
  }
  alarm(50);
  goes_on_as_child = true;
  CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  raise(SIGTERM);
  mj_task_sleep_s(1000000);
}

// A child that has gone on with the run is stopped as a run of its own is, and nobody else is.
static void a_child_that_goes_on_with_the_run_is_stopped(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  add_task(scheduler, forks_and_goes_on, NULL);
  int ended = mj_run(scheduler);
  if (goes_on_as_child) {
    CHECK_INT(ended, ==, MJ_RUN_SIGNAL);
    CHECK_INT(mj_scheduler_signal(scheduler), ==, SIGTERM);
    mj_scheduler_destroy(scheduler);
    _exit(0);
  }
  CHECK_INT(ended, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Other threads ----

static void* meets_it(void* unused) {
  meets(signal_to_meet);
  _exit(3);
  return unused;
}

static void has_a_thread_that_meets_it(mj_scheduler* scheduler, void* user_state) {
  pthread_t thread;
  (void)scheduler;
  (void)user_state;
  CHECK_INT(pthread_create(&thread, NULL, meets_it, NULL), ==, 0);
  pthread_join(thread, NULL);
}

static void runs_beside_a_thread(void) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  add_task(scheduler, has_a_thread_that_meets_it, NULL);
  mj_scheduler_run(scheduler);
}

static void another_thread_dies_of_sigpipe_as_ever(void) {
  signal_to_meet = SIGPIPE;
  check_killed_by(status_of_child(runs_beside_a_thread), SIGPIPE);
}

// ---- Many runs ----

static atomic_int started, stopped;

static void says_that_it_runs(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  started++;
  mj_task_sleep_s(1000000);
}

static void* runs_until_a_signal(void* unused) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  CHECK(scheduler != NULL);
  add_task(scheduler, says_that_it_runs, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_SIGNAL);
  CHECK_INT(mj_scheduler_signal(scheduler), ==, SIGTERM);
  mj_scheduler_destroy(scheduler);
  stopped++;
  return unused;
}

static void as_many_runs_as_there_are_are_stopped(void) {
  enum { MOST = 200 };
  int threads = (int)times(MOST, 70);
  pthread_t made[MOST];
  for (int round = 0; round < 2; round++) {
    started = stopped = 0;
    for (int i = 0; i < threads; i++) {
      CHECK_INT(pthread_create(&made[i], NULL, runs_until_a_signal, NULL), ==, 0);
    }
    while (started < threads) usleep(1000);
    CHECK_INT(kill(getpid(), SIGTERM), ==, 0);
    for (int i = 0; i < threads; i++) CHECK_INT(pthread_join(made[i], NULL), ==, 0);
    CHECK_INT(stopped, ==, threads);
  }
}

static atomic_bool may_end;

static void computes_until_it_may_end(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  started++;
  while (!may_end) {
  }
  mj_task_sleep_s(1000000);
}

static void* runs_for_long(void* unused) {
  mj_scheduler* scheduler = setup_scheduler_with_epoll();
  add_task(scheduler, computes_until_it_may_end, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_SIGNAL);
  mj_scheduler_destroy(scheduler);
  return unused;
}

static void runs_one_after_another(void) {
  pthread_t slow;
  started = 0;
  may_end = false;
  CHECK_INT(pthread_create(&slow, NULL, runs_for_long, NULL), ==, 0);
  while (started < 1) usleep(1000);
  for (int i = 0; i < 3; i++) {
    // The slow one is asked to stop by the first signal, and has not come to it yet.
    mj_scheduler* scheduler = setup_scheduler_with_epoll();
    add_task(scheduler, raises_sigterm, NULL);
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_SIGNAL);
    mj_scheduler_destroy(scheduler);
  }
  may_end = true;
  CHECK_INT(pthread_join(slow, NULL), ==, 0);
}

static void a_signal_stops_a_run_that_began_after_the_one_before(void) {
  CHECK_INT(status_of_child(runs_one_after_another), ==, 0);
}

int main(int count, char** arguments) {
  (void)arguments;
  if (count > 1) {
    heritage found = look();
    return write(1, &found, sizeof found) == sizeof found ? 0 : 1;
  }
  // Whatever the program that started this one had set.
  for (size_t i = 0; i < sizeof looked_after / sizeof *looked_after; i++) {
    signal(looked_after[i], SIG_DFL);
  }
  mj_log_set_level(MJ_LOG_WARN);
  RUN(what_a_task_makes_is_as_what_main_makes);
  if (!emulated()) RUN(the_slack_that_a_task_sets_stays);
  RUN(a_program_of_the_pool_can_begin_without_its_mask);
  RUN(as_many_runs_as_there_are_are_stopped);
  // Valgrind takes what a process holds that is killed for lost; sanitizers have threads of their own.
  if (under_valgrind() || sanitized()) return 0;
  RUN(a_worker_of_a_task_dies_of_its_first_signal);
  RUN(a_child_that_runs_a_scheduler_is_stopped);
  RUN(a_child_that_goes_on_with_the_run_is_stopped);
  RUN(another_thread_dies_of_sigpipe_as_ever);
  RUN(a_signal_stops_a_run_that_began_after_the_one_before);
  return 0;
}
