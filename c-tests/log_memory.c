// A line of less than 1024 bytes takes no memory from the allocator, whoever receives it; nor do
// settings.
#define _GNU_SOURCE
#include "log_output.h"

// In the place of the C library's: counts.
static size_t allocations;

extern void* __libc_malloc(size_t bytes);
extern void* __libc_calloc(size_t count, size_t bytes);
extern void* __libc_realloc(void* block, size_t bytes);
extern void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) { return allocations++, __libc_malloc(bytes); }

void* calloc(size_t count, size_t bytes) { return allocations++, __libc_calloc(count, bytes); }

void* realloc(void* block, size_t bytes) { return allocations++, __libc_realloc(block, bytes); }

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  allocations++;
  *block = __libc_memalign(alignment, bytes);
  return *block != NULL ? 0 : ENOMEM;
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

static void settings_take_no_memory(void) {
  size_t before = allocations;
  for (int i = 0; i < 100; i++) changes_settings();
  // Also such as were never set before.
  static char data[1000];
  for (size_t i = 0; i < sizeof data; i++) mj_log_set_callback(ignores, &data[i]);
  mj_log_to_syslog("an ident");
  CHECK_INT(mj_log_to_file("c.log"), ==, 0);
  CHECK_UINT(allocations, ==, before);
  mj_log_set_callback(NULL, NULL);
}

int main(void) {
  test_directory_begin();
  // After the first file the library keeps the descriptor's number.
  CHECK_INT(mj_log_to_file("/dev/null"), ==, 0);
  mj_log_set_callback(NULL, NULL);
  RUN(short_lines_allocate_nothing);
  RUN(settings_take_no_memory);
  test_directory_end();
  return 0;
}
