// Channels between threads: order, waits on both sides, ends of all kinds, and what happens to others when a
// party gives up, stalls, or goes.
#define _GNU_SOURCE
#include "child.h"
#include "log_lines.h"

#include <poll.h>
#include <pthread.h>

static mj_xchan* xchan;

static void make(size_t capacity) {
  xchan = mj_xchan_create(sizeof(uint64_t), capacity);
  CHECK(xchan != NULL);
}

static void unmake(void) { mj_xchan_release(xchan); }

static pthread_t start(void* (*function)(void*), void* argument) {
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, function, argument), ==, 0);
  return thread;
}

static void join(pthread_t thread) { CHECK_INT(pthread_join(thread, NULL), ==, 0); }

static int send_number(uint64_t number) { return mj_xchan_send(xchan, &number, LONG_NS); }

// A number that is received, or a negative errno value.
static int64_t receive(uint64_t timeout_ns) {
  uint64_t number = 0;
  int result = mj_xchan_recv(xchan, &number, timeout_ns);
  return result == 0 ? (int64_t)number : result;
}

static void add(mj_scheduler* scheduler, mj_go_fn function, void* argument) {
  CHECK_INT(mj_go(scheduler, function, argument, NULL), ==, 0);
}

static void run(mj_scheduler* scheduler) { CHECK_INT(mj_run(scheduler), ==, 0); }

// ---- Elements ----

static void elements_are_copied_whole(void) {
  for (size_t bytes = 1; bytes < 70; bytes++) {
    for (size_t capacity = 1; capacity < 4; capacity++) {
      mj_xchan* odd = mj_xchan_create(bytes, capacity);
      CHECK(odd != NULL);
      unsigned char out[100], in[100];
      memset(in, 0xEE, sizeof in);
      for (size_t i = 0; i < sizeof out; i++) out[i] = (unsigned char)(i * 7 + bytes);
      for (size_t i = 0; i < capacity; i++) CHECK_INT(mj_xchan_try_send(odd, out + 3), ==, 0);
      CHECK_INT(mj_xchan_try_send(odd, out + 3), ==, -EAGAIN);
      CHECK_UINT(mj_xchan_length(odd), ==, capacity);
      for (size_t i = 0; i < capacity; i++) {
        CHECK_INT(mj_xchan_try_recv(odd, in + 5), ==, 0);
        CHECK_INT(memcmp(in + 5, out + 3, bytes), ==, 0);
        CHECK_INT(in[4], ==, 0xEE);
        CHECK_INT(in[5 + bytes], ==, 0xEE);
      }
      CHECK_INT(mj_xchan_try_recv(odd, in + 5), ==, -EAGAIN);
      mj_xchan_release(odd);
    }
  }
}

static int wait_results[2];

static int sends_in_the_loop(mj_scheduler* scheduler, uint64_t timeout_ns, void* user_data) {
  uint64_t number = 1;
  wait_results[0] = mj_xchan_send(xchan, &number, MJ_FOREVER);
  wait_results[1] = mj_xchan_try_send(xchan, &number);
  return mj_wait_epoll(scheduler, timeout_ns, user_data);
}

static void sleeps(void* argument) {
  (void)argument;
  mj_sleep_ns(1000000);
}

