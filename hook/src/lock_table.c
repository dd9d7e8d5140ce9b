// What the tasks of a scheduler have locked: locks.h.
#include <sys/mman.h>

#include "locks.h"

enum { FIRST_BITS = 6, MOST_BITS = 24 };

// What a table begins with, in one mapping.
struct first {
  struct locks locks;
  struct entry entries[1 << FIRST_BITS];
};

// ---- the tables of all schedulers

static struct locks *all;
static char all_locked;

void unlock_tables_in_child(void) { spin_unlock(&all_locked); }

static void *map(size_t bytes) {
  int error = errno;
  void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  errno = error;
  return mapped == MAP_FAILED ? NULL : mapped;
}

static struct locks **find_link(const void *scheduler) {
  struct locks **at = &all;
  while (*at != NULL && (*at)->scheduler != scheduler) at = &(*at)->next;
  return at;
}

struct locks *find_locks(const void *scheduler) {
  spin_lock(&all_locked);
  struct locks *found = *find_link(scheduler);
  spin_unlock(&all_locked);
  return found;
}

static void unmap_entries(struct locks *locks) {
  if (locks->bits > FIRST_BITS) munmap(locks->entries, sizeof(struct entry) << locks->bits);
}

void forget_locks(const void *scheduler) {
  spin_lock(&all_locked);
  struct locks **at = find_link(scheduler);
  struct locks *old = *at;
  if (old != NULL) *at = old->next;
  spin_unlock(&all_locked);
  if (old == NULL) return;
  if (here()->locks == old) here()->locks = NULL;
  unmap_entries(old);
  munmap(old, sizeof(struct first));
}

__attribute__((cold)) static struct locks *make_locks(struct thread *thread) {
  struct first *first = map(sizeof *first);
  if (first == NULL) return NULL;
  first->locks = (struct locks){
      .scheduler = thread->known->scheduler, .entries = first->entries, .bits = FIRST_BITS};
  spin_lock(&all_locked);
  first->locks.next = all;
  all = &first->locks;
  spin_unlock(&all_locked);
  return thread->locks = &first->locks;
}

struct locks *usable_locks(void) {
  struct thread *thread = here();
  struct locks *locks = thread->locks;
  if (locks == NULL) locks = make_locks(thread);
  return locks == NULL || locks->changing ? NULL : locks;
}

// ---- entries

static size_t place_of(const struct locks *locks, const void *lock, uint64_t task) {
  uint64_t mixed = ((uintptr_t)lock >> 3 ^ task * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
  return (size_t)(mixed >> (64 - locks->bits));
}

static size_t last_place(const struct locks *locks) { return ((size_t)1 << locks->bits) - 1; }

// Where the entry is, or would be.
static struct entry *seek(const struct locks *locks, const void *lock, uint64_t task) {
  size_t at = place_of(locks, lock, task);
  for (;; at = (at + 1) & last_place(locks)) {
    struct entry *entry = &locks->entries[at];
    if (entry->lock == NULL || (entry->lock == lock && entry->task == task)) return entry;
  }
}

struct entry *find_entry(const struct locks *locks, const void *lock, uint64_t task) {
  struct entry *entry = seek(locks, lock, task);
  return entry->lock == NULL ? NULL : entry;
}

// Twice as large.
static bool grow(struct locks *locks) {
  if (locks->bits >= MOST_BITS) return false;
  struct locks old = *locks;
  struct entry *larger = map(sizeof(struct entry) << (old.bits + 1));
  if (larger == NULL) return false;
  locks->entries = larger;
  locks->bits++;
  for (size_t at = 0; at <= last_place(&old); at++) {
    const struct entry *entry = &old.entries[at];
    if (entry->lock != NULL) *seek(locks, entry->lock, entry->task) = *entry;
  }
  unmap_entries(&old);
  return true;
}

struct entry *make_entry(struct locks *locks, const void *lock, uint64_t task) {
  struct entry *entry = seek(locks, lock, task);
  if (entry->lock != NULL) return entry;
  size_t room = last_place(locks) + 1;
  if (locks->used + 1 > room - room / 4) {
    // There is always one free entry, where a search ends.
    if (!grow(locks) && locks->used + 2 > room) return NULL;
    entry = seek(locks, lock, task);
  }
  *entry = (struct entry){.lock = lock, .task = task};
  locks->used++;
  return entry;
}

void remove_entry(struct locks *locks, struct entry *entry) {
  size_t last = last_place(locks), hole = (size_t)(entry - locks->entries);
  locks->used--;
  // Those behind it that would not be found across the hole move into it.
  for (size_t at = (hole + 1) & last;; at = (at + 1) & last) {
    const struct entry *next = &locks->entries[at];
    if (next->lock == NULL) break;
    size_t home = place_of(locks, next->lock, next->task);
    if (((at - home) & last) < ((at - hole) & last)) continue;
    locks->entries[hole] = *next;
    hole = at;
  }
  locks->entries[hole].lock = NULL;
}
