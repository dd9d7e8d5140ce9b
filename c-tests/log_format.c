// The text of a line equals that of snprintf() with the same format and arguments, both for plain
// formats, for which the library has its own formatter, and for all others.
#define _GNU_SOURCE
#include "log_output.h"

#include <limits.h>
#include <stdint.h>
#include <wchar.h>

// Replaces the C library's function, and counts.
static size_t vsnprintf_calls;

extern int __vsnprintf_chk(char*, size_t, int, size_t, const char*, va_list);

int vsnprintf(char* text, size_t bytes, const char* format, va_list arguments) {
  vsnprintf_calls++;
  return __vsnprintf_chk(text, bytes, 0, bytes, format, arguments);
}

// Receives the lines, without time and level. Read as bytes, since a line may contain a NUL.
static int file;

static size_t vsnprintf_calls_of_lines;

static void check_line(const char* format, ...) {
  va_list arguments, copy;
  va_start(arguments, format);
  va_copy(copy, arguments);
  CHECK_INT(ftruncate(file, 0), ==, 0);
  size_t calls = vsnprintf_calls;
  errno = ENOENT;
  mj_vlog(MJ_LOG_INFO, format, arguments);
  CHECK_INT(errno, ==, ENOENT);
  vsnprintf_calls_of_lines += vsnprintf_calls - calls;
  va_end(arguments);

  char want[4096];
  int length = vsnprintf(want, sizeof want - 1, format, copy);
  va_end(copy);
  if (length < 0) length = sprintf(want, "mj_log: the format or an argument is invalid; the line is dropped");
  CHECK_INT(length, <, sizeof want - 1);
  want[length++] = '\n';

  char have[4096];
  ssize_t bytes = pread(file, have, sizeof have, 0);
  if (bytes != length || memcmp(have, want, (size_t)length) != 0) {
    fprintf(stderr, "format: %s\nwant: %.*shave: %.*s", format, length, want, (int)bytes, have);
    CHECK(!"the line is what snprintf makes");
  }
}

static void plain_texts(void) {
  vsnprintf_calls_of_lines = 0;
  check_line("");
  check_line("text");
  check_line("%%");
  check_line("%%%%");
  check_line("100%%");
  check_line("%% of %d%%", 7);
  check_line("%s", "");
  check_line("%s%s%s", "", "text", "");
  check_line("<%s> and <%s>", "one", "the \xe2\x82\xac other");
  check_line("%c%c%c", 'a', '\xff', 0x141);
  check_line("a NUL: %c, and what follows", '\0');
  CHECK_INT(vsnprintf_calls_of_lines, ==, 0);
}

static void plain_numbers(void) {
  static const long long values[] = {
      0,  1,   -1,   9,   10,      -10,     99,       100,      -100,      1LL << 32,
      -9, 127, 1000, 255, INT_MAX, INT_MIN, UINT_MAX, LONG_MAX, LLONG_MAX, LLONG_MIN,
  };
  vsnprintf_calls_of_lines = 0;
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    long long value = values[i];
    unsigned long long positive = (unsigned long long)value;
    check_line("%d %i %u %x", (int)value, (int)value, (unsigned)value, (unsigned)value);
    check_line("%ld %li %lu %lx", (long)value, (long)value, (long)value, (long)value);
    check_line("%lld %lli %llu %llx", value, value, positive, positive);
    check_line("%zd %zi %zu %zx", (ssize_t)value, (ssize_t)value, (size_t)value, (size_t)value);
    if (value != 0) check_line("%p", (void*)(uintptr_t)value);
  }
  check_line("%zu %zx %lu %llu", SIZE_MAX, SIZE_MAX, ULONG_MAX, ULLONG_MAX);
  check_line("%d %d %d %d %d %d %d %d %d", 1, 2, 3, 4, 5, 6, 7, 8, 9);
  CHECK_INT(vsnprintf_calls_of_lines, ==, 0);
}

