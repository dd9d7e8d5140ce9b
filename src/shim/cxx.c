// The C++ runtime, if the program has one. The reference is weak, which stable Rust cannot say: the
// library asks for no C++, yet finds a runtime that is linked statically too, because the linker
// exports from a program what a library refers to.
#include "shim.h"

extern void *__cxa_get_globals(void) __attribute__((weak));

void *(*majjen_shim_cxa_get_globals(void))(void) { return __cxa_get_globals; }
