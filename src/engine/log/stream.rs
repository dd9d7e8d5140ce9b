//! Lines to C's stdout and stderr, in order with the program's own output.
//!
//! The stream is locked for the line, so that lines of threads do not mix, and what waits in its
//! buffer is written first. The line itself is written to the stream's descriptor: stdio drops what
//! a nonblocking file does not take at once. A stream without a descriptor, which the program has
//! put in the place of stdout, gets its line by stdio.

use std::ffi::{c_char, c_int, c_void};

use super::level::Level;
use super::line::{Line, Prefix};
use super::settings::Settings;
use super::sink::Sink;
use super::time::read_time_zone;
use crate::engine::sys::{self, Error, QuietWrites, Result};

unsafe extern "C" {
    /// Locks C's stdout or stderr. Fills in its descriptor, -1 without one, and how many bytes wait
    /// in its buffer.
    fn majjen_shim_lock_stream(
        to_stderr: c_int,
        fd: *mut c_int,
        buffered: *mut usize,
    ) -> *mut c_void;
    /// Writes text and what waits in the buffer. Returns 0, or -1 with errno.
    fn majjen_shim_flush_stream(stream: *mut c_void, text: *const c_char, length: usize) -> c_int;
    fn majjen_shim_unlock_stream(stream: *mut c_void);
}

/// A standard stream, and its sink.
pub struct Stream {
    pub name: &'static std::ffi::CStr,
    pub sink: Sink,
    to_stderr: bool,
}

static STDOUT: Stream = Stream { name: c"stdout", sink: Sink::new(), to_stderr: false };
pub static STDERR: Stream = Stream { name: c"stderr", sink: Sink::new(), to_stderr: true };

/// The stream that the guide has for lines of a level.
pub fn for_level(level: Level) -> &'static Stream {
    if level >= Level::Error { &STDERR } else { &STDOUT }
}

impl Stream {
    pub fn write(&self, line: &mut Line, settings: &Settings) -> Result<()> {
        let mut writes = QuietWrites::begin();
        if settings.include_time {
            read_time_zone();
        }
        let (mut fd, mut buffered) = (-1, 0);
        // SAFETY: the addresses are good for the call.
        let stream =
            unsafe { majjen_shim_lock_stream(c_int::from(self.to_stderr), &mut fd, &mut buffered) };
        let written = if fd < 0 {
            let mut prefix = Prefix::new();
            prefix.push_settings(settings, line.level);
            flush(stream, line.framed(&prefix))
        } else {
            if buffered > 0 {
                self.flush_buffer(stream, fd, &mut writes);
            }
            self.sink.write(fd, &mut writes, line, settings)
        };
        // SAFETY: locked above, by this thread.
        unsafe { majjen_shim_unlock_stream(stream) };
        writes.has_failed |= written.is_err();
        written
    }

    /// Writes what the program has left in the buffer. What is lost of it is the program's: stdio
    /// says so to its next call.
    fn flush_buffer(&self, stream: *mut c_void, fd: c_int, writes: &mut QuietWrites) {
        // stdio drops what does not fit at once.
        let _ = sys::wait_for_room(fd, sys::monotonic_ns() + self.sink.patience_ns());
        writes.has_failed |= flush(stream, &[]).is_err();
    }
}

fn flush(stream: *mut c_void, text: &[u8]) -> Result<()> {
    // SAFETY: a stream that this thread has locked; the text is as long as said.
    let result = unsafe { majjen_shim_flush_stream(stream, text.as_ptr().cast(), text.len()) };
    if result == 0 { Ok(()) } else { Err(Error::Os(sys::errno())) }
}
