//! The logger: one for the process, shared by all threads and schedulers. It has the library's own
//! lines, and those of programs.
//!
//! Lines have one receiver. At the start that is stderr, for lines from [`Level::Warn`] on, so a program
//! prints nothing that it was not asked for. (Where a program in C has made a scheduler or set up the logger
//! before, it is as that has it.)
//!
//! ```
//! use majjen::logger::{self, Level};
//!
//! logger::set_level(Level::Debug);
//! logger::log(Level::Debug, format_args!("{} of {}", 1, 2));
//! ```
//!
//! With the feature `log`, lines of the [`log`](https://docs.rs/log) crate go to this logger
//! (`install`), or those of this logger to that crate's (`forward`).

#[cfg(feature = "log")]
mod facade;

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::{fmt, io};

use super::panics::forget_payload;
use crate::engine::log;
use crate::engine::sys::Result;

#[cfg(feature = "log")]
pub use facade::{forward, install};
pub use log::Level;

/// Sets the level from which lines are written: [`Level::Warn`] unless set.
///
/// ```
/// use majjen::logger::{self, Level};
///
/// logger::set_level(Level::Info); // Tells when a scheduler starts and stops, for example.
/// assert!(logger::enabled(Level::Info));
/// ```
pub fn set_level(level: Level) {
    log::begin_for_rust();
    log::set_level(level);
}

/// The level from which lines are written.
///
/// ```
/// use majjen::logger::{self, Level};
///
/// assert_eq!(logger::level(), Level::Warn);
/// ```
pub fn level() -> Level {
    log::begin_for_rust();
    log::level()
}

/// Whether lines of a level are written now: to leave out work that only prepares one.
///
/// ```
/// use majjen::logger::{self, Level};
///
/// assert!(logger::enabled(Level::Error) && !logger::enabled(Level::Trace));
/// ```
pub fn enabled(level: Level) -> bool {
    log::begin_for_rust();
    level != Level::Silent && log::enabled(level)
}

/// Logs a line, if its level is at or above the level set.
///
/// ```
/// use majjen::logger::{self, Level};
///
/// let clients = 3;
/// logger::log(Level::Warn, format_args!("{clients} clients"));
/// ```
pub fn log(level: Level, message: fmt::Arguments<'_>) {
    log::begin_for_rust();
    log::program_line(level, message);
}

/// Sets a function that receives each line: its level, and its text without a newline. It is called
/// on the thread that logs, with no lock held, on the task's stack if a task logs. Lines that it
/// logs itself go to stderr. If it panics, the panic ends there.
///
/// It is kept for ever, since a thread may be about to call it: set few, and let them look at what
/// changes.
///
/// ```
/// use majjen::logger::{self, Level};
/// use std::sync::Mutex;
///
/// static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
///
/// logger::set_callback(|_, text| LINES.lock().unwrap().push(text.to_owned()))?;
/// logger::log(Level::Warn, format_args!("hello"));
/// logger::to_streams()?;
/// assert_eq!(*LINES.lock().unwrap(), ["hello"]);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// None: it is a result as that of its siblings.
pub fn set_callback(callback: impl Fn(Level, &str) + Send + Sync + 'static) -> Result<()> {
    log::begin_for_rust();
    let callback: Box<Callback> = Box::new(Box::new(callback));
    log::set_callback(Some(call), Box::into_raw(callback).cast());
    Ok(())
}

type Callback = Box<dyn Fn(Level, &str) + Send + Sync>;

/// Calls the program's function.
///
/// # Safety
/// The data is from [`set_callback`], and the message is a string.
unsafe extern "C-unwind" fn call(level: u32, message: *const c_char, callback: *mut c_void) {
    // SAFETY: as this function's contract says; callbacks are never freed.
    let (callback, message) = unsafe { (&*callback.cast::<Callback>(), CStr::from_ptr(message)) };
    let level = Level::from_int(level).unwrap_or(Level::Fatal);
    let text = message.to_string_lossy();
    // The panic hook has told of a panic. To log it would come back here.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(level, &text))) {
        forget_payload(payload);
    }
}

/// Lets lines go to the standard streams: from [`Level::Error`] on to stderr, below it to stdout.
///
/// ```
/// majjen::logger::to_streams()?;
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// None: it is a result as that of its siblings.
pub fn to_streams() -> Result<()> {
    log::begin_for_rust();
    log::set_streams(false);
    Ok(())
}

/// Lets all lines go to stderr, as they do at the start.
///
/// ```
/// majjen::logger::to_stderr()?;
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// None: it is a result as that of its siblings.
pub fn to_stderr() -> Result<()> {
    log::begin_for_rust();
    log::set_streams(true);
    Ok(())
}

/// Sets whether control characters in lines are escaped, as `\n`, `\t` or `\x1b`, and a backslash as two:
/// then each line is one, whatever the values in it are. Not at the start.
///
/// ```
/// use majjen::logger::{self, Level};
///
/// logger::set_escape(true);
/// logger::log(Level::Warn, format_args!("hello {}", "there\n[ERROR] forged")); // one line
/// ```
pub fn set_escape(escape: bool) {
    log::begin_for_rust();
    log::set_escape(escape);
}

/// Lets lines go to the end of a file, which is created if it is missing. A line that cannot be
/// written is lost, and [counted](dropped).
///
/// ```
/// use majjen::logger::{self, Level};
///
/// let path = std::env::temp_dir().join(format!("majjen-doc-{}.log", std::process::id()));
/// logger::to_file(&path)?;
/// logger::log(Level::Warn, format_args!("kept"));
/// std::fs::rename(&path, path.with_extension("old"))?;
/// logger::reopen_file()?;
/// assert!(std::fs::read_to_string(path.with_extension("old"))?.contains("kept"));
/// # std::fs::remove_file(path.with_extension("old"))?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of opening it; nothing has changed then.
pub fn to_file(path: impl AsRef<Path>) -> io::Result<()> {
    log::begin_for_rust();
    let path = CString::new(path.as_ref().as_os_str().as_bytes())?;
    Ok(log::set_file(&path)?)
}

/// Opens the file of [`to_file`] by its path again: for after it was renamed, or a program has closed
/// all descriptors. Without such a file does nothing.
///
/// ```
/// majjen::logger::reopen_file()?; // Where SIGHUP from logrotate is handled, for example.
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`to_file`]; lines still go to the old file then.
pub fn reopen_file() -> io::Result<()> {
    Ok(log::reopen_file()?)
}

/// Lets lines go to the system log. `ident`, of 1 to 48 bytes, says whose they are.
///
/// ```
/// if let Err(error) = majjen::logger::to_syslog("server") {
///     eprintln!("no system log, so lines stay on the streams: {error}");
/// }
/// # majjen::logger::to_streams()?;
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput` for the ident; `NotFound` and `ConnectionRefused` when no log daemon is running;
/// and those of the system calls. Nothing has changed then.
pub fn to_syslog(ident: &str) -> io::Result<()> {
    log::begin_for_rust();
    let ident = CString::new(ident)?;
    Ok(log::set_syslog(&ident)?)
}

/// How many lines were lost because their receiver did not take them: a stream, a file or the system log.
///
/// ```
/// assert_eq!(majjen::logger::dropped(), 0);
/// ```
pub fn dropped() -> u64 {
    log::dropped()
}
