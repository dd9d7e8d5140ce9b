// Regular files: places in them, and their locks.
#define _GNU_SOURCE
#include "hooked.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <sys/wait.h>

static unsigned ended;

static int open_file(void) {
  char path[] = "/tmp/majjen-hook-XXXXXX";
  int fd = mkstemp(path);
  CHECK_INT(fd, >=, 0);
  unlink(path);
  return fd;
}

static void places_are_read_and_written(void) {
  int fd = open_file();
  char text[16] = "";
  CHECK_INT(pwrite(fd, "hello, world", 12, 0), ==, 12);
  CHECK_INT(pread(fd, text, sizeof text, 7), ==, 5);
  CHECK_STR(text, "world");
  CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, 0);
  char one[3] = "", other[3] = "";
  struct iovec list[2] = {{one, 2}, {other, 2}};
  CHECK_INT(preadv(fd, list, 2, 0), ==, 4);
  CHECK_STR(one, "he");
  CHECK_STR(other, "ll");
  CHECK_INT(pwritev(fd, list, 2, 100), ==, 4);
  CHECK_INT(preadv2(fd, list, 2, 100, 0), ==, 4);
  CHECK_INT(preadv2(fd, list, 2, -1, 0), ==, 4);  // As readv(2).
  CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, 4);
  CHECK_INT(pwritev2(fd, list, 2, -1, 0), ==, 4);
  CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, 8);
  CHECK_INT(pread(fd, text, sizeof text, 1000), ==, 0);
  CHECK_FAILS(pread(fd, text, sizeof text, -1), EINVAL);
  CHECK_FAILS(pread(-1, text, sizeof text, 0), EBADF);
  CHECK_INT(read(fd, text, 4), ==, 4);
  CHECK_INT(write(fd, text, 4), ==, 4);
  CHECK_INT(close(fd), ==, 0);
  int ends[2];
  CHECK_INT(pipe(ends), ==, 0);
  CHECK_FAILS(pread(ends[0], text, 1, 0), ESPIPE);
  CHECK_FAILS(pwrite(ends[1], text, 1, 0), ESPIPE);
  close(ends[0]);
  close(ends[1]);
}

static void much_is_written_and_read(void) {
  enum { MUCH = 4 << 20 };
  int fd = open_file();
  char* data = (char*)allocate(MUCH);
  for (size_t i = 0; i < MUCH; i++) data[i] = (char)(i * 7);
  CHECK_INT(write(fd, data, MUCH), ==, MUCH);
  char* back = (char*)allocate(MUCH);
  CHECK_INT(pread(fd, back, MUCH, 0), ==, MUCH);
  CHECK_INT(memcmp(data, back, MUCH), ==, 0);
  free(data);
  free(back);
  close(fd);
}

// Of what was asked for, only the first part is in memory, if the system drops the rest: a read is not cut
// short by that.
static void a_part_that_is_in_memory_is_not_all(void) {
  enum { PART = 1 << 20, PARTS = 4, FEW = 1 << 16 };
  int fd = open_file();
  char* data = (char*)allocate(PART * PARTS);
  for (size_t i = 0; i < PART * PARTS; i++) data[i] = (char)(i * 11 + i / PART);
  CHECK_INT(write(fd, data, PART * PARTS), ==, PART * PARTS);
  char* back = (char*)allocate(PART * PARTS);
  struct iovec list[40];  // More than are passed on at once.
  for (int i = 0; i < 40; i++) list[i] = (struct iovec){back + i * FEW, FEW};
  for (int way = 0; way < 4; way++) {
    CHECK_INT(fdatasync(fd), ==, 0);
    CHECK_INT(posix_fadvise(fd, PART, 0, POSIX_FADV_DONTNEED), ==, 0);
    CHECK_INT(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), ==, 0);
    CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
    memset(back, 0, PART * PARTS);
    ssize_t all = way < 2 ? PART * PARTS : 40 * FEW;
    CHECK_INT(way == 0   ? read(fd, back, PART * PARTS)
              : way == 1 ? pread(fd, back, PART * PARTS, 0)
              : way == 2 ? readv(fd, list, 40)
                         : preadv(fd, list, 40, 0),
              ==, all);
    CHECK_INT(memcmp(data, back, (size_t)all), ==, 0);
    CHECK_INT(lseek(fd, 0, SEEK_CUR), ==, way % 2 == 0 ? all : 0);
  }
  CHECK_INT(pread(fd, back, PART, PART * PARTS - 10), ==, 10);  // The end cuts it.
  free(data);
  free(back);
  close(fd);
  fd = open("/proc/self/status", O_RDONLY);  // This has a length of 0.
  CHECK_INT(fd, >=, 0);
  CHECK_INT(read(fd, (char[100000]){0}, 100000), >, 0);
  close(fd);
}

