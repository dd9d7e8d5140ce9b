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
//! | `INLINE` | a message for its scheduler, whose loop is to run the function | `IN_LOOP` | the loop |
//! | | | none: freed by the loop when the message comes | the task, which leaves before that |
//! | `IN_LOOP` | the loop runs the function, so its task cannot leave meanwhile | `DONE` | the loop, after it |
//! | `RUNNING` | the function runs on a thread of the class | `DONE` | that thread, after it |
//! | | | `ABANDONED`, or without `abandon` `GIVEN_UP` | the task, canceled or timed out, or its scheduler's destruction |
//! | `GIVEN_UP` | as `RUNNING`, and the function may know; the task waits on, since the argument is its own | `DONE` | that thread |
//! | `ABANDONED` | the task has left | none: freed, after `abandon` | that thread |
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
//! known by the number of the process: the pool is emptied at its first use in the child, and a lock that
//! a thread of the parent held is free there. A job of the parent does not end in the child: whose task waits for
//! it there is told so. A child that is made on one of the pool's threads ends when the function
//! returns.

mod call;
mod class;
mod closure;
mod job;
mod pace;
mod process;
mod queue;
mod thread;
mod workers;

pub use call::run;
pub use class::Class;
pub use closure::{run_apart, run_within};
pub use job::{Work, is_canceled, is_thread_of_it};
pub use process::{counts, set_limit};
pub use workers::Counts;
