//! Files: what takes the time of a disk, or of another machine, is done by workers of the pool.
//!
//! What is done to a path is done in memory of the worker's own, so the task may leave: it is told that it
//! was canceled, or that its time is over, and what the worker has opened is closed again. A worker that
//! reads or writes the task's own buffers does not outlive the call: it ends when the worker has ended.

mod directory;
mod path;
mod place;
mod whole;

pub use directory::{Entries, list_directory};
pub use path::{make_directory, open, remove_directory, rename, stat, stat_link, sync, unlink};
pub use place::{read_at, write_at};
pub use whole::{read_all, write_all};
