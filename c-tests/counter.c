// The cycle counter jumps, stands still, or changes its pace, as it does when a machine was hibernated
// or a virtual machine restored or moved. It is emulated: reading it raises a signal here (PR_SET_TSC
// of prctl(2)), and the handler gives what the test wants. Timers and descriptors must be served all
// the same while tasks are ready, and the metrics must be no more than the clock allows.
#define _GNU_SOURCE
#include "check.h"
#include "pipes.h"

#if !defined __x86_64__

int main(void) {
  puts("only x86-64 can emulate the counter; the unit tests of engine/time and measure do it elsewhere");
  return check_skipped;
}

#else

#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <time.h>
#include <ucontext.h>
#include <x86intrin.h>

#define MS 1000000ull

// ---- The emulated counter ----

// What happens to the counter.
typedef enum event {
  NOTHING,
  GOES_BACK,
  GOES_BACK_A_LITTLE,
  GOES_AHEAD,
  GOES_AHEAD_A_LITTLE,
  STANDS_STILL,
  SLOWS_DOWN,
  HURRIES,
  EVENTS,
} event;

static struct {
  event event;
  unsigned long reads;       // how often it was read
  unsigned long happens_at;  // before which reading
  uint64_t ticks_then;
} counter;

static uintptr_t vdso;

static uint64_t emulate(uint64_t ticks) {
  if (counter.reads < counter.happens_at) return ticks;
  if (counter.reads == counter.happens_at) counter.ticks_then = ticks;
  uint64_t since = ticks - counter.ticks_then;
  switch (counter.event) {
    case GOES_BACK: return (1ull << 20) + since;
    case GOES_BACK_A_LITTLE: return ticks - (1ull << 30);
    case GOES_AHEAD: return ticks + (1ull << 60);
    case GOES_AHEAD_A_LITTLE: return ticks + (1ull << 30);
    case STANDS_STILL: return counter.ticks_then;
    case SLOWS_DOWN: return counter.ticks_then + since / 100;
    case HURRIES: return counter.ticks_then + since * 4;
    default: return ticks;
  }
}

// The C library's clock_gettime(), in the vDSO, gets the real counter.
static void on_read(int number, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uint8_t* code = (const uint8_t*)registers[REG_RIP];
  bool is_rdtsc = code[0] == 0x0f && code[1] == 0x31;
  bool is_rdtscp = code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9;
  (void)number;
  (void)info;
  if (!is_rdtsc && !is_rdtscp) {
    signal(SIGSEGV, SIG_DFL);
    return;
  }
  prctl(PR_SET_TSC, PR_TSC_ENABLE);
  uint64_t ticks = __rdtsc();
  prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
  if ((uintptr_t)code - vdso >= 0x4000) {
    ticks = emulate(ticks);
    counter.reads++;
  }
  registers[REG_RAX] = (uint32_t)ticks;
  registers[REG_RDX] = (greg_t)(ticks >> 32);
  if (is_rdtscp) registers[REG_RCX] = 0;
  registers[REG_RIP] += is_rdtsc ? 2 : 3;
}

static bool emulate_counter(void) {
  struct sigaction action = {.sa_sigaction = on_read, .sa_flags = SA_SIGINFO | SA_NODEFER};
  vdso = getauxval(AT_SYSINFO_EHDR);
  CHECK_INT(sigaction(SIGSEGV, &action, NULL), ==, 0);
  return prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0;
}

// Lets the event happen before the reading after `readings` more.
static void expect(event event, unsigned long readings) {
  counter.event = event;
  counter.happens_at = counter.reads + readings;
}

// ---- Tasks ----

static int ends[2];
static unsigned served, wanted;
static uint64_t gives_up_at_ns;

static void begin_to_serve(unsigned count) {
  served = 0;
  wanted = count;
  // What is lost would be lost for weeks.
  gives_up_at_ns = now_ns() + 20000 * MS;
}

// Something is ready all the time.
static void is_busy(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (served < wanted) {
    CHECK(now_ns() < gives_up_at_ns);
    mj_task_yield();
  }
  mj_task_exit();
}

