//! The pool: threads of the process that run functions which block, or compute for long, for tasks of
//! any scheduler.
//!
//! There is one for each [`Class`] of jobs, with a queue, a limit and threads of its own, so that
//! names that nobody resolves hold up no file. It is made at first use.
//!
//! # A job
//!
//! A task waits for its job, which is in memory of its own, since the task may leave before the
//! function ends.
//!
//! | state | is | goes to | by whom |
//! |---|---|---|---|
//! | `QUEUED` | in the class's queue | `RUNNING` | a thread of the class, under the lock of the class |
//! | | | none: it is the scheduler's again | the task, which leaves before the function has begun, under the lock |
//! | | | `INLINE` | who finds that the class can have no thread at all, under the lock |
//! | `INLINE` | a message for its scheduler, whose loop runs the function | `RUNNING` | the loop; if the task has left it frees the job instead |
//! | `RUNNING` | the function runs | `DONE` | who runs it, after it |
//! | | | `GIVEN_UP`, `ABANDONED` | the task, canceled or timed out |
//! | `GIVEN_UP` | as `RUNNING`, and the function may know; the task waits on, since the argument is its own | `DONE` | who runs it |
//! | `ABANDONED` | the task has left | none: freed, after `abandon` | who runs it |
//! | `DONE` | the function has ended | none | the scheduler's thread, by the message: it readies the task, if that has not left, and frees the job |
//!
//! The task's side is always its scheduler's thread: the task itself, the loop on its behalf, or who
//! destroys the scheduler. That it has left is in `Job::task`, which only that side touches.
//!
//! # A thread
//!
//! A thread of a class is *coming*, *busy* or *asleep*, all of which [`Workers`] counts under the
//! class's lock: `workers.rs`.
//!
//! # fork()
//!
//! A child has the memory of its parent's pool, but none of its threads. What is of the parent is
//! known by the number of the process: the pool is emptied at its first use in the child, and locks
//! that were held are open again. A job of the parent does not end in the child: whose task waits for
//! it there is told so. A child that is made on one of the pool's threads ends when the function
//! returns.

mod call;
mod futex;
mod job;
mod lock;
mod pace;
mod thread;
mod workers;

use std::ffi::CStr;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};

pub use call::{Work, run};
pub use job::is_canceled;

use crate::engine::sys::{self, Error, Result};
use crate::engine::threads::{ForkSafeMutex, this_process};
use workers::Workers;

/// What kind of work a function does: each has threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Class {
    /// It computes.
    Cpu = 0,
    /// It waits for files, or for anything else that blocks.
    File = 1,
    /// It waits for names to be resolved.
    Dns = 2,
}

impl Class {
    const ALL: [Class; 3] = [Class::Cpu, Class::File, Class::Dns];

    /// The class of a number.
    pub(crate) fn of(number: u32) -> Result<Class> {
        let found = Class::ALL.into_iter().find(|class| *class as u32 == number);
        found.ok_or(Error::InvalidArgument)
    }

    /// The name of its threads.
    fn thread_name(self) -> &'static CStr {
        match self {
            Class::Cpu => c"mj-cpu",
            Class::File => c"mj-file",
            Class::Dns => c"mj-dns",
        }
    }

    /// How many threads it may have at first.
    fn first_limit(self) -> usize {
        match self {
            Class::Cpu => sys::processors().max(2),
            Class::File => 64,
            Class::Dns => 32,
        }
    }

    fn workers(self) -> &'static Workers {
        &pool().classes[self as usize]
    }

    /// [`workers`](Self::workers), if this process has used them.
    fn workers_if_begun(self) -> Option<&'static Workers> {
        let has_begun = POOL.process.load(Acquire) == this_process();
        has_begun.then(|| &POOL.classes[self as usize])
    }
}

struct Pool {
    /// The process that the classes are of: 0 before the first use.
    process: AtomicU32,
    classes: [Workers; Class::ALL.len()],
}

#[cfg(not(loom))]
static POOL: Pool = Pool {
    process: AtomicU32::new(0),
    classes: [const { Workers::new(thread::start) }; Class::ALL.len()],
};

// Not used: models make workers of their own.
#[cfg(loom)]
static POOL: std::sync::LazyLock<Pool> = std::sync::LazyLock::new(|| Pool {
    process: AtomicU32::new(0),
    classes: std::array::from_fn(|_| Workers::new(Box::new(thread::start))),
});

/// This process's pool.
fn pool() -> &'static Pool {
    if POOL.process.load(Acquire) != this_process() {
        begin();
    }
    &POOL
}

/// Empties the pool at its first use in a process.
#[cold]
fn begin() {
    static BEGINNING: ForkSafeMutex<()> = ForkSafeMutex::new(());
    let _beginning = BEGINNING.lock();
    if POOL.process.load(Acquire) == this_process() {
        return;
    }
    thread::prepare();
    for class in Class::ALL {
        // SAFETY: no thread of this process has used it, as its number says.
        unsafe { POOL.classes[class as usize].begin(class.first_limit()) };
    }
    POOL.process.store(this_process(), Release);
}

/// Sets how many threads a class may have.
pub fn set_limit(class: Class, threads: usize) -> Result<()> {
    if threads == 0 {
        return Err(Error::InvalidArgument);
    }
    class.workers().set_limit(class, threads);
    Ok(())
}

/// What a class does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Threads.
    pub threads: usize,
    /// Those of them that have nothing to do.
    pub idle: usize,
    /// Functions that wait for a thread.
    pub queued: usize,
    /// Functions that run on threads of the class.
    pub running: usize,
    /// Functions that were given to the loops of their schedulers since the process began, because there was
    /// no thread to be had.
    pub ran_in_loop: u64,
}

/// What a class does at the moment.
pub fn counts(class: Class) -> Counts {
    class.workers().counts()
}
