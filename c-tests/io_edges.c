// Descriptors in odd states: errors that stay, numbers that are used again while a call is woken, owners
// that are gone.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"

#include <sys/resource.h>

enum { MS_NS = 1000000 };

// A pending error that no read takes away keeps the descriptor ready. The limit holds all the same.
static void an_error_that_stays_does_not_outlast_the_limit(void) {
  for (int owned = 0; owned < 2; owned++) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), closed = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof nobody;
    CHECK_INT(bind(closed, (struct sockaddr*)&nobody, length), ==, 0);
    CHECK_INT(getsockname(closed, (struct sockaddr*)&nobody, &length), ==, 0);
    close(closed);
    CHECK_INT(setsockopt(fd, SOL_IP, 11 /* IP_RECVERR */, &on, sizeof on), ==, 0);
    CHECK_INT(connect(fd, (struct sockaddr*)&nobody, length), ==, 0);
    if (owned) CHECK_INT(mj_fd_adopt(fd), ==, 0);
    CHECK_INT(mj_write(fd, "x", 1, MJ_FOREVER), ==, 1);
    char byte;
    ssize_t first = mj_read(fd, &byte, 1, 20 * MS_NS);
    CHECK(first == -ECONNREFUSED || first == -ETIMEDOUT);
    CHECK_INT(mj_read(fd, &byte, 1, 5 * MS_NS), ==, -ETIMEDOUT);
    uint64_t old;
    CHECK_INT(mj_task_set_deadline(mj_deadline_after(5 * MS_NS), &old), ==, 0);
    CHECK_INT(mj_read(fd, &byte, 1, MJ_FOREVER), ==, -ETIMEDOUT);
    CHECK_INT(mj_task_set_deadline(old, NULL), ==, 0);
    CHECK_INT(mj_fd_close(fd), ==, 0);
  }
}

static int ends[2], waits_by_poll;
static long long told;

static void reads_for_long(void* unused) {
  (void)unused;
  char byte;
  struct pollfd poll = {.fd = ends[0], .events = POLLIN};
  told = waits_by_poll ? mj_poll(&poll, 1, MJ_FOREVER) : mj_read(ends[0], &byte, 1, MJ_FOREVER);
  if (waits_by_poll) CHECK_INT(poll.revents, ==, POLLNVAL);
}

// A wake-up ends no call. But one that is woken must not go on with another file.
static void a_woken_call_does_not_wait_for_the_next_file(void) {
  for (int i = 0; i < 4; i++) {
    waits_by_poll = i / 2;
    open_unix(ends);
    int number = ends[0];
    if (i % 2 == 1) CHECK_INT(mj_fd_adopt(number), ==, 0);
    mj_task_id id;
    CHECK_INT(mj_go(scheduler, reads_for_long, NULL, &id), ==, 0);
    CHECK_INT(mj_sleep_ns(MS_NS), ==, 0);
    CHECK_INT(mj_scheduler_wake(scheduler, id), ==, 1);
    CHECK_INT(mj_fd_close(number), ==, 0);
    int others[2];
    open_blocking_pipe(others);
    CHECK_INT(others[0], ==, number);
    int joined = mj_task_join(id, MJ_FOREVER);
    CHECK(joined == 0 || joined == -ESRCH);
    CHECK_INT(told, ==, waits_by_poll ? 1 : -EBADF);
    close(others[0]);
    close(others[1]);
    close(ends[1]);
  }
}

static int kept;

static void waits_for_what_is_kept(void* unused) {
  (void)unused;
  char byte;
  CHECK_INT(mj_read(kept, &byte, 1, MS_NS), ==, -ETIMEDOUT);
}

static void waits_and_then_idles(void* unused) {
  waits_for_what_is_kept(unused);
  // The table of descriptors forgets large ones that nobody waits for.
  for (int i = 0; i < 30; i++) CHECK_INT(mj_sleep_ns(50 * MS_NS), ==, 0);
}

static void run_one(void (*function)(void*)) {
  mj_scheduler* next = new_scheduler();
  CHECK_INT(mj_go(next, function, NULL, NULL), ==, 0);
  CHECK_INT(mj_run(next), ==, 0);
  mj_scheduler_destroy(next);
}

// A scheduler that is gone has no descriptor any more.
static void a_destroyed_scheduler_owns_nothing(void) {
  struct rlimit limit = {9000, 9000};
  bool has_many = setrlimit(RLIMIT_NOFILE, &limit) == 0;
  int pair[2];
  open_unix(pair);
  kept = fcntl(pair[0], F_DUPFD_CLOEXEC, has_many ? 8000 : 200);
  CHECK_INT(kept, >=, 0);
  CHECK_INT(mj_fd_adopt(kept), ==, 0);
  run_one(waits_and_then_idles);
  run_one(waits_for_what_is_kept);
  CHECK_INT(mj_fd_release(kept), ==, 0);
  close(kept);
  close(pair[0]);
  close(pair[1]);
}

static void what_a_stream_owns_is_adopted_already(void) {
  int pair[2];
  open_unix(pair);
  mj_stream* stream = mj_stream_create(pair[0], 0, 0);
  CHECK_PTR(stream, !=, NULL);
  CHECK_INT(mj_fd_adopt(mj_stream_fd(stream)), ==, 0);
  CHECK_INT(mj_stream_write(stream, "hello", 5, MJ_FOREVER, NULL), ==, 0);
  CHECK_INT(mj_stream_close(stream, MJ_FOREVER), ==, 0);
  char word[6] = "";
  CHECK_INT(mj_read(pair[1], word, 5, MJ_FOREVER), ==, 5);
  CHECK_STR(word, "hello");
  close(pair[1]);
  CHECK_INT(mj_fd_adopt(mj_scheduler_backend_fd(scheduler)), ==, -EINVAL);
  CHECK_PTR(mj_stream_create(mj_scheduler_backend_fd(scheduler), 0, 0), ==, NULL);
}

int main(void) {
  RUN_IN_TASK(an_error_that_stays_does_not_outlast_the_limit);
  RUN_IN_TASK(a_woken_call_does_not_wait_for_the_next_file);
  RUN_IN_TASK(what_a_stream_owns_is_adopted_already);
  RUN(a_destroyed_scheduler_owns_nothing);
  return 0;
}
