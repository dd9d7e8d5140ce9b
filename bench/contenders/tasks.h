// Rows 1 to 5 for contenders written in C or C++ whose tasks have stacks: the same tasks for each. The includer
// says before what a task is:
//
//   TASK(name) { ... TASK_END; }   defines a task's body
//   task_body, task_handle         the types of a body and of what names a task that lives
//   task_spawn(body)               adds a task behind those that are ready
//   task_yield()                   lets those that are ready run
//   task_sleep(ns)
//   task_wake(handle)              ends a sleep early; CAN_WAKE says whether there is such a thing
//   run_tasks(body)                runs a task and all that it spawns until they have ended
//
// Bodies take no argument, since not all contenders own theirs alike: a task's number is how many have started
// before it.
#ifndef TASKS_H
#define TASKS_H

#include "contender.h"

// ---- row 1: yield

static struct {
  uint64_t tasks, rounds;       // asked for
  uint64_t bodies;              // how many different ones
  uint64_t started, yields;     // done
  uint64_t last, alone;         // who had the turn before; how often it was the task itself
  uint64_t begin_yields, begin_ns, end_yields, end_ns;
  uint64_t body_uses[16];
} ring;

// What each task does. The first one measures, from its first resumption to its last.
static inline __attribute__((always_inline)) void take_turns(int body) {
  uint64_t me = ring.started++;
  task_yield();  // Not measured: the others get their stacks.
  if (me == 0) {
    ring.begin_yields = ring.yields;
    ring.begin_ns = cpu_ns();
  }
  for (uint64_t i = 0; i < ring.rounds; i++) {
    if (ring.last == me) ring.alone++;
    ring.last = me;
    ring.yields++;
    task_yield();
  }
  if (me == 0) {
    ring.end_ns = cpu_ns();
    ring.end_yields = ring.yields;
  }
  ring.body_uses[body]++;
}

// Each body has a call of its own, at its own address, so a return is predicted only if the contender lets the
// processor predict it.
#define TURNS(n) \
  TASK(turns_##n) { \
    take_turns(n); \
    TASK_END; \
  }
TURNS(0) TURNS(1) TURNS(2) TURNS(3) TURNS(4) TURNS(5) TURNS(6) TURNS(7)
TURNS(8) TURNS(9) TURNS(10) TURNS(11) TURNS(12) TURNS(13) TURNS(14) TURNS(15)

TASK(start_ring) {
  static task_body *const bodies[16] = {
      turns_0, turns_1, turns_2,  turns_3,  turns_4,  turns_5,  turns_6,  turns_7,
      turns_8, turns_9, turns_10, turns_11, turns_12, turns_13, turns_14, turns_15,
  };
  for (uint64_t i = 0; i < ring.tasks; i++) task_spawn(bodies[i % ring.bodies]);
  TASK_END;
}

static void test_yield(void) {
  ring.tasks = argument("tasks");
  ring.bodies = argument("bodies");
  ring.rounds = argument("rounds");
  ring.last = UINT64_MAX;
  run_tasks(start_ring);
  uint64_t used = 0;
  for (int body = 0; body < 16; body++) used += ring.body_uses[body] > 0;
  if (used != (ring.bodies < ring.tasks ? ring.bodies : ring.tasks)) fail("not all bodies were used");
  report("work", (double)ring.yields);
  report("alone", (double)ring.alone);
  report("ns", (double)(ring.end_ns - ring.begin_ns) / (double)(ring.end_yields - ring.begin_yields));
}

// ---- row 2: create, run, end

enum { SPAWN_BATCH = 100 };

static struct {
  uint64_t batches, ended, began_ns, took_ns;
} trivial;

TASK(trivial_task) {
  trivial.ended++;
  TASK_END;
}

TASK(spawner) {
  for (int warm = 1; warm >= 0; warm--) {
    trivial.began_ns = cpu_ns();
    trivial.ended = 0;
    for (uint64_t batch = 1; batch <= (warm ? 1 : trivial.batches); batch++) {
      for (int i = 0; i < SPAWN_BATCH; i++) task_spawn(trivial_task);
      while (trivial.ended < batch * SPAWN_BATCH) task_yield();
    }
    trivial.took_ns = cpu_ns() - trivial.began_ns;
  }
  TASK_END;
}

static void test_spawn(void) {
  trivial.batches = argument("count") / SPAWN_BATCH;
  run_tasks(spawner);
  report("work", (double)trivial.ended);
  report("ns", (double)trivial.took_ns / (double)trivial.ended);
}

// ---- row 3: sleepers

static struct {
  uint64_t count, rounds, cancel, least_ns, spread_ns;
  uint64_t *delays_ns;
  uint32_t *order;
  task_handle *tasks;
  uint64_t started, turned, asleep, woken, ended;
  uint64_t first_woken_ns;
  double create, turn, insert, pop, wake, end;  // sums over the rounds, in nanoseconds
} sleepers;

TASK(sleeper) {
  uint64_t me = sleepers.started++;
  task_yield();  // Now it has a stack.
  sleepers.turned++;
  task_yield();
  sleepers.asleep++;
  task_sleep(sleepers.delays_ns[me]);
  if (sleepers.woken++ == 0) sleepers.first_woken_ns = cpu_ns();
  task_yield();
  sleepers.ended++;
  TASK_END;
}

