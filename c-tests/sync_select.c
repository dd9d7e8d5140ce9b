// Waiting for the first of several channels.
#define _GNU_SOURCE
#include "calls.h"
#include "log_lines.h"

enum { channels = 4 };

static mj_chan* chans[channels];

static void with(void (*body)(void)) {
  returned_count = 0;
  in_a_task(body);
}

static void make(size_t capacity) {
  for (size_t i = 0; i < channels; i++) {
    chans[i] = mj_chan_create(scheduler, sizeof(uint64_t), capacity);
    CHECK(chans[i] != NULL);
  }
}

static void unmake(void) {
  for (size_t i = 0; i < channels; i++) CHECK_INT(mj_chan_destroy(chans[i]), ==, 0);
}

// A select of some cases, kept by its owner.
typedef struct choice {
  call call;
  mj_chan_case cases[2 * channels];
  size_t count;
  uint64_t values[2 * channels];
} choice;

static void add_case(choice* one, mj_chan* chan, mj_chan_op op, uint64_t value) {
  size_t i = one->count++;
  one->values[i] = value;
  memset(&one->cases[i], 0xA5, sizeof one->cases[i]);  // what the library keeps there is its own
  one->cases[i].chan = chan;
  one->cases[i].op = op;
  one->cases[i].element = &one->values[i];
}

static int selects(call* self) {
  choice* one = (choice*)self->object;
  return call_returned(self, mj_chan_select(one->cases, one->count, self->timeout_ns));
}

static void begin_select(choice* one, uint64_t timeout_ns) {
  begin(&one->call, selects, one, 0, timeout_ns);
}

static int try_put(mj_chan* chan, uint64_t value) { return mj_chan_try_send(chan, &value); }

static int try_take(mj_chan* chan) {
  uint64_t value = 0;
  int result = mj_chan_try_recv(chan, &value);
  return result == 0 ? (int)value : result;
}

// ---- What is ready ----

static void takes_the_ready_one(void) {
  make(1);
  for (size_t i = 0; i < channels; i++) {
    choice one = {.count = 0};
    for (size_t k = 0; k < channels; k++) add_case(&one, chans[k], MJ_CHAN_RECV, 0);
    CHECK_INT(mj_chan_try_select(one.cases, one.count), ==, -EAGAIN);
    CHECK_INT(try_put(chans[i], 40 + i), ==, 0);
    uint64_t turns = mj_scheduler_get_metrics(scheduler)->task_executions;
    if (i % 2 == 0) {
      CHECK_INT(mj_chan_select(one.cases, one.count, UINT64_MAX), ==, i);
    } else {
      CHECK_INT(mj_chan_try_select(one.cases, one.count), ==, i);
    }
    CHECK_UINT(mj_scheduler_get_metrics(scheduler)->task_executions, ==, turns);
    CHECK_INT(one.cases[i].result, ==, 0);
    CHECK_UINT(one.values[i], ==, 40 + i);
    for (size_t k = 0; k < channels; k++) CHECK_INT(try_take(chans[k]), ==, -EAGAIN);
  }
  // Sending and receiving, on channels that are full or empty.
  for (size_t i = 0; i < 2; i++) CHECK_INT(try_put(chans[i], 7), ==, 0);
  choice both = {.count = 0};
  add_case(&both, chans[0], MJ_CHAN_SEND, 1);
  add_case(&both, chans[2], MJ_CHAN_RECV, 2);
  add_case(&both, NULL, MJ_CHAN_RECV, 0);
  add_case(&both, chans[3], MJ_CHAN_SEND, 3);
  CHECK_INT(mj_chan_select(both.cases, both.count, UINT64_MAX), ==, 3);
  CHECK_INT(mj_chan_try_select(both.cases, both.count), ==, -EAGAIN);
  CHECK_INT(try_take(chans[3]), ==, 3);
  CHECK_INT(try_take(chans[0]), ==, 7);
  CHECK_INT(try_take(chans[1]), ==, 7);
  unmake();
}

static void what_is_ready_is_done_at_once(void) { with(takes_the_ready_one); }

