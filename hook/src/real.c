// Finds the functions behind this library.
#include <dlfcn.h>

#include "hook.h"

#ifndef MAJJEN_HOOK_WRAP

#define X(name) __typeof__(name) *real_##name;
HOOKED_FUNCTIONS(X)
#undef X

// Before main(), and before that where a library's constructor calls what is hooked: each finds the same.
__attribute__((constructor)) void find_real(void) {
#define X(name)                                                                       \
  if (__atomic_load_n(&real_##name, __ATOMIC_RELAXED) == NULL)                        \
    __atomic_store_n(&real_##name, (__typeof__(name) *)dlsym(RTLD_NEXT, #name), __ATOMIC_RELAXED);
  HOOKED_FUNCTIONS(X)
#undef X
}

#endif
