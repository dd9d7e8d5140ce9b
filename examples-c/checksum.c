// Hashes all files below a directory (FNV-1a, 64 bits), on all processors at once, while a line on
// stderr tells every 100 ms how far it is: checksum DIRECTORY
#define _DEFAULT_SOURCE
#include "majjen.h"
#include <dirent.h>
#include <inttypes.h>
#include <unistd.h>

typedef struct file {
  char* path;
  uint64_t hash, bytes;
  int error;
} file;

static file** files;  // In the order of the walk.
static size_t file_count, done_count;
static uint64_t done_bytes;
static bool has_failed, has_ended;

// On a thread of the library, which may block and take its time.
static void hash(void* argument) {
  file* self = argument;
  FILE* stream = fopen(self->path, "rb");
  if (stream == NULL) self->error = errno;
  unsigned char piece[1 << 14];  // These threads have large stacks.
  self->hash = UINT64_C(0xcbf29ce484222325);
  for (size_t count; stream != NULL && (count = fread(piece, 1, sizeof piece, stream)) > 0;) {
    for (size_t i = 0; i < count; i++) {
      self->hash = (self->hash ^ piece[i]) * UINT64_C(0x100000001b3);
    }
    self->bytes += count;
  }
  if (stream != NULL && ferror(stream)) self->error = EIO;
  if (stream != NULL) fclose(stream);
}

// A member of the group: a task waits for each file that is being hashed.
static int hash_file(void* argument) {
  file* self = argument;
  int result = mj_offload_in(MJ_OFFLOAD_CPU, hash, self, NULL, MJ_FOREVER);
  done_count++;
  done_bytes += self->bytes;
  return result;
}

static void fail(const char* path, int error) {
  fprintf(stderr, "checksum: %s: %s\n", path, strerror(error));
  has_failed = true;
}

// Links are passed over.
static void walk(mj_group* group, const char* path) {
  char** names;
  unsigned char* types;
  size_t count;
  int error = mj_list_directory(path, 1000000, &names, &types, &count, MJ_FOREVER);
  if (error != 0) {
    fail(path, -error);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    if (types[i] != DT_DIR && types[i] != DT_REG) continue;
    size_t bytes = strlen(path) + strlen(names[i]) + 2;
    char* below = malloc(bytes);
    snprintf(below, bytes, "%s/%s", path, names[i]);
    if (types[i] == DT_DIR) {
      walk(group, below);
      free(below);
      continue;
    }
    file* one = calloc(1, sizeof *one);
    one->path = below;
    files = realloc(files, (file_count + 1) * sizeof *files);
    files[file_count++] = one;
    // Waits while as many as the group may have are under way.
    if (mj_group_go(group, hash_file, one, MJ_FOREVER) != 0) break;
  }
  free(names);
}

static void show_progress(void* unused) {
  (void)unused;
  while (!has_ended && mj_sleep_ns(100000000) == 0) {
    fprintf(stderr, "\r%zu of %zu files, %" PRIu64 " bytes", done_count, file_count, done_bytes);
  }
}

typedef struct job {
  mj_group* group;
  const char* path;
} job;

static void checksum(void* argument) {
  job* self = argument;
  walk(self->group, self->path);
  mj_group_wait(self->group, MJ_FOREVER);
  has_ended = true;
}

static int by_path(const void* left, const void* right) {
  return strcmp((*(file* const*)left)->path, (*(file* const*)right)->path);
}

int main(int argc, char** argv) {
  if (argc != 2) return fprintf(stderr, "checksum DIRECTORY\n"), 2;
  mj_log_set_level(MJ_LOG_WARN);
  mj_scheduler* scheduler = mj_scheduler_create();
  job self = {mj_group_create(scheduler, 256), argv[1]};
  if (mj_go(scheduler, checksum, &self, NULL) != 0) return 1;
  if (isatty(STDERR_FILENO)) mj_go(scheduler, show_progress, NULL, NULL);
  mj_run(scheduler);
  mj_group_destroy(self.group);
  mj_scheduler_destroy(scheduler);
  if (isatty(STDERR_FILENO)) fprintf(stderr, "\n");
  qsort(files, file_count, sizeof *files, by_path);
  for (size_t i = 0; i < file_count; i++) {
    if (files[i]->error != 0) {
      fail(files[i]->path, files[i]->error);
    } else {
      printf("%016" PRIx64 "  %s\n", files[i]->hash, files[i]->path);
    }
    free(files[i]->path);
    free(files[i]);
  }
  free(files);
  return has_failed;
}
