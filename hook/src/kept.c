// What a task has in the thread's state, and keeps while it waits.
//
// The C library and others keep things for a thread, and code relies on them from one call to the next. While
// a task waits the others have what the thread had before. errno is kept by the core.
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

#include "hook.h"

// ---- OpenSSL's queue of errors
//
// A function that fails adds to it, and its caller looks into it: SSL_get_error() takes whatever is there for
// an error of the call before. By version 3 of libcrypto, found by its names.

#ifdef MAJJEN_HOOK_WRAP
#define FROM_LIBRARY(type, name, parameters) extern type name parameters __attribute__((weak));
#define FIND(name)
#else
#define FROM_LIBRARY(type, name, parameters) static type(*name) parameters;
#define FIND(name) name = (__typeof__(name))dlsym(RTLD_DEFAULT, #name);
#endif

FROM_LIBRARY(unsigned long, ERR_peek_error, (void))
FROM_LIBRARY(unsigned long, ERR_get_error_all,
             (const char **file, int *line, const char **function, const char **data, int *flags))
FROM_LIBRARY(void, ERR_clear_error, (void))
FROM_LIBRARY(void, ERR_new, (void))
FROM_LIBRARY(void, ERR_set_debug, (const char *file, int line, const char *function))
FROM_LIBRARY(void, ERR_set_error, (int library, int reason, const char *format, ...))

static bool has_openssl;

void find_libraries(void) {
  if (has_openssl) return;
  FIND(ERR_peek_error)
  FIND(ERR_get_error_all)
  FIND(ERR_clear_error)
  FIND(ERR_new)
  FIND(ERR_set_debug)
  FIND(ERR_set_error)
  has_openssl = ERR_peek_error != NULL && ERR_get_error_all != NULL && ERR_clear_error != NULL &&
                ERR_new != NULL && ERR_set_debug != NULL && ERR_set_error != NULL;
}

enum { MOST_ERRORS = 16 };  // As many as the queue has.

struct tls_errors {
  int count;
  struct {
    unsigned long code;
    char *file, *function, *data;
    int line, flags;
  } all[MOST_ERRORS];
};

static struct tls_errors *take_errors(void) {
  struct tls_errors *errors = calloc(1, sizeof *errors);
  if (errors == NULL) return NULL;
  while (errors->count < MOST_ERRORS) {
    const char *file = NULL, *function = NULL, *data = NULL;
    __typeof__(&errors->all[0]) one = &errors->all[errors->count];
    one->code = ERR_get_error_all(&file, &one->line, &function, &data, &one->flags);
    if (one->code == 0) break;
    one->file = file == NULL ? NULL : strdup(file);
    one->function = function == NULL ? NULL : strdup(function);
    one->data = data == NULL || *data == '\0' ? NULL : strdup(data);
    errors->count++;
  }
  return errors;
}

static void put_errors_back(struct tls_errors *errors) {
  enum { SYSTEM_LIBRARY = 2 };
  for (int i = 0; i < errors->count; i++) {
    __typeof__(&errors->all[0]) one = &errors->all[i];
    // A number of errno has a flag of its own in place of the library's number.
    bool is_systems = one->code & 0x80000000;
    int library = is_systems ? SYSTEM_LIBRARY : (int)(one->code >> 23 & 0xFF);
    int reason = is_systems ? (int)(one->code & 0x7FFFFFFF) : (int)(one->code & 0x7FFFFF);
    ERR_new();
    ERR_set_debug(one->file, one->line, one->function);
    if (one->data == NULL) ERR_set_error(library, reason, NULL);
    else ERR_set_error(library, reason, "%s", one->data);
    free(one->file);
    free(one->function);
    free(one->data);
  }
  free(errors);
}

// ---- the signal mask
//
// A library blocks a signal for the length of a call, such as SIGPIPE, and then puts back what it has found.
// Only tasks that have changed the mask pay for it. SIGPIPE is what hooked calls themselves raise, for the thread:
// pending, it stays with the task that keeps it out.

static uint64_t running_task(const struct thread *thread) {
  return thread->known->calls->task_get_id(*thread->known->current_task);
}

// SIGPIPE is pending for the thread, and is a task's that keeps it out. Takes it out of the way, if it would be let
// in by the mask that comes next.
static bool take_broken_pipe(const sigset_t *next) {
  if (sigismember(next, SIGPIPE)) return false;
  int error = errno;
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  bool is_taken = sigtimedwait(&only, NULL, &(struct timespec){0, 0}) == SIGPIPE;
  errno = error;
  return is_taken;
}

