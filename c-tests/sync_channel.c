// Channels and selects: elements in memory, ownership of the cases, and channels outside tasks.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

#include <poll.h>

static mj_chan* chan;

static void make(size_t capacity) {
  chan = mj_chan_create(scheduler, sizeof(uint64_t), capacity);
  CHECK(chan != NULL);
}

static void unmake(void) { CHECK_INT(mj_chan_destroy(chan), ==, 0); }

// ---- Elements ----

// Elements of any size, at any address; guard bytes around them are not touched.
static void elements_are_copied_whole(void) {
  for (size_t bytes = 0; bytes < 70; bytes++) {
    for (size_t capacity = 0; capacity < 3; capacity++) {
      mj_chan* odd = mj_chan_create(scheduler, bytes, capacity);
      CHECK(odd != NULL);
      unsigned char out[100], in[100];
      memset(in, 0xEE, sizeof in);
      for (size_t i = 0; i < sizeof out; i++) out[i] = (unsigned char)(i * 7 + bytes);
      for (size_t i = 0; i < capacity; i++) CHECK_INT(mj_chan_try_send(odd, out + 3), ==, 0);
      CHECK_INT(mj_chan_try_send(odd, out + 3), ==, -EAGAIN);
      for (size_t i = 0; i < capacity; i++) {
        CHECK_INT(mj_chan_try_recv(odd, in + 5), ==, 0);
        CHECK_INT(memcmp(in + 5, out + 3, bytes), ==, 0);
        CHECK_INT(in[4], ==, 0xEE);
        CHECK_INT(in[5 + bytes], ==, 0xEE);
      }
      CHECK_INT(mj_chan_try_recv(odd, in + 5), ==, -EAGAIN);
      CHECK_INT(mj_chan_destroy(odd), ==, 0);
    }
  }
  // With element size 0 there is only a count: there is no memory for that many elements.
  chan = mj_chan_create(scheduler, 0, SIZE_MAX);
  CHECK(chan != NULL);
  for (int i = 0; i < 1000; i++) CHECK_INT(mj_chan_send(chan, NULL, MJ_FOREVER), ==, 0);
  CHECK_UINT(mj_chan_length(chan), ==, 1000);
  for (int i = 0; i < 1000; i++) CHECK_INT(mj_chan_recv(chan, NULL, MJ_FOREVER), ==, 0);
  CHECK_INT(mj_chan_try_recv(chan, NULL), ==, -EAGAIN);
  unmake();
}

// Sent from and received into overlapping memory.
enum { large = 1 << 16, shift = 64 };

static unsigned char shared[large + shift];