static void one_round_of_sleepers(void) {
  uint64_t count = sleepers.count;
  sleepers.started = sleepers.turned = sleepers.asleep = sleepers.woken = sleepers.ended = 0;

  uint64_t began = cpu_ns();
  for (uint64_t i = 0; i < count; i++) sleepers.tasks[i] = task_spawn(sleeper);
  while (sleepers.started < count) task_yield();
  uint64_t created = cpu_ns();
  while (sleepers.turned < count) task_yield();
  uint64_t turned = cpu_ns(), began_wall = wall_ns();
  while (sleepers.asleep < count) task_yield();
  uint64_t inserted = cpu_ns();
  if (sleepers.woken > 0 || wall_ns() - began_wall >= sleepers.least_ns) fail("too slow");

  uint64_t due;
  if (sleepers.cancel) {
    due = cpu_ns();
    for (uint64_t i = 0; i < count; i++) task_wake(sleepers.tasks[sleepers.order[i]]);
    sleepers.pop += (double)(cpu_ns() - due);
    while (sleepers.woken < count) task_yield();
  } else {
    PASS_TIME(sleepers.least_ns + sleepers.spread_ns + 2000000);
    if (sleepers.woken > 0) fail("a task ran while another one did");
    due = cpu_ns();
    while (sleepers.woken < count) task_sleep(1);  // Due after all the others.
    sleepers.pop += (double)(sleepers.first_woken_ns - due);
  }
  uint64_t woken = cpu_ns();
  while (sleepers.ended < count) task_yield();
  uint64_t ended = cpu_ns();
  sleepers.create += (double)(created - began);
  sleepers.turn += (double)(turned - created);
  sleepers.insert += (double)(inserted - turned);
  sleepers.wake += (double)(woken - due);
  sleepers.end += (double)(ended - woken);
}

TASK(start_sleepers) {
  for (uint64_t round = 0; round < sleepers.rounds; round++) one_round_of_sleepers();
  TASK_END;
}

static void test_timers(void) {
  sleepers.count = argument("count");
  sleepers.rounds = argument("rounds");
  sleepers.cancel = argument("cancel");
  sleepers.least_ns = argument("least_ns");
  sleepers.spread_ns = argument("spread_ns");
  if (sleepers.cancel && !CAN_WAKE) fail("sleeps cannot be ended early");
  sleepers.delays_ns = random_delays(sleepers.count, sleepers.least_ns, sleepers.spread_ns);
  sleepers.order = random_order(sleepers.count);
  sleepers.tasks = (task_handle *)malloc(sleepers.count * sizeof *sleepers.tasks);
  run_tasks(start_sleepers);
  double each = (double)(sleepers.count * sleepers.rounds);
  report("work", (double)(sleepers.ended * sleepers.rounds));
  report("create_ns", sleepers.create / each);
  report("turn_ns", sleepers.turn / each);
  report("insert_ns", sleepers.insert / each);
  report("pop_ns", sleepers.pop / each);
  report(sleepers.cancel ? "cancel_ns" : "expire_ns", sleepers.wake / each);
  report("end_ns", sleepers.end / each);
  report("whole_ns", (sleepers.create + sleepers.insert + sleepers.wake + sleepers.end) / each);
}

// ---- row 4: lateness

static struct {
  uint64_t count, busy, done;
  int64_t *lateness_ns;
} late;

TASK(late_sleeper) {
  for (uint64_t i = 0; i < late.count; i++) {
    uint64_t length_ns = sleep_length_ns(i), began_ns = wall_ns();
    task_sleep(length_ns);
    late.lateness_ns[i] = (int64_t)(wall_ns() - began_ns - length_ns);
  }
  late.done = 1;
  TASK_END;
}

TASK(busy_yielder) {
  while (!late.done) task_yield();
  TASK_END;
}

TASK(start_late) {
  task_spawn(late_sleeper);
  if (late.busy) task_spawn(busy_yielder);
  TASK_END;
}

static void test_lateness(void) {
  late.count = argument("count");
  late.busy = argument("busy");
  late.lateness_ns = (int64_t *)malloc(late.count * sizeof *late.lateness_ns);
  run_tasks(start_late);
  report_lateness(late.lateness_ns, late.count);
}

// ---- row 5: parked tasks

static const uint64_t AN_HOUR_NS = 3600000000000u;

static struct {
  uint64_t count, started, woken;
} parked;

TASK(parked_task) {
  parked.started++;
  task_sleep(AN_HOUR_NS);
  parked.woken++;
  TASK_END;
}

TASK(start_parked) {
  uint64_t memory_before, tables_before, memory, tables;
  task_handle last = task_spawn(parked_task);
  task_yield();
  if (CAN_WAKE) {
    task_wake(last);
    task_yield();
    parked.started = parked.woken = 0;
  }
  resident_bytes(&memory_before, &tables_before);
  uint64_t began = cpu_ns();
  for (uint64_t i = 0; i < parked.count; i++) last = task_spawn(parked_task);
  uint64_t goal = CAN_WAKE ? parked.count : parked.count + 1;
  while (parked.started < goal) task_yield();
  uint64_t took = cpu_ns() - began;
  resident_bytes(&memory, &tables);
  if (CAN_WAKE) {
    task_wake(last);
    task_yield();
    if (parked.woken != 1) fail("a parked task did not wake");
  }
  report("work", (double)(parked.started - (CAN_WAKE ? 0 : 1)));
  report("ns", (double)took / (double)parked.count);
  report("bytes", ((double)memory - (double)memory_before) / (double)parked.count);
  report("page_table_bytes", ((double)tables - (double)tables_before) / (double)parked.count);
  fflush(stdout);
  _exit(0);  // Ending the others is not part of the work.
  TASK_END;
}

static void test_parked(void) {
  parked.count = argument("count");
  run_tasks(start_parked);
}

#define TASK_TESTS \
  {"yield", test_yield}, {"spawn", test_spawn}, {"timers", test_timers}, {"lateness", test_lateness}, \
      {"parked", test_parked}

#endif