static void sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    uint64_t begin = now_ns();
    CHECK_INT(mj_sleep_ns(MS / 2), ==, 0);
    CHECK_UINT(now_ns() - begin, >=, MS / 2);
    served++;
  }
  mj_task_exit();
}

static void reads(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    mj_task_wait_readable(ends[0]);
    take_byte(ends[0]);
    served++;
  }
  mj_task_exit();
}

static void* writes(void* user_state) {
  for (int i = 0; i < 3; i++) {
    usleep(700);
    put_byte(ends[1]);
  }
  return user_state;
}

// The metrics are no more than the clock allows.
static void check_metrics(mj_scheduler* scheduler, uint64_t elapsed_ns) {
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->total_execution_time_ns, <=, elapsed_ns);
  CHECK_UINT(metrics->max_execution_time_ns, <=, metrics->total_execution_time_ns);
  CHECK_UINT(metrics->min_execution_time_ns, <=, metrics->max_execution_time_ns);
  CHECK_UINT(metrics->total_loop_time_ns, <=, elapsed_ns);
}

// ---- Tests ----

// Runs with an event before the n-th reading of the counter.
static void run_with(event event, unsigned long reading, uint64_t awake_us) {
  open_pipe(ends);
  mj_scheduler* scheduler = new_scheduler();
  uint64_t begin = now_ns();
  if (awake_us > 0) usleep((useconds_t)awake_us);
  begin_to_serve(6);
  add_task(scheduler, is_busy, NULL);
  add_task(scheduler, sleeps, NULL);
  add_task(scheduler, reads, NULL);
  pthread_t writer;
  prctl(PR_SET_TSC, PR_TSC_ENABLE);
  CHECK_INT(pthread_create(&writer, NULL, writes, NULL), ==, 0);
  prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
  expect(event, reading);
  mj_scheduler_run(scheduler);
  CHECK_UINT(served, ==, wanted);
  check_metrics(scheduler, now_ns() - begin);
  CHECK_INT(pthread_join(writer, NULL), ==, 0);
  mj_scheduler_destroy(scheduler);
  close_both(ends);
}

static void whatever_the_counter_does_all_is_served(void) {
  for (event event = NOTHING; event < EVENTS; event++) {
    for (unsigned long reading = 0; reading < 24; reading++) run_with(event, reading, 0);
    // The rate of the counter is known.
    for (unsigned long reading = 0; reading < 6; reading++) run_with(event, 1 + 31 * reading, 3000);
  }
}

static void computes_a_little(void) {
  uint64_t end = now_ns() + MS / 100;
  while (now_ns() < end) {
  }
  CHECK(now_ns() < gives_up_at_ns);
}

static unsigned long busy_turns;

static void computes_while_others_sleep(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (served < wanted) {
    computes_a_little();
    busy_turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

// The loop is due after the one in which the counter has jumped, and not when the clock is
// asked, many turns later.
static void a_jump_ends_the_round(void) {
  static const event jumps[] = {GOES_BACK, GOES_BACK_A_LITTLE, GOES_AHEAD, GOES_AHEAD_A_LITTLE};
  for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
    for (unsigned long reading = 0; reading < 16; reading++) {
      mj_scheduler* scheduler = new_scheduler();
      usleep(2000);
      begin_to_serve(3);
      busy_turns = 0;
      add_task(scheduler, sleeps, NULL);
      add_task(scheduler, computes_while_others_sleep, NULL);
      expect(jumps[i], reading);
      mj_scheduler_run(scheduler);
      // Three sleeps of half a millisecond, and turns of more than 10 microseconds.
      CHECK_UINT(busy_turns, <, 200);
      mj_scheduler_destroy(scheduler);
    }
  }
}

// ---- Without a jump: the clock is asked, and that after so many turns at the latest

enum { TURNS_UNASKED = 256 };

static bool asks_for_a_byte;
static unsigned long asked_at, longest_in_turns;

static void computes_and_writes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (served < wanted) {
    computes_a_little();
    if (asks_for_a_byte) {
      put_byte(ends[1]);
      asks_for_a_byte = false;
      asked_at = busy_turns;
    }
    busy_turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void was_due_at(unsigned long turn) {
  if (busy_turns - turn > longest_in_turns) longest_in_turns = busy_turns - turn;
  served++;
}

// Due before the other task has had one turn.
static void sleeps_for_a_moment(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    unsigned long turn = busy_turns;
    CHECK_INT(mj_sleep_ns(1000), ==, 0);
    was_due_at(turn);
  }
  mj_task_exit();
}

static void reads_what_it_asks_for(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 3; i++) {
    asks_for_a_byte = true;
    mj_task_wait_readable(ends[0]);
    take_byte(ends[0]);
    was_due_at(asked_at);
  }
  mj_task_exit();
}

