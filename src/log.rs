//! The logger: one for the process, shared by all threads, without locks.
//!
//! A line passes through here in four steps: `mj_log` compares its level with [`THRESHOLD`]; the C
//! shim formats it; [`majjen_log_emit`] picks the receiver; and that is the program's callback, or
//! the stream writer. The library's own lines come in by [`info`] and its siblings.
//!
//! The callback and its data must be read as a pair, while another thread may be setting a new
//! pair. So each pair is a [`Sink`] that never changes and is never freed, and the current one is a
//! pointer. Setting a pair that was set before finds its old sink, so a program that switches to
//! and fro does not leak.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::fmt::{self, Write};
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::error::{Error, Result};
use crate::{scheduler, switch, sys};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Fatal = 5,
    Silent = 6,
}

impl Level {
    pub fn from_int(level: u32) -> Option<Level> {
        use Level::{Debug, Error, Fatal, Info, Silent, Trace, Warn};
        [Trace, Debug, Info, Warn, Error, Fatal, Silent].get(level as usize).copied()
    }

    fn name(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
            Level::Silent => "SILENT",
        }
    }
}

/// Receives lines: level, text, user data.
pub type Callback = unsafe extern "C" fn(u32, *const c_char, *mut c_void);

/// Lines below it are dropped, by [`enabled`] and by the door of `mj_log`.
static THRESHOLD: AtomicU32 = AtomicU32::new(Level::Info as u32);

/// Where lines go; null for the streams.
static SINK: AtomicPtr<Sink> = AtomicPtr::new(null_mut());

/// All sinks ever set, linked by `next`.
static SINKS: AtomicPtr<Sink> = AtomicPtr::new(null_mut());

struct Sink {
    callback: Callback,
    user_data: *mut c_void,
    next: *mut Sink,
}

/// Whether lines of a level are written.
#[inline(always)]
pub fn enabled(level: Level) -> bool {
    level as u32 >= THRESHOLD.load(Relaxed)
}

pub fn set_level(level: Level) {
    THRESHOLD.store(level as u32, Relaxed);
}

/// Sets the callback, or with `None` the streams. The callback must stay callable while it is set.
pub fn set_callback(callback: Option<Callback>, user_data: *mut c_void) -> Result<()> {
    let sink = match callback {
        Some(callback) => intern(callback, user_data)?,
        None => null_mut(),
    };
    SINK.store(sink, Release);
    Ok(())
}

/// The sink with this callback and data, made if it is new.
fn intern(callback: Callback, user_data: *mut c_void) -> Result<*mut Sink> {
    let mut next = SINKS.load(Acquire);
    // SAFETY: sinks are never freed.
    while let Some(sink) = unsafe { next.as_ref() } {
        if std::ptr::fn_addr_eq(sink.callback, callback) && sink.user_data == user_data {
            return Ok(next);
        }
        next = sink.next;
    }
    let sink = sys::allocate::<Sink>(1);
    if sink.is_null() {
        return Err(Error::OutOfMemory);
    }
    let mut first = SINKS.load(Acquire);
    loop {
        // SAFETY: fresh memory for a sink, which no other thread knows until the exchange.
        unsafe { sink.write(Sink { callback, user_data, next: first }) };
        match SINKS.compare_exchange_weak(first, sink, AcqRel, Acquire) {
            Ok(_) => return Ok(sink),
            Err(now) => first = now,
        }
    }
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
    let mut line = OwnLine { bytes: [0; HEADROOM + OWN_LINE_BYTES + 1], length: 0 };
    // Fails when the line is full: what fits is logged.
    let _ = line.write_fmt(message);
    // SAFETY: the buffer has the headroom, the message, and a NUL after it.
    unsafe { majjen_log_emit(level as u32, line.bytes.as_mut_ptr().cast(), line.length) };
    sys::set_errno(errno);
}

/// The library's own lines are short.
const OWN_LINE_BYTES: usize = 300;

struct OwnLine {
    bytes: [u8; HEADROOM + OWN_LINE_BYTES + 1],
    length: usize,
}

