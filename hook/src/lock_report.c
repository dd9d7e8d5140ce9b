// Tells of waits for locks that are too long, or have no end.
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "locks.h"

enum { WARN = 3, ERROR = 4, TEXT = 96 };

int thread_number(void) { return (int)syscall(SYS_gettid); }

// Whether nothing has been reported yet of a place. Once there is no room, all is reported.
static bool is_new(const void *place, unsigned which) {
  enum { ROOM = 1 << 10 };
  static uintptr_t seen[ROOM];
  uintptr_t key = ((uintptr_t)place << 1) | which;
  for (size_t tries = 0, at = key * 0x9E3779B1u; tries < ROOM; tries++, at++) {
    uintptr_t before = 0;
    uintptr_t *slot = &seen[at % ROOM];
    if (__atomic_compare_exchange_n(slot, &before, key, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return true;
    if (before == key) return false;
  }
  return true;
}

// "libpq.so.5+0x1234", as tools that find the line want it.
static const char *where(const void *place, char text[TEXT]) {
  Dl_info info;
  if (dladdr(place, &info) == 0 || info.dli_fname == NULL || *info.dli_fname == '\0') {
    snprintf(text, TEXT, "%p", place);
    return text;
  }
  const char *slash = strrchr(info.dli_fname, '/');
  size_t offset = (size_t)((const char *)place - (const char *)info.dli_fbase);
  snprintf(text, TEXT, "%.64s+%#zx", slash == NULL ? info.dli_fname : slash + 1, offset);
  return text;
}

static const char *name_of(const struct request *request, uint64_t id, char text[TEXT]) {
  const struct mj_task *task = request->calls->task_find(request->scheduler, id);
  const char *name = task == NULL ? "" : request->calls->task_get_name(task);
  if (*name == '\0') snprintf(text, TEXT, "task %#llx", (unsigned long long)id);
  else snprintf(text, TEXT, "task %#llx \"%s\"", (unsigned long long)id, name);
  return text;
}

// Another task that has the lock, or, while nobody has it, whose turn it is.
static uint64_t find_holder(const struct request *request, bool *has_it) {
  const struct locks *locks = request->locks;
  const struct entry *entry = find_entry(locks, request->lock, 0);
  *has_it = entry != NULL && (entry->owner != 0 || entry->readers > 0);
  if (entry == NULL) return 0;
  if (!*has_it) return entry->first == NULL ? 0 : entry->first->task;
  if (entry->owner != 0) return entry->owner;
  for (size_t at = 0; at < (size_t)1 << locks->bits; at++) {
    const struct entry *reader = &locks->entries[at];
    bool is_reader = reader->lock == request->lock && reader->task != 0;
    if (is_reader && reader->task != request->task) return reader->task;
  }
  return 0;
}

#define WAITED "%s has waited for a second for the %s %p, "
#define AT " (wanted at %s)"

void report_wait(const struct request *request, enum found found) {
  if (found == FOUND_OWN || !is_new(request->place, 0)) return;
  char own[TEXT], other[TEXT], place[TEXT];
  name_of(request, request->task, own);
  where(request->place, place);
  const char *kind = request->kind->name;
  const void *lock = request->lock;
  bool has_it;
  uint64_t holder = find_holder(request, &has_it);
  if (found == FOUND_THIS_THREAD || holder == 0) {
    request->calls->log(WARN,
                        WAITED "which this thread has locked outside the tasks of this scheduler, or by a "
                               "call that is not hooked: unlock it before the tasks run" AT,
                        own, kind, lock, place);
    return;
  }
  name_of(request, holder, other);
  if (!has_it) {
    request->calls->log(WARN, WAITED "and %s is before it" AT, own, kind, lock, other, place);
  } else if (request->calls->task_find(request->scheduler, holder) == NULL) {
    request->calls->log(WARN, WAITED "which %s had locked when it ended: unlock before a task ends" AT, own,
                        kind, lock, other, place);
  } else {
    request->calls->log(WARN,
                        WAITED "which %s has locked: unlock it before a call that waits, or let that call "
                               "block the thread by mj_hook_set_enabled(false)" AT,
                        own, kind, lock, other, place);
  }
}

void report_own(const struct request *request) {
  if (!is_new(request->place, 1)) return;
  char own[TEXT], place[TEXT];
  name_of(request, request->task, own);
  request->calls->log(ERROR,
                      "%s has locked the %s %p and wants it again: it waits for itself, until another "
                      "unlocks it; unlock it before" AT,
                      own, request->kind->name, request->lock, where(request->place, place));
}
