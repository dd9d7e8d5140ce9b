//! Majjen: a cooperative task runtime with a C ABI.
//!
//! A scheduler runs tasks on one thread. Each task has a stack of its own, so a call that waits
//! suspends it in place while others run. C programs use `include/majjen.h` and `libmajjen.so`;
//! Rust programs use what is documented here, beginning with [`Scheduler`].
//!
//! `ARCHITECTURE.md` is the map. `ffi`, the C ABI, and `safe`, the Rust API, are the two APIs of
//! the `engine`, whose folders stand in the order in which they may use each other.

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("Majjen runs on Linux with glibc");

mod engine;
mod ffi;
mod safe;

#[cfg(test)]
#[path = "../tests/models/latch.rs"]
mod latch;

pub use engine::sys::{Error, Result};
pub use safe::{
    Builder, Distribution, Ended, Instant, JoinError, JoinHandle, Metrics, Panic, Remote,
    Scheduler, StopHandle, blocking, cluster, fs, io, logger, net, process, run_on_all_cores,
    set_long_turn_signal, signal, sync, task,
};