// ---- locks

static int in_another_process;  // A byte to it, and it unlocks.

// Another process, whose lock is of another open file.
static pid_t locked_by_another(const char* path, int kind) {
  int ready[2], go_on[2];
  CHECK_INT(pipe(ready), ==, 0);
  CHECK_INT(pipe(go_on), ==, 0);
  pid_t pid = fork();
  if (pid == 0) {
    char byte;
    int fd = open(path, O_RDWR);
    struct flock whole = {.l_type = F_WRLCK};
    int locked = kind == 0 ? flock(fd, LOCK_EX)
                 : kind == 1 ? fcntl(fd, F_SETLKW, &whole)
                 : kind == 2 ? fcntl(fd, F_OFD_SETLKW, &whole)
                             : lockf(fd, F_LOCK, 0);
    if (locked != 0) _exit(1);
    if (write(ready[1], "x", 1) != 1 || read(go_on[0], &byte, 1) != 1) _exit(2);
    _exit(0);
  }
  char byte;
  CHECK_INT(read(ready[0], &byte, 1), ==, 1);
  close(ready[0]);
  close(ready[1]);
  close(go_on[0]);
  in_another_process = go_on[1];
  return pid;
}

static void lets_go(void* argument) {
  (void)argument;
  usleep(30000);
  CHECK_INT(write(in_another_process, "x", 1), ==, 1);
  add_one(&ended);
}

static void locks_of_others_are_waited_for(void) {
  for (int kind = 0; kind < 4; kind++) {
    char path[] = "/tmp/majjen-hook-XXXXXX";
    int fd = mkstemp(path);
    ended = 0;
    pid_t pid = locked_by_another(path, kind);
    struct flock whole = {.l_type = F_WRLCK};
    switch (kind) {
      case 0:
        CHECK_FAILS(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
        break;
      case 1:
        CHECK_INT(fcntl(fd, F_SETLK, &whole), ==, -1);
        break;
      case 2:
        CHECK_INT(fcntl(fd, F_OFD_SETLK, &whole), ==, -1);
        break;
      default:
        CHECK_INT(lockf(fd, F_TLOCK, 0), ==, -1);
    }
    start_ticker();
    start(lets_go, NULL);
    CHECK_INT(kind == 0   ? flock(fd, LOCK_EX)
              : kind == 1 ? fcntl(fd, F_SETLKW, &whole)
              : kind == 2 ? fcntl(fd, F_OFD_SETLKW, &whole)
                          : lockf(fd, F_LOCK, 0),
              ==, 0);
    wait_until(&ended, 1);
    stop_ticker(2);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    close(in_another_process);
    close(fd);
    unlink(path);
  }
}

static void other_commands_are_left_alone(void) {
  int fd = open_file();
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 20);
  CHECK_INT(copy, >=, 20);
  CHECK_INT(fcntl(copy, F_GETFD), ==, FD_CLOEXEC);
  CHECK_INT(fcntl(copy, F_SETFD, 0), ==, 0);
  CHECK_INT(fcntl(copy, F_GETFD), ==, 0);
  CHECK_INT(fcntl(fd, F_SETFL, O_APPEND), ==, 0);
  CHECK_INT(fcntl(fd, F_GETFL) & O_APPEND, ==, O_APPEND);
  CHECK_FAILS(fcntl(-1, F_GETFL), EBADF);
  CHECK_FAILS(fcntl(fd, 123456, 0), EINVAL);
  CHECK_INT(flock(fd, LOCK_EX), ==, 0);
  CHECK_INT(flock(fd, LOCK_UN), ==, 0);
  CHECK_FAILS(flock(-1, LOCK_EX), EBADF);
  struct flock wrong = {.l_type = 99};
  CHECK_FAILS(fcntl(fd, F_SETLKW, &wrong), EINVAL);
  close(copy);
  close(fd);
}

int main(void) {
  mj_log_set_level(MJ_LOG_WARN);
  RUN_HOOKED(places_are_read_and_written);
  RUN_HOOKED(much_is_written_and_read);
  RUN_HOOKED(a_part_that_is_in_memory_is_not_all);
  RUN_HOOKED(locks_of_others_are_waited_for);
  RUN_HOOKED(other_commands_are_left_alone);
  return 0;
}