static void misuse_is_an_error(void) {
  uint64_t number = 0;
  errno = 0;
  CHECK_PTR(mj_xchan_create(0, 1), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  errno = 0;
  CHECK_PTR(mj_xchan_create(1, 0), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  size_t many[][2] = {{SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2, SIZE_MAX / 2}, {8, SIZE_MAX / 8}};
  for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
    errno = 0;
    CHECK_PTR(mj_xchan_create(many[i][0], many[i][1]), ==, NULL);
    CHECK_INT(errno, ==, ENOMEM);
  }
  CHECK_INT(mj_xchan_send(NULL, &number, 0), ==, -EINVAL);
  CHECK_INT(mj_xchan_recv(NULL, &number, 0), ==, -EINVAL);
  CHECK_INT(mj_xchan_try_send(NULL, &number), ==, -EINVAL);
  CHECK_INT(mj_xchan_try_recv(NULL, &number), ==, -EINVAL);
  CHECK_INT(mj_xchan_close(NULL), ==, -EINVAL);
  CHECK_UINT(mj_xchan_length(NULL), ==, 0);
  CHECK_PTR(mj_xchan_retain(NULL), ==, NULL);
  mj_xchan_release(NULL);
  make(1);
  CHECK_INT(mj_xchan_send(xchan, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_xchan_recv(xchan, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_xchan_try_send(xchan, NULL), ==, -EINVAL);
  CHECK_INT(mj_xchan_try_recv(xchan, NULL), ==, -EINVAL);
  // A thread that runs a scheduler waits in tasks only.
  mj_scheduler* scheduler = new_scheduler();
  mj_scheduler_set_wait_func(scheduler, sends_in_the_loop, NULL);
  add(scheduler, sleeps, NULL);
  log_lines_begin();
  run(scheduler);
  log_lines_end();
  CHECK_INT(wait_results[0], ==, -EPERM);
  CHECK(wait_results[1] == 0 || wait_results[1] == -EAGAIN);
  mj_scheduler_destroy(scheduler);
  unmake();
}

static void it_lives_as_long_as_a_reference(void) {
  make(1);
  CHECK_PTR(mj_xchan_retain(xchan), ==, xchan);
  mj_xchan_release(xchan);
  CHECK_INT(send_number(7), ==, 0);
  CHECK_INT(receive(0), ==, 7);
  unmake();
}

// ---- Order ----

// An element is the number of its sender, and its number.
enum { most_senders = 8 };

static uint64_t each;  // Elements of each sender.
static pthread_mutex_t received_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t received_in_all;
static uint64_t received_sum;

static void* sends_its_numbers(void* argument) {
  uint64_t sender = (uint64_t)(uintptr_t)argument;
  for (uint64_t i = 1; i <= each; i++) CHECK_INT(send_number(sender << 32 | i), ==, 0);
  return NULL;
}

static void task_sends_its_numbers(void* argument) { sends_its_numbers(argument); }

// Receives until the channel is closed, and checks the order of each sender's elements.
static void* receives_in_order(void* argument) {
  (void)argument;
  uint64_t last[most_senders] = {0};
  uint64_t count = 0, sum = 0;
  int64_t element;
  while ((element = receive(LONG_NS)) >= 0) {
    uint64_t sender = (uint64_t)element >> 32, number = (uint64_t)element & UINT32_MAX;
    CHECK_UINT(sender, <, most_senders);
    CHECK_UINT(number, >, last[sender]);
    last[sender] = number;
    sum += number;
    count++;
  }
  CHECK_INT(element, ==, -EPIPE);
  pthread_mutex_lock(&received_lock);
  received_in_all += count;
  received_sum += sum;
  pthread_mutex_unlock(&received_lock);
  return NULL;
}

static void task_receives_in_order(void* argument) { receives_in_order(argument); }

static void* runs_one_task(void* function) {
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, *(mj_go_fn*)function, NULL);
  run(scheduler);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

static mj_go_fn receiving_task = task_receives_in_order;

static void begin_counting(uint64_t of_each) {
  each = of_each;
  received_in_all = received_sum = 0;
}

static void check_counted(uint64_t senders) {
  CHECK_UINT(received_in_all, ==, senders * each);
  CHECK_UINT(received_sum, ==, senders * (each * (each + 1) / 2));
}

static void what_threads_send_reaches_a_task_in_order(void) {
  size_t capacities[] = {1, 2, 3, 100, 4096};
  for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
    make(capacities[i]);
    begin_counting(capacities[i] < 100 ? times(20000, 300) : times(500000, 3000));
    pthread_t receiver = start(runs_one_task, &receiving_task);
    pthread_t senders[2];
    for (uintptr_t j = 0; j < 2; j++) senders[j] = start(sends_its_numbers, (void*)j);
    for (int j = 0; j < 2; j++) join(senders[j]);
    CHECK_INT(mj_xchan_close(xchan), ==, 0);
    join(receiver);
    check_counted(2);
    unmake();
  }
}

typedef struct group {
  uintptr_t first;
  int senders;
  int receivers;
} group;

static void* runs_a_group(void* argument) {
  group* self = argument;
  mj_scheduler* scheduler = new_scheduler();
  for (int i = 0; i < self->senders; i++) {
    add(scheduler, task_sends_its_numbers, (void*)(self->first + (uintptr_t)i));
  }
  for (int i = 0; i < self->receivers; i++) {
    add(scheduler, task_receives_in_order, NULL);
  }
  run(scheduler);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

// Senders and receivers in tasks of three schedulers, and on threads.
static void all_kinds_of_ends_work_together(void) {
  for (size_t capacity = 1; capacity <= 64; capacity *= 8) {
    make(capacity);
    begin_counting(times(20000, 300));
    group sending[] = {{0, 2, 0}, {2, 3, 0}}, receiving[] = {{0, 0, 3}, {0, 0, 1}};
    pthread_t senders[4], receivers[4];
    for (int i = 0; i < 2; i++) {
      senders[i] = start(runs_a_group, &sending[i]);
      receivers[i] = start(runs_a_group, &receiving[i]);
      senders[2 + i] = start(sends_its_numbers, (void*)(uintptr_t)(5 + i));
      receivers[2 + i] = start(receives_in_order, NULL);
    }
    for (int i = 0; i < 4; i++) join(senders[i]);
    CHECK_INT(mj_xchan_close(xchan), ==, 0);
    for (int i = 0; i < 4; i++) join(receivers[i]);
    check_counted(7);
    unmake();
  }
}

static int senders_left;

static void task_sends_and_closes(void* argument) {
  sends_its_numbers(argument);
  if (--senders_left == 0) CHECK_INT(mj_xchan_close(xchan), ==, 0);
}

// Both ends in tasks of one scheduler, and one on a thread.
static void one_scheduler_may_have_both_ends(void) {
  make(3);
  begin_counting(times(20000, 1000));
  senders_left = 3;
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, task_receives_in_order, NULL);
  for (uintptr_t i = 0; i < 3; i++) add(scheduler, task_sends_and_closes, (void*)i);
  pthread_t receiver = start(receives_in_order, NULL);
  run(scheduler);
  join(receiver);
  check_counted(3);
  mj_scheduler_destroy(scheduler);
  unmake();
}

// ---- Ends ----

enum { waiter_count = 3 };

static int64_t results[2 * waiter_count];

static void receives_once(void* argument) { *(int64_t*)argument = receive(LONG_NS); }

static void sends_once(void* argument) { *(int64_t*)argument = send_number(77); }

static mj_go_fn waiting;
static int begun;

static void* waits_on_a_thread(void* argument) {
  __atomic_fetch_add(&begun, 1, __ATOMIC_SEQ_CST);
  waiting(argument);
  return NULL;
}

static void notes_and_waits(void* argument) { waits_on_a_thread(argument); }

static void* waits_in_tasks(void* argument) {
  mj_scheduler* scheduler = new_scheduler();
  int64_t* mine = argument;
  for (int i = 1; i < waiter_count; i++) add(scheduler, notes_and_waits, mine + i);
  run(scheduler);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

// Waiters of both kinds, in two threads and two tasks of each of two schedulers; waits until they wait, most
// likely.
static void begin_waiting(mj_go_fn function, pthread_t threads[4]) {
  waiting = function;
  begun = 0;
  for (int i = 0; i < 2 * waiter_count; i++) results[i] = 1;
  for (int i = 0; i < 2; i++) {
    threads[i] = start(waits_on_a_thread, &results[i * waiter_count]);
    threads[2 + i] = start(waits_in_tasks, &results[i * waiter_count]);
  }
  while (__atomic_load_n(&begun, __ATOMIC_SEQ_CST) < 2 * waiter_count) usleep(100);
  usleep((useconds_t)times(5000, 100000));
}

static void a_close_ends_all_waits(void) {
  make(2);
  pthread_t threads[4];
  begin_waiting(receives_once, threads);
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  for (int i = 0; i < 4; i++) join(threads[i]);
  for (int i = 0; i < 2 * waiter_count; i++) CHECK_INT(results[i], ==, -EPIPE);
  unmake();

  make(2);
  for (uint64_t i = 0; i < 2; i++) CHECK_INT(send_number(i), ==, 0);
  begin_waiting(sends_once, threads);
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  for (int i = 0; i < 4; i++) join(threads[i]);
  for (int i = 0; i < 2 * waiter_count; i++) CHECK_INT(results[i], ==, -EPIPE);
  CHECK_INT(mj_xchan_close(xchan), ==, -EPIPE);
  CHECK_INT(send_number(1), ==, -EPIPE);
  // What is in it is still received.
  CHECK_INT(receive(0), ==, 0);
  CHECK_INT(receive(0), ==, 1);
  CHECK_INT(receive(0), ==, -EPIPE);
  CHECK_INT(receive(MJ_FOREVER), ==, -EPIPE);
  unmake();
}

// As many elements as waiters: each gets one, whoever is told.
static void each_waiter_gets_an_element(void) {
  make(2 * waiter_count);
  for (size_t round = 0; round < times(20, 3); round++) {
    pthread_t threads[4];
    begin_waiting(receives_once, threads);
    for (uint64_t i = 0; i < 2 * waiter_count; i++) CHECK_INT(send_number(10 + i), ==, 0);
    for (int i = 0; i < 4; i++) join(threads[i]);
    int64_t sum = 0;
    for (int i = 0; i < 2 * waiter_count; i++) sum += results[i];
    CHECK_INT(sum, ==, 6 * 10 + 15);
  }
  for (size_t round = 0; round < times(20, 3); round++) {
    pthread_t threads[4];
    for (uint64_t i = 0; i < 2 * waiter_count; i++) CHECK_INT(send_number(1), ==, 0);
    begin_waiting(sends_once, threads);
    for (uint64_t i = 0; i < 2 * waiter_count; i++) CHECK_INT(receive(0), ==, 1);
    for (int i = 0; i < 4; i++) join(threads[i]);
    for (int i = 0; i < 2 * waiter_count; i++) CHECK_INT(results[i], ==, 0);
    for (uint64_t i = 0; i < 2 * waiter_count; i++) CHECK_INT(receive(0), ==, 77);
  }
  unmake();
}

static bool raced;

static void* closes_it(void* argument) {
  (void)argument;
  while (!__atomic_load_n(&raced, __ATOMIC_ACQUIRE)) {
  }
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  return NULL;
}

static void* sends_until_closed(void* count) {
  while (send_number(5) == 0) ++*(uint64_t*)count;
  return NULL;
}

// A close at any moment: what was sent, and that only, is received.
static void a_close_loses_nothing(void) {
  for (size_t round = 0; round < times(300, 10); round++) {
    make(1 + round % 5);
    raced = false;
    uint64_t sent[2] = {0, 0};
    pthread_t threads[] = {start(sends_until_closed, &sent[0]), start(sends_until_closed, &sent[1]),
                           start(closes_it, NULL)};
    uint64_t got = 0;
    for (size_t i = 0; i < round % 50; i++) got += receive(LONG_NS) == 5;
    __atomic_store_n(&raced, true, __ATOMIC_RELEASE);
    while (receive(LONG_NS) == 5) got++;
    for (int i = 0; i < 3; i++) join(threads[i]);
    CHECK_UINT(got, ==, sent[0] + sent[1]);
    unmake();
  }
}

// ---- Time limits and cancellation ----

static void limits_are_kept_in(void) {
  uint64_t number = 1;
  for (uint64_t limit_ns = 0; limit_ns <= 4000000; limit_ns += 2000000) {
    uint64_t began = now_ns();
    CHECK_INT(receive(limit_ns), ==, -ETIMEDOUT);
    CHECK_UINT(now_ns() - began, >=, limit_ns);
  }
  CHECK_INT(mj_xchan_send(xchan, &number, 0), ==, 0);
  for (uint64_t limit_ns = 0; limit_ns <= 4000000; limit_ns += 2000000) {
    uint64_t began = now_ns();
    CHECK_INT(mj_xchan_send(xchan, &number, limit_ns), ==, -ETIMEDOUT);
    CHECK_UINT(now_ns() - began, >=, limit_ns);
  }
  CHECK_INT(receive(0), ==, 1);
}

static void task_limits_are_kept_in(void* argument) {
  (void)argument;
  limits_are_kept_in();
}

static void limits_are_kept(void) {
  make(1);
  limits_are_kept_in();
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, task_limits_are_kept_in, NULL);
  run(scheduler);
  mj_scheduler_destroy(scheduler);
  unmake();
}

static mj_task_id waiting_task;
static int64_t canceled_result, woken_result, late_result;

static void is_canceled(void* argument) {
  (void)argument;
  waiting_task = mj_task_get_id(mj_task_current());
  canceled_result = receive(LONG_NS);
  // It is told again by each call that has to wait.
  if (canceled_result == -ECANCELED) CHECK_INT(receive(LONG_NS), ==, -ECANCELED);
}

static void is_woken(void* argument) {
  (void)argument;
  waiting_task = mj_task_get_id(mj_task_current());
  woken_result = receive(LONG_NS);
}

static void cancels(void* argument) {
  (void)argument;
  CHECK_INT(mj_scheduler_cancel(mj_scheduler_current(), waiting_task), ==, 0);
}

static void sends_and_cancels(void* argument) {
  // The message is not read before the task is canceled, which finds the element all the same.
  CHECK_INT(send_number(8), ==, 0);
  cancels(argument);
}

static void wakes(void* argument) {
  (void)argument;
  CHECK_INT(mj_scheduler_wake(mj_scheduler_current(), waiting_task), ==, 1);
}

static void gives_up_late(void* argument) {
  (void)argument;
  late_result = receive(1000000);
}

static void computes_and_sends(void* argument) {
  (void)argument;
  uint64_t began = now_ns();
  while (now_ns() - began < 10000000) {
  }
  CHECK_INT(send_number(9), ==, 0);
}

static void one_that_gives_up_looks_once_more(void) {
  make(1);
  mj_go_fn pairs[][2] = {
      {is_canceled, cancels}, {is_canceled, sends_and_cancels}, {is_woken, wakes}, {gives_up_late, computes_and_sends}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    mj_scheduler* scheduler = new_scheduler();
    for (int j = 0; j < 2; j++) add(scheduler, pairs[i][j], NULL);
    run(scheduler);
    mj_scheduler_destroy(scheduler);
    if (i < 2) CHECK_INT(canceled_result, ==, i == 0 ? -ECANCELED : 8);
  }
  CHECK_INT(woken_result, ==, -EINTR);
  CHECK_INT(late_result, ==, 9);
  CHECK_UINT(mj_xchan_length(xchan), ==, 0);
  unmake();
}

// Waits with short limits everywhere, while elements come: none is lost with one that gives up.
static void* receives_hastily(void* argument) {
  uint64_t random = 88172645463325252u + (uint64_t)(uintptr_t)argument;
  uint64_t count = 0;
  while (true) {
    int64_t element = receive(next_random(&random) % 30000);
    if (element == -EPIPE) break;
    CHECK(element > 0 || element == -ETIMEDOUT);
    count += element > 0;
  }
  pthread_mutex_lock(&received_lock);
  received_in_all += count;
  pthread_mutex_unlock(&received_lock);
  return NULL;
}

static void task_receives_hastily(void* argument) { receives_hastily(argument); }
static mj_go_fn hasty_task = task_receives_hastily;

static void nothing_is_lost_with_one_that_gives_up(void) {
  make(4);
  begin_counting(times(50000, 500));
  pthread_t receivers[] = {start(runs_one_task, &hasty_task), start(runs_one_task, &receiving_task),
                           start(receives_hastily, (void*)2), start(receives_in_order, NULL)};
  pthread_t senders[] = {start(sends_its_numbers, (void*)1), start(sends_its_numbers, (void*)2)};
  for (int i = 0; i < 2; i++) join(senders[i]);
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  for (int i = 0; i < 4; i++) join(receivers[i]);
  CHECK_UINT(received_in_all, ==, 2 * each);
  unmake();
}

// ---- Select ----

static mj_chan* chan;

static void* sends_later(void* number) {
  usleep(3000);
  CHECK_INT(send_number((uint64_t)(uintptr_t)number), ==, 0);
  return NULL;
}

static void* receives_later(void* number) {
  usleep(3000);
  CHECK_INT(receive(LONG_NS), ==, (int64_t)(uintptr_t)number);
  return NULL;
}

enum { of_xchan, of_chan, of_time, of_pipe };

static void fill_in(mj_select_case cases[4], uint64_t* elements, int pipe_end, uint64_t after_ns) {
  mj_scheduler* scheduler = mj_scheduler_current();
  memset(cases, 0, 4 * sizeof *cases);
  cases[of_xchan].op = MJ_SELECT_XRECV;
  cases[of_xchan].xchan = xchan;
  cases[of_xchan].element = &elements[0];
  cases[of_chan].op = MJ_SELECT_RECV;
  cases[of_chan].chan = chan;
  cases[of_chan].element = &elements[1];
  cases[of_time].op = MJ_SELECT_DEADLINE;
  cases[of_time].deadline_ns = mj_scheduler_now_ns(scheduler) + after_ns;
  cases[of_pipe].op = MJ_SELECT_FD;
  cases[of_pipe].fd = pipe_end;
  cases[of_pipe].events = POLLIN;
}

static void selects(void* argument) {
  (void)argument;
  mj_select_case cases[4];
  uint64_t elements[2] = {0, 0}, number = 5;
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  chan = mj_chan_create(mj_scheduler_current(), sizeof(uint64_t), 1);
  // Nothing can be done.
  fill_in(cases, elements, ends[0], LONG_NS);
  CHECK_INT(mj_try_select(cases, 4), ==, -EAGAIN);
  CHECK_INT(mj_select(cases, 4, 1000000), ==, -ETIMEDOUT);
  // An element comes from another thread, and nothing else is done.
  for (uintptr_t i = 1; i < 4; i++) {
    pthread_t sender = start(sends_later, (void*)i);
    fill_in(cases, elements, ends[0], LONG_NS);
    CHECK_INT(mj_select(cases, 4, LONG_NS), ==, of_xchan);
    CHECK_INT(cases[of_xchan].result, ==, 0);
    CHECK_UINT(elements[0], ==, i);
    join(sender);
  }
  // The others still work while an xchan is waited for.
  fill_in(cases, elements, ends[0], 1000000);
  CHECK_INT(mj_select(cases, 4, LONG_NS), ==, of_time);
  CHECK_INT(mj_chan_try_send(chan, &number), ==, 0);
  fill_in(cases, elements, ends[0], LONG_NS);
  CHECK_INT(mj_select(cases, 4, LONG_NS), ==, of_chan);
  CHECK_UINT(elements[1], ==, 5);
  CHECK_INT(write(ends[1], "x", 1), ==, 1);
  fill_in(cases, elements, ends[0], LONG_NS);
  CHECK_INT(mj_select(cases, 4, LONG_NS), ==, of_pipe);
  // Both can be done: each is, at times.
  int chosen[4] = {0};
  for (int i = 0; i < 200; i++) {
    if (mj_xchan_length(xchan) == 0) CHECK_INT(send_number(6), ==, 0);
    if (mj_chan_length(chan) == 0) CHECK_INT(mj_chan_try_send(chan, &number), ==, 0);
    fill_in(cases, elements, ends[0], LONG_NS);
    chosen[mj_select(cases, 2, LONG_NS)]++;
  }
  CHECK_INT(chosen[of_xchan], >, 20);
  CHECK_INT(chosen[of_chan], >, 20);
  while (mj_xchan_length(xchan) > 0) CHECK_INT(receive(0), ==, 6);
  // A send that has to wait, beside a receive from the same channel, which never could be done.
  CHECK_INT(send_number(1), ==, 0);
  pthread_t receiver = start(receives_later, (void*)1);
  number = 9;
  mj_select_case sending[2];
  memset(sending, 0, sizeof sending);
  sending[0].op = MJ_SELECT_XSEND;
  sending[1].op = MJ_SELECT_XRECV;
  sending[0].xchan = xchan;
  sending[0].element = &number;
  CHECK_INT(mj_select(sending, 2, LONG_NS), ==, 0);
  join(receiver);
  CHECK_INT(receive(0), ==, 9);
  // Closed.
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  fill_in(cases, elements, ends[0], LONG_NS);
  CHECK_INT(mj_select(cases, 1, LONG_NS), ==, of_xchan);
  CHECK_INT(cases[of_xchan].result, ==, -EPIPE);
  CHECK_INT(mj_select(sending, 1, LONG_NS), ==, 0);
  CHECK_INT(sending[0].result, ==, -EPIPE);
  sending[0].element = NULL;
  CHECK_INT(mj_select(sending, 1, LONG_NS), ==, -EINVAL);
  CHECK_INT(mj_chan_destroy(chan), ==, 0);
  for (int i = 0; i < 2; i++) close(ends[i]);
}

static void a_select_takes_them(void) {
  make(1);
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, selects, NULL);
  run(scheduler);
  mj_scheduler_destroy(scheduler);
  // On a thread without a scheduler only a try.
  uint64_t number;
  mj_select_case one;
  memset(&one, 0, sizeof one);
  one.op = MJ_SELECT_XRECV;
  one.xchan = xchan;
  one.element = &number;
  CHECK_INT(mj_try_select(&one, 1), ==, 0);
  CHECK_INT(one.result, ==, -EPIPE);
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_select(&one, 1, LONG_NS), ==, -EPERM));
  log_lines_end();
  unmake();
}

