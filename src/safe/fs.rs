//! Files. What takes the time of a disk suspends the task, rather than block the thread: threads of the pool
//! do it.
//!
//! The functions are those of [`std::fs`], and behave like them. Outside a task they fail with an error that holds
//! [`Error::NotInTask`](crate::Error::NotInTask). When a task is canceled, or its time is over, what a thread
//! has begun goes on by itself: a file may still be written, renamed or removed. Only a call of an open [`File`],
//! which it borrows, waits until the thread is done with it.
//!
//! ```
//! use majjen::{Scheduler, fs};
//!
//! let path = std::env::temp_dir().join(format!("majjen-doc-fs-{}", std::process::id()));
//! let scheduler = Scheduler::new()?;
//! let text = scheduler.spawn(move || {
//!     fs::write(&path, "hello")?;
//!     let text = fs::read_to_string(&path);
//!     fs::remove_file(&path)?;
//!     text
//! });
//! scheduler.run()?;
//! assert_eq!(text.join()??, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod file;

pub use file::File;

use std::ffi::CString;
use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::blocking::{self, Class};
use super::time::limit;
use super::unwind::suspending;
use crate::engine::files;
use crate::engine::sys::{Bytes, Result};

/// Has a thread of the pool do something, and suspends the task meanwhile.
fn on_worker<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    blocking::run_in(Class::File, act)?
}

fn c_path(path: &Path) -> io::Result<CString> {
    let wrong = |_| io::Error::new(ErrorKind::InvalidInput, "there is a NUL in the path");
    CString::new(path.as_os_str().as_bytes()).map_err(wrong)
}

/// What is done by the core to a path.
fn on_path<T>(path: &Path, act: impl FnOnce(&std::ffi::CStr) -> Result<T>) -> io::Result<T> {
    let path = c_path(path)?;
    Ok(suspending(|| act(&path))?)
}

/// Reads a whole file. One that has no end, such as `/dev/zero`, does not fit: [`read_at_most`] has a limit.
/// What is on no disk, such as a FIFO, is read by the task, to its end.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let read = scheduler.spawn(|| fs::read("Cargo.toml"));
/// scheduler.run()?;
/// assert!(read.join()??.starts_with(b"[package]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system calls.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_at_most(path, usize::MAX)
}

/// [`read`] of a file that has at most so many bytes.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let read = scheduler.spawn(|| fs::read_at_most("Cargo.toml", 10));
/// scheduler.run()?;
/// assert_eq!(read.join()?.unwrap_err().kind(), std::io::ErrorKind::FileTooLarge);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] if it has more, and those of the system calls.
pub fn read_at_most(path: impl AsRef<Path>, most: usize) -> io::Result<Vec<u8>> {
    let bytes = on_path(path.as_ref(), |path| files::read_all(path, most, limit(None)))?;
    Ok(bytes.as_slice().to_vec())
}

/// [`read`] of a file that is text.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let text = scheduler.spawn(|| fs::read_to_string("Cargo.toml"));
/// scheduler.run()?;
/// assert!(text.join()??.contains("[package]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidData`] if it is not UTF-8, and those of the system calls.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let wrong = |_| io::Error::new(ErrorKind::InvalidData, "the file is not valid UTF-8");
    String::from_utf8(read(path)?).map_err(wrong)
}

/// Writes a whole file, which is created, or emptied first. The data is copied.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let path = std::env::temp_dir().join(format!("majjen-doc-write-{}", std::process::id()));
/// let scheduler = Scheduler::new()?;
/// let written = scheduler.spawn(move || {
///     fs::write(&path, b"hello")?;
///     fs::remove_file(&path)
/// });
/// scheduler.run()?;
/// written.join()??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system calls.
pub fn write(path: impl AsRef<Path>, data: impl AsRef<[u8]>) -> io::Result<()> {
    let mut copy = Bytes::new();
    copy.push(data.as_ref())?;
    on_path(path.as_ref(), |path| files::write_all(path, copy, 0o666, limit(None)))
}

/// What the system knows of a file.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let metadata = scheduler.spawn(|| fs::metadata("Cargo.toml"));
/// scheduler.run()?;
/// assert!(metadata.join()??.is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system call.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref().to_owned();
    on_worker(move || std::fs::metadata(path))
}

/// [`metadata`] of a link itself.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let metadata = scheduler.spawn(|| fs::symlink_metadata("/proc/self"));
/// scheduler.run()?;
/// assert!(metadata.join()??.is_symlink());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system call.
pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref().to_owned();
    on_worker(move || std::fs::symlink_metadata(path))
}

/// Removes a file.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let removed = scheduler.spawn(|| fs::remove_file("no-such-file"));
/// scheduler.run()?;
/// assert_eq!(removed.join()?.unwrap_err().kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system call.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    on_path(path.as_ref(), |path| files::unlink(path, limit(None)))
}

/// Renames a file or a directory, and replaces a file that has the new name.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let renamed = scheduler.spawn(|| fs::rename("no-such-file", "another"));
/// scheduler.run()?;
/// assert_eq!(renamed.join()?.unwrap_err().kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system call.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let to = c_path(to.as_ref())?;
    on_path(from.as_ref(), |from| files::rename(from, &to, limit(None)))
}

/// Makes a directory.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let path = std::env::temp_dir().join(format!("majjen-doc-dir-{}", std::process::id()));
/// let scheduler = Scheduler::new()?;
/// let made = scheduler.spawn(move || {
///     fs::create_dir(&path)?;
///     fs::remove_dir(&path)
/// });
/// scheduler.run()?;
/// made.join()??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system call.
pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    on_path(path.as_ref(), |path| files::make_directory(path, 0o777, limit(None)))
}

/// Removes a directory that is empty.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let removed = scheduler.spawn(|| fs::remove_dir("no-such-directory"));
/// scheduler.run()?;
/// assert_eq!(removed.join()?.unwrap_err().kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system call.
pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    on_path(path.as_ref(), |path| files::remove_directory(path, limit(None)))
}

/// What is in a directory, in no order: all at once, unlike in the standard library.
///
/// An entry's `file_type` takes no time where the file system has told it to `read_dir`, as most do. Else it blocks
/// the thread, as the entry's `metadata` always does: [`symlink_metadata`] of its path suspends the task instead.
///
/// ```
/// use majjen::{Scheduler, fs};
///
/// let scheduler = Scheduler::new()?;
/// let entries = scheduler.spawn(|| fs::read_dir("."));
/// scheduler.run()?;
/// assert!(entries.join()??.iter().any(|entry| entry.file_name() == "Cargo.toml"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the system calls.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
    let path = path.as_ref().to_owned();
    on_worker(move || std::fs::read_dir(path)?.collect())
}
