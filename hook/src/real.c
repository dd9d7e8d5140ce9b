// Finds the functions behind this library.
#include <dlfcn.h>

#include "hook.h"

#ifndef MAJJEN_HOOK_WRAP

#define X(name) __typeof__(name) *real_##name;
HOOKED_FUNCTIONS(X)
#undef X

// The next of this name. Where this library comes after the C library there is none, and that one's is the first.
static void *find_next(const char *name) {
  void *next = dlsym(RTLD_NEXT, name);
  if (next != NULL) return next;
  void *first = dlsym(RTLD_DEFAULT, name);
  Dl_info own, its;
  bool is_others = first != NULL && dladdr(find_next, &own) != 0 && dladdr(first, &its) != 0 &&
                   own.dli_fbase != its.dli_fbase;
  return is_others ? first : NULL;
}

// Before main(), and before that where a library's constructor calls what is hooked: each finds the same.
__attribute__((constructor)) void find_real(void) {
#define X(name)                                                                       \
  if (__atomic_load_n(&real_##name, __ATOMIC_RELAXED) == NULL)                        \
    __atomic_store_n(&real_##name, (__typeof__(name) *)find_next(#name), __ATOMIC_RELAXED);
  HOOKED_FUNCTIONS(X)
#undef X
}

bool is_passed_by(void) { return (void *)poll == (void *)REAL(poll); }

#else

bool is_passed_by(void) { return false; }

#endif
