// For tests of files: a directory of the test's own.
#ifndef FILES_H
#define FILES_H

#include "check.h"

#include <fcntl.h>
#include <stdlib.h>

static char directory[64];

// A path in the test's directory, until as many others were asked for.
static inline const char* path_of(const char* name) {
  static char paths[8][512];
  static int next;
  char* path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

static inline void enter(void) {
  snprintf(directory, sizeof directory, "/tmp/majjen-files-XXXXXX");
  CHECK(mkdtemp(directory) != NULL);
}

static inline void leave(void) {
  char** names;
  CHECK_INT(mj_list_directory(directory, SIZE_MAX, &names, NULL, NULL, LONG_NS), ==, 0);
  for (char** name = names; *name != NULL; name++) {
    CHECK_INT(mj_unlink(path_of(*name), LONG_NS), ==, 0);
  }
  free(names);
  CHECK_INT(mj_rmdir(directory, LONG_NS), ==, 0);
}

static inline int make_file(const char* name, const void* bytes, size_t count) {
  int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK_INT(fd, >=, 0);
  CHECK_INT(write(fd, bytes, count), ==, count);
  CHECK_INT(lseek(fd, 0, SEEK_SET), ==, 0);
  return fd;
}

#endif  // FILES_H
