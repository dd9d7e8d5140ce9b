// Waiting for signals: what a task is told, what becomes of signals between its waits and afterwards, and who
// else is told.
#define _GNU_SOURCE
#include "child.h"
#include "in_a_task.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define MS UINT64_C(1000000)

static int wait_for(int number, uint64_t timeout_ns) {
  return mj_signal_wait(&number, 1, NULL, timeout_ns);
}

static void send(int number) { CHECK_INT(kill(getpid(), number), ==, 0); }

// ---- The program's own handler, before and after ----

static atomic_int handled;

static void counts(int number) {
  (void)number;
  atomic_fetch_add(&handled, 1);
}

// Waits until the program's handler has been called so often. One that is sent again may come a little later.
static void await_handled(int times_called) {
  while (atomic_load(&handled) < times_called) usleep(100);
  CHECK_INT(atomic_load(&handled), ==, times_called);
}

static struct sigaction set_handler(int number, void (*handler)(int)) {
  struct sigaction action, before;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaddset(&action.sa_mask, SIGHUP);
  CHECK_INT(sigaction(number, &action, &before), ==, 0);
  return before;
}

static void put_back(int number, const struct sigaction* before) {
  CHECK_INT(sigaction(number, before, NULL), ==, 0);
}

static bool is_handled_by(int number, void (*handler)(int)) {
  struct sigaction now;
  CHECK_INT(sigaction(number, NULL, &now), ==, 0);
  if (now.sa_handler != handler) return false;
  return handler != counts || ((now.sa_flags & (SA_RESTART | SA_SIGINFO)) == SA_RESTART && sigismember(&now.sa_mask, SIGHUP) == 1);
}

// ---- What a task is told ----

typedef struct waiter {
  int signals[2];
  size_t count;
  uint64_t timeout_ns;
  mj_signal_info info;
  int result;
  bool began, ended;
  mj_task_id id;
} waiter;

static void waits(void* argument) {
  waiter* self = argument;
  self->began = true;
  self->result = mj_signal_wait(self->signals, self->count, &self->info, self->timeout_ns);
  self->ended = true;
}

// Begins a task that waits for one signal, and lets it wait.
static void begin(waiter* self, int number, uint64_t timeout_ns) {
  memset(self, 0, sizeof *self);
  *self = (waiter){.signals = {number}, .count = 1, .timeout_ns = timeout_ns};
  CHECK_INT(mj_go(scheduler, waits, self, &self->id), ==, 0);
  while (!self->began) mj_task_yield();
}

// Waits for the task, and returns its result.
static int result_of(waiter* self) {
  mj_task_join(self->id, LONG_NS);
  CHECK(self->ended);
  return self->result;
}

static void a_task_is_told_of_a_signal(void) {
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  CHECK(!one.ended);
  send(SIGUSR1);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  CHECK_INT(one.info.signal, ==, SIGUSR1);
  CHECK_INT(one.info.code, ==, SI_USER);
  CHECK_INT(one.info.pid, ==, getpid());
  CHECK_INT(one.info.uid, ==, getuid());
  CHECK_INT(one.info.value, ==, 0);
  CHECK_PTR(one.info.pointer, ==, NULL);
  CHECK_PTR(one.info.reserved[3], ==, NULL);
}

static void a_task_is_told_the_value(void) {
  waiter one;
  begin(&one, SIGRTMIN + 3, LONG_NS);
  union sigval value;
  memset(&value, 0, sizeof value);
  value.sival_int = -42;
  CHECK_INT(sigqueue(getpid(), SIGRTMIN + 3, value), ==, 0);
  CHECK_INT(result_of(&one), ==, SIGRTMIN + 3);
  CHECK_INT(one.info.code, ==, SI_QUEUE);
  CHECK_INT(one.info.value, ==, -42);
  CHECK_INT(one.info.pid, ==, getpid());
  begin(&one, SIGUSR2, LONG_NS);
  value.sival_ptr = &one;
  CHECK_INT(sigqueue(getpid(), SIGUSR2, value), ==, 0);
  CHECK_INT(result_of(&one), ==, SIGUSR2);
  CHECK_PTR(one.info.pointer, ==, &one);
}

static void exits_with_7(void) { _exit(7); }

