// Which scheduler runs on this thread, and what is hooked in it.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "handler.h"
#include "hook.h"
#include "locks.h"

__thread struct thread this_thread;

// Not inlined: compilers keep the address of a thread-local variable, and a task may move.
__attribute__((noinline)) struct thread *here(void) {
  struct thread *thread = &this_thread;
  __asm__("" : "+r"(thread));
  return thread;
}

__attribute__((noinline)) bool is_hooked(unsigned kind) {
  __asm__ volatile("" : : : "memory");
  return hooked(kind) != NULL;
}

#pragma push_macro("errno")
#undef errno
extern int *__errno_location(void);

__attribute__((noinline)) int *errno_here(void) {
  int *address = __errno_location();
  __asm__ volatile("" : "+r"(address) : : "memory");
  return address;
}
#pragma pop_macro("errno")

// ---- what schedulers were told

// One that mj_hook_set() was called for, until the core says that it is no more.
struct setting {
  struct setting *next;
  const void *scheduler;
  unsigned kinds;
};

static struct setting *settings;
static char settings_locked;

static struct setting **find_setting(const void *scheduler) {
  struct setting **at = &settings;
  while (*at != NULL && (*at)->scheduler != scheduler) at = &(*at)->next;
  return at;
}

EXPORT int mj_hook_set(struct mj_scheduler *scheduler, unsigned kinds) {
  if (scheduler == NULL || (kinds & ~(unsigned)MJ_HOOK_ALL) != 0) return -EINVAL;
  struct setting *new = malloc(sizeof *new);
  if (new == NULL) return -ENOMEM;
  *new = (struct setting){NULL, scheduler, kinds};
  spin_lock(&settings_locked);
  struct setting **at = find_setting(scheduler);
  if (*at == NULL) {
    *at = new;
    new = NULL;
  } else {
    (*at)->kinds = kinds;
  }
  spin_unlock(&settings_locked);
  free(new);
  struct mj_hook_run *run = (struct mj_hook_run *)this_thread.run;
  if (run != NULL && run->scheduler == scheduler) run->kinds = kinds;
  return 0;
}

EXPORT void mj_hook_forget(const void *scheduler) {
  spin_lock(&settings_locked);
  struct setting **at = find_setting(scheduler);
  struct setting *old = *at;
  if (old != NULL) *at = old->next;
  spin_unlock(&settings_locked);
  free(old);
  forget_locks(scheduler);
  forget_children_of(scheduler);
}

// ---- runs

enum { WARN = 3 };

static void warn_once_if_passed_by(const struct mj_hook_run *run) {
  static bool is_told;
  if (!is_passed_by() || __atomic_exchange_n(&is_told, true, __ATOMIC_RELAXED)) return;
  run->calls->log(WARN, "libmajjen-hook comes after the C library, whose functions are called: nothing is hooked. "
                        "Link it in front of that, or preload it");
}

// Of a core that is older, and does not tell all that is needed, nothing is hooked.
static bool is_enough(const struct mj_hook_run *run) {
  if (run->bytes >= sizeof *run && run->calls->bytes >= sizeof *run->calls) return true;
  run->calls->log(WARN, "libmajjen-hook is newer than the library that runs, and hooks nothing in this run");
  return false;
}

EXPORT const void *mj_hook_attach(const void *told) {
  struct mj_hook_run *run = (struct mj_hook_run *)told;
  if (run != NULL && !is_enough(run)) run = NULL;
  if (run != NULL) {
    spin_lock(&settings_locked);
    const struct setting *found = *find_setting(run->scheduler);
    run->kinds = found == NULL ? MJ_HOOK_DEFAULT : found->kinds;
    spin_unlock(&settings_locked);
    find_handlers();
    find_unwinder();
    warn_once_if_passed_by(run);
    find_libraries();
    set_process_id();
  }
  const void *before = this_thread.run;
  if (before == NULL) this_thread.locale = uselocale((locale_t)0);
  else leave_run();
  this_thread.run = this_thread.known = run;
  this_thread.locks = run == NULL ? NULL : find_locks(run->scheduler);
  return before;
}

EXPORT int mj_hook_set_enabled(bool enabled) {
  const struct mj_hook_run *run = this_thread.run;
  if (run == NULL || *run->current_task == NULL) return -EPERM;
  ((bool *)*run->current_task)[run->unhooked_offset] = !enabled;
  return 0;
}

// A child of fork() has the one thread, and no scheduler until it runs one.
static void begin_in_child(void) {
  spin_unlock(&settings_locked);
  unlock_tables_in_child();
  this_thread.run = NULL;
  this_thread.locks = NULL;
  set_process_id();
}

__attribute__((constructor)) static void watch_forks(void) {
  pthread_atfork(NULL, NULL, begin_in_child);
}

// ---- counts

mj_hook_counts counts;

void count(uint64_t *which) { __atomic_fetch_add(which, 1, __ATOMIC_RELAXED); }

EXPORT int mj_hook_get_counts(mj_hook_counts *result, size_t bytes) {
  if (result == NULL) return -EINVAL;
  mj_hook_counts now = {
      .suspended = __atomic_load_n(&counts.suspended, __ATOMIC_RELAXED),
      .pinned = __atomic_load_n(&counts.pinned, __ATOMIC_RELAXED),
      .lock_waits = __atomic_load_n(&counts.lock_waits, __ATOMIC_RELAXED),
  };
  memset(result, 0, bytes);
  memcpy(result, &now, bytes < sizeof now ? bytes : sizeof now);
  return 0;
}
