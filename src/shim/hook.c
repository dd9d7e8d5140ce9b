// libmajjen-hook, if the program has it. The reference is weak, as that in cxx.c, so that a program that is
// linked with nothing shared finds it, too.
#include "shim.h"

extern const void *mj_hook_attach(const void *run) __attribute__((weak));
extern void mj_hook_forget(const void *scheduler) __attribute__((weak));

const void *(*majjen_shim_hook_attach(void))(const void *run) { return mj_hook_attach; }

void (*majjen_shim_hook_forget(void))(const void *scheduler) { return mj_hook_forget; }
