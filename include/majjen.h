// majjen.h: a cooperative task runtime. C99 and later, C++11 and later.
//
// A program creates a scheduler, adds tasks, and runs it. Every task has a stack of its own: a call
// that waits suspends the task inside the call, lets others run, and returns when the wait is over.
//
// Contents
//
//   Version and constants
//   Schedulers
//   Tasks
//   Yielding, sleeping, waiting for a task
//   Waiting for signals
//   Deadlines
//   Stopping a run, also from other threads
//   From other threads
//   Functions that block
//   File descriptors
//   Reading and writing
//   Connections, and descriptors that the library owns
//   Names and files
//   Streams
//   Child processes
//   Channels
//   Channels between threads
//   Select
//   Mutexes
//   Condition variables
//   Semaphores
//   Wait groups
//   Groups of tasks
//   Clusters: schedulers for all processors
//   Stacks
//   Turns that are too long
//   Log
//   Metrics, and a list of the tasks
//   Wait functions, the run queue, clocks
//   The fields of a scheduler
//   The guide's unprefixed names
//
// Conventions
//
//   Results      An int is 0 or a positive number, or a negative errno value. A pointer is NULL when
//                the call has failed, and errno then says why. Each comment lists the errors.
//   Times        are nanoseconds, and sizes bytes; names end in the unit. A `timeout_ns` is how long
//                a call waits at most, from now on: MJ_FOREVER without limit, 0 until the other ready
//                tasks have had their turn. A limit past the end of the clock never comes. A deadline
//                is a moment of the scheduler's clock: mj_deadline_after().
//   Suspending   Calls that may suspend the running task say so, and work in tasks, at any depth of
//                calls. They leave errno as it is. Outside a task they do nothing but log a warning
//                and, if they have a result, return -EPERM, or -EINVAL for a wrong argument.
//   Names        Where a call exists twice, the short name returns a result and the long one does
//                not: mj_yield() and mj_task_yield(). A try_ form never waits: it returns -EAGAIN.
//   Words        A turn: a task is given the thread once. Parked: waiting. Ready: it runs when its
//                turn comes. Enqueued: made ready by mj_scheduler_enqueue(). -EINTR: by that or by
//                mj_task_wake(), never by a signal. An ERROR line: one in the log, of that level. A
//                worker: a thread of the library's pool, which mj_offload() uses, too. The guide:
//                docs/guide.md, the text whose interface this library implements.
//   Threads      A scheduler, its tasks, and its mutexes, channels and the like are used by one
//                thread at a time. While it runs, other threads make only those calls whose
//                comment says "Callable from any thread", such as mj_scheduler_stop(),
//                mj_scheduler_remote(), and what takes an mj_remote or an mj_xchan. All else is
//                refused, and reported in the log; only what looks at a task or an object, such as
//                mj_task_get_name(), cannot tell. Signal handlers make only the four calls whose
//                comments say "and from a signal handler". docs/c-api.md has lists.
//   Pointers     An object is NULL or alive: made, and not yet released. A function is NULL or stays
//                callable while it is set. Buffers, elements and strings are NULL or as large as the
//                call needs, stay the caller's, and are not kept unless a comment says so.
//   Misuse       NULL, a call outside a task, a nested run: reported in the log or by an error, and
//                without other effect.
//
// Generated from src/ffi; do not edit. `make header` renews it.

#ifndef MAJJEN_H
#define MAJJEN_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- Version and constants ----------------------------------------------------------------------

// The header's version. The first number changes when old programs may stop working, and with it
// the library's SONAME.
#define MJ_VERSION_MAJOR 0

// Changes when something is added.
#define MJ_VERSION_MINOR 2

// Changes when something is mended.
#define MJ_VERSION_PATCH 0

// Returns the version of the library that is loaded, as "MAJOR.MINOR.PATCH": a constant string.
// Callable from any thread. Does not suspend.
const char *mj_version(void);

// No limit, for a parameter named `timeout_ns`.
#define MJ_FOREVER UINT64_MAX

// ---- Schedulers ---------------------------------------------------------------------------------

// What its fields are comes at the end, under "The fields of a scheduler".
struct mj_scheduler;

// Makes an empty scheduler with the built-in wait function. Nothing outside it changes: no signal
// handler, no resource limit, no thread. Callable from any thread. Does not suspend.
//
// Returns the scheduler, to be released with mj_scheduler_destroy(), or NULL. Errors, in errno:
//   ENOMEM                  out of memory
//   EMFILE, ENFILE, ENOSPC  no descriptors are left for the two that it needs
//   ENOSYS and the like     the process may not use eventfd(2), epoll(7) or CLOCK_MONOTONIC
struct mj_scheduler *mj_scheduler_create(void);

// Makes a scheduler for an application: as mj_scheduler_create(), with stack overflows reported
// and signals handled. (Its name is that of docs/guide.md, hence without mj_.) While it runs,
// SIGINT and SIGTERM make the run return (the same signal again, before the run has returned,
// kills as usual), and writing to a closed connection gives EPIPE without effect of SIGPIPE on
// this thread. Each only where the signal's disposition is the default one; all is put back when
// the run returns. Callable from any thread. Does not suspend.
//
// No signal is blocked, and programs that a task starts have the default dispositions. SIGPIPE on
// other threads has its default effect, and so have all three in a child of fork(), until it runs
// a scheduler itself or goes on with the run.
//
// Returns the scheduler, or NULL with errno as mj_scheduler_create().
struct mj_scheduler *setup_scheduler_with_epoll(void);

// Releases a scheduler, the stacks of its remaining tasks, and their `user_state` with free(). The
// remaining tasks do not run again; descriptors that they hold stay open. First what they have
// deferred with mj_task_defer() is called, and their task-local values are destroyed, task by task, in
// no particular order of the tasks. NULL, a scheduler that is running, or one of a cluster is reported
// in the log and left alone. Does not suspend.
void mj_scheduler_destroy(struct mj_scheduler *scheduler);

// Runs tasks until none is left but daemons (mj_task_set_daemon()), or the run is stopped, or
// nothing can wake those that are left, which is an ERROR line. Tasks that are left stay as they
// are, and a later run goes on with them. A nested run, on this scheduler or another one on the
// same thread, is reported and returns at once. mj_run() is the same and says how the run ended.
//
// Blocks the thread and does not suspend. The thread's timer slack (PR_SET_TIMERSLACK in prctl(2))
// is 1 ns during short waits, so that timers are served in time, and never while tasks run: what
// they start does not inherit it. The thread is not canceled in a run: a request of
// pthread_cancel() takes effect once this has returned, at once or at the next cancellation point,
// as the thread's type says. A task must not enable cancellation; mj_remote_stop() ends a run.
//
// A thread that ends in the middle, by pthread_exit() in a task, leaves the scheduler running for
// good: it can be neither run nor destroyed. mj_cluster_create() says what that is in a cluster. A
// longjmp() out of the run leaves it running, too, and then no other scheduler can run on the thread.
//
// On another thread than the last one, tasks that have started may still use errno and thread-local
// variables of the old one, whose addresses compilers keep; a WARN line says so.
void mj_scheduler_run(struct mj_scheduler *scheduler);

// What mj_run() returns when mj_scheduler_stop() or mj_remote_stop() ended the run and tasks are
// left.
#define MJ_RUN_STOPPED 1

// What mj_run() returns when SIGINT or SIGTERM ended the run of a scheduler that handles them,
// and tasks are left, also if it was stopped as well. mj_scheduler_signal() tells which signal.
#define MJ_RUN_SIGNAL 2

// mj_scheduler_run() with a result: how the run ended. Blocks the thread and does not suspend.
//
// Returns 0 when no task is left, also if the run was stopped or a signal came as well, or when
// daemons are that did not end in time; MJ_RUN_STOPPED when mj_scheduler_stop() or
// mj_remote_stop() ended the run and tasks are left; MJ_RUN_SIGNAL when SIGINT or SIGTERM did,
// with a scheduler of setup_scheduler_with_epoll(), and tasks are left: mj_scheduler_signal()
// tells which. To end the tasks that are left in order, mj_scheduler_cancel() them by their ids,
// and run again; mj_run_until_signal() does it. Errors (also reported in the log):
//   -EDEADLK  nothing can wake the tasks that are left, be they parked or asleep for ever
//   -ENOMEM   no memory for the stacks of the tasks that are left, or to handle signals for one
//             run more
//   -EBUSY    a scheduler is already running on this thread; nothing has run
//   -EPERM    this one is running on another thread; nothing has run
//   -EINVAL   `scheduler` is NULL
//   and, in a child of fork(), as eventfd(2) and epoll_create1(2)
int mj_run(struct mj_scheduler *scheduler);

// Tells which signal of signal(7), SIGINT or SIGTERM, came in the last run: also if the run ended
// otherwise meanwhile, as when the last task ended, and mj_run() returned something else. Does not
// suspend.
//
// Returns SIGINT or SIGTERM, the first one if several came, or 0 when none came, before the first run, and
// while one is under way that no signal is ending in order, mj_run_until_signal(). Errors:
//   -EINVAL  `scheduler` is NULL
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_signal(struct mj_scheduler *scheduler);

// Returns the scheduler that is running on the calling thread, or NULL. Callable from any thread. Does not
// suspend.
struct mj_scheduler *mj_scheduler_current(void);

// Names a scheduler, for people: in log lines about it, and as the label `scheduler` of its metrics,
// also by handles to it: so those of several schedulers are told apart on one page. The name is
// copied, and cut after 23 bytes or the last character that fits; "" takes it away. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` or `name` is NULL
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_set_name(struct mj_scheduler *scheduler,
                          const char *name);

// ---- Tasks --------------------------------------------------------------------------------------

// The body of a task: a function type, so a pointer to one is `mj_task_fn *`. It runs on the task's
// own stack. A body that returns without mj_task_exit() is called again from the top, for ever if
// it always does, which a WARN line reports once: end it with `mj_task_exit(); return;`.
// `user_state` is the task's, which releases it with free() when it ends, so it is from malloc(). A
// C++ exception that would leave the body calls std::terminate(), as if it were noexcept, after a
// line on stderr. A task that is destroyed with its scheduler runs no destructors, but what it has
// deferred with mj_task_defer() is called, and its task-local values are destroyed.
typedef void mj_task_fn(struct mj_scheduler *scheduler, void *user_state);

// What a task is doing.
typedef enum mj_task_state {
  // Running, or ready to run and in the run queue.
  MJ_TASK_RUNNABLE,
  // Parked until its timer expires.
  MJ_TASK_SLEEPING,
  // Parked until a descriptor, a channel, a mutex or another object is ready, or a task ends;
  // perhaps also with a time limit.
  MJ_TASK_WAITING_IO,
  // Marked by mj_task_exit(), or ended.
  MJ_TASK_EXITED,
} mj_task_state;

// Identifies a task for ever: no other task of its scheduler has it, before or after. 0 is no
// task.
typedef uint64_t mj_task_id;

// One task. Created by mj_create_task() and owned by its scheduler: it ends when its body returns
// after mj_task_exit(), and its memory is then used for later tasks, so keep no pointer past that,
// but its id. Only the scheduler's thread may touch it. Read the fields freely; write only
// `user_state`, and `state` from within the task's own body.
typedef struct mj_task {
  // The body.
  mj_task_fn *task_function;
  // The body's argument, from malloc(). Released with free() when the task ends.
  void *user_state;
  // What the task is doing. A body that sets SLEEPING or WAITING_IO and returns stays parked
  // until mj_scheduler_enqueue(), and is then called again from the top.
  mj_task_state state;
  // When a sleeping task wakes: nanoseconds of CLOCK_MONOTONIC.
  uint64_t wake_time_ns;
  // The task's index in the scheduler's `timer_heap`; SIZE_MAX when it has no timer.
  size_t heap_index;
  // The task behind this one in the run queue.
  struct mj_task *next;
} mj_task;

// Adds a task at the end of the run queue. It first runs when its turn comes, never inside this
// call, and takes its stack then. The task owns `user_state` from now on and releases it with
// free() when it ends, so it must come from malloc() or be NULL: a variable, on a stack or static,
// ends the process then. The task ends only when its body has called mj_task_exit() and then
// returns; a body that returns without it is called again, with the same `user_state`, for as long
// as it does; one that has returned a thousand times without waiting is a WARN line. Does not
// suspend.
//
// Returns the task, valid until it ends, or NULL; then `user_state` still belongs to the caller.
// Errors, in errno:
//   EINVAL  `scheduler` or `task_function` is NULL
//   ENOMEM  out of memory
//   EPERM   the scheduler is running on another thread
struct mj_task *mj_create_task(struct mj_scheduler *scheduler,
                               mj_task_fn *task_function,
                               void *user_state);

// What mj_go() runs as a task. A C++ exception that would leave it calls std::terminate(), as if it
// were noexcept, after a line on stderr.
typedef void (*mj_go_fn)(void *argument);

// Runs a function as a task of its own: the task ends when the function returns. It first runs when its
// turn comes, never inside this call. `argument` is passed to it and stays the caller's, so it may be
// anything that lives long enough; NULL too. `id`, unless NULL, is set to the task's id, by which
// mj_task_join() and mj_scheduler_cancel() find it. Does not suspend.
//
// Returns 0. Errors, with which `id` is left alone:
//   -EINVAL  `scheduler` or `function` is NULL (also a WARN line)
//   -ENOMEM  out of memory
//   -EPERM   the scheduler is running on another thread
int mj_go(struct mj_scheduler *scheduler,
          mj_go_fn function,
          void *argument,
          mj_task_id *id);

// Marks the running task as ended. Unlike pthread_exit() it returns: call it last, and let the
// body return, which ends the task. Until then, calls that would suspend it return at once.
// Outside a task it is reported in the log. Does not suspend.
void mj_task_exit(void);

// Returns the running task of this thread, or NULL outside a task. Callable from any thread. Does not
// suspend.
struct mj_task *mj_task_current(void);

// Returns a task's id, or 0 for NULL. The id stays its own after it has ended: the way to refer to
// a task that may end. Does not suspend.
mj_task_id mj_task_get_id(const struct mj_task *task);

// Finds a living task by its id. Any number may be asked for. Does not suspend.
//
// Returns the task, or NULL. Errors, in errno:
//   ESRCH   no living task of the scheduler has this id
//   EINVAL  `scheduler` is NULL
//   EPERM   the scheduler is running on another thread
struct mj_task *mj_task_find(struct mj_scheduler *scheduler, mj_task_id id);

// Names a task, for mj_scheduler_dump() and debuggers. The name is copied, and cut after 23 bytes
// or the last character that fits. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `task` or `name` is NULL
int mj_task_set_name(struct mj_task *task, const char *name);

// Returns a task's name, or "" if it has none or for NULL. The string is valid until the task ends
// or is renamed. Does not suspend.
const char *mj_task_get_name(const struct mj_task *task);

// Ends a task's sleep or wait early: the call that waits returns -EINTR, if it has a result. I/O calls
// wait on. A wake of a task that is not waiting is not remembered. Does not suspend. `task` may be any
// address.
//
// Returns 1; or 0, and nothing has changed, when the task was not waiting, or was for what no wake ends: a
// mutex, a signal of mj_signal_wait(), a function of mj_offload(). Errors:
//   -EINVAL  `task` is not a living task of the scheduler that runs on this thread (also a WARN
//            line)
//   -EPERM   no scheduler is running on this thread (also a WARN line)
int mj_task_wake(struct mj_task *task);

// Asks a task to end: its wait, and from then on each call of it that would have to wait, returns
// -ECANCELED after yielding. What can be had without waiting, or is there after that, is had as before, but not
// for ever: after 64 such calls in one turn, or 64 in which it was there only then, the next one returns
// -ECANCELED as well; of a task that owns an mj_mutex without yielding. It is up to the task to clean up, for which it may hold the
// cancellation with mj_task_set_cancelable(), and to end. A task may cancel itself.
// mj_scheduler_cancel() works between runs too. Does not suspend. `task` may be any address.
//
// Returns 0. Errors:
//   -EINVAL, -EPERM  as mj_task_wake()
int mj_task_cancel(struct mj_task *task);

// Sets whether the running task is told when it is canceled: at first it is. While it is not, its
// calls wait as if nothing had happened, and a cancellation is held; when it is again, the next call
// that would wait returns -ECANCELED. For cleaning up: sending a goodbye, joining the tasks that
// were made. `old`, unless NULL, is set to what was set before, to put it back. Does not suspend.
//
// Returns 0. Errors:
//   -EPERM  outside a task
int mj_task_set_cancelable(bool cancelable,
                           bool *old);

// mj_task_wake() for the task with an id, whether or not the scheduler runs. Does not suspend.
//
// Returns 1, or 0 when the task was not waiting, which changes nothing. Errors:
//   -ESRCH, -EINVAL, -EPERM  as mj_scheduler_cancel()
int mj_scheduler_wake(struct mj_scheduler *scheduler, mj_task_id id);

// mj_task_cancel() for the task with an id, whether or not the scheduler runs: between two runs it
// tells tasks to end, and the next run lets them. Does not suspend.
//
// Returns 0. Errors:
//   -ESRCH   none of its tasks has this id any more
//   -EINVAL  `scheduler` is NULL
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_cancel(struct mj_scheduler *scheduler, mj_task_id id);

// What mj_task_defer() has called when the task ends. A C++ exception that would leave it calls
// std::terminate(), as if it were noexcept, after a line on stderr.
typedef void (*mj_defer_fn)(void *argument);

// Has `function` called with `argument` when the running task ends: not when its body returns and is called
// again, but once it has ended, by mj_task_exit() or a return, canceled or not. What was deferred last is
// called first. It runs in the task, on its stack, before its `user_state` is freed and before those who
// wait for its end go on, and may suspend, defer more, and unlock what the task has locked. Of a canceled
// task it is as canceled as the rest: a call that would wait returns -ECANCELED, unless it holds the
// cancellation with mj_task_set_cancelable(); so does the task's deadline limit it. If it calls
// mj_task_exit(), that has no effect once it has returned. `argument` stays the caller's, and must be there
// then: not a variable of a function that has returned, be it the body. Does not suspend.
//
// When a scheduler is destroyed, what its tasks have deferred is called in mj_scheduler_destroy(), on that
// stack and outside any task: calls that would suspend return -EPERM there, and mj_task_current() is NULL.
// What belongs to the scheduler can still be closed and released.
//
// Returns 0. Errors:
//   -EINVAL  `function` is NULL
//   -ENOMEM  out of memory, or 65,536 are deferred already
//   -EPERM   outside a task
int mj_task_defer(mj_defer_fn function,
                  void *argument);

// Sets whether the running task is a daemon, which at first no task is: one that does not keep a run going,
// as a heartbeat, a janitor, or a task that accepts. When all other tasks have ended, the daemons are
// canceled, as by mj_task_cancel(), and the run waits for them to end: 1 s at most, unless
// mj_scheduler_set_daemon_limit() says otherwise. Those that have not ended by then stay parked, and a WARN
// line names them; for mj_run() they do not count as left. A task that one of them makes meanwhile, and that
// is no daemon, keeps the run going as ever. A daemon that sleeps may be about to wake others: while one
// does, a run whose other tasks wait for each other does not end by deadlock. Does not suspend.
//
// Returns 0. Errors:
//   -EPERM  outside a task
int mj_task_set_daemon(bool daemon);

