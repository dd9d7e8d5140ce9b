// Channels.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

static mj_chan* chan;

static void with(void (*body)(void)) {
  returned_count = 0;
  in_a_task(body);
}

static void make(size_t capacity) {
  chan = mj_chan_create(scheduler, sizeof(uint64_t), capacity);
  CHECK(chan != NULL);
}

static void unmake(void) { CHECK_INT(mj_chan_destroy(chan), ==, 0); }

static int sends(call* self) {
  return call_returned(self, mj_chan_send(self->object, &self->value, self->timeout_ns));
}

static int receives(call* self) {
  return call_returned(self, mj_chan_recv(self->object, &self->value, self->timeout_ns));
}

static int put(uint64_t value) { return mj_chan_send(chan, &value, UINT64_MAX); }
static int try_put(uint64_t value) { return mj_chan_try_send(chan, &value); }

static uint64_t take(void) {
  uint64_t value = 0;
  CHECK_INT(mj_chan_recv(chan, &value, UINT64_MAX), ==, 0);
  return value;
}

static int try_take(void) {
  uint64_t value;
  return mj_chan_try_recv(chan, &value);
}

// ---- Elements ----

static void buffers(void) {
  make(3);
  CHECK_INT(try_take(), ==, -EAGAIN);
  // Round the buffer several times.
  uint64_t sent = 0, received = 0;
  for (int i = 0; i < 20; i++) {
    while (try_put(sent) == 0) sent++;
    CHECK_UINT(mj_chan_length(chan), ==, 3);
    CHECK_INT(try_put(77), ==, -EAGAIN);
    for (int k = 0; k < 1 + i % 3; k++) CHECK_UINT(take(), ==, received++);
  }
  while (mj_chan_length(chan) > 0) CHECK_UINT(take(), ==, received++);
  CHECK_UINT(received, ==, sent);
  CHECK_INT(try_take(), ==, -EAGAIN);
  unmake();
}

static void elements_come_out_in_order(void) { with(buffers); }

// Elements of any size, at any address; guard bytes around them stay.
static void copies(void) {
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
  // Only how often: there is no memory for that many.
  chan = mj_chan_create(scheduler, 0, SIZE_MAX);
  CHECK(chan != NULL);
  for (int i = 0; i < 1000; i++) CHECK_INT(mj_chan_send(chan, NULL, UINT64_MAX), ==, 0);
  CHECK_UINT(mj_chan_length(chan), ==, 1000);
  for (int i = 0; i < 1000; i++) CHECK_INT(mj_chan_recv(chan, NULL, UINT64_MAX), ==, 0);
  CHECK_INT(mj_chan_try_recv(chan, NULL), ==, -EAGAIN);
  unmake();
}

static void elements_are_copied_whole(void) { with(copies); }

static void does_not_suspend(void) {
  make(2);
  uint64_t turns = mj_scheduler_get_metrics(scheduler)->task_executions;
  for (uint64_t i = 0; i < 100; i++) {
    CHECK_INT(put(i), ==, 0);
    CHECK_INT(put(i + 1), ==, 0);
    CHECK_UINT(take(), ==, i);
    CHECK_UINT(take(), ==, i + 1);
  }
  CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, ==, turns);
  unmake();
}

static void what_can_be_done_is_done_at_once(void) { with(does_not_suspend); }

// ---- Waiting ----

