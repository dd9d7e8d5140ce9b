// The scenarios of channels between threads: both ends in tasks, or one of them on a thread. Making one and
// beginning to wait take memory. Who cannot wait is told, and keeps nothing from the others.
#ifndef XCHANS_H
#define XCHANS_H

static mj_xchan *there, *back;
static size_t crossed, answered;

static void asks_across(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  size_t number = *(size_t*)user_state;
  int result = mj_xchan_send(there, &number, 20000000);
  if (result == 0) {
    crossed++;
    mj_select_case one = {.xchan = back, .op = MJ_SELECT_XRECV, .element = &number};
    result = number % 2 ? mj_xchan_recv(back, &number, 20000000) : mj_select(&one, 1, 20000000);
    if (result == 0) answered++;
  }
  CHECK_ALLOWED_OR_LATE(result);
  end();
}

static void answers_across(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  size_t number;
  int result;
  while ((result = mj_xchan_recv(there, &number, 20000000)) == 0) {
    CHECK_ALLOWED_OR_LATE(mj_xchan_send(back, &number, 20000000));
  }
  CHECK_ALLOWED_OR_LATE(result);
  end();
}

static void cross(mj_scheduler** scheduler) {
  there = mj_xchan_create(sizeof(size_t), 1);
  if (there == NULL) CHECK_ALLOWED(-errno);
  back = mj_xchan_create(sizeof(size_t), 1);
  if (back == NULL) CHECK_ALLOWED(-errno);
  if (there == NULL || back == NULL) return;
  for (size_t i = 0; i < 6; i++) spawn(*scheduler, asks_across, i);
  spawn(*scheduler, answers_across, 0);
  run(*scheduler);
  CHECK_UINT(answered, <=, crossed);
  if (fault.failed == 0 && !was_late) CHECK_UINT(answered, ==, 6);
}

// For a thread that shares a busy machine.
#define LONG_ENOUGH_NS 2000000000

// Takes turns with the task, so that their calls come in one order.
static void* answers_by_thread(void* unused) {
  size_t number;
  int result;
  while ((result = mj_xchan_recv(there, &number, MJ_FOREVER)) == 0) {
    result = mj_xchan_send(back, &number, LONG_ENOUGH_NS);
    if (result != -EPIPE) CHECK_ALLOWED_OR_LATE(result);
  }
  CHECK_INT(result, ==, -EPIPE);
  return unused;
}

static void asks_the_thread(mj_scheduler* scheduler, void* user_state) {
  for (size_t i = 0; i < 3; i++) {
    size_t number = i, answer = 0;
    int result = mj_xchan_send(there, &number, LONG_ENOUGH_NS);
    // A task that got its stack late finds the channel closed.
    if (result == -EPIPE && fault.failed > 0 && !fault.harmless) break;
    CHECK_ALLOWED_OR_LATE(result);
    if (result == 0) crossed++;
    if (result == 0) result = mj_xchan_recv(back, &answer, LONG_ENOUGH_NS);
    CHECK_ALLOWED_OR_LATE(result);
    if (result == 0) answered++;
  }
  (void)scheduler;
  (void)user_state;
  end();
}

static void cross_to_thread(mj_scheduler** scheduler) {
  there = mj_xchan_create(sizeof(size_t), 1);
  if (there == NULL) CHECK_ALLOWED(-errno);
  back = mj_xchan_create(sizeof(size_t), 1);
  if (back == NULL) CHECK_ALLOWED(-errno);
  if (there == NULL || back == NULL) return;
  pthread_t thread;
  CHECK_INT(pthread_create(&thread, NULL, answers_by_thread, NULL), ==, 0);
  spawn(*scheduler, asks_the_thread, 0);
  run(*scheduler);
  CHECK_INT(mj_xchan_close(there), ==, 0);
  CHECK_INT(mj_xchan_close(back), ==, 0);
  CHECK_INT(pthread_join(thread, NULL), ==, 0);
  CHECK_UINT(answered, <=, crossed);
  if ((fault.failed == 0 || fault.harmless) && !was_late) CHECK_UINT(answered, ==, 3);
}

static void release_channels(void) {
  mj_xchan_release(there);
  mj_xchan_release(back);
}

#endif  // XCHANS_H