// Sets how long a run waits for daemons to end, when all other tasks have: 1 s unless set, 0 for the
// round of the loop in which they are told, MJ_FOREVER until they have ended. It is not waited for what
// nothing can wake. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_set_daemon_limit(struct mj_scheduler *scheduler,
                                  uint64_t timeout_ns);

// A key of task-local values, from mj_task_key_create(); 0 is none.
typedef uint32_t mj_task_key;

// What destroys a task's value, which is not NULL, at its end; as mj_defer_fn.
typedef void (*mj_destroy_fn)(void *value);

// What makes the value of a new task of that of the task which makes it, which is not NULL; NULL for none. A
// C++ exception that would leave it calls std::terminate(), as if it were noexcept, after a line on stderr.
typedef void *(*mj_inherit_fn)(void *value);

// Makes a key, of which each task has a value of its own, at first NULL: for what belongs to a request
// wherever its task is, such as the id in log lines. Keys are the process's, for tasks of all its
// schedulers, and are not given back: make each once. `destroy`, unless NULL, is called with a task's value
// when the task ends, or its scheduler is destroyed, behind what it has deferred with mj_task_defer() and as
// that is. It may set values again, which are destroyed in turn, in four rounds altogether; what is set in the
// last one is left, and a WARN line says so. `inherit`, unless NULL, is called when a task makes another one of its scheduler, and
// makes the value that that begins with: a copy, another reference, or just the same pointer. It is called
// outside a task, where calls that would suspend are refused and there are no values; as is `destroy` for what a
// task that could not be made has inherited. Callable from any thread, not from a signal handler. Does not suspend.
//
// Returns 0. Errors, with which `key` is left alone:
//   -EINVAL  `key` is NULL
//   -ENOMEM  there are 128 keys already
int mj_task_key_create(mj_task_key *key,
                       mj_destroy_fn destroy,
                       mj_inherit_fn inherit);

// Sets the running task's value of a key. What it was before is the caller's again: it is not destroyed. Does
// not suspend.
//
// Returns 0. Errors:
//   -EINVAL  there is no such key
//   -ENOMEM  out of memory
//   -EPERM   outside a task
int mj_task_set_value(mj_task_key key,
                      void *value);

// Returns the running task's value of a key; NULL if it has none, for what is no key, and outside a task, as in
// a log callback there. Does not suspend.
void *mj_task_get_value(mj_task_key key);

// ---- Yielding, sleeping, waiting for a task -----------------------------------------------------

// Suspends the running task behind all others that are ready, so that each gets its turn. Returns
// at once when the task is marked as ended. mj_yield() is the same with a result.
void mj_task_yield(void);

// mj_task_yield() with a result. May suspend.
//
// Returns 0. Errors:
//   -ECANCELED  the task is canceled, or marked as ended
//   -EPERM      outside a task
int mj_yield(void);

// Suspends the running task for at least `nanoseconds`, never less. A time past the end of the
// clock never comes, and MJ_FOREVER is such a time: no run goes on for its sake. Ends early when
// the task is woken, canceled or enqueued, or its deadline passes. Returns at once when the task is
// marked as ended, and after a mere yield when it is canceled or, with an ERROR line, when memory
// for the timer is missing. mj_sleep_ns() is the same with a result.
void mj_task_sleep_ns(uint64_t nanoseconds);

// mj_task_sleep_ns() in milliseconds. May suspend.
void mj_task_sleep_ms(uint64_t milliseconds);

// mj_task_sleep_ns() in seconds. May suspend.
void mj_task_sleep_s(uint64_t seconds);

// mj_task_sleep_ns() with a result. May suspend.
//
// Returns 0 after the full time. Errors:
//   -ETIMEDOUT  the task's deadline is earlier, mj_task_set_deadline()
//   -EINTR      mj_task_wake() or mj_scheduler_enqueue() ended the sleep
//   -ECANCELED  the task is canceled, or marked as ended
//   -ENOMEM     no memory for the timer
//   -EPERM      outside a task
int mj_sleep_ns(uint64_t nanoseconds);

// Suspends the running task until its scheduler's clock, mj_scheduler_now_ns(), is at
// `deadline_ns` or past it: for periods that do not drift. MJ_FOREVER never comes.
//
// Returns 0. Errors:
//   -ETIMEDOUT, -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
int mj_task_sleep_until_ns(uint64_t deadline_ns);

// Suspends the running task until it is woken, by mj_task_wake() or mj_scheduler_enqueue(), for at
// most `timeout_ns`: for tasks that other tasks or a wait function hand something to. An
// mj_scheduler_enqueue() since the task's last wait counts, also in a canceled task; an
// mj_task_wake() while it was not waiting does not.
//
// Returns 0 when woken. Errors:
//   -ETIMEDOUT                   nothing woke it in time
//   -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
int mj_task_park(uint64_t timeout_ns);

// Suspends the running task until another task of its scheduler has ended, for at most
// `timeout_ns`. Any number of tasks may wait for one.
//
// Returns 0 when the task has ended during the call. Errors:
//   -ESRCH      no living task has this id: it has ended already, if it ever lived; a canceled
//               task is told this too
//   -ETIMEDOUT  the task has not ended in time
//   -EDEADLK    the id is the caller's own
//   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
int mj_task_join(mj_task_id id, uint64_t timeout_ns);

// ---- Waiting for signals ------------------------------------------------------------------------

// A signal that has come: what siginfo_t of sigaction(2) says of it. See mj_signal_wait().
typedef struct mj_signal_info {
  // Its number.
  int signal;
  // Why it was sent, `si_code`: SI_USER by kill(2), SI_QUEUE by sigqueue(3), CLD_EXITED of a child.
  int code;
  // The process that has sent it, or the child; 0 if it was the kernel or a timer.
  pid_t pid;
  // The user of that process.
  uid_t uid;
  // The number that sigqueue(3) or a timer has sent along; for SIGCHLD the status of the child. Else 0.
  int value;
  // The same as a pointer, if it was sent as one.
  void *pointer;
  // The library's: 0.
  void *reserved[4];
} mj_signal_info;

// Suspends the running task until one of `count` signals comes, for at most `timeout_ns`. If `info` is not NULL it
// is told what is known of the signal. mj_task_wake() has no effect on it. Signals that are to stop the run of a
// scheduler of setup_scheduler_with_epoll() stop none while a task of the process waits for them. May suspend.
//
// The task keeps the signals from its first wait on, also between its waits, until it waits for others, calls
// mj_signal_release(), or ends. All that time a handler of the library takes them, on whichever thread they come,
// so no thread needs to block or to unblock them, and system calls of other threads go on (SA_RESTART). (One that
// all threads have blocked, as they may have been started, comes when one of them no longer does.) One
// that comes between two waits ends the next one at once, so a loop misses none. As the kernel does with
// signals that are blocked, one is kept of each number, with what was known of the first; that holds for
// real-time signals too: to get each of those, with its value, read a signalfd(2).
//
// Each task that has the signal is told, in each scheduler of the process. A handler of the program is not
// called meanwhile. When no task has it any more, the disposition is again what it was, unless the program has
// set another one, and a signal that has come and that no task has been told of is sent to the process again: so
// a SIGTERM that nobody waits for any more still ends it. In a child of fork(), until it goes on with the run, a
// signal has the effect that it has without the library.
//
// Returns the number of the signal; of several that have come the lowest. Errors, with which `info` is left alone:
//   -EINVAL     `count` is 0, or one of them cannot be waited for: SIGKILL, SIGSTOP, those of faults (SIGSEGV,
//               SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), those of the C library (32, 33), or no signal at all
//   -ETIMEDOUT  none has come in time
//   -ECANCELED  the task is canceled and none has come, or it is marked as ended
//   -ENOMEM     out of memory
//   -EPERM      not called from a task; this is also logged
int mj_signal_wait(const int *signals,
                   size_t count,
                   struct mj_signal_info *info,
                   uint64_t timeout_ns);

// Gives back the signals that the running task has waited for, as its end does: see mj_signal_wait(). For a task
// that goes on and is not interested any more, as in a second SIGINT, which then kills as usual. Does not suspend.
//
// Returns 0, also if it has none. Errors:
//   -EPERM  not called from a task; this is also logged
int mj_signal_release(void);

// mj_run() that SIGINT and SIGTERM end in order, with any scheduler: at the first of them `function`, unless NULL,
// is called with `argument` in a task of its own, named "signal". It tells the others that they are to end: it
// closes the listener, so that nobody else comes in. They have `grace_ns` from its return on (MJ_FOREVER: any
// time, 0: none); those that are left then are canceled, and the run goes on until they have ended. The next
// signal stops the run with tasks left, as the first one stops mj_run() of setup_scheduler_with_epoll(), and what
// is said there of signals holds here. A task that waits for such a signal is told too; while one does, the next
// signal is for it, and stops no run.
//
// Blocks the thread and does not suspend.
//
// Returns 0 when no task is left, also if that was after a signal: mj_scheduler_signal() tells, also in `function`.
// MJ_RUN_STOPPED, MJ_RUN_SIGNAL and errors as mj_run().
int mj_run_until_signal(struct mj_scheduler *scheduler,
                        mj_go_fn function,
                        void *argument,
                        uint64_t grace_ns);

// ---- Deadlines ----------------------------------------------------------------------------------

// Returns the moment `timeout_ns` from now, by the clock of the scheduler that runs on this thread, or
// else by CLOCK_MONOTONIC: a deadline that several calls share, each by mj_deadline_left().
// MJ_FOREVER, and what is past the end of the clock, is MJ_FOREVER. Callable from any thread. Does not
// suspend.
uint64_t mj_deadline_after(uint64_t timeout_ns);

// Returns how long it is until a deadline, by the clock of mj_deadline_after(), as the `timeout_ns` of a
// call: 0 when it is past, MJ_FOREVER for MJ_FOREVER. Callable from any thread. Does not suspend.
uint64_t mj_deadline_left(uint64_t deadline_ns);

// Limits all waits of the running task, from now on: "this request has 10 s", by
// mj_deadline_after(10 * 1000000000ull). At `deadline_ns` a wait of the task ends, and past it each call
// that would have to wait returns -ETIMEDOUT once the other ready tasks have had their turn, whatever
// limit of its own it has; sleeps end too, also those that return nothing. What can be had without
// waiting is had as before. MJ_FOREVER, as at first, is no deadline: set that before cleaning up, which
// may have to wait. Tasks that the task creates have none, but members of a group inherit it.
//
// A yield is no wait. mj_cond_wait() waits for a signal until then, but for the mutex as long as that
// takes. `old`, unless NULL, is set to what was set before, to put it back. Does not suspend.
//
// Returns 0. Errors:
//   -EPERM  outside a task
int mj_task_set_deadline(uint64_t deadline_ns,
                         uint64_t *old);

// ---- Stopping a run, also from other threads ----------------------------------------------------

// Ends the current run when the running task next suspends or ends; called from another thread,
// other tasks may still run for about 50 microseconds. If no run is under way, the next one ends
// before any task runs. Callable from any thread and from a signal handler, as long as the
// scheduler is not destroyed meanwhile; mj_scheduler_remote() makes a handle without that
// condition. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL
int mj_scheduler_stop(struct mj_scheduler *scheduler);

// A handle to a scheduler that outlives it, for other threads: they hand it work by mj_post(), wake
// and cancel its tasks, read its counters, and stop it. See mj_scheduler_remote().
typedef struct mj_remote mj_remote;

// Makes a handle to a scheduler, for other threads and for signal handlers. Unlike the scheduler's
// address it stays valid after mj_scheduler_destroy(), and tells then that the scheduler is gone.
// It keeps a descriptor open. While the program has one, a run whose tasks are all parked waits for
// other threads to wake one, after a WARN line, instead of ending with -EDEADLK. Callable from any
// thread. Does not suspend.
//
// Returns the handle, to be released with mj_remote_release(), or NULL. Errors, in errno:
//   EINVAL  `scheduler` is NULL
struct mj_remote *mj_scheduler_remote(struct mj_scheduler *scheduler);

// mj_scheduler_stop() by a handle. Callable from any thread and from a signal handler. Does not
// suspend.
//
// Returns 0. Errors:
//   -EPIPE   the scheduler has been destroyed
//   -EINVAL  `remote` is NULL
int mj_remote_stop(struct mj_remote *remote);

// Adds a reference to a handle. Callable from any thread. Does not suspend.
//
// Returns the same handle, to be released once more, or NULL for NULL.
struct mj_remote *mj_remote_retain(struct mj_remote *remote);

// Drops a reference to a handle; NULL is ignored. Callable from any thread, not from a signal
// handler. Does not suspend.
void mj_remote_release(struct mj_remote *remote);

// ---- From other threads -------------------------------------------------------------------------

// What mj_post() and mj_offload() call with the argument of a function that will not be called, or for whose
// end nobody waits any more, so that it can be released. It must not suspend. A C++ exception that would
// leave it calls std::terminate(), after a line on stderr.
typedef void (*mj_abandon_fn)(void *argument);

// Lets a task of a scheduler run a function, whether or not the scheduler runs. Each function
// has a task of its own, so one that suspends does not hold up the next; they begin in the order in
// which a thread has posted them. The task ends when the function returns. `argument` is passed to it.
//
// If the scheduler is destroyed before the function has begun, `abandon` is called with the argument
// instead, once, by the thread that destroys it, unless it is NULL; it must not use that scheduler. A
// post that was accepted is not lost for want of memory: it waits until there is some, and one ERROR line
// says so.
//
// Callable from any thread, inside or outside a task, not from a signal handler: mj_post_with_node() is.
// Does not suspend.
//
// Returns 0. Errors, with which nothing is called:
//   -EAGAIN  as many posts wait as may, see mj_remote_set_post_limit()
//   -EPIPE   the scheduler has been destroyed
//   -ENOMEM  out of memory
//   -EINVAL  `remote` or `function` is NULL
int mj_post(struct mj_remote *remote,
            mj_go_fn function,
            void *argument,
            mj_abandon_fn abandon);

// A post in memory of the caller's, for mj_post_with_node(), which sets its fields. It must keep its
// address, and nobody may touch it, from an accepted post until `function` or `abandon` is called with
// the argument: then it is the caller's again, and may be posted once more, or freed.
typedef struct mj_post_node {
  // The library's.
  void *internal[7];
} mj_post_node;

// mj_post() without an allocation: the post is in `node`, which the caller brings. Its fields are set
// here. Callable from any thread and from a signal handler. Does not suspend.
//
// Returns 0: the node is the library's until the function or `abandon` is called, or, with `abandon`
// NULL, the scheduler is destroyed. Errors, with which it stays the caller's:
//   -EAGAIN, -EPIPE  as mj_post()
//   -EINVAL          `remote`, `node` or `function` is NULL
int mj_post_with_node(struct mj_remote *remote,
                      struct mj_post_node *node,
                      mj_go_fn function,
                      void *argument,
                      mj_abandon_fn abandon);

// Sets how many posts may wait to begin, 16,384 at first: with so many, mj_post() and mj_post_with_node()
// return -EAGAIN. Those that wait already are left alone. Callable from any thread. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `remote` is NULL, or `posts` is 0
int mj_remote_set_post_limit(struct mj_remote *remote,
                             size_t posts);

// mj_scheduler_wake() by a handle. On another thread than the scheduler's it takes effect there
// soon, after what this thread has posted before, and nothing tells whether the task was waiting then.
// Callable from any thread, not from a signal handler. Does not suspend.
//
// Returns 0. Errors:
//   -ESRCH   none of the scheduler's tasks has this id any more; told only on the scheduler's own
//            thread
//   -EAGAIN, -EPIPE, -ENOMEM  as mj_post()
//   -EINVAL  `remote` is NULL, or `id` is 0
int mj_remote_wake(struct mj_remote *remote,
                   mj_task_id id);

// mj_scheduler_cancel() by a handle, as mj_remote_wake() is mj_scheduler_wake(). Callable from any thread,
// not from a signal handler. Does not suspend.
//
// Returns 0. Errors:
//   -ESRCH, -EAGAIN, -EPIPE, -ENOMEM, -EINVAL  as mj_remote_wake()
int mj_remote_cancel(struct mj_remote *remote,
                     mj_task_id id);

// ---- Functions that block -----------------------------------------------------------------------

// What mj_offload() runs, on a thread of the library. A C++ exception that would leave it calls
// std::terminate(), after a line on stderr.
typedef void (*mj_offload_fn)(void *argument);

// What kind of function mj_offload_in() is given.
typedef enum mj_offload_class {
  // It computes.
  MJ_OFFLOAD_CPU = 0,
  // It waits for files, or for anything else: it blocks.
  MJ_OFFLOAD_FILE = 1,
  // It waits for names to be resolved.
  MJ_OFFLOAD_DNS = 2,
} mj_offload_class;

// Runs `function` with `argument` on a thread of the library, so that it may block or compute for long;
// other tasks run meanwhile. It is of the class MJ_OFFLOAD_CPU, for functions that compute: see
// mj_offload_in() for those that wait. As many of a class run at a time as mj_offload_set_limit() says; the
// next ones wait for a thread, which counts for `timeout_ns`. Threads are made when they are needed, and end
// after 10 s without work. All signals are blocked in them, except those of faults. If the system does not
// let the process have any, the function is run by the scheduler's loop, which it blocks; a WARN line says
// so.
//
// A program that the function starts, by posix_spawn(3), popen(3) or system(3), inherits that mask: SIGTERM and
// SIGINT do not end it, and SIGPIPE has no effect. Start it by mj_process_spawn() in a task; or with
// POSIX_SPAWN_SETSIGMASK and an empty set; or let the function empty its mask around the call, by
// pthread_sigmask(3).
//
// With -ETIMEDOUT and -ECANCELED the argument is the library's, and `abandon` is called with it,
// once: before this call returns if the function has not begun, which it will not then; else by the
// thread that runs the function, after it. With every other result it is not called. If `abandon` is
// NULL the call waits until the function has ended, and returns these two only if it had not begun: the
// argument is the caller's then, and may be on the task's stack. mj_task_wake() has no effect on it.
// When the scheduler is destroyed before this call has returned, `abandon` is called in the same way,
// also if the function has ended, then by mj_scheduler_destroy(); if it is NULL, mj_scheduler_destroy()
// waits until the function has ended.
//
// The function is in no task: it cannot suspend, but it may mj_post() to schedulers, and run one of its own,
// unless it is run by the loop since no thread can be had. It may ask mj_offload_canceled(). No exception
// may leave it. May suspend.
//
// Returns 0: the function has run, and the argument is the caller's. Errors (it has not run, but for the first
// three, with which it may run or have run):
//   -ETIMEDOUT  it has not ended within `timeout_ns`
//   -ECANCELED  the task is canceled, or has called mj_task_exit()
//   -EOWNERDEAD  this is a child of fork(), and the function runs in the parent
//   -ENOMEM     out of memory
//   -EINVAL     `function` is NULL
//   -EPERM      not called from a task; this is also logged
int mj_offload(mj_offload_fn function,
               void *argument,
               mj_abandon_fn abandon,
               uint64_t timeout_ns);

