//! The logger: one for the process, shared by all threads, without locks.
//!
//! A line passes through here in four steps: `mj_log` compares its level with [`THRESHOLD`]; the C
//! shim formats it; [`deliver`](mod@deliver) looks up the receiver in the [`settings`]; the
//! program's callback, a [`stream`], the [`file`](mod@file) or the [`syslog`]. The library's own
//! lines enter by [`info`] and its siblings.

mod configure;
mod counted;
mod deliver;
mod escape;
mod file;
mod level;
mod limit;
mod line;
mod own_line;
mod settings;
mod sink;
mod start;
mod stream;
mod swappable_fd;
mod syslog;
mod time;

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt;
use std::panic::Location;

use crate::engine::context::switch;
use crate::engine::sys;
use deliver::{deliver, letting_exceptions_pass, stopping_exceptions};
use level::THRESHOLD;
use line::{HEADROOM, Line};
use own_line::{LongLine, OwnLine};

pub use configure::{configure, reopen_file, set_callback, set_file, set_streams, set_syslog};
pub use counted::Counted;
pub use escape::set_escape;
pub use level::{Level, enabled, level};
pub use settings::{Receiver, Settings, current};
pub use sink::dropped;
pub use start::{begin, begin_for_rust};

/// Sets the level from which lines are written.
pub fn set_level(from: Level) {
    start::begin();
    level::set_level(from);
}

pub fn trace(message: fmt::Arguments<'_>) {
    log(Level::Trace, message);
}

pub fn debug(message: fmt::Arguments<'_>) {
    log(Level::Debug, message);
}

pub fn info(message: fmt::Arguments<'_>) {
    log(Level::Info, message);
}

/// Logs a warning. The lines of one caller are limited, see [`limit`].
#[cold]
#[inline(never)]
#[track_caller]
pub fn warn(message: fmt::Arguments<'_>) {
    log_limited(Level::Warn, message, Location::caller(), log_enabled);
}

/// Logs an error. As [`warn`].
#[cold]
#[inline(never)]
#[track_caller]
pub fn error(message: fmt::Arguments<'_>) {
    log_limited(Level::Error, message, Location::caller(), log_enabled);
}

/// [`error`] of a line that may be long: truncated to 2,000 bytes, which are on the caller's stack. For the loop,
/// which is on the thread's own.
#[cold]
#[inline(never)]
#[track_caller]
pub fn long_error(message: fmt::Arguments<'_>) {
    log_limited(Level::Error, message, Location::caller(), log_long);
}

fn log_limited(
    level: Level,
    message: fmt::Arguments<'_>,
    place: &'static Location<'static>,
    write: fn(Level, fmt::Arguments<'_>),
) {
    if !enabled(level) {
        return;
    }
    match limit::admit(place) {
        None => {}
        Some(0) => write(level, message),
        Some(count) => {
            write(level, format_args!("{message} ({count} lines like it were left out)"));
        }
    }
}

/// Logs a line that the program has asked for just now: whatever level is set, of WARN, which the streams have on
/// stderr. Truncated as by [`long_error`], for the same callers.
#[cold]
#[inline(never)]
pub fn answer(message: fmt::Arguments<'_>) {
    log_long(Level::Warn, message);
}

/// Leave to write warnings of several lines: as one of [`warn`] to the limit.
pub struct Permit {
    left_out: Cell<u64>,
}

/// Asks for it. Nothing if no line is to be written.
#[track_caller]
pub fn permit_warning() -> Option<Permit> {
    let place = Location::caller();
    let left_out = enabled(Level::Warn).then(|| limit::admit(place)).flatten()?;
    Some(Permit { left_out: Cell::new(left_out) })
}

impl Permit {
    /// Logs a line of the warning. The first one says how many warnings like it were left out.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        match self.left_out.take() {
            0 => log(Level::Warn, message),
            count => {
                log(Level::Warn, format_args!("{message} ({count} lines like it were left out)"))
            }
        }
    }
}

/// Says how many lines were left out so far: at the end of a run, since what has caused them may
/// not come again.
#[track_caller]
pub fn report_left_out() {
    match limit::take_left_out(Location::caller()) {
        0 => {}
        count => log(
            Level::Warn,
            format_args!("{count} warnings and errors like those before were left out"),
        ),
    }
}

/// Logs a line of the library's own, truncated to 300 bytes. Preserves errno. Runs the program's
/// callback, which may call the library, so the caller must hold no `RefCell` borrow.
#[inline]
fn log(level: Level, message: fmt::Arguments<'_>) {
    if enabled(level) {
        log_enabled(level, message);
    }
}

#[cold]
fn log_enabled(level: Level, message: fmt::Arguments<'_>) {
    let errno = sys::errno();
    deliver(&mut OwnLine::new(level, message).line(), stopping_exceptions);
    sys::set_errno(errno);
}

fn log_long(level: Level, message: fmt::Arguments<'_>) {
    let errno = sys::errno();
    deliver(&mut LongLine::new(level, message).line(), stopping_exceptions);
    sys::set_errno(errno);
}

/// Logs a line of a program in Rust, of any length. As [`log`].
pub fn program_line(level: Level, message: fmt::Arguments<'_>) {
    if level == Level::Silent || !enabled(level) {
        return;
    }
    let errno = sys::errno();
    let mut bytes = vec![0; HEADROOM];
    // Fails when an argument's `Display` fails: the text before it is logged.
    let _ = std::io::Write::write_fmt(&mut bytes, message);
    let length = bytes.len() - HEADROOM;
    bytes.push(0);
    // SAFETY: the bytes are the headroom, the message, and one more; they live longer than the
    // line.
    let line = &mut unsafe { Line::new(level, bytes.as_mut_ptr(), length) };
    deliver(line, stopping_exceptions);
    sys::set_errno(errno);
}

unsafe extern "C" {
    fn majjen_shim_log();
    fn majjen_shim_vlog();
}

/// Exports the variadic `mj_log`, which stable Rust can neither define nor export from a library of
/// C: checks the level, and leaves the rest to the shim. Here and not in `ffi` because the header
/// declares it by hand.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn mj_log() {
    switch::log_trampoline!(THRESHOLD, majjen_shim_log)
}

/// The address of [`mj_log`].
pub const MJ_LOG: *const c_void = mj_log as *const c_void;

/// As [`mj_log`], with a `va_list`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn mj_vlog() {
    switch::log_trampoline!(THRESHOLD, majjen_shim_vlog)
}

/// Takes a line from the shim. `buffer` is [`HEADROOM`] writable bytes, a message of `length`
/// bytes, and a NUL, which may be overwritten.
///
/// # Safety
/// As said of `buffer`; the level is one of TRACE to FATAL.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn majjen_log_emit(level: u32, buffer: *mut c_char, length: usize) {
    let level = Level::from_int(level).unwrap_or(Level::Fatal);
    // SAFETY: as this function's contract says.
    let line = &mut unsafe { Line::new(level, buffer.cast(), length) };
    deliver(line, letting_exceptions_pass);
}

/// Warns about an invalid call of `mj_log`.
#[unsafe(no_mangle)]
extern "C" fn majjen_log_misuse(level: u32, format: *const c_char) {
    if Level::from_int(level).is_none_or(|level| level == Level::Silent) {
        warn(format_args!(
            "mj_log: {level} is not a level from MJ_LOG_TRACE to MJ_LOG_FATAL; the line is dropped"
        ));
    } else if format.is_null() {
        warn(format_args!("mj_log: the format is NULL; the line is dropped"));
    } else {
        warn(format_args!("mj_log: the format or an argument is invalid; the line is dropped"));
    }
}
