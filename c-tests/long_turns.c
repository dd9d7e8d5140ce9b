// Turns that are too long, reported while they last: mj_scheduler_report_long_turns().
#define _GNU_SOURCE
#include "check.h"
#include "child.h"
#include "no_threads.h"
#include "watchdog.h"

#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define MS UINT64_C(1000000)

// ---- the log, which the watchdog writes to on its own thread

enum { most_lines = 400 };
static struct {
  pthread_mutex_t lock;
  char texts[most_lines][512];
  size_t count;
  pthread_t last_writer;
} lines = {.lock = PTHREAD_MUTEX_INITIALIZER};
// Reports so far.
static atomic_size_t reports;

static void take_line(mj_log_level level, const char* message, void* user_data) {
  (void)user_data;
  if (level < MJ_LOG_WARN) return;
  pthread_mutex_lock(&lines.lock);
  CHECK_INT(lines.count, <, most_lines);
  snprintf(lines.texts[lines.count++], sizeof lines.texts[0], "%s", message);
  lines.last_writer = pthread_self();
  pthread_mutex_unlock(&lines.lock);
  if (strstr(message, "without suspending") != NULL) atomic_fetch_add(&reports, 1);
}

static void begin_lines(void) {
  pthread_mutex_lock(&lines.lock);
  lines.count = 0;
  pthread_mutex_unlock(&lines.lock);
  atomic_store(&reports, 0);
  mj_log_set_callback(NULL, NULL);  // A new receiver gets all lines up to the limit.
  mj_log_set_callback(take_line, NULL);
}

// How many lines have a text in them.
static size_t lines_with(const char* text) {
  size_t count = 0;
  pthread_mutex_lock(&lines.lock);
  for (size_t i = 0; i < lines.count; i++) count += strstr(lines.texts[i], text) != NULL;
  pthread_mutex_unlock(&lines.lock);
  return count;
}

// ---- the watchdog's thread

static unsigned long switches_of(int thread) {
  char path[64], line[200];
  snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
  FILE* file = fopen(path, "r");
  CHECK(file != NULL);
  unsigned long count = 0, all = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "voluntary_ctxt_switches: %lu", &count) == 1 ||
        sscanf(line, "nonvoluntary_ctxt_switches: %lu", &count) == 1) {
      all += count;
    }
  }
  fclose(file);
  return all;
}

// ---- turns

static void spin_ns(uint64_t ns) {
  for (uint64_t end = now_ns() + ns; now_ns() < end;) {
  }
}

// Where the program's addresses are relative to.
static int take_base(struct dl_phdr_info* info, size_t size, void* base) {
  (void)size;
  *(uintptr_t*)base = info->dlpi_addr;
  return 1;
}

// One turn, until so many reports were written.
__attribute__((noinline)) static void keeps_the_thread(size_t until) {
  while (atomic_load(&reports) < until) now_ns();
}

// Whether a stack that was written has a call by keeps_the_thread(), or is in it.
static bool is_in_a_stack(void) {
  uintptr_t base = 0, start = (uintptr_t)&keeps_the_thread;
  dl_iterate_phdr(take_base, &base);
  bool found = false;
  pthread_mutex_lock(&lines.lock);
  for (size_t i = 0; i < lines.count; i++) {
    if (strncmp(lines.texts[i], "stack of task ", 14) != 0) continue;
    for (const char* at = lines.texts[i]; (at = strstr(at, "+0x")) != NULL; at++) {
      uintptr_t address = base + strtoull(at + 1, NULL, 16);
      if (address >= start && address < start + 400) found = true;
    }
  }
  pthread_mutex_unlock(&lines.lock);
  return found;
}

static bool has_stack(void) { return lines_with("stack of task ") > 0; }

// The stack is written behind the line that ends the turn. Valgrind gives the thread its signal when it comes to
// it: on a busy machine after the second for which a stack is waited for.
static void await(bool (*happened)(void)) {
  if (under_valgrind()) return;
  for (int i = 0; i < 20000 && !happened(); i++) usleep(1000);
  CHECK(happened());
}