// mj_offload() for a class of functions. Each class has threads of its own, at most as many as
// mj_offload_set_limit() says, so that functions of one class do not hold up those of another: give those that
// wait for a disk or a server MJ_OFFLOAD_FILE. A function that waits for another one of its class needs a
// limit that has room for both. May suspend.
//
// Returns 0: the function has run, and the argument is the caller's. Errors:
//   -EINVAL  `function` is NULL, or there is no such class
//   -ETIMEDOUT, -ECANCELED, -EOWNERDEAD, -ENOMEM, -EPERM  as mj_offload(), and the argument goes the same way
int mj_offload_in(mj_offload_class class_,
                  mj_offload_fn function,
                  void *argument,
                  mj_abandon_fn abandon,
                  uint64_t timeout_ns);

// Whether the call of mj_offload() that has this function run does not wait for what it does any more: its
// task was canceled, its time is over, or its scheduler destroyed. To be asked by the function, so that it can
// end early. Callable from any thread. Does not suspend.
//
// Returns true then; false while it is waited for, and outside such a function.
bool mj_offload_canceled(void);

// Sets how many threads a class of functions may have, for the whole process. At first these are as many as
// there are processors for MJ_OFFLOAD_CPU (but two at the least), 64 for MJ_OFFLOAD_FILE, 32 for
// MJ_OFFLOAD_DNS. Those that are too many end once they have nothing to run. Callable from any thread. Does
// not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `threads` is 0, or there is no such class
int mj_offload_set_limit(mj_offload_class class_,
                         size_t threads);

// What a class of functions does at the moment. See mj_offload_get_counts().
typedef struct mj_offload_counts {
  // Threads.
  uint64_t threads;
  // Those of them that have nothing to do.
  uint64_t idle;
  // Functions that wait for a thread.
  uint64_t queued;
  // Functions that run on threads of the class.
  uint64_t running;
  // Functions that were given to the loops of their schedulers since the process began, because there was
  // no thread to be had.
  uint64_t ran_in_loop;
} mj_offload_counts;

// Reads what a class of functions does at the moment, in the whole process. `bytes` is
// sizeof(mj_offload_counts): what the library does not know is 0. Callable from any thread. Does not
// suspend.
//
// Returns 0. Errors, with which `counts` is left alone:
//   -EINVAL  `counts` is NULL, or there is no such class
int mj_offload_get_counts(mj_offload_class class_,
                          struct mj_offload_counts *counts,
                          size_t bytes);

// ---- File descriptors ---------------------------------------------------------------------------

// Suspends the running task until a descriptor is readable: data, a connection to accept, end of
// file, or an error for the next read() to report. A regular file is always readable. Several
// tasks may wait for one descriptor; all are woken, so each but the first may find nothing left.
//
// Give the descriptor O_NONBLOCK unless it is a regular file: a read(), write() or accept() that
// blocks would block the thread, and with it all tasks; on EAGAIN, wait again.
//
// Ends early when the task is woken, canceled or enqueued, or its deadline passes. A descriptor
// that cannot be waited for is an ERROR line, and the call then yields and returns: the next read()
// fails. Returns at once when the task is marked as ended. In a canceled task it only yields.
// mj_task_wait_fd() tells these apart.
void mj_task_wait_readable(int fd);

// Suspends the running task until one of the `events` of a descriptor happens, for at most
// `timeout_ns`; with 0 only until the other tasks have had their turn. Events are bits of poll(2):
// POLLIN, POLLOUT, POLLPRI, POLLRDHUP and the like, from <poll.h>. Any number of tasks may wait
// for one descriptor. A regular file is always readable and writable, and has no other events.
// Give descriptors O_NONBLOCK unless they are regular files: a read(), write() or accept() that
// blocks would block the thread, and with it all tasks; on EAGAIN, wait again.
//
// Returns the events that happened, with POLLERR and POLLHUP even if not asked for. Errors:
//   -ETIMEDOUT  none of the events happened in time
//   -ECANCELED  the task is marked as ended, or is canceled and no event has happened, or has been
//               told of events 64 times since
//   -EBADF      the descriptor is not open, was closed with mj_fd_close(), or was closed otherwise
//               and its number is another file's by now
//   -EINVAL     `events` has other bits, or the descriptor is one of the scheduler's own two
//   -ENOSPC     the user's epoll sets are full (fs.epoll.max_user_watches in epoll(7))
//   -EINTR, -ENOMEM, -EPERM  as mj_sleep_ns()
// A descriptor that cannot be waited for is also an ERROR line.
int mj_task_wait_fd(int fd, short events, uint64_t timeout_ns);

// Closes a descriptor as close(2) does, and ends the waits for it with -EBADF: the waits of the
// scheduler that runs on this thread, so outside a run it is close(2) alone: mj_scheduler_close_fd()
// closes between runs, and another thread has an mj_post() close it. For descriptors that other
// tasks may be waiting for: a plain close() leaves those waiting. In a child of fork() it
// concerns the child alone. Callable from any thread. Does not suspend, but blocks the thread where
// close(2) does, as for a socket with SO_LINGER and a time.
//
// Returns 0. Errors:
//   -EBUSY  it is one of the scheduler's own two descriptors, and stays open (also an ERROR line)
//   and as close(2)
int mj_fd_close(int fd);

// mj_fd_close() for the tasks of a scheduler, whether or not it runs: closes a descriptor, and ends
// the waits of its tasks for it with -EBADF. Does not suspend.
//
// Returns 0. Errors:
//   -EBUSY   it is one of the scheduler's own two descriptors, and stays open (also an ERROR line)
//   -EINVAL  `scheduler` is NULL
//   -EPERM   the scheduler is running on another thread
//   and as close(2)
int mj_scheduler_close_fd(struct mj_scheduler *scheduler, int fd);

// ---- Reading and writing ------------------------------------------------------------------------

// Of <sys/uio.h>. This header leaves that, <sys/socket.h> and <poll.h> to those who use them, as they
// declare names such as send(). An `unsigned int` below is a socklen_t, an `unsigned long` an nfds_t.
struct iovec;
// Of <sys/socket.h>.
struct msghdr;
// Of <sys/socket.h>.
struct sockaddr;
// Of <poll.h>.
struct pollfd;

// Reads what is there, at most `bytes`, from any descriptor, whether it blocks or not; waits for at
// most `timeout_ns` while there is nothing. The descriptor's flags stay as they are. May suspend.
//
// What is on a disk, and not in memory, is read by a thread of the library, while other tasks run. It has a
// second to begin, though the limit is shorter; once it has begun, the call ends when it has ended. A file of
// another kind that cannot be read without blocking, such as a terminal, is asked by poll(2) first.
//
// Returns how many bytes, or 0 at the end. Errors, with which nothing was read:
//   -ETIMEDOUT  there was nothing in time
//   -ECANCELED  the task is canceled, and there is nothing to read, or it was given something 64
//               times since; or it is marked as ended, and would have to wait
//   -EBADF      not open, or closed with mj_fd_close() meanwhile
//   -EBUSY      another scheduler has the descriptor, which the library owns, see mj_fd_adopt()
//   -EINVAL     `buffer` is NULL with a size, or `bytes` is more than SSIZE_MAX
//   -EOWNERDEAD  this is a child of fork(), and the thread that reads from the disk is the parent's
//   -ENOMEM, -EPERM  as mj_sleep_ns()
//   and as read(2)
//
// `buffer` has room for `bytes`, and stays there during the call. A file on a disk is closed as mj_pread() says.
ssize_t mj_read(int fd,
                void *buffer,
                size_t bytes,
                uint64_t timeout_ns);

// Reads `bytes`, fewer only at the end, for at most `timeout_ns` in all. May suspend.
//
// Returns how many bytes. Errors, with which `*done` is how many came before:
//   -ETIMEDOUT  they did not all come in time
//   and as mj_read()
//
// `done` may be NULL, and is always set.
ssize_t mj_read_exact(int fd, void *buffer, size_t bytes, uint64_t timeout_ns, size_t *done);

// Writes all `bytes`, to any descriptor, whether it blocks or not, for at most `timeout_ns` in all. The
// descriptor's flags stay as they are, and no SIGPIPE is raised. May suspend.
//
// Returns `bytes`. Errors, with which a part may have been written, see mj_write_all():
//   -ETIMEDOUT  there was no room for all of it in time
//   -EPIPE      nobody reads any more
//   -ECANCELED, -EBADF, -EBUSY, -EINVAL, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_read()
//   and as write(2)
//
// What would wait for a disk is written by a thread of the library. What that has begun when the task is
// canceled, or its time is over, is written before the call returns, and counted.
//
// An eventfd takes numbers, and has room as soon as it has room for 1: give one that may be nearly full
// O_NONBLOCK, since a larger number would block the thread.
//
// `buffer` holds `bytes`, and stays there during the call.
ssize_t mj_write(int fd,
                 const void *buffer,
                 size_t bytes,
                 uint64_t timeout_ns);

// mj_write() that tells how much it has written. May suspend.
//
// Returns 0. Errors, with which `*done` is how much was written before:
//   -ETIMEDOUT  there was no room for all of it in time
//   and as mj_write()
//
// `done` may be NULL, and is always set.
int mj_write_all(int fd, const void *buffer, size_t bytes, uint64_t timeout_ns, size_t *done);

// mj_read() into several buffers, as readv(2). May suspend.
//
// Returns how many bytes, or 0 at the end. Errors:
//   -EINVAL  as mj_read() for each buffer and for all together, or more than 1024 buffers
//   and as mj_read()
ssize_t mj_readv(int fd, const struct iovec *buffers, int buffer_count, uint64_t timeout_ns);

// mj_write() of several buffers, as writev(2). May suspend.
//
// Returns how many bytes they hold. Errors:
//   -EINVAL  as mj_readv()
//   and as mj_write()
ssize_t mj_writev(int fd, const struct iovec *buffers, int buffer_count, uint64_t timeout_ns);

// recvfrom(2), waiting for at most `timeout_ns`. `flags` are MSG_PEEK and the like; MSG_DONTWAIT has no
// effect. May suspend.
//
// Returns how many bytes. Errors:
//   -ETIMEDOUT  nothing came in time
//   and as mj_read(), and as recvfrom(2)
ssize_t mj_recvfrom(int fd,
                    void *buffer,
                    size_t bytes,
                    int flags,
                    struct sockaddr *address,
                    unsigned int *length,
                    uint64_t timeout_ns);

// sendto(2), waiting for room for at most `timeout_ns`, without SIGPIPE. Of a stream a part may be sent.
// May suspend.
//
// Returns how many bytes. Errors:
//   -ETIMEDOUT  there was no room in time
//   and as mj_write(), and as sendto(2)
ssize_t mj_sendto(int fd,
                  const void *buffer,
                  size_t bytes,
                  int flags,
                  const struct sockaddr *address,
                  unsigned int length,
                  uint64_t timeout_ns);

// recvmsg(2), waiting for at most `timeout_ns`. May suspend.
//
// Returns how many bytes. Errors:
//   -EINVAL  `message` is NULL
//   and as mj_read(), and as recvmsg(2)
ssize_t mj_recvmsg(int fd, struct msghdr *message, int flags, uint64_t timeout_ns);

// sendmsg(2), waiting for room for at most `timeout_ns`, without SIGPIPE. Of a stream a part may be
// sent. May suspend.
//
// Returns how many bytes. Errors:
//   -EINVAL  `message` is NULL
//   and as mj_write(), and as sendmsg(2)
ssize_t mj_sendmsg(int fd, const struct msghdr *message, int flags, uint64_t timeout_ns);

// sendfile(2) of all `bytes`, fewer only at the end of the file, for at most `timeout_ns` in all. To
// a descriptor that blocks it is copied, by way of memory that is lost if the scheduler is destroyed
// meanwhile. May suspend.
//
// Returns how many bytes; those that were sent before an error, if there were any, which the next call
// tells. Errors, with which nothing was sent:
//   -ETIMEDOUT  there was no room in time
//   and as mj_write(), and as sendfile(2)
//
// `offset` is NULL, or where to begin in the file, and is then where the call has ended.
ssize_t mj_sendfile(int fd,
                    int file,
                    off_t *offset,
                    size_t bytes,
                    uint64_t timeout_ns);

// poll(2), but that it suspends the task, for at most `timeout_ns`. Entries with a negative
// descriptor are passed over; one that mj_fd_close() closes meanwhile is ready, with POLLNVAL. Takes
// memory for more than 8 entries, which is lost if the scheduler is destroyed meanwhile, and time in
// proportion to `fd_count`. May suspend.
//
// Returns how many entries are ready, more than 0: those whose `revents` are not 0. Errors, with which
// all are 0:
//   -ETIMEDOUT  none was ready in time
//   -EINVAL     `fds` is NULL with a count, or that is more than INT_MAX
//   -EBUSY      one is the scheduler's own
//   -ENOSPC     the user's epoll sets are full, as for mj_task_wait_fd()
//   -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
int mj_poll(struct pollfd *fds,
            unsigned long fd_count,
            uint64_t timeout_ns);

// ---- Connections, and descriptors that the library owns -----------------------------------------

// For mj_listen(): several sockets may listen at the address, and the kernel shares the connections among
// them.
#define MJ_LISTEN_REUSEPORT 1

// For mj_listen() at an IPv6 address: connections from IPv4 are not accepted.
#define MJ_LISTEN_V6ONLY 2

// For mj_listen(): a socket that this process was given by who has started it, and that listens at the address,
// is taken.
#define MJ_LISTEN_INHERITED 4

// Makes a socket that listens, also where one has just listened before (SO_REUSEADDR). `address` is
// numeric, such as "127.0.0.1", "::", or NULL or empty for all addresses; `service` is a port's number, 0 for one
// that the kernel chooses. Or `address` is "unix:/path", and `service` NULL. In a task `address` may also be
// a name: it listens at the first of its addresses that works. Connections from IPv4 are accepted at
// "::" too. A `backlog` of 0 or less is 4096. `flags` are 0 or MJ_LISTEN_REUSEPORT, MJ_LISTEN_V6ONLY,
// MJ_LISTEN_INHERITED. May suspend in a task while a name is looked up; does not suspend else.
//
// With MJ_LISTEN_INHERITED, sockets that the process was given are looked at first, in systemd's way: LISTEN_FDS in
// the environment is how many there are, from descriptor 3 on, and LISTEN_PID, if it is there, is this process's
// number. One that listens at this very address is taken, with the backlog and options that it has; it is set not
// to block and to be closed on exec. Each is taken once: of several at one address, one by each call. If there is
// none, the call listens anew. What is not taken stays open, and keeps connections that nobody accepts:
// mj_close_inherited().
//
// Returns a descriptor that does not block and is closed on exec, which the library owns: close it by
// mj_fd_close(). Errors:
//   -EINVAL      `service` is not numeric or not there; an unknown flag, or one that the address cannot
//                have; a path that is empty or too long
//   -EPERM       a name, outside a task, which is also logged: resolve it before, by getaddrinfo(3), or call
//                this in a task
//   -EADDRINUSE  somebody listens there, or the path exists
//   -ENOENT, -EAGAIN, -EREMOTEIO  as mj_dial(), of a name
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EOWNERDEAD  as mj_getaddrinfo(), of a name: there is no limit but
//                the task's deadline
//   and as socket(2), bind(2), listen(2)
int mj_listen(const char *address,
              const char *service,
              int backlog,
              unsigned int flags);

// Closes the listening sockets that the process was given and that no mj_listen() with MJ_LISTEN_INHERITED has
// taken: call it once all are taken. Who connects to one of these else waits for ever, as in a set of
// MJ_LISTEN_REUSEPORT that was larger. What the process was given besides is left alone. Callable from any thread.
// Does not suspend.
//
// Returns how many were closed.
int mj_close_inherited(void);

// Accepts a connection, waiting for at most `timeout_ns`. Where the process has no descriptor or no
// memory for one, it writes an ERROR line and tries again every 100 ms. May suspend.
//
// Returns a descriptor that does not block and is closed on exec, which the library owns: close it by
// mj_fd_close(). Errors:
//   -ETIMEDOUT  none came in time
//   -ECANCELED, -EBADF, -EBUSY, -ENOMEM, -EPERM  as mj_read()
//   and as accept(2), but for those of a single connection
//
// `address` and `length` are as for accept(2), and may be NULL. If another process accepts from
// the same listener, give it O_NONBLOCK: else this call may block the thread.
int mj_accept(int listener,
              struct sockaddr *address,
              unsigned int *length,
              uint64_t timeout_ns);

// Connects a socket, waiting for at most `timeout_ns`. One that blocks is set not to for the length of a
// system call. After an attempt that has failed, another call begins anew. May suspend.
//
// Returns 0; the library owns the descriptor then: close it by mj_fd_close(). Errors, with which it is
// still the caller's:
//   -ETIMEDOUT  not in time: the attempt goes on, and another call waits for its end
//   -EINVAL     `address` is NULL
//   -ECONNABORTED  the attempt has failed, and another task was told why; or this is a child of fork(), whose
//                  parent is told
//   -ECANCELED, -EBADF, -EBUSY, -ENOMEM, -EPERM  as mj_read()
//   and as connect(2)
int mj_connect(int fd,
               const struct sockaddr *address,
               unsigned int length,
               uint64_t timeout_ns);

// Hands a descriptor over to the library, which then watches it with one registration, and not anew
// for each wait. It must be closed by mj_fd_close(). Those that mj_accept(), mj_connect() and
// mj_listen() return are the library's already, and so is a stream's: then nothing changes. Callable from
// any thread. Does not suspend.
//
// The scheduler whose task waits for it first has it until it is closed, released or the scheduler
// destroyed, and calls by others, and outside that scheduler's run, are refused, but for mj_fd_close():
// that closes it, and returns 0, but tells those who wait nothing. Before that it may be handed to any
// thread.
//
// An owned descriptor that is closed by close(2) all the same costs a delay: a wait for the file that
// gets its number next may end up to 10 ms late, and if it waits long among many others, later. To
// another scheduler that number is busy until it is closed by mj_fd_close().
//
// Returns 0. Errors:
//   -EBADF   it is not open
//   -EBUSY   another scheduler has it, or one that does not run on this thread
//   -EINVAL  it is one of the scheduler's own two
//   -ENOMEM  no memory; it stays the program's
int mj_fd_adopt(int fd);

// Takes a descriptor back from the library: it stays open, and is closed by close(2). Waits for it go on.
// Callable from any thread. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  the library does not own it
//   -EBUSY   another scheduler has it, or one that does not run on this thread
int mj_fd_release(int fd);

// ---- Names and files ----------------------------------------------------------------------------

// Of <netdb.h>.
struct addrinfo;
// Of <sys/stat.h>.
struct stat;

// Connects to a service of a host, within `timeout_ns` in all. `host` is a name or a numeric address, and
// `service` a port's number or the name of a service; or `host` is "unix:/path", and `service` NULL.
// A name is looked up as by mj_getaddrinfo(). Up to 32 of its addresses are tried, IPv6 and IPv4 in turn,
// the next one when one has failed, or has not answered for 250 ms (RFC 8305): the first to answer wins, and
// the other attempts are closed. May suspend.
//
// Returns a descriptor that does not block and is closed on exec, which the library owns: close it by
// mj_fd_close(). Errors, with which nothing is left open; those of the look-up are none of connect(2)'s:
//   -ENOENT      no such host, or it has no address; or no such path
//   -EAGAIN      the name servers do not answer now
//   -EREMOTEIO   the name servers have failed for good
//   -EPROTONOSUPPORT  no such service
//   -ETIMEDOUT   not in time
//   -EINVAL      `host` or `service` is NULL or empty, a port is over 65535, or there is a service for a
//                path; a path that is empty or too long
//   -ECONNABORTED  an attempt has failed, and this is a child of fork(), whose parent is told why
//   -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_getaddrinfo()
//   and as socket(2) and connect(2): of several addresses, the error that says most. An answer of another
//   machine says more than a missing way to it.
int mj_dial(const char *host,
            const char *service,
            uint64_t timeout_ns);

