//! The Rust API. Like the C ABI it converts and calls the core; unlike it, nothing that safe code
//! does with it can break memory safety, but for some uses of thread-locals (below). `lib.rs`
//! re-exports what is public here.
//!
//! # The states of a task, and who may change them
//!
//! The core knows a Rust task as any other one: a body, [`record::run`], and a `user_state`, here
//! a [`Record`](record::Record). The record is what makes it a Rust task.
//!
//! ```text
//!            spawn                   first turn                 the closure has returned,
//!   (closure) ───► record, with job ───────────► record, no job ───────── or was unwound ──► no record
//!                        │                            │                          (result in the packet)
//!                        │ Scheduler::drop            │ Scheduler::drop, when it will not unwind
//!                        ▼                            ▼
//!                    no record                   no record, stack kept
//! ```
//!
//! | what | set by | read by |
//! |---|---|---|
//! | `user_state`: the record, or null | `spawn`; `record::run` when the task ends; `Scheduler::drop` | `Record::of` |
//! | `Record::job`, taken once | `spawn`; `record::run`, `Scheduler::drop` | |
//! | `canceled` (the core's) | `JoinHandle::cancel`, `Scheduler::drop` | the core, on every call that suspends |
//! | `Record::depth`, `membership` | `spawn` | teardown: who borrows ends first; the record's drop |
//! | `Packet`: the result | the job, before the task ends | `JoinHandle` |
//! | `Shared::core`: the scheduler, or null | `Scheduler::drop`, once | handles, which may live longer |
//! | `Shared::closing` | `Scheduler::drop` and the thread's end, before all else | `spawn` |
//! | `Shared::thread_ends` | the thread's end | `Scheduler::run`, which refuses |
//! | `Shared::given_up` | `Scheduler::drop` and the thread's end, when a task could not be unwound | the thread's end |
//!
//! All of it belongs to one thread; only [`StopHandle`], [`Remote`] and a task's waker are for others.
//!
//! # Why it is sound
//!
//! - *A task does not move.* It runs on its own stack from its first turn to its end, and that
//!   stays mapped where it is. What refers to the scheduler refers to the core's, on the heap, so
//!   that [`Scheduler`] may be moved. Tasks, handles and the scheduler are not `Send`: they stay on
//!   the thread that made them, since closures and results need not be `Send` either.
//! - *A task borrows nothing that it can outlive.* Closures and results are `'static`, or those of a
//!   [`scope`](task::scope()), which has its own argument (`task/scope.rs`).
//! - *What borrows from a task's stack is not outlived by it.* Frames are left by returning and by
//!   unwinding, and in no other way: a stack whose frames were not left is never used again nor
//!   unmapped. So a destructor may be relied on, as `std::thread::scope` does. What a task has
//!   borrowed is either on its own stack, or owned by it, or `'static`, or a thread-local.
//! - *Unwinding passes Rust frames only.* It begins in this module, when the core has returned, and
//!   ends in `record::run`. Program functions that the core calls are caught where it calls them. A
//!   Rust function that C calls is `extern "C"`, and the compiler ends the process when a panic
//!   would leave it; the C ABI never raises, so C frames that call it see `-ECANCELED`.
//! - *Two tasks do not alias.* Nothing here is borrowed while user code runs or a task is
//!   suspended: the fields are cells, and what is taken out of them is owned.
//! - *The panic count fits.* The standard library counts panics by the thread. A task that unwinds
//!   cannot suspend, so the count is the running task's. Where a scheduler is dropped by a panic it is
//!   that of the thread as well, so there no task suspends that is asked to anew; and one that is
//!   given up while it unwinds leaves the count as it is.
//! - *Thread-locals.* A task may be parked in the middle of `LocalKey::with`, and may have lent the
//!   value to another thread, by `std::thread::scope`. So before a thread drops what tasks have
//!   used, they are unwound, wherever their scheduler is: in a thread-local, leaked, or forgotten
//!   (`thread_end`). If one cannot be, and there are other threads, the process is aborted. A
//!   scheduler that is dropped in its own run, by `exit()`, leaves its tasks' stacks alone. Four
//!   things cannot be seen from here, and are the program's to leave alone: an initializer of a
//!   thread-local that suspends; when a task has called `exit()`, a destructor of one that
//!   suspends, and a thread that uses what a task has lent it; and a task that suspends while a
//!   crate has put something into a thread-local for the time of a call
//!   ([`task`](task#thread-locals)).
//! - *Forgetting a scheduler* leaks it with its tasks. Until the thread ends nothing of them runs
//!   again.

pub mod blocking;
mod builder;
pub mod cluster;
pub mod fs;
mod group;
mod hooks;
pub mod io;
mod join;
pub mod logger;
mod long_turns;
mod metrics;
pub mod net;
mod panics;
pub mod process;
mod record;
mod remote;
mod scheduler;
mod shared;
pub mod signal;
mod stop;
pub mod sync;
pub mod task;
mod teardown;
mod thread_end;
mod time;
mod timeout;
mod trace;
mod unwind;

pub use crate::engine::scheduler::Ended;
pub use builder::Builder;
pub use cluster::run_on_all_cores;
pub use join::{JoinError, JoinHandle};
pub use long_turns::set_long_turn_signal;
pub use metrics::{Distribution, Metrics};
pub use panics::Panic;
pub use remote::Remote;
pub use scheduler::Scheduler;
pub use stop::StopHandle;
pub use time::Instant;
