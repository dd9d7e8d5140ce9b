//! A line of the library's own.

use std::fmt::{self, Write};

use super::level::Level;
use super::line::{HEADROOM, Line};

/// Most of the library's own lines are short.
const SHORT: usize = 300;
/// Those that may be long, and are written on a stack that has the room.
const LONG: usize = 2000;

/// A line of the library's own.
pub type OwnLine = LineOf<{ HEADROOM + SHORT + 1 }>;
pub type LongLine = LineOf<{ HEADROOM + LONG + 1 }>;

/// A line with the room that a [`Line`] needs: the headroom, the message, and a byte more.
pub struct LineOf<const BYTES: usize> {
    level: Level,
    bytes: [u8; BYTES],
    length: usize,
}

impl<const BYTES: usize> LineOf<BYTES> {
    /// What a message has at most.
    const MESSAGE_BYTES: usize = BYTES - HEADROOM - 1;

    pub fn new(level: Level, message: fmt::Arguments<'_>) -> LineOf<BYTES> {
        let mut line = LineOf { level, bytes: [0; BYTES], length: 0 };
        // Fails when the line is full: what fits is logged.
        let _ = line.write_fmt(message);
        line
    }

    pub fn line(&mut self) -> Line<'_> {
        // SAFETY: the bytes are the headroom, the message, and at least one more; the line borrows
        // them.
        unsafe { Line::new(self.level, self.bytes.as_mut_ptr(), self.length) }
    }
}

impl<const BYTES: usize> Write for LineOf<BYTES> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(Self::MESSAGE_BYTES - self.length);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        let start = HEADROOM + self.length;
        self.bytes[start..start + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADROOM, Level, OwnLine, SHORT};

    #[test]
    fn a_line_of_its_own_is_cut_between_characters() {
        for before in 0..4 {
            let text = "x".repeat(before) + &"\u{20ac}".repeat(SHORT);
            let line = OwnLine::new(Level::Info, format_args!("{text}"));
            assert!(line.length > SHORT - 3);
            let bytes = &line.bytes[HEADROOM..HEADROOM + line.length];
            assert!(text.as_bytes().starts_with(bytes));
            assert!(str::from_utf8(bytes).is_ok());
        }
    }
}
