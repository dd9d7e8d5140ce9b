//! Text in buffers of fixed size.

use std::fmt::{self, Write};

/// What is in front of the first NUL; all, if there is none.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Writes to a buffer of fixed size, truncates, and counts the full length, as snprintf does.
pub struct TruncatingWriter<'b> {
    buffer: &'b mut [u8],
    pub length: usize,
}

impl TruncatingWriter<'_> {
    pub fn new(buffer: &mut [u8]) -> TruncatingWriter<'_> {
        TruncatingWriter { buffer, length: 0 }
    }

    /// What has fitted.
    pub fn written(&self) -> &[u8] {
        &self.buffer[..self.length.min(self.buffer.len())]
    }
}

impl Write for TruncatingWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.buffer.get_mut(self.length..).unwrap_or(&mut []);
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += text.len();
        Ok(())
    }
}