static void a_task_is_told_of_a_child(void) {
  waiter one;
  begin(&one, SIGCHLD, LONG_NS);
  pid_t child = start_child(exits_with_7);
  CHECK_INT(result_of(&one), ==, SIGCHLD);
  CHECK_INT(one.info.code, ==, CLD_EXITED);
  CHECK_INT(one.info.pid, ==, child);
  CHECK_INT(one.info.value, ==, 7);
  CHECK_INT(WEXITSTATUS(status_of(child)), ==, 7);
}

static void a_timer_is_no_process(void) {
  timer_t timer;
  struct sigevent event;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  event.sigev_value.sival_int = 5;
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  CHECK_INT(timer_create(CLOCK_MONOTONIC, &event, &timer), ==, 0);
  struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
  CHECK_INT(timer_settime(timer, 0, &soon, NULL), ==, 0);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  CHECK_INT(one.info.code, ==, SI_TIMER);
  CHECK_INT(one.info.pid, ==, 0);
  CHECK_INT(one.info.value, ==, 5);
  timer_delete(timer);
}

static void what_cannot_be_waited_for_is_refused(void) {
  static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS,
                                32,      33,      0,       -1,     65,     1000,   INT32_MAX, INT32_MIN};
  mj_signal_info info;
  memset(&info, 7, sizeof info);
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    int both[] = {SIGUSR1, refused[i]};
    CHECK_INT(mj_signal_wait(both, 2, &info, 0), ==, -EINVAL);
    CHECK_INT(wait_for(refused[i], 0), ==, -EINVAL);
  }
  int number = SIGUSR1;
  CHECK_INT(mj_signal_wait(&number, 0, &info, 0), ==, -EINVAL);
  CHECK_INT(mj_signal_wait(NULL, 0, &info, 0), ==, -EINVAL);
  CHECK_INT(mj_signal_wait(NULL, 1, &info, 0), ==, -EINVAL);
  CHECK_INT(mj_signal_wait(&number, SIZE_MAX, &info, 0), ==, -EINVAL);
  CHECK(is_handled_by(SIGUSR1, SIG_DFL));
  CHECK_INT(mj_signal_wait(&number, 1, &info, MS), ==, -ETIMEDOUT);
  for (size_t i = 0; i < sizeof info; i++) CHECK_INT(((char*)&info)[i], ==, 7);
}

static void outside_a_task_it_is_refused(void) {
  mj_log_set_level(MJ_LOG_FATAL);
  CHECK_INT(wait_for(SIGUSR1, 0), ==, -EPERM);
  CHECK_INT(wait_for(SIGKILL, 0), ==, -EINVAL);
  CHECK_INT(mj_signal_release(), ==, -EPERM);
  mj_log_set_level(MJ_LOG_WARN);
}

