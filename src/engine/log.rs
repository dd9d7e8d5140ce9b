//! The logger: one for the process, shared by all threads, without locks.
//!
//! A line passes through here in four steps: `mj_log` compares its level with [`THRESHOLD`]; the C
//! shim formats it; [`deliver`] looks up the receiver in the [`settings`]; and that is the
//! program's callback, a [`stream`], the [`file`](mod@file) or the [`syslog`]. The library's own
//! lines come in by [`info`] and its siblings.

mod descriptor;
mod file;
mod line;
mod loss;
mod settings;
mod stream;
mod syslog;
mod time;

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::engine::context::switch;
use crate::engine::{sys, task};
use line::Line;

pub use loss::count as lost_lines;
pub use settings::{
    Receiver, Settings, configure, current, reopen_file, set_callback, set_file, set_syslog,
};

/// How much a line matters.
///
/// ```
/// use majjen::logger::Level;
///
/// assert!(Level::Debug < Level::Info);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Steps of the loop.
    Trace = 0,
    /// What tasks do.
    Debug = 1,
    /// What an operator wants to know. The level set at the start.
    Info = 2,
    /// Misuse, and what may be wrong.
    Warn = 3,
    /// What failed.
    Error = 4,
    /// What cannot be recovered from. Logging it ends nothing.
    Fatal = 5,
    /// Only as the level from which lines are written: none is.
    Silent = 6,
}

impl Level {
    pub(crate) fn from_int(level: u32) -> Option<Level> {
        use Level::{Debug, Error, Fatal, Info, Silent, Trace, Warn};
        [Trace, Debug, Info, Warn, Error, Fatal, Silent].get(level as usize).copied()
    }

    /// As lines show it.
    fn tag(self) -> &'static str {
        match self {
            Level::Trace => "[TRACE] ",
            Level::Debug => "[DEBUG] ",
            Level::Info => "[INFO] ",
            Level::Warn => "[WARN] ",
            Level::Error => "[ERROR] ",
            Level::Fatal => "[FATAL] ",
            Level::Silent => "[SILENT] ",
        }
    }
}

/// Receives lines: level, text, user data.
pub type Callback = unsafe extern "C" fn(u32, *const c_char, *mut c_void);

/// Lines below it are dropped, by [`enabled`] and by the door of `mj_log`.
static THRESHOLD: AtomicU32 = AtomicU32::new(Level::Info as u32);

/// Whether lines of a level are written.
#[inline(always)]
pub fn enabled(level: Level) -> bool {
    level as u32 >= THRESHOLD.load(Relaxed)
}

/// The level from which lines are written.
pub fn level() -> Level {
    Level::from_int(THRESHOLD.load(Relaxed)).unwrap_or(Level::Silent)
}

pub fn set_level(level: Level) {
    THRESHOLD.store(level as u32, Relaxed);
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

pub fn warn(message: fmt::Arguments<'_>) {
    log(Level::Warn, message);
}

pub fn error(message: fmt::Arguments<'_>) {
    log(Level::Error, message);
}

/// Logs a line of the library's own, cut at [`OWN_LINE_BYTES`]. Preserves errno. Runs the
/// program's callback, so the caller must hold no borrow that a call into the library would meet.
#[inline]
fn log(level: Level, message: fmt::Arguments<'_>) {
    if enabled(level) {
        log_enabled(level, message);
    }
}

#[cold]
fn log_enabled(level: Level, message: fmt::Arguments<'_>) {
    let errno = sys::errno();
    deliver(&mut OwnLine::new(level, message).line());
    sys::set_errno(errno);
}

/// Logs a line of a program in Rust, of any length. As [`log`].
pub fn program_line(level: Level, message: fmt::Arguments<'_>) {
    if level == Level::Silent || !enabled(level) {
        return;
    }
    let errno = sys::errno();
    let mut bytes = vec![0; HEADROOM];
    // Fails when something in the line says so: what came before it is logged.
    let _ = std::io::Write::write_fmt(&mut bytes, message);
    let length = bytes.len() - HEADROOM;
    bytes.push(0);
    // SAFETY: the bytes are the headroom, the message, and one more; they live longer than the
    // line.
    deliver(&mut unsafe { Line::new(level, bytes.as_mut_ptr(), length) });
    sys::set_errno(errno);
}

/// The library's own lines are short.
const OWN_LINE_BYTES: usize = 300;

/// A line of the library's own, with the room that a [`Line`] needs.
struct OwnLine {
    level: Level,
    bytes: [u8; HEADROOM + OWN_LINE_BYTES + 1],
    length: usize,
}

impl OwnLine {
    fn new(level: Level, message: fmt::Arguments<'_>) -> OwnLine {
        let mut line = OwnLine { level, bytes: [0; HEADROOM + OWN_LINE_BYTES + 1], length: 0 };
        // Fails when the line is full: what fits is logged.
        let _ = line.write_fmt(message);
        line
    }

    fn line(&mut self) -> Line<'_> {
        // SAFETY: the bytes are the headroom, the message, and at least one more; the line borrows
        // them.
        unsafe { Line::new(self.level, self.bytes.as_mut_ptr(), self.length) }
    }
}

