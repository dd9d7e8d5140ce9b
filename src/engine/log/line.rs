//! A line: a message in a buffer with headroom before it, so that the prefix and the newline can be
//! added without moving or allocating anything.

use std::ffi::c_char;
use std::fmt;
use std::marker::PhantomData;

use super::level::Level;
use super::settings::Settings;
use super::time::stamp_of_now;

/// Bytes before a message for its prefix; `shim.h` has the same number.
pub const HEADROOM: usize = 96;

/// A message of `length` bytes, with [`HEADROOM`] bytes before it and one after.
pub struct Line<'b> {
    pub level: Level,
    buffer: *mut u8,
    length: usize,
    borrow: PhantomData<&'b mut [u8]>,
}

impl<'b> Line<'b> {
    /// # Safety
    /// `buffer` is [`HEADROOM`] writable bytes, which may be uninitialized, `length` bytes, and one
    /// more writable byte; nobody else uses them while the line lives.
    pub unsafe fn new(level: Level, buffer: *mut u8, length: usize) -> Line<'b> {
        Line { level, buffer, length, borrow: PhantomData }
    }

    pub fn text(&self) -> &[u8] {
        // SAFETY: the message, which is initialized.
        unsafe { std::slice::from_raw_parts(self.buffer.add(HEADROOM), self.length) }
    }

    pub fn text_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else uses it.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.add(HEADROOM), self.length) }
    }

    /// The message as a C string.
    pub fn message(&mut self) -> *const c_char {
        self.set_last_byte(0);
        self.buffer.wrapping_add(HEADROOM).cast()
    }

    /// The prefix, the message and a newline.
    pub fn framed(&mut self, prefix: &Prefix) -> &[u8] {
        self.set_last_byte(b'\n');
        let start = HEADROOM - prefix.length;
        // SAFETY: the prefix ends where the message begins, and is not longer than the room before
        // it. So all bytes up to the newline are written.
        unsafe {
            let start = self.buffer.add(start);
            start.copy_from_nonoverlapping(prefix.bytes.as_ptr(), prefix.length);
            std::slice::from_raw_parts(start, prefix.length + self.length + 1)
        }
    }

    fn set_last_byte(&mut self, byte: u8) {
        // SAFETY: the byte after the message, which is writable.
        unsafe { self.buffer.add(HEADROOM + self.length).write(byte) };
    }
}

/// The prefix of a message. Bytes that do not fit into the [`HEADROOM`] are left out.
pub struct Prefix {
    bytes: [u8; HEADROOM],
    length: usize,
}

impl Prefix {
    pub fn new() -> Prefix {
        Prefix { bytes: [0; HEADROOM], length: 0 }
    }

    pub fn push(&mut self, text: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + text.len()) {
            room.copy_from_slice(text);
            self.length += text.len();
        }
    }

    /// `[date time] [LEVEL] `, or the parts of it that the settings include.
    pub fn push_settings(&mut self, settings: &Settings, level: Level) {
        if settings.include_time {
            self.push(&stamp_of_now());
        }
        if settings.include_level {
            self.push(level.tag().as_bytes());
        }
    }
}

impl fmt::Write for Prefix {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn with_line(message: &str, test: impl FnOnce(&mut Line)) {
        let mut buffer = vec![b'?'; HEADROOM];
        buffer.extend_from_slice(message.as_bytes());
        buffer.push(0);
        // SAFETY: the headroom, the message, and one byte more.
        test(&mut unsafe { Line::new(Level::Info, buffer.as_mut_ptr(), message.len()) });
    }

    fn message(line: &mut Line) -> String {
        // SAFETY: a C string in the line's buffer.
        unsafe { CStr::from_ptr(line.message()) }.to_str().unwrap().to_owned()
    }

    /// As happens when the receiver changes while a line is on its way.
    #[test]
    fn a_line_can_go_to_a_file_and_then_to_a_callback_and_back() {
        let mut prefix = Prefix::new();
        prefix.push(b"[INFO] ");
        for text in ["", "text"] {
            with_line(text, |line| {
                let framed = format!("[INFO] {text}\n");
                assert_eq!(message(line), text);
                assert_eq!(line.framed(&prefix), framed.as_bytes());
                assert_eq!(message(line), text);
                assert_eq!(line.framed(&prefix), framed.as_bytes());
            });
        }
    }

    #[test]
    fn a_prefix_takes_what_fits() {
        let mut prefix = Prefix::new();
        prefix.push(&[b'a'; HEADROOM - 1]);
        prefix.push(b"bc");
        prefix.push(b"d");
        prefix.push(b"e");
        with_line("text", |line| {
            let expected = format!("{}dtext\n", "a".repeat(HEADROOM - 1));
            assert_eq!(line.framed(&prefix), expected.as_bytes());
        });
    }
}
