// A line of less than 1024 bytes does not allocate, whoever receives it. Settings for which there
// is no memory are not applied.
#define _GNU_SOURCE
#include "log_output.h"

// Replaces the C library's functions: counts, and fails at one of them.
static size_t allocations, fails_at;
static size_t blocks;

extern void* __libc_malloc(size_t bytes);
extern void* __libc_calloc(size_t count, size_t bytes);
extern void* __libc_realloc(void* block, size_t bytes);
extern void* __libc_memalign(size_t alignment, size_t bytes);
extern void __libc_free(void* block);

static bool fails(void) { return ++allocations == fails_at; }

static void* counted(void* block) {
  if (block != NULL) blocks++;
  return block;
}

void* malloc(size_t bytes) { return fails() ? NULL : counted(__libc_malloc(bytes)); }

void* calloc(size_t count, size_t bytes) {
  return fails() ? NULL : counted(__libc_calloc(count, bytes));
}

void* realloc(void* block, size_t bytes) {
  if (fails()) return NULL;
  return block == NULL ? counted(__libc_malloc(bytes)) : __libc_realloc(block, bytes);
}

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  if (fails()) return ENOMEM;
  *block = counted(__libc_memalign(alignment, bytes));
  return *block != NULL ? 0 : ENOMEM;
}

void free(void* block) {
  if (block != NULL) blocks--;
  __libc_free(block);
}

static void ignores(mj_log_level level, const char* message, void* user_data) {
  (void)level;
  (void)message;
  (void)user_data;
}

static size_t allocations_of_lines(size_t least, size_t most) {
  char* text = long_text(most);
  MJ_INFO("first");  // Makes stdio allocate its buffers, and the C library load the time zone.
  MJ_ERROR("first");
  size_t before = allocations;
  for (size_t length = least; length <= most; length++) {
    MJ_INFO("%.*s", (int)length, text);
    MJ_ERROR("%.*s", (int)length, text);
    MJ_DEBUG("%.*s", (int)length, text);
  }
  size_t count = allocations - before;
  free(text);
  return count;
}

static size_t on_streams;

static void logs_to_streams(void) { on_streams = allocations_of_lines(0, 1023); }

static void short_lines_allocate_nothing(void) {
  CHECK_INT(mj_log_to_file("file.log"), ==, 0);
  CHECK_UINT(allocations_of_lines(0, 1023), ==, 0);
  // The counter works: longer lines allocate. (Valgrind has its own allocator.)
  if (!under_valgrind()) CHECK_UINT(allocations_of_lines(1024, 1024), ==, 2);
  mj_log_set_callback(ignores, NULL);
  CHECK_UINT(allocations_of_lines(0, 1023), ==, 0);
  mj_log_set_callback(NULL, NULL);
  output output = output_of(logs_to_streams);
  CHECK_UINT(on_streams, ==, 0);
  release(&output);
}

static void changes_settings(void) {
  static int data[2];
  static const char* const paths[] = {"a.log", "b.log"};
  for (int i = 0; i < 2; i++) {
    mj_log_set_callback(ignores, &data[i]);
    CHECK_INT(mj_log_to_file(paths[i]), ==, 0);
    mj_logger logger = {MJ_LOG_INFO, NULL, NULL, i == 0, i == 1};
    CHECK_INT(mj_log_set_config(&logger), ==, 0);
  }
}

static void settings_that_were_set_before_take_no_more_memory(void) {
  changes_settings();
  changes_settings();  // Begins with what the first one has left.
  size_t before = allocations;
  for (int i = 0; i < 100; i++) changes_settings();
  CHECK_UINT(allocations, ==, before);
  mj_log_set_callback(NULL, NULL);
  // The counter works: data that was never set allocates.
  static int other;
  before = allocations;
  mj_log_set_callback(ignores, &other);
  if (!under_valgrind()) CHECK_UINT(allocations, ==, before + 1);
  mj_log_set_callback(NULL, NULL);
}

// How many allocations of a call can fail: each makes it return ENOMEM, with no leak and no change.
static int failures_of(int (*call)(void)) {
  int failures = 0;
  for (;;) {
    size_t before = blocks;
    fails_at = allocations + (size_t)failures + 1;
    int result = call();
    bool failed = allocations >= fails_at;
    fails_at = 0;
    if (!failed) {
      CHECK(result == 0 || result == -ENOENT);  // There may be no system log.
      return failures;
    }
    failures++;
    CHECK_INT(result, ==, -ENOMEM);
    CHECK_UINT(blocks, ==, before);
  }
}

static int to_a_new_file(void) { return mj_log_to_file("new.log"); }

static int to_the_system_log(void) { return mj_log_to_syslog("a new ident"); }

static void without_memory_the_receiver_stays(void) {
  if (under_valgrind()) return;  // It has an allocator of its own.
  CHECK_INT(mj_log_to_file("old.log"), ==, 0);
  CHECK_INT(failures_of(to_a_new_file), ==, 2);  // A copy of the path, and the settings.
  CHECK_INT(mj_log_to_file("old.log"), ==, 0);
  CHECK_INT(failures_of(to_the_system_log), ==, 2);
  mj_log_set_callback(NULL, NULL);
}

int main(void) {
  test_directory_begin();
  // After the first file the library keeps the descriptor's number.
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  mj_log_set_callback(NULL, NULL);
  RUN(short_lines_allocate_nothing);
  RUN(settings_that_were_set_before_take_no_more_memory);
  RUN(without_memory_the_receiver_stays);
  test_directory_end();
  return 0;
}