static void chooses(void) {
  make(1);
  size_t rounds = 3000, chosen[channels] = {0};
  // Not all of them, with gaps between those that are ready; and two selects in each round, which
  // must not share out the cases between them.
  for (size_t i = 0; i < rounds; i++) {
    for (int k = 0; k < 2; k++) {
      choice one = {.count = 0};
      for (size_t c = 0; c < channels; c++) add_case(&one, chans[c], MJ_CHAN_SEND, 1);
      CHECK_INT(try_put(chans[1], 1), ==, 0);
      int index = mj_chan_select(one.cases, one.count, UINT64_MAX);
      CHECK_INT(index, >=, 0);
      CHECK_INT(index, !=, 1);
      if (k == 0) chosen[index]++;
      CHECK_INT(try_take(chans[index]), ==, 1);
      CHECK_INT(try_take(chans[1]), ==, 1);
    }
  }
  // A third each: 1000, with a standard deviation of 26.
  for (size_t c = 0; c < channels; c++) {
    if (c != 1) CHECK_UINT(chosen[c], >, 850);
  }
  unmake();
}

static void all_that_are_ready_have_the_same_chance(void) { with(chooses); }

// ---- Waiting ----

static void waits_for_each(void) {
  make(0);
  for (size_t i = 0; i < channels; i++) {
    choice one = {.count = 0};
    for (size_t k = 0; k < channels; k++) {
      add_case(&one, chans[k], k % 2 == 0 ? MJ_CHAN_RECV : MJ_CHAN_SEND, 20 + k);
    }
    begin_select(&one, i < 2 ? UINT64_MAX : LONG_NS);
    check_waiting(&one.call);
    for (size_t k = 0; k < channels; k++) CHECK_INT(mj_chan_destroy(chans[k]), ==, -EBUSY);
    if (i % 2 == 0) {
      CHECK_INT(try_put(chans[i], 60), ==, 0);
    } else {
      CHECK_INT(try_take(chans[i]), ==, 20 + i);
    }
    // It waits for none of them any more, though it has not run yet.
    for (size_t k = 0; k < channels; k++) {
      CHECK_INT(k % 2 == 0 ? try_put(chans[k], 1) : try_take(chans[k]), ==, -EAGAIN);
    }
    CHECK_INT(result_of(&one.call), ==, i);
    CHECK_INT(one.cases[i].result, ==, 0);
    CHECK_UINT(one.values[i], ==, i % 2 == 0 ? 60 : 20 + i);
  }
  unmake();
}

static void the_first_case_ends_the_wait(void) { with(waits_for_each); }

// The places in the channels' lists are those of the order of coming.
static void queues(void) {
  make(0);
  choice first = {.count = 0}, second = {.count = 0};
  add_case(&first, chans[0], MJ_CHAN_RECV, 0);
  add_case(&first, chans[1], MJ_CHAN_RECV, 0);
  add_case(&second, chans[1], MJ_CHAN_RECV, 0);
  add_case(&second, chans[0], MJ_CHAN_RECV, 0);
  begin_select(&first, UINT64_MAX);
  begin_select(&second, UINT64_MAX);
  CHECK_INT(try_put(chans[1], 5), ==, 0);
  CHECK_INT(try_put(chans[1], 6), ==, 0);
  CHECK_INT(result_of(&first.call), ==, 1);
  CHECK_INT(result_of(&second.call), ==, 0);
  CHECK_UINT(first.values[1], ==, 5);
  CHECK_UINT(second.values[0], ==, 6);
  // Two that select meet each other, and nobody meets itself.
  choice left = {.count = 0}, right = {.count = 0};
  add_case(&left, chans[2], MJ_CHAN_RECV, 0);
  add_case(&left, chans[2], MJ_CHAN_SEND, 8);
  begin_select(&left, LONG_NS);
  check_waiting(&left.call);
  add_case(&right, chans[3], MJ_CHAN_RECV, 0);
  add_case(&right, chans[2], MJ_CHAN_SEND, 9);
  begin_select(&right, LONG_NS);
  CHECK_INT(result_of(&right.call), ==, 1);
  CHECK_INT(result_of(&left.call), ==, 0);
  CHECK_UINT(left.values[0], ==, 9);
  // One channel in several cases.
  choice twice = {.count = 0};
  for (int i = 0; i < 3; i++) add_case(&twice, chans[0], MJ_CHAN_RECV, 0);
  begin_select(&twice, LONG_NS);
  CHECK_INT(try_put(chans[0], 4), ==, 0);
  CHECK_INT(try_put(chans[0], 4), ==, -EAGAIN);
  int index = result_of(&twice.call);
  CHECK_INT(index, >=, 0);
  CHECK_UINT(twice.values[index], ==, 4);
  unmake();
}

static void selects_queue_like_all_others(void) { with(queues); }

