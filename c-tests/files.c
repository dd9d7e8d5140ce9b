// Files: by their paths, at places, as a whole, and by the calls for all descriptors.
#define _GNU_SOURCE
#include "check.h"
#include "files.h"
#include "io.h"
#include "log_lines.h"

#include <pthread.h>
#include <sys/uio.h>

// ---- Paths ----

static void paths(void) {
  enter();
  struct stat status;
  CHECK_CALL(mj_stat(path_of("a"), &status, LONG_NS), ==, -ENOENT);
  int fd = mj_open(path_of("a"), O_RDWR | O_CREAT | O_EXCL, 0640, LONG_NS);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
  CHECK_CALL(mj_open(path_of("a"), O_RDWR | O_CREAT | O_EXCL, 0640, LONG_NS), ==, -EEXIST);
  CHECK_INT(mj_pwrite(fd, "hello", 5, 0, LONG_NS), ==, 5);
  CHECK_CALL(mj_fsync(fd, LONG_NS), ==, 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
  CHECK_CALL(mj_fsync(fd, LONG_NS), ==, -EBADF);
  CHECK_CALL(mj_stat(path_of("a"), &status, LONG_NS), ==, 0);
  CHECK_INT(status.st_size, ==, 5);
  CHECK_INT(status.st_mode & 0137, ==, 0);
  CHECK_CALL(mj_rename(path_of("a"), path_of("b"), LONG_NS), ==, 0);
  CHECK_CALL(mj_rename(path_of("a"), path_of("b"), LONG_NS), ==, -ENOENT);
  CHECK_CALL(mj_mkdir(path_of("d"), 0700, LONG_NS), ==, 0);
  CHECK_CALL(mj_mkdir(path_of("d"), 0700, LONG_NS), ==, -EEXIST);
  CHECK_CALL(mj_rename(path_of("b"), path_of("d/c"), LONG_NS), ==, 0);
  CHECK_CALL(mj_rmdir(path_of("d"), LONG_NS), ==, -ENOTEMPTY);
  CHECK_CALL(mj_unlink(path_of("d"), LONG_NS), ==, -EISDIR);
  CHECK_CALL(mj_unlink(path_of("d/c"), LONG_NS), ==, 0);
  CHECK_CALL(mj_unlink(path_of("d/c"), LONG_NS), ==, -ENOENT);
  CHECK_CALL(mj_rmdir(path_of("d"), LONG_NS), ==, 0);
  CHECK_CALL(mj_rmdir(path_of("d"), LONG_NS), ==, -ENOENT);
  char too_long[5000];
  memset(too_long, 'x', sizeof too_long - 1);
  too_long[sizeof too_long - 1] = '\0';
  CHECK_CALL(mj_open(too_long, O_RDONLY, 0, LONG_NS), ==, -ENAMETOOLONG);
  leave();
}

// ---- At a place ----

enum { large = 1000000 };

static void reading_and_writing_at_a_place(void) {
  enter();
  unsigned char* bytes = allocate(large + 1);
  unsigned char* back = allocate(large + 1);
  fill_with_pattern(bytes, large);
  int fd = make_file("a", "", 0);
  CHECK_CALL(mj_pwrite(fd, bytes, large, 0, LONG_NS), ==, large);
  CHECK_CALL(mj_pread(fd, back, large, 0, LONG_NS), ==, large);
  CHECK_INT(memcmp(bytes, back, large), ==, 0);
  CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, 0);
  // Fewer at the end only, and none behind it.
  memset(back, 0, large);
  CHECK_CALL(mj_pread(fd, back, large + 1, 0, LONG_NS), ==, large);
  CHECK_INT(memcmp(bytes, back, large), ==, 0);
  CHECK_CALL(mj_pread(fd, back, 10, large - 3, LONG_NS), ==, 3);
  CHECK_CALL(mj_pread(fd, back, 10, large, LONG_NS), ==, 0);
  CHECK_CALL(mj_pread(fd, back, 10, INT64_C(1) << 40, LONG_NS), ==, 0);
  CHECK_CALL(mj_pread(fd, back, 0, 0, LONG_NS), ==, 0);
  CHECK_CALL(mj_pread(fd, NULL, 0, 0, LONG_NS), ==, 0);
  CHECK_CALL(mj_pwrite(fd, NULL, 0, 0, LONG_NS), ==, 0);
  // From the disk: not in the page cache any more, where the file system lets go of it.
  CHECK_INT(fsync(fd), ==, 0);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  memset(back, 0, large);
  CHECK_CALL(mj_pread(fd, back, large, 0, LONG_NS), ==, large);
  CHECK_INT(memcmp(bytes, back, large), ==, 0);
  // A hole.
  CHECK_CALL(mj_pwrite(fd, "x", 1, large + 100, LONG_NS), ==, 1);
  CHECK_CALL(mj_pread(fd, back, 200, large, LONG_NS), ==, 101);
  CHECK(back[0] == 0 && back[99] == 0 && back[100] == 'x');

  CHECK_CALL(mj_pread(fd, back, 10, -1, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_pwrite(fd, back, 10, -1, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_pread(fd, back, 10, INT64_MAX - 5, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_pread(fd, NULL, 10, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_pread(fd, back, SIZE_MAX, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_pread(-1, back, 10, 0, LONG_NS), ==, -EBADF);
  CHECK_CALL(mj_pwrite(-1, back, 10, 0, LONG_NS), ==, -EBADF);
  int pipe_fds[2];
  open_blocking_pipe(pipe_fds);
  CHECK_CALL(mj_pread(pipe_fds[0], back, 10, 0, LONG_NS), ==, -ESPIPE);
  CHECK_CALL(mj_pwrite(pipe_fds[1], back, 10, 0, LONG_NS), ==, -ESPIPE);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  int folder = mj_open(directory, O_RDONLY | O_DIRECTORY, 0, LONG_NS);
  CHECK_CALL(mj_pread(folder, back, 10, 0, LONG_NS), ==, -EISDIR);
  CHECK_INT(mj_fd_close(folder), ==, 0);
  int reading = mj_open(path_of("a"), O_RDONLY, 0, LONG_NS);
  CHECK_CALL(mj_pwrite(reading, "x", 1, 0, LONG_NS), ==, -EBADF);
  CHECK_INT(mj_fd_close(reading), ==, 0);
  close(fd);
  free(bytes);
  free(back);
  leave();
}

// ---- The calls for all descriptors ----

static void regular_files_by_the_calls_for_all_descriptors(void) {
  enter();
  unsigned char* bytes = allocate(large);
  unsigned char* back = allocate(large);
  fill_with_pattern(bytes, large);
  int fd = make_file("a", "", 0);
  for (int owned = 0; owned < 2; owned++) {
    CHECK_INT(ftruncate(fd, 0), ==, 0);
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    CHECK_CALL(mj_write(fd, bytes, large / 2, LONG_NS), ==, large / 2);
    struct iovec parts[2] = {{bytes + large / 2, 1000}, {bytes + large / 2 + 1000, large / 2 - 1000}};
    CHECK_CALL(mj_writev(fd, parts, 2, LONG_NS), ==, large / 2);
    CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, large);
    CHECK_INT(fsync(fd), ==, 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    size_t done = 0;
    memset(back, 0, large);
    CHECK_CALL(mj_read_exact(fd, back, large, LONG_NS, &done), ==, large);
    CHECK_INT(memcmp(bytes, back, large), ==, 0);
    CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, large);
    CHECK_CALL(mj_read(fd, back, 10, LONG_NS), ==, 0);
    if (owned == 0) CHECK_INT(mj_fd_adopt(fd), ==, 0);
  }
  CHECK_INT(mj_fd_close(fd), ==, 0);
  // At the end, whatever was written meanwhile.
  fd = open(path_of("a"), O_WRONLY | O_APPEND | O_CLOEXEC);
  CHECK_CALL(mj_write(fd, "xyz", 3, LONG_NS), ==, 3);
  CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, large + 3);
  CHECK_CALL(mj_read(fd, back, 1, LONG_NS), ==, -EBADF);
  close(fd);
  int folder = open(directory, O_RDONLY | O_CLOEXEC);
  CHECK_CALL(mj_read(folder, back, 1, LONG_NS), ==, -EISDIR);
  close(folder);
  // One whose file system cannot tell what is in memory.
  fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  CHECK_CALL(mj_read(fd, back, 5, LONG_NS), ==, 5);
  CHECK_INT(memcmp(back, "Name:", 5), ==, 0);
  CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, 5);
  close(fd);
  free(bytes);
  free(back);
  leave();
}

// ---- Whole files ----

static int read_whole(const char* path, size_t most, char** data, size_t* bytes) {
  *data = (char*)&directory;
  *bytes = 4321;
  errno = 4321;
  int result = mj_file_read_all(path, most, data, bytes, LONG_NS);
  CHECK_INT(errno, ==, 4321);
  if (result < 0) CHECK(*data == (char*)&directory && *bytes == 4321);
  return result;
}

static void whole_files(void) {
  enter();
  char* data;
  size_t bytes;
  unsigned char* pattern = allocate(large);
  fill_with_pattern(pattern, large);
  size_t sizes[] = {0, 1, 16383, 16384, large};
  for (int i = 0; i < 5; i++) {
    close(make_file("a", pattern, sizes[i]));
    CHECK_INT(read_whole(path_of("a"), sizes[i], &data, &bytes), ==, 0);
    CHECK_UINT(bytes, ==, sizes[i]);
    CHECK_INT(memcmp(data, pattern, bytes), ==, 0);
    CHECK_INT(data[bytes], ==, 0);
    free(data);
    if (i > 0) CHECK_INT(read_whole(path_of("a"), sizes[i] - 1, &data, &bytes), ==, -EFBIG);
    CHECK_INT(mj_file_read_all(path_of("a"), SIZE_MAX, &data, NULL, LONG_NS), ==, 0);
    free(data);
  }
  CHECK_INT(read_whole(path_of("b"), 10, &data, &bytes), ==, -ENOENT);
  CHECK_INT(read_whole(directory, 10, &data, &bytes), ==, -EISDIR);
  // Those that have no size, or no end.
  CHECK_INT(read_whole("/proc/self/status", 1000000, &data, &bytes), ==, 0);
  CHECK(bytes > 100 && strncmp(data, "Name:", 5) == 0 && strlen(data) == bytes);
  free(data);
  CHECK_INT(read_whole("/proc/self/status", 100, &data, &bytes), ==, -EFBIG);
  CHECK_INT(read_whole("/dev/null", 0, &data, &bytes), ==, 0);
  CHECK_UINT(bytes, ==, 0);
  CHECK_INT(data[0], ==, 0);
  free(data);
  CHECK_INT(read_whole("/dev/zero", 100000, &data, &bytes), ==, -EFBIG);
  free(pattern);
  leave();
}

static int growing_fd;
static bool has_ended;

static void grows(mj_scheduler* running, void* user_state) {
  (void)running;
  (void)user_state;
  while (!has_ended) {
    CHECK_INT(mj_pwrite(growing_fd, "0123456789", 10, lseek(growing_fd, 0, SEEK_END), LONG_NS), ==,
              10);
    mj_task_yield();
  }
  mj_task_exit();
}

static void a_file_that_grows_is_read_to_some_end(void) {
  enter();
  growing_fd = make_file("a", "0123456789", 10);
  has_ended = false;
  add_task(scheduler, grows, NULL);
  size_t latest = 0;
  for (int i = 0; i < 50; i++) {
    char* data;
    size_t bytes;
    CHECK_INT(read_whole(path_of("a"), SIZE_MAX, &data, &bytes), ==, 0);
    CHECK(bytes >= latest && bytes % 10 == 0 && strlen(data) == bytes);
    CHECK_INT(memcmp(data + bytes - 10, "0123456789", 10), ==, 0);
    latest = bytes;
    free(data);
  }
  has_ended = true;
  mj_task_yield();
  mj_sleep_ns(1000000);
  while (mj_scheduler_get_metrics(scheduler)->current_tasks > 1) mj_sleep_ns(1000000);
  close(growing_fd);
  leave();
}

// ---- FIFOs ----

typedef struct whole_call {
  call call;
  const char* path;
  char* data;
  size_t bytes;
} whole_call;

static int reads_whole(call* self) {
  whole_call* one = (whole_call*)self;
  return mj_file_read_all(one->path, 100, &one->data, &one->bytes, self->timeout_ns);
}

static int opens(call* self) { return mj_open(self->object, O_RDONLY, 0, self->timeout_ns); }

static void a_fifo_is_waited_for(void) {
  enter();
  char path[512];
  snprintf(path, sizeof path, "%s", path_of("fifo"));
  CHECK_INT(mkfifo(path, 0600), ==, 0);
  // Nobody writes: time-out and cancellation leave nothing open.
  int before = open_descriptors();
  char* data;
  CHECK_CALL(mj_file_read_all(path, 100, &data, NULL, 3000000), ==, -ETIMEDOUT);
  whole_call one = {.call = {.make = reads_whole, .timeout_ns = MJ_FOREVER}, .path = path};
  begin_call(&one.call);
  for (int i = 0; i < 10000 && open_descriptors() == before; i++) mj_sleep_ns(1000000);
  mj_sleep_ns(short_ns());
  CHECK(!one.call.returned);
  mj_task_cancel(one.call.task);
  CHECK_INT(result_of(&one.call), ==, -ECANCELED);
  for (int i = 0; i < 10000 && open_descriptors() > before; i++) mj_sleep_ns(1000000);
  CHECK_INT(open_descriptors(), ==, before);
  // Somebody does, in two parts.
  one.call = (call){.make = reads_whole, .timeout_ns = MJ_FOREVER};
  begin_call(&one.call);
  int writer;
  while ((writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) mj_sleep_ns(1000000);
  CHECK_INT(write(writer, "one ", 4), ==, 4);
  mj_sleep_ns(short_ns());
  CHECK(!one.call.returned);
  CHECK_INT(write(writer, "two", 3), ==, 3);
  close(writer);
  CHECK_INT(result_of(&one.call), ==, 0);
  CHECK_STR(one.data, "one two");
  CHECK_UINT(one.bytes, ==, 7);
  free(one.data);
  // More than it may be.
  one.call = (call){.make = reads_whole, .timeout_ns = MJ_FOREVER};
  begin_call(&one.call);
  while ((writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) mj_sleep_ns(1000000);
  char many[101] = {0};
  CHECK_INT(write(writer, many, sizeof many), ==, sizeof many);
  close(writer);
  CHECK_INT(result_of(&one.call), ==, -EFBIG);
  // The descriptor that a worker gets too late is closed.
  CHECK_CALL(mj_open(path, O_RDONLY, 0, 3000000), ==, -ETIMEDOUT);
  call opening = {.make = opens, .object = path, .timeout_ns = MJ_FOREVER};
  begin_call(&opening);
  mj_sleep_ns(short_ns());
  mj_task_cancel(opening.task);
  CHECK_INT(result_of(&opening), ==, -ECANCELED);
  // Until the workers of both have ended: one may begin to open it, and get the descriptor, late.
  mj_offload_counts counts = {.running = 1};
  for (int i = 0; i < 10000 && counts.running > 0; i++) {
    writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (writer >= 0) close(writer);
    mj_sleep_ns(1000000);
    CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_FILE, &counts, sizeof counts), ==, 0);
  }
  CHECK_UINT(counts.running, ==, 0);
  CHECK_INT(open_descriptors(), ==, before);
  leave();
}

// ---- Misuse ----

static void wrong_arguments(void) {
  struct stat status;
  char *data, **names;
  CHECK_CALL(mj_open(NULL, O_RDONLY, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_stat(NULL, &status, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_stat("/", NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_lstat(NULL, &status, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_lstat("/", NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_unlink(NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_rename(NULL, "/", LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_rename("/", NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_mkdir(NULL, 0, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_rmdir(NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_list_directory(NULL, 1, &names, NULL, NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_list_directory("/", 1, NULL, NULL, NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_file_read_all(NULL, 1, &data, NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_file_read_all("/", 1, NULL, NULL, LONG_NS), ==, -EINVAL);
  CHECK_CALL(mj_open("", O_RDONLY, 0, LONG_NS), ==, -ENOENT);
}

static void only_in_tasks(void) {
  struct stat status;
  char byte, *data, **names;
  log_lines_begin();
  CHECK_WARNS(CHECK_INT(mj_open("/", O_RDONLY, 0, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_pread(0, &byte, 1, 0, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_pwrite(0, &byte, 1, 0, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_fsync(0, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_stat("/", &status, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_lstat("/", &status, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_unlink("/none", LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_rename("/none", "/none", LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_mkdir("/tmp", 0700, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_rmdir("/none", LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_list_directory("/", 1, &names, NULL, NULL, LONG_NS), ==, -EPERM));
  CHECK_WARNS(CHECK_INT(mj_file_read_all("/", 1, &data, NULL, LONG_NS), ==, -EPERM));
  log_lines_end();
}

static int stats(call* self) {
  struct stat status;
  return mj_stat("/", &status, self->timeout_ns);
}

static void a_canceled_task_is_told(void) {
  call one = {.make = stats, .timeout_ns = MJ_FOREVER};
  spawn_call(&one);
  mj_task_cancel(one.task);
  CHECK_INT(result_of(&one), ==, -ECANCELED);
}

int main(void) {
  RUN_IN_TASK(paths);
  RUN_BY_BOTH_CLOCKS(reading_and_writing_at_a_place);
  RUN_BY_BOTH_CLOCKS(regular_files_by_the_calls_for_all_descriptors);
  RUN_IN_TASK(whole_files);
  RUN_BY_SYSTEM_CLOCK(a_file_that_grows_is_read_to_some_end);
  RUN_BY_BOTH_CLOCKS(a_fifo_is_waited_for);
  RUN_IN_TASK(wrong_arguments);
  RUN(only_in_tasks);
  RUN_IN_TASK(a_canceled_task_is_told);
  return 0;
}