impl Write for OwnLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(OWN_LINE_BYTES - self.length);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        let start = HEADROOM + self.length;
        self.bytes[start..start + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Bytes before a message that a receiver may fill; `shim.h` has the same number.
const HEADROOM: usize = 96;

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
    switch::log_door!(THRESHOLD, majjen_shim_log)
}

/// As [`mj_log`], with a `va_list`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn mj_vlog() {
    switch::log_door!(THRESHOLD, majjen_shim_vlog)
}

/// Takes a line from the shim. `buffer` is [`HEADROOM`] writable bytes, a message of `length`
/// bytes, and a NUL, which may be overwritten.
///
/// # Safety
/// As said of `buffer`; the level is one of TRACE to FATAL.
#[unsafe(no_mangle)]
unsafe extern "C" fn majjen_log_emit(level: u32, buffer: *mut c_char, length: usize) {
    let level = Level::from_int(level).unwrap_or(Level::Fatal);
    // SAFETY: as this function's contract says.
    deliver(&mut unsafe { Line::new(level, buffer.cast(), length) });
}

/// Hands a line to its receiver.
fn deliver(line: &mut Line) {
    loop {
        let changes = settings::changes();
        let settings = current();
        let written = match settings.receiver {
            Receiver::Streams => return stream::write(line, settings),
            Receiver::Callback { function, user_data } => {
                let busy = in_callback();
                // A callback that logs would come back here without end: its own lines go to the
                // streams.
                if busy.replace(true) {
                    return stream::write(line, settings);
                }
                // SAFETY: the program's function, with the arguments of its type. `busy` is a cell
                // of the task or the thread that runs the callback; a task is not released before
                // the callback returns.
                unsafe { function(line.level as u32, line.message(), user_data) };
                return busy.set(false);
            }
            Receiver::File { .. } => file::write(line, settings),
            Receiver::Syslog { ident } => syslog::send(line, ident),
        };
        match written {
            Ok(()) => return loss::end(),
            // Another thread has changed the receiver, which closed the one that this line was on
            // its way to.
            Err(_) if settings::changes() != changes => {}
            Err(error) => return loss::add(settings, error),
        }
    }
}

/// Whether a callback is running: of the running task, or of the thread outside tasks. Not of the
/// thread alone, since a callback may suspend its task, and the others' lines must still reach it.
fn in_callback<'t>() -> &'t Cell<bool> {
    match task::running() {
        Some(task) => &task.in_log_callback,
        // SAFETY: the thread's own variable.
        None => unsafe { &(*switch::thread()).in_log_callback },
    }
}

/// Reports a call of `mj_log` that cannot be carried out.
#[unsafe(no_mangle)]
extern "C" fn majjen_log_misuse(level: u32, format: *const c_char) {
    if Level::from_int(level).is_none_or(|level| level == Level::Silent) {
        warn(format_args!("mj_log: {level} is not a level of a line"));
    } else if format.is_null() {
        warn(format_args!("mj_log: the format is NULL"));
    } else {
        warn(format_args!("mj_log: the line cannot be formatted"));
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADROOM, Level, OWN_LINE_BYTES, OwnLine};

    #[test]
    fn a_line_of_its_own_is_cut_between_characters() {
        for before in 0..4 {
            let text = "x".repeat(before) + &"\u{20ac}".repeat(OWN_LINE_BYTES);
            let line = OwnLine::new(Level::Info, format_args!("{text}"));
            assert!(line.length > OWN_LINE_BYTES - 3);
            let bytes = &line.bytes[HEADROOM..HEADROOM + line.length];
            assert!(text.as_bytes().starts_with(bytes));
            assert!(str::from_utf8(bytes).is_ok());
        }
    }
}
