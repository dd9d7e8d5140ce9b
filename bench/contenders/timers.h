// Rows 3 and 4 for event loops: timers with a callback, and no task behind them. The includer says before what a
// timer is:
//
//   struct timer                      one timer
//   timers_begin(), timers_end()      a loop to put timers in
//   timer_start(timer, ns)            makes it call `expired` once
//   timer_stop(timer)
//   run_timers()                      returns when no timer is left
#ifndef TIMERS_H
#define TIMERS_H

#include "contender.h"

static uint64_t expired_count;
static uint64_t first_expired_ns;

static void test_timers(void) {
  uint64_t count = argument("count"), rounds = argument("rounds"), cancel = argument("cancel");
  uint64_t least_ns = argument("least_ns"), spread_ns = argument("spread_ns"), work = 0;
  uint64_t *delays_ns = random_delays(count, least_ns, spread_ns);
  uint32_t *order = random_order(count);
  struct timer *timers = calloc(count, sizeof *timers);
  double insert = 0, expire = 0, pop = 0;
  if (timers == NULL) fail("memory");
  memset(timers, 1, count * sizeof *timers);  // The memory is there when the clock starts.
  memset(timers, 0, count * sizeof *timers);
  timers_begin();
  for (uint64_t round = 0; round < rounds; round++) {
    expired_count = 0;
    uint64_t began_wall = wall_ns(), began = cpu_ns();
    for (uint64_t i = 0; i < count; i++) timer_start(&timers[i], delays_ns[i]);
    uint64_t inserted = cpu_ns(), due;
    if (wall_ns() - began_wall >= least_ns) fail("too slow");
    if (cancel) {
      due = cpu_ns();
      for (uint64_t i = 0; i < count; i++) timer_stop(&timers[order[i]]);
      run_timers();
      if (expired_count > 0) fail("a stopped timer expired");
      work += count;
    } else {
      PASS_TIME(least_ns + spread_ns + 2000000);
      due = cpu_ns();
      run_timers();
      work += expired_count;
      pop += (double)(first_expired_ns - due);
    }
    uint64_t ended = cpu_ns();
    insert += (double)(inserted - began);
    expire += (double)(ended - due);
  }
  timers_end();
  double each = (double)(count * rounds);
  report("work", (double)work);
  report("insert_ns", insert / each);
  report("pop_ns", pop / each);
  report(cancel ? "cancel_ns" : "expire_ns", expire / each);
  report("whole_ns", (insert + expire) / each);
}

static inline void expired(void) {
  if (expired_count++ == 0) first_expired_ns = cpu_ns();
}

#endif