static void all_that_is_not_plain(void) {
  static const char* const numbers[] = {
      "%5d",  "%-5d|", "%05d",   "%0d",  "%+d",  "% d", "%.3d", "%'d",   "%#x",
      "%02x", "%X",    "%o",     "%hd",  "%hhd", "%hx", "%5u",  "%08lx", "%ju",
      "%td",  "%5zu",  "%-20p|", "%1$d", "%lc",  "%C",  "%3c|", "%y",    "%m",
  };
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    check_line(numbers[i], 4321L);
    check_line(numbers[i], 70000L);
  }
  check_line("%s|%-5s|", "one", "two");
  check_line("%s|%5s|", "one", "two");
  check_line("%s|%.2s|", "one", "two");
  check_line("%s|%*d|", "one", 5, 2);
  check_line("%d|%.2f", 1, 2.0);
  check_line("%d|%g|%s", 1, 2.5, "three");
  check_line("%d|%Lf", 1, 2.0L);
  check_line("%2$d|%1$d", 1, 2);
  check_line("%s|%s", "null:", NULL);
  check_line("%p|%p", (void*)&file, NULL);
  check_line("%d|%ls", 1, L"two");
  check_line("%d|%zs", 1, L"two");
  check_line("%d|%S", 1, L"two");
  check_line("%d|%l%", 1);
  // Formats that fail: a wide character that the C locale does not have, and a conversion without
  // its letter.
  check_line("%d|%ls", 1, L"\x20ac");
  check_line("%");
  check_line("%d|%", 1);
  check_line("%l");
  check_line("%ll");
  check_line("%z");
  check_line("%5");
}

// Around the length from which a line needs memory from the allocator.
static void lines_that_just_fit_or_do_not(void) {
  for (size_t length = 1000; length <= 1030; length++) {
    char* text = long_text(length);
    check_line(text);
    vsnprintf_calls_of_lines = 0;
    check_line("%s", text);
    // Twice if it does not fit: once for the length, and once into enough memory.
    if (length < 1024) CHECK_INT(vsnprintf_calls_of_lines, ==, 0);
    CHECK_INT(vsnprintf_calls_of_lines, !=, 1);
    check_line("%stext", text);
    check_line("%s%d", text, INT_MIN);
    check_line("%s%lu", text, ULONG_MAX);
    check_line("%s%p", text, (void*)&file);
    check_line("%s%c", text, 'c');
    check_line("%s%%", text);
    check_line("%s%s", text, "");
    check_line("%s%2d", text, 1);
    check_line("%d%s%s%d", 1, text, text, 2);
    free(text);
  }
}

#define ONE_OF(...) one_of(state, (const char* const[]){__VA_ARGS__, NULL})

static const char* one_of(uint64_t* state, const char* const* texts) {
  size_t count = 0;
  while (texts[count] != NULL) count++;
  return texts[next_random(state) % count];
}

// For an int, a string, a long, a pointer, a size_t and a double. A third of the formats are plain.
static void choose_format(uint64_t* state, char* format, size_t bytes) {
  snprintf(format, bytes, "%s%s%s%s%s%s%s%s%s", ONE_OF("", "%%", "text "),
           ONE_OF("%d", "%i", "%u", "%x", "%c", "%5d", "%hhd"), ONE_OF("", " ", "%%"),
           ONE_OF("%s", "<%s>", "%s%%", "%s ", " %s", "%.2s"),
           ONE_OF("%ld", "%li", "%lu", "%lx", "%lld", "%llu", "%llx", "%+ld"),
           ONE_OF("%p", "%p ", " %p", "at %p", "%p%%", "%20p"), ONE_OF("", " ", "%%"),
           ONE_OF("%zd", "%zi", "%zu", "%zx", "%lu", "%lx", "%#zx"),
           ONE_OF("", "", " end", "%%", "%%%%", "%.1f"));
}

static void any_format(void) {
  uint64_t state = 1;
  size_t count = times(5000, 300);
  for (size_t i = 0; i < count; i++) {
    char format[128];
    choose_format(&state, format, sizeof format);
    uint64_t number = next_random(&state) >> next_random(&state) % 64;
    long half = (long)(number / 2);
    check_line(format, (int)number, "string", -half, (void*)&state, (size_t)number, 0.5);
  }
}

int main(void) {
  mj_logger logger = {MJ_LOG_INFO, NULL, NULL, false, false};
  CHECK_INT(mj_log_set_config(&logger), ==, 0);
  test_directory_begin();
  CHECK_INT(mj_log_to_file("log"), ==, 0);
  file = open("log", O_RDWR | O_CLOEXEC);
  CHECK_INT(file, >=, 0);
  RUN(plain_texts);
  RUN(plain_numbers);
  RUN(all_that_is_not_plain);
  RUN(lines_that_just_fit_or_do_not);
  RUN(any_format);
  close(file);
  test_directory_end();
  return 0;
}
