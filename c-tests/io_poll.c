// Polling many descriptors, and sending files.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"

#include <limits.h>
#include <sys/resource.h>

// ---- mj_poll() ----

typedef struct polling {
  call call;
  struct pollfd* polls;
  size_t count;
} polling;

static int polls(call* self) {
  polling* one = (polling*)self;
  return mj_poll(one->polls, one->count, self->timeout_ns);
}

static void begin_polling(polling* one, struct pollfd* fds, size_t count, uint64_t timeout_ns) {
  *one = (polling){.call = {.make = polls, .timeout_ns = timeout_ns}, .polls = fds, .count = count};
  begin_call(&one->call);
}

static void some_are_ready(size_t pairs, bool owned) {
  int(*fds)[2] = allocate(pairs * sizeof *fds);
  size_t count = pairs + 2;
  struct pollfd* polls = allocate(count * sizeof *polls);
  for (size_t i = 0; i < pairs; i++) {
    open_unix(fds[i]);
    if (owned) CHECK_INT(mj_fd_adopt(fds[i][0]), ==, 0);
    polls[i + 1] = (struct pollfd){.fd = fds[i][0], .events = POLLIN};
  }
  polls[0] = (struct pollfd){.fd = -1, .events = POLLIN, .revents = 77};
  polls[pairs + 1] = polls[pairs];  // One twice.
  CHECK_CALL(mj_poll(polls, count, 0), ==, -ETIMEDOUT);
  CHECK_CALL(mj_poll(polls, count, 1000000), ==, -ETIMEDOUT);
  for (size_t i = 0; i < count; i++) CHECK_INT(polls[i].revents, ==, 0);
  for (int round = 0; round < 3; round++) {
    polling one;
    begin_polling(&one, polls, count, MJ_FOREVER);
    mj_sleep_ns(200000);
    mj_task_wake(one.call.task);
    settle();
    check_waiting(&one.call);
    CHECK_INT(write(fds[pairs - 1][1], "x", 1), ==, 1);
    CHECK_INT(result_of(&one.call), ==, 2);
    for (size_t i = 0; i < count; i++) {
      CHECK_INT(polls[i].revents, ==, i >= pairs ? POLLIN : 0);
    }
    // It is ready still.
    CHECK_AT_ONCE(mj_poll(polls, count, 0), ==, 2);
    CHECK_AT_ONCE(mj_poll(polls, count, MJ_FOREVER), ==, 2);
    char byte;
    CHECK_CALL(mj_read(fds[pairs - 1][0], &byte, 1, LONG_NS), ==, 1);
    begin_polling(&one, polls, count, LONG_NS);
    CHECK_INT(mj_task_cancel(one.call.task), ==, 0);
    CHECK_INT(result_of(&one.call), ==, -ECANCELED);
    for (size_t i = 0; i < count; i++) CHECK_INT(polls[i].revents, ==, 0);
  }
  // One that is closed, and whose number is another file's at once.
  int writers[2];
  for (int i = 0; i < 2; i++) {
    polling one;
    begin_polling(&one, polls, count, LONG_NS);
    mj_sleep_ns(200000);
    CHECK_INT(mj_fd_close(fds[0][0]), ==, 0);
    if (i == 1) writers[i] = reuse(fds[0][0]);
    CHECK_INT(result_of(&one.call), ==, 1 + (pairs == 1));
    CHECK_INT(polls[1].revents, ==, POLLNVAL);
    if (i == 1) continue;
    CHECK_CALL(mj_poll(polls, count, LONG_NS), ==, 1 + (pairs == 1));
    CHECK_INT(polls[1].revents, ==, POLLNVAL);
    writers[i] = reuse(fds[0][0]);
  }
  close_both(writers);
  close(fds[0][0]);
  close(fds[0][1]);
  for (size_t i = 1; i < pairs; i++) {
    CHECK_INT(mj_fd_close(fds[i][0]), ==, 0);
    close(fds[i][1]);
  }
  free(fds);
  free(polls);
}