// getaddrinfo(3) that suspends the task, for at most `timeout_ns`: a worker of the pool looks the name up, as
// the system is set to (/etc/nsswitch.conf). What is numeric needs no worker. `hints` may be NULL. May
// suspend.
//
// Returns 0, with the addresses in `*list`, which freeaddrinfo(3) releases; or a positive number, with which
// gai_strerror(3) of its negative says why the name was not found: `-EAI_NONAME` is returned for EAI_NONAME.
// Errors, with which `*list` is left alone too:
//   -ETIMEDOUT  not in time
//   -ECANCELED  the task is canceled, or marked as ended
//   -ENOMEM     out of memory, or EAI_MEMORY
//   -EINVAL     `list` is NULL
//   -EPERM      not in a task
//   -EOWNERDEAD  this is a child of fork(), and the look-up is the parent's
//   and what errno is with EAI_SYSTEM
//
// A look-up cannot be stopped: after -ETIMEDOUT and -ECANCELED it keeps its worker until it ends, but
// nothing of the caller's.
int mj_getaddrinfo(const char *host,
                   const char *service,
                   const struct addrinfo *hints,
                   struct addrinfo **list,
                   uint64_t timeout_ns);

// getnameinfo(3) that suspends the task, for at most `timeout_ns`, as mj_getaddrinfo(). With NI_NUMERICHOST
// and NI_NUMERICSERV in `flags` it needs no worker. A buffer may be NULL if its size is 0. May suspend.
//
// Returns 0, or a positive number as mj_getaddrinfo(). Errors:
//   -EINVAL  `address` is NULL, or no address is so long; a buffer is NULL with a size
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_getaddrinfo()
//   and what errno is with EAI_SYSTEM
int mj_getnameinfo(const struct sockaddr *address,
                   unsigned int length,
                   char *host,
                   unsigned int host_bytes,
                   char *service,
                   unsigned int service_bytes,
                   int flags,
                   uint64_t timeout_ns);

// open(2) by a worker of the pool, for at most `timeout_ns`, as all calls on paths: the disk may be slow, and
// the name be another machine's. The descriptor is closed on exec. `mode` counts with O_CREAT. May suspend.
//
// Returns a descriptor, which is the program's: close it by mj_fd_close(). Errors:
//   -ETIMEDOUT  not in time
//   -ECANCELED  the task is canceled, or marked as ended
//   -ENOMEM     out of memory
//   -EINVAL     a path is NULL
//   -EPERM      not in a task, or as open(2)
//   -EOWNERDEAD  this is a child of fork(), and the worker is the parent's
//   and as open(2)
//
// After -ETIMEDOUT and -ECANCELED the worker may still go on, or even begin: a file may be created or emptied
// later, and is closed then. A FIFO keeps its worker until somebody opens its other end; with O_NONBLOCK it
// does not.
int mj_open(const char *path,
            int flags,
            mode_t mode,
            uint64_t timeout_ns);

// Reads `bytes` from a place of a file, fewer only at its end, and leaves the file's own place alone. What is
// in memory is read at once, and the rest by a worker of the pool. May suspend.
//
// Returns how many bytes. Errors, with which any part of `buffer` may have been written to:
//   -ETIMEDOUT, -ECANCELED  as mj_open(), but only before a worker has begun: a call whose worker has begun
//                           ends when that has ended
//   -EBADF      not open, or closed with mj_fd_close() before a worker has begun
//   -EINVAL     `buffer` is NULL with a size, `offset` is negative, or they reach beyond what there is
//   -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
//   and as pread(2)
//
// With a limit of 0 it reads what is in memory, and is -ETIMEDOUT if that is not all. Close the descriptor after
// the call; if another task has to do so earlier, then by mj_fd_close(). A worker that begins later leaves the
// number alone then, which may be another file's. It looks just before it reads: a close between the two is too
// late for it to see.
ssize_t mj_pread(int fd,
                 void *buffer,
                 size_t bytes,
                 off_t offset,
                 uint64_t timeout_ns);

// Writes all `bytes` to a place of a file, and leaves the file's own place alone; as mj_pread(). May suspend.
//
// Returns `bytes`. Errors, with which a part may have been written:
//   -ETIMEDOUT, -ECANCELED, -EBADF, -EINVAL, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_pread()
//   and as pwrite(2)
ssize_t mj_pwrite(int fd,
                  const void *buffer,
                  size_t bytes,
                  off_t offset,
                  uint64_t timeout_ns);

// fsync(2) by a worker of the pool. May suspend.
//
// Returns 0: what was written before is on the disk. Errors:
//   -EBADF  as mj_pread(), which says how to close the descriptor
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
//   and as fsync(2)
int mj_fsync(int fd, uint64_t timeout_ns);

// stat(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
//
// Returns 0. Errors, with which `file_status` is left alone:
//   -EINVAL  `path` or `file_status` is NULL
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
//   and as stat(2)
int mj_stat(const char *path, struct stat *file_status, uint64_t timeout_ns);

// lstat(2) by a worker of the pool, for at most `timeout_ns`: mj_stat() of a link itself. May suspend.
//
// Returns 0. Errors, with which `file_status` is left alone:
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_stat()
//   and as lstat(2)
int mj_lstat(const char *path,
             struct stat *file_status,
             uint64_t timeout_ns);

// unlink(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
//
// Returns 0. Errors, as for all calls that change a directory: after -ETIMEDOUT and -ECANCELED it may still
// be done:
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_open()
//   and as unlink(2)
int mj_unlink(const char *path,
              uint64_t timeout_ns);

// rename(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
//
// Returns 0. Errors:
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_unlink()
//   and as rename(2)
int mj_rename(const char *from, const char *to, uint64_t timeout_ns);

// mkdir(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
//
// Returns 0. Errors:
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_unlink()
//   and as mkdir(2)
int mj_mkdir(const char *path, mode_t mode, uint64_t timeout_ns);

// rmdir(2) by a worker of the pool, for at most `timeout_ns`. May suspend.
//
// Returns 0. Errors:
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EINVAL, -EPERM, -EOWNERDEAD  as mj_unlink()
//   and as rmdir(2)
int mj_rmdir(const char *path, uint64_t timeout_ns);

// Lists the names in a directory, at most `most_names`, without "." and "..", in no order, and what each of
// them is, by a worker of the pool, for at most `timeout_ns`. May suspend.
//
// Returns 0, with an array of strings in `*names`, NULL behind the last one, and in `*types` an array of
// DT_REG, DT_DIR, DT_LNK and the like, of <dirent.h>. One free(3) of `*names` releases both arrays, and the
// strings. Errors, with which `*names`, `*types` and `*name_count` are left alone:
//   -EFBIG   there are more names
//   -EINVAL  `path` or `names` is NULL
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
//   and as opendir(3)
//
// `types` and `name_count` may be NULL. A type is that of what has the name itself, as by mj_lstat(), which is
// asked where the file system does not tell the type. DT_UNKNOWN is what that cannot tell either, since it was
// removed meanwhile, for example.
int mj_list_directory(const char *path,
                      size_t most_names,
                      char ***names,
                      unsigned char **types,
                      size_t *name_count,
                      uint64_t timeout_ns);

// Reads a whole file, of at most `most_bytes`, by a worker of the pool, for at most `timeout_ns` in all. What is
// not on a disk, such as a FIFO or a terminal, is read by the task, to its end, with no worker waiting. May
// suspend.
//
// Returns 0, with what it holds in `*data`, which free(3) releases, and a NUL behind it that does not count.
// Errors, with which `*data` and `*bytes` are left alone:
//   -EFBIG   it has more bytes
//   -EISDIR  it is a directory
//   -EINVAL  `path` or `data` is NULL
//   -ETIMEDOUT, -ECANCELED, -ENOMEM, -EPERM, -EOWNERDEAD  as mj_open()
//   and as open(2) and read(2)
//
// `bytes` may be NULL.
int mj_file_read_all(const char *path,
                     size_t most_bytes,
                     char **data,
                     size_t *bytes,
                     uint64_t timeout_ns);

// ---- Streams ------------------------------------------------------------------------------------

// A stream: a descriptor that it owns, with a buffer for what has been read and one for what is to be
// written. See mj_stream_create().
typedef struct mj_stream mj_stream;

// Makes a stream of a descriptor, which it owns from then on: a socket, a pipe, a terminal, whether it
// blocks or not. `read_bytes` is how much it reads ahead, and so how long a line may be, see
// mj_stream_read_line(); `write_bytes` is how much it collects before it writes. 0 stands for 8192. Callable
// from any thread. Does not suspend.
//
// One task may read while another one writes. The stream is the scheduler's whose task uses it first; until
// then it may be handed to any thread. Calls that need only its buffers work outside a task too; where it
// would have to read or write the descriptor, they return -EPERM there.
//
// Returns the stream, to be released with mj_stream_close() or mj_stream_destroy(), or NULL. Errors, in
// errno, with which the descriptor stays the caller's:
//   EBADF   it is not open
//   EBUSY   another scheduler has it, see mj_fd_adopt()
//   EINVAL  a size is more than SSIZE_MAX
//   ENOMEM  no memory. What the stream needs it takes now, and nothing later
struct mj_stream *mj_stream_create(int fd,
                                   size_t read_bytes,
                                   size_t write_bytes);

// Reads what is there, at most `bytes`, and waits for at most `timeout_ns` while there is nothing. What
// the stream has read ahead comes first. May suspend.
//
// Returns how many bytes, or 0 at the end. Errors, with which nothing is lost:
//   -EBUSY   another task reads from the stream, or as mj_read()
//   -EBADF   the descriptor has been closed or released by others
//   -EINVAL  `stream` is NULL, `buffer` is NULL with a size, or `bytes` is more than SSIZE_MAX
//   -EPERM   outside a task, and nothing has been read ahead; another scheduler's stream, or its
//            scheduler runs on another thread
//   -ETIMEDOUT, -ECANCELED, -ENOMEM  as mj_read(), and as read(2)
//
// `buffer` has room for `bytes`, and stays there during the call.
ssize_t mj_stream_read(struct mj_stream *stream,
                       void *buffer,
                       size_t bytes,
                       uint64_t timeout_ns);

// Reads `bytes`, fewer only at the end, for at most `timeout_ns` in all. May suspend.
//
// Returns how many bytes. Errors, with which `*done` is how many came before:
//   -ETIMEDOUT  they did not all come in time
//   and as mj_stream_read()
//
// `done` may be NULL, and is always set.
ssize_t mj_stream_read_exact(struct mj_stream *stream,
                             void *buffer,
                             size_t bytes,
                             uint64_t timeout_ns,
                             size_t *done);

// Reads a line, for at most `timeout_ns` in all: what there is up to a newline, and that. `*line` is where it
// is in the stream's buffer, with a NUL behind it, until the next call that reads from the stream or releases
// it; it may be written to. A line has at most `read_bytes` bytes, of which the newline is one. The last line
// of a stream may be without one, and is then shorter than that. May suspend.
//
// Returns how many bytes the line has, its newline included, or 0 at the end of the stream. Errors, with which
// `*line` is NULL, and what has come stays for the next call:
//   -EMSGSIZE  there is no newline among the next `read_bytes` bytes, which are there to be read in other ways
//   -EINVAL    `stream` or `line` is NULL
//   and as mj_stream_read()
ssize_t mj_stream_read_line(struct mj_stream *stream,
                            char **line,
                            uint64_t timeout_ns);

// mj_stream_read_line() up to another byte than a newline, such as '\0' or ';'. May suspend.
//
// Returns how many bytes the text has, `delimiter` included, or 0 at the end of the stream. Errors:
//   -EINVAL  `delimiter` is no byte
//   and as mj_stream_read_line()
ssize_t mj_stream_read_until(struct mj_stream *stream,
                             int delimiter,
                             char **text,
                             uint64_t timeout_ns);

// Shows what has been read ahead, and reads until that is at least `at_least` bytes, for at most
// `timeout_ns` in all. `*data` is where it is in the stream's buffer, as for mj_stream_read_line(), but
// without a NUL. It stays to be read. With an `at_least` of 0 it reads nothing from the descriptor, and says
// how much has been read ahead: what mj_select(), mj_poll() and mj_task_wait_fd() do not see. May suspend.
//
// Returns how many bytes there are, fewer than `at_least` only at the end of the stream. Errors, with which
// `*data` is NULL, and what has come stays:
//   -EMSGSIZE  `at_least` is more than the stream's `read_bytes`
//   -EINVAL    `stream` or `data` is NULL
//   and as mj_stream_read()
ssize_t mj_stream_peek(struct mj_stream *stream,
                       size_t at_least,
                       char **data,
                       uint64_t timeout_ns);

// Skips bytes that have been read ahead, as after mj_stream_peek(). Does not suspend.
//
// Returns 0. Errors, with which none is skipped:
//   -EINVAL  there are not so many, or `stream` is NULL
//   -EBUSY   another task reads from the stream
//   -EPERM   as mj_chan_destroy()
int mj_stream_skip(struct mj_stream *stream, size_t bytes);

// Writes `bytes`: collects them if there is room, and else writes them with what has been collected before,
// by one system call if the descriptor takes it all, for at most `timeout_ns`. No SIGPIPE is raised. May
// suspend.
//
// Returns 0. Errors, with which `*done` of the bytes are written or collected, and the others are not:
//   -ETIMEDOUT  there was no room for all of it in time
//   -EPIPE      nobody reads any more
//   -EBUSY      another task writes to the stream, or as mj_read()
//   -EPERM      outside a task, and there is no room to collect it; or as mj_stream_read()
//   -ECANCELED, -EBADF, -EINVAL, -ENOMEM  as mj_stream_read(), and as write(2)
//
// What had been collected before and is not written stays for the next call that writes. `done` may be
// NULL, and is always set.
int mj_stream_write(struct mj_stream *stream,
                    const void *data,
                    size_t bytes,
                    uint64_t timeout_ns,
                    size_t *done);

// Writes what has been collected, for at most `timeout_ns` in all. May suspend.
//
// Returns 0. Errors, with which what is not written stays:
//   -ETIMEDOUT  there was no room for all of it in time
//   and as mj_stream_write()
int mj_stream_flush(struct mj_stream *stream, uint64_t timeout_ns);

// shutdown(2) of a socket: `how` is SHUT_RD, SHUT_WR or SHUT_RDWR. For the latter two what has been
// collected is written first, for at most `timeout_ns`. A task that waits to read gets the end. What has
// been read ahead stays. May suspend.
//
// Returns 0. Errors, with which nothing is shut down:
//   -EINVAL    `stream` is NULL, or another `how`
//   -ENOTSOCK  it is no socket
//   and as mj_stream_flush(), and as shutdown(2)
int mj_stream_shutdown(struct mj_stream *stream,
                       int how,
                       uint64_t timeout_ns);

// mj_stream_flush() and mj_stream_destroy(): as fclose(3), the stream is gone even if what has been
// collected cannot be written in time. To keep it then, call the two by themselves. May suspend.
//
// Returns 0. Errors, with which the stream stays:
//   -EBUSY   another task uses it, or another scheduler has the descriptor
//   -EINVAL  `stream` is NULL
//   -EPERM   outside a task, and something has been collected; or as mj_stream_read()
//
// Other errors, with which it is gone, and what was not written is lost: as mj_stream_flush(), and as
// close(2).
int mj_stream_close(struct mj_stream *stream,
                    uint64_t timeout_ns);

// Closes the descriptor by mj_fd_close(), and releases the stream, with what it has read ahead or collected.
// Does not suspend.
//
// To keep the descriptor, release it first: `mj_fd_release(mj_stream_fd(stream))`. Neither that one, nor one
// that others have closed by mj_fd_close(), is closed here. After a plain close(2) the number may be another
// file's, and is closed.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY   another task uses it
//   -EINVAL  `stream` is NULL
//   -EPERM   as mj_chan_destroy()
//
// Other errors, with which it is gone: as close(2).
int mj_stream_destroy(struct mj_stream *stream);

// The descriptor of a stream, which stays the stream's: to set its options, or to wait for it, as in
// mj_select(). Callable from any thread. Does not suspend.
//
// The descriptor is not readable for the sake of what the stream has read ahead. So before each wait for it
// take what is there: `mj_stream_peek(stream, 0, &data, 0)` says how much that is. Or let a task of its own
// read the stream, and send what it gets to a channel, which a select can wait for.
//
// Returns the descriptor. Errors:
//   -EBADF   others have closed or released it
//   -EINVAL  `stream` is NULL
int mj_stream_fd(const struct mj_stream *stream);

// ---- Child processes ----------------------------------------------------------------------------

// A child process. See mj_process_spawn().
typedef struct mj_process mj_process;

// What a child's descriptor 0, 1 or 2 is, if it is not a descriptor of this process.
typedef enum mj_process_descriptor {
  // The one of this process.
  MJ_PROCESS_INHERIT = 0,
  // /dev/null.
  MJ_PROCESS_NULL = -2,
  // The end of a pipe, whose other end mj_process_take_pipe() gives.
  MJ_PROCESS_PIPE = -3,
  // For `error`: what `output` is.
  MJ_PROCESS_OUTPUT = -4,
} mj_process_descriptor;

// How a child is to begin. Set what you need, and leave the rest zero.
typedef struct mj_process_options {
  // Its environment, a list of "NAME=value" that ends with NULL; NULL for this process's.
  const char *const *environment;
  // The directory that it begins in; NULL for this process's. A program with a relative name is looked for
  // from there.
  const char *directory;
  // What its descriptor 0 is: a descriptor of this process, which stays open here, or one of
  // mj_process_descriptor.
  int input;
  // What its descriptor 1 is.
  int output;
  // What its descriptor 2 is.
  int error;
  // Whether it leads a group of processes of its own. It gets no signals of the terminal's keys then.
  bool new_group;
  // Zero.
  uint64_t reserved[2];
} mj_process_options;

// Makes a child process, which runs a program. `arguments` ends with NULL; the first one is the program, which
// is looked for in PATH if it has no slash in it. `options` may be NULL: the child has this process's environment,
// directory and first three descriptors. It begins with default actions for all signals, none of them blocked,
// and with no descriptor of this library. What else it inherits is as execve(2) says. Callable from any thread.
// Does not suspend: the thread waits until the child has begun the program.
//
// The child is the scheduler's whose task waits for it first, and until then anybody's. It runs on if its
// scheduler is destroyed: the handle is still there, for mj_process_end() or mj_process_let_go(). While
// handles are there, do not wait for any child by waitpid(-1) and the like, nor ignore SIGCHLD: what waits for
// a child first is told how it has ended, and others are not.
//
// Returns the child's handle, to be released with mj_process_end() or mj_process_let_go(), or NULL. Errors, in
// errno, with which there is no child:
//   ENOENT, EACCES  and others of execve(2) and chdir(2): the program has not begun
//   EAGAIN  as fork(2): as at the limit of processes
//   EBADF   a descriptor that it is to have is not open
//   EMFILE, ENFILE  too many descriptors
//   EINVAL  `arguments` is NULL, or has no first one; an option is not one
//   ENOMEM  out of memory
//
// The lists and texts are good for the call.
struct mj_process *mj_process_spawn(const char *const *arguments,
                                    const struct mj_process_options *options);