static void closes(void) {
  make(1);
  for (int waiting = 0; waiting < 2; waiting++) {
    for (int op = 0; op < 2; op++) {
      mj_chan* closing = mj_chan_create(scheduler, sizeof(uint64_t), 0);
      choice one = {.count = 0};
      add_case(&one, chans[0], MJ_CHAN_RECV, 0);
      add_case(&one, closing, (mj_chan_op)op, 3);
      if (waiting) begin_select(&one, UINT64_MAX);
      CHECK_INT(mj_chan_close(closing), ==, 0);
      if (waiting) {
        CHECK_INT(mj_chan_destroy(closing), ==, 0);
        CHECK_INT(result_of(&one.call), ==, 1);
      } else {
        CHECK_INT(mj_chan_select(one.cases, one.count, UINT64_MAX), ==, 1);
        one.cases[1].result = 0;
        CHECK_INT(mj_chan_try_select(one.cases, one.count), ==, 1);
        CHECK_INT(mj_chan_destroy(closing), ==, 0);
      }
      CHECK_INT(one.cases[1].result, ==, -EPIPE);
      CHECK_UINT(one.values[1], ==, 3);
    }
  }
  unmake();
}

static void a_closed_channel_is_ready(void) { with(closes); }

static void ends_waits(void) {
  make(0);
  choice woken = {.count = 0}, canceled = {.count = 0}, late = {.count = 0}, nothing = {.count = 0};
  choice* all[] = {&woken, &canceled, &late};
  for (size_t i = 0; i < 3; i++) {
    for (size_t k = 0; k < channels; k++) {
      add_case(all[i], chans[k], k % 2 == 0 ? MJ_CHAN_RECV : MJ_CHAN_SEND, 1);
    }
  }
  uint64_t before = now_ns();
  begin_select(&late, short_ns());
  begin_select(&woken, LONG_NS);
  begin_select(&canceled, UINT64_MAX);
  CHECK_INT(mj_task_wake(woken.call.task), ==, 1);
  CHECK_INT(mj_task_cancel(canceled.call.task), ==, 0);
  CHECK_INT(result_of(&woken.call), ==, -EINTR);
  CHECK_INT(result_of(&canceled.call), ==, -ECANCELED);
  CHECK_INT(result_of(&late.call), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - before, >=, short_ns());
  for (size_t k = 0; k < channels; k++) {
    CHECK_INT(k % 2 == 0 ? try_put(chans[k], 1) : try_take(chans[k]), ==, -EAGAIN);
  }
  // Nothing to wait for but the time.
  before = now_ns();
  CHECK_INT(mj_chan_select(NULL, 0, 1000000), ==, -ETIMEDOUT);
  add_case(&nothing, NULL, MJ_CHAN_RECV, 0);
  CHECK_INT(mj_chan_select(nothing.cases, 1, 1000000), ==, -ETIMEDOUT);
  CHECK_UINT(now_ns() - before, >=, 2000000);
  CHECK_INT(mj_chan_select(late.cases, late.count, 0), ==, -ETIMEDOUT);
  CHECK_INT(mj_chan_try_select(NULL, 0), ==, -EAGAIN);
  unmake();
}

static void waits_end_for_other_reasons(void) { with(ends_waits); }

// ---- Many ----

static uint64_t sent_sum, received_sum;
static bool all_sent;

static int exchanges(call* self) {
  uint64_t state = self->value;
  while (!all_sent) {
    choice one = {.count = 0};
    for (size_t i = 0; i < 3; i++) {
      uint64_t random = next_random(&state);
      mj_chan_op op = random % 2 == 0 ? MJ_CHAN_SEND : MJ_CHAN_RECV;
      add_case(&one, chans[random / 2 % channels], op, random >> 40);
    }
    int index = mj_chan_select(one.cases, one.count, next_random(&state) % 20000);
    if (index == -ETIMEDOUT) continue;
    CHECK_INT(index, >=, 0);
    CHECK_INT(one.cases[index].result, ==, 0);
    *(one.cases[index].op == MJ_CHAN_SEND ? &sent_sum : &received_sum) += one.values[index];
    if (next_random(&state) % 8 == 0) mj_task_yield();
  }
  return call_returned(self, 0);
}

