//! Majjen: a cooperative task runtime with a C ABI.
//!
//! A scheduler runs tasks on one thread. Each task has a stack of its own, so a call that waits suspends it
//! in place while others run. C programs use `include/majjen.h` and `libmajjen.so`.
//!
//! `ARCHITECTURE.md` is the map. In short, from the outside in: `ffi` is the C ABI and only converts;
//! `scheduler` is the loop; `task`, `run_queue`, `timer_heap`, `stack` and `reactor` are what it works
//! on; `switch` is the assembly and `sys` the system calls; `clock`, `metrics`, `log`, `signals`, `wait` and
//! `error` are what their names say.

mod clock;
mod error;
mod ffi;
mod log;
mod metrics;
mod reactor;
mod run_queue;
mod scheduler;
mod signals;
mod stack;
mod switch;
mod sys;
mod task;
mod timer_heap;
mod wait;
