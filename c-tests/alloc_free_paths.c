// Paths that do not allocate: yielding and, once the tables have grown, sleeping and waiting for
// descriptors, tasks and synchronization objects, and reading and writing.
#define _GNU_SOURCE
#include "check.h"
#include "allocations.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int channel[2], other_channel[2];
static int regular_file;
static mj_task* partner;
static mj_task_id partner_id;
static bool partner_may_end;

// ---- One round of each path ----

typedef void path(mj_scheduler* scheduler);

static void yields(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_yield();
}

static void yields_now(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_yield(), ==, 0);
}

static void does_nothing(void* argument) { (void)argument; }

static void offloads(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_offload(does_nothing, NULL, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_offload_in(MJ_OFFLOAD_FILE, does_nothing, NULL, does_nothing, LONG_NS), ==, 0);
}

static void sleeps_for_no_time(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_sleep_ns(0), ==, 0);
}

static void sleeps_for_1_ns(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_sleep_ns(1);
}

static void sleeps_for_3_us(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_sleep_ns(3000), ==, 0);
}

static void sleeps_until(mj_scheduler* scheduler) {
  CHECK_INT(mj_task_sleep_until_ns(mj_scheduler_now_ns(scheduler) + 2000), ==, 0);
}

static void waits_for_what_is_ready(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_wait_readable(channel[0]);
  CHECK_INT(mj_task_wait_fd(channel[1], POLLOUT, MJ_FOREVER), ==, POLLOUT);
  CHECK_INT(mj_task_wait_fd(channel[0], POLLIN, LONG_NS), ==, POLLIN);
}

static void waits_for_both_directions(mj_scheduler* scheduler) {
  char byte;
  (void)scheduler;
  CHECK_INT(write(other_channel[1], "x", 1), ==, 1);
  CHECK_INT(mj_task_wait_fd(other_channel[0], POLLIN | POLLRDHUP, MJ_FOREVER), ==, POLLIN);
  CHECK_INT(read(other_channel[0], &byte, 1), ==, 1);
  CHECK_INT(mj_task_wait_fd(other_channel[1], POLLOUT, LONG_NS), ==, POLLOUT);
}

static void waits_in_vain(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_task_wait_fd(other_channel[0], POLLIN, 2000), ==, -ETIMEDOUT);
}

static void looks(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_task_wait_fd(other_channel[0], POLLIN, 0), ==, -ETIMEDOUT);
}

static void waits_for_a_file(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_wait_readable(regular_file);
}

static void closes_and_opens(mj_scheduler* scheduler) {
  int fd = dup(channel[0]);
  (void)scheduler;
  CHECK_INT(mj_task_wait_fd(fd, POLLIN, MJ_FOREVER), ==, POLLIN);
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

static void joins_in_vain(mj_scheduler* scheduler) {
  (void)scheduler;
  CHECK_INT(mj_task_join(partner_id, 2000), ==, -ETIMEDOUT);
}

static void enqueues_itself(mj_scheduler* scheduler) {
  CHECK_INT(mj_scheduler_enqueue(scheduler, scheduler->current_task), ==, 0);
  CHECK_INT(mj_sleep_ns(LONG_NS), ==, -EINTR);
}

static void wakes_its_partner(mj_scheduler* scheduler) {
  (void)scheduler;
  mj_task_yield();
  mj_task_wake(partner);
  CHECK_PTR(mj_task_find(scheduler, partner_id), ==, partner);
}

static void reads_the_metrics(mj_scheduler* scheduler) {
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, >, 0);
}

// ---- Reading and writing ----

// A pipe that is the program's, and sockets that are the library's.
static int letters[2], sockets[2];

static void open_files(void) {
  CHECK_INT(pipe(letters), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), ==, 0);
  for (int i = 0; i < 2; i++) CHECK_INT(mj_fd_adopt(sockets[i]), ==, 0);
}

static void close_files(void) {
  for (int i = 0; i < 2; i++) {
    CHECK_INT(mj_fd_close(letters[i]), ==, 0);
    CHECK_INT(mj_fd_close(sockets[i]), ==, 0);
  }
}

static void reads_what_is_there(mj_scheduler* scheduler) {
  char text[8] = "";
  (void)scheduler;
  CHECK_INT(mj_write(letters[1], "letters", 7, LONG_NS), ==, 7);
  CHECK_INT(mj_read(letters[0], text, sizeof text, LONG_NS), ==, 7);
  CHECK_INT(mj_write_all(sockets[1], "letters", 7, MJ_FOREVER, NULL), ==, 0);
  CHECK_INT(mj_read_exact(sockets[0], text, 7, LONG_NS, NULL), ==, 7);
}