static void many_exchange(void) {
  make(1);
  all_sent = false;
  sent_sum = received_sum = 0;
  static call calls[20];
  for (size_t i = 0; i < 20; i++) begin(&calls[i], exchanges, NULL, 1 + i * 7919, 0);
  for (size_t i = 0; i < times(2000, 100); i++) mj_task_yield();
  all_sent = true;
  for (size_t i = 0; i < 20; i++) CHECK_INT(result_of(&calls[i]), ==, 0);
  for (size_t i = 0; i < channels; i++) {
    uint64_t value;
    while (mj_chan_try_recv(chans[i], &value) == 0) received_sum += value;
  }
  CHECK_UINT(sent_sum, >, 0);
  CHECK_UINT(received_sum, ==, sent_sum);
  unmake();
}

static void nothing_is_lost_or_doubled(void) { with(many_exchange); }

// ---- Misuse ----

static void misuses(void) {
  make(1);
  choice one = {.count = 0};
  add_case(&one, chans[0], MJ_CHAN_RECV, 0);
  add_case(&one, chans[1], MJ_CHAN_SEND, 0);
  CHECK_INT(mj_chan_select(NULL, 1, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_try_select(NULL, 1), ==, -EINVAL);
  CHECK_INT(mj_chan_select(one.cases, SIZE_MAX, 0), ==, -EINVAL);
  int unknown = 2;
  memcpy(&one.cases[0].op, &unknown, sizeof unknown);
  CHECK_INT(mj_chan_select(one.cases, 2, 0), ==, -EINVAL);
  CHECK_INT(mj_chan_try_select(one.cases, 2), ==, -EINVAL);
  one.cases[0].op = MJ_CHAN_RECV;
  one.cases[1].element = NULL;
  CHECK_INT(mj_chan_select(one.cases, 2, 0), ==, -EINVAL);
  // Nothing was sent meanwhile.
  CHECK_UINT(mj_chan_length(chans[1]), ==, 0);
  CHECK_INT(mj_chan_select(one.cases, 1, 0), ==, -ETIMEDOUT);
  unmake();
}

static void misuse_is_an_error(void) {
  with(misuses);
  log_lines_begin();
  scheduler = new_scheduler();
  make(1);
  choice one = {.count = 0};
  add_case(&one, chans[0], MJ_CHAN_RECV, 0);
  CHECK_INT(mj_chan_select(one.cases, 1, 0), ==, -EPERM);
  CHECK_INT(log_lines_from(MJ_LOG_WARN), ==, 1);
  CHECK_INT(mj_chan_try_select(one.cases, 1), ==, -EAGAIN);
  CHECK_INT(try_put(chans[0], 3), ==, 0);
  CHECK_INT(mj_chan_try_select(one.cases, 1), ==, 0);
  CHECK_UINT(one.values[0], ==, 3);
  unmake();
  mj_scheduler_destroy(scheduler);
  log_lines_end();
}

// ---- Tasks that share their cases ----

static void share(void) {
  make(0);
  choice one = {.count = 0};
  add_case(&one, chans[0], MJ_CHAN_RECV, 0);
  add_case(&one, chans[1], MJ_CHAN_SEND, 7);
  begin_select(&one, UINT64_MAX);
  mj_task_yield();
  // This task, with all of them and with a part; and with the first one's wait undisturbed.
  CHECK_INT(mj_chan_select(one.cases, 2, LONG_NS), ==, -EBUSY);
  CHECK_INT(mj_chan_select(one.cases + 1, 1, LONG_NS), ==, -EBUSY);
  CHECK(!one.call.returned);
  CHECK_INT(mj_chan_try_select(one.cases, 2), ==, -EAGAIN);
  CHECK_INT(try_put(chans[0], 5), ==, 0);
  mj_task_yield();
  CHECK_INT(one.call.result, ==, 0);
  CHECK_UINT(one.values[0], ==, 5);
  // Once the wait is over they are free for the next one.
  CHECK_INT(mj_chan_select(one.cases, 2, 1000), ==, -ETIMEDOUT);
  CHECK_INT(try_take(chans[1]), ==, -EAGAIN);
  unmake();
}

static void two_waits_cannot_share_their_cases(void) { with(share); }

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN(what_is_ready_is_done_at_once);
  RUN(all_that_are_ready_have_the_same_chance);
  RUN(the_first_case_ends_the_wait);
  RUN(selects_queue_like_all_others);
  RUN(a_closed_channel_is_ready);
  RUN(waits_end_for_other_reasons);
  RUN(nothing_is_lost_or_doubled);
  RUN(two_waits_cannot_share_their_cases);
  RUN(misuse_is_an_error);
  return 0;
}