static void another_pace_delays_by_some_turns_at_most(void) {
  static const event paces[] = {STANDS_STILL, SLOWS_DOWN, HURRIES};
  open_pipe(ends);
  for (size_t i = 0; i < sizeof paces / sizeof *paces; i++) {
    for (unsigned long reading = 0; reading < 8; reading++) {
      mj_scheduler* scheduler = new_scheduler();
      usleep(2000);
      begin_to_serve(6);
      busy_turns = longest_in_turns = 0;
      add_task(scheduler, sleeps_for_a_moment, NULL);
      add_task(scheduler, reads_what_it_asks_for, NULL);
      add_task(scheduler, computes_and_writes, NULL);
      expect(paces[i], reading);
      mj_scheduler_run(scheduler);
      // And the turns of the others, by which it may be later.
      CHECK_UINT(longest_in_turns, <=, TURNS_UNASKED + 2);
      mj_scheduler_destroy(scheduler);
    }
  }
  close_both(ends);
}

static event jump;

static void computes(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 5; i++) {
    uint64_t begin = now_ns();
    if (i == 2) expect(jump, 0);
    while (now_ns() < begin + 3 * MS) {
    }
    mj_task_yield();
  }
  mj_task_exit();
}

// A turn in which the counter jumps has some length that is possible, and the others have theirs. Beside other
// programs this one may stand still for a while, which is a long turn: then it is tried again, but not for ever.
static void a_jump_in_a_long_turn_is_not_measured(void) {
  static const event jumps[] = {GOES_BACK, GOES_BACK_A_LITTLE, GOES_AHEAD, GOES_AHEAD_A_LITTLE};
  size_t seen = 0;
  for (size_t i = 0, tries = 0; i < sizeof jumps / sizeof *jumps && tries < 200; tries++) {
    jump = jumps[i];
    expect(NOTHING, 0);
    mj_scheduler* scheduler = new_scheduler();
    uint64_t begin = now_ns();
    add_task(scheduler, computes, NULL);
    mj_scheduler_run(scheduler);
    uint64_t lasted_ns = now_ns() - begin;
    check_metrics(scheduler, lasted_ns);
    // Four turns of 3 ms are whole, and none is as long as all of them.
    const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
    CHECK_UINT(metrics->total_execution_time_ns, >=, 10 * MS);
    if (lasted_ns < 18 * MS) {
      CHECK_UINT(metrics->max_execution_time_ns, <, 7 * MS);
      seen++;
      i++;
    }
    mj_scheduler_destroy(scheduler);
  }
  if (seen < sizeof jumps / sizeof *jumps) puts("the machine was too busy to see all jumps");
}

int main(void) {
  // Their runtimes read the counter, too, and have handlers of their own.
  if (sanitized()) return 0;
  mj_log_set_level(MJ_LOG_WARN);
  if (!emulate_counter()) {
    puts("the counter cannot be emulated here: PR_SET_TSC is refused");
    return check_skipped;
  }
  RUN(whatever_the_counter_does_all_is_served);
  RUN(a_jump_ends_the_round);
  RUN(another_pace_delays_by_some_turns_at_most);
  RUN(a_jump_in_a_long_turn_is_not_measured);
  return 0;
}

#endif
