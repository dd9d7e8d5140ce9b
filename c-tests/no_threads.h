// A process that can have no more threads, from when the test says so. For programs that define _GNU_SOURCE.
#ifndef NO_THREADS_H
#define NO_THREADS_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

// With clang a sanitizer's own pthread_create() is in the program, and has to stay there.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define IS_TAKEN 1
#endif
#endif
#ifndef IS_TAKEN
#define IS_TAKEN 0
#endif

static atomic_bool no_threads;
static atomic_int threads_refused;
#if !IS_TAKEN
// Takes the place of the C library's, for the library too where that is shared.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*), void* argument) {
  int (*next)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  *(void**)&next = dlsym(RTLD_NEXT, "pthread_create");
  if (!atomic_load(&no_threads)) return next(thread, attributes, function, argument);
  atomic_fetch_add(&threads_refused, 1);
  return EAGAIN;
}
#endif

#endif  // NO_THREADS_H
