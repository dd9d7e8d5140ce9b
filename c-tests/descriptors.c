// Waiting for descriptors: what must wake a task, and what must not.
#define _GNU_SOURCE
#include "check.h"
#include "log_lines.h"
#include "pipes.h"

#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

static int channel[2];

static void check_empty(int fd) {
  char byte;
  errno = 0;
  CHECK_INT(read(fd, &byte, 1), ==, -1);
  CHECK_INT(errno, ==, EAGAIN);
}

// ---- One reader, and a task that makes its descriptor ready ----

// Makes the descriptor ready, once the reader waits.
typedef void event(void);

static event* make_ready;
static mj_task* reader;
static int reader_fd;
static int reader_woken;

static void waits_once(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  mj_task* self = scheduler->current_task;
  mj_task_wait_readable(reader_fd);
  CHECK_PTR(scheduler->current_task, ==, self);
  CHECK_INT(self->state, ==, MJ_TASK_RUNNABLE);
  reader_woken++;
  mj_task_exit();
}

static void causes_the_event(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  // No data yet, so nothing may wake the reader.
  for (int i = 0; i < 3; i++) {
    mj_task_sleep_ms(1);
    CHECK_INT(reader->state, ==, MJ_TASK_WAITING_IO);
    CHECK_INT(reader_woken, ==, 0);
  }
  make_ready();
  mj_task_exit();
}

static void check_wakes(int fd, event* cause) {
  reader_fd = fd;
  make_ready = cause;
  reader_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  reader = add_task(scheduler, waits_once, NULL);
  add_task(scheduler, causes_the_event, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(reader_woken, ==, 1);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, ==, 1);
  mj_scheduler_destroy(scheduler);
}

static void write_to_channel(void) { put_byte(channel[1]); }

static void close_writer(void) {
  close(channel[1]);
  channel[1] = -1;
}

static void close_reader(void) {
  close(channel[0]);
  channel[0] = -1;
}

static void close_channel(void) {
  if (channel[0] >= 0) close(channel[0]);
  if (channel[1] >= 0) close(channel[1]);
}

static void data_in_a_pipe_wakes(void) {
  open_pipe(channel);
  check_wakes(channel[0], write_to_channel);
  take_byte(channel[0]);
  close_channel();
}

static void the_end_of_a_pipe_wakes(void) {
  open_pipe(channel);
  check_wakes(channel[0], close_writer);
  char byte;
  CHECK_INT(read(channel[0], &byte, 1), ==, 0);
  close_channel();
}

// EPOLLERR alone: the read end of the pipe is closed.
static void an_error_wakes(void) {
  open_pipe(channel);
  check_wakes(channel[1], close_reader);
  close_channel();
}

static void shut_writer_down(void) { CHECK_INT(shutdown(channel[1], SHUT_WR), ==, 0); }

static void data_a_hangup_and_a_shutdown_of_a_socket_wake(void) {
  open_pair(channel);
  check_wakes(channel[0], write_to_channel);
  take_byte(channel[0]);
  close_channel();
  open_pair(channel);
  check_wakes(channel[0], close_writer);
  close_channel();
  open_pair(channel);
  check_wakes(channel[0], shut_writer_down);
  close_channel();
}

static struct sockaddr_in listen_address;

