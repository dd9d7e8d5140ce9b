//! Closures on threads of the pool, in memory of their own or in that of the task.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::Class;
use super::call;
use super::job::Work;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result};

/// A job, and then what it has returned.
union Slot<J, T> {
    job: ManuallyDrop<J>,
    output: ManuallyDrop<T>,
}

/// Work in memory of its own. Whoever ends the job writes nothing behind it: the pool says whose it is.
struct Apart<J, T> {
    slot: Slot<J, T>,
    /// Whether `slot` is the output.
    has_run: bool,
}

/// Runs a job on a worker, in memory of its own: when the task is canceled or out of time it leaves at once,
/// and what the job returns is dropped by the worker. A job that has not begun then is dropped without.
/// It must not panic.
pub fn run_apart<J, T>(class: Class, limit: Limit, job: J) -> Result<T>
where
    J: FnOnce() -> T + Send,
    T: Send,
{
    let memory = NonNull::new(sys::allocate::<Apart<J, T>>(1)).ok_or(Error::OutOfMemory)?;
    let slot = Slot { job: ManuallyDrop::new(job) };
    // SAFETY: fresh memory for one.
    unsafe { memory.write(Apart { slot, has_run: false }) };
    let argument = memory.as_ptr().cast::<c_void>();
    let function = run_apart_on_worker::<J, T>;
    let work = Work { function, argument, abandon: Some(drop_apart::<J, T>) };
    // SAFETY: the functions are for this type. The argument is the pool's until one of them, or this call,
    // has it, and then that one's.
    match unsafe { call::run(class, work, limit.deadline) } {
        // SAFETY: this call's again.
        Ok(()) if unsafe { !(*memory.as_ptr()).has_run } => {
            // The thread has ended within the job, which is not there to be dropped any more.
            // SAFETY: from `allocate`, and nobody else's.
            unsafe { sys::free(argument) };
            Err(Error::Canceled)
        }
        Ok(()) => {
            // SAFETY: the job has run, so this is the output, which is moved out of its memory once.
            let output = unsafe { ManuallyDrop::take(&mut (*memory.as_ptr()).slot.output) };
            // SAFETY: from `allocate`, and nobody else's.
            unsafe { sys::free(argument) };
            Ok(output)
        }
        // It is the pool's, or, in a child of fork(), its parent's.
        Err(error @ (Error::TimedOut | Error::Canceled | Error::OwnerDied)) => Err(error),
        Err(error) => {
            // SAFETY: the pool has not taken it.
            unsafe { drop_apart::<J, T>(argument) };
            Err(error)
        }
    }
}

/// # Safety
/// The address of an [`Apart`] of these types, whose job has not run.
unsafe extern "C" fn run_apart_on_worker<J: FnOnce() -> T, T>(argument: *mut c_void) {
    // SAFETY: as this function's contract says.
    let apart = unsafe { &mut *argument.cast::<Apart<J, T>>() };
    // SAFETY: the job has not run, and is taken once.
    let job = unsafe { ManuallyDrop::take(&mut apart.slot.job) };
    apart.slot.output = ManuallyDrop::new(job());
    apart.has_run = true;
}

/// # Safety
/// The address of an [`Apart`] of these types, in memory of its own, which is not used again.
unsafe extern "C" fn drop_apart<J, T>(argument: *mut c_void) {
    // SAFETY: as this function's contract says.
    let apart = unsafe { &mut *argument.cast::<Apart<J, T>>() };
    // SAFETY: the field says which it is.
    unsafe {
        if apart.has_run {
            ManuallyDrop::drop(&mut apart.slot.output);
        } else {
            ManuallyDrop::drop(&mut apart.slot.job);
        }
        sys::free(argument);
    }
}

/// Work in the memory of the task.
struct Within<J, T> {
    job: Option<J>,
    output: Option<T>,
}

/// Runs a job on a worker that uses memory of the task, such as its buffers: the call ends when the job
/// has ended. Canceled or out of time it is only if the job has not begun. It must not panic.
pub fn run_within<J, T>(class: Class, limit: Limit, job: J) -> Result<T>
where
    J: FnOnce() -> T,
{
    let mut within = Within { job: Some(job), output: None };
    let argument = (&raw mut within).cast::<c_void>();
    let work = Work { function: run_within_on_worker::<J, T>, argument, abandon: None };
    // SAFETY: the function is for this type; `within` stays until the call has returned, and without
    // a function that abandons it nobody uses it then.
    unsafe { call::run(class, work, limit.deadline)? };
    within.output.ok_or(Error::Canceled) // It has run.
}

/// # Safety
/// The address of a [`Within`] of these types.
unsafe extern "C" fn run_within_on_worker<J: FnOnce() -> T, T>(argument: *mut c_void) {
    // SAFETY: as this function's contract says; the task waits.
    let within = unsafe { &mut *argument.cast::<Within<J, T>>() };
    within.output = within.job.take().map(|job| job());
}
