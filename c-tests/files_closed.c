// Files that are closed while calls of other tasks wait for a thread, or for room: whoever has got the number
// of their descriptor is left alone.
#define _GNU_SOURCE
#include "check.h"
#include "io.h"

#include <stdatomic.h>

// ---- All threads are busy ----

static atomic_bool may_end;

static void blocks(void* argument) {
  atomic_store((atomic_bool*)argument, true);
  while (!atomic_load(&may_end)) usleep(100);
}

static int is_busy(call* self) {
  return mj_offload_in(MJ_OFFLOAD_FILE, blocks, self->object, NULL, self->timeout_ns);
}

static uint64_t queued(void) {
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_FILE, &counts, sizeof counts), ==, 0);
  return counts.queued;
}

// Has the only thread for files run a function, until let_go().
static void occupy(call* busy) {
  static atomic_bool has_begun;
  atomic_store(&has_begun, false);
  atomic_store(&may_end, false);
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_FILE, 1), ==, 0);
  *busy = (call){.make = is_busy, .object = &has_begun, .timeout_ns = MJ_FOREVER};
  begin_call(busy);
  while (!atomic_load(&has_begun)) mj_sleep_ns(100000);
}

static void let_go(call* busy) {
  atomic_store(&may_end, true);
  CHECK_INT(result_of(busy), ==, 0);
  CHECK_INT(mj_offload_set_limit(MJ_OFFLOAD_FILE, 64), ==, 0);
}

// ---- Calls for which there is no thread yet ----

static char byte = 'x';

static int syncs(call* self) { return mj_fsync(self->fd, self->timeout_ns); }

static int reads_at(call* self) {
  return (int)mj_pread(self->fd, &byte, 1, 0, self->timeout_ns);
}

static int writes_at(call* self) {
  return (int)mj_pwrite(self->fd, &byte, 1, 0, self->timeout_ns);
}

static int reads_one(call* self) { return (int)mj_read(self->fd, &byte, 1, self->timeout_ns); }

static int writes_one(call* self) { return (int)mj_write(self->fd, &byte, 1, self->timeout_ns); }

// Files whose system cannot tell what is in memory, so that a thread is asked.
static const struct {
  int (*make)(call* self);
  const char* path;
} waiting_calls[] = {
    {syncs, "/proc/self/comm"},      {reads_at, "/proc/self/comm"},   {writes_at, "/proc/self/oom_score_adj"},
    {reads_one, "/proc/self/comm"}, {writes_one, "/proc/self/comm"},
};
enum { calls_count = sizeof waiting_calls / sizeof waiting_calls[0] };

// Another file with what it holds.
static int another_file(void) {
  char path[] = "/tmp/majjen-closed-XXXXXX";
  int fd = mkostemp(path, O_CLOEXEC);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(unlink(path), ==, 0);
  CHECK_INT(write(fd, "another", 7), ==, 7);
  CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
  return fd;
}

static void what_no_thread_has_begun(void) {
  for (int owned = 0; owned < 2; owned++) {
    call busy, calls[calls_count];
    int others[calls_count];
    occupy(&busy);
    byte = 'x';
    for (int i = 0; i < calls_count; i++) {
      int fd = open(waiting_calls[i].path, O_RDWR | O_CLOEXEC);
      CHECK_INT(fd, >=, 0);
      if (owned) CHECK_INT(mj_fd_adopt(fd), ==, 0);
      calls[i] = (call){.make = waiting_calls[i].make, .fd = fd, .timeout_ns = MJ_FOREVER};
      begin_call(&calls[i]);
      CHECK(!calls[i].returned);
      CHECK_UINT(queued(), ==, i + 1);
    }
    for (int i = 0; i < calls_count; i++) {
      CHECK_INT(mj_fd_close(calls[i].fd), ==, 0);
      others[i] = another_file();
      CHECK_INT(others[i], ==, calls[i].fd);  // The lowest number that is free.
    }
    let_go(&busy);
    for (int i = 0; i < calls_count; i++) {
      fprintf(stderr, "  %s, call %d\n", owned ? "owned" : "raw", i);
      CHECK_INT(result_of(&calls[i]), ==, -EBADF);
      char now[8] = {0};
      CHECK_INT(lseek(others[i], 0, SEEK_CUR), ==, 0);
      CHECK_INT(read(others[i], now, sizeof now), ==, 7);
      CHECK_STR(now, "another");
      close(others[i]);
    }
    CHECK_INT(byte, ==, 'x');
  }
}

// However late it begins. And a number that was closed is not taken for one that is open.
static void what_is_not_closed_is_done(void) {
  call busy;
  occupy(&busy);
  int fd = another_file();
  CHECK_INT(mj_fd_adopt(fd), ==, 0);
  call one = {.make = syncs, .fd = fd, .timeout_ns = MJ_FOREVER};
  begin_call(&one);
  CHECK_UINT(queued(), ==, 1);
  int closed = another_file();
  CHECK_INT(mj_fd_close(closed), ==, 0);
  let_go(&busy);
  CHECK_INT(result_of(&one), ==, 0);
  CHECK_CALL(mj_fsync(closed, LONG_NS), ==, -EBADF);
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

// ---- mj_sendfile(), which waits for room ----

enum { large = 4000000 };

static int sends_file(call* self) {
  return (int)mj_sendfile(self->fd, (int)self->value, self->object, large, self->timeout_ns);
}

static void a_file_that_is_being_sent(void) {
  unsigned char* bytes = allocate(large);
  for (int blocks_too = 0; blocks_too < 2; blocks_too++) {
    int fds[2];
    open_unix(fds);
    if (!blocks_too) CHECK_INT(fcntl(fds[1], F_SETFL, O_NONBLOCK), ==, 0);
    fill_with_pattern(bytes, large);
    int file = another_file();
    CHECK_INT(pwrite(file, bytes, large, 0), ==, large);
    off_t offset = 0;
    call one = {.make = sends_file, .fd = fds[1], .value = (uint64_t)file, .object = &offset,
                .timeout_ns = MJ_FOREVER};
    begin_call(&one);
    mj_sleep_ns(short_ns());
    CHECK(!one.returned);
    CHECK_INT(mj_fd_close(file), ==, 0);
    int other = another_file();
    CHECK_INT(other, ==, file);
    CHECK_INT(ftruncate(other, large), ==, 0);  // Zeros.
    size_t received = 0;
    do {
      ssize_t count = mj_read(fds[0], bytes, large, 1000000);
      if (count == -ETIMEDOUT) continue;
      CHECK_INT(count, >, 0);
      check_pattern(bytes, received, (size_t)count);
      received += (size_t)count;
    } while (!one.returned);
    ssize_t left = recv(fds[0], bytes, large, MSG_DONTWAIT);
    if (left > 0) received += (size_t)left;
    // What was sent before; the next call would tell of the file.
    CHECK_INT(one.result, >, 0);
    CHECK_INT(one.result, <, large);
    CHECK_UINT(received, ==, one.result);
    CHECK_INT(offset, ==, one.result);
    close(other);
    close_both(fds);
  }
  free(bytes);
}

int main(void) {
  RUN_BY_BOTH_CLOCKS(what_no_thread_has_begun);
  RUN_IN_TASK(what_is_not_closed_is_done);
  RUN_BY_BOTH_CLOCKS(a_file_that_is_being_sent);
  return 0;
}
