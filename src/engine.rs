//! The runtime itself. The C ABI ([`crate::ffi`]) and the Rust API ([`crate::safe`]) are the two
//! APIs on top of it.
//!
//! The folders stand in the order of their arrows: each may use those before it, and none after it.
//! ARCHITECTURE.md has the table, and a test compares it with the imports.

pub mod children;
pub mod cluster;
pub mod context;
pub mod fd;
pub mod files;
pub mod inspect;
pub mod io;
pub mod log;
pub mod measure;
pub mod names;
pub mod pool;
pub mod process;
pub mod scheduler;
pub mod stream;
pub mod sync;
pub mod sys;
pub mod task;
pub mod threads;
pub mod time;
pub mod watchdog;