static uint64_t selected;

// Several selects on two channels, from tasks of two schedulers, lose nothing.
static mj_xchan* second;

static void selects_until_closed(void* argument) {
  (void)argument;
  bool open[2] = {true, true};
  while (open[0] || open[1]) {
    uint64_t elements[2];
    mj_select_case cases[2];
    memset(cases, 0, sizeof cases);
    for (int i = 0; i < 2; i++) {
      cases[i].op = MJ_SELECT_XRECV;
      cases[i].xchan = !open[i] ? NULL : i == 0 ? xchan : second;
      cases[i].element = &elements[i];
    }
    int chosen = mj_select(cases, 2, LONG_NS);
    CHECK(chosen == 0 || chosen == 1);
    if (cases[chosen].result == 0) {
      __atomic_fetch_add(&selected, 1, __ATOMIC_RELAXED);
    } else {
      CHECK_INT(cases[chosen].result, ==, -EPIPE);
      open[chosen] = false;
    }
  }
}

static mj_go_fn selecting_task = selects_until_closed;

static void* sends_to_the_second(void* argument) {
  (void)argument;
  for (uint64_t i = 1; i <= each; i++) CHECK_INT(mj_xchan_send(second, &i, LONG_NS), ==, 0);
  return NULL;
}

static void selects_of_several_schedulers_lose_nothing(void) {
  make(2);
  second = mj_xchan_create(sizeof(uint64_t), 3);
  begin_counting(times(30000, 500));
  selected = 0;
  pthread_t receivers[] = {start(runs_one_task, &selecting_task),
                           start(runs_one_task, &selecting_task)};
  pthread_t senders[] = {start(sends_its_numbers, (void*)1), start(sends_to_the_second, NULL)};
  for (int i = 0; i < 2; i++) join(senders[i]);
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  CHECK_INT(mj_xchan_close(second), ==, 0);
  for (int i = 0; i < 2; i++) join(receivers[i]);
  CHECK_UINT(selected, ==, 2 * each);
  mj_xchan_release(second);
  unmake();
}

