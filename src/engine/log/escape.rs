//! Escaping control characters, so that a value with a newline in it does not look like a line of
//! its own, and one with an escape sequence does nothing to a terminal.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::line::{HEADROOM, Line};

static ESCAPE: AtomicBool = AtomicBool::new(false);

pub fn set_escape(escape: bool) {
    ESCAPE.store(escape, Relaxed);
}

/// Hands on a line, escaped if that is wanted and there is something to escape.
pub fn with_escaped<T>(line: &mut Line, then: impl FnOnce(&mut Line) -> T) -> T {
    if !ESCAPE.load(Relaxed) || !needs_escapes(line.text()) {
        return then(line);
    }
    let Some(mut bytes) = escaped(line.text()) else {
        blank_out(line.text_mut());
        return then(line);
    };
    let length = bytes.len() - HEADROOM - 1;
    // SAFETY: the headroom, the text, and one more byte; they live longer than the line.
    then(&mut unsafe { Line::new(line.level, bytes.as_mut_ptr(), length) })
}

/// The control characters of ASCII, and those that UTF-8 writes as 0xC2 and a byte below 0xA0. A
/// backslash, too, so that what is read can be told from what was escaped.
fn is_special(before: u8, byte: u8) -> bool {
    byte < b' ' || byte == 0x7f || byte == b'\\' || is_c1(before, byte)
}

fn is_c1(before: u8, byte: u8) -> bool {
    before == 0xC2 && (0x80..0xA0).contains(&byte)
}

/// Each byte, and the one before it.
fn pairs(text: &[u8]) -> impl Iterator<Item = (u8, u8)> {
    std::iter::once(0).chain(text.iter().copied()).zip(text.iter().copied())
}

fn needs_escapes(text: &[u8]) -> bool {
    pairs(text).any(|(before, byte)| is_special(before, byte))
}

/// The buffer of a line with the escaped text: `\n`, `\t`, `\r`, `\\`, and `\x1b` for the others.
/// `None` without memory.
fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    const LONGEST: usize = 4;
    let mut bytes = Vec::new();
    let room = text.len().checked_mul(LONGEST)?.checked_add(HEADROOM + 1)?;
    bytes.try_reserve_exact(room).ok()?;
    bytes.resize(HEADROOM, 0);
    for (before, byte) in pairs(text) {
        if is_c1(before, byte) {
            bytes.pop();
            bytes.extend(before.escape_ascii());
        }
        if is_special(before, byte) {
            bytes.extend(byte.escape_ascii());
        } else {
            bytes.push(byte);
        }
    }
    bytes.push(0);
    Some(bytes)
}

/// Where there is no memory for more bytes.
fn blank_out(text: &mut [u8]) {
    let mut before = 0;
    for byte in text {
        let now = *byte;
        if is_special(before, now) {
            *byte = b'?';
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escape(text: &str) -> String {
        let bytes = escaped(text.as_bytes()).unwrap();
        assert_eq!(bytes.last(), Some(&0));
        String::from_utf8(bytes[HEADROOM..bytes.len() - 1].to_vec()).unwrap()
    }

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert_eq!(escape("a\nb\r\tc\\n\x1b[0m\x7f\0"), "a\\nb\\r\\tc\\\\n\\x1b[0m\\x7f\\x00");
        assert_eq!(escape("\u{9b}31m \u{a0}\u{20ac}\""), "\\xc2\\x9b31m \u{a0}\u{20ac}\"");
        assert!(needs_escapes(b"\n") && needs_escapes("\u{85}".as_bytes()));
        assert!(!needs_escapes("plain, \u{a0}\u{20ac} \"quoted\"".as_bytes()));
    }

    #[test]
    fn without_memory_they_are_blanked_out() {
        let mut text = "a\nb\\\u{85}\u{20ac}".as_bytes().to_vec();
        blank_out(&mut text);
        assert!(!needs_escapes(&text));
        assert_eq!(&text[..4], b"a?b?");
    }
}