// The child's number. It is the system's to give away again once the child has been waited for: to send signals
// there is mj_process_kill(). Does not suspend.
//
// Returns the number. Errors:
//   -EINVAL  `process` is NULL
int mj_process_pid(const struct mj_process *process);

// Takes this process's end of a pipe that the child has as its descriptor 0, 1 or 2, by MJ_PROCESS_PIPE: to be
// written to for 0, to be read from for the others. It is the caller's then, for mj_read() and mj_write(), or for
// mj_stream_create(). Those that are not taken are closed with the handle. A child whose pipe is full waits until
// there is room. Does not suspend.
//
// Returns the descriptor. Errors:
//   -EBADF   there is no such pipe, or it has been taken
//   -EINVAL  `process` is NULL, or `descriptor` is none of the three
int mj_process_take_pipe(struct mj_process *process,
                         int descriptor);

// Waits until the child has ended, for at most `timeout_ns`. Its pipes may still be open then: what it has
// started may have them. Any number of tasks may wait, also after it has ended. May suspend.
//
// Returns 0, and with that `*status` is how it has ended, in the form of waitpid(2). Errors:
//   -ETIMEDOUT  it has not ended in time
//   -ECHILD     others have waited for it, or SIGCHLD is ignored: how it has ended is not known; or this is a
//               child of fork(), and it is the parent's
//   -ECANCELED  the task is canceled, or has called mj_task_exit()
//   -EINTR      the task was woken by mj_task_wake()
//   -ENOMEM     out of memory
//   -EINVAL     `process` is NULL
//   -EPERM      outside a task, and it has not ended; another scheduler's child
//
// `status` may be NULL.
int mj_process_wait(struct mj_process *process,
                    int *status,
                    uint64_t timeout_ns);

// Sends the child a signal, and with `new_group` all processes of its group. 0 sends none, and tells whether it
// could be sent. No other process gets it, though the system may give the child's number away again. Does not
// suspend.
//
// Returns 0. Errors:
//   -ESRCH   it has ended, and has been waited for; with `new_group`, nobody of the group is left
//   -EPERM   as kill(2); another scheduler's child
//   -EINVAL  `process` is NULL, or there is no such signal
int mj_process_kill(struct mj_process *process,
                    int signal);

// Ends the child, and releases its handle: closes its pipes that have not been taken, sends SIGTERM, waits for at
// most `grace_ns`, sends SIGKILL if it has not ended by then, and waits until it has. With `new_group` all
// processes of its group get the signals, and those that are left when the child has ended get SIGKILL. Neither a
// cancellation, nor the task's deadline, nor mj_task_wake() cuts the grace short, so it may be called by a
// canceled task. Tasks that wait for the child are told of its end. Outside a task it blocks the thread, also
// in a function of mj_task_defer() that mj_scheduler_destroy() calls. May suspend.
//
// Returns 0, and with that `*status` is how it has ended, in the form of waitpid(2). Errors, of which all but the
// last three release the handle:
//   -ECHILD  as mj_process_wait()
//   -EBUSY   another task is ending it
//   -EINVAL  `process` is NULL
//   -EPERM   another scheduler's child
//
// `status` may be NULL.
int mj_process_end(struct mj_process *process,
                   uint64_t grace_ns,
                   int *status);

// Releases the handle, and lets the child run on. Its pipes that have not been taken are closed. Once it has
// ended, the library waits for it, when it next makes a child or lets one go (of many, it looks at 64 in turn
// then), so that none stays a zombie for long. NULL is ignored. Does not suspend.
//
// Returns 0. Errors:
//   -EBUSY  another task is ending it
//   -EPERM  its scheduler runs on another thread
int mj_process_let_go(struct mj_process *process);

// Hands listening sockets over to a new process, which is begun as by mj_process_spawn(), and waits for at most
// `timeout_ns` until it says that it is ready, by mj_notify(): then this process can stop accepting, finish what it
// has, and end. It has the sockets as its descriptors from 3 on, so mj_listen() with MJ_LISTEN_INHERITED takes
// them, as what listens is the same socket in both processes: who connects meanwhile is served by one of them, and
// nobody is refused. Usually the program is this one, `arguments` are those of main(), and a signal asks for it:
// docs/restart.md. May suspend.
//
// If it is not ready in time, or ends before, this process goes on as if nothing had been: the new one is ended,
// by SIGTERM, and SIGKILL a second later. So it is when the task is canceled. If the scheduler is destroyed
// meanwhile, the new one runs on.
//
// Its environment is that of `options` with LISTEN_FDS, and MAJJEN_PREDECESSOR, by which mj_notify() knows where
// to say that it is ready. LISTEN_PID is not set, since its number is not known before. A service manager that
// NOTIFY_SOCKET names is told of the reload, of its end, and of the new main process (MAINPID).
//
// Returns 0, and with that `*process` is the new one's handle, as of mj_process_spawn(); NULL for `process` lets it
// go. Errors, with which there is no new process:
//   -ETIMEDOUT  it was not ready in time
//   -ESRCH      it has ended before it was ready
//   -ECHILD     as mj_process_wait()
//   -ECANCELED  the task is canceled, or has called mj_task_exit()
//   -EINVAL     `arguments` is NULL, or has no first one; an option is not one; a listener is no stream socket
//               that listens; there are more than 4,096
//   -EBADF      a listener, or a descriptor that it is to have, is not open
//   -EPERM      not called from a task; this is also logged
//   and as mj_process_spawn()
//
// The sockets stay this process's as well. `process` is told nothing on an error.
int mj_process_hand_over(const char *const *arguments,
                         const struct mj_process_options *options,
                         const int *listeners,
                         size_t count,
                         uint64_t timeout_ns,
                         struct mj_process **process);

// Tells who has started this process how it is, in the way of sd_notify(3): "READY=1" when it serves, "STOPPING=1"
// when it is about to end, "STATUS=text", "WATCHDOG=1", or several of them as lines. It goes to the service manager
// that NOTIFY_SOCKET in the environment names, if there is one, and READY=1 to the process that waits for it in
// mj_process_hand_over(). If the receiver's queue is full the thread waits for at most 100 ms. Callable from any
// thread. Does not suspend.
//
// Returns 1 if it was sent, and 0 if nobody has asked for it. Errors:
//   -EINVAL  `state` is NULL, or NOTIFY_SOCKET names no socket of this machine
//   -EAGAIN  the receiver's queue is full
//   and as socket(2), connect(2), send(2)
int mj_notify(const char *state);

// ---- Channels -----------------------------------------------------------------------------------

// A channel: a queue of elements of one size. See mj_chan_create().
typedef struct mj_chan mj_chan;

// Makes a channel for the tasks of one scheduler: a buffer of `capacity` elements of
// `element_bytes` each, which are copied in and out and need no alignment. With a capacity of 0 it
// is unbuffered: a sender waits until its element has been received. With a size of 0 it carries
// signals without data, and pointers to elements may be NULL. Senders and receivers are served in
// FIFO order. It may outlive the scheduler, and then buffered elements can still be received with
// mj_chan_try_recv(). Does not suspend.
//
// Returns the channel, to be released with mj_chan_destroy(), or NULL. Errors, in errno:
//   EINVAL  `scheduler` is NULL
//   ENOMEM  out of memory
//   EPERM   the scheduler is running on another thread
struct mj_chan *mj_chan_create(struct mj_scheduler *scheduler,
                               size_t element_bytes,
                               size_t capacity);

// Releases a channel and its buffered elements. They are only bytes to the library, so if they own
// anything, receive them first. Does not suspend.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY   a task waits for it: close it, and let that task go on
//   -EINVAL  `chan` is NULL
//   -EPERM   its scheduler is running on another thread, or this thread is running a different
//            scheduler
int mj_chan_destroy(struct mj_chan *chan);

// Copies an element into a channel, waiting for at most `timeout_ns` for room or, if it is
// unbuffered, for a receiver.
//
// May suspend, also if there is room: a task has a budget, which is spent after 64 calls in a turn
// that need not wait, or when the loop is due, every 50 microseconds. Then the call first lets the
// other tasks have their turn, unless the task has locked a mutex.
//
// Returns 0 when the element is sent. Errors (it is not sent then):
//   -EPIPE      the channel is closed, or was closed meanwhile
//   -ETIMEDOUT  there was no room in time
//   -ECANCELED  the task is canceled and would have to wait
//   -EINVAL     `chan` is NULL, or `element` is and elements have a size
//   -EPERM      outside a task, or the channel is another scheduler's
//   -EINTR      mj_task_wake() or mj_scheduler_enqueue() ended the wait
//   -ENOMEM     no memory for the timer
int mj_chan_send(struct mj_chan *chan, const void *element, uint64_t timeout_ns);

// Copies the oldest element out of a channel, waiting for at most `timeout_ns` for one. May
// suspend, as mj_chan_send().
//
// Returns 0 when an element is received. Errors:
//   -EPIPE      the channel is closed and empty, or became so meanwhile
//   -ETIMEDOUT  no element came in time
//   -EINTR, -ECANCELED, -ENOMEM, -EINVAL, -EPERM  as mj_chan_send()
int mj_chan_recv(struct mj_chan *chan, void *element, uint64_t timeout_ns);

// mj_chan_send() without waiting. Works outside a task too, as in main() or a wait function. Does
// not suspend.
//
// Returns 0 when the element is sent. Errors:
//   -EAGAIN  there is no room or, if it is unbuffered, no receiver
//   -EPIPE   the channel is closed
//   -EINVAL  as mj_chan_send()
//   -EPERM   as mj_chan_destroy()
int mj_chan_try_send(struct mj_chan *chan, const void *element);

// mj_chan_recv() without waiting. Works outside a task too. Does not suspend.
//
// Returns 0 when an element is received. Errors:
//   -EAGAIN  there is no element
//   -EPIPE   the channel is closed and empty
//   -EINVAL, -EPERM  as mj_chan_try_send()
int mj_chan_try_recv(struct mj_chan *chan, void *element);

// Closes a channel: from now on nothing can be sent, and once it is empty nothing received. These
// calls give -EPIPE then, also those that wait already. Works outside a task too. Does not
// suspend.
//
// Returns 0. Errors:
//   -EPIPE           it is closed already
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_chan_close(struct mj_chan *chan);

// Returns how many elements are in a channel's buffer, or 0 for NULL. Does not suspend.
size_t mj_chan_length(const struct mj_chan *chan);

// ---- Channels between threads -------------------------------------------------------------------

// A channel between threads. See mj_xchan_create().
typedef struct mj_xchan mj_xchan;

// Makes a channel between threads: a queue with room for `capacity` elements of `element_bytes` each,
// which are copied in and out and need no alignment. Any thread may send and receive, in tasks of any
// scheduler or where no scheduler runs; those who wait suspend the task there, and block the thread
// here. No element is lost or doubled, and those of one sender arrive in their order. A task that
// waits there keeps its run going, even if nothing else could wake it. Callable from any thread. Does
// not suspend.
//
// In a child of fork() nothing hangs that does not wait; but what other threads were doing in the channel
// stays undone, so make a new one there.
//
// Returns the channel with one reference, to be dropped with mj_xchan_release(), or NULL. Errors, in
// errno:
//   EINVAL  `element_bytes` or `capacity` is 0
//   ENOMEM  out of memory
struct mj_xchan *mj_xchan_create(size_t element_bytes,
                                 size_t capacity);

// Adds a reference to a channel, for another thread. Callable from any thread. Does not suspend.
//
// Returns the same channel, to be released once more, or NULL for NULL.
struct mj_xchan *mj_xchan_retain(struct mj_xchan *xchan);

// Drops a reference to a channel; NULL is ignored. Each call needs one until it has returned; the last
// one to be dropped releases the channel, and elements that are left. It does not close it. Callable
// from any thread. Does not suspend.
void mj_xchan_release(struct mj_xchan *xchan);

// Copies an element into a channel, waiting for at most `timeout_ns` for room. In a task it may suspend,
// as mj_chan_send(); on a thread that runs no scheduler it may block. Callable from any thread, not
// from a signal handler.
//
// Returns 0 when the element is sent. Errors (it is not sent then):
//   -EPIPE      the channel is closed, or was closed meanwhile
//   -ETIMEDOUT  there was no room in time
//   -ECANCELED  the task is canceled and would have to wait
//   -EINVAL     `xchan` or `element` is NULL
//   -EPERM      outside a task on a thread that runs a scheduler, as in a wait function
//   -EINTR      mj_task_wake() or mj_scheduler_enqueue() ended the wait
//   -ENOMEM     no memory for the timer, or for the first wait of a scheduler there
int mj_xchan_send(struct mj_xchan *xchan,
                  const void *element,
                  uint64_t timeout_ns);

// Copies the oldest element out of a channel, waiting for at most `timeout_ns` for one. May suspend or
// block, as mj_xchan_send(). Callable from any thread, not from a signal handler.
//
// Returns 0 when an element is received. Errors:
//   -EPIPE      the channel is closed and empty, or became so meanwhile
//   -ETIMEDOUT  no element came in time
//   -EINTR, -ECANCELED, -ENOMEM, -EINVAL, -EPERM  as mj_xchan_send()
int mj_xchan_recv(struct mj_xchan *xchan,
                  void *element,
                  uint64_t timeout_ns);

// mj_xchan_send() without waiting. Callable from any thread, not from a signal handler. Does not
// suspend.
//
// Returns 0 when the element is sent. Errors:
//   -EAGAIN  there is no room, or a thread is in the middle of making some
//   -EPIPE   the channel is closed
//   -EINVAL  as mj_xchan_send()
int mj_xchan_try_send(struct mj_xchan *xchan, const void *element);

// mj_xchan_recv() without waiting. Callable from any thread, not from a signal handler. Does not
// suspend.
//
// Returns 0 when an element is received. Errors:
//   -EAGAIN  there is no element, or a thread is in the middle of sending the oldest
//   -EPIPE   the channel is closed and empty
//   -EINVAL  as mj_xchan_send()
int mj_xchan_try_recv(struct mj_xchan *xchan, void *element);

// Closes a channel: from now on nothing can be sent, and once it is empty nothing received. These calls
// give -EPIPE then, also those that wait already. An element whose send has succeeded is still
// received. Callable from any thread, not from a signal handler. Does not suspend.
//
// Returns 0. Errors:
//   -EPIPE   it is closed already
//   -EINVAL  `xchan` is NULL
int mj_xchan_close(struct mj_xchan *xchan);

// Returns how many elements are in a channel, or were a moment ago; 0 for NULL. Callable from any thread.
// Does not suspend.
size_t mj_xchan_length(const struct mj_xchan *xchan);

// ---- Select -------------------------------------------------------------------------------------

// What a case of mj_select() does.
typedef enum mj_select_op {
  // mj_chan_send().
  MJ_SELECT_SEND = 0,
  // mj_chan_recv().
  MJ_SELECT_RECV = 1,
  // mj_task_wait_fd().
  MJ_SELECT_FD = 2,
  // mj_task_join(), but that a task which has ended before is no error.
  MJ_SELECT_TASK = 3,
  // mj_task_sleep_until_ns().
  MJ_SELECT_DEADLINE = 4,
  // mj_xchan_send().
  MJ_SELECT_XSEND = 5,
  // mj_xchan_recv().
  MJ_SELECT_XRECV = 6,
} mj_select_op;

// One of the things that mj_select() waits for. Set the operation and what it needs, and leave the
// rest zero:
//   {.op = MJ_SELECT_RECV, .chan = chan, .element = &value}
//   {.op = MJ_SELECT_FD, .fd = fd, .events = POLLIN}
//   {.op = MJ_SELECT_TASK, .task = id}
//   {.op = MJ_SELECT_DEADLINE, .deadline_ns = mj_deadline_after(1000000)}
//   {.op = MJ_SELECT_XRECV, .xchan = xchan, .element = &value}
// or, in C++, `mj_select_case c{}; c.chan = chan;` and so on. Each call has cases of its own: a
// static array is shared by all tasks, and filling it in while one waits breaks that wait.
typedef struct mj_select_case {
  // To send to or to receive from; NULL for a case that is never ready.
  struct mj_chan *chan;
  // What to do with it.
  mj_select_op op;
  // Of the case that was chosen: 0, or -EPIPE when the channel is closed, and nothing was sent
  // or received; for a descriptor -EBADF when it is not open.
  int result;
  // The element to send, or the place to receive one in.
  void *element;
  // For MJ_SELECT_FD: the descriptor; a negative one is never ready. For that of a stream see
  // mj_stream_fd().
  int fd;
  // For MJ_SELECT_FD: the events to wait for, bits of poll(2).
  short events;
  // For MJ_SELECT_FD: the events that happened.
  short happened;
  // For MJ_SELECT_TASK: the task whose end to wait for, if it lives.
  mj_task_id task;
  // For MJ_SELECT_DEADLINE: a time by mj_scheduler_now_ns(). MJ_FOREVER never comes.
  uint64_t deadline_ns;
  // For MJ_SELECT_XSEND and MJ_SELECT_XRECV: to send to or to receive from; NULL for a case that is
  // never ready.
  struct mj_xchan *xchan;
  // Zero.
  uint64_t reserved[1];
  // The library's own.
  void *internal[6];
} mj_select_case;

// Waits for the first of several things, for at most `timeout_ns`, and does that one only: a send, a
// receive, an event of a descriptor, the end of a task, a time. When several can be done, the choice
// is random, each with the same chance. A channel, a descriptor or a task may be in several cases.
// Takes no memory for the cases, and time in proportion to `count`. Do not change `cases` before
// the call has returned; only `result` and `happened` of the chosen one are set. Elements are as for
// mj_chan_send(), mj_chan_recv(), mj_xchan_send() and mj_xchan_recv(), events as for
// mj_task_wait_fd(). Only in a task, also for channels between threads. May suspend, as
// mj_chan_send().
//
// Returns the index of the case that is done, whose `result` is then 0, or an error of it alone.
// Errors (none is done then):
//   -ETIMEDOUT  none could be done in time
//   -EBUSY      another task waits with the same cases: each needs its own
//   -EDEADLK    a task waits for its own end
//   -EINVAL     as mj_chan_send(), and: an operation that is none, events that are none, a reserved
//               word that is not 0, `cases` is NULL with a count, more than INT_MAX cases, a
//               descriptor that is the scheduler's own
//   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_chan_send()
// A descriptor that is not open (-EBADF) or cannot be waited for (-ENOSPC) is the `result` of its case.
//
// What a stream has read ahead does not make its descriptor readable: see mj_stream_fd() for what to do before
// a select that waits for it.
int mj_select(struct mj_select_case *cases,
              size_t count,
              uint64_t timeout_ns);

// mj_select() without waiting. Works outside a task too. Does not suspend.
//
// Returns the index of the case that is done, as mj_select(). Errors:
//   -EAGAIN          none can be done
//   -EBUSY, -EINVAL  as mj_select()
//   -EPERM           as mj_chan_destroy(), and for a task or a time without a scheduler that runs
int mj_try_select(struct mj_select_case *cases, size_t count);

// ---- Mutexes ------------------------------------------------------------------------------------

// A mutex. See mj_mutex_create().
typedef struct mj_mutex mj_mutex;

