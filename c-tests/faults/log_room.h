// The scenarios of logs that have little room: a file at RLIMIT_FSIZE, and streams that are nonblocking and
// full. Each line is written or counted, and no signal ends the process.
#ifndef LOG_ROOM_H
#define LOG_ROOM_H

enum { LINE_LENGTHS = 4 };

static const size_t line_lengths[LINE_LENGTHS] = {10, 53, 268, 900};

// What was written so far: complete lines that tests have logged, which are of one letter; the length of the
// latest line, and whether it is complete so far.
typedef struct written_lines {
  unsigned complete;
  size_t letters;
} written_lines;

static void note_written(written_lines* lines, const char* bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (bytes[i] == 'x') lines->letters++;
    if (bytes[i] != '\n') continue;
    for (int j = 0; j < LINE_LENGTHS; j++) lines->complete += lines->letters == line_lengths[j];
    lines->letters = 0;
  }
}

static void log_letters(mj_log_level level, size_t length) {
  char text[1000];
  memset(text, 'x', length);
  text[length] = 0;
  mj_log(level, "%s", text);
}

// ---- A file ----

static void log_past_the_limit(mj_scheduler** scheduler) {
  (void)scheduler;
  int said = silence_stderr();
  struct rlimit limit;
  CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), ==, 0);
  struct rlimit low = {4096, limit.rlim_max};
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &low), ==, 0);
  uint64_t dropped = mj_log_dropped();
  unsigned logged = 0;
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < LINE_LENGTHS; j++, logged++) log_letters(MJ_LOG_INFO, line_lengths[j]);
  }
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
  for (int j = 0; j < LINE_LENGTHS; j++, logged++) log_letters(MJ_LOG_INFO, line_lengths[j]);
  dropped = mj_log_dropped() - dropped;
  fault.armed = false;
  restore_stderr(said);
  mj_log_set_callback(on_line, NULL);

  char bytes[1000];
  written_lines lines = {0};
  FILE* file = fopen(log_path, "r");
  CHECK(file != NULL);
  for (size_t count; (count = fread(bytes, 1, sizeof bytes, file)) > 0;) {
    note_written(&lines, bytes, count);
  }
  fclose(file);
  CHECK_UINT(lines.complete + dropped, ==, logged);
  CHECK_UINT(dropped, >, 0);
  if (fault.failed > 0) return;
  CHECK_UINT(writes_without_room, >, 0);
  // The last ones had room again.
  CHECK_UINT(lines.complete, >, LINE_LENGTHS);
}

// ---- The standard streams ----

static int stream_ends[2][2];
static written_lines of_streams[2];
static pthread_t reads_streams;

// Slower than the lines come.
static void* read_streams(void* unused) {
  is_spared = true;
  bool open[2] = {true, true};
  while (open[0] || open[1]) {
    struct timespec pause = {0, 200000};
    nanosleep(&pause, NULL);
    for (int i = 0; i < 2; i++) {
      char bytes[2048];
      ssize_t count = open[i] ? read(stream_ends[i][0], bytes, sizeof bytes) : -1;
      if (count > 0) note_written(&of_streams[i], bytes, (size_t)count);
      if (count == 0) open[i] = false;
    }
  }
  return unused;
}

static void open_full_streams(mj_scheduler* scheduler) {
  (void)scheduler;
  for (int i = 0; i < 2; i++) {
    CHECK_INT(pipe2(stream_ends[i], O_NONBLOCK | O_CLOEXEC), ==, 0);
    CHECK_INT(fcntl(stream_ends[i][1], F_SETPIPE_SZ, 4096), ==, 4096);
  }
  CHECK_INT(pthread_create(&reads_streams, NULL, read_streams, NULL), ==, 0);
}

static void log_without_blocking(mj_scheduler** scheduler) {
  (void)scheduler;
  int streams[2];
  for (int i = 0; i < 2; i++) {
    streams[i] = dup(i + 1);
    CHECK_INT(streams[i], >=, 0);
    CHECK_INT(dup2(stream_ends[i][1], i + 1), ==, i + 1);
    close(stream_ends[i][1]);
  }
  mj_log_set_callback(NULL, NULL);
  uint64_t dropped = mj_log_dropped();
  unsigned logged = 0;
  for (int i = 0; i < 20; i++) {
    for (int j = 0; j < LINE_LENGTHS; j++, logged++) {
      log_letters(i % 2 == 0 ? MJ_LOG_INFO : MJ_LOG_ERROR, line_lengths[j]);
    }
  }
  dropped = mj_log_dropped() - dropped;
  fault.armed = false;
  for (int i = 0; i < 2; i++) {
    CHECK_INT(dup2(streams[i], i + 1), ==, i + 1);
    close(streams[i]);
  }
  mj_log_set_callback(on_line, NULL);
  CHECK_INT(pthread_join(reads_streams, NULL), ==, 0);
  for (int i = 0; i < 2; i++) close(stream_ends[i][0]);
  CHECK_UINT(of_streams[0].complete + of_streams[1].complete + dropped, ==, logged);
  if (fault.failed == 0) CHECK_UINT(writes_without_room, >, 0);
}

#endif  // LOG_ROOM_H
