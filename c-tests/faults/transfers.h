// The scenario of the calls that read, write, accept and connect: any of them may fail, and what the others
// then get is an error or an end. None hangs, and no byte is lost where all succeed.
#ifndef TRANSFERS_H
#define TRANSFERS_H

// Whether a partner may be gone, for which nobody waits for long: then a busy machine may be too late as well.
static bool may_be_in_vain(void) { return (fault.armed || fault.failed > 0) && !fault.harmless; }

static bool must_succeed(long long result) {
  return fault.harmless || (fault.failed == 0 && !(result == -ETIMEDOUT && may_be_in_vain()));
}

// For any result of a call with a limit.
#define CHECK_ALLOWED_BESIDE(result) \
  do { \
    long long beside_result = (long long)(result); \
    if (must_succeed(beside_result)) CHECK_INT(beside_result, >=, 0); \
  } while (0)

enum { LETTERS = 8 };

// The limit of each part. Where a fault takes a partner away, the other one waits in vain, and not for long;
// else no limit is to pass, however busy the machine is.
static uint64_t part_ns(void) { return may_be_in_vain() ? 50000000 : UINT64_C(10000000000); }
#define PART_NS part_ns()

static int transfer_listener;
static int pipe_ends[2], pair_ends[2];
static struct sockaddr_in transfer_address;

static void open_transfers(mj_scheduler* scheduler) {
  (void)scheduler;
  socklen_t length = sizeof transfer_address;
  transfer_listener = mj_listen("127.0.0.1", "0", 8, 0);
  CHECK_INT(transfer_listener, >=, 0);
  CHECK_INT(getsockname(transfer_listener, (struct sockaddr*)&transfer_address, &length), ==, 0);
  CHECK_INT(pipe(pipe_ends), ==, 0);
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair_ends), ==, 0);
  CHECK_INT(mj_fd_adopt(pair_ends[0]), ==, 0);
}

static void close_transfers(void) {
  CHECK_INT(mj_fd_close(transfer_listener), ==, 0);
  for (int i = 0; i < 2; i++) {
    CHECK_INT(mj_fd_close(pipe_ends[i]), ==, 0);
    CHECK_INT(mj_fd_close(pair_ends[i]), ==, 0);
  }
}

static void transfer_letters(int fd, bool writes_first) {
  char letters[LETTERS] = "";
  for (int i = 0; i < 2; i++) {
    size_t done = 0;
    if (writes_first == (i == 0)) {
      CHECK_ALLOWED_BESIDE(mj_write_all(fd, "letters", LETTERS, PART_NS, &done));
    } else {
      ssize_t result = mj_read_exact(fd, letters, LETTERS, PART_NS, &done);
      CHECK_ALLOWED_BESIDE(result);
      CHECK_INT(memcmp(letters, "letters", done), ==, 0);
      if (must_succeed(result)) CHECK_INT(result, ==, LETTERS);
    }
  }
}

static void serves_one(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int fd = mj_accept(transfer_listener, NULL, NULL, 6 * PART_NS);
  CHECK_ALLOWED_BESIDE(fd);
  if (fd >= 0) {
    transfer_letters(fd, false);
    CHECK_INT(mj_fd_close(fd), ==, 0);
  }
  end();
}

static void asks_one(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK_INT(fd, >=, 0);
  int result = mj_connect(fd, (struct sockaddr*)&transfer_address, sizeof transfer_address, PART_NS);
  CHECK_ALLOWED_BESIDE(result);
  if (result == 0) transfer_letters(fd, true);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  end();
}

static void reads_pipe_and_pair(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(size_t*)user_state == 0 ? pipe_ends[0] : pair_ends[0];
  char letters[LETTERS];
  CHECK_ALLOWED_BESIDE(mj_read_exact(fd, letters, LETTERS, PART_NS, NULL));
  struct pollfd polls[10];
  for (int i = 0; i < 10; i++) polls[i] = (struct pollfd){.fd = i == 9 ? fd : -1, .events = POLLIN};
  CHECK_ALLOWED_BESIDE(mj_poll(polls, 10, PART_NS));
  mj_select_case readable = {.op = MJ_SELECT_FD, .fd = fd, .events = POLLIN};
  CHECK_ALLOWED_BESIDE(mj_select(&readable, 1, PART_NS));
  CHECK_ALLOWED_BESIDE(mj_read(fd, letters, 1, PART_NS));
  end();
}

static void writes_pipe_and_pair(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  int fd = *(size_t*)user_state == 0 ? pipe_ends[1] : pair_ends[1];
  for (int i = 0; i < LETTERS; i += 2) {
    CHECK_ALLOWED_BESIDE(mj_write(fd, "le", 2, PART_NS));
    if (i % 4 == 0) mj_task_sleep_ns(100000);
  }
  mj_task_sleep_ns(500000);
  CHECK_ALLOWED_BESIDE(mj_write(fd, "l", 1, PART_NS));
  end();
}

static void transfer_all(mj_scheduler** scheduler) {
  mj_task_fn* const bodies[] = {serves_one, asks_one, reads_pipe_and_pair, writes_pipe_and_pair};
  for (size_t i = 0; i < 4; i++) {
    // Without a partner the others would rightly wait in vain.
    while (spawn(*scheduler, bodies[i], 0) == NULL) fault.armed = false;
    if (i >= 2) {
      while (spawn(*scheduler, bodies[i], 1) == NULL) fault.armed = false;
    }
  }
  run(*scheduler);
}

#endif  // TRANSFERS_H
