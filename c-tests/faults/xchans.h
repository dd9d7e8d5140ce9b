// The scenario of channels between threads, of which both ends are in tasks here: making one and beginning to wait
// take memory. Who cannot wait is told, and keeps nothing from the others.
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
  if (fault.failed == 0) CHECK_UINT(answered, ==, 6);
}

static void release_channels(void) {
  mj_xchan_release(there);
  mj_xchan_release(back);
}

#endif  // XCHANS_H