static void all_that_can_be_had_are(void) {
  int all[64];
  size_t count = 0;
  for (int number = 1; number <= 64; number++) {
    bool is_fault = number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL ||
                    number == SIGTRAP || number == SIGSYS;
    bool is_taken = number == SIGKILL || number == SIGSTOP || number == 32 || number == 33;
    if (number == 64 && under_valgrind()) continue;  // It is valgrind's.
    if (!is_fault && !is_taken) all[count++] = number;
  }
  CHECK_INT(mj_signal_wait(all, count, NULL, 0), ==, -ETIMEDOUT);
  for (size_t i = count; i > 0; i--) send(all[i - 1]);
  // The lowest first, each once.
  for (size_t i = 0; i < count; i++) CHECK_INT(mj_signal_wait(all, count, NULL, 0), ==, all[i]);
  CHECK_INT(mj_signal_wait(all, count, NULL, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_signal_release(), ==, 0);
  for (size_t i = 0; i < count; i++) CHECK(is_handled_by(all[i], SIG_DFL));
}

static void errno_is_kept(void) {
  errno = 1234;
  CHECK_INT(wait_for(SIGUSR1, MS), ==, -ETIMEDOUT);
  CHECK_INT(errno, ==, 1234);
  send(SIGUSR1);
  CHECK_INT(errno, ==, 1234);
  CHECK_INT(wait_for(SIGUSR1, MS), ==, SIGUSR1);
  CHECK_INT(mj_signal_release(), ==, 0);
  CHECK_INT(errno, ==, 1234);
}

static void no_wake_ends_a_wait(void) {
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  CHECK_INT(mj_task_wake(mj_task_find(scheduler, one.id)), ==, 0);
  CHECK_INT(mj_scheduler_wake(scheduler, one.id), ==, 0);
  CHECK_INT(mj_scheduler_enqueue(scheduler, mj_task_find(scheduler, one.id)), ==, 0);
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  CHECK(!one.ended);
  send(SIGUSR1);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
}

// ---- Between waits, and afterwards ----

static void a_signal_between_two_waits_is_kept(void) {
  CHECK_INT(wait_for(SIGUSR1, MS), ==, -ETIMEDOUT);
  for (int i = 0; i < 3; i++) send(SIGUSR1);
  mj_sleep_ns(MS);
  send(SIGUSR1);
  CHECK_INT(wait_for(SIGUSR1, LONG_NS), ==, SIGUSR1);
  CHECK_INT(wait_for(SIGUSR1, MS), ==, -ETIMEDOUT);
  send(SIGUSR1);
  CHECK_INT(wait_for(SIGUSR1, 0), ==, SIGUSR1);
}

static void the_dispositions_are_put_back(void) {
  struct sigaction before = set_handler(SIGUSR1, counts);
  atomic_store(&handled, 0);
  send(SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 1);
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  CHECK(!is_handled_by(SIGUSR1, counts));
  send(SIGUSR1);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 1);
  // The task has ended.
  CHECK(is_handled_by(SIGUSR1, counts));
  send(SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 2);
  // In this one it is given back, and taken again.
  for (int i = 0; i < 3; i++) {
    CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
    CHECK(!is_handled_by(SIGUSR1, counts));
    CHECK_INT(mj_signal_release(), ==, 0);
    CHECK(is_handled_by(SIGUSR1, counts));
    CHECK_INT(mj_signal_release(), ==, 0);
  }
  put_back(SIGUSR1, &before);
}

static void what_the_program_has_set_meanwhile_stays(void) {
  struct sigaction before = set_handler(SIGUSR1, SIG_IGN);
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  set_handler(SIGUSR1, counts);
  atomic_store(&handled, 0);
  send(SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 1);
  // A wait that begins now has it.
  waiter other;
  begin(&other, SIGUSR1, LONG_NS);
  send(SIGUSR1);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  CHECK_INT(result_of(&other), ==, SIGUSR1);
  CHECK(is_handled_by(SIGUSR1, counts));
  begin(&one, SIGUSR1, LONG_NS);
  set_handler(SIGUSR1, SIG_IGN);
  CHECK_INT(mj_scheduler_cancel(scheduler, one.id), ==, 0);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
  CHECK(is_handled_by(SIGUSR1, SIG_IGN));
  put_back(SIGUSR1, &before);
}

static struct sigaction ours;

static void passes_on(int number, siginfo_t* info, void* context) {
  atomic_fetch_add(&handled, 1);
  CHECK_INT(atomic_load(&handled), <, 100);
  ours.sa_sigaction(number, info, context);
}

// A handler over ours that hands on what it gets, and stays: the signal has the effect that it had first.
static void a_handler_that_passes_on_never_goes_in_circles(void) {
  struct sigaction before = set_handler(SIGUSR1, counts), chained;
  for (int round = 0; round < 2; round++) {
    CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
    memset(&chained, 0, sizeof chained);
    chained.sa_sigaction = passes_on;
    chained.sa_flags = SA_SIGINFO;
    CHECK_INT(sigaction(SIGUSR1, &chained, &ours), ==, 0);
    atomic_store(&handled, 0);
    send(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 1);
    CHECK_INT(wait_for(SIGUSR1, 0), ==, SIGUSR1);
    CHECK_INT(mj_signal_release(), ==, 0);
    atomic_store(&handled, 0);
    send(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 2);
    // Once more over it.
    CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
    atomic_store(&handled, 0);
    send(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 0);
    CHECK_INT(wait_for(SIGUSR1, 0), ==, SIGUSR1);
    CHECK_INT(mj_signal_release(), ==, 0);
    send(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 2);
    CHECK_INT(sigaction(SIGUSR1, NULL, &chained), ==, 0);
    CHECK(chained.sa_sigaction == passes_on);
  }
  put_back(SIGUSR1, &before);
}