static void few_and_many(void) {
  for (int owned = 0; owned < 2; owned++) {
    some_are_ready(1, owned);
    some_are_ready(6, owned);   // As many as need no memory.
    some_are_ready(7, owned);
    some_are_ready(300, owned);
  }
}

// Its wait is ended by the cancel before the loop has told it of what has come.
static void what_is_there_is_told_though_the_call_is_canceled(void) {
  int fds[2];
  CHECK_INT(pipe(fds), ==, 0);
  struct pollfd readable = {.fd = fds[0], .events = POLLIN};
  polling one;
  begin_polling(&one, &readable, 1, LONG_NS);
  settle();
  check_waiting(&one.call);
  CHECK_INT(write(fds[1], "x", 1), ==, 1);
  mj_task_cancel(one.call.task);
  CHECK_INT(result_of(&one.call), ==, 1);
  CHECK_INT(readable.revents, ==, POLLIN);
  close(fds[0]);
  close(fds[1]);
}

static void events_of_each_kind(void) {
  int fds[2];
  open_tcp(fds);
  struct pollfd polls[2] = {{.fd = fds[0], .events = POLLPRI}, {.fd = fds[1], .events = 0}};
  CHECK_CALL(mj_poll(polls, 2, 100000), ==, -ETIMEDOUT);
  CHECK_INT(send(fds[1], "u", 1, MSG_OOB), ==, 1);
  CHECK_CALL(mj_poll(polls, 2, LONG_NS), ==, 1);
  CHECK_INT(polls[0].revents, ==, POLLPRI);
  polls[0].events = POLLOUT | POLLIN;
  CHECK_CALL(mj_poll(polls, 2, LONG_NS), ==, 1);
  CHECK_INT(polls[0].revents & POLLOUT, ==, POLLOUT);
  struct linger at_once = {1, 0};
  CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), ==, 0);
  polls[0].fd = ~polls[0].fd;
  polling one;
  begin_polling(&one, polls, 2, LONG_NS);
  mj_sleep_ns(100000);
  close(fds[0]);  // A reset is told though nothing was asked for.
  CHECK_INT(result_of(&one.call), ==, 1);
  CHECK_INT(polls[1].revents & (POLLERR | POLLHUP), !=, 0);
  CHECK_INT(polls[0].revents, ==, 0);
  close(fds[1]);
  polls[0] = (struct pollfd){.fd = 999, .events = POLLIN};
  polls[1] = (struct pollfd){.fd = open("/dev/null", O_RDWR | O_CLOEXEC), .events = POLLPRI};
  CHECK_CALL(mj_poll(polls, 2, LONG_NS), ==, 1);
  CHECK_INT(polls[0].revents, ==, POLLNVAL);
  CHECK_CALL(mj_poll(polls + 1, 1, 100000), ==, -ETIMEDOUT);
  close(polls[1].fd);
}

static void wrong_polls(void) {
  struct pollfd own = {.fd = mj_scheduler_backend_fd(scheduler), .events = POLLIN, .revents = 77};
  CHECK_CALL(mj_poll(&own, 1, 1000000), ==, -EBUSY);
  CHECK_INT(own.revents, ==, 0);
  CHECK_CALL(mj_poll(NULL, 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_poll(&own, (nfds_t)INT_MAX + 1, MJ_FOREVER), ==, -EINVAL);
  CHECK_CALL(mj_poll(NULL, 0, 0), ==, -ETIMEDOUT);
  CHECK_CALL(mj_poll(NULL, 0, 1000000), ==, -ETIMEDOUT);
  struct pollfd none = {.fd = -1, .revents = 77};
  CHECK_CALL(mj_poll(&none, 1, 1000000), ==, -ETIMEDOUT);
  CHECK_INT(none.revents, ==, 0);
  // More than poll(2) takes here.
  struct rlimit before, few;
  CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), ==, 0);
  few = before;
  int fds[2];
  open_unix(fds);
  int closed = dup(fds[0]);
  close(closed);
  few.rlim_cur = 0;
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
  struct pollfd many[17];
  for (int i = 0; i < 17; i++) many[i] = (struct pollfd){.fd = -1, .revents = 77};
  many[3] = (struct pollfd){.fd = fds[0], .events = POLLIN};
  CHECK_CALL(mj_poll(many, 17, 1000000), ==, -ETIMEDOUT);
  for (int i = 0; i < 17; i++) CHECK_INT(many[i].revents, ==, 0);
  polling one;
  begin_polling(&one, many, 17, MJ_FOREVER);
  put_byte(fds[1]);
  CHECK_INT(result_of(&one.call), ==, 1);
  CHECK_INT(many[3].revents, ==, POLLIN);
  many[5] = (struct pollfd){.fd = closed, .events = POLLIN};
  CHECK_CALL(mj_poll(many, 17, MJ_FOREVER), ==, 2);
  CHECK_INT(many[5].revents, ==, POLLNVAL);
  close_both(fds);
  CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), ==, 0);
}