// What is pending goes with the task, as with a thread.
static void undo_mask(struct thread *thread) {
  take_broken_pipe(&thread->mask.before);
  REAL(pthread_sigmask)(SIG_SETMASK, &thread->mask.before, NULL);
  thread->mask.task = 0;
}

// Whether the running task has changed the mask. What one has left that has ended is undone; one that is
// there waits without hooks, and all have its mask.
static bool is_mask_changed(struct thread *thread) {
  const struct mask_change *mask = &thread->mask;
  if (mask->task == 0) return false;
  const struct mj_hook_run *run = thread->known;
  if (mask->scheduler != run->scheduler) return false; // A run that this one is nested in.
  if (mask->task == running_task(thread)) return true;
  if (run->calls->task_find(run->scheduler, mask->task) == NULL) undo_mask(thread);
  return false;
}

void raise_broken_pipe(void) {
  is_mask_changed(here());
  raise(SIGPIPE);
}

void leave_run(void) {
  struct thread *thread = here();
  const struct mj_hook_run *run = thread->known;
  bool is_over = *run->current_task == NULL; // Else a task begins another run.
  if (is_over && thread->mask.task != 0 && thread->mask.scheduler == run->scheduler) undo_mask(thread);
}

// What a signal handler changes, the kernel puts back.
static bool is_kept(const sigset_t *mask) {
  return mask != NULL && hooked(MJ_HOOK_ALL) != NULL && is_in_its_task();
}

// By a function of the two that are the same but for how they tell of an error.
static int change_mask(int (*change)(int, const sigset_t *, sigset_t *), int how, const sigset_t *mask,
                       sigset_t *before) {
  struct thread *thread = here();
  sigset_t found;
  bool is_changed = is_mask_changed(thread);
  int result = change(how, mask, &found);
  if (result != 0) return result;
  if (!is_changed)
    thread->mask = (struct mask_change){running_task(thread), thread->known->scheduler, found};
  if (before != NULL) *before = found;
  return 0;
}

EXPORT int HOOK(pthread_sigmask)(int how, const sigset_t *mask, sigset_t *before) {
  if (!is_kept(mask)) return REAL(pthread_sigmask)(how, mask, before);
  return change_mask(REAL(pthread_sigmask), how, mask, before);
}

EXPORT int HOOK(sigprocmask)(int how, const sigset_t *mask, sigset_t *before) {
  if (!is_kept(mask)) return REAL(sigprocmask)(how, mask, before);
  return change_mask(REAL(sigprocmask), how, mask, before);
}

// ---- all of it

void keep(struct kept *kept) {
  struct thread *thread = here();
  kept->locale = uselocale((locale_t)0);
  if (kept->locale == thread->locale) kept->locale = (locale_t)0;
  else uselocale(thread->locale);
  kept->h_errno_ = h_errno;
  kept->errors = has_openssl && ERR_peek_error() != 0 ? take_errors() : NULL;
  kept->has_mask = is_mask_changed(thread);
  if (kept->has_mask) {
    kept->has_broken_pipe = take_broken_pipe(&thread->mask.before);
    REAL(pthread_sigmask)(SIG_SETMASK, &thread->mask.before, &kept->mask);
    thread->mask.task = 0;
  }
}

void give_back(struct kept *kept) {
  struct thread *thread = here();
  locale_t locale = kept->locale == (locale_t)0 ? thread->locale : kept->locale;
  if (uselocale((locale_t)0) != locale) uselocale(locale);
  h_errno = kept->h_errno_;
  // What is there is another task's that has ended, or waits without hooks.
  if (has_openssl && ERR_peek_error() != 0) ERR_clear_error();
  if (kept->errors != NULL) put_errors_back(kept->errors);
  is_mask_changed(thread);  // One that has ended may have left its own.
  if (!kept->has_mask) return;
  sigset_t before;
  REAL(pthread_sigmask)(SIG_SETMASK, &kept->mask, &before);
  if (memcmp(&kept->mask, &before, sizeof(uint64_t)) != 0)
    thread->mask = (struct mask_change){running_task(thread), thread->known->scheduler, before};
  if (kept->has_broken_pipe) raise(SIGPIPE);
}
