// Every field of the metrics against a number that the program computes itself.
#define _GNU_SOURCE
#include "check.h"
#include "bodies.h"
#include "allocations.h"
#include "log_lines.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

static int channel[2];

static void open_channel(void) { CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0); }

static void close_channel(void) {
  close(channel[0]);
  close(channel[1]);
}

static void spin(uint64_t nanoseconds) {
  for (uint64_t start = now_ns(); now_ns() - start < nanoseconds;) {
  }
}

// Run times are measured with another clock than the program's: they agree to one part in a
// thousand.
static uint64_t at_least(uint64_t nanoseconds) { return nanoseconds - nanoseconds / 1000; }

static uint64_t at_most(uint64_t nanoseconds) { return nanoseconds + nanoseconds / 1000 + 1000; }

// ---- Turns ----
//
// A turn is the time from a switch to a task until the task suspends or ends. A task that suspends K
// times has K + 1 turns, and one that is called again from the top has one for each call. Calls that
// return without suspending are part of a turn.

static void yields(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t count = *(size_t*)user_state;
  for (size_t i = 0; i < count; i++) mj_task_yield();
  mj_task_exit();
}

static void a_task_that_suspends_k_times_has_k_and_1_turns(void) {
  static const struct {
    size_t tasks, yields;
  } cases[] = {{1, 0}, {1, 1}, {1, 1000}, {2, 0}, {7, 13}, {100, 0}, {100, 99}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    mj_scheduler* scheduler = new_scheduler();
    for (size_t j = 0; j < cases[i].tasks; j++) {
      size_t* count = allocate(sizeof *count);
      *count = cases[i].yields;
      add_task(scheduler, yields, count);
    }
    mj_scheduler_run(scheduler);
    uint64_t expected = cases[i].tasks * (cases[i].yields + 1);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, ==, expected);
    mj_scheduler_destroy(scheduler);
  }
}

static uint64_t turns_of(const mj_scheduler* scheduler) {
  return mj_scheduler_get_metrics((mj_scheduler*)scheduler)->task_executions;
}

static void sleeps_long(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_sleep_ns(LONG_NS);
  mj_task_exit();
}

// Runs a statement, and checks how many turns are counted meanwhile: its own and those of other
// tasks.
#define CHECK_TURNS(statement, expected) \
  do { \
    uint64_t turns_before = turns_of(scheduler); \
    statement; \
    CHECK_UINT(turns_of(scheduler) - turns_before, ==, (uint64_t)(expected)); \
  } while (0)

static void suspends_in_each_way(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  // The current turn is not counted yet.
  CHECK_UINT(turns_of(scheduler), ==, 0);
  CHECK_TURNS(mj_task_yield(), 1);
  CHECK_TURNS(mj_yield(), 1);
  CHECK_TURNS(mj_task_sleep_ns(1000), 1);
  CHECK_TURNS(mj_sleep_ns(0), 1);
  CHECK_TURNS(mj_task_sleep_until_ns(0), 1);
  CHECK_TURNS(mj_task_wait_fd(channel[0], POLLIN, 1000), 1);
  CHECK_TURNS(mj_task_wait_fd(channel[0], POLLIN, 0), 1);
  CHECK_TURNS(mj_task_wait_fd(channel[1], POLLOUT, MJ_FOREVER), 1);
  // Calls that do not suspend.
  CHECK_TURNS(mj_task_wait_fd(channel[0], 1 << 14, 1000), 0);
  CHECK_TURNS(mj_task_join(mj_task_get_id(self), LONG_NS), 0);
  CHECK_TURNS(mj_task_yield(), 1);  // The first such call of a turn never suspends.
  CHECK_TURNS(mj_task_join(0, LONG_NS), 0);
  CHECK_TURNS(mj_task_wake(self), 0);
  // A child's two turns: until it sleeps, and to its end.
  mj_task* child = NULL;
  CHECK_TURNS(child = add_task(scheduler, sleeps_long, NULL), 0);
  mj_task_id id = mj_task_get_id(child);
  CHECK_TURNS(mj_task_yield(), 2);
  CHECK_TURNS(mj_task_wake(child), 0);
  CHECK_TURNS(CHECK_INT(mj_task_join(id, LONG_NS), ==, 0), 2);
  // Cancelled, each call is a turn; marked as ended, none is.
  CHECK_TURNS(mj_task_cancel(self), 0);
  CHECK_TURNS(mj_sleep_ns(LONG_NS), 1);
  mj_task_exit();
  CHECK_TURNS(mj_sleep_ns(LONG_NS), 0);
  CHECK_TURNS(mj_task_yield(), 0);
}