// ---- Schedulers that stall, stop, and go ----

static int stalling;

static void stalls(void* argument) {
  (void)argument;
  __atomic_store_n(&stalling, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&stalling, __ATOMIC_SEQ_CST) == 1) usleep(100);  // It blocks its thread.
}

static void* stalls_with_a_waiter(void* result) {
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, receives_once, result);
  add(scheduler, stalls, NULL);
  run(scheduler);
  mj_scheduler_destroy(scheduler);
  return NULL;
}

// An element that comes while one scheduler is stalled goes to another.
static void a_stalled_scheduler_holds_up_no_other(void) {
  make(4);
  for (int kind = 0; kind < 2; kind++) {
    stalling = 0;
    results[0] = results[1] = 0;
    pthread_t stalled = start(stalls_with_a_waiter, &results[0]);
    while (__atomic_load_n(&stalling, __ATOMIC_SEQ_CST) == 0) usleep(100);
    waiting = receives_once;
    pthread_t other = start(kind == 0 ? waits_on_a_thread : waits_in_tasks, &results[1]);
    usleep((useconds_t)times(10000, 200000));
    int receivers = kind == 0 ? 1 : waiter_count - 1;
    for (int i = 0; i < receivers; i++) CHECK_INT(send_number(3), ==, 0);
    join(other);
    CHECK_INT(results[0], ==, 0);
    __atomic_store_n(&stalling, 2, __ATOMIC_SEQ_CST);
    CHECK_INT(send_number(4), ==, 0);
    join(stalled);
    CHECK_INT(results[0], ==, 4);
  }
  unmake();
}

