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
/// outlive the scheduler, and then serves the next one whose task uses it. Returns the mutex, or
/// NULL with errno EINVAL (NULL), ENOMEM, or EPERM (the scheduler is running on another thread).
/// Release it with mj_mutex_destroy(). Does not suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_create(scheduler: *mut mj_scheduler) -> *mut mj_mutex {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_mutex_create", |home| Ok(Mutex::new(home))) }
}

/// Releases a mutex. Returns 0; -EBUSY, and leaves it as it is, when a living task has locked it,
/// waits for it, or waits for a condition with it; -EINVAL for NULL; -EPERM when its scheduler is
/// running on another thread, or another one on this thread. Does not suspend.
///
/// The pointer is NULL or a live mutex, not used again if this succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_destroy(mutex: *mut mj_mutex) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(mutex) }
}

/// Locks a mutex for the running task, waiting at most `timeout_ns` nanoseconds (MJ_FOREVER:
/// without limit) in FIFO order. Returns 0 when it is locked, and else it is not, so check the
/// result: -ETIMEDOUT; -EDEADLK when the task itself has locked it; -EOWNERDEAD when its owner has
/// ended, or ends meanwhile, without unlocking it: it stays locked for good and can only be
/// destroyed; -EINTR when the task was woken or enqueued before; -ECANCELED when the task is
/// canceled and would have to wait, or has spent its budget; -ENOMEM; -EINVAL for NULL; -EPERM outside
/// a task, and for a mutex of another scheduler. May suspend, also if it is free, as mj_chan_send(), but
/// not when the task has locked another one and this one is free.
///
/// The pointer is NULL or a live mutex.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_lock(mutex: *mut mj_mutex, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    status(reported(
        "mj_mutex_lock",
        unsafe { object_ref(mutex) }.and_then(|mutex| mutex.lock(Limit::after_ns(timeout_ns))),
    ))
}

/// mj_mutex_lock() without waiting. Returns as mj_mutex_lock(), and -EBUSY when another task has
/// locked it. Does not suspend.
///
/// The pointer is NULL or a live mutex.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_try_lock(mutex: *mut mj_mutex) -> c_int {
    // SAFETY: as this function's contract says.
    status(reported("mj_mutex_try_lock", unsafe { object_ref(mutex) }.and_then(Mutex::try_lock)))
}

/// Unlocks a mutex, and hands it off to the first waiting task, which becomes ready. Returns 0;
/// -EPERM when the running task has not locked it, outside a task, and for a mutex of another
/// scheduler; -EINVAL for NULL. Does not suspend.
///
/// The pointer is NULL or a live mutex.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_mutex_unlock(mutex: *mut mj_mutex) -> c_int {
    // SAFETY: as this function's contract says.
    status(reported("mj_mutex_unlock", unsafe { object_ref(mutex) }.and_then(Mutex::unlock)))
}

/// Makes a condition variable for the tasks of one scheduler. Returns the condition variable, or
/// NULL with errno as mj_mutex_create(). Release it with mj_cond_destroy(). Does not suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_create(scheduler: *mut mj_scheduler) -> *mut mj_cond {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_cond_create", |home| Ok(Condvar::new(home))) }
}

/// Releases a condition variable. Returns 0; -EBUSY, and leaves it as it is, while a task waits
/// that was not signaled; -EINVAL and -EPERM as mj_mutex_destroy(). Does not suspend.
///
/// The pointer is NULL or a live condition variable, not used again if this succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_destroy(cond: *mut mj_cond) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(cond) }
}

/// Unlocks the mutex, which the running task has locked, suspends until a signal comes, at most
/// `timeout_ns` nanoseconds (MJ_FOREVER: without limit), and locks it again, which is not
/// interrupted, neither by the timeout nor by mj_task_cancel(). There are no spurious wake-ups; but
/// check the condition again, since other tasks may have run after the signal. Returns with the
/// mutex locked: 0 when signaled; -ETIMEDOUT, -EINTR, -ENOMEM and -ECANCELED as mj_mutex_lock(),
/// after it has unlocked the mutex and yielded. Returns without the mutex: -EPERM when the task has
/// not locked it, outside a task, and for objects of another scheduler; -EOWNERDEAD when a later
/// owner has ended without unlocking it. Returns with the mutex as it was: -EINVAL for NULL, and
/// when tasks wait with another mutex; -ECANCELED after mj_task_exit(). May suspend.
///
/// The pointers are NULL or live objects.
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
/// mutex. The caller need not own the mutex. Returns 0; -EINVAL for NULL; -EPERM when its scheduler
/// is running on another thread, or another one on this thread. Outside a task as well. Does not
/// suspend.
///
/// The pointer is NULL or a live condition variable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_signal(cond: *mut mj_cond) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(cond) }.and_then(Condvar::signal))
}

/// mj_cond_signal() for all tasks that wait; they lock the mutex in FIFO order. Returns as
/// mj_cond_signal(). Does not suspend.
///
/// The pointer is NULL or a live condition variable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cond_broadcast(cond: *mut mj_cond) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(cond) }.and_then(Condvar::broadcast))
}

