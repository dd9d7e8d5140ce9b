//! Mutexes, condition variables, semaphores and wait groups.

use std::ffi::c_int;

use super::types::{mj_cond, mj_mutex, mj_scheduler, mj_sem, mj_waitgroup};
use super::{Opaque, create_object, destroy_object, object_ref, reported, status};
use crate::engine::scheduler::Limit;
use crate::engine::sync::{Condvar, Mutex, Semaphore, WaitGroup};

impl Opaque for mj_mutex {
    type Object = Mutex;
}

impl Opaque for mj_cond {
    type Object = Condvar;
}

impl Opaque for mj_sem {
    type Object = Semaphore;
}

impl Opaque for mj_waitgroup {
    type Object = WaitGroup;
}

/// Makes a mutex for the tasks of one scheduler: a lock that one task at a time owns, and that
/// parks the others, not the thread. Waiters get it in FIFO order, by hand-off: a task that unlocks
/// it and locks it again queues behind them. Needed only if a critical section suspends. It may
/// outlive the scheduler, and then serves the next one whose task uses it. Does not suspend.
///
/// Returns the mutex, to be released with mj_mutex_destroy(), or NULL with errno as
/// mj_chan_create().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_create(scheduler: *mut mj_scheduler) -> *mut mj_mutex {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_mutex_create", |home| Ok(Mutex::new(home))) }
}

/// Releases a mutex. Does not suspend.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY           a living task has locked it, waits for it, or waits for a condition with it
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_destroy(mutex: *mut mj_mutex) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(mutex) }
}

/// Locks a mutex for the running task, waiting in FIFO order for at most `timeout_ns`. May suspend,
/// also if it is free, as mj_chan_send(); but not if it is free and the task has locked another
/// one.
///
/// Returns 0 when it is locked. Errors (it is not locked then, so check the result):
///   -ETIMEDOUT   it was not free in time
///   -EDEADLK     the task itself has locked it
///   -EOWNERDEAD  its owner has ended, or ends meanwhile, without unlocking it: it stays locked for
///                good and can only be destroyed
///   -EINTR       mj_task_wake() or mj_scheduler_enqueue() ended the wait
///   -ECANCELED   the task is canceled and would have to wait
///   -ENOMEM      no memory for the timer
///   -EINVAL      `mutex` is NULL
///   -EPERM       outside a task, or the mutex is another scheduler's
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_lock(mutex: *mut mj_mutex, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    status(reported(
        "mj_mutex_lock",
        unsafe { object_ref(mutex) }.and_then(|mutex| mutex.lock(Limit::after_ns(timeout_ns))),
    ))
}

/// mj_mutex_lock() without waiting. Does not suspend.
///
/// Returns 0 when it is locked. Errors:
///   -EAGAIN  another task has locked it
///   -EDEADLK, -EOWNERDEAD, -EINVAL, -EPERM  as mj_mutex_lock()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_try_lock(mutex: *mut mj_mutex) -> c_int {
    // SAFETY: as this function's contract says.
    status(reported("mj_mutex_try_lock", unsafe { object_ref(mutex) }.and_then(Mutex::try_lock)))
}

/// Unlocks a mutex, and hands it off to the first waiting task, which becomes ready. Does not
/// suspend.
///
/// Returns 0. Errors:
///   -EPERM   the running task has not locked it, outside a task, or the mutex is another
///            scheduler's
///   -EINVAL  `mutex` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_unlock(mutex: *mut mj_mutex) -> c_int {
    // SAFETY: as this function's contract says.
    status(reported("mj_mutex_unlock", unsafe { object_ref(mutex) }.and_then(Mutex::unlock)))
}

/// Makes a condition variable for the tasks of one scheduler. It may outlive the scheduler. Does
/// not suspend.
///
/// Returns the condition variable, to be released with mj_cond_destroy(), or NULL with errno as
/// mj_chan_create().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_create(scheduler: *mut mj_scheduler) -> *mut mj_cond {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_cond_create", |home| Ok(Condvar::new(home))) }
}

/// Releases a condition variable. Does not suspend.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY           a task waits that was not signaled
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_destroy(cond: *mut mj_cond) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(cond) }
}

/// Unlocks a mutex that the running task has locked, waits for a signal for at most `timeout_ns`,
/// and locks the mutex again. The limit, a wake and a cancellation end the wait for the signal, not
/// the wait for the mutex. There are no spurious wake-ups, but other tasks may have run after the
/// signal: check the condition again. Suspends.
///
/// Returns 0 when signaled, with the mutex locked. Errors, with the mutex locked again, after a
/// yield at least, unless it says otherwise:
///   -ETIMEDOUT       no signal came in time
///   -EINTR, -ENOMEM  as mj_mutex_lock()
///   -ECANCELED       as mj_mutex_lock(); after mj_task_exit() at once, and the mutex is as it was
///   -EOWNERDEAD      a later owner has ended without unlocking it; the mutex is not locked
///   -EPERM           the task had not locked it, outside a task, or an object is another
///                    scheduler's; the mutex is as it was
///   -EINVAL          an argument is NULL, or other tasks wait with another mutex; the mutex is as
///                    it was
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_wait(
    cond: *mut mj_cond,
    mutex: *mut mj_mutex,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let objects =
        unsafe { object_ref(cond).and_then(|cond| Ok((cond, object_ref::<mj_mutex>(mutex)?))) };
    let limit = Limit::after_ns(timeout_ns);
    let waited = objects.and_then(|(cond, mutex): (&Condvar, &Mutex)| cond.wait(mutex, limit));
    status(reported("mj_cond_wait", waited))
}