// Makes a mutex for the tasks of one scheduler: a lock that one task at a time owns, and that
// parks the others, not the thread. Waiters get it in FIFO order, by hand-off: a task that unlocks
// it and locks it again queues behind them. Needed only if a critical section suspends. It may
// outlive the scheduler, and then serves the next one whose task uses it. Does not suspend.
//
// Returns the mutex, to be released with mj_mutex_destroy(), or NULL with errno as
// mj_chan_create().
struct mj_mutex *mj_mutex_create(struct mj_scheduler *scheduler);

// Releases a mutex. Does not suspend.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY           a living task has locked it, waits for it, or waits for a condition with it
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_mutex_destroy(struct mj_mutex *mutex);

// Locks a mutex for the running task, waiting in FIFO order for at most `timeout_ns`. May suspend,
// also if it is free, as mj_chan_send(); but not if it is free and the task has locked another
// one.
//
// Returns 0 when it is locked. Errors (it is not locked then, so check the result):
//   -ETIMEDOUT   it was not free in time
//   -EDEADLK     the task itself has locked it
//   -EOWNERDEAD  its owner has ended, or ends meanwhile, without unlocking it: it stays locked for
//                good and can only be destroyed
//   -EINTR       mj_task_wake() or mj_scheduler_enqueue() ended the wait
//   -ECANCELED   the task is canceled and would have to wait
//   -ENOMEM      no memory for the timer
//   -EINVAL      `mutex` is NULL
//   -EPERM       outside a task, or the mutex is another scheduler's
int mj_mutex_lock(struct mj_mutex *mutex, uint64_t timeout_ns);

// mj_mutex_lock() without waiting. Does not suspend.
//
// Returns 0 when it is locked. Errors:
//   -EAGAIN  another task has locked it
//   -EDEADLK, -EOWNERDEAD, -EINVAL, -EPERM  as mj_mutex_lock()
int mj_mutex_try_lock(struct mj_mutex *mutex);

// Unlocks a mutex, and hands it off to the first waiting task, which becomes ready. Does not
// suspend.
//
// Returns 0. Errors:
//   -EPERM   the running task has not locked it, outside a task, or the mutex is another
//            scheduler's
//   -EINVAL  `mutex` is NULL
int mj_mutex_unlock(struct mj_mutex *mutex);

// ---- Condition variables ------------------------------------------------------------------------

// A condition variable. See mj_cond_create().
typedef struct mj_cond mj_cond;

// Makes a condition variable for the tasks of one scheduler. It may outlive the scheduler. Does
// not suspend.
//
// Returns the condition variable, to be released with mj_cond_destroy(), or NULL with errno as
// mj_chan_create().
struct mj_cond *mj_cond_create(struct mj_scheduler *scheduler);

// Releases a condition variable. Does not suspend.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY           a task waits that was not signaled
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_cond_destroy(struct mj_cond *cond);

// Unlocks a mutex that the running task has locked, waits for a signal for at most `timeout_ns`,
// and locks the mutex again. The limit, a wake and a cancellation end the wait for the signal, not
// the wait for the mutex. There are no spurious wake-ups, but other tasks may have run after the
// signal: check the condition again. Suspends.
//
// Returns 0 when signaled, with the mutex locked. Errors, with the mutex locked again, after a
// yield at least, unless it says otherwise:
//   -ETIMEDOUT       no signal came in time
//   -EINTR, -ENOMEM  as mj_mutex_lock()
//   -ECANCELED       as mj_mutex_lock(); after mj_task_exit() at once, and the mutex is as it was
//   -EOWNERDEAD      a later owner has ended without unlocking it; the mutex is not locked
//   -EPERM           the task had not locked it, outside a task, or an object is another
//                    scheduler's; the mutex is as it was
//   -EINVAL          an argument is NULL, or other tasks wait with another mutex; the mutex is as
//                    it was
int mj_cond_wait(struct mj_cond *cond, struct mj_mutex *mutex, uint64_t timeout_ns);

// Wakes the task that has waited longest, if one waits; its call returns once it has locked the
// mutex. The caller need not own the mutex, nor be a task. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_cond_signal(struct mj_cond *cond);

// mj_cond_signal() for all tasks that wait; they lock the mutex in FIFO order. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_cond_broadcast(struct mj_cond *cond);

// ---- Semaphores ---------------------------------------------------------------------------------

// A counting semaphore. See mj_sem_create().
typedef struct mj_sem mj_sem;

// Makes a semaphore for the tasks of one scheduler, with an initial number of permits. It may
// outlive the scheduler. Does not suspend.
//
// Returns the semaphore, to be released with mj_sem_destroy(), or NULL with errno as
// mj_chan_create().
struct mj_sem *mj_sem_create(struct mj_scheduler *scheduler, uint32_t permits);

// Releases a semaphore. Does not suspend.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY           a task waits for it
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_sem_destroy(struct mj_sem *sem);

// Takes permits, all at once, waiting for at most `timeout_ns` until there are enough. FIFO: a
// small request waits behind an earlier large one. May suspend, as mj_chan_send().
//
// Returns 0 when they are taken. Errors (none is taken then):
//   -ETIMEDOUT  there were not enough in time
//   -EINVAL     `sem` is NULL
//   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_mutex_lock()
int mj_sem_acquire(struct mj_sem *sem, uint32_t permits, uint64_t timeout_ns);

// mj_sem_acquire() without waiting. Works outside a task too. Does not suspend.
//
// Returns 0 when they are taken. Errors:
//   -EAGAIN          there are not enough, or other tasks wait
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_sem_try_acquire(struct mj_sem *sem, uint32_t permits);

// Gives permits back, or adds new ones, and readies the tasks whose requests they satisfy. Any
// task may, not only one that has acquired some. Works outside a task too. Does not suspend.
//
// Returns 0. Errors (none is added then):
//   -EOVERFLOW       there would be more than UINT32_MAX
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_sem_release(struct mj_sem *sem, uint32_t permits);

// Returns how many permits can be taken, or 0 for NULL. Does not suspend.
uint32_t mj_sem_available(const struct mj_sem *sem);

// ---- Wait groups --------------------------------------------------------------------------------

// A wait group: a counter that tasks wait for to become 0. See mj_waitgroup_create().
typedef struct mj_waitgroup mj_waitgroup;

// Makes a wait group for the tasks of one scheduler: a counter, at first 0, of work that is not
// done yet. It may outlive the scheduler. Does not suspend.
//
// Returns the wait group, to be released with mj_waitgroup_destroy(), or NULL with errno as
// mj_chan_create().
struct mj_waitgroup *mj_waitgroup_create(struct mj_scheduler *scheduler);

// Releases a wait group, whatever its count. Does not suspend.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY           a task waits for it
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_waitgroup_destroy(struct mj_waitgroup *group);

// Adds to the count, best before the tasks that will do the work are created. Works outside a task
// too. Does not suspend.
//
// Returns 0. Errors (nothing is added then):
//   -EOVERFLOW       the count would pass SIZE_MAX
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_waitgroup_add(struct mj_waitgroup *group, size_t count);

// Takes 1 from the count; when that makes it 0, readies all tasks that wait. Works outside a task
// too. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  the count is 0 already, or `group` is NULL
//   -EPERM   as mj_chan_destroy()
int mj_waitgroup_done(struct mj_waitgroup *group);

// Waits until the count is 0, for at most `timeout_ns`. Any number of tasks may wait, and the
// group may be used again at once. May suspend, as mj_chan_send().
//
// Returns 0 when the count was 0. Errors:
//   -ETIMEDOUT  it was not 0 in time
//   -EINVAL     `group` is NULL
//   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_mutex_lock()
int mj_waitgroup_wait(struct mj_waitgroup *group, uint64_t timeout_ns);

// ---- Groups of tasks ----------------------------------------------------------------------------

// A group: tasks that belong together. See mj_group_create().
typedef struct mj_group mj_group;

// The function of a member of a group. What it returns is 0, or a failure, as it likes. A C++ exception that
// would leave it calls std::terminate(), as if it were noexcept, after a line on stderr.
typedef int (*mj_group_fn)(void *argument);

// Makes a group for the tasks of one scheduler: tasks that belong together, its members, of which
// at most `limit` live at a time, or any number for 0. It may outlive the scheduler. Does not
// suspend.
//
// Returns the group, to be released with mj_group_destroy(), or NULL with errno as
// mj_chan_create().
struct mj_group *mj_group_create(struct mj_scheduler *scheduler, size_t limit);

// Releases a group that has no members: mj_group_wait() or mj_group_end() comes before. When its
// scheduler has been destroyed, its members have been too. Does not suspend.
//
// Returns 0. Errors (it stays as it is then):
//   -EBUSY           it has members, or a task waits for it
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_group_destroy(struct mj_group *group);

// Sets whether the first failure of a member cancels the group, as mj_group_cancel() does; at first
// it does not. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `group` is NULL
int mj_group_set_fail_fast(struct mj_group *group, bool fail_fast);

// Adds a task to a group, which calls `function` with `argument`, and ends when that returns. If
// the group has `limit` members, waits in FIFO order for at most `timeout_ns` until one ends.
// `argument` stays the caller's. What `function` returns is 0, or a failure: the first one is kept
// for mj_group_error(). The member inherits the caller's deadline. Members may add members; but if all
// of a full group wait for room, none gets it. May suspend, also if there is room, as mj_chan_send().
//
// Returns 0. Errors (`function` is not called then):
//   -ETIMEDOUT  there was no room in time
//   -EPIPE      the group has been canceled or ended, or is meanwhile
//   -ENOMEM     out of memory
//   -EINVAL     `group` or `function` is NULL
//   -EINTR, -ECANCELED, -EPERM  as mj_mutex_lock()
int mj_group_go(struct mj_group *group,
                mj_group_fn function,
                void *argument,
                uint64_t timeout_ns);

// mj_group_go() without waiting. Works outside a task too, as before the run. Does not suspend.
//
// Returns 0. Errors (`function` is not called then):
//   -EAGAIN  there is no room, or other tasks wait for some
//   -EPIPE, -ENOMEM  as mj_group_go()
//   -EINVAL  `group` or `function` is NULL, or the group's scheduler has been destroyed
//   -EPERM   as mj_chan_destroy()
int mj_group_try_go(struct mj_group *group, mj_group_fn function, void *argument);

// Waits until a group has no members, for at most `timeout_ns`. Any number of tasks may wait, and
// after it more members may be added. May suspend, as mj_chan_send().
//
// Returns 0 when all have ended: mj_group_error() says whether one has failed. Errors:
//   -ETIMEDOUT  they have not ended in time, and go on
//   -EDEADLK    the caller is a member
//   -EINVAL     `group` is NULL
//   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_mutex_lock()
int mj_group_wait(struct mj_group *group, uint64_t timeout_ns);

// Cancels all members, as mj_task_cancel() does, the caller too if it is one, and refuses others
// for good: mj_group_go() returns -EPIPE, also where it waits for room. Members that have not begun
// are called all the same, so that they can release what they were given. Works outside a task too.
// Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL, -EPERM  as mj_chan_destroy()
int mj_group_cancel(struct mj_group *group);

// Ends a group: refuses further members, as mj_group_cancel() does, waits for at most `grace_ns`
// until the members have ended, then cancels those that are left, and waits for them as long as it
// takes. Nothing cuts this short: no cancellation or deadline of the caller, no wake-up, no missing
// memory, also if it is canceled already or has called mj_task_exit(). Without members it works
// outside a task too. May suspend.
//
// Returns 0: no task of the group exists any more. Errors:
//   -EDEADLK  the caller is a member
//   -EINVAL   `group` is NULL
//   -EPERM    outside a task while there are members, or the group is another scheduler's
int mj_group_end(struct mj_group *group, uint64_t grace_ns);

// Returns the first result of a member that was not 0; 0 if there is none yet, or for NULL. Does
// not suspend.
int mj_group_error(const struct mj_group *group);

// Returns how many members a group has, and tasks that are about to add one; 0 for NULL. Does not
// suspend.
size_t mj_group_count(const struct mj_group *group);

// ---- Clusters: schedulers for all processors ----------------------------------------------------

// Several schedulers, each on a thread of its own: its cores, by index. See mj_cluster_create().
typedef struct mj_cluster mj_cluster;
// For `cores` of mj_cluster_options: as many as processors that this process may use, by its affinity and
// the quota of its control group; at most 1,024.
#define MJ_ALL_CORES SIZE_MAX

// What is called on the thread of a core when the cluster is started, before the core's run: it sets its scheduler up,
// which runs nothing yet, and may make tasks, which hold the run as in mj_run(). It is outside any task, and
// mj_scheduler_current() is NULL. The scheduler stays the cluster's, which destroys it. Returns 0, or a negative errno
// value, which mj_cluster_join() returns: then that core does not run, and the others are stopped. A C++ exception
// that would leave it calls std::terminate(), after a line on stderr.
typedef int (*mj_core_set_up_fn)(struct mj_scheduler *scheduler, size_t core, void *user_data);

// What is called on the thread of a core when no core runs any more, before its scheduler is destroyed; also if its
// set-up has failed. As mj_core_set_up_fn.
typedef void (*mj_core_tear_down_fn)(struct mj_scheduler *scheduler, size_t core, void *user_data);

// How a cluster is made. Set `cores` and what you need, and leave the rest zero.
typedef struct mj_cluster_options {
  // How many: 1 to 1,024, or MJ_ALL_CORES.
  size_t cores;
  // What threads and schedulers are called, with a dash and the index behind: the first 12 bytes or so of it. NULL
  // for "core". Copied.
  const char *name;
  // Whether each thread is bound to one processor, of those that the caller may run on, in turn.
  bool pin;
  // What sets each core up; NULL for nothing.
  mj_core_set_up_fn set_up;
  // What tears it down; NULL for nothing.
  mj_core_tear_down_fn tear_down;
  // The last argument of both.
  void *user_data;
  // Zero.
  uint64_t reserved[4];
} mj_cluster_options;

// Makes a cluster: schedulers as of mj_scheduler_create(), each on a thread of its own, so that a program uses all
// processors. On these threads SIGPIPE has no effect while the cluster runs, unless the program has set an action for
// it, as in a run of setup_scheduler_with_epoll(); stack overflows are reported if `set_up` asks for it, by
// mj_scheduler_set_overflow_report(). Tasks stay on their core, with errno, thread-local variables and the locks of other libraries; what
// crosses is work that has not begun: mj_cluster_go(), mj_cluster_listen(). The threads are there when this returns,
// and wait for mj_cluster_start() or mj_cluster_run(); what the cores are given before waits with them. They have the
// caller's signal mask. `options` may be NULL: all cores, and nothing else. Callable from any thread. Does not
// suspend.
//
// A cluster ends when nothing holds it: its maker does, until mj_cluster_join() or mj_cluster_run(); each function of
// mj_cluster_go() and each connection, to the end of its task; and each socket that listens. Then each core's run ends
// as mj_run() does, when its own tasks have ended.
//
// A core's thread must not end by pthread_exit(), in a task, in `set_up` or in `tear_down`. If it does, which is an
// ERROR line, the core has failed: calls to it end with -EPIPE, and the others are stopped. What its tasks have
// deferred is called, and what it was given and has not begun is abandoned, unless a function that is called for that
// ends the thread once more; but `tear_down` is not called, and its scheduler is never released, with the stacks of
// its tasks. Signals that its tasks have waited for have the effect again that they had before.
//
// Returns the cluster, to be released with mj_cluster_destroy(), or NULL. Errors, in errno, with which no thread is
// left:
//   EINVAL  `cores` is 0, or over 1,024 and not MJ_ALL_CORES; something reserved is not zero
//   EAGAIN  a thread cannot be started: pthread_create(3)
//   ENOMEM  out of memory
//   and as mj_scheduler_create(), and with `pin` as sched_setaffinity(2)
struct mj_cluster *mj_cluster_create(const struct mj_cluster_options *options);

// Releases a cluster that has ended, which mj_cluster_join() or mj_cluster_run() says, or was not started: then what
// its cores were given is abandoned. NULL is ignored. Callable from any thread. Does not suspend.
//
// Returns 0. Errors, with which it stays:
//   -EBUSY  it was started, and not joined; or a scheduler runs on this thread
int mj_cluster_destroy(struct mj_cluster *cluster);

// Lets the cores run. Callable from any thread. Does not suspend.
//
// Returns 0. Errors:
//   -EBUSY       it was started before
//   -EOWNERDEAD  this is a child of fork(), which has none of the threads
//   -EINVAL      `cluster` is NULL
int mj_cluster_start(struct mj_cluster *cluster);

// Waits until a cluster that was started has ended, after which all its threads are gone. Its maker does not hold it
// from now on: without more to do it ends. Blocks the thread and does not suspend. Callable from any thread, also
// twice.
//
// Returns 0. Errors, the first one of any core:
//   what `set_up` has returned; -EDEADLK, -ENOMEM as mj_run()
//   -ESRCH       the thread of a core has ended, by pthread_exit(): see mj_cluster_create()
// and of this call, with which nothing has changed:
//   -EBUSY       a scheduler runs on this thread, or it is the cluster's own
//   -EOWNERDEAD  as mj_cluster_start()
//   -EINVAL      `cluster` is NULL, or was not started
int mj_cluster_join(struct mj_cluster *cluster);

// mj_cluster_start() and mj_cluster_join() in one, with signals: SIGINT and SIGTERM stop the cluster, as
// mj_cluster_stop() with `grace_ns`, the second one at once and the third without waiting for tasks. They come to a
// scheduler of this thread, which no core keeps from answering, as by mj_signal_wait(): also where they were ignored, as
// a shell has SIGINT ignored by what it starts in the background. Blocks the thread and does not suspend.
//
// Returns 0: mj_cluster_signal() tells whether it was a signal. Errors:
//   those of mj_cluster_start() and mj_cluster_join(), and of mj_scheduler_create(), with which it has not begun
int mj_cluster_run(struct mj_cluster *cluster,
                   uint64_t grace_ns);

// Stops a cluster in order: its sockets take what waits in their queues, and are closed; connections and all other
// tasks have `grace_ns` to end (MJ_FOREVER: any time), and are canceled then. With 0 they are canceled at once. The
// second call cancels them at once too, whatever its grace, and the third ends all runs with the tasks that are
// left, which are destroyed. Each socket takes what waits in its queue, 4,096 at most. A core whose run ends before
// the others, because something has stopped its scheduler, stops them as well. Callable from any thread. Does not
// suspend.
//
// Returns 0. Errors:
//   -EINVAL  `cluster` is NULL
int mj_cluster_stop(struct mj_cluster *cluster,
                    uint64_t grace_ns);

// Returns the signal by which mj_cluster_run() was stopped; 0 for none, or NULL. Callable from any thread. Does not
// suspend.
int mj_cluster_signal(const struct mj_cluster *cluster);

// Returns how many cores a cluster has; 0 for NULL. Callable from any thread. Does not suspend.
size_t mj_cluster_size(const struct mj_cluster *cluster);

// The core that runs on this thread. Does not suspend.
//
// Returns its index. Errors:
//   -ESRCH   none of this cluster does
//   -EINVAL  `cluster` is NULL
int mj_cluster_here(const struct mj_cluster *cluster);

// A handle to a core's scheduler, as by mj_scheduler_remote(): for mj_post() and the like. It does not hold the
// cluster. Callable from any thread. Does not suspend.
//
// Returns the handle, to be released with mj_remote_release(), or NULL. Errors, in errno:
//   EINVAL  `cluster` is NULL, or has no core with this index
struct mj_remote *mj_cluster_remote(struct mj_cluster *cluster,
                                    size_t core);