/// Makes a semaphore for the tasks of one scheduler, with a number of permits at the start. It may
/// outlive the scheduler. Returns the semaphore, or NULL with errno as mj_mutex_create(). Release
/// it with mj_sem_destroy(). Does not suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_create(scheduler: *mut mj_scheduler, permits: u32) -> *mut mj_sem {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_sem_create", |home| Ok(Semaphore::new(home, permits))) }
}

/// Releases a semaphore. Returns 0; -EBUSY, and leaves it as it is, while a task waits for it;
/// -EINVAL and -EPERM as mj_mutex_destroy(). Does not suspend.
///
/// The pointer is NULL or a live semaphore, not used again if this succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_destroy(semaphore: *mut mj_sem) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(semaphore) }
}

/// Takes permits, all at once, waiting at most `timeout_ns` nanoseconds (MJ_FOREVER: without limit)
/// until there are as many. FIFO: a small request waits behind an earlier large one. Returns 0 when
/// they are taken, and else takes none: -ETIMEDOUT, -EINTR, -ECANCELED, -ENOMEM, -EINVAL and -EPERM
/// as mj_mutex_lock(). May suspend, as mj_chan_send().
///
/// The pointer is NULL or a live semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_acquire(
    semaphore: *mut mj_sem,
    permits: u32,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let semaphore = unsafe { object_ref(semaphore) };
    let limit = Limit::after_ns(timeout_ns);
    let acquired = semaphore.and_then(|semaphore: &Semaphore| semaphore.acquire(permits, limit));
    status(reported("mj_sem_acquire", acquired))
}

/// mj_sem_acquire() without waiting. Works outside a task too. Returns 0 when they are taken;
/// -EAGAIN when there are not enough, or others wait; -EINVAL for NULL; -EPERM as mj_cond_signal().
/// Does not suspend.
///
/// The pointer is NULL or a live semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_try_acquire(semaphore: *mut mj_sem, permits: u32) -> c_int {
    // SAFETY: as this function's contract says.
    let semaphore = unsafe { object_ref(semaphore) };
    status(semaphore.and_then(|semaphore: &Semaphore| semaphore.try_acquire(permits)))
}

/// Releases permits, or adds new ones, and readies the tasks whose requests they satisfy. Any task
/// may, not only one that has acquired some. Returns 0; -EOVERFLOW, and adds none, when there would
/// be more than UINT32_MAX; -EINVAL for NULL; -EPERM as mj_cond_signal(). Outside a task as well.
/// Does not suspend.
///
/// The pointer is NULL or a live semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_release(semaphore: *mut mj_sem, permits: u32) -> c_int {
    // SAFETY: as this function's contract says.
    let semaphore = unsafe { object_ref(semaphore) };
    status(semaphore.and_then(|semaphore: &Semaphore| semaphore.release(permits)))
}

/// Returns how many permits there are to take, 0 for NULL. Does not suspend.
///
/// The pointer is NULL or a live semaphore.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_sem_available(semaphore: *const mj_sem) -> u32 {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(semaphore) }.map_or(0, Semaphore::available)
}

/// Makes a wait group for the tasks of one scheduler: a counter, 0 at the start, of work that is
/// not done yet. It may outlive the scheduler. Returns the wait group, or NULL with errno as
/// mj_mutex_create(). Release it with mj_waitgroup_destroy(). Does not suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_create(scheduler: *mut mj_scheduler) -> *mut mj_waitgroup {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_waitgroup_create", |home| Ok(WaitGroup::new(home))) }
}

/// Releases a wait group, whatever its count. Returns 0; -EBUSY, and leaves it as it is, while a
/// task waits for it; -EINVAL and -EPERM as mj_mutex_destroy(). Does not suspend.
///
/// The pointer is NULL or a live wait group, not used again if this succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_destroy(group: *mut mj_waitgroup) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(group) }
}

/// Adds to the count, best before the tasks that will do it are created. Returns 0; -EOVERFLOW, and
/// adds nothing, when it would pass SIZE_MAX; -EINVAL for NULL; -EPERM as mj_cond_signal(). Outside
/// a task as well. Does not suspend.
///
/// The pointer is NULL or a live wait group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_add(group: *mut mj_waitgroup, count: usize) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(group) }.and_then(|group: &WaitGroup| group.add(count)))
}

/// Takes 1 from the count; when that makes it 0, readies all tasks that wait. Returns 0; -EINVAL
/// for NULL and when it is 0 already; -EPERM as mj_cond_signal(). Outside a task as well. Does not
/// suspend.
///
/// The pointer is NULL or a live wait group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_done(group: *mut mj_waitgroup) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(group) }.and_then(WaitGroup::done))
}

/// Waits until the count is 0, at most `timeout_ns` nanoseconds (MJ_FOREVER: without limit). Any
/// number of tasks may wait, and the group may be used again at once. Returns 0 when it was 0;
/// -ETIMEDOUT, -EINTR, -ECANCELED, -ENOMEM, -EINVAL and -EPERM as mj_mutex_lock(). May suspend, as
/// mj_chan_send().
///
/// The pointer is NULL or a live wait group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_waitgroup_wait(group: *mut mj_waitgroup, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let group = unsafe { object_ref(group) };
    let limit = Limit::after_ns(timeout_ns);
    status(reported("mj_waitgroup_wait", group.and_then(|group: &WaitGroup| group.wait(limit))))
}