static void connect_client(void) {
  channel[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(channel[1], >=, 0);
  const struct sockaddr* address = (const struct sockaddr*)&listen_address;
  CHECK_INT(connect(channel[1], address, sizeof listen_address), ==, 0);
}

static void a_connection_to_accept_wakes(void) {
  channel[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK_INT(channel[0], >=, 0);
  memset(&listen_address, 0, sizeof listen_address);
  listen_address.sin_family = AF_INET;
  listen_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof listen_address;
  struct sockaddr* address = (struct sockaddr*)&listen_address;
  CHECK_INT(bind(channel[0], address, length), ==, 0);
  CHECK_INT(getsockname(channel[0], address, &length), ==, 0);
  CHECK_INT(listen(channel[0], 8), ==, 0);
  check_wakes(channel[0], connect_client);
  int accepted = accept(channel[0], NULL, NULL);
  CHECK_INT(accepted, >=, 0);
  close(accepted);
  close_channel();
}

// Descriptor 0 is nothing special.
static void descriptor_0_is_waited_for(void) {
  int saved = fcntl(0, F_DUPFD_CLOEXEC, 3);
  open_pipe(channel);
  CHECK_INT(dup2(channel[0], 0), ==, 0);
  check_wakes(0, write_to_channel);
  take_byte(0);
  if (saved >= 0) {
    CHECK_INT(dup2(saved, 0), ==, 0);
    close(saved);
  } else {
    close(0);
  }
  close_channel();
}

// The table of descriptors grows with the largest number used, whatever the limit.
static void a_large_descriptor_is_waited_for(void) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  int large = limit.rlim_cur > 5000 ? 5000 : (int)limit.rlim_cur - 10;
  open_pipe(channel);
  int fd = fcntl(channel[0], F_DUPFD_CLOEXEC, large);
  CHECK_INT(fd, >=, large);
  check_wakes(fd, write_to_channel);
  close(fd);
  close_channel();
}

// ---- Ready at once ----

static int turns;

static void counts_turns(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  while (reader_woken == 0) {
    turns++;
    mj_task_yield();
  }
  mj_task_exit();
}

static void waits_often(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < 20; i++) {
    int before = turns;
    mj_task_wait_readable(reader_fd);
    // A loop around such a wait lets other tasks run.
    CHECK_INT(turns, >, before);
  }
  reader_woken = 1;
  mj_task_exit();
}

static void check_ready_at_once(int fd) {
  reader_fd = fd;
  reader_woken = 0;
  turns = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, waits_often, NULL);
  add_task(scheduler, counts_turns, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(reader_woken, ==, 1);
  mj_scheduler_destroy(scheduler);
  // Also with no other task to keep the scheduler busy.
  mj_scheduler* lone = new_scheduler();
  reader_woken = 0;
  add_task(lone, waits_once, NULL);
  mj_scheduler_run(lone);
  CHECK_INT(reader_woken, ==, 1);
  mj_scheduler_destroy(lone);
}

static void data_that_is_there_already_is_seen(void) {
  open_pipe(channel);
  put_byte(channel[1]);
  check_ready_at_once(channel[0]);
  // End of file as well, any number of times.
  take_byte(channel[0]);
  close_writer();
  check_ready_at_once(channel[0]);
  close_channel();
}

static void files_that_cannot_be_polled_are_ready(void) {
  log_lines_begin();
  FILE* file = tmpfile();
  CHECK(file != NULL);
  check_ready_at_once(fileno(file));
  fclose(file);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK_INT(null, >=, 0);
  check_ready_at_once(null);
  close(null);
  int directory = open("/", O_RDONLY | O_CLOEXEC);
  CHECK_INT(directory, >=, 0);
  check_ready_at_once(directory);
  close(directory);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 0);
  log_lines_end();
}

// ---- Descriptors in error ----

static void loops_around_a_closed_descriptor(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (;;) mj_task_wait_readable(reader_fd);
}

static void stops_after_100_turns(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  for (int i = 0; i < 100; i++) mj_task_yield();
  CHECK_INT(mj_scheduler_stop(scheduler), ==, 0);
  mj_task_exit();
}

static void a_loop_around_a_closed_descriptor_can_be_stopped(void) {
  open_pipe(channel);
  log_lines_begin();
  // Created between the two, or it would get the number.
  mj_scheduler* scheduler = new_scheduler();
  close_channel();
  reader_fd = channel[0];
  add_task(scheduler, loops_around_a_closed_descriptor, NULL);
  add_task(scheduler, stops_after_100_turns, NULL);
  mj_scheduler_run(scheduler);
  // A line for each would fill the disk.
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), >, 0);
  CHECK_INT(log_lines_from(MJ_LOG_ERROR), <, 99);
  log_lines_end();
  mj_scheduler_destroy(scheduler);
}