static void sends_in_order(void) {
  for (size_t capacity = 0; capacity < 3; capacity++) {
    returned_count = 0;
    make(capacity);
    for (uint64_t i = 0; i < capacity; i++) CHECK_INT(put(i), ==, 0);
    call calls[4];
    for (size_t i = 0; i < 4; i++) begin(&calls[i], sends, chan, capacity + i, UINT64_MAX);
    for (size_t i = 0; i < 4; i++) check_waiting(&calls[i]);
    CHECK_INT(try_put(77), ==, -EAGAIN);
    CHECK_UINT(mj_chan_length(chan), ==, capacity);
    CHECK_INT(mj_chan_destroy(chan), ==, -EBUSY);
    for (uint64_t i = 0; i < 4; i++) {
      CHECK_UINT(take(), ==, i);
      // The element of the first one that waits has taken the place.
      CHECK_UINT(mj_chan_length(chan), ==, capacity);
      CHECK_INT(try_put(77), ==, -EAGAIN);
      CHECK_UINT(returned_count, ==, i);
      settle();
      CHECK_UINT(returned_count, ==, i + 1);
      CHECK_PTR(returned_calls[i], ==, &calls[i]);
      CHECK_INT(calls[i].result, ==, 0);
    }
    for (uint64_t i = 4; i < 4 + capacity; i++) CHECK_UINT(take(), ==, i);
    CHECK_INT(try_take(), ==, -EAGAIN);
    unmake();
  }
}

static void senders_wait_in_order(void) { with(sends_in_order); }

static void receives_in_order(void) {
  for (size_t capacity = 0; capacity < 3; capacity++) {
    returned_count = 0;
    make(capacity);
    call calls[4];
    for (size_t i = 0; i < 4; i++) begin(&calls[i], receives, chan, 0, LONG_NS);
    CHECK_INT(mj_chan_destroy(chan), ==, -EBUSY);
    for (uint64_t i = 0; i < 4; i++) CHECK_INT(i % 2 == 0 ? put(i) : try_put(i), ==, 0);
    // Nobody takes from them what they were given.
    CHECK_INT(try_take(), ==, -EAGAIN);
    CHECK_UINT(mj_chan_length(chan), ==, 0);
    for (size_t i = 0; i < 4; i++) {
      CHECK_INT(result_of(&calls[i]), ==, 0);
      CHECK_PTR(returned_calls[i], ==, &calls[i]);
      CHECK_UINT(calls[i].value, ==, i);
    }
    unmake();
  }
}

static void receivers_wait_in_order(void) { with(receives_in_order); }

static void ends_waits(void) {
  for (int sending = 0; sending < 2; sending++) {
    make(0);
    call patient;
    check_other_ends(sending ? sends : receives, chan, &patient);
    // Nothing of theirs is left: the one element goes to or comes from the patient one.
    if (sending) {
      CHECK_UINT(take(), ==, 5);
    } else {
      CHECK_INT(put(6), ==, 0);
    }
    CHECK_INT(sending ? try_take() : try_put(7), ==, -EAGAIN);
    CHECK_INT(result_of(&patient), ==, 0);
    CHECK_UINT(patient.value, ==, sending ? 5 : 6);
    uint64_t element = 8;
    CHECK_INT(mj_chan_send(chan, &element, 0), ==, -ETIMEDOUT);
    CHECK_INT(mj_chan_recv(chan, &element, 0), ==, -ETIMEDOUT);
    unmake();
  }
}

static void waits_end_for_other_reasons(void) { with(ends_waits); }

static void too_late(void) {
  for (int what = 0; what < 3; what++) {
    for (int sending = 0; sending < 2; sending++) {
      make(0);
      call one;
      begin(&one, sending ? sends : receives, chan, 5, LONG_NS);
      if (sending) {
        CHECK_UINT(take(), ==, 5);
      } else {
        CHECK_INT(put(6), ==, 0);
      }
      if (what == 0) CHECK_INT(mj_task_cancel(one.task), ==, 0);
      if (what == 1) CHECK_INT(mj_task_wake(one.task), ==, 0);
      if (what == 2) {
        CHECK_PTR(mj_scheduler_dequeue(scheduler), ==, one.task);
        CHECK_INT(mj_scheduler_enqueue(scheduler, one.task), ==, 0);
      }
      // Its wait is over: the channel may go before its turn.
      unmake();
      CHECK_INT(result_of(&one), ==, 0);
      CHECK_UINT(one.value, ==, sending ? 5 : 6);
    }
  }
}

static void what_was_handed_over_is_kept(void) { with(too_late); }

// ---- Closing ----

