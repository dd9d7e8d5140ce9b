// What is in a directory: names, and what each is, also where the file system does not tell it.
#define _GNU_SOURCE
#include "check.h"
#include "files.h"
#include "io.h"

#include <dirent.h>
#include <dlfcn.h>

// Takes the place of the C library's, for the library too where that is shared: a file system that tells no
// types, and whose entries may go while they are read.
static bool tells_no_types;
static const char* goes;
struct dirent* readdir(DIR* stream) {
  struct dirent* (*next)(DIR*);
  *(void**)&next = dlsym(RTLD_NEXT, "readdir");
  struct dirent* entry = next(stream);
  if (entry == NULL || !tells_no_types) return entry;
  entry->d_type = DT_UNKNOWN;
  if (goes != NULL && strcmp(entry->d_name, goes) == 0) {
    CHECK_INT(unlinkat(dirfd(stream), goes, 0), ==, 0);
    goes = NULL;
  }
  return entry;
}

static void a_directory_of_many_names(void) {
  enter();
  size_t many = times(10000, 200);
  char* seen = allocate(many);
  for (size_t i = 0; i < many; i++) {
    char name[32];
    snprintf(name, sizeof name, "file-%zu", i);
    close(open(path_of(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  }
  char** names = NULL;
  unsigned char* types = NULL;
  size_t count = 4321;
  CHECK_CALL(mj_list_directory(directory, many - 1, &names, &types, &count, LONG_NS), ==, -EFBIG);
  CHECK(names == NULL && types == NULL && count == 4321);
  CHECK_CALL(mj_list_directory(directory, many, &names, &types, &count, LONG_NS), ==, 0);
  CHECK_UINT(count, ==, many);
  for (size_t i = 0; i < many; i++) {
    size_t number;
    CHECK_INT(sscanf(names[i], "file-%zu", &number), ==, 1);
    CHECK(number < many && !seen[number]);
    seen[number] = 1;
    CHECK_INT(types[i], ==, DT_REG);
  }
  CHECK(names[many] == NULL);
  free(names);
  for (size_t i = 0; i < many; i++) {
    char name[32];
    snprintf(name, sizeof name, "file-%zu", i);
    CHECK_INT(unlink(path_of(name)), ==, 0);
  }
  CHECK_CALL(mj_list_directory(directory, 0, &names, &types, &count, LONG_NS), ==, 0);
  CHECK(count == 0 && names[0] == NULL);
  free(names);
  CHECK_CALL(mj_list_directory(path_of("none"), 1, &names, &types, &count, LONG_NS), ==, -ENOENT);
  close(make_file("a", "", 0));
  CHECK_CALL(mj_list_directory(path_of("a"), 1, &names, &types, &count, LONG_NS), ==, -ENOTDIR);
  free(seen);
  leave();
}

// ---- Types ----

// The type of an entry; -1 if there is none with this name.
static int type_of(const char* wanted) {
  char** names;
  unsigned char* types;
  size_t count;
  CHECK_CALL(mj_list_directory(directory, SIZE_MAX, &names, &types, &count, LONG_NS), ==, 0);
  int type = -1;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names[i], wanted) == 0) type = types[i];
  }
  free(names);
  return type;
}

static void what_entries_are(void) {
  enter();
  close(make_file("file", "", 0));
  CHECK_INT(mkdir(path_of("directory"), 0700), ==, 0);
  CHECK_INT(mkfifo(path_of("fifo"), 0600), ==, 0);
  CHECK_INT(symlink("directory", path_of("link")), ==, 0);
  CHECK_INT(symlink("nowhere", path_of("dangling")), ==, 0);
  char place[128];
  snprintf(place, sizeof place, "unix:%s", path_of("socket"));
  int listener = mj_listen(place, NULL, 1, 0);
  CHECK_INT(listener, >=, 0);
  for (int told = 1; told >= 0; told--) {
    tells_no_types = !told;
    CHECK_INT(type_of("file"), ==, DT_REG);
    CHECK_INT(type_of("directory"), ==, DT_DIR);
    CHECK_INT(type_of("fifo"), ==, DT_FIFO);
    CHECK_INT(type_of("link"), ==, DT_LNK);
    CHECK_INT(type_of("dangling"), ==, DT_LNK);
    CHECK_INT(type_of("socket"), ==, DT_SOCK);
    CHECK_INT(type_of("none"), ==, -1);
  }
  // One that is gone before it is asked for.
  goes = "file";
  CHECK_INT(type_of("file"), ==, DT_UNKNOWN);
  CHECK(goes == NULL);
  CHECK_INT(type_of("file"), ==, -1);
  tells_no_types = false;
  struct stat status;
  CHECK_CALL(mj_lstat(path_of("link"), &status, LONG_NS), ==, 0);
  CHECK(S_ISLNK(status.st_mode) && status.st_size == 9);
  CHECK_CALL(mj_stat(path_of("link"), &status, LONG_NS), ==, 0);
  CHECK(S_ISDIR(status.st_mode));
  CHECK_CALL(mj_lstat(path_of("dangling"), &status, LONG_NS), ==, 0);
  CHECK(S_ISLNK(status.st_mode));
  CHECK_CALL(mj_stat(path_of("dangling"), &status, LONG_NS), ==, -ENOENT);
  CHECK_CALL(mj_lstat(path_of("none"), &status, LONG_NS), ==, -ENOENT);
  CHECK_INT(mj_fd_close(listener), ==, 0);
  CHECK_INT(rmdir(path_of("directory")), ==, 0);
  leave();
}

int main(void) {
  RUN_IN_TASK(a_directory_of_many_names);
  RUN_IN_TASK(what_entries_are);
  return 0;
}