static void stops(void* argument) {
  (void)argument;
  mj_scheduler_stop(mj_scheduler_current());
  mj_task_yield();
}

// A scheduler that is not run keeps no element from others; when it is destroyed with its tasks, the channel
// goes on without it.
static void a_scheduler_may_stop_or_go_with_waiters(void) {
  for (int destroyed = 0; destroyed < 2; destroyed++) {
    make(2);
    mj_scheduler* scheduler = new_scheduler();
    add(scheduler, receives_once, &results[0]);
    add(scheduler, stops, NULL);
    results[0] = 0;
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
    if (destroyed) mj_scheduler_destroy(scheduler);
    begun = 0;
    waiting = receives_once;
    results[1] = 0;
    pthread_t other = start(waits_on_a_thread, &results[1]);
    usleep(5000);
    CHECK_INT(send_number(3), ==, 0);
    join(other);
    CHECK_INT(results[1], ==, 3);
    if (!destroyed) {
      CHECK_INT(send_number(4), ==, 0);
      run(scheduler);
      CHECK_INT(results[0], ==, 4);
      mj_scheduler_destroy(scheduler);
    }
    unmake();
  }
}

static void receives_for_ever(void* argument) { *(int64_t*)argument = receive(MJ_FOREVER); }

static void gives_the_run_up(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_set_daemon(true), ==, 0);
  if (mj_sleep_ns(UINT64_C(20000000000)) == 0) mj_scheduler_stop(mj_scheduler_current());
}