static void another_set_takes_the_place(void) {
  int both[] = {SIGUSR1, SIGUSR2};
  struct sigaction before = set_handler(SIGUSR1, counts);
  atomic_store(&handled, 0);
  CHECK_INT(mj_signal_wait(both, 2, NULL, 0), ==, -ETIMEDOUT);
  send(SIGUSR2);
  CHECK_INT(wait_for(SIGUSR2, 0), ==, SIGUSR2);  // It was there before.
  CHECK_INT(mj_signal_wait(both, 2, NULL, 0), ==, -ETIMEDOUT);
  send(SIGUSR2);
  CHECK_INT(mj_sleep_ns(MS), ==, 0);
  CHECK_INT(wait_for(SIGUSR2, 0), ==, SIGUSR2);  // Also if the loop has seen it before.
  CHECK(is_handled_by(SIGUSR1, counts));
  send(SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 1);
  // One that has come for the first set only goes where it would have gone.
  CHECK_INT(mj_signal_wait(both, 2, NULL, 0), ==, -ETIMEDOUT);
  send(SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 1);
  CHECK_INT(wait_for(SIGUSR2, 0), ==, -ETIMEDOUT);
  await_handled(2);
  put_back(SIGUSR1, &before);
}

static void waits_once(void* argument) {
  (void)argument;
  CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
  send(SIGUSR1);
}

static void a_signal_that_nobody_has_taken_is_not_lost(void) {
  struct sigaction before = set_handler(SIGUSR1, counts);
  atomic_store(&handled, 0);
  mj_task_id id;
  CHECK_INT(mj_go(scheduler, waits_once, NULL, &id), ==, 0);
  CHECK_INT(mj_task_join(id, LONG_NS), ==, 0);
  await_handled(1);
  // Another task has taken it.
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  CHECK_INT(mj_go(scheduler, waits_once, NULL, &id), ==, 0);
  CHECK_INT(mj_task_join(id, LONG_NS), ==, 0);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  CHECK_INT(atomic_load(&handled), ==, 1);
  put_back(SIGUSR1, &before);
}

// ---- Who is told ----

static void all_waiters_are_told(void) {
  enum { count = 20 };
  static waiter waiters[count];
  for (int i = 0; i < count; i++) begin(&waiters[i], SIGUSR1, LONG_NS);
  CHECK_INT(mj_scheduler_cancel(scheduler, waiters[3].id), ==, 0);
  CHECK_INT(result_of(&waiters[3]), ==, -ECANCELED);
  send(SIGUSR1);
  for (int i = 0; i < count; i++) {
    if (i != 3) CHECK_INT(result_of(&waiters[i]), ==, SIGUSR1);
  }
  CHECK(is_handled_by(SIGUSR1, SIG_DFL));
}

static atomic_int waiting, told;

static void waits_on_a_thread(void* argument) {
  (void)argument;
  CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
  atomic_fetch_add(&waiting, 1);
  CHECK_INT(wait_for(SIGUSR1, LONG_NS), ==, SIGUSR1);
  atomic_fetch_add(&told, 1);
}