static void each_suspension_ends_a_turn(void) {
  open_channel();
  mj_scheduler* scheduler = new_scheduler();
  count_calls_only(scheduler);
  add_task(scheduler, suspends_in_each_way, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(turns_of(scheduler), ==, 9 + 2 * 2 + 1 + 1);
  mj_scheduler_destroy(scheduler);
  close_channel();
}

static void returns_five_times(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int* left = user_state;
  if (--*left == 0) mj_task_exit();
}

static void each_call_from_the_top_is_a_turn(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) {
    int* left = allocate(sizeof *left);
    *left = 5;
    add_task(scheduler, returns_five_times, left);
  }
  mj_scheduler_run(scheduler);
  CHECK_UINT(turns_of(scheduler), ==, 15);
  mj_scheduler_destroy(scheduler);
}

// ---- Times of turns ----

static uint64_t spun_ns, longest_spin_ns, shortest_spin_ns;

static void spins_and_yields(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  uint64_t* spans_ns = user_state;
  for (int i = 0; i < 3; i++) {
    uint64_t before = now_ns();
    spin(spans_ns[i]);
    uint64_t elapsed = now_ns() - before;
    spun_ns += elapsed;
    if (elapsed > longest_spin_ns) longest_spin_ns = elapsed;
    if (elapsed < shortest_spin_ns) shortest_spin_ns = elapsed;
    if (i < 2) mj_task_yield();
  }
  mj_task_exit();
}

static void turns_take_as_long_as_they_take(void) {
  spun_ns = longest_spin_ns = 0;
  shortest_spin_ns = UINT64_MAX;
  mj_scheduler* scheduler = new_scheduler();
  for (uint64_t i = 0; i < 4; i++) {
    uint64_t* spans_ns = allocate(3 * sizeof *spans_ns);
    for (uint64_t j = 0; j < 3; j++) spans_ns[j] = i == 2 && j == 1 ? 5000000 : (i + j) * 100000;
    add_task(scheduler, spins_and_yields, spans_ns);
  }
  uint64_t before = now_ns();
  mj_scheduler_run(scheduler);
  uint64_t elapsed = now_ns() - before;
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->task_executions, ==, 12);
  CHECK_UINT(metrics->total_execution_time_ns, >=, at_least(spun_ns));
  CHECK_UINT(metrics->total_execution_time_ns, <=, at_most(elapsed));
  CHECK_UINT(metrics->max_execution_time_ns, >=, at_least(longest_spin_ns));
  CHECK_UINT(metrics->max_execution_time_ns, >=, at_least(5000000));
  CHECK_UINT(metrics->max_execution_time_ns, <=, metrics->total_execution_time_ns);
  CHECK_UINT(metrics->min_execution_time_ns, >=, at_least(shortest_spin_ns));
  uint64_t average = metrics->total_execution_time_ns / 12;
  CHECK_UINT(metrics->min_execution_time_ns, <=, average);
  CHECK_UINT(metrics->max_execution_time_ns, >=, average);
  // The total of all turns, at least the longest one and eleven of the shortest.
  CHECK_UINT(at_most(metrics->total_execution_time_ns), >=,
             metrics->max_execution_time_ns + 11 * metrics->min_execution_time_ns);
  mj_scheduler_destroy(scheduler);
}

// ---- The loop, and waiting ----

typedef struct waits {
  uint64_t calls, with_time, slept_ns;
} waits;

