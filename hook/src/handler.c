// Whether a signal handler is running on a task's stack.
//
// A handler returns to a few instructions that end the signal. Their address, which the kernel was told by
// the C library with each handler (sa_restorer), is on the stack then; on aarch64 they are the kernel's own,
// in the vDSO. So each word of the stack is compared with it. It may also be left over from a handler that
// has returned, in a variable that was never written to: what is found is checked by unwinding.
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unwind.h>

#include "handler.h"
#include "hook.h"
#include "locks.h"

static pid_t process;

pid_t process_id(void) { return process; }

void set_process_id(void) { process = getpid(); }

// Where a handler returns to: addresses from the first one on. None of them before it is known.
static uintptr_t return_from, return_bytes;

#if defined __x86_64__

// What rt_sigaction(2) takes and tells.
struct kernel_action {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)(void);
  uint64_t mask;
};

// A signal that nobody uses is ignored for a moment, for the C library to tell the kernel.
void find_handlers(void) {
  if (__atomic_load_n(&return_from, __ATOMIC_ACQUIRE) != 0) return;
  for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
    struct kernel_action action;
    if (syscall(SYS_rt_sigaction, number, NULL, &action, sizeof action.mask) != 0) return;
    if (action.restorer == NULL) {
      if (action.handler != SIG_DFL) continue;
      struct sigaction ignored = {.sa_handler = SIG_IGN}, before;
      if (sigaction(number, &ignored, &before) != 0) return;
      syscall(SYS_rt_sigaction, number, NULL, &action, sizeof action.mask);
      sigaction(number, &before, NULL);
    }
    if (action.restorer == NULL) continue;
    __atomic_store_n(&return_bytes, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&return_from, (uintptr_t)action.restorer, __ATOMIC_RELEASE);
    return;
  }
}

#else

void find_handlers(void) {
  const ElfW(Ehdr) *vdso = (const ElfW(Ehdr) *)getauxval(AT_SYSINFO_EHDR);
  if (vdso == NULL || return_from != 0) return;
  const ElfW(Phdr) *part = (const ElfW(Phdr) *)((const char *)vdso + vdso->e_phoff);
  for (int i = 0; i < vdso->e_phnum; i++) {
    if (part[i].p_type != PT_LOAD || (part[i].p_flags & PF_X) == 0) continue;
    __atomic_store_n(&return_bytes, part[i].p_memsz, __ATOMIC_RELAXED);
    __atomic_store_n(&return_from, (uintptr_t)vdso + part[i].p_vaddr, __ATOMIC_RELEASE);
    return;
  }
}

#endif

// How far the unwinder gets, and what it sees.
struct unwound {
  bool has_signal;
  uintptr_t highest;
};

static _Unwind_Reason_Code look(struct _Unwind_Context *context, void *argument) {
  struct unwound *unwound = argument;
  int is_before = 0;
  _Unwind_GetIPInfo(context, &is_before);
  unwound->has_signal |= is_before != 0;
  uintptr_t frame = _Unwind_GetCFA(context);
  if (frame > unwound->highest) unwound->highest = frame;
  return unwound->has_signal ? _URC_END_OF_STACK : _URC_NO_REASON;
}

// ---- the unwinder
//
// Linked with nothing shared it takes a lock, by a call that is hooked, and the first time it allocates. So it
// is used once before any handler's frame is looked for, which also shows which lock that is.

static pthread_mutex_t *unwinders_lock;

void note_lock_of_unwinder(pthread_mutex_t *mutex) {
  if (__atomic_load_n(&unwinders_lock, __ATOMIC_RELAXED) == NULL)
    __atomic_store_n(&unwinders_lock, mutex, __ATOMIC_RELAXED);
}

static _Unwind_Reason_Code end(struct _Unwind_Context *context, void *argument) {
  (void)context;
  *(bool *)argument = true;
  return _URC_END_OF_STACK;
}

void find_unwinder(void) {
  static bool is_found;
  if (__atomic_load_n(&is_found, __ATOMIC_RELAXED)) return;
  bool is_used = false;
  struct thread *thread = here();
  thread->unwinds = true;
  _Unwind_Backtrace(end, &is_used);
  thread->unwinds = false;
  __atomic_store_n(&is_found, is_used, __ATOMIC_RELAXED);
}

// Whether this thread has the lock, so that what runs is a handler that has interrupted the unwinder, as it throws
// an exception. For a moment a lock that is taken has no owner.
static bool is_unwinder_interrupted(void) {
  pthread_mutex_t *lock = __atomic_load_n(&unwinders_lock, __ATOMIC_RELAXED);
  if (lock == NULL || __atomic_load_n(&lock->__data.__lock, __ATOMIC_RELAXED) == 0) return false;
  int owner = __atomic_load_n(&lock->__data.__owner, __ATOMIC_RELAXED);
  return owner == 0 || owner == thread_number();
}

// Where the unwinder does not get to the first frame of the task, it may be a handler's. What is called in the
// middle of it must not look, be it the unwinder itself, which does not wait, or a handler that has interrupted it.
__attribute__((cold)) static bool has_signal_frame(uintptr_t found) {
  struct unwound unwound = {false, 0};
  struct thread *thread = here();
  if (thread->unwinds || is_unwinder_interrupted()) return true;
  thread->unwinds = true;
  atomic_signal_fence(memory_order_seq_cst);
  _Unwind_Backtrace(look, &unwound);
  atomic_signal_fence(memory_order_seq_cst);
  thread->unwinds = false;
  return unwound.has_signal || unwound.highest <= found;
}

bool is_in_handler(void) {
  const uintptr_t *here = __builtin_frame_address(0);
  const uintptr_t *found = calls()->find_on_stack(here, return_from, return_bytes);
  if (found == NULL) {
    this_thread.unwinds = false;  // A handler may have left it by a jump.
    return false;
  }
  return found == here || has_signal_frame((uintptr_t)found);
}