// Returns how much a core has to do: the connections that it serves, and the functions of mj_cluster_go() that have
// not returned; also those that are on their way to it. 0 for NULL, and for an index that no core has. Callable from
// any thread. Does not suspend.
size_t mj_cluster_load(const struct mj_cluster *cluster,
                       size_t core);

// Returns the index of the next core, in turn: round robin, for all callers together. 0 for NULL. Callable from any
// thread. Does not suspend.
size_t mj_cluster_next(struct mj_cluster *cluster);

// Returns the index of the core with the smallest mj_cluster_load(): the caller's own if no other has less. Of more
// than 8 cores it looks at 8, others at each call. 0 for NULL. Callable from any thread. Does not suspend.
size_t mj_cluster_least_loaded(struct mj_cluster *cluster);

// Returns the index of the core that belongs to a number: the same one in each cluster of this size. So what is given
// to it by this is done on one thread, in order, and needs no lock. Keys that are close to each other are spread. 0
// for NULL. Callable from any thread. Does not suspend.
size_t mj_cluster_of_key(const struct mj_cluster *cluster,
                         uint64_t key);

// Lets a task of a core call a function, as mj_post() does, and holds the cluster until it has returned. What a thread
// gives to one core begins in order. Callable from any thread. Does not suspend.
//
// Returns 0. Errors, with which nothing is called:
//   -EAGAIN      as many wait there as may: mj_remote_set_post_limit(). A task can mj_cluster_call(), which waits
//   -EPIPE       the cluster has ended, or does so at once
//   -EOWNERDEAD  this is a child of fork(), which has none of the threads
//   -EINVAL      `cluster` or `function` is NULL, or no core has this index
//   -ENOMEM      out of memory
int mj_cluster_go(struct mj_cluster *cluster,
                  size_t core,
                  mj_go_fn function,
                  void *argument,
                  mj_abandon_fn abandon);

// Has a task of a core call a function, as mj_cluster_go() does, and waits until it has returned: `argument` is the
// caller's again then, and may be on its stack. If as many wait there as may, this call waits too. When `timeout_ns`
// is over, and when the caller is canceled, the function's task is canceled, and waited for. mj_task_wake() has no
// effect on it. In a member of a group, the group's limit and its cancellation hold for the work of all cores:
// mj_cluster_group_go(). Callable in a task of any scheduler. May suspend.
//
// When the caller's scheduler is destroyed meanwhile, the function's task is canceled; mj_scheduler_destroy() waits
// until it has ended, unless that is a core of the same cluster: then no core runs any more.
//
// Returns 0, with what the function has returned in `*result`, unless that is NULL: also when it was canceled, for
// which it may return anything. Errors, with which it has not been called, but for the third and fourth:
//   -ETIMEDOUT  it could not begin within `timeout_ns`
//   -ECANCELED  the task is canceled, or has called mj_task_exit()
//   -EPIPE      the cluster has ended, or does so at once; or that core has, while the function ran: it has not
//               returned then, and will not
//   -EOWNERDEAD this is a child of fork(), and the function runs in the parent
//   -EINVAL     `cluster` or `function` is NULL, or no core has this index
//   -ENOMEM     out of memory
//   -EPERM      not called from a task; this is also logged
int mj_cluster_call(struct mj_cluster *cluster,
                    size_t core,
                    mj_group_fn function,
                    void *argument,
                    uint64_t timeout_ns,
                    int *result);

// mj_group_go() of a member whose function is called on a core, by mj_cluster_call(): so a group has members on
// several. It waits for a place in the group as that does, which bounds what is under way, and the member counts and
// is canceled as any other. What the function returns is the member's result; or the error of mj_cluster_call(), if
// it was not called. `argument` stays the caller's. The cluster stays until the group has no members.
// May suspend.
//
// Returns 0. Errors (`function` is not called then):
//   -ETIMEDOUT, -EPIPE, -EINTR, -ECANCELED, -EPERM  as mj_group_go()
//   -EINVAL  `cluster`, `group` or `function` is NULL, or no core has this index
//   -ENOMEM  out of memory
int mj_cluster_group_go(struct mj_cluster *cluster,
                        size_t core,
                        struct mj_group *group,
                        mj_group_fn function,
                        void *argument,
                        uint64_t timeout_ns);

// Makes what the handler of a connection is given as its `user_state`, from malloc(), on the core that serves it and
// in the task that will. It may suspend. NULL closes the connection. A C++ exception that would leave it calls
// std::terminate(), as if it were noexcept, after a line on stderr.
typedef void *(*mj_connection_fn)(int fd, void *user_data);

// What mj_cluster_listen() does with connections. Set `handler` and what you need, and leave the rest zero.
typedef struct mj_service {
  // The body of the task of each connection: it closes the descriptor, and ends by mj_task_exit(): else it is called
  // again when it returns, as of mj_create_task().
  mj_task_fn *handler;
  // What makes its `user_state`; NULL for an `int *`, the descriptor.
  mj_connection_fn connection;
  // The last argument of `connection`.
  void *user_data;
  // How many connections may wait to be accepted, at each socket; 0 for 4,096.
  int backlog;
  // As for mj_listen().
  unsigned int flags;
  // Zero.
  uint64_t reserved[4];
} mj_service;

// Listens on all cores, and serves each connection in a task of its own, as one that mj_create_task() makes of
// `handler` and what `connection` returns. `address` and `service` are as for mj_listen(); of a port there is a socket
// for each core (SO_REUSEPORT), and of a path one, at which the first core accepts. A core that has more to do than
// others hands its connections over to the one with the least: see mj_cluster_load(). It listens until the cluster
// is stopped, and holds it. Who listens at the same port with SO_REUSEPORT, another cluster of this user, say, is
// not refused: connections are shared with it. Callable from any thread, before the start too. May suspend in a
// task, as mj_listen().
//
// A connection's descriptor does not block and is closed on exec. It is the handler's, to be closed by close(2) or
// mj_fd_close(), and can be handed to the library: mj_fd_adopt(), mj_stream_create().
//
// Returns the port that it listens at, which the kernel has chosen for "0"; 0 of a path. Errors, with which it does
// not listen:
//   -EINVAL      `cluster`, `what` or its handler is NULL, something reserved is not zero; and as mj_listen()
//   -EPIPE       the cluster has ended
//   -EOWNERDEAD  as mj_cluster_go()
//   and as mj_listen()
int mj_cluster_listen(struct mj_cluster *cluster,
                      const char *address,
                      const char *service,
                      const struct mj_service *what);

// The sockets at which a cluster listens, of all mj_cluster_listen() together: to hand them to another process, which
// takes them with MJ_LISTEN_INHERITED, before this cluster is stopped. They stay the cluster's. Callable from any
// thread. Does not suspend.
//
// Returns how many there are: the first `capacity` of them are in `fds`, which may be NULL for 0. Errors:
//   -EINVAL  `cluster` is NULL, or `fds` with a capacity
int mj_cluster_listeners(const struct mj_cluster *cluster,
                         int *fds,
                         size_t capacity);

// ---- Stacks -------------------------------------------------------------------------------------

// Sets the stack size of tasks that have not run yet and that have no size of their own: 256 KiB
// unless set. Rounded up by at most a quarter, to one of the sizes that stacks come in: there are
// four between a power of two and the next one. A function whose variables are larger than the guard
// below a stack can step over it: see mj_scheduler_set_guard_size(). Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL, or the size is below 16 KiB or over 1 GiB
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_set_stack_size(struct mj_scheduler *scheduler,
                                size_t stack_bytes);

// Sets the stack size of one task that has not run yet, rounded up as by
// mj_scheduler_set_stack_size(). A function whose variables are larger than the guard below the stack can
// step over it, however large the stack is: see mj_scheduler_set_guard_size(). Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `task` is NULL, or the size is below 16 KiB or over 1 GiB
//   -EBUSY   the task already has a stack
int mj_task_set_stack_size(struct mj_task *task,
                           size_t stack_bytes);

// Sets the size of the guard below each stack of a scheduler: 256 KiB unless set, at most 16 MiB.
// Rounded up to whole pages. Touching a guard is a fault, which ends the process where it would
// otherwise write to the stack of another task. A guard takes address space, and 8 bytes of page
// tables for each page. Does not suspend.
//
// A function in C or C++ whose variables are larger than the guard (an array, alloca(), a
// variable-length array) can step over it, unless it is compiled with -fstack-clash-protection,
// which touches each page in turn. Rust code does so by itself.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL, or the size is 0 or over 16 MiB
//   -EBUSY   a task of the scheduler has had a stack
//   -ENOMEM  no address space for a stack with such a guard
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_set_guard_size(struct mj_scheduler *scheduler, size_t guard_bytes);

// Returns the most bytes of its stack that a task has used, to size stacks by: 0 before its first
// turn and for NULL, the whole size under Valgrind. Stacks are used again, so what earlier tasks
// have used of this one counts too, until its memory has been given back. Reads the stack, so it
// takes a moment. Does not suspend.
size_t mj_task_stack_used(const struct mj_task *task);

// Says where a task's stack is, for interpreters and collectors that want to know: its lowest address
// that may be used, and how many bytes there are from there on, as pthread_attr_getstack(3) says it of
// a thread. Stacks grow down. They stay the same from the task's first turn until it ends. Does not
// suspend.
//
// Returns 0. Errors, with which nothing is written:
//   -EINVAL  one of the pointers is NULL
//   -EAGAIN  the task has no stack before its first turn
//
// `lowest` and `bytes` are NULL or good to write.
int mj_task_stack_bounds(const struct mj_task *task,
                         void **lowest,
                         size_t *bytes);

// Sets whether a stack overflow of a task is reported before it ends the process: by one line on
// stderr that names the task and its stack size. Off for mj_scheduler_create(), where an overflow is
// a plain SIGSEGV, since no line can be had without a handler; on for setup_scheduler_with_epoll().
// It takes a handler for SIGSEGV and an alternate stack for the thread's signals, both only during
// a run; all other faults, and each SIGSEGV that is sent, go on to the handler that was there
// before, which runs on the alternate stack then. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL
//   -EBUSY   the scheduler is running
int mj_scheduler_set_overflow_report(struct mj_scheduler *scheduler,
                                     bool report);

// ---- Turns that are too long --------------------------------------------------------------------

// Has each turn reported that lasts longer than `ns` nanoseconds, while it lasts, and once: by WARN
// lines with the task's id and name, how long it has lasted so far, and the thread's stack at that
// moment; 0, as at first, for none. Such turns are counted in `long_turns` of mj_metrics, also
// those whose report the limit of the log's lines leaves out. While the scheduler runs it can be
// called by its tasks. Does not suspend.
//
// A thread of the library's own, "mj-watchdog", looks at the scheduler every `ns` / 2, but at most
// once a millisecond, so that a turn is reported when it has lasted one to one and a half times `ns`.
// It is there while a scheduler that asks for reports runs, and for a second after, and sleeps while
// they all wait. It writes the lines, so a log callback is called on it.
//
// The stack is copied by the handler of a real-time signal, which is sent to the scheduler's thread.
// It is one whose disposition is the default one, and which is put back when the run returns; see
// mj_set_long_turn_signal(). If the thread has no alternate stack for signals, it has one during the
// run. System calls that the task is blocked in go on behind the handler (SA_RESTART), but for those
// that signal(7) names, such as poll(2), nanosleep(2), and reading from a socket with a timeout:
// these return with EINTR. A thread that blocks the signal, or is in a system call that no signal
// interrupts, is reported without its task's name and its stack.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_report_long_turns(struct mj_scheduler *scheduler,
                                   uint64_t ns);

// Chooses the real-time signal by which mj_scheduler_report_long_turns() sees the stack of a turn,
// for the whole process: one of SIGRTMIN to SIGRTMAX; 0, as at first, for any whose disposition is
// the default one. If the signal that is chosen has a handler of the program, or is ignored, that
// stays, and reports are without names and stacks, which a WARN line says when a run begins.
// Callable from any thread. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  there is no such real-time signal
//   -EBUSY   a scheduler that asks for reports is running
int mj_set_long_turn_signal(int signal);

// ---- Log ----------------------------------------------------------------------------------------

// The level of a log line.
typedef enum mj_log_level {
  // Steps of the loop.
  MJ_LOG_TRACE = 0,
  // The operations of tasks.
  MJ_LOG_DEBUG = 1,
  // Information for operators. The default threshold.
  MJ_LOG_INFO = 2,
  // Misuse, and possible problems.
  MJ_LOG_WARN = 3,
  // Failures.
  MJ_LOG_ERROR = 4,
  // Unrecoverable failures. Logging one does not end the process.
  MJ_LOG_FATAL = 5,
  // Only for mj_log_set_level(): no line is logged.
  MJ_LOG_SILENT = 6,
} mj_log_level;

// Lets the compiler check arguments against the format string.
#if defined(__GNUC__)
#define MJ_PRINTF_FORMAT(format_index, first_argument) \
  __attribute__((format(printf, format_index, first_argument)))
#else
#define MJ_PRINTF_FORMAT(format_index, first_argument)
#endif

// Has calls bypass the procedure linkage table: a line that is not written takes 2.9 instead of 3.6
// ns.
#if defined(__has_attribute)
#if __has_attribute(noplt)
#define MJ_NO_PLT __attribute__((noplt))
#endif
#endif
#ifndef MJ_NO_PLT
#define MJ_NO_PLT
#endif

// Logs one line, formatted as by printf(3), if `level` is at or above the level set. The text has
// no length limit but that of the system log, see mj_log_to_syslog() (when memory for a long one is
// missing it is cut and ends in "..."). A level that is not one of TRACE to FATAL, or a NULL format,
// is reported as a WARN line instead. Preserves errno. Callable from any thread, inside or outside a
// task, not from a signal handler. Does not suspend.
void mj_log(mj_log_level level, const char *format, ...) MJ_PRINTF_FORMAT(2, 3) MJ_NO_PLT;

// mj_log() with its arguments in a va_list, which is left as vprintf(3) leaves it. Callable from any
// thread, inside or outside a task, not from a signal handler. Does not suspend.
void mj_vlog(mj_log_level level, const char *format, va_list arguments) MJ_PRINTF_FORMAT(2, 0);

// One macro a level. The arguments are evaluated whether or not the line is written;
// mj_log_enabled() tells beforehand whether it will be.
#define MJ_TRACE(...) mj_log(MJ_LOG_TRACE, __VA_ARGS__)
#define MJ_DEBUG(...) mj_log(MJ_LOG_DEBUG, __VA_ARGS__)
#define MJ_INFO(...)  mj_log(MJ_LOG_INFO, __VA_ARGS__)
#define MJ_WARN(...)  mj_log(MJ_LOG_WARN, __VA_ARGS__)
#define MJ_ERROR(...) mj_log(MJ_LOG_ERROR, __VA_ARGS__)
#define MJ_FATAL(...) mj_log(MJ_LOG_FATAL, __VA_ARGS__)

// Sets the level from which lines are written, for the whole process. Until it is set it is
// MJ_LOG_INFO, or MJ_LOG_WARN if the Rust API was the first to make a scheduler or to set up the
// logger. At INFO the library writes two lines to stdout for each run. A number that is no level
// is a WARN line and changes nothing. Callable from any thread. Does not suspend.
void mj_log_set_level(mj_log_level level);

// Returns whether mj_log() writes lines of this level now, to leave out work that only prepares
// one: false for MJ_LOG_SILENT and for a number that is no level. Callable from any thread. Does
// not suspend.
bool mj_log_enabled(mj_log_level level);

// Receives each logged line: the text without time stamp, level and newline, valid during the
// call. Called on the thread that logs, with no lock held, on the task's stack if a task logs. It
// may log: those lines go to the streams. A C++ exception that leaves it goes on to the caller of
// mj_log() or mj_vlog(); where the line is the library's own, it calls std::terminate(), after a
// line on stderr. The thread is not canceled in it.
typedef void (*mj_log_callback)(mj_log_level level, const char *message, void *user_data);

// Sets the function that receives each line, for the whole process; NULL restores the streams.
// Lines have one receiver: the streams at first, and then what was last set by this function,
// mj_log_set_config(), mj_log_to_stderr(), mj_log_to_file() or mj_log_to_syslog(). On the streams,
// lines from MJ_LOG_ERROR on go to stderr and the others to stdout, in order with what the program
// prints there.
//
// A line that a stream does not take is lost, and counted by mj_log_dropped(). The first one in a
// row on stdout is reported as an ERROR line on stderr. No signal is raised: no SIGPIPE when nobody
// reads, no SIGXFSZ past RLIMIT_FSIZE. Where a stream is nonblocking and full, a line waits at most
// 100 ms for room; further ones do not wait until one has been taken.
//
// `user_data` is passed to each call and stays the caller's. A thread that is logging right now
// may still call the old function. Callable from any thread. Does not suspend.
void mj_log_set_callback(mj_log_callback callback, void *user_data);

// The logger's settings, for mj_log_set_config() and mj_log_get_config(). Every process has one
// logger for all its threads and schedulers.
typedef struct mj_logger {
  // Lines below this level are not written.
  mj_log_level min_level;
  // Receives the lines; NULL when the streams, a file or the system log do.
  mj_log_callback callback;
  // The callback's last argument.
  void *user_data;
  // Whether lines on the streams and in a file begin with `[date time]`.
  bool include_time;
  // Whether lines on the streams and in a file have `[LEVEL]`.
  bool include_level;
} mj_logger;

// Sets everything in `logger`, which is copied, for the whole process. At first that is
// {MJ_LOG_INFO, NULL, NULL, true, true}. A callback becomes the receiver, as by
// mj_log_set_callback(). NULL in its place ends a callback, after which lines go to the streams, or
// all to stderr if they did so before, and leaves any other receiver as it is: so what
// mj_log_get_config() has filled in can be changed and set again. Callable from any thread. Does not
// suspend.
//
// Returns 0. Errors (nothing has changed then):
//   -EINVAL  `logger` is NULL, or its level is no level
int mj_log_set_config(const struct mj_logger *logger);

// Fills in `logger` with the settings in force. NULL is reported in the log. Callable from any
// thread. Does not suspend.
void mj_log_get_config(struct mj_logger *logger);

// Makes stderr the receiver of all lines, for the whole process: for a program whose stdout is its
// result. Callable from any thread. Does not suspend.
//
// Returns 0, as its siblings do when they succeed.
int mj_log_to_stderr(void);

// Makes a file the receiver of all lines, for the whole process. Lines are appended, each with one
// write. The file is created if it is missing, with mode 0644 less the umask. `path` is copied,
// and kept for mj_log_reopen(): give an absolute one if the program may change its directory.
// Callable from any thread. Does not suspend.
//
// A line that cannot be written, because the disk is full for example or the file is as large as
// RLIMIT_FSIZE allows, is lost, and counted by mj_log_dropped(). The first one is reported as an
// ERROR line on stderr, and nothing more until a line has been written again. No signal is raised.
//
// The file stays open until the receiver is changed, and is not inherited across exec. Its
// descriptor is the library's: a program that closes all descriptors calls this or mj_log_reopen()
// afterwards. Lines until then are lost; none goes to a file that has got the number.
//
// Returns 0. Errors (nothing has changed then):
//   -EINVAL  `path` is NULL
//   -ENXIO   it is a pipe without a reader
//   and as open(2)
int mj_log_to_file(const char *path);

