//! Functions that block, or compute for long, on threads of the library's own.
//!
//! A task that calls one waits, while the other tasks of its thread run. The threads are the process's, made
//! when they are needed; they end after ten seconds without work. Each [`Class`] has threads of its own, at most
//! as many as [`set_limit`] says.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use super::unwind::suspending;
use crate::engine::pool::{self, Work};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

pub use crate::engine::pool::{Class, Counts};

/// [`run_in`] with [`Class::Cpu`].
///
/// ```
/// use majjen::{Scheduler, blocking};
///
/// let scheduler = Scheduler::new()?;
/// let sum = scheduler.spawn(|| blocking::run(|| (1..=1_000_000u64).sum::<u64>()));
/// scheduler.run()?;
/// assert_eq!(sum.join()??, 500_000_500_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`run_in`].
pub fn run<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    run_in(Class::Cpu, function)
}

/// Runs a closure on a thread of a class, and returns its result. Its panic goes on in the caller.
///
/// The call is limited by [`task::timeout`](super::task::timeout()) and
/// [`task::set_deadline`](super::task::set_deadline). If it ends early, by that or because the task is
/// canceled, a closure that has not begun will not, and is dropped at once. One that has begun goes on, and can
/// ask [`is_canceled`]; its result is dropped on its thread.
///
/// If the system lets the process have no thread at all, the closure is run by the scheduler's loop, which it
/// blocks, and a line of the log says so.
///
/// All signals but those of faults are blocked in the threads. A program that the closure starts, by
/// [`std::process::Command`] for example, inherits that: start it by [`process::spawn`](super::process::spawn) in the
/// task, whose thread's mask it has then, or empty the mask around the call, by `pthread_sigmask` of the crate libc.
///
/// ```
/// use majjen::{Scheduler, blocking, blocking::Class};
///
/// let scheduler = Scheduler::new()?;
/// let task = scheduler.spawn(|| blocking::run_in(Class::File, || std::fs::read("/dev/null")));
/// scheduler.run()?;
/// assert!(task.join()??.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`], [`Error::Unwinding`], [`Error::OutOfMemory`], and [`Error::TimedOut`] when the
/// deadline of the task has passed; [`Error::OwnerDied`] in a child of fork(), where the closure runs in the
/// parent only.
pub fn run_in<T: Send + 'static>(
    class: Class,
    function: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    run_call(class, Call { function: Some(function), result: None })
}

/// A closure, and then its result.
struct Call<F, T> {
    function: Option<F>,
    result: Option<thread::Result<T>>,
}

fn run_call<F, T>(class: Class, call: Call<F, T>) -> Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let call = Box::into_raw(Box::new(call));
    let argument = call.cast();
    let work = Work { function: invoke::<F, T>, argument, abandon: Some(discard::<F, T>) };
    // SAFETY: the functions are for this type. Closure and result may be sent to other threads, borrow
    // nothing, and are dropped by one of: `discard`, and this function when that is not called.
    let ran = suspending(|| unsafe { pool::run(class, work, Deadline::Never) });
    if let Err(error @ (Error::Canceled | Error::TimedOut | Error::OwnerDied)) = ran {
        return Err(error); // And the call is the pool's; or of the parent's, which may be in the middle of it.
    }
    // SAFETY: from above, and no other thread has it.
    let Call { result, .. } = *unsafe { Box::from_raw(call) };
    ran?;
    match result {
        Some(Ok(value)) => Ok(value),
        Some(Err(panic)) => resume_unwind(panic),
        None => Err(Error::Canceled), // It has run, so there is one.
    }
}

/// # Safety
/// Called by the pool, with a `Call<F, T>`.
unsafe extern "C" fn invoke<F: FnOnce() -> T, T>(call: *mut c_void) {
    // SAFETY: as this function's contract says.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    if let Some(function) = call.function.take() {
        call.result = Some(catch_unwind(AssertUnwindSafe(function)));
    }
}

/// # Safety
/// Called by the pool, with a `Call<F, T>` from a box, which nobody uses.
unsafe extern "C" fn discard<F, T>(call: *mut c_void) {
    // SAFETY: as this function's contract says.
    let call = unsafe { Box::from_raw(call.cast::<Call<F, T>>()) };
    // A destructor that panics has told so by the panic hook. What it has thrown may panic when it is
    // dropped, too.
    let dropped: thread::Result<()> = catch_unwind(AssertUnwindSafe(|| drop(call)));
    let _: Option<()> = dropped.map_err(|panic: Box<dyn Any + Send>| std::mem::forget(panic)).ok();
}

/// Whether the task that waits for the closure which calls this does not wait any more: it was canceled, its
/// time is over, or its scheduler dropped. `false` elsewhere.
///
/// ```
/// use majjen::{Scheduler, blocking, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let task = scheduler.spawn(|| {
///     let limit = Duration::from_millis(1);
///     task::timeout(limit, || blocking::run(|| while !blocking::is_canceled() {}))
/// });
/// scheduler.run()?;
/// assert!(task.join()?.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn is_canceled() -> bool {
    pool::is_canceled()
}

/// Sets how many threads a class may have, for the whole process. At first these are as many as there are
/// processors for [`Class::Cpu`] (but two at the least), 64 for [`Class::File`], 32 for [`Class::Dns`].
/// Those that are too many end once they have nothing to run.
///
/// ```
/// use majjen::blocking::{self, Class};
///
/// blocking::set_limit(Class::Cpu, 4)?;
/// assert!(blocking::counts(Class::Cpu).threads <= 4);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidArgument`] for 0.
pub fn set_limit(class: Class, threads: usize) -> Result<()> {
    pool::set_limit(class, threads)
}

/// What a class does at the moment, in the whole process.
///
/// ```
/// use majjen::blocking::{self, Class};
///
/// assert_eq!(blocking::counts(Class::File).ran_in_loop, 0);
/// ```
pub fn counts(class: Class) -> Counts {
    pool::counts(class)
}