// ---- mj_sendfile() ----

enum { file_bytes = 300000 };
static unsigned char content[file_bytes], received[file_bytes + 1];

static int empty_file(void) {
  char path[] = "/tmp/majjen-io-XXXXXX";
  int file = mkostemp(path, O_CLOEXEC);
  CHECK_INT(file, >=, 0);
  unlink(path);
  return file;
}

static int new_file(void) {
  int file = empty_file();
  fill_with_pattern(content, file_bytes);
  CHECK_INT(write(file, content, file_bytes), ==, file_bytes);
  CHECK_INT(lseek(file, 0, SEEK_SET), ==, 0);
  return file;
}

static int drains(call* self) {
  size_t* count = self->object;
  for (;;) {
    ssize_t result = mj_read(self->fd, received + *count, file_bytes + 1 - *count, LONG_NS);
    if (result <= 0) return (int)result;
    *count += (size_t)result;
  }
}

static void files_are_sent(void) {
  void (*open[])(int fds[2]) = {open_tcp, open_unix, open_blocking_pipe, open_fifo};
  int file = new_file();
  for (int way = 0; way < 16; way++) {
    bool nonblocking = way & 1, owned = way & 2;
    int fds[2];
    open[way / 4](fds);
    if (nonblocking) CHECK_INT(fcntl(fds[1], F_SETFL, fcntl(fds[1], F_GETFL) | O_NONBLOCK), ==, 0);
    int flags = fcntl(fds[1], F_GETFL);
    if (owned) CHECK_INT(mj_fd_adopt(fds[1]), ==, 0);
    size_t count = 0;
    off_t offset = 1000;
    call reader = {.make = drains, .fd = fds[0], .object = &count};
    begin_call(&reader);
    // From an offset, which the file's position is not; then from there, to the end.
    CHECK_INT(lseek(file, 7, SEEK_SET), ==, 7);
    CHECK_CALL(mj_sendfile(fds[1], file, &offset, 100000, MJ_FOREVER), ==, 100000);
    CHECK_INT(offset, ==, 101000);
    CHECK_INT(lseek(file, 0, SEEK_CUR), ==, 7);
    CHECK_INT(lseek(file, 101000, SEEK_SET), ==, 101000);
    CHECK_CALL(mj_sendfile(fds[1], file, NULL, SSIZE_MAX, MJ_FOREVER), ==, file_bytes - 101000);
    CHECK_INT(lseek(file, 0, SEEK_CUR), ==, file_bytes);
    CHECK_CALL(mj_sendfile(fds[1], file, NULL, 1, MJ_FOREVER), ==, 0);
    CHECK_CALL(mj_sendfile(fds[1], file, NULL, 0, MJ_FOREVER), ==, 0);
    CHECK_INT(fcntl(fds[1], F_GETFL), ==, flags);
    CHECK_INT(mj_fd_close(fds[1]), ==, 0);
    CHECK_INT(result_of(&reader), ==, 0);
    CHECK_UINT(count, ==, file_bytes - 1000);
    check_pattern(received, 1000, count);
    close(fds[0]);
    // Nobody reads: what was sent before the limit is told, and the next call tells the error.
    open[way / 4](fds);
    if (nonblocking) CHECK_INT(fcntl(fds[1], F_SETFL, fcntl(fds[1], F_GETFL) | O_NONBLOCK), ==, 0);
    if (owned) CHECK_INT(mj_fd_adopt(fds[1]), ==, 0);
    ssize_t result = 0, sent = 0;
    offset = 0;
    do {
      sent += result;
      if (offset == file_bytes) offset = 0;
      result = mj_sendfile(fds[1], file, &offset, file_bytes, 2000000);
    } while (result > 0);
    CHECK_INT(result, ==, -ETIMEDOUT);
    CHECK_INT(sent, >, 0);
    CHECK_INT(sent % file_bytes, ==, offset % file_bytes);
    CHECK_INT(mj_fd_close(fds[0]), ==, 0);
    result = mj_sendfile(fds[1], file, &offset, 8, LONG_NS);
    CHECK(result == -EPIPE || result == -ECONNRESET);
    CHECK_INT(mj_fd_close(fds[1]), ==, 0);
  }
  int fds[2];
  open_unix(fds);
  CHECK_CALL(mj_sendfile(fds[1], 999, NULL, 8, MJ_FOREVER), ==, -EBADF);
  close(fds[0]);
  close(fds[1]);
  close(file);
}