/// Wakes the task that has waited longest, if one waits; its call returns once it has locked the
/// mutex. The caller need not own the mutex, nor be a task. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_signal(cond: *mut mj_cond) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(cond) }.and_then(Condvar::signal))
}

/// mj_cond_signal() for all tasks that wait; they lock the mutex in FIFO order. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_broadcast(cond: *mut mj_cond) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(cond) }.and_then(Condvar::broadcast))
}

/// Makes a semaphore for the tasks of one scheduler, with an initial number of permits. It may
/// outlive the scheduler. Does not suspend.
///
/// Returns the semaphore, to be released with mj_sem_destroy(), or NULL with errno as
/// mj_chan_create().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_create(scheduler: *mut mj_scheduler, permits: u32) -> *mut mj_sem {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_sem_create", |home| Ok(Semaphore::new(home, permits))) }
}

/// Releases a semaphore. Does not suspend.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY           a task waits for it
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_destroy(sem: *mut mj_sem) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(sem) }
}

/// Takes permits, all at once, waiting for at most `timeout_ns` until there are enough. FIFO: a
/// small request waits behind an earlier large one. May suspend, as mj_chan_send().
///
/// Returns 0 when they are taken. Errors (none is taken then):
///   -ETIMEDOUT  there were not enough in time
///   -EINVAL     `sem` is NULL
///   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_mutex_lock()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_acquire(sem: *mut mj_sem, permits: u32, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let sem = unsafe { object_ref(sem) };
    let limit = Limit::after_ns(timeout_ns);
    let acquired = sem.and_then(|sem: &Semaphore| sem.acquire(permits, limit));
    status(reported("mj_sem_acquire", acquired))
}

/// mj_sem_acquire() without waiting. Works outside a task too. Does not suspend.
///
/// Returns 0 when they are taken. Errors:
///   -EAGAIN          there are not enough, or other tasks wait
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_try_acquire(sem: *mut mj_sem, permits: u32) -> c_int {
    // SAFETY: as this function's contract says.
    let sem = unsafe { object_ref(sem) };
    status(sem.and_then(|sem: &Semaphore| sem.try_acquire(permits)))
}

/// Gives permits back, or adds new ones, and readies the tasks whose requests they satisfy. Any
/// task may, not only one that has acquired some. Works outside a task too. Does not suspend.
///
/// Returns 0. Errors (none is added then):
///   -EOVERFLOW       there would be more than UINT32_MAX
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_release(sem: *mut mj_sem, permits: u32) -> c_int {
    // SAFETY: as this function's contract says.
    let sem = unsafe { object_ref(sem) };
    status(sem.and_then(|sem: &Semaphore| sem.release(permits)))
}

/// Returns how many permits can be taken, or 0 for NULL. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_available(sem: *const mj_sem) -> u32 {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(sem) }.map_or(0, Semaphore::available)
}

/// Makes a wait group for the tasks of one scheduler: a counter, at first 0, of work that is not
/// done yet. It may outlive the scheduler. Does not suspend.
///
/// Returns the wait group, to be released with mj_waitgroup_destroy(), or NULL with errno as
/// mj_chan_create().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_create(scheduler: *mut mj_scheduler) -> *mut mj_waitgroup {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_waitgroup_create", |home| Ok(WaitGroup::new(home))) }
}

/// Releases a wait group, whatever its count. Does not suspend.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY           a task waits for it
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_destroy(group: *mut mj_waitgroup) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(group) }
}

/// Adds to the count, best before the tasks that will do the work are created. Works outside a task
/// too. Does not suspend.
///
/// Returns 0. Errors (nothing is added then):
///   -EOVERFLOW       the count would pass SIZE_MAX
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_add(group: *mut mj_waitgroup, count: usize) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(group) }.and_then(|group: &WaitGroup| group.add(count)))
}

/// Takes 1 from the count; when that makes it 0, readies all tasks that wait. Works outside a task
/// too. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  the count is 0 already, or `group` is NULL
///   -EPERM   as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_done(group: *mut mj_waitgroup) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(group) }.and_then(WaitGroup::done))
}

/// Waits until the count is 0, for at most `timeout_ns`. Any number of tasks may wait, and the
/// group may be used again at once. May suspend, as mj_chan_send().
///
/// Returns 0 when the count was 0. Errors:
///   -ETIMEDOUT  it was not 0 in time
///   -EINVAL     `group` is NULL
///   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_mutex_lock()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_wait(group: *mut mj_waitgroup, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let group = unsafe { object_ref(group) };
    let limit = Limit::after_ns(timeout_ns);
    status(reported("mj_waitgroup_wait", group.and_then(|group: &WaitGroup| group.wait(limit))))
}
