// Reads what the log writes to stdout and stderr, and to files.
#ifndef LOG_OUTPUT_H
#define LOG_OUTPUT_H

#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>

// The text in an open file, to be freed.
static inline char* text_of_descriptor(int fd) {
  struct stat status;
  CHECK_INT(fstat(fd, &status), ==, 0);
  size_t length = (size_t)status.st_size;
  char* text = allocate(length + 1);
  CHECK_INT(pread(fd, text, length, 0), ==, length);
  return text;
}

// The text in the file at a path, to be freed.
static inline char* text_of(const char* path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK_INT(fd, >=, 0);
  char* text = text_of_descriptor(fd);
  close(fd);
  return text;
}

// What a function wrote to stdout and stderr.
typedef struct output {
  char* out;
  char* err;
} output;

static inline output output_of(void (*function)(void)) {
  FILE* files[2];
  int saved[2];
  fflush(NULL);
  for (int i = 0; i < 2; i++) {
    files[i] = tmpfile();
    CHECK(files[i] != NULL);
    saved[i] = fcntl(i + 1, F_DUPFD_CLOEXEC, 3);
    CHECK_INT(saved[i], >=, 0);
    CHECK_INT(dup2(fileno(files[i]), i + 1), ==, i + 1);
  }
  function();
  fflush(NULL);
  for (int i = 0; i < 2; i++) {
    CHECK_INT(dup2(saved[i], i + 1), ==, i + 1);
    close(saved[i]);
  }
  output result = {text_of_descriptor(fileno(files[0])), text_of_descriptor(fileno(files[1]))};
  fclose(files[0]);
  fclose(files[1]);
  return result;
}

static inline void release(output* output) {
  free(output->out);
  free(output->err);
}

// The rest of a text after `[YYYY-MM-DD HH:MM:SS] `, or NULL if it does not begin like that.
static inline const char* after_time(const char* text) {
  for (const char* pattern = "[dddd-dd-dd dd:dd:dd] "; *pattern != '\0'; pattern++, text++) {
    bool digit = *text >= '0' && *text <= '9';
    if (*pattern == 'd' ? !digit : *text != *pattern) return NULL;
  }
  return text;
}

// The text after its first line, which must be a time and `rest`, or NULL.
static inline const char* after_line(const char* text, const char* rest) {
  const char* begin = after_time(text);
  size_t length = strlen(rest);
  if (begin == NULL || strncmp(begin, rest, length) != 0 || begin[length] != '\n') return NULL;
  return begin + length + 1;
}

// Checks that a text is exactly these lines, each after a time.
static inline void check_lines(const char* text, const char* const* rests, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const char* next = after_line(text, rests[i]);
    if (next == NULL) fprintf(stderr, "want: %s\nhave: %s\n", rests[i], text);
    CHECK(next != NULL);
    text = next;
  }
  CHECK_STR(text, "");
}

#define CHECK_LINES(text, ...) \
  do { \
    const char* const check_rests[] = {__VA_ARGS__}; \
    check_lines(text, check_rests, sizeof check_rests / sizeof check_rests[0]); \
  } while (0)

// CHECK_LINES for the file at a path.
#define CHECK_FILE(path, ...) \
  do { \
    char* check_text = text_of(path); \
    CHECK_LINES(check_text, __VA_ARGS__); \
    free(check_text); \
  } while (0)

// A text without repetitions nearby.
static inline char* long_text(size_t length) {
  char* text = allocate(length + 1);
  for (size_t i = 0; i < length; i++) text[i] = (char)('a' + (i % 26 + i / 26) % 26);
  return text;
}

// A directory that exists until test_directory_end(). It becomes the current one.
static char test_directory[64];

static inline void test_directory_begin(void) {
  snprintf(test_directory, sizeof test_directory, "/tmp/majjen-log-XXXXXX");
  CHECK(mkdtemp(test_directory) != NULL);
  CHECK_INT(chdir(test_directory), ==, 0);
}

static inline void test_directory_end(void) {
  DIR* directory = opendir(".");
  CHECK(directory != NULL);
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] != '.') CHECK_INT(unlink(entry->d_name), ==, 0);
  }
  closedir(directory);
  CHECK_INT(chdir("/"), ==, 0);
  CHECK_INT(rmdir(test_directory), ==, 0);
}

#endif  // LOG_OUTPUT_H