// An element that comes while no scheduler runs is for the one that runs first, whoever has waited first. (A
// limit of the receive would hide a note that is missing: who gives up looks once more.)
static void an_element_waits_for_whichever_scheduler_runs_first(void) {
  for (int first = 0; first < 2; first++) {
    make(2);
    mj_scheduler* schedulers[2];
    for (int i = 0; i < 2; i++) {
      results[i] = 0;
      schedulers[i] = new_scheduler();
      add(schedulers[i], receives_for_ever, &results[i]);
      add(schedulers[i], stops, NULL);
      CHECK_INT(mj_run(schedulers[i]), ==, MJ_RUN_STOPPED);
    }
    CHECK_INT(send_number(3), ==, 0);
    for (int i = 0; i < 2; i++) {
      int which = i == 0 ? first : 1 - first;
      add(schedulers[which], gives_the_run_up, NULL);
      run(schedulers[which]);
      CHECK_INT(results[which], ==, 3 + i);
      mj_scheduler_destroy(schedulers[which]);
      if (i == 0) CHECK_INT(send_number(4), ==, 0);
    }
    unmake();
  }
}

// The message for a task is on its way when its scheduler is destroyed: another party is told.
static void a_message_that_is_abandoned_is_handed_on(void) {
  make(2);
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, receives_once, &results[0]);
  add(scheduler, stops, NULL);
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  CHECK_INT(send_number(3), ==, 0);
  begun = 0;
  results[1] = 0;
  waiting = receives_once;
  pthread_t other = start(waits_on_a_thread, &results[1]);
  join(other); // It looks before it waits.
  CHECK_INT(results[1], ==, 3);
  mj_scheduler_destroy(scheduler);
  unmake();
}