static void* runs_a_scheduler(void* argument) {
  (void)argument;
  mj_scheduler* own = new_scheduler();
  CHECK_INT(mj_go(own, waits_on_a_thread, NULL, NULL), ==, 0);
  CHECK_INT(mj_go(own, waits_on_a_thread, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(own), ==, 0);
  mj_scheduler_destroy(own);
  return NULL;
}

static void all_schedulers_are_told(void) {
  enum { count = 4 };
  pthread_t threads[count];
  atomic_store(&waiting, 0);
  atomic_store(&told, 0);
  for (int i = 0; i < count; i++) {
    CHECK_INT(pthread_create(&threads[i], NULL, runs_a_scheduler, NULL), ==, 0);
  }
  while (atomic_load(&waiting) < 2 * count) usleep(1000);
  send(SIGUSR1);
  for (int i = 0; i < count; i++) CHECK_INT(pthread_join(threads[i], NULL), ==, 0);
  CHECK_INT(atomic_load(&told), ==, 2 * count);
  CHECK(is_handled_by(SIGUSR1, SIG_DFL));
}

static atomic_bool enough;
static int channel[2];

static void* reads_all_the_time(void* argument) {
  (void)argument;
  char byte;
  // ThreadSanitizer keeps signals back from a thread that reads.
  while (sanitized() && !atomic_load(&enough)) usleep(1000);
  ssize_t got = read(channel[0], &byte, 1);  // And no EINTR.
  CHECK_INT(got, ==, 1);
  return NULL;
}

static void with_blocked_signals(int number, int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  CHECK_INT(pthread_sigmask(how, &set, NULL), ==, 0);
}

// The scheduler's thread blocks the signal, so another one gets it.
static void masks_of_threads_do_not_matter(void) {
  pthread_t reader;
  CHECK_INT(pipe(channel), ==, 0);
  atomic_store(&enough, false);
  CHECK_INT(pthread_create(&reader, NULL, reads_all_the_time, NULL), ==, 0);
  with_blocked_signals(SIGUSR1, SIG_BLOCK);
  waiter one;
  for (int i = 0; i < 3; i++) {
    begin(&one, SIGUSR1, LONG_NS);
    send(SIGUSR1);
    CHECK_INT(result_of(&one), ==, SIGUSR1);
  }
  with_blocked_signals(SIGUSR1, SIG_UNBLOCK);
  atomic_store(&enough, true);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  CHECK_INT(pthread_join(reader, NULL), ==, 0);
  close(channel[0]);
  close(channel[1]);
}

// ---- At the same moment ----

static void a_signal_comes_before_the_cancellation(void) {
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  send(SIGUSR1);
  CHECK_INT(mj_scheduler_cancel(scheduler, one.id), ==, 0);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
}

static atomic_size_t taken;
static pthread_t sender;

static void* sends_one_at_a_time(void* argument) {
  size_t rounds = *(size_t*)argument;
  uint64_t random_state = 88172645463325252u;
  for (size_t i = 0; i < rounds; i++) {
    for (volatile unsigned k = 0; k < next_random(&random_state) % 20000; k++) {
    }
    send(SIGUSR1);
    while (atomic_load(&taken) <= i) sched_yield();
  }
  atomic_store(&enough, true);
  return NULL;
}

static void takes_them(uint64_t least_ns, uint64_t most_ns) {
  uint64_t random_state = 123456789;
  size_t rounds = times(3000, 100);
  atomic_store(&taken, 0);
  atomic_store(&enough, false);
  CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
  CHECK_INT(pthread_create(&sender, NULL, sends_one_at_a_time, &rounds), ==, 0);
  while (!atomic_load(&enough)) {
    int result = wait_for(SIGUSR1, least_ns + next_random(&random_state) % (most_ns - least_ns));
    if (result == SIGUSR1) atomic_fetch_add(&taken, 1);
    else CHECK_INT(result, ==, -ETIMEDOUT);
  }
  CHECK_INT(pthread_join(sender, NULL), ==, 0);
  CHECK_UINT(atomic_load(&taken), ==, rounds);
}

// A lost one hangs the test.
static void none_is_lost_while_waits_time_out(void) { takes_them(1, 20000); }
static void none_is_lost_while_waits_last(void) { takes_them(5 * MS, 6 * MS); }

static void gives_back_again_and_again(void) {
  struct sigaction before = set_handler(SIGUSR1, counts);
  size_t rounds = times(2000, 100), got = 0;
  atomic_store(&handled, 0);
  atomic_store(&taken, 0);
  atomic_store(&enough, false);
  CHECK_INT(pthread_create(&sender, NULL, sends_one_at_a_time, &rounds), ==, 0);
  while (!atomic_load(&enough)) {
    if (wait_for(SIGUSR1, 1000) == SIGUSR1) got++;
    CHECK_INT(mj_signal_release(), ==, 0);
    // Either the task was told, or the program.
    atomic_store(&taken, got + (size_t)atomic_load(&handled));
  }
  CHECK_INT(pthread_join(sender, NULL), ==, 0);
  CHECK_UINT(atomic_load(&taken), ==, rounds);
  put_back(SIGUSR1, &before);
}

// ---- Runs, and their ends ----

static void is_told_and_goes_on(void* argument) {
  CHECK_INT(wait_for(SIGTERM, LONG_NS), ==, SIGTERM);
  CHECK_INT(mj_signal_release(), ==, 0);
  *(bool*)argument = true;
  mj_sleep_ns(LONG_NS);
}

static void terminates(void* argument) {
  mj_sleep_ns(MS);
  send(SIGTERM);
  while (!*(bool*)argument) mj_sleep_ns(MS);
  send(SIGTERM);
}

static void a_signal_that_a_task_waits_for_stops_no_run(void) {
  mj_scheduler* application = setup_scheduler_with_epoll();
  CHECK(application != NULL);
  bool is_told = false;
  CHECK_INT(mj_go(application, is_told_and_goes_on, &is_told, NULL), ==, 0);
  CHECK_INT(mj_go(application, terminates, &is_told, NULL), ==, 0);
  CHECK_INT(mj_run(application), ==, MJ_RUN_SIGNAL);
  CHECK(is_told);
  CHECK_INT(mj_scheduler_signal(application), ==, SIGTERM);
  mj_scheduler_destroy(application);
  CHECK(is_handled_by(SIGTERM, SIG_DFL));
}

static void stops_the_run(void* argument) {
  mj_sleep_ns(MS);
  mj_scheduler_stop(argument);
}

static void a_wait_lasts_from_run_to_run(void) {
  mj_scheduler* own = scheduler = new_scheduler();
  waiter one = {.signals = {SIGUSR1}, .count = 1, .timeout_ns = LONG_NS};
  CHECK_INT(mj_go(own, waits, &one, NULL), ==, 0);
  CHECK_INT(mj_go(own, stops_the_run, own, NULL), ==, 0);
  CHECK_INT(mj_run(own), ==, MJ_RUN_STOPPED);
  send(SIGUSR1);
  CHECK_INT(mj_run(own), ==, 0);
  CHECK_INT(one.result, ==, SIGUSR1);
  mj_scheduler_destroy(own);
}

static void a_scheduler_is_destroyed_with_a_wait(void) {
  struct sigaction before = set_handler(SIGUSR1, counts);
  for (int sends = 0; sends < 2; sends++) {
    mj_scheduler* own = new_scheduler();
    static waiter waiters[3];
    for (int i = 0; i < 3; i++) {
      waiters[i] = (waiter){.signals = {SIGUSR1, SIGUSR2}, .count = 2, .timeout_ns = LONG_NS};
      CHECK_INT(mj_go(own, waits, &waiters[i], NULL), ==, 0);
    }
    CHECK_INT(mj_go(own, stops_the_run, own, NULL), ==, 0);
    CHECK_INT(mj_run(own), ==, MJ_RUN_STOPPED);
    atomic_store(&handled, 0);
    if (sends) send(SIGUSR1);
    CHECK_INT(atomic_load(&handled), ==, 0);
    mj_scheduler_destroy(own);
    await_handled(sends);
    CHECK(is_handled_by(SIGUSR1, counts) && is_handled_by(SIGUSR2, SIG_DFL));
  }
  put_back(SIGUSR1, &before);
}

static void waits_for_an_alarm(void* argument) { *(int*)argument = wait_for(SIGALRM, MJ_FOREVER); }

static void a_run_waits_for_signals(void) {
  mj_scheduler* own = new_scheduler();
  int result = 0;
  CHECK_INT(mj_go(own, waits_for_an_alarm, &result, NULL), ==, 0);
  alarm(1);
  CHECK_INT(mj_run(own), ==, 0);
  CHECK_INT(result, ==, SIGALRM);
  mj_scheduler_destroy(own);
}

// ---- Children ----

static void gets_a_signal(void) {
  send(SIGUSR1);
  _exit(atomic_load(&handled) == 1 ? 3 : 4);
}

static void a_child_has_what_the_program_had(void) {
  waiter one;
  begin(&one, SIGUSR1, LONG_NS);
  int status = status_of_child(gets_a_signal);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
  send(SIGUSR1);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  struct sigaction before = set_handler(SIGUSR1, counts);
  atomic_store(&handled, 0);
  begin(&one, SIGUSR1, LONG_NS);
  CHECK_INT(WEXITSTATUS(status_of_child(gets_a_signal)), ==, 3);
  CHECK(!one.ended);
  send(SIGUSR1);
  CHECK_INT(result_of(&one), ==, SIGUSR1);
  put_back(SIGUSR1, &before);
}

static void forgets_a_signal(void) {
  mj_scheduler* own = new_scheduler();
  CHECK_INT(mj_go(own, waits_once, NULL, NULL), ==, 0);
  mj_run(own);
  mj_scheduler_destroy(own);
  sleep(5); // Another thread may be the one that gets it.
  _exit(5);
}

static void a_signal_that_nobody_waits_for_any_more_ends_the_process(void) {
  int status = status_of_child(forgets_a_signal);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
}

// Of a thread that is not the main one the system believes less.
static void* forgets_on_a_thread(void* unused) {
  forgets_a_signal();
  return unused;
}

static void forgets_a_signal_on_a_thread(void) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, forgets_on_a_thread, NULL), ==, 0);
  pthread_join(thread, NULL);
}