static int sleeps_and_counts(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  (void)scheduler;
  waits* self = user_data;
  self->calls++;
  // The field is up to date at this moment, except for this call.
  CHECK_UINT(scheduler->metrics.wait_calls, >=, self->calls - 1);
  uint64_t before = now_ns();
  if (timeout_ns > 0) {
    self->with_time++;
    CHECK_UINT(timeout_ns, !=, MJ_FOREVER);
    struct timespec span = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    nanosleep(&span, NULL);
  }
  self->slept_ns += now_ns() - before;
  return 0;
}

static void works_and_sleeps(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 5; i++) {
    uint64_t before = now_ns();
    spin(200000);
    spun_ns += now_ns() - before;
    CHECK_INT(mj_sleep_ns(1000000), ==, 0);
  }
  mj_task_exit();
}

static void the_loop_and_its_waits_are_counted(void) {
  waits state = {0};
  spun_ns = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, sleeps_and_counts, &state);
  // The counters go on over several runs, and stand still between them.
  uint64_t elapsed = 0;
  for (int run = 0; run < 2; run++) {
    for (int i = 0; i < 2; i++) add_task(scheduler, works_and_sleeps, NULL);
    uint64_t before = now_ns();
    mj_scheduler_run(scheduler);
    elapsed += now_ns() - before;
    usleep(10000);
  }
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->wait_calls, ==, state.calls);
  CHECK_UINT(state.with_time, >=, 2);
  // These three are measured with one clock.
  CHECK_UINT(metrics->total_wait_time_ns, >=, state.slept_ns);
  CHECK_UINT(metrics->total_wait_time_ns, <=, metrics->total_loop_time_ns);
  CHECK_UINT(metrics->total_loop_time_ns, <=, elapsed);
  // Turns and waits are two different parts of the loop.
  CHECK_UINT(metrics->total_execution_time_ns, >=, at_least(spun_ns));
  CHECK_UINT(metrics->total_execution_time_ns + metrics->total_wait_time_ns, <=,
             at_most(metrics->total_loop_time_ns));
  // Each iteration waits at most twice, once for no time, so there are at least as many.
  CHECK_UINT(metrics->scheduler_loops, >=, state.with_time);
  CHECK_UINT(metrics->scheduler_loops, >=, 2);
  mj_scheduler_destroy(scheduler);
}

static void a_run_without_tasks_counts_nothing(void) {
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->task_executions, ==, 0);
  CHECK_UINT(metrics->wait_calls, ==, 0);
  CHECK_UINT(metrics->min_execution_time_ns, ==, 0);
  CHECK_UINT(metrics->max_execution_time_ns, ==, 0);
  CHECK_UINT(metrics->total_execution_time_ns, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Timers and descriptors ----

// A random workload, in which each task counts the results of its calls.
enum { worker_count = 30, operations = 60 };

static mj_task* workers[worker_count];
static struct {
  uint64_t timers, expired, ended_early, joined, events;
} told;

static void tell_timer(int status, int time_is_over) {
  told.timers++;
  if (status == time_is_over) {
    told.expired++;
  } else {
    told.ended_early++;
  }
}

static void works_at_random(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  uint64_t random = 88172645463325252u + number * 7919;
  int counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK_INT(counter, >=, 0);
  for (size_t i = 0; i < times(operations, operations / 2); i++) {
    uint64_t span_ns = next_random(&random) % 60000;
    mj_task* other = workers[next_random(&random) % worker_count];
    uint64_t one = 1;
    int status;
    switch (next_random(&random) % 9) {
      case 0:
        tell_timer(mj_sleep_ns(span_ns), 0);
        break;
      case 1:
        tell_timer(mj_task_sleep_until_ns(now_ns() + span_ns), 0);
        break;
      case 2:
        // Over at once, but still a timer.
        tell_timer(mj_task_sleep_until_ns(1), 0);
        break;
      case 3:
        // An event that is there already counts as well.
        CHECK_INT(write(counter, &one, sizeof one), ==, sizeof one);
        status = mj_task_wait_fd(counter, POLLIN, LONG_NS);
        tell_timer(status, 0);
        told.events += status == POLLIN;
        CHECK_INT(read(counter, &one, sizeof one), ==, sizeof one);
        break;
      case 4:
        status = mj_task_wait_fd(counter, POLLOUT, MJ_FOREVER);
        told.events += status == POLLOUT;
        break;
      case 5:
        tell_timer(mj_task_wait_fd(counter, POLLIN, span_ns + 1), -ETIMEDOUT);
        break;
      case 6:
        // No wait, so no timer and no event.
        CHECK_INT(mj_task_wait_fd(counter, POLLOUT, 0), >=, 0);
        break;
      case 7:
        if (other != NULL && other != mj_task_current()) {
          status = mj_task_join(mj_task_get_id(other), span_ns);
          tell_timer(status, -ETIMEDOUT);
          // It may have ended when the deadline had passed already.
          told.joined += status == 0;
        }
        break;
      default:
        if (other != NULL) CHECK_INT(mj_task_wake(other), >=, 0);
        mj_task_yield();
    }
  }
  close(counter);
  workers[number] = NULL;
  mj_task_exit();
}

static void timers_and_events_are_those_that_the_calls_tell_of(void) {
  memset(&told, 0, sizeof told);
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < worker_count; i++) {
    size_t* number = allocate(sizeof *number);
    *number = i;
    workers[i] = add_task(scheduler, works_at_random, number);
  }
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->timer_expirations + metrics->timer_cancellations, ==, told.timers);
  CHECK_UINT(metrics->timer_expirations, >=, told.expired);
  CHECK_UINT(metrics->timer_expirations, <=, told.expired + told.joined);
  CHECK_UINT(metrics->heap_operations, ==, 2 * told.timers);
  CHECK_UINT(metrics->io_events, ==, told.events);
  // Each kind has occurred, or this has tested nothing.
  CHECK_UINT(told.expired, >, 0);
  CHECK_UINT(told.ended_early, >, 0);
  CHECK_UINT(told.events, >, 0);
  mj_scheduler_destroy(scheduler);
}

