// The functions that this library stands in for.
//
// In the shared library these are the next ones of the same name, which the loader knows. For programs that
// are linked with nothing shared there is an archive, for the linker's option --wrap: see docs/hook.md.
#ifndef MAJJEN_HOOK_REAL_H
#define MAJJEN_HOOK_REAL_H

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#ifdef MAJJEN_HOOK_WRAP
#define HOOK(name) __wrap_##name
#define REAL(name) __real_##name
#define REAL_FUNCTION(name) extern __typeof__(name) __real_##name, __wrap_##name;
#else
#define HOOK(name) name
#define REAL(name) (__builtin_expect(real_##name != NULL, 1) ? (void)0 : find_real(), real_##name)
#define REAL_FUNCTION(name) \
  extern __typeof__(name) *real_##name __attribute__((visibility("hidden")));
void find_real(void) __attribute__((cold, visibility("hidden")));
#endif

// Other names of a function that is hooked.
#define ALSO(other, name) \
  extern __typeof__(HOOK(name)) HOOK(other) __attribute__((alias(HOOK_TEXT(name)), visibility("default"), nothrow, leaf))
#ifdef MAJJEN_HOOK_WRAP
#define HOOK_TEXT(name) "__wrap_" #name
#else
#define HOOK_TEXT(name) #name
#endif

#define EXPORT __attribute__((visibility("default")))

// Whether the loader has found the C library's functions before these, so that nobody calls them.
bool is_passed_by(void) __attribute__((visibility("hidden")));

#include "functions.h"

#define X(name) REAL_FUNCTION(name)
HOOKED_FUNCTIONS(X)
#undef X

#endif