impl Write for OwnLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(OWN_LINE_BYTES - self.length);
        let start = HEADROOM + self.length;
        self.bytes[start..start + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Bytes before a message that [`write_to_stream`] may fill; `shim.h` has the same number.
const HEADROOM: usize = 64;

unsafe extern "C" {
    fn majjen_shim_log();
    fn majjen_shim_vlog();
    fn majjen_shim_write_line(to_stderr: c_int, line: *const c_char, length: usize) -> c_int;
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

/// Hands a formatted line to its receiver. `line` is [`HEADROOM`] writable bytes, a message of
/// `length` bytes, and a NUL, which may be overwritten.
///
/// # Safety
/// As said of `line`; the level is one of TRACE to FATAL.
#[unsafe(no_mangle)]
unsafe extern "C" fn majjen_log_emit(level: u32, line: *mut c_char, length: usize) {
    // SAFETY: sinks are never freed.
    let sink = unsafe { SINK.load(Acquire).as_ref() };
    let busy = in_callback();
    match sink {
        // A callback that logs would come back here without end: its own lines go to the streams.
        Some(sink) if !busy.replace(true) => {
            // SAFETY: the program's function, with the arguments of its type. `busy` is a cell of
            // the task or the thread that runs the callback; a task is not released before the
            // callback returns.
            unsafe { (sink.callback)(level, line.wrapping_add(HEADROOM), sink.user_data) };
            busy.set(false);
        }
        // SAFETY: as this function's contract says.
        _ => unsafe { write_to_stream(level, line, length) },
    }
}

/// Whether a callback is running: of the running task, or of the thread outside tasks. Not of the
/// thread alone, since a callback may suspend its task, and the others' lines must still reach it.
fn in_callback<'t>() -> &'t Cell<bool> {
    match scheduler::running_task() {
        Some((_, task)) => &task.in_log_callback,
        // SAFETY: the thread's own variable.
        None => unsafe { &(*switch::thread()).in_log_callback },
    }
}

/// Writes `[date time] [LEVEL] text` to stdout, or from ERROR on to stderr.
///
/// # Safety
/// As [`majjen_log_emit`].
unsafe fn write_to_stream(level: u32, line: *mut c_char, length: usize) {
    let level = Level::from_int(level).unwrap_or(Level::Fatal);
    let mut prefix = [0u8; HEADROOM];
    let mut prefix_length = 0;
    for part in [b"[", &time_stamp()[..], b"] [", level.name().as_bytes(), b"] "] {
        prefix[prefix_length..prefix_length + part.len()].copy_from_slice(part);
        prefix_length += part.len();
    }
    let line = line.cast::<u8>();
    let start = HEADROOM - prefix_length;
    // SAFETY: the prefix fits in the headroom, the newline takes the NUL's place.
    unsafe {
        line.add(start).copy_from_nonoverlapping(prefix.as_ptr(), prefix_length);
        line.add(HEADROOM + length).write(b'\n');
        // A stream that cannot be written to has no better place to say so.
        majjen_shim_write_line(
            c_int::from(level >= Level::Error),
            line.add(start).cast(),
            prefix_length + length + 1,
        );
    }
}

/// The local time, formatted once a second: the first thread to log in a new second renews the
/// cache.
fn time_stamp() -> [u8; 19] {
    /// Taken while the cache is read or written. Never waited for, so a child of fork() cannot
    /// hang.
    static BUSY: AtomicBool = AtomicBool::new(false);
    static SECOND: AtomicI64 = AtomicI64::new(i64::MIN);
    static TEXT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

    let now = sys::unix_time_s();
    let mut text = [0u8; 19];
    let cached = !BUSY.swap(true, Acquire);
    if cached && SECOND.load(Relaxed) == now {
        for (piece, word) in text.chunks_mut(8).zip(&TEXT) {
            piece.copy_from_slice(&word.load(Relaxed).to_ne_bytes()[..piece.len()]);
        }
    } else {
        sys::format_local_time(now, &mut text);
        if cached {
            for (piece, word) in text.chunks(8).zip(&TEXT) {
                let mut bytes = [0u8; 8];
                bytes[..piece.len()].copy_from_slice(piece);
                word.store(u64::from_ne_bytes(bytes), Relaxed);
            }
            SECOND.store(now, Relaxed);
        }
    }
    if cached {
        BUSY.store(false, Release);
    }
    text
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