static void remaining_timers_count_as_insertions_only(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 100; i++) add_task(scheduler, sleeps_long, NULL);
  add_task(scheduler, yields_and_stops, NULL);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(scheduler->timer_count, ==, 100);
  CHECK_UINT(metrics->heap_operations, ==, 100);
  CHECK_UINT(metrics->timer_expirations, ==, 0);
  CHECK_UINT(metrics->timer_cancellations, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Tasks ----

static struct {
  uint64_t created, ended, most;
} population;

static void check_population(mj_scheduler* scheduler) {
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_created, ==, population.created);
  CHECK_UINT(metrics->tasks_exited, ==, population.ended);
  CHECK_UINT(metrics->current_tasks, ==, population.created - population.ended);
  CHECK_UINT(metrics->peak_tasks, ==, population.most);
}

static void count_birth(void) {
  population.created++;
  uint64_t alive = population.created - population.ended;
  if (alive > population.most) population.most = alive;
}

static uint64_t population_random;

static void lives(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (uint64_t i = next_random(&population_random) % 10; i > 0; i--) {
    check_population(scheduler);
    uint64_t choice = next_random(&population_random) % 4;
    if (choice == 0 && population.created < 2000) {
      add_task(scheduler, lives, NULL);
      count_birth();
      check_population(scheduler);
    } else if (choice == 1) {
      mj_sleep_ns(next_random(&population_random) % 20000);
    } else {
      mj_task_yield();
    }
  }
  check_population(scheduler);
  // A task marked as ended is still a task; it ends when this function returns, and nothing reads
  // the counter before.
  mj_task_exit();
  check_population(scheduler);
  population.ended++;
}

static void tasks_are_counted_at_every_moment(void) {
  memset(&population, 0, sizeof population);
  population_random = 88172645463325252u;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 100; i++) {
    check_population(scheduler);
    add_task(scheduler, lives, NULL);
    count_birth();
  }
  mj_scheduler_run(scheduler);
  check_population(scheduler);
  CHECK_UINT(population.created, ==, population.ended);
  CHECK_UINT(population.most, >=, 100);
  // A task that could not be created is not counted.
  log_lines_begin();
  CHECK_PTR(mj_create_task(scheduler, NULL, NULL), ==, NULL);
  log_lines_end();
  check_population(scheduler);
  mj_scheduler_destroy(scheduler);
}

// ---- Reset ----