// Opens the file of mj_log_to_file() by its path again, and lets the old one go: to be called
// after the file has been renamed, as logrotate(8) does. No line is lost or goes to both. Without
// effect while the receiver is not a file. Callable from any thread, not from a signal handler.
// Does not suspend.
//
// Returns 0. Errors (lines still go to the old file then):
//   as mj_log_to_file()
int mj_log_reopen(void);

// Makes the system log the receiver of all lines, for the whole process: each is a datagram to
// /dev/log. `ident` says whose lines they are, commonly the program's name: 1 to 48 bytes, which
// are copied. The facility is LOG_USER; MJ_LOG_TRACE and _DEBUG become LOG_DEBUG, _INFO LOG_INFO,
// _WARN LOG_WARNING, _ERROR LOG_ERR, and _FATAL LOG_CRIT. The system log has its own time and
// level, so `include_time` and `include_level` do not matter. Callable from any thread. Does not
// suspend.
//
// A line that the log daemon does not take within 100 ms is lost, and reported and counted as with
// mj_log_to_file(); further ones do not wait until one has been taken. A line that is larger than a
// datagram may be, some 200 KB by default (net.core.wmem_default), is lost in the same way. A daemon
// that is restarted is found again.
//
// Returns 0. Errors (nothing has changed then):
//   -EINVAL                 `ident` is NULL, empty or too long
//   -ENOENT, -ECONNREFUSED  no log daemon is running
//   and as socket(2)
int mj_log_to_syslog(const char *ident);

// Returns how many lines have been lost since the process began because their receiver did not
// take them: a stream, a file or the system log. Callable from any thread. Does not suspend.
uint64_t mj_log_dropped(void);

// Sets whether control characters in the text of lines are escaped, for the whole process and all
// receivers: those of ASCII, which are the bytes below 0x20 and 0x7f, and U+0080 to U+009F in UTF-8. A
// newline becomes `\n`, others `\t`, `\r`, `\x1b` or `\xc2\x9b`, and a backslash two. Then a line is
// one line whatever the values in it are, and no escape sequence reaches a terminal that takes UTF-8.
// All else passes: a byte 0x80 to 0x9f without 0xc2 before it, which a terminal in an 8-bit mode may
// obey, and U+2028 and U+2029, which some programs take for the end of a line. At first nothing is escaped.
// Names of tasks and schedulers are escaped in the library's own lines in any case, and with this once more: a
// backslash there is two. When memory is missing for a line, a `?` stands for each such character. Callable from
// any thread. Does not suspend.
void mj_log_set_escape(bool escape);

// ---- Metrics, and a list of the tasks -----------------------------------------------------------

// Counters since mj_scheduler_create() or mj_scheduler_reset_metrics(). Times are nanoseconds.
typedef struct mj_metrics {
  // Turns that tasks have had: a task is given the thread once for each.
  uint64_t task_executions;
  // The sum of the time of all turns.
  uint64_t total_execution_time_ns;
  // The shortest turn; 0 before the first.
  uint64_t min_execution_time_ns;
  // The longest turn.
  uint64_t max_execution_time_ns;
  // Iterations of the loop in mj_scheduler_run().
  uint64_t scheduler_loops;
  // Time spent in mj_scheduler_run().
  uint64_t total_loop_time_ns;
  // Timers that expired and woke a task.
  uint64_t timer_expirations;
  // Timers that ended early, because the task was made runnable before.
  uint64_t timer_cancellations;
  // Calls of the wait function.
  uint64_t wait_calls;
  // Time spent in the wait function.
  uint64_t total_wait_time_ns;
  // Descriptor events that woke a task.
  uint64_t io_events;
  // Tasks created.
  uint64_t tasks_created;
  // Tasks ended.
  uint64_t tasks_exited;
  // Tasks alive now. A reset leaves it as it is.
  uint64_t current_tasks;
  // The most tasks alive at one time. A reset makes it `current_tasks`.
  uint64_t peak_tasks;
  // Insertions into and removals from the timer heap.
  uint64_t heap_operations;
  // Bytes of heap memory the scheduler holds: tasks, queues and tables, not stacks. A reset
  // leaves it as it is.
  size_t memory_allocated_bytes;
  // Turns that have been found to take longer than the limit of
  // mj_scheduler_report_long_turns().
  uint64_t long_turns;
} mj_metrics;

// Brings the counters up to date. Does not suspend.
//
// Returns the counters, which stay the scheduler's, go on counting, and are valid until it is
// destroyed; or NULL, with a line in the log, for NULL and when the scheduler is running on
// another thread.
const struct mj_metrics *mj_scheduler_get_metrics(struct mj_scheduler *scheduler);

// Reads a scheduler's counters. Each is true, does not go back but by a reset, and is at most one
// iteration of the loop old; they are not all of one instant. `bytes` is sizeof(mj_metrics):
// what the library does not know is 0. Callable from any thread and from a signal handler. Does not
// suspend.
//
// Returns 0. Errors, with which `metrics` is left alone:
//   -EPIPE   the scheduler has been destroyed
//   -EINVAL  `remote` or `metrics` is NULL
int mj_remote_metrics(struct mj_remote *remote, struct mj_metrics *metrics, size_t bytes);

// Resets the counters to 0, but not the gauges: `current_tasks` and `memory_allocated_bytes` stay,
// and `peak_tasks` becomes `current_tasks`. A scheduler that is NULL or running on another thread
// is reported in the log. Does not suspend.
void mj_scheduler_reset_metrics(struct mj_scheduler *scheduler);

// Prints the counters as a block of text to a stream, which stays the caller's and whose error
// indicator tells if that failed. NULL for either, and a scheduler that is running on another
// thread, is reported in the log. Does not suspend.
void mj_scheduler_print_metrics(struct mj_scheduler *scheduler, FILE *out);

// How mj_scheduler_write_metrics() writes.
typedef enum mj_metrics_format {
  // The block of mj_scheduler_print_metrics(), and a line for each distribution.
  MJ_METRICS_TEXT = 0,
  // Prometheus' text format.
  MJ_METRICS_PROMETHEUS = 1,
  // One JSON object and a newline.
  MJ_METRICS_JSON = 2,
} mj_metrics_format;

// Writes the counters, and the distributions of how long turns take, how late timers are served, how
// long the loop does not look for events, and how long ready tasks wait for a turn and jobs for a
// thread of the pool, to a buffer: as much as fits, with a NUL behind it, as snprintf(3) does. Does not
// suspend.
//
// Returns the length of the whole text without the NUL: a result of `buffer_bytes` or more means
// that it was cut. Errors:
//   -EINVAL  `scheduler` is NULL, `buffer` is NULL with a size, or `format` is unknown
//   -EPERM   the scheduler is running on another thread
int mj_scheduler_write_metrics(struct mj_scheduler *scheduler,
                               char *buffer,
                               size_t buffer_bytes,
                               mj_metrics_format format);

// mj_scheduler_write_metrics() of the counters alone: what mj_remote_metrics() reads, as text. The
// distributions are the scheduler's own thread's. Callable from any thread. Does not suspend.
//
// Returns the length of the whole text without the NUL, as there. Errors:
//   -EPIPE   the scheduler has been destroyed
//   -EINVAL  `remote` is NULL, `buffer` is NULL with a size, or `format` is unknown
int mj_remote_write_metrics(struct mj_remote *remote,
                            char *buffer,
                            size_t buffer_bytes,
                            mj_metrics_format format);

// Writes the counters of all cores to a buffer: each under the name of its scheduler, as mj_remote_write_metrics(),
// and summed. For Prometheus the sums are metrics of their own, `majjen_cluster_...`; JSON is `{"all":{..},
// "schedulers":[{..},..]}`. After the end they are as they were then. Callable from any thread. Does not
// suspend.
//
// Returns the length of the whole text without the NUL, as mj_scheduler_write_metrics(). Errors:
//   -EINVAL  `cluster` is NULL, `buffer` is NULL with a size, or `format` is unknown
//   -ENOMEM  out of memory
int mj_cluster_write_metrics(struct mj_cluster *cluster,
                             char *buffer,
                             size_t buffer_bytes,
                             mj_metrics_format format);

// Prints one line for each living task to a stream, which stays the caller's: its id, its name,
// what it is doing (running, ready, or for which descriptor, task or time it waits, which tasks hold
// that where it is known, and for how many seconds it has waited, of real time also with a clock of the
// program's), how many mutexes it holds and of which group it is, "daemon" if it is one, the number of its
// turns, and how much of its stack it has used. Behind them there is a line for each circle of tasks that
// wait for each other without a limit, for mutexes, the ends of tasks or of groups: "deadlock: task 0x1 "a"
// waits for mutex 0x2 held by task 0x3 "b", which waits for ...". NULL for either, and a scheduler that is
// running on another thread, is reported in the log. Does not suspend.
void mj_scheduler_dump(struct mj_scheduler *scheduler,
                       FILE *out);

// Has the tasks of a scheduler listed in the log whenever `signal` comes to the process, as by
// mj_scheduler_dump(): for a service that hangs, kill(1) asks it what it is doing. 0 ends that, and
// another signal takes the place of the one before. The lines are of the level WARN, whatever level is
// set, and are not limited; the first one says how many tasks there are.
//
// The loop writes them, and not the handler of the signal: at once while it waits, and behind the turn
// of a task that keeps the thread, which the first line then says; of a scheduler that is not running,
// at the beginning of its next run. Signals that come meanwhile are one. Several schedulers may have
// one signal, and tasks wait for it too: each is told. From this call on it does not do what it did
// before, also between runs, and does that again once nobody has a use for it; one that has come by then,
// and has not been listed, is forgotten. In a child of fork() it does that until the child goes on with the
// run. Does not suspend.
//
// Returns 0. Errors, with which what was set stays:
//   -EINVAL  `scheduler` is NULL, or the signal cannot be waited for: see mj_signal_wait()
//   -EPERM   the scheduler is running on another thread
//   -ENOMEM  out of memory
int mj_scheduler_dump_on_signal(struct mj_scheduler *scheduler,
                                int signal);

// Has a scheduler record what its tasks do: which of them runs from when to when, which one it makes ready
// or creates, what it waits for afterwards, and when it ends. The last `events` are kept, rounded up to a power
// of two, of 16 bytes each, from 1024 to 67,108,864; 65,536 are 1 MiB. It begins with the next round of the loop,
// with nothing; 0 stops it, and what is recorded stays. A turn is an event, and so is a task that becomes
// ready: that is taken to be at the end of the turn in which it happens. While a scheduler does not record,
// this costs its tasks nothing. The program `majjen trace` does the same from outside, and shows it.
//
// With MAJJEN_TRACE=FILE in the environment a new scheduler records 65,536 events, and writes them to FILE at the
// end of each run, as mj_scheduler_write_trace(); the second scheduler of the process to FILE.2, and so on. A %p in
// FILE stands for the number of the process. If FILE is a pipe whose reader stands still for 10 s, the rest is not
// written, which is an ERROR line. A program that has more rights than who runs it, by set-uid or such, takes no
// notice.
//
// A child of fork() goes on with a record of its own, which begins as a copy of its parent's. If its parent has had
// schedulers with MAJJEN_TRACE, it writes no files, and its new schedulers do not record, unless there is a %p in
// FILE. Does not suspend.
//
// Returns 0. Errors, with which it goes on as it was:
//   -EINVAL  `scheduler` is NULL, or `events` is too large
//   -EPERM   the scheduler is running on another thread
//   -EBUSY   mj_scheduler_write_trace() is reading what there is, of another size
//   -ENOMEM  out of memory
int mj_scheduler_trace(struct mj_scheduler *scheduler,
                       size_t events);

// Writes what a scheduler has recorded, see mj_scheduler_trace(), to a stream, which stays the caller's: JSON in
// the format of Chrome's trace viewer, which Perfetto (ui.perfetto.dev) shows too. There is a row for the loop, and
// one for each slot of tasks, in which one task is shown behind another; times are in microseconds of
// CLOCK_MONOTONIC. Without a record there are no events in it. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` or `out` is NULL
//   -EPERM   the scheduler is running on another thread
//   -EIO     the stream has not taken all of it
int mj_scheduler_write_trace(struct mj_scheduler *scheduler,
                             FILE *out);

// ---- Wait functions, the run queue, clocks ------------------------------------------------------

// Waits until something may have happened. The loop of a run calls it on the thread's own stack,
// so it may block but cannot suspend. `timeout_ns` is the longest it may wait: MJ_FOREVER without
// limit, 0 to look and return at once, which is asked every so often while tasks are ready or the
// library has something else to do. It may return early for no reason, may call
// mj_scheduler_enqueue(), and must return when mj_scheduler_backend_fd() is readable. A C++
// exception that would leave it calls std::terminate(), after a line on stderr.
//
// Returns the number of events, 0 for none, or -1, which is logged and ends nothing.
typedef int (*mj_wait_fn)(struct mj_scheduler *scheduler, uint64_t timeout_ns, void *user_data);

// Sets the function that waits when no task is ready; NULL restores the built-in one. `user_data`
// is passed to each call and stays the caller's. A scheduler that is NULL or running on another
// thread is reported in the log. Does not suspend.
void mj_scheduler_set_wait_func(struct mj_scheduler *scheduler,
                                mj_wait_fn function,
                                void *user_data);

// The built-in wait function: waits by epoll(7) for the descriptors that tasks wait for, to the
// nanosecond where the kernel can. `user_data` is not used. Other wait functions may call it. Does
// not suspend.
//
// Returns the number of events, or -1 after an ERROR line (one for a series of failures).
int mj_wait_epoll(struct mj_scheduler *scheduler, uint64_t timeout_ns, void *user_data);

// mj_wait_epoll() by poll(2) on mj_scheduler_backend_fd(): the model for wait functions that watch
// other things as well. Does not suspend.
//
// Returns the number of events, or -1, as mj_wait_epoll().
int mj_wait_poll(struct mj_scheduler *scheduler, uint64_t timeout_ns, void *user_data);

// Only sleeps, until the limit or mj_scheduler_stop(): for programs with timers only. Descriptors
// that tasks wait for are looked at when a sleep is over, and wake nobody before. `user_data` is
// not used. Does not suspend.
//
// Returns 0, or -1 after an ERROR line.
int mj_wait_nanosleep(struct mj_scheduler *scheduler, uint64_t timeout_ns, void *user_data);

// Returns a descriptor that is readable while the scheduler has something to do that a wait
// function cannot see: a descriptor that a task waits for is ready, or the run was stopped. Wait
// functions include it in what they wait for. It belongs to the scheduler: do not read, change or
// close it. Does not suspend. Errors:
//   -EINVAL  `scheduler` is NULL
//   -EPERM   the scheduler is running on another thread
//   and, in a child of fork(), as eventfd(2) and epoll_create1(2)
// A child asks for it again: what the parent was told is the parent's.
int mj_scheduler_backend_fd(struct mj_scheduler *scheduler);

// Makes a task ready: puts it at the end of the run queue, and ends its sleep or wait early (its
// timer counts as canceled). On the running task it makes the next suspending call return after
// one turn of the others. A task that is in the queue already stays where it is. One that
// mj_scheduler_dequeue() has taken out goes on with what ended its wait. A wait that no wake ends, see
// mj_task_wake(), goes on. Does not suspend. `task` may be any address.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL, or `task` is not a living task of it (also a WARN line)
//   -EPERM   the scheduler is running on another thread, from which mj_remote_wake() and mj_post() reach
//            it (also an ERROR line)
int mj_scheduler_enqueue(struct mj_scheduler *scheduler,
                         struct mj_task *task);

// Takes the first task out of the run queue. It does not run until it is enqueued again. Does not
// suspend.
//
// Returns the task, or NULL when the queue is empty, and with an ERROR line when the scheduler is
// running on another thread.
struct mj_task *mj_scheduler_dequeue(struct mj_scheduler *scheduler);

// A clock for sleeps and time limits: returns nanoseconds since any fixed moment, never less than
// before. UINT64_MAX, which stands for never, counts as one less. It is called often, in the middle
// of other calls, so it must not suspend, nor release what these use. A C++ exception that would
// leave it calls std::terminate(), after a line on stderr. See mj_scheduler_set_clock().
typedef uint64_t (*mj_clock_fn)(void *user_data);

// Sets the clock that sleeps and time limits follow, NULL for CLOCK_MONOTONIC. `user_data` is
// passed to each call and stays the caller's. With a wait function that advances the clock by the
// time it is asked to wait, a program runs in simulated time. Does not suspend.
//
// Returns 0. Errors:
//   -EINVAL  `scheduler` is NULL
//   -EBUSY   the scheduler is running, or has tasks with a timer
int mj_scheduler_set_clock(struct mj_scheduler *scheduler, mj_clock_fn clock, void *user_data);

// Returns the time by the scheduler's clock: for a limit of several waits, take the time and add
// to it once, and pass what is left to each; 0 for NULL, and with an ERROR line when the scheduler
// is running on another thread. Does not suspend.
uint64_t mj_scheduler_now_ns(struct mj_scheduler *scheduler);

// ---- The fields of a scheduler ------------------------------------------------------------------

// One scheduler: a run queue, a timer heap, and the loop over them. The fields are the real queue
// and heap, for reading; only `metrics.io_events` is also meant to be written, by wait functions
// that enqueue tasks themselves.
typedef struct mj_scheduler {
  // The task that runs next, NULL when none is ready.
  struct mj_task *runnable_head;
  // The task that runs last.
  struct mj_task *runnable_tail;
  // How many tasks are in the run queue.
  size_t runnable_count;
  // The sleeping tasks as a heap of `timer_count` entries, four children to each: the first one
  // wakes first.
  struct mj_task **timer_heap;
  // How many tasks have a timer.
  size_t timer_count;
  // How many entries `timer_heap` has room for.
  size_t timer_capacity;
  // The task that is running, NULL between tasks.
  struct mj_task *current_task;
  // The wait function, NULL for the built-in one.
  mj_wait_fn wait_func;
  // The wait function's last argument.
  void *wait_data;
  // Up to date after mj_scheduler_get_metrics(), before each wait and after
  // mj_scheduler_run(); in between, the execution and loop times lag.
  struct mj_metrics metrics;
} mj_scheduler;

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // MAJJEN_H

// ---- The guide's unprefixed names ---------------------------------------------------------------

// For code that was written with the guide: define MAJJEN_GUIDE_NAMES before an include to have them.
#if defined(MAJJEN_GUIDE_NAMES) && !defined(MAJJEN_GUIDE_NAMES_DEFINED)
#define MAJJEN_GUIDE_NAMES_DEFINED

// How many descriptors the guide's mj_epoll_data has room for. The library itself has no such limit.
#ifndef MAX_FDS
#define MAX_FDS 1024
#endif

// mj_scheduler_current().
static inline mj_scheduler *get_current_scheduler(void) { return mj_scheduler_current(); }

// mj_scheduler_enqueue(), without its result: misuse shows as a line in the log.
static inline void enqueue_runnable(mj_scheduler *scheduler, mj_task *task) {
  (void)mj_scheduler_enqueue(scheduler, task);
}

// mj_scheduler_dequeue().
static inline mj_task *dequeue_runnable(mj_scheduler *scheduler) {
  return mj_scheduler_dequeue(scheduler);
}

#endif  // MAJJEN_GUIDE_NAMES