// There is no event to wait for where a file would have to wait for a disk.
static void a_file_is_sent_to_a_file(void) {
  int from = new_file(), to = empty_file();
  CHECK_CALL(mj_sendfile(to, from, NULL, SSIZE_MAX, MJ_FOREVER), ==, file_bytes);
  CHECK_INT(pread(to, received, file_bytes + 1, 0), ==, file_bytes);
  check_pattern(received, 0, file_bytes);
  close(from);
  close(to);
}

// ---- The budget of a turn ----

enum { POLLS_OF_A_TURN = 64 };

static int polled[2];
static bool other_had_its_turn, closes_it;

static void polls_until_it_yields(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  struct pollfd writable = {.fd = polled[1], .events = POLLOUT};
  for (int i = 0; i < POLLS_OF_A_TURN; i++) CHECK_INT(mj_poll(&writable, 1, MJ_FOREVER), ==, 1);
  CHECK(!other_had_its_turn);
  CHECK_INT(mj_poll(&writable, 1, MJ_FOREVER), ==, 1);
  CHECK(other_had_its_turn);
  CHECK_INT(writable.revents, ==, closes_it ? POLLNVAL : POLLOUT);
  mj_task_exit();
}

static void has_its_turn(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  other_had_its_turn = true;
  if (closes_it) CHECK_INT(mj_fd_close(polled[1]), ==, 0);
  mj_task_exit();
}

// One that is ready each time lets others run, and sees what they close meanwhile.
static void a_poll_that_need_not_wait_yields_in_time(void) {
  for (int closes = 0; closes < 2; closes++) {
    CHECK_INT(pipe(polled), ==, 0);
    other_had_its_turn = false;
    closes_it = closes == 1;
    mj_scheduler* scheduler = new_scheduler();
    count_calls_only(scheduler);
    add_task(scheduler, polls_until_it_yields, NULL);
    add_task(scheduler, has_its_turn, NULL);
    CHECK_INT(mj_run(scheduler), ==, 0);
    mj_scheduler_destroy(scheduler);
    close(polled[0]);
    if (!closes_it) close(polled[1]);
  }
}

int main(void) {
  RUN_BY_BOTH_CLOCKS(few_and_many);
  RUN_IN_TASK(what_is_there_is_told_though_the_call_is_canceled);
  RUN_BY_BOTH_CLOCKS(events_of_each_kind);
  RUN_IN_TASK(wrong_polls);
  RUN_BY_BOTH_CLOCKS(files_are_sent);
  RUN_IN_TASK(a_file_is_sent_to_a_file);
  RUN(a_poll_that_need_not_wait_yields_in_time);
  return 0;
}