static void resets_within(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 5; i++) mj_task_yield();
  CHECK_INT(mj_sleep_ns(100000), ==, 0);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  size_t memory = metrics->memory_allocated_bytes;
  CHECK_UINT(metrics->current_tasks, ==, 4);
  CHECK_UINT(metrics->peak_tasks, ==, 6);
  mj_scheduler_reset_metrics(scheduler);
  metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->memory_allocated_bytes, ==, memory);
  CHECK_UINT(metrics->current_tasks, ==, 4);
  CHECK_UINT(metrics->peak_tasks, ==, 4);
  CHECK_UINT(metrics->tasks_created, ==, 0);
  CHECK_UINT(metrics->tasks_exited, ==, 0);
  CHECK_UINT(metrics->task_executions, ==, 0);
  CHECK_UINT(metrics->total_execution_time_ns, ==, 0);
  CHECK_UINT(metrics->max_execution_time_ns, ==, 0);
  CHECK_UINT(metrics->min_execution_time_ns, ==, 0);
  CHECK_UINT(metrics->timer_expirations, ==, 0);
  CHECK_UINT(metrics->heap_operations, ==, 0);
  CHECK_UINT(metrics->wait_calls, ==, 0);
  // From here on only new events count.
  for (int i = 0; i < 3; i++) mj_task_yield();
  metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->task_executions, ==, 3);
  CHECK_UINT(metrics->min_execution_time_ns, <=, metrics->max_execution_time_ns);
  CHECK_UINT(metrics->max_execution_time_ns, <=, at_most(metrics->total_execution_time_ns));
  add_task(scheduler, yields_and_stops, NULL);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->peak_tasks, ==, 5);
  mj_task_exit();
}

static void a_reset_begins_anew(void) {
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < 3; i++) add_task(scheduler, sleeps_long, NULL);
  for (int i = 0; i < 2; i++) add_task(scheduler, ends_at_once, NULL);
  add_task(scheduler, resets_within, NULL);
  mj_scheduler_run(scheduler);
  const mj_metrics* metrics = mj_scheduler_get_metrics(scheduler);
  CHECK_UINT(metrics->tasks_created, ==, 1);
  CHECK_UINT(metrics->tasks_exited, ==, 2);
  CHECK_UINT(metrics->current_tasks, ==, 3);
  CHECK_UINT(metrics->peak_tasks, ==, 5);
  // Four turns of one task and two of the other: the turn of the reset belongs to the new count.
  CHECK_UINT(metrics->task_executions, ==, 6);
  CHECK_UINT(metrics->heap_operations, ==, 0);
  mj_scheduler_destroy(scheduler);
}

// ---- Memory ----
//
// Exactly the bytes that the scheduler has requested from the allocator. The allocator's overhead for
// each block is not counted.

static mj_scheduler* measured;

static void check_memory(void) {
  CHECK_UINT(mj_scheduler_get_metrics(measured)->memory_allocated_bytes, ==, allocations.bytes);
}

static void grows_in_every_way(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  check_memory();
  for (int i = 0; i < 500; i++) {
    mj_task* task = add_task(scheduler, sleeps_long, NULL);
    // Each stack size has a list of its own.
    if (i % 3 != 0) CHECK_INT(mj_task_set_stack_size(task, i % 3 == 1 ? 16384 : 65536), ==, 0);
    if (i % 50 == 0) check_memory();
  }
  check_memory();
  CHECK_INT(mj_sleep_ns(1000), ==, 0);
  check_memory();
  for (int number = 100; number < 1000; number += 100) {
    CHECK_INT(dup2(channel[0], number), ==, number);
    CHECK_INT(mj_task_wait_fd(number, POLLIN, 1000), ==, -ETIMEDOUT);
    CHECK_INT(mj_fd_close(number), ==, 0);
    check_memory();
  }
  size_t most = allocations.bytes;
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
  check_memory();
  CHECK_UINT(allocations.bytes, ==, most);
}

