//! Lines to C's stdout and stderr, in order with the program's own output.

use std::ffi::{c_char, c_int};

use super::level::Level;
use super::line::{Line, Prefix};
use super::settings::Settings;
use super::start;

unsafe extern "C" {
    fn majjen_shim_write_line(to_stderr: c_int, line: *const c_char, length: usize) -> c_int;
}

/// Writes to stdout, or from ERROR on to stderr; in a Rust program all to stderr, unless it has said
/// otherwise.
pub fn write(line: &mut Line, settings: &Settings) {
    let mut prefix = Prefix::new();
    prefix.push_settings(settings, line.level);
    let to_stderr = c_int::from(line.level >= Level::Error || start::is_stderr_only());
    let bytes = line.framed(&prefix);
    // SAFETY: the bytes are good for the call. A failed write cannot be reported anywhere better.
    unsafe { majjen_shim_write_line(to_stderr, bytes.as_ptr().cast(), bytes.len()) };
}