// ---- While other tasks are ready ----

enum { BUSY_TASKS = 100, BUSY_ROUNDS = 20, BYTES = BUSY_ROUNDS / 5 };

static uint64_t turn_ns, turns_taken, written_at_turn, longest_delay;

// Keeps the thread for `turn_ns` each time it runs. One of these tasks writes a byte now and then.
static void is_busy(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  const bool* writes = user_state;
  for (int round = 0; round < BUSY_ROUNDS; round++) {
    turns_taken++;
    uint64_t end_ns = now_ns() + turn_ns;
    while (now_ns() < end_ns) continue;
    if (*writes && round % 5 == 0) {
      written_at_turn = turns_taken;
      put_byte(channel[1]);
    }
    mj_task_yield();
  }
  mj_task_exit();
}

static void waits_beside_busy_tasks(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (int i = 0; i < BYTES; i++) {
    mj_task_wait_readable(channel[0]);
    take_byte(channel[0]);
    uint64_t way = turns_taken - written_at_turn;
    if (way > longest_delay) longest_delay = way;
  }
  mj_task_exit();
}

// How many times descriptors are polled, and how many milliseconds the test takes.
static uint64_t polls_beside_busy_tasks(uint64_t each_turn_ns, uint64_t* milliseconds) {
  open_pipe(channel);
  turn_ns = each_turn_ns;
  turns_taken = longest_delay = 0;
  mj_scheduler* scheduler = new_scheduler();
  add_task(scheduler, waits_beside_busy_tasks, NULL);
  for (int i = 0; i < BUSY_TASKS; i++) {
    bool* writes = allocate(sizeof *writes);
    *writes = i == BUSY_TASKS / 2;
    add_task(scheduler, is_busy, writes);
  }
  uint64_t began_ns = now_ns();
  mj_scheduler_run(scheduler);
  *milliseconds = (now_ns() - began_ns) / 1000000;
  CHECK_UINT(turns_taken, ==, BUSY_TASKS * BUSY_ROUNDS);
  uint64_t looks = mj_scheduler_get_metrics(scheduler)->wait_calls;
  mj_scheduler_destroy(scheduler);
  close_channel();
  return looks;
}

// Newly ready tasks queue behind those that are ready already, so one poll a round is enough.
static void descriptors_are_polled_once_in_a_round(void) {
  uint64_t milliseconds;
  uint64_t looks = polls_beside_busy_tasks(5000, &milliseconds);
  CHECK_UINT(looks, <=, BUSY_ROUNDS + milliseconds + 10);
  // To the end of the round, then the rest of the 50 us in which tasks switch to each other without
  // the loop, and then behind the tasks that are ready.
  CHECK_UINT(longest_delay, <=, 2 * BUSY_TASKS + 10 + 2);
  // Rounds of half a millisecond, if the machine is not too busy: more polls than milliseconds.
  if (milliseconds < BUSY_ROUNDS * 3 / 5) CHECK_UINT(looks, >, milliseconds + 3);
}

static void descriptors_are_polled_each_millisecond_in_a_long_round(void) {
  uint64_t milliseconds;
  uint64_t looks = polls_beside_busy_tasks(60000, &milliseconds);
  CHECK_UINT(looks, <=, BUSY_ROUNDS + milliseconds + 10);
  // At most 17 switches until the next poll.
  CHECK_UINT(longest_delay, <=, BUSY_TASKS + 20);
}

// ---- Several tasks, one descriptor ----

static void waits_and_counts(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  reader_woken++;
  mj_task_exit();
}

static void waits_until_all_wait(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  mj_task** tasks = user_state;
  for (size_t i = 0; tasks[i] != NULL; i++) {
    while (tasks[i]->state != MJ_TASK_WAITING_IO) mj_task_yield();
  }
  mj_task_sleep_ms(1);
  CHECK_INT(reader_woken, ==, 0);
  put_byte(channel[1]);
  mj_task_exit();
}