static void closes(void) {
  make(2);
  CHECK_INT(put(0), ==, 0);
  CHECK_INT(put(1), ==, 0);
  call senders[2], receivers[2];
  for (size_t i = 0; i < 2; i++) begin(&senders[i], sends, chan, 70 + i, LONG_NS);
  CHECK_INT(mj_chan_close(chan), ==, 0);
  CHECK_INT(mj_chan_close(chan), ==, -EPIPE);
  for (size_t i = 0; i < 2; i++) CHECK_INT(result_of(&senders[i]), ==, -EPIPE);
  CHECK_INT(put(2), ==, -EPIPE);
  CHECK_INT(try_put(2), ==, -EPIPE);
  // What is in it can still be received.
  CHECK_UINT(take(), ==, 0);
  CHECK_UINT(mj_chan_length(chan), ==, 1);
  CHECK_UINT(take(), ==, 1);
  uint64_t value;
  CHECK_INT(mj_chan_recv(chan, &value, UINT64_MAX), ==, -EPIPE);
  CHECK_INT(mj_chan_recv(chan, &value, 0), ==, -EPIPE);
  CHECK_INT(try_take(), ==, -EPIPE);
  unmake();

  make(2);
  for (size_t i = 0; i < 2; i++) begin(&receivers[i], receives, chan, 0, UINT64_MAX);
  CHECK_INT(mj_chan_close(chan), ==, 0);
  // They do not touch it again.
  unmake();
  for (size_t i = 0; i < 2; i++) CHECK_INT(result_of(&receivers[i]), ==, -EPIPE);
}

static void a_closed_channel_is_emptied(void) { with(closes); }

// ---- Many ----

static uint64_t sums[2];

static int sends_many(call* self) {
  for (uint64_t i = 1; i <= self->value; i++) {
    int result = mj_chan_send(self->object, &i, i % 5 == 0 ? 3000 : UINT64_MAX);
    if (result == 0) sums[0] += i;
    if (result != 0) CHECK_INT(result, ==, -ETIMEDOUT);
    if (i % 7 == 0) mj_task_yield();
  }
  return call_returned(self, 0);
}

static int receives_many(call* self) {
  uint64_t value = 0;
  int result;
  do {
    result = mj_chan_recv(self->object, &value, 4000);
    if (result == 0) sums[1] += value;
    if (value % 11 == 0) mj_task_sleep_ns(1);
  } while (result != -EPIPE);
  return call_returned(self, 0);
}

static void exchanges(void) {
  for (size_t capacity = 0; capacity < 8; capacity = capacity * 2 + 1) {
    make(capacity);
    returned_count = 0;
    sums[0] = sums[1] = 0;
    static call senders[20], receivers[10];
    uint64_t rounds = times(300, 30);
    for (size_t i = 0; i < 20; i++) begin(&senders[i], sends_many, chan, rounds, 0);
    for (size_t i = 0; i < 10; i++) begin(&receivers[i], receives_many, chan, 0, 0);
    for (size_t i = 0; i < 20; i++) CHECK_INT(result_of(&senders[i]), ==, 0);
    CHECK_INT(mj_chan_close(chan), ==, 0);
    for (size_t i = 0; i < 10; i++) CHECK_INT(result_of(&receivers[i]), ==, 0);
    CHECK_UINT(sums[0], >, 0);
    CHECK_UINT(sums[1], ==, sums[0]);
    unmake();
  }
}

static void nothing_is_lost_or_doubled(void) { with(exchanges); }

// ---- From outside a task ----

static int wait_and_send(mj_scheduler* waiting, uint64_t timeout_ns, void* user_data) {
  (void)waiting;
  uint64_t* next = user_data;
  if (timeout_ns == 0) return 0;
  CHECK_INT(mj_chan_send(chan, next, UINT64_MAX), ==, -EPERM);
  CHECK_INT(mj_chan_try_send(chan, next), ==, 0);
  (*next)++;
  return 1;
}