// The program drops its references while a task waits: the channel stays as long as it is needed.
static void a_channel_outlives_its_references_while_a_task_waits(void) {
  for (int sent = 0; sent < 2; sent++) {
    make(1);
    mj_scheduler* scheduler = new_scheduler();
    add(scheduler, receives_once, &results[0]);
    add(scheduler, stops, NULL);
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
    if (sent) CHECK_INT(send_number(1), ==, 0);
    unmake();
    mj_scheduler_destroy(scheduler);
  }
}

// Many schedulers, one after the other, use the same channel: descriptors and memory are not kept.
static void a_channel_outlives_schedulers(void) {
  make(1);
  mj_scheduler* kept = new_scheduler();
  for (size_t i = 0; i < times(2000, 50); i++) {
    mj_scheduler* scheduler = new_scheduler();
    add(scheduler, gives_up_late, NULL);
    add(scheduler, stops, NULL);
    CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
    mj_scheduler_destroy(scheduler);
  }
  mj_scheduler_destroy(kept);
  unmake();
}

// ---- A run goes on ----

static void parks(void* argument) {
  (void)argument;
  CHECK_INT(mj_task_park(MJ_FOREVER), ==, 0);
}

static void* sends_when_warned(void* number) {
  while (log_lines_from(MJ_LOG_WARN) == 0) usleep(1000);
  return sends_later(number);
}

static void a_run_waits_for_other_threads(void) {
  make(1);
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, receives_for_ever, &results[0]);
  log_lines_begin();
  pthread_t sender = start(sends_when_warned, (void*)6);
  run(scheduler);
  // Once: that nothing here can wake the task.
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  log_lines_end();
  join(sender);
  CHECK_INT(results[0], ==, 6);
  mj_scheduler_destroy(scheduler);
  // When nobody waits there any more, a deadlock is one.
  scheduler = new_scheduler();
  add(scheduler, gives_up_late, NULL);
  add(scheduler, parks, NULL);
  log_lines_begin();
  CHECK_INT(mj_run(scheduler), ==, -EDEADLK);
  log_lines_end();
  CHECK_INT(late_result, ==, -ETIMEDOUT);
  mj_scheduler_destroy(scheduler);
  unmake();
}

// ---- A child of fork() ----

static void uses_it_in_a_child(void) {
  uint64_t number = 9;
  while (mj_xchan_try_recv(xchan, &number) == 0) {
  }
  CHECK_INT(mj_xchan_try_recv(xchan, &number), ==, -EAGAIN);
  CHECK_INT(mj_xchan_try_send(xchan, &number), ==, 0);
  CHECK_INT(receive(LONG_NS), ==, (int64_t)number);
  CHECK_INT(receive(1000), ==, -ETIMEDOUT);
  if (sanitized()) return;  // ThreadSanitizer allows no threads here.
  // Waits that begin here work.
  pthread_t sender = start(sends_later, (void*)4);
  CHECK_INT(receive(LONG_NS), ==, 4);
  join(sender);
  mj_scheduler* scheduler = new_scheduler();
  add(scheduler, receives_once, &results[0]);
  sender = start(sends_later, (void*)5);
  run(scheduler);
  join(sender);
  CHECK_INT(results[0], ==, 5);
  mj_scheduler_destroy(scheduler);
  unmake();
}

static void a_child_of_fork_can_use_it(void) {
  make(2);
  pthread_t threads[4];
  begin_waiting(receives_once, threads);
  CHECK_INT(status_of_child(uses_it_in_a_child), ==, 0);
  for (uint64_t i = 0; i < 2 * waiter_count; i++) CHECK_INT(send_number(i), ==, 0);
  for (int i = 0; i < 4; i++) join(threads[i]);
  unmake();
}

static mj_task_id receiver;

static void cancels_the_receiver_in_a_child(void* unused) {
  (void)unused;
  pid_t child = fork();
  CHECK_INT(child, >=, 0);
  if (child == 0) {
    alarm(50);
    CHECK_INT(mj_scheduler_cancel(mj_scheduler_current(), receiver), ==, 0);
    mj_task_yield();
    _exit(results[0] == -ECANCELED ? 0 : 1);
  }
  CHECK_INT(status_of(child), ==, 0);
  CHECK_INT(send_number(4), ==, 0);
}