static void all_waiters_of_one_descriptor_wake(void) {
  enum { most = 8 };
  for (size_t count = 1; count <= most; count++) {
    open_pipe(channel);
    reader_woken = 0;
    mj_scheduler* scheduler = new_scheduler();
    mj_task** tasks = allocate((most + 1) * sizeof *tasks);
    for (size_t i = 0; i < count; i++) tasks[i] = add_task(scheduler, waits_and_counts, NULL);
    add_task(scheduler, waits_until_all_wait, tasks);
    mj_scheduler_run(scheduler);
    CHECK_UINT(reader_woken, ==, count);
    mj_scheduler_destroy(scheduler);
    close_channel();
  }
}

// One task's wait is ended by another task; the other waiters keep waiting, and still wake.
static void ends_one_wait(mj_scheduler* scheduler, void* user_state) {
  mj_task** tasks = user_state;
  mj_task_sleep_ms(1);
  for (int i = 0; i < 3; i++) CHECK_INT(tasks[i]->state, ==, MJ_TASK_WAITING_IO);
  mj_scheduler_enqueue(scheduler, tasks[1]);
  mj_task_yield();
  CHECK_INT(reader_woken, ==, 1);
  mj_task_sleep_ms(1);
  CHECK_INT(reader_woken, ==, 1);
  CHECK_INT(tasks[0]->state, ==, MJ_TASK_WAITING_IO);
  CHECK_INT(tasks[2]->state, ==, MJ_TASK_WAITING_IO);
  put_byte(channel[1]);
  mj_task_exit();
}

static void one_wait_can_end_while_others_go_on(void) {
  open_pipe(channel);
  reader_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task** tasks = allocate(3 * sizeof *tasks);
  for (int i = 0; i < 3; i++) tasks[i] = add_task(scheduler, waits_and_counts, NULL);
  add_task(scheduler, ends_one_wait, tasks);
  mj_scheduler_run(scheduler);
  CHECK_INT(reader_woken, ==, 3);
  mj_scheduler_destroy(scheduler);
  close_channel();
}

// ---- A number that is closed and reused ----

static void waits_on_a_number_again(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int number = channel[0];
  for (int round = 0; round < 5; round++) {
    put_byte(channel[1]);
    mj_task_wait_readable(channel[0]);
    take_byte(channel[0]);
    close_channel();
    open_pipe(channel);
    // The lowest free number: the one that was just closed.
    CHECK_INT(channel[0], ==, number);
    reader_woken++;
  }
  mj_task_exit();
}

static void a_number_that_was_waited_for_is_reused(void) {
  open_pipe(channel);
  reader_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  close_channel();
  open_pipe(channel);
  add_task(scheduler, waits_on_a_number_again, NULL);
  mj_scheduler_run(scheduler);
  CHECK_INT(reader_woken, ==, 5);
  mj_scheduler_destroy(scheduler);
  close_channel();
}

static int old_reader, new_writer, number_in_use;
static int new_woken;

static void waits_for_the_old(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(number_in_use);
  reader_woken++;
  mj_task_exit();
}

static void waits_for_the_new(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(number_in_use);
  take_byte(number_in_use);
  new_woken++;
  mj_task_exit();
}