static void reads_and_writes_parts(mj_scheduler* scheduler) {
  char text[8] = "";
  struct iovec parts[] = {{text, 3}, {text + 3, 4}};
  (void)scheduler;
  for (int i = 0; i < 2; i++) {
    const int* ends = i == 0 ? letters : sockets;
    CHECK_INT(mj_writev(ends[1], parts, 2, LONG_NS), ==, 7);
    CHECK_INT(mj_readv(ends[0], parts, 2, LONG_NS), ==, 7);
  }
  CHECK_INT(mj_sendto(sockets[1], text, 7, 0, NULL, 0, LONG_NS), ==, 7);
  CHECK_INT(mj_recvfrom(sockets[0], text, 7, MSG_PEEK, NULL, NULL, LONG_NS), ==, 7);
  CHECK_INT(mj_recvfrom(sockets[0], text, 7, 0, NULL, NULL, LONG_NS), ==, 7);
}

static void reads_in_vain(mj_scheduler* scheduler) {
  char text[8] = "";
  struct pollfd polls[] = {{.fd = letters[0], .events = POLLIN}, {.fd = -1}};
  (void)scheduler;
  CHECK_INT(mj_read(letters[0], text, sizeof text, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_read(sockets[0], text, sizeof text, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_read_exact(sockets[0], text, sizeof text, 0, NULL), ==, -ETIMEDOUT);
  CHECK_INT(mj_poll(polls, 2, 1000), ==, -ETIMEDOUT);
}

static void polls_what_is_ready(mj_scheduler* scheduler) {
  struct pollfd polls[] = {{.fd = letters[1], .events = POLLOUT}, {.fd = sockets[0]}};
  (void)scheduler;
  CHECK_INT(mj_poll(polls, 2, MJ_FOREVER), ==, 1);
  CHECK_INT(polls[0].revents, ==, POLLOUT);
}

static void has_a_deadline(mj_scheduler* scheduler) {
  char text[8] = "";
  CHECK_INT(mj_task_set_deadline(mj_scheduler_now_ns(scheduler), NULL), ==, 0);
  CHECK_INT(mj_read(sockets[0], text, sizeof text, MJ_FOREVER), ==, -ETIMEDOUT);
  CHECK_INT(mj_task_set_deadline(MJ_FOREVER, NULL), ==, 0);
}

// ---- Synchronization ----

static mj_mutex* mutex;
static mj_cond* cond;
static mj_sem* semaphore;
static mj_waitgroup* group;
static mj_chan *questions, *answers, *silence;

// Receives requests and answers them until the channel is closed; holds the mutex across a yield.
static void answers_questions(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int question;
  while (mj_chan_recv(questions, &question, MJ_FOREVER) == 0) {
    CHECK_INT(mj_mutex_lock(mutex, LONG_NS), ==, 0);
    mj_task_yield();
    CHECK_INT(mj_cond_signal(cond), ==, 0);
    CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
    CHECK_INT(mj_sem_release(semaphore, 2), ==, 0);
    mj_task_yield();
    CHECK_INT(mj_waitgroup_done(group), ==, 0);
    question++;
    CHECK_INT(mj_chan_send(answers, &question, MJ_FOREVER), ==, 0);
  }
  mj_task_exit();
}

static void asks(mj_scheduler* scheduler) {
  (void)scheduler;
  int question = 41;
  CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  CHECK_INT(mj_mutex_lock(mutex, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_chan_send(questions, &question, LONG_NS), ==, 0);
  mj_task_yield();  // the main task blocks on the mutex meanwhile
  CHECK_INT(mj_cond_wait(cond, mutex, LONG_NS), ==, 0);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
  CHECK_INT(mj_sem_acquire(semaphore, 2, LONG_NS), ==, 0);
  CHECK_INT(mj_waitgroup_wait(group, LONG_NS), ==, 0);
  CHECK_INT(mj_chan_recv(answers, &question, MJ_FOREVER), ==, 0);
  CHECK_INT(question, ==, 42);
}

static void asks_by_select(mj_scheduler* scheduler) {
  (void)scheduler;
  int question = 41, nothing;
  mj_select_case cases[] = {
      {.chan = silence, .op = MJ_SELECT_RECV, .element = &nothing},
      {.chan = questions, .op = MJ_SELECT_SEND, .element = &question},
      {.chan = answers, .op = MJ_SELECT_RECV, .element = &question},
  };
  CHECK_INT(mj_waitgroup_add(group, 1), ==, 0);
  CHECK_INT(mj_select(cases, 3, MJ_FOREVER), ==, 1);
  cases[1].chan = NULL;
  CHECK_INT(mj_select(cases, 3, LONG_NS), ==, 2);
  CHECK_INT(question, ==, 42);
  CHECK_INT(mj_sem_acquire(semaphore, 2, MJ_FOREVER), ==, 0);
}

static void asks_in_vain(mj_scheduler* scheduler) {
  (void)scheduler;
  int nothing;
  mj_select_case one = {.chan = silence, .op = MJ_SELECT_RECV, .element = &nothing};
  CHECK_INT(mj_chan_recv(silence, &nothing, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_select(&one, 1, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_sem_acquire(semaphore, 3, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_mutex_lock(mutex, 0), ==, 0);
  CHECK_INT(mj_cond_wait(cond, mutex, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_mutex_unlock(mutex), ==, 0);
}

static void make_objects(mj_scheduler* scheduler) {
  mutex = mj_mutex_create(scheduler);
  cond = mj_cond_create(scheduler);
  semaphore = mj_sem_create(scheduler, 0);
  group = mj_waitgroup_create(scheduler);
  questions = mj_chan_create(scheduler, sizeof(int), 0);
  answers = mj_chan_create(scheduler, sizeof(int), 1);
  silence = mj_chan_create(scheduler, sizeof(int), 1);
  CHECK(mutex != NULL && cond != NULL && semaphore != NULL && group != NULL);
  CHECK(questions != NULL && answers != NULL && silence != NULL);
}

static void destroy_objects(void) {
  CHECK_INT(mj_mutex_destroy(mutex), ==, 0);
  CHECK_INT(mj_cond_destroy(cond), ==, 0);
  CHECK_INT(mj_sem_destroy(semaphore), ==, 0);
  CHECK_INT(mj_waitgroup_destroy(group), ==, 0);
  CHECK_INT(mj_chan_destroy(questions), ==, 0);
  CHECK_INT(mj_chan_destroy(answers), ==, 0);
  CHECK_INT(mj_chan_destroy(silence), ==, 0);
}

static const struct {
  const char* name;
  path* take;
} paths[] = {
    {"yields", yields},
    {"yields_now", yields_now},
    {"offloads", offloads},
    {"sleeps_for_no_time", sleeps_for_no_time},
    {"sleeps_for_1_ns", sleeps_for_1_ns},
    {"sleeps_for_3_us", sleeps_for_3_us},
    {"sleeps_until", sleeps_until},
    {"waits_for_what_is_ready", waits_for_what_is_ready},
    {"waits_for_both_directions", waits_for_both_directions},
    {"waits_in_vain", waits_in_vain},
    {"looks", looks},
    {"waits_for_a_file", waits_for_a_file},
    {"closes_and_opens", closes_and_opens},
    {"joins_in_vain", joins_in_vain},
    {"enqueues_itself", enqueues_itself},
    {"wakes_its_partner", wakes_its_partner},
    {"reads_the_metrics", reads_the_metrics},
    {"reads_what_is_there", reads_what_is_there},
    {"reads_and_writes_parts", reads_and_writes_parts},
    {"reads_in_vain", reads_in_vain},
    {"polls_what_is_ready", polls_what_is_ready},
    {"has_a_deadline", has_a_deadline},
    {"asks", asks},
    {"asks_by_select", asks_by_select},
    {"asks_in_vain", asks_in_vain},
};

// ---- The count ----

// Sleeps, yields and waits in turn, so that the measured task never runs alone.
static void keeps_company(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  for (unsigned i = 0; !partner_may_end; i++) {
    if (i % 3 == 0) {
      mj_sleep_ns(LONG_NS);
    } else if (i % 3 == 1) {
      mj_task_wait_fd(other_channel[0], POLLPRI, LONG_NS);
    } else {
      mj_task_yield();
    }
  }
  mj_task_exit();
}

static path* current_path;

static void takes_the_path(mj_scheduler* scheduler, void* user_state) {
  (void)user_state;
  partner_id = mj_task_get_id(partner);
  // Warm-up: the tables grow to the size that is needed.
  for (int i = 0; i < 100; i++) current_path(scheduler);
  size_t calls = allocations.calls, frees = allocations.frees, maps = mappings;
  size_t rounds = times(10000, 500);
  for (size_t i = 0; i < rounds; i++) current_path(scheduler);
  CHECK_UINT(allocations.calls - calls, ==, 0);
  CHECK_UINT(allocations.frees - frees, ==, 0);
  CHECK_UINT(mappings - maps, ==, 0);
  partner_may_end = true;
  mj_task_wake(partner);
  CHECK_INT(mj_chan_close(questions), ==, 0);
  mj_task_exit();
}

static void nothing_is_allocated_on_any_path(void) {
  const char* test = check_running;
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  CHECK_INT(pipe2(other_channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  FILE* file = tmpfile();
  CHECK(file != NULL);
  regular_file = fileno(file);
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    check_running = paths[i].name;
    current_path = paths[i].take;
    partner_may_end = false;
    mj_scheduler* scheduler = new_scheduler();
    partner = add_task(scheduler, keeps_company, NULL);
    add_task(scheduler, takes_the_path, NULL);
    make_objects(scheduler);
    open_files();
    add_task(scheduler, answers_questions, NULL);
    mj_scheduler_run(scheduler);
    CHECK(partner_may_end);
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
    mj_scheduler_destroy(scheduler);
    destroy_objects();
    close_files();
  }
  fclose(file);
  for (int i = 0; i < 2; i++) {
    close(channel[i]);
    close(other_channel[i]);
  }
  check_running = test;
}

// Many tasks at a time, so that the run queue, the timer heap and the wait queues are long.
enum { crowd = 200 };

static mj_task* crowd_tasks[crowd];
static size_t crowd_rounds, crowd_arrived, crowd_waiting;
static size_t crowd_calls, crowd_frees, crowd_maps;
static bool crowd_checked;

// A barrier: once, all tasks sleep at the same time, and then all wait at the same time, which is
// the largest size the tables ever need.
static void meets_the_others(void) {
  if (++crowd_arrived < crowd) {
    CHECK_INT(mj_sleep_ns(LONG_NS), ==, -EINTR);
  } else {
    for (int i = 0; i < crowd; i++) mj_task_wake(crowd_tasks[i]);
  }
  if (++crowd_waiting < crowd) {
    CHECK_INT(mj_task_wait_fd(other_channel[0], POLLIN, LONG_NS), ==, -EINTR);
  } else {
    for (int i = 0; i < crowd; i++) mj_task_wake(crowd_tasks[i]);
    crowd_calls = allocations.calls;
    crowd_frees = allocations.frees;
    crowd_maps = mappings;
  }
}

static void is_one_of_many(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  meets_the_others();
  for (size_t i = 0; i < crowd_rounds; i++) {
    if (i % 4 == 0) mj_task_yield();
    if (i % 4 == 1) mj_sleep_ns(1000 * (i % 7));
    if (i % 4 == 2) mj_task_wait_fd(other_channel[0], POLLIN, 1000 * (i % 5));
    if (i % 4 == 3) mj_task_wait_readable(channel[0]);
  }
  // The first task that gets here, before any has ended.
  if (!crowd_checked) {
    CHECK_UINT(crowd_waiting, ==, crowd);
    CHECK_UINT(allocations.calls - crowd_calls, ==, 0);
    CHECK_UINT(allocations.frees - crowd_frees, ==, 0);
    CHECK_UINT(mappings - crowd_maps, ==, 0);
    crowd_checked = true;
  }
  mj_task_exit();
}

static void nothing_is_allocated_with_many_tasks(void) {
  CHECK_INT(pipe2(channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  CHECK_INT(pipe2(other_channel, O_CLOEXEC | O_NONBLOCK), ==, 0);
  CHECK_INT(write(channel[1], "x", 1), ==, 1);
  crowd_rounds = times(200, 30);
  crowd_checked = false;
  crowd_arrived = crowd_waiting = 0;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < crowd; i++) crowd_tasks[i] = add_task(scheduler, is_one_of_many, NULL);
  mj_scheduler_run(scheduler);
  CHECK(crowd_checked);
  mj_scheduler_destroy(scheduler);
  for (int i = 0; i < 2; i++) {
    close(channel[i]);
    close(other_channel[i]);
  }
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  if (!allocations_are_counted()) printf("allocations are not counted here\n");
  RUN(nothing_is_allocated_on_any_path);
  RUN(nothing_is_allocated_with_many_tasks);
  return 0;
}