static void the_memory_is_what_the_allocator_gave(void) {
  if (!allocations_are_counted()) {
    printf("the memory is not compared: allocations are not counted here\n");
    return;
  }
  open_channel();
  // What the process's first scheduler allocates once is not counted below.
  mj_scheduler_destroy(new_scheduler());
  allocations_begin();
  measured = new_scheduler();
  CHECK_UINT(allocations.bytes, >, sizeof(mj_scheduler));
  check_memory();
  mj_task* task = add_task(measured, grows_in_every_way, NULL);
  check_memory();
  CHECK_UINT(allocations.bytes, >, sizeof(mj_scheduler) + sizeof *task);
  mj_scheduler_run(measured);
  check_memory();
  // Room for 501 tasks, as many timers, and descriptor number 900, at least.
  CHECK_UINT(allocations.bytes, >, 501 * (sizeof(mj_task) + sizeof(mj_task*)) + 900);
  mj_scheduler_reset_metrics(measured);
  check_memory();
  // Tasks that end leave their memory to later tasks.
  size_t before = allocations.bytes;
  for (int i = 0; i < 100; i++) add_task(measured, ends_at_once, NULL);
  add_task(measured, yields_and_stops, NULL);
  mj_scheduler_run(measured);
  check_memory();
  for (int i = 0; i < 100; i++) add_task(measured, ends_at_once, NULL);
  CHECK_UINT(allocations.bytes, >=, before);
  check_memory();
  mj_scheduler_destroy(measured);
  CHECK_UINT(allocations.bytes, ==, 0);
  CHECK_UINT(allocations.blocks, ==, 0);
  allocations_end();
  close_channel();
}

// ---- Readings ----

// Between two readings with nothing in between, nothing changes.
static void reading_changes_nothing(void) {
  mj_scheduler* scheduler = new_scheduler();
  waits state = {0};
  mj_scheduler_set_wait_func(scheduler, sleeps_and_counts, &state);
  for (int i = 0; i < 2; i++) add_task(scheduler, works_and_sleeps, NULL);
  mj_scheduler_run(scheduler);
  const mj_metrics first = *mj_scheduler_get_metrics(scheduler);
  for (size_t i = 0; i < times(10000, 100); i++) {
    const mj_metrics* again = mj_scheduler_get_metrics(scheduler);
    CHECK_UINT(again->total_execution_time_ns, ==, first.total_execution_time_ns);
    CHECK_UINT(again->min_execution_time_ns, ==, first.min_execution_time_ns);
    CHECK_UINT(again->max_execution_time_ns, ==, first.max_execution_time_ns);
    CHECK_INT(memcmp(again, &first, sizeof first), ==, 0);
  }
  mj_scheduler_destroy(scheduler);
}

// While things happen, sums only grow.
static void reads_and_yields(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  spin(2000000);
  mj_metrics before = *mj_scheduler_get_metrics(scheduler);
  for (size_t i = 0; i < times(10000, 100); i++) {
    if (i % 4 == 0) mj_task_yield();
    const mj_metrics* now = mj_scheduler_get_metrics(scheduler);
    CHECK_UINT(now->task_executions, ==, before.task_executions + (i % 4 == 0));
    CHECK_UINT(now->total_execution_time_ns, >=, before.total_execution_time_ns);
    CHECK_UINT(now->total_loop_time_ns, >=, before.total_loop_time_ns);
    before = *now;
  }
  mj_task_exit();
}

static void sums_only_grow(void) {
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, reads_and_yields, NULL);
  mj_scheduler_run(scheduler);
  mj_scheduler_destroy(scheduler);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(a_task_that_suspends_k_times_has_k_and_1_turns);
  RUN(each_suspension_ends_a_turn);
  RUN(each_call_from_the_top_is_a_turn);
  RUN(turns_take_as_long_as_they_take);
  RUN(the_loop_and_its_waits_are_counted);
  RUN(a_run_without_tasks_counts_nothing);
  RUN(timers_and_events_are_those_that_the_calls_tell_of);
  RUN(remaining_timers_count_as_insertions_only);
  RUN(tasks_are_counted_at_every_moment);
  RUN(a_reset_begins_anew);
  RUN(the_memory_is_what_the_allocator_gave);
  RUN(reading_changes_nothing);
  RUN(sums_only_grow);
  return 0;
}