// Puts another pipe under the number that the old task waits for. The old pipe stays open under
// another number, so it is still in the epoll set, which reports it under the number that it was
// added with.
static void exchanges_the_pipe(mj_scheduler* scheduler, void* user_state) {
  mj_task* old_task = *(mj_task**)user_state;
  mj_task_sleep_ms(1);
  CHECK_INT(old_task->state, ==, MJ_TASK_WAITING_IO);
  old_reader = dup(number_in_use);
  CHECK_INT(old_reader, >=, 0);
  int fds[2];
  open_pipe(fds);
  CHECK_INT(dup2(fds[0], number_in_use), ==, number_in_use);
  close(fds[0]);
  new_writer = fds[1];
  mj_scheduler_enqueue(scheduler, old_task);
  mj_task_yield();
  CHECK_INT(reader_woken, ==, 1);

  mj_task* new_task = add_task(scheduler, waits_for_the_new, NULL);
  mj_task_yield();
  CHECK_INT(new_task->state, ==, MJ_TASK_WAITING_IO);
  // An event of the old pipe must not wake the new task.
  put_byte(channel[1]);
  for (int i = 0; i < 3; i++) {
    mj_task_sleep_ms(1);
    CHECK_INT(new_woken, ==, 0);
    CHECK_INT(new_task->state, ==, MJ_TASK_WAITING_IO);
  }
  put_byte(new_writer);
  mj_task_exit();
}

static void an_event_of_a_closed_descriptor_wakes_nobody(void) {
  open_pipe(channel);
  number_in_use = channel[0];
  reader_woken = 0;
  new_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task** state = allocate(sizeof *state);
  *state = add_task(scheduler, waits_for_the_old, NULL);
  add_task(scheduler, exchanges_the_pipe, state);
  mj_scheduler_run(scheduler);
  CHECK_INT(reader_woken, ==, 1);
  CHECK_INT(new_woken, ==, 1);
  mj_scheduler_destroy(scheduler);
  close(old_reader);
  close(new_writer);
  close_channel();
}

// As above, but the old pipe is closed altogether, and the old task still waits when the new one
// begins to. The library cannot tell them apart by number: the old task may wake, the new one must.
static void replaces_the_pipe(mj_scheduler* scheduler, void* user_state) {
  mj_task* old_task = *(mj_task**)user_state;
  mj_task_sleep_ms(1);
  CHECK_INT(old_task->state, ==, MJ_TASK_WAITING_IO);
  close_channel();
  open_pipe(channel);
  CHECK_INT(channel[0], ==, number_in_use);
  add_task(scheduler, waits_for_the_new, NULL);
  mj_task_sleep_ms(1);
  CHECK_INT(new_woken, ==, 0);
  put_byte(channel[1]);
  while (new_woken == 0) mj_task_sleep_ns(10000);
  if (reader_woken == 0) mj_scheduler_enqueue(scheduler, old_task);
  mj_task_exit();
}

static void a_number_is_reused_while_a_task_waits_for_it(void) {
  open_pipe(channel);
  number_in_use = channel[0];
  reader_woken = 0;
  new_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  close_channel();
  open_pipe(channel);
  CHECK_INT(channel[0], ==, number_in_use);
  mj_task** state = allocate(sizeof *state);
  *state = add_task(scheduler, waits_for_the_old, NULL);
  add_task(scheduler, replaces_the_pipe, state);
  mj_scheduler_run(scheduler);
  CHECK_INT(new_woken, ==, 1);
  CHECK_INT(reader_woken, ==, 1);
  mj_scheduler_destroy(scheduler);
  close_channel();
}

// A wait that was ended early must not leave behind anything that could end the next one.
static void waits_twice(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  mj_task_wait_readable(channel[0]);
  check_empty(channel[0]);
  reader_woken = 1;
  // The descriptor becomes ready meanwhile, which must not end this sleep.
  uint64_t before = now_ns();
  mj_task_sleep_ms(3);
  CHECK_UINT(now_ns() - before, >=, 3000000);
  reader_woken = 2;
  mj_task_wait_readable(channel[0]);
  take_byte(channel[0]);
  reader_woken = 3;
  mj_task_exit();
}

static void ends_the_first_wait(mj_scheduler* scheduler, void* user_state) {
  mj_task* other = *(mj_task**)user_state;
  while (other->state != MJ_TASK_WAITING_IO) mj_task_yield();
  mj_scheduler_enqueue(scheduler, other);
  mj_task_yield();
  CHECK_INT(reader_woken, ==, 1);
  put_byte(channel[1]);
  while (reader_woken == 1) mj_task_yield();
  mj_task_exit();
}