static void sends_shared(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_chan_send(chan, shared, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

static void receives_shared(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_chan_recv(chan, shared + shift, MJ_FOREVER), ==, 0);
  mj_task_exit();
}

static void an_element_may_move_within_memory(void) {
  mj_task_fn* const orders[2][2] = {{sends_shared, receives_shared},
                                    {receives_shared, sends_shared}};
  for (int i = 0; i < 2; i++) {
    chan = mj_chan_create(scheduler, large, 0);
    CHECK(chan != NULL);
    for (int j = 0; j < large; j++) shared[j] = (unsigned char)(j * 7 + j / 256);
    for (int j = 0; j < 2; j++) add_task(scheduler, orders[i][j], NULL);
    mj_task_sleep_ms(1);
    for (int j = 0; j < large; j++) {
      CHECK_INT(shared[shift + j], ==, (unsigned char)(j * 7 + j / 256));
    }
    unmake();
  }
}

// ---- Cases ----

// A select with two cases, which its owner keeps.
typedef struct choice {
  call call;
  mj_select_case cases[2];
  uint64_t values[2];
} choice;

static void set_case(choice* one, size_t index, mj_chan* of, mj_select_op op, uint64_t value) {
  one->values[index] = value;
  // What the library stores there is private to it.
  memset(&one->cases[index], 0xA5, sizeof one->cases[index]);
  memset(one->cases[index].reserved, 0, sizeof one->cases[index].reserved);
  one->cases[index].chan = of;
  one->cases[index].op = op;
  one->cases[index].element = &one->values[index];
}

static int selects(call* self) {
  choice* one = (choice*)self->object;
  return mj_select(one->cases, 2, self->timeout_ns);
}

// Tasks that share their cases.
static void two_waits_cannot_share_their_cases(void) {
  make(0);
  mj_chan* other = mj_chan_create(scheduler, sizeof(uint64_t), 0);
  choice one;
  uint64_t five = 5, value;
  set_case(&one, 0, chan, MJ_SELECT_RECV, 0);
  set_case(&one, 1, other, MJ_SELECT_SEND, 7);
  begin(&one.call, selects, &one, 0, MJ_FOREVER);
  check_waiting(&one.call);
  // This task's select, with all or some of the cases, is refused; the first task's wait is not
  // affected.
  CHECK_INT(mj_select(one.cases, 2, LONG_NS), ==, -EBUSY);
  CHECK_INT(mj_select(one.cases + 1, 1, LONG_NS), ==, -EBUSY);
  CHECK(!one.call.returned);
  CHECK_INT(mj_try_select(one.cases, 2), ==, -EBUSY);
  CHECK_INT(mj_chan_try_send(chan, &five), ==, 0);
  CHECK_INT(result_of(&one.call), ==, 0);
  CHECK_INT(one.cases[0].result, ==, 0);
  CHECK_UINT(one.values[0], ==, 5);
  // After the wait they are free for the next one.
  CHECK_INT(mj_select(one.cases, 2, 1000), ==, -ETIMEDOUT);
  CHECK_INT(mj_chan_try_recv(other, &value), ==, -EAGAIN);
  CHECK_INT(mj_chan_destroy(other), ==, 0);
  unmake();
}

static int selects_one(call* self) { return mj_select((mj_select_case*)self->object, 1, self->timeout_ns); }

static int parks(call* self) { return mj_task_park(self->timeout_ns); }

static void two_waits_cannot_share_a_case_of_another_thing(void) {
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  call parked;
  begin(&parked, parks, NULL, 0, MJ_FOREVER);
  mj_xchan* xchan = mj_xchan_create(sizeof(uint64_t), 1);
  CHECK(xchan != NULL);
  uint64_t value;
  mj_select_case cases[] = {
      {.op = MJ_SELECT_FD, .fd = ends[0], .events = POLLIN},
      {.op = MJ_SELECT_TASK, .task = mj_task_get_id(parked.task)},
      {.op = MJ_SELECT_XRECV, .xchan = xchan, .element = &value},
  };
  for (int i = 0; i < 3; i++) {
    call first;
    begin(&first, selects_one, &cases[i], 0, MJ_FOREVER);
    check_waiting(&first);
    CHECK_INT(mj_try_select(&cases[i], 1), ==, -EBUSY);
    check_waiting(&first);
    CHECK_INT(mj_task_cancel(first.task), ==, 0);
    CHECK_INT(result_of(&first), ==, -ECANCELED);
    // What is left in it does not count, nor does what was there before.
    CHECK_INT(mj_try_select(&cases[i], 1), ==, -EAGAIN);
    memset(cases[i].internal, 0xA5, sizeof cases[i].internal);
    CHECK_INT(mj_try_select(&cases[i], 1), ==, -EAGAIN);
  }
  CHECK_INT(mj_task_cancel(parked.task), ==, 0);
  CHECK_INT(result_of(&parked), ==, -ECANCELED);
  mj_xchan_release(xchan);
  close(ends[0]);
  close(ends[1]);
}

static int cancels_itself_and_selects(call* self) {
  mj_task_cancel(mj_task_current());
  return selects(self);
}

static int spends_its_budget_and_selects(call* self) {
  for (int i = 0; i < 64; i++) CHECK_INT(mj_task_join(0, 0), ==, -ESRCH);
  return selects(self);
}

// The first task yields in its select; the second one waits with the same cases meanwhile. What the
// first is told then leaves that wait alone.
static void a_select_that_has_yielded_leaves_the_wait_of_another_alone(void) {
  int (*firsts[])(call*) = {cancels_itself_and_selects, spends_its_budget_and_selects};
  int expected[] = {-ECANCELED, -EBUSY};
  for (int i = 0; i < 2; i++) {
    make(0);
    choice one;
    call first = {.make = firsts[i], .object = &one, .timeout_ns = MJ_FOREVER};
    uint64_t five = 5;
    set_case(&one, 0, chan, MJ_SELECT_RECV, 0);
    set_case(&one, 1, NULL, MJ_SELECT_SEND, 0);
    spawn_call(&first);
    begin(&one.call, selects, &one, 0, MJ_FOREVER);
    CHECK_INT(result_of(&first), ==, expected[i]);
    check_waiting(&one.call);
    CHECK_INT(mj_chan_try_send(chan, &five), ==, 0);
    CHECK_INT(result_of(&one.call), ==, 0);
    CHECK_UINT(one.values[0], ==, 5);
    unmake();
  }
}

// Whatever other cases there are, what comes after the cancellation is left to others.
static void a_canceled_select_takes_nothing(void) {
  const mj_select_case others[] = {
      {.chan = NULL}, {.op = MJ_SELECT_DEADLINE, .deadline_ns = MJ_FOREVER}, {.op = MJ_SELECT_FD, .fd = -1}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    make(1);
    choice one;
    uint64_t five = 5;
    set_case(&one, 0, chan, MJ_SELECT_RECV, 0);
    one.cases[1] = others[i];
    begin(&one.call, selects, &one, 0, MJ_FOREVER);
    CHECK_INT(mj_task_cancel(one.call.task), ==, 0);
    CHECK_INT(mj_chan_try_send(chan, &five), ==, 0);
    CHECK_INT(result_of(&one.call), ==, -ECANCELED);
    CHECK_UINT(mj_chan_length(chan), ==, 1);
    unmake();
  }
}

static void a_select_without_channels_only_times_out(void) {
  choice one;
  for (size_t i = 0; i < 2; i++) set_case(&one, i, NULL, MJ_SELECT_RECV, 0);
  uint64_t before = now_ns();
  CHECK_INT(mj_select(NULL, 0, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(mj_select(one.cases, 2, 1000000), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - before, >=, 2000000);
  CHECK_INT(mj_select(one.cases, 2, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_try_select(one.cases, 2), ==, -EAGAIN);
  CHECK_INT(mj_try_select(NULL, 0), ==, -EAGAIN);
}

static void the_result_of_a_case_says_that_it_is_closed(void) {
  for (int op = 0; op < 2; op++) {
    make(0);
    choice one;
    set_case(&one, 0, NULL, MJ_SELECT_RECV, 0);
    set_case(&one, 1, chan, (mj_select_op)op, 3);
    begin(&one.call, selects, &one, 0, MJ_FOREVER);
    CHECK_INT(mj_chan_close(chan), ==, 0);
    CHECK_INT(result_of(&one.call), ==, 1);
    CHECK_INT(one.cases[1].result, ==, -EPIPE);
    one.cases[1].result = 0;
    CHECK_INT(mj_try_select(one.cases, 2), ==, 1);
    CHECK_INT(one.cases[1].result, ==, -EPIPE);
    CHECK_UINT(one.values[1], ==, 3);
    unmake();
  }
}

// ---- From outside a task ----

static int wait_and_send(mj_scheduler* waiting, uint64_t timeout_ns, void* user_data) {
  (void)waiting;
  uint64_t* next = user_data;
  if (timeout_ns == 0) return 0;
  CHECK_INT(mj_chan_send(chan, next, MJ_FOREVER), ==, -EPERM);
  CHECK_INT(mj_chan_try_send(chan, next), ==, 0);
  (*next)++;
  return 1;
}

static void receives_from_the_wait_function(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  for (uint64_t i = 100; i < 110; i++) {
    uint64_t value = 0;
    CHECK_INT(mj_chan_recv(chan, &value, MJ_FOREVER), ==, 0);
    CHECK_UINT(value, ==, i);
  }
  mj_task_exit();
}

static void sending_works_outside_tasks(void) {
  log_lines_begin();
  scheduler = new_scheduler();
  count_calls_only(scheduler);
  make(3);
  uint64_t next = 100;
  for (; next < 103; next++) CHECK_INT(mj_chan_try_send(chan, &next), ==, 0);
  CHECK_INT(mj_chan_send(chan, &next, MJ_FOREVER), ==, -EPERM);
  mj_scheduler_set_wait_func(scheduler, wait_and_send, &next);
  add_task(scheduler, receives_from_the_wait_function, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->current_tasks, ==, 0);
  mj_scheduler_destroy(scheduler);
  unmake();
  log_lines_end();
}

static int receives(call* self) {
  return mj_chan_recv(self->object, &self->value, self->timeout_ns);
}

static int scribbles(call* self) {
  volatile char stack[16384];
  memset((char*)stack, 0xA5, sizeof stack);
  return stack[self->value];
}

static char dumped[4096];

// Receives the parts of a dump; at the right one, the task that it describes ends, and another task
// gets its stack.
static ssize_t ends_a_wait(void* cookie, const char* text, size_t bytes) {
  (void)cookie;
  strncat(dumped, text, bytes);
  static call other;
  size_t length = strlen(dumped), end = strlen("waiting for ");
  if (length >= end && strcmp(dumped + length - end, "waiting for ") == 0) {
    CHECK_INT(mj_chan_close(chan), ==, 0);
    settle();
    begin(&other, scribbles, NULL, 0, 0);
  }
  return (ssize_t)bytes;
}

static void a_wait_may_end_while_it_is_dumped(void) {
  make(0);
  call one;
  begin(&one, receives, chan, 0, MJ_FOREVER);
  FILE* stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = ends_a_wait});
  CHECK(stream != NULL);
  setvbuf(stream, NULL, _IONBF, 0);
  mj_scheduler_dump(scheduler, stream);
  fclose(stream);
  CHECK_INT(one.result, ==, -EPIPE);
  char expected[64];
  snprintf(expected, sizeof expected, "waiting for channel %p", (void*)chan);
  CHECK(strstr(dumped, expected) != NULL);
  unmake();
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_IN_TASK(elements_are_copied_whole);
  RUN_IN_TASK(an_element_may_move_within_memory);
  RUN_IN_TASK(two_waits_cannot_share_their_cases);
  RUN_IN_TASK(two_waits_cannot_share_a_case_of_another_thing);
  RUN_IN_TASK(a_select_that_has_yielded_leaves_the_wait_of_another_alone);
  RUN_IN_TASK(a_canceled_select_takes_nothing);
  RUN_IN_TASK(a_select_without_channels_only_times_out);
  RUN_IN_TASK(the_result_of_a_case_says_that_it_is_closed);
  RUN(sending_works_outside_tasks);
  RUN_IN_TASK(a_wait_may_end_while_it_is_dumped);
  return 0;
}