static void receives_from_the_wait_function(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  for (uint64_t i = 100; i < 110; i++) CHECK_UINT(take(), ==, i);
  call_returned(allocate(sizeof(call)), 0);
  mj_task_exit();
}

static void others_than_tasks_may_send(void) {
  log_lines_begin();
  returned_count = 0;
  uint64_t next = 103;
  scheduler = new_scheduler();
  make(3);
  for (uint64_t i = 100; i < 103; i++) CHECK_INT(try_put(i), ==, 0);
  CHECK_INT(put(103), ==, -EPERM);
  mj_scheduler_set_wait_func(scheduler, wait_and_send, &next);
  add_task(scheduler, receives_from_the_wait_function, NULL);
  mj_scheduler_run(scheduler);
  CHECK_UINT(returned_count, ==, 1);
  free(returned_calls[0]);
  mj_scheduler_destroy(scheduler);
  unmake();
  log_lines_end();
}

static void misuse_is_an_error(void) {
  log_lines_begin();
  uint64_t value = 0;
  errno = 0;
  CHECK_PTR(mj_chan_create(NULL, 1, 1), ==, NULL);
  CHECK_INT(errno, ==, EINVAL);
  CHECK_INT(mj_chan_send(NULL, &value, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_recv(NULL, &value, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_try_send(NULL, &value), ==, -EINVAL);
  CHECK_INT(mj_chan_try_recv(NULL, &value), ==, -EINVAL);
  CHECK_INT(mj_chan_close(NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_destroy(NULL), ==, -EINVAL);
  CHECK_UINT(mj_chan_length(NULL), ==, 0);
  scheduler = new_scheduler();
  errno = 0;
  CHECK_PTR(mj_chan_create(scheduler, SIZE_MAX / 2, 3), ==, NULL);
  CHECK_INT(errno, ==, ENOMEM);
  if (!sanitized()) {  // It would warn of the allocation, and keep a descriptor open for its warnings.
    errno = 0;
    CHECK_PTR(mj_chan_create(scheduler, 1, SIZE_MAX / 4), ==, NULL);
    CHECK_INT(errno, ==, ENOMEM);
  }
  make(1);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  CHECK_INT(mj_chan_send(chan, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_recv(chan, NULL, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_try_send(chan, NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_try_recv(chan, NULL), ==, -EINVAL);
  CHECK_INT(mj_chan_recv(chan, &value, UINT64_MAX), ==, -EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 2);
  unmake();
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- Dumps ----

static char dumped[4096];

static int scribbles(call* self) {
  volatile char stack[16384];
  memset((char*)stack, 0xA5, sizeof stack);
  return call_returned(self, stack[self->value]);
}

// Takes a part of a dump; at the right one, the task that it is about ends, and another one gets its
// stack.
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

static void dumps(void) {
  make(0);
  call one;
  begin(&one, receives, chan, 0, UINT64_MAX);
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

static void a_wait_may_end_while_it_is_dumped(void) { with(dumps); }

// ---- Elements in the same memory ----

enum { large = 1 << 16, shift = 64 };

static unsigned char shared[large + shift];

static void sends_shared(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_chan_send(chan, shared, UINT64_MAX), ==, 0);
  mj_task_exit();
}

static void receives_shared(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  CHECK_INT(mj_chan_recv(chan, shared + shift, UINT64_MAX), ==, 0);
  mj_task_exit();
}

static void overlap(void) {
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

static void an_element_may_move_within_memory(void) { with(overlap); }

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(elements_come_out_in_order);
  RUN(elements_are_copied_whole);
  RUN(an_element_may_move_within_memory);
  RUN(what_can_be_done_is_done_at_once);
  RUN(senders_wait_in_order);
  RUN(receivers_wait_in_order);
  RUN(waits_end_for_other_reasons);
  RUN(what_was_handed_over_is_kept);
  RUN(a_closed_channel_is_emptied);
  RUN(nothing_is_lost_or_doubled);
  RUN(others_than_tasks_may_send);
  RUN(a_wait_may_end_while_it_is_dumped);
  RUN(misuse_is_an_error);
  return 0;
}
