// Whether a signal handler is running on a task's stack.
#ifndef MAJJEN_HOOK_HANDLER_H
#define MAJJEN_HOOK_HANDLER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

// Whether what runs is a signal handler, or is on another stack than the task's. It must not suspend: it may
// have interrupted anything.
bool is_in_handler(void);

// Finds out how handlers return on this system, which is how one is recognised. Cheap from the second time on.
void find_handlers(void);

// Has the unwinder made ready for that. The same.
void find_unwinder(void);
// It has called for this lock meanwhile.
void note_lock_of_unwinder(pthread_mutex_t *mutex);

// The process that this library was loaded in, or the child of fork() that this is.
pid_t process_id(void);
void set_process_id(void);

#endif
