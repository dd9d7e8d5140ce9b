//! A line of the library's own.

use std::fmt::{self, Write};

use super::level::Level;
use super::line::{HEADROOM, Line};

/// The library's own lines are short.
pub const OWN_LINE_BYTES: usize = 300;

/// A line of the library's own, with the room that a [`Line`] needs.
pub struct OwnLine {
    level: Level,
    bytes: [u8; HEADROOM + OWN_LINE_BYTES + 1],
    length: usize,
}

impl OwnLine {
    pub fn new(level: Level, message: fmt::Arguments<'_>) -> OwnLine {
        let mut line = OwnLine { level, bytes: [0; HEADROOM + OWN_LINE_BYTES + 1], length: 0 };
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
