// The scenario of the pool: functions that it runs, files that it opens and reads, numeric names, for which
// it has nothing to do. One task has all of it done in turn, so that calls are counted in one order. Without
// a thread the loop runs the functions.
#ifndef POOL_H
#define POOL_H

enum { WHOLE_BYTES = 5000 };

static char whole_path[64];
static unsigned offloads_asked, offloads_run;

// What the library does before its first thread of a process is for ever.
static void prepare_pool(void) {
  mj_offload_counts counts;
  CHECK_INT(mj_offload_get_counts(MJ_OFFLOAD_CPU, &counts, sizeof counts), ==, 0);
}

static void write_whole_file(mj_scheduler* scheduler) {
  (void)scheduler;
  snprintf(whole_path, sizeof whole_path, "/tmp/majjen-sweep-file-%d", (int)getpid());
  FILE* file = fopen(whole_path, "w");
  CHECK(file != NULL);
  for (int i = 0; i < WHOLE_BYTES; i++) CHECK_INT(fputc('a' + i % 26, file), ==, 'a' + i % 26);
  CHECK_INT(fclose(file), ==, 0);
}

static void remove_whole_file(void) { CHECK_INT(unlink(whole_path), ==, 0); }

static void counts_offload(void* argument) { ++*(unsigned*)argument; }

// It has not run, or will not: with another result than that of a limit or a cancel that is the caller's.
static void is_not_abandoned(void* argument) {
  (void)argument;
  check_fail(__FILE__, __LINE__, "abandoned without a limit and a cancel");
}

static bool is_part_of_file(const char* bytes, ssize_t count, int place) {
  for (ssize_t i = 0; i < count; i++) {
    if (bytes[i] != 'a' + (place + i) % 26) return false;
  }
  return true;
}

static void offloads_functions(void) {
  static const mj_offload_class classes[] = {MJ_OFFLOAD_CPU, MJ_OFFLOAD_FILE, MJ_OFFLOAD_CPU};
  for (int i = 0; i < 3; i++) {
    unsigned before = offloads_run;
    mj_abandon_fn abandon = i == 0 ? NULL : is_not_abandoned;
    int result = mj_offload_in(classes[i], counts_offload, &offloads_run, abandon, MJ_FOREVER);
    CHECK_ALLOWED(result);
    // No later, and no earlier.
    CHECK_UINT(offloads_run, ==, before + (result == 0 ? 1 : 0));
    offloads_asked += result == 0;
  }
}

static void looks_up_numbers(void) {
  struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
  int result = mj_getaddrinfo("127.0.0.1", "80", &hints, &list, MJ_FOREVER);
  CHECK_ALLOWED(result);
  CHECK_INT(result, <=, 0);
  if (result == 0) {
    struct sockaddr_in* address = (struct sockaddr_in*)list->ai_addr;
    CHECK_INT(address->sin_family, ==, AF_INET);
    CHECK_UINT(address->sin_addr.s_addr, ==, htonl(INADDR_LOOPBACK));
    freeaddrinfo(list);
  } else {
    CHECK(list == NULL);
  }
}

static void reads_files(void) {
  char part[200], *whole = NULL;
  struct stat status;
  size_t bytes = 0;
  int fd = mj_open(whole_path, O_RDONLY, 0, MJ_FOREVER);
  CHECK_ALLOWED(fd);
  if (fd >= 0) {
    ssize_t count = mj_pread(fd, part, sizeof part, 7, MJ_FOREVER);
    CHECK_ALLOWED((int)count);
    CHECK(count < 0 || count == sizeof part);
    CHECK(is_part_of_file(part, count, 7));
    count = mj_read(fd, part, sizeof part, MJ_FOREVER);
    CHECK_ALLOWED((int)count);
    CHECK(is_part_of_file(part, count, 0));
    CHECK_INT(mj_fd_close(fd), ==, 0);
  }
  int result = mj_stat(whole_path, &status, MJ_FOREVER);
  CHECK_ALLOWED(result);
  if (result == 0) CHECK_INT(status.st_size, ==, WHOLE_BYTES);
  result = mj_file_read_all(whole_path, WHOLE_BYTES, &whole, &bytes, MJ_FOREVER);
  CHECK_ALLOWED(result);
  if (result == 0) {
    CHECK_UINT(bytes, ==, WHOLE_BYTES);
    CHECK(is_part_of_file(whole, WHOLE_BYTES, 0));
    free(whole);
  }
}

// Which the system makes when it is read: a worker waits for it, as for a disk.
static void reads_made_files(void) {
  char bytes[8];
  int fd = mj_open("/proc/version", O_RDONLY, 0, LONG_NS);
  CHECK_ALLOWED(fd);
  if (fd < 0) return;
  ssize_t count = mj_pread(fd, bytes, sizeof bytes, 0, MJ_FOREVER);
  CHECK_ALLOWED((int)count);
  if (count >= 0) CHECK(count == sizeof bytes && memcmp(bytes, "Linux ve", sizeof bytes) == 0);
  count = mj_read(fd, bytes, sizeof bytes, MJ_FOREVER);
  CHECK_ALLOWED((int)count);
  if (count >= 0) CHECK(count == sizeof bytes && memcmp(bytes, "Linux ve", sizeof bytes) == 0);
  CHECK_INT(mj_fd_close(fd), ==, 0);
}

static void has_it_done(mj_scheduler* scheduler, void* user_state) {
  (void)scheduler;
  (void)user_state;
  offloads_functions();
  looks_up_numbers();
  reads_files();
  reads_made_files();
  end();
}

static void use_pool(mj_scheduler** scheduler) {
  // Who opens a file needs this call.
  if (fault.call == OPEN) fault.harmless = false;
  offloads_asked = offloads_run = 0;
  spawn(*scheduler, has_it_done, 0);
  run(*scheduler);
  CHECK_UINT(offloads_run, ==, offloads_asked);
}

#endif  // POOL_H
