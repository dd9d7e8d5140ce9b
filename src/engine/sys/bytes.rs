//! Bytes in memory that C may free.

use std::mem::ManuallyDrop;
use std::ptr::{NonNull, null_mut};
use std::slice;

use super::error::{Error, Result};
use super::memory::free;

/// Bytes that grow, in memory of C's allocator.
pub struct Bytes {
    /// NULL while there is no room.
    memory: *mut u8,
    length: usize,
    room: usize,
}

// SAFETY: memory of C's allocator, which any thread may use and free.
unsafe impl Send for Bytes {}

impl Bytes {
    pub const fn new() -> Bytes {
        Bytes { memory: null_mut(), length: 0, room: 0 }
    }

    /// Makes room for so many bytes in all, which is more than there is.
    pub fn reserve(&mut self, room: usize) -> Result<()> {
        // SAFETY: NULL, or memory of C's allocator, which is this one's.
        let memory = unsafe { libc::realloc(self.memory.cast(), room) };
        let memory = NonNull::new(memory).ok_or(Error::OutOfMemory)?;
        (self.memory, self.room) = (memory.as_ptr().cast(), room);
        Ok(())
    }

    /// Makes room for so many bytes more, and for as many again, so that growing is cheap.
    pub fn reserve_more(&mut self, more: usize) -> Result<()> {
        let needed = self.length.checked_add(more).ok_or(Error::OutOfMemory)?;
        if needed <= self.room {
            return Ok(());
        }
        self.reserve(needed.max(self.room.saturating_mul(2)))
    }

    /// The address and the size of the room behind the bytes.
    pub fn rest(&mut self) -> (*mut u8, usize) {
        (self.memory.wrapping_add(self.length), self.room - self.length)
    }

    /// So many bytes have been written into the rest, of which there are so many.
    ///
    /// # Safety
    /// They have been.
    pub unsafe fn advance(&mut self, count: usize) {
        self.length += count;
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.reserve_more(bytes.len())?;
        // SAFETY: there is room for them, and it is no part of them.
        unsafe {
            self.rest().0.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.advance(bytes.len());
        }
        Ok(())
    }

    pub fn as_slice(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: so many bytes have been written.
        unsafe { slice::from_raw_parts(self.memory, self.length) }
    }

    /// Hands the memory over: free(3) is its end.
    pub fn into_raw(self) -> *mut u8 {
        ManuallyDrop::new(self).memory
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: NULL, or memory of C's allocator, which is this one's.
        unsafe { free(self.memory.cast()) };
    }
}
