// The interface between the C shim and the Rust engine. Nothing here is exported.
#ifndef MAJJEN_SHIM_H
#define MAJJEN_SHIM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

// In src/engine/log.rs: delivers a line. `line` has MAJJEN_LOG_HEADROOM writable bytes, then a message
// of `length` bytes, then a NUL, which may be overwritten.
enum { MAJJEN_LOG_HEADROOM = 96 };
void majjen_log_emit(unsigned level, char *line, size_t length);

// In src/engine/log.rs: warns about an invalid call of mj_log().
void majjen_log_misuse(unsigned level, const char *format);

// In format.c: formats as vsnprintf does, or returns -1 for a message that it leaves to vsnprintf, also
// when there is not enough room. Does not consume `arguments`.
int majjen_shim_format(char *text, size_t room, const char *format, va_list arguments);

// In stream.c. A stream is locked, asked for its descriptor (-1: it has none) and for what waits in its
// buffer, flushed after text is added, and unlocked. A flush returns 0, or -1 with errno.
int majjen_shim_write(FILE *out, const char *text, size_t length);
FILE *majjen_shim_lock_stream(int to_stderr, int *fd, size_t *buffered);
int majjen_shim_flush_stream(FILE *out, const char *text, size_t length);
void majjen_shim_unlock_stream(FILE *out);

// In thread.c: this thread's count of calls that libmajjen-hook is to leave alone.
size_t *majjen_shim_own_calls(void);

// In hook.c: libmajjen-hook, if it is linked into the program or loaded with it; NULL else.
const void *(*majjen_shim_hook_attach(void))(const void *run);
void (*majjen_shim_hook_forget(void))(const void *scheduler);

// In cxx.c: NULL in a program that has no C++ runtime when it starts.
void *(*majjen_shim_cxa_get_globals(void))(void);

#endif