// Who waits is not in the list there.
static void a_wait_is_left_in_a_child(void) {
  make(1);
  mj_scheduler* scheduler = new_scheduler();
  CHECK_INT(mj_go(scheduler, receives_once, &results[0], &receiver), ==, 0);
  add(scheduler, cancels_the_receiver_in_a_child, NULL);
  run(scheduler);
  CHECK_INT(results[0], ==, 4);
  mj_scheduler_destroy(scheduler);
  unmake();
}

static void looks_in_a_child(void) {
  uint64_t number = 1;
  for (int i = 0; i < 10; i++) {
    int result = mj_xchan_try_recv(xchan, &number);
    CHECK(result == 0 || result == -EAGAIN);
    result = mj_xchan_try_send(xchan, &number);
    CHECK(result == 0 || result == -EAGAIN);
  }
  int64_t received = receive(100000);
  CHECK(received >= 0 || received == -ETIMEDOUT);
  int closed = mj_xchan_close(xchan);
  CHECK(closed == 0 || closed == -EPIPE);
}

// At any moment of what other threads do: nothing hangs in the child.
static void no_call_hangs_in_a_child(void) {
  make(2);
  begin_counting(times(100000, 500));
  pthread_t receivers[] = {start(runs_one_task, &receiving_task), start(receives_in_order, NULL)};
  pthread_t senders[] = {start(sends_its_numbers, (void*)1), start(sends_its_numbers, (void*)2)};
  for (size_t i = 0; i < times(50, 3); i++) CHECK_INT(status_of_child(looks_in_a_child), ==, 0);
  for (int i = 0; i < 2; i++) join(senders[i]);
  CHECK_INT(mj_xchan_close(xchan), ==, 0);
  for (int i = 0; i < 2; i++) join(receivers[i]);
  check_counted(2);
  unmake();
}

// ---- A stop before a send

static mj_xchan* of_two;
static int received_by_thread;

static void waits_in_a_task(void* argument) {
  (void)argument;
  int element;
  CHECK_INT(mj_xchan_recv(of_two, &element, MJ_FOREVER), ==, 0);
  CHECK(false);  // The run has been stopped.
}

static void* runs_until_it_is_stopped(void* scheduler) {
  CHECK_INT(mj_run(scheduler), ==, MJ_RUN_STOPPED);
  return NULL;
}

static void* receives_one(void* argument) {
  (void)argument;
  int element;
  CHECK_INT(mj_xchan_recv(of_two, &element, MJ_FOREVER), ==, 0);
  received_by_thread = element;  // Read when this thread has been joined.
  return NULL;
}

// What is sent after a stop is not for the tasks that have been stopped.
static void a_stop_before_a_send_holds_up_no_other(void) {
  for (int i = 1; i <= 50; i++) {
    of_two = mj_xchan_create(sizeof(int), 4);
    mj_scheduler* scheduler = new_scheduler();
    mj_remote* remote = mj_scheduler_remote(scheduler);
    CHECK_INT(mj_go(scheduler, waits_in_a_task, NULL, NULL), ==, 0);
    pthread_t runs = start(runs_until_it_is_stopped, scheduler);
    mj_metrics counters = {0};
    while (counters.task_executions == 0) {  // Until the task waits.
      usleep(100);
      CHECK_INT(mj_remote_metrics(remote, &counters, sizeof counters), ==, 0);
    }
    pthread_t receives = start(receives_one, NULL);
    usleep(500);
    CHECK_INT(mj_remote_stop(remote), ==, 0);
    CHECK_INT(mj_xchan_send(of_two, &i, MJ_FOREVER), ==, 0);
    join(receives);
    CHECK_INT(received_by_thread, ==, i);
    join(runs);
    mj_remote_release(remote);
    mj_scheduler_destroy(scheduler);
    mj_xchan_release(of_two);
  }
}

int main(void) {
  RUN(elements_are_copied_whole);
  RUN(misuse_is_an_error);
  RUN(it_lives_as_long_as_a_reference);
  RUN(what_threads_send_reaches_a_task_in_order);
  RUN(all_kinds_of_ends_work_together);
  RUN(one_scheduler_may_have_both_ends);
  RUN(a_close_ends_all_waits);
  RUN(each_waiter_gets_an_element);
  RUN(a_close_loses_nothing);
  RUN(limits_are_kept);
  RUN(one_that_gives_up_looks_once_more);
  RUN(nothing_is_lost_with_one_that_gives_up);
  RUN(a_select_takes_them);
  RUN(selects_of_several_schedulers_lose_nothing);
  RUN(a_stalled_scheduler_holds_up_no_other);
  RUN(a_scheduler_may_stop_or_go_with_waiters);
  RUN(a_stop_before_a_send_holds_up_no_other);
  RUN(an_element_waits_for_whichever_scheduler_runs_first);
  RUN(a_message_that_is_abandoned_is_handed_on);
  RUN(a_channel_outlives_its_references_while_a_task_waits);
  RUN(a_channel_outlives_schedulers);
  RUN(a_run_waits_for_other_threads);
  if (!emulated()) {  // The emulator fails when a child of a program with threads makes one.
    RUN(a_child_of_fork_can_use_it);
    RUN(a_wait_is_left_in_a_child);
    RUN(no_call_hangs_in_a_child);
  }
  return 0;
}