// A scheduler whose long turns are reported.
static mj_scheduler* watched(uint64_t ns) {
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_scheduler_report_long_turns(scheduler, ns), ==, 0);
  return scheduler;
}

static void run_and_destroy(mj_scheduler* scheduler) {
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

static mj_task* spawn(mj_scheduler* scheduler, mj_go_fn function, void* argument) {
  mj_task_id id;
  CHECK_INT(mj_go(scheduler, function, argument, &id), ==, 0);
  return mj_task_find(scheduler, id);
}

static uint64_t long_turns(mj_scheduler* scheduler) {
  return mj_scheduler_get_metrics(scheduler)->long_turns;
}

// ---- tests

static uint64_t began_ns;

static void is_reported_once(void* argument) {
  (void)argument;
  char id[32];
  snprintf(id, sizeof id, "0x%llx", (unsigned long long)mj_task_get_id(mj_task_current()));
  errno = 1234;
  keeps_the_thread(1);
  CHECK_UINT(now_ns() - began_ns, >=, 10 * MS);
  CHECK_INT(errno, ==, 1234);
  spin_ns(100 * MS);
  CHECK_INT(atomic_load(&reports), ==, 1);
  CHECK_INT(lines_with("\"slow one\" has kept its thread for "), ==, 1);
  CHECK_INT(lines_with("the limit of 10 ms"), ==, 1);
  CHECK_INT(lines_with(id), ==, lines_with(""));
}

static void a_long_turn_is_reported_while_it_lasts(void) {
  begin_lines();
  mj_scheduler* scheduler = watched(10 * MS);
  mj_task_set_name(spawn(scheduler, is_reported_once, NULL), "slow one");
  began_ns = now_ns();
  mj_scheduler_run(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 1);
  CHECK(!pthread_equal(lines.last_writer, pthread_self()));
  await(is_in_a_stack);
  mj_scheduler_reset_metrics(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void yields_for_a_while(void* argument) {
  for (uint64_t end = now_ns() + *(uint64_t*)argument; now_ns() < end;) mj_task_yield();
}

static void short_turns_are_not(void) {
  begin_lines();
  // All turns together are longer than the limit.
  mj_scheduler* scheduler = watched(1000 * MS);
  uint64_t ns = 2500 * MS;
  spawn(scheduler, yields_for_a_while, &ns);
  mj_scheduler_run(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 0);
  CHECK_INT(lines_with("without suspending"), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static int pipe_ends[2];

static void* writes_when_reported(void* argument) {
  (void)argument;
  while (atomic_load(&reports) == 0) usleep(1000);
  CHECK_INT(write(pipe_ends[1], "x", 1), ==, 1);
  return NULL;
}

static void blocks_in_read(void* argument) {
  (void)argument;
  char byte;
  CHECK_INT(read(pipe_ends[0], &byte, 1), ==, 1);  // It goes on behind the signal.
}

static void a_call_that_blocks_is_reported(void) {
  begin_lines();
  CHECK_INT(pipe(pipe_ends), ==, 0);
  pthread_t writer;
  CHECK_INT(pthread_create(&writer, NULL, writes_when_reported, NULL), ==, 0);
  mj_scheduler* scheduler = watched(10 * MS);
  mj_task_set_name(spawn(scheduler, blocks_in_read, NULL), "reader");
  run_and_destroy(scheduler);
  pthread_join(writer, NULL);
  CHECK_INT(lines_with("has kept its thread"), ==, 1);
  // ThreadSanitizer calls the handler when the call has ended.
  if (!under_tsan()) {
    CHECK_INT(lines_with("\"reader\" has kept"), ==, 1);
    await(has_stack);
  }
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

static void spins_for_100_ms(void* argument) {
  (void)argument;
  spin_ns(100 * MS);
}

static void off_is_off(void) {
  wait_until_it_is_gone();
  begin_lines();
  mj_scheduler* scheduler = watched(1 * MS);
  CHECK_INT(mj_scheduler_report_long_turns(scheduler, 0), ==, 0);
  spawn(scheduler, spins_for_100_ms, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 0);
  CHECK_INT(lines_with(""), ==, 0);
  CHECK_INT(watchdog_thread(), ==, 0);
  mj_scheduler_destroy(scheduler);
}

static void switches_it_on_and_off(void* argument) {
  mj_scheduler* scheduler = argument;
  spin_ns(50 * MS);
  CHECK_INT(atomic_load(&reports), ==, 0);
  CHECK_INT(mj_scheduler_report_long_turns(scheduler, 5 * MS), ==, 0);
  keeps_the_thread(1);
  CHECK_INT(mj_scheduler_report_long_turns(scheduler, 0), ==, 0);
  mj_task_yield();
  spin_ns(50 * MS);
  CHECK_INT(atomic_load(&reports), ==, 1);
}

static void a_task_can_switch_it(void) {
  begin_lines();
  mj_scheduler* scheduler = new_scheduler();
  spawn(scheduler, switches_it_on_and_off, scheduler);
  mj_scheduler_run(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 1);
  mj_scheduler_destroy(scheduler);
}

static void* sees_no_switches(void* argument) {
  (void)argument;
  // One window without a switch is enough: while the machine is busy the task may fall asleep late.
  for (int windows = 0; windows < 40; windows++) {
    int thread = watchdog_thread();
    if (thread != 0) {
      unsigned long before = switches_of(thread);
      usleep(300000);
      if (switches_of(thread) == before) {
        CHECK_INT(write(pipe_ends[1], "x", 1), ==, 1);
        return NULL;
      }
    }
  }
  CHECK(!"it wakes up though all sleep");
  return NULL;
}

static void waits_and_is_long_then(void* argument) {
  (void)argument;
  char byte;
  CHECK_INT(mj_read(pipe_ends[0], &byte, 1, LONG_NS), ==, 1);
  keeps_the_thread(1);
}

static void an_idle_process_is_not_woken(void) {
  begin_lines();
  CHECK_INT(pipe(pipe_ends), ==, 0);
  mj_scheduler* scheduler = watched(2 * MS);
  spawn(scheduler, waits_and_is_long_then, NULL);
  pthread_t other;
  CHECK_INT(pthread_create(&other, NULL, sees_no_switches, NULL), ==, 0);
  run_and_destroy(scheduler);
  pthread_join(other, NULL);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

// How many turns of the scheduler were counted before this one.
static atomic_uint_fast64_t counted;

// Lasts until it has been counted.
static void is_counted(void* argument) {
  mj_scheduler* scheduler = argument;
  while (long_turns(scheduler) == atomic_load(&counted)) now_ns();
  atomic_store(&counted, long_turns(scheduler));
}

static void reports_are_limited(void) {
  begin_lines();
  atomic_store(&counted, 0);
  mj_scheduler* scheduler = watched(1 * MS);
  for (int i = 0; i < 60; i++) spawn(scheduler, is_counted, scheduler);
  mj_scheduler_run(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 60);
  // The last one may be on its way.
  CHECK_INT(lines_with("without suspending"), >=, 19);
  CHECK_INT(lines_with("without suspending"), <, 50);
  mj_scheduler_destroy(scheduler);
}

static void lasts_until_both_are_reported(void* argument) {
  (void)argument;
  keeps_the_thread(2);
}

static void* runs_a_scheduler(void* name) {
  mj_scheduler* scheduler = watched(5 * MS);
  mj_task_set_name(spawn(scheduler, lasts_until_both_are_reported, NULL), name);
  mj_scheduler_run(scheduler);
  CHECK_UINT(long_turns(scheduler), ==, 1);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

static void two_threads_are_watched(void) {
  begin_lines();
  pthread_t other;
  CHECK_INT(pthread_create(&other, NULL, runs_a_scheduler, "there"), ==, 0);
  runs_a_scheduler("here");
  pthread_join(other, NULL);
  CHECK_INT(lines_with("\"here\" has kept"), ==, 1);
  CHECK_INT(lines_with("\"there\" has kept"), ==, 1);
}

// A scheduler that other threads run in turn.
static void* runs_it(void* argument) {
  mj_scheduler* scheduler = argument;
  spawn(scheduler, is_counted, scheduler);
  mj_scheduler_run(scheduler);
  return NULL;
}

static void a_scheduler_may_move(void) {
  begin_lines();
  atomic_store(&counted, 0);
  mj_scheduler* scheduler = watched(2 * MS);
  for (int i = 0; i < 3; i++) {
    pthread_t other;
    CHECK_INT(pthread_create(&other, NULL, runs_it, scheduler), ==, 0);
    pthread_join(other, NULL);
    runs_it(scheduler);
  }
  CHECK_UINT(long_turns(scheduler), ==, 6);
  mj_scheduler_destroy(scheduler);
}

static void spins_a_little(void* argument) { spin_ns((uintptr_t)argument); }

static void it_can_be_destroyed_at_once(void) {
  begin_lines();
  for (size_t i = 0; i < times(100, 20); i++) {
    mj_scheduler* scheduler = watched(1 * MS);
    spawn(scheduler, spins_a_little, (void*)(uintptr_t)(1 * MS + i * 20000));
    run_and_destroy(scheduler);
  }
}

static void* churns(void* argument) {
  it_can_be_destroyed_at_once();
  return argument;
}

static void threads_come_and_go(void) {
  begin_lines();
  pthread_t others[3];
  for (int i = 0; i < 3; i++) CHECK_INT(pthread_create(&others[i], NULL, churns, NULL), ==, 0);
  for (int i = 0; i < 3; i++) pthread_join(others[i], NULL);
}

static void forks_and_goes_on(void* argument) {
  (void)argument;
  keeps_the_thread(1);
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child > 0) {
    CHECK_INT(status_of(child), ==, 0);
    return;
  }
  alarm(50);
  CHECK_INT(watchdog_thread(), ==, 0);
  pthread_mutex_init(&lines.lock, NULL);  // The parent's watchdog may have been in the callback.
  atomic_store(&reports, 0);
  mj_task_sleep_ms(5);  // It goes on with the run.
  keeps_the_thread(1);
  CHECK_INT(watchdog_thread(), !=, 0);
  _exit(0);
}

static void runs_one_of_its_own(void) {
  CHECK_INT(watchdog_thread(), ==, 0);
  pthread_mutex_init(&lines.lock, NULL);
  begin_lines();
  atomic_store(&counted, 0);
  runs_it(watched(2 * MS));
  CHECK_INT(watchdog_thread(), !=, 0);
}

static void a_child_has_one_of_its_own(void) {
  begin_lines();
  mj_scheduler* scheduler = watched(5 * MS);
  spawn(scheduler, forks_and_goes_on, NULL);
  run_and_destroy(scheduler);
  CHECK_INT(status_of_child(runs_one_of_its_own), ==, 0);
}

// ---- signals

static void (*disposition(int signal))(int) {
  struct sigaction now;
  return sigaction(signal, NULL, &now) == 0 ? now.sa_handler : SIG_ERR;
}

// How many real-time signals have a handler.
static int handled(void) {
  int count = 0;
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++) {
    void (*handler)(int) = disposition(signal);
    count += handler != SIG_DFL && handler != SIG_ERR && handler != SIG_IGN;
  }
  return count;
}

static void sees_one_handler(void* argument) {
  (void)argument;
  CHECK_INT(handled(), ==, 1);
}

static atomic_int caught;
static void counts_signals(int signal) {
  (void)signal;
  atomic_fetch_add(&caught, 1);
}

static void sees_its_own_handler(void* argument) {
  int signal = *(int*)argument;
  CHECK_PTR(disposition(signal), ==, counts_signals);
  keeps_the_thread(1);
  CHECK_PTR(disposition(signal), ==, counts_signals);
}

static void the_dispositions_are_the_programs(void) {
  begin_lines();
  CHECK_INT(handled(), ==, 0);
  mj_scheduler* scheduler = watched(5 * MS);
  spawn(scheduler, sees_one_handler, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(handled(), ==, 0);
  mj_scheduler_destroy(scheduler);
  // One that the program has chosen, and handles itself: it gets none of the library's.
  int chosen = SIGRTMIN + 3;
  CHECK_INT(mj_set_long_turn_signal(chosen), ==, 0);
  struct sigaction action = {.sa_handler = counts_signals};
  CHECK_INT(sigaction(chosen, &action, NULL), ==, 0);
  scheduler = watched(5 * MS);
  spawn(scheduler, sees_its_own_handler, &chosen);
  run_and_destroy(scheduler);
  CHECK_INT(lines_with("without names and stacks"), ==, 1);
  CHECK_INT(lines_with("its stack cannot be seen"), ==, 1);
  CHECK_INT(atomic_load(&caught), ==, 0);
  CHECK_PTR(disposition(chosen), ==, counts_signals);
  action.sa_handler = SIG_DFL;
  CHECK_INT(sigaction(chosen, &action, NULL), ==, 0);
  // With the default disposition it is used.
  begin_lines();
  atomic_store(&counted, 0);
  scheduler = watched(5 * MS);
  spawn(scheduler, is_counted, scheduler);
  run_and_destroy(scheduler);
  CHECK_INT(lines_with("without names and stacks"), ==, 0);
  CHECK_INT(handled(), ==, 0);
  CHECK_INT(mj_set_long_turn_signal(0), ==, 0);
}

static void takes_the_signal_over(void* argument) {
  int signal = *(int*)argument;
  struct sigaction action = {.sa_handler = counts_signals};
  CHECK_INT(sigaction(signal, &action, NULL), ==, 0);
  keeps_the_thread(1);
}

static void a_handler_that_is_set_in_the_run_stays(void) {
  begin_lines();
  int chosen = SIGRTMIN + 4;
  CHECK_INT(mj_set_long_turn_signal(chosen), ==, 0);
  mj_scheduler* scheduler = watched(50 * MS);
  spawn(scheduler, takes_the_signal_over, &chosen);
  run_and_destroy(scheduler);
  CHECK_INT(atomic_load(&caught), ==, 0);
  CHECK_PTR(disposition(chosen), ==, counts_signals);
  struct sigaction action = {.sa_handler = SIG_DFL};
  CHECK_INT(sigaction(chosen, &action, NULL), ==, 0);
  CHECK_INT(mj_set_long_turn_signal(0), ==, 0);
}

static void holds_signals_off(void* argument) {
  (void)argument;
  sigset_t all;
  sigfillset(&all);
  CHECK_INT(pthread_sigmask(SIG_BLOCK, &all, NULL), ==, 0);
  keeps_the_thread(1);
}

static void a_signal_that_is_held_off_does_no_harm(void) {
  begin_lines();
  sigset_t before;
  CHECK_INT(pthread_sigmask(SIG_BLOCK, NULL, &before), ==, 0);
  mj_scheduler* scheduler = watched(5 * MS);
  spawn(scheduler, holds_signals_off, NULL);
  run_and_destroy(scheduler);
  CHECK_INT(lines_with("its stack cannot be seen"), ==, 1);
  CHECK_INT(handled(), ==, 0);
  // The default effect would end the process.
  CHECK_INT(pthread_sigmask(SIG_SETMASK, &before, NULL), ==, 0);
}

// On an alternate stack, where the task's stack is not to be seen.
static void keeps_the_thread_in_a_handler(int signal) {
  (void)signal;
  keeps_the_thread(1);
}

static void raises(void* argument) {
  (void)argument;
  raise(SIGUSR1);
}

static void a_handler_of_the_program_is_reported_too(void) {
  begin_lines();
  struct sigaction action = {.sa_handler = keeps_the_thread_in_a_handler, .sa_flags = SA_ONSTACK};
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
  mj_scheduler* scheduler = watched(5 * MS);
  spawn(scheduler, raises, NULL);
  run_and_destroy(scheduler);
  if (!under_tsan()) await(has_stack);
  action.sa_handler = SIG_DFL;
  CHECK_INT(sigaction(SIGUSR1, &action, NULL), ==, 0);
}

// ---- no thread for it

static void spins_for_long(void* unused) {
  (void)unused;
  spin_ns(5 * MS);
}

static void can_have_no_watchdog(void) {
  pthread_mutex_init(&lines.lock, NULL);
  begin_lines();
  atomic_store(&no_threads, true);
  mj_scheduler* scheduler = watched(1 * MS);
  spawn(scheduler, spins_for_long, NULL);
  run_and_destroy(scheduler);
  CHECK_INT(threads_refused, ==, 1);
  CHECK_INT(lines_with("long turns are not reported"), ==, 1);
  CHECK_INT(lines_with("without suspending"), ==, 0);
}

static void without_a_thread_it_says_so(void) { CHECK_INT(status_of_child(can_have_no_watchdog), ==, 0); }

// ---- misuse

static void* calls_from_elsewhere(void* argument) {
  CHECK_INT(mj_scheduler_report_long_turns(argument, MS), ==, -EPERM);
  CHECK_INT(mj_set_long_turn_signal(0), ==, -EBUSY);
  return NULL;
}

static void is_called_from_elsewhere(void* argument) {
  pthread_t other;
  CHECK_INT(pthread_create(&other, NULL, calls_from_elsewhere, argument), ==, 0);
  pthread_join(other, NULL);
}

static void wrong_calls_are_errors(void) {
  begin_lines();
  CHECK_INT(mj_scheduler_report_long_turns(NULL, MS), ==, -EINVAL);
  CHECK_INT(mj_set_long_turn_signal(SIGUSR1), ==, -EINVAL);
  CHECK_INT(mj_set_long_turn_signal(-1), ==, -EINVAL);
  CHECK_INT(mj_set_long_turn_signal(SIGRTMAX + 1), ==, -EINVAL);
  mj_scheduler* scheduler = watched(UINT64_MAX);
  spawn(scheduler, is_called_from_elsewhere, scheduler);
  run_and_destroy(scheduler);
}

int main(void) {
  RUN(a_long_turn_is_reported_while_it_lasts);
  RUN(short_turns_are_not);
  RUN(a_call_that_blocks_is_reported);
  RUN(off_is_off);
  RUN(a_task_can_switch_it);
  RUN(an_idle_process_is_not_woken);
  RUN(reports_are_limited);
  RUN(two_threads_are_watched);
  RUN(a_scheduler_may_move);
  RUN(it_can_be_destroyed_at_once);
  RUN(threads_come_and_go);
  // Valgrind has the C library's memory of the parent's thread for lost in the child, and
  // ThreadSanitizer lets a child of a process with threads make none.
  // The emulator fails when a child of a program with threads makes one.
  if (!under_valgrind() && !under_tsan() && !emulated()) {
    RUN(a_child_has_one_of_its_own);
    if (!IS_TAKEN) RUN(without_a_thread_it_says_so);
  }
  RUN(the_dispositions_are_the_programs);
  RUN(a_handler_that_is_set_in_the_run_stays);
  RUN(a_signal_that_is_held_off_does_no_harm);
  RUN(a_handler_of_the_program_is_reported_too);
  RUN(wrong_calls_are_errors);
  wait_until_it_is_gone();
}