static void an_ended_wait_leaves_nothing_behind(void) {
  open_pipe(channel);
  reader_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  mj_task** state = allocate(sizeof *state);
  *state = add_task(scheduler, waits_twice, NULL);
  add_task(scheduler, ends_the_first_wait, state);
  mj_scheduler_run(scheduler);
  CHECK_INT(reader_woken, ==, 3);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->timer_expirations, ==, 1);
  mj_scheduler_destroy(scheduler);
  close_channel();
}

// ---- Many ----

enum { most_descriptors = 1000, rounds = 3 };

static int many[most_descriptors];
static size_t many_count;
static size_t many_woken;

static void reads_its_counter(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(int*)user_state;
  for (int round = 0; round < rounds; round++) {
    uint64_t count;
    mj_task_wait_readable(fd);
    CHECK_INT(read(fd, &count, sizeof count), ==, sizeof count);
    // Written once a round, and one wake-up each.
    CHECK_UINT(count, ==, 1);
    many_woken++;
  }
  mj_task_exit();
}

static void raises_every_counter(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (size_t round = 0; round < rounds; round++) {
    mj_task_sleep_ms(1);
    CHECK_UINT(many_woken, ==, round * many_count);
    for (size_t i = 0; i < many_count; i++) {
      uint64_t one = 1;
      // 7919 is a prime that does not divide the count, so each index comes up once.
      int fd = many[i * 7919 % many_count];
      CHECK_INT(write(fd, &one, sizeof one), ==, sizeof one);
      if (i % 100 == 0) mj_task_yield();
    }
    while (many_woken < (round + 1) * many_count) mj_task_sleep_ns(100000);
  }
  mj_task_exit();
}

static void many_descriptors_are_waited_for(void) {
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  rlim_t before = limit.rlim_cur;
  if (limit.rlim_cur < 2000 && limit.rlim_max >= 2000) limit.rlim_cur = 2000;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
  many_count = times(most_descriptors, 200);
  if (many_count + 50 > limit.rlim_cur) many_count = limit.rlim_cur - 50;
  many_woken = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (size_t i = 0; i < many_count; i++) {
    many[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK_INT(many[i], >=, 0);
    int* fd = allocate(sizeof *fd);
    *fd = many[i];
    add_task(scheduler, reads_its_counter, fd);
  }
  add_task(scheduler, raises_every_counter, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(many_woken, ==, rounds * many_count);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->io_events, >=, many_count);
  mj_scheduler_destroy(scheduler);
  for (size_t i = 0; i < many_count; i++) close(many[i]);
  limit.rlim_cur = before;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
}

int main(void) {
  RUN(data_in_a_pipe_wakes);
  RUN(the_end_of_a_pipe_wakes);
  RUN(an_error_wakes);
  RUN(data_a_hangup_and_a_shutdown_of_a_socket_wake);
  RUN(a_connection_to_accept_wakes);
  RUN(descriptor_0_is_waited_for);
  RUN(a_large_descriptor_is_waited_for);
  RUN(data_that_is_there_already_is_seen);
  RUN(files_that_cannot_be_polled_are_ready);
  RUN(a_loop_around_a_closed_descriptor_can_be_stopped);
  RUN(descriptors_are_polled_once_in_a_round);
  RUN(descriptors_are_polled_each_millisecond_in_a_long_round);
  RUN(all_waiters_of_one_descriptor_wake);
  RUN(one_wait_can_end_while_others_go_on);
  RUN(a_number_that_was_waited_for_is_reused);
  RUN(an_event_of_a_closed_descriptor_wakes_nobody);
  RUN(a_number_is_reused_while_a_task_waits_for_it);
  RUN(an_ended_wait_leaves_nothing_behind);
  RUN(many_descriptors_are_waited_for);
  return 0;
}
