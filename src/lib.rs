//! Majjen: a cooperative task runtime with a C ABI.
//!
//! A scheduler runs tasks on one thread. Each task has a stack of its own, so a call that waits
//! suspends it in place while others run. C programs use `include/majjen.h` and `libmajjen.so`;
//! Rust programs use what is documented here, beginning with [`Scheduler`].
//!
//! `ARCHITECTURE.md` is the map. In short, from the outside in: `ffi` is the C ABI and only
//! converts; `scheduler` is the loop, `turn` how tasks take turns, `parking` how waits begin and
//! end, `suspend` what they can wait for, `primitives` the mutexes and channels; `task_object`,
//! `run_queue`, `timer_heap`, `waiters`, `stack` and `reactor` are what these work on; `switch` is
//! the assembly and `sys` the system calls; `clock`, `metrics`, `log`, `signals`, `overflow`,
//! `thread_words`, `sanitizer`, `fork_lock`, `wait` and `error` are what their names say. `debug` is
//! for debuggers.

mod engine;
mod ffi;
mod safe;

#[cfg(test)]
#[path = "../tests/models/latch.rs"]
mod latch;

pub use engine::sys::{Error, Result};
pub use safe::{
    Builder, Distribution, Instant, JoinError, JoinHandle, Metrics, Scheduler, StopHandle, Wait,
    logger, net, sync, task,
};