static void also_where_the_scheduler_is_another_threads(void) {
  int status = status_of_child(forgets_a_signal_on_a_thread);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
}

static void goes_on_with_the_run(void* argument) {
  (void)argument;
  CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
  send(SIGUSR1);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    // Pending signals are the parent's.
    CHECK_INT(wait_for(SIGUSR1, 0), ==, -ETIMEDOUT);
    send(SIGUSR1);
    CHECK_INT(wait_for(SIGUSR1, LONG_NS), ==, SIGUSR1);
    fflush(NULL);
    _exit(6);
  }
  CHECK_INT(wait_for(SIGUSR1, LONG_NS), ==, SIGUSR1);
  CHECK_INT(WEXITSTATUS(status_of(child)), ==, 6);
}

static void a_child_goes_on_with_the_run(void) {
  mj_scheduler* own = new_scheduler();
  CHECK_INT(mj_go(own, goes_on_with_the_run, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(own), ==, 0);
  mj_scheduler_destroy(own);
}

int main(void) {
  if (emulated()) {
    fprintf(stderr, "the emulator has signals of its own, and does not tell of all: some waits never end there\n");
    return check_skipped;
  }
  // Who has started this may have had some ignored, as a shell does in the background.
  for (int number = 1; number <= 64; number++) signal(number, SIG_DFL);
  mj_log_set_level(MJ_LOG_WARN);
  RUN_IN_TASK(a_task_is_told_of_a_signal);
  RUN_IN_TASK(a_task_is_told_the_value);
  RUN_IN_TASK(a_task_is_told_of_a_child);
  RUN_IN_TASK(a_timer_is_no_process);
  RUN_IN_TASK(what_cannot_be_waited_for_is_refused);
  RUN(outside_a_task_it_is_refused);
  RUN_IN_TASK(all_that_can_be_had_are);
  RUN_IN_TASK(errno_is_kept);
  RUN_IN_TASK(no_wake_ends_a_wait);
  RUN_IN_TASK(a_signal_between_two_waits_is_kept);
  RUN_IN_TASK(the_dispositions_are_put_back);
  RUN_IN_TASK(what_the_program_has_set_meanwhile_stays);
  RUN_IN_TASK(a_handler_that_passes_on_never_goes_in_circles);
  RUN_IN_TASK(another_set_takes_the_place);
  RUN_IN_TASK(a_signal_that_nobody_has_taken_is_not_lost);
  RUN_IN_TASK(all_waiters_are_told);
  RUN(all_schedulers_are_told);
  RUN_IN_TASK(masks_of_threads_do_not_matter);
  RUN_IN_TASK(a_signal_comes_before_the_cancellation);
  RUN_IN_TASK(none_is_lost_while_waits_time_out);
  RUN_IN_TASK(none_is_lost_while_waits_last);
  RUN_IN_TASK(gives_back_again_and_again);
  RUN(a_wait_lasts_from_run_to_run);
  RUN(a_scheduler_is_destroyed_with_a_wait);
  RUN(a_run_waits_for_signals);
  RUN_IN_TASK(a_child_has_what_the_program_had);
  RUN(a_signal_that_nobody_waits_for_any_more_ends_the_process);
  RUN(also_where_the_scheduler_is_another_threads);
  // In a child ThreadSanitizer keeps a signal back until the thread calls something that it knows.
  if (!sanitized()) RUN(a_child_goes_on_with_the_run);
  // Last: it has an alternate stack, which valgrind writes to even after it is gone.
  RUN(a_signal_that_a_task_waits_for_stops_no_run);
  return 0;
}
