//! Bytes that wait to be taken.

use std::cell::Cell;
use std::slice;

use crate::engine::sys::{self, Error, Result, iovec};

/// Memory with the bytes that it holds, from `begin` to `end`. C may have pointers into it, so it is
/// never borrowed for longer than a look.
pub struct Buffer {
    /// For as many bytes as the capacity, and one more, see [`set_behind`](Self::set_behind).
    memory: *mut u8,
    capacity: usize,
    begin: Cell<usize>,
    end: Cell<usize>,
}

impl Buffer {
    pub fn new(capacity: usize) -> Result<Buffer> {
        if capacity >= isize::MAX as usize {
            return Err(Error::InvalidArgument);
        }
        let memory = sys::allocate::<u8>(capacity + 1);
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        Ok(Buffer { memory, capacity, begin: Cell::new(0), end: Cell::new(0) })
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.end.get() - self.begin.get()
    }

    /// Where the first byte that it holds is, or would be.
    pub fn start(&self) -> *mut u8 {
        self.memory.wrapping_add(self.begin.get())
    }

    /// Where a byte is first, of those that it holds, from a place on.
    pub fn find(&self, byte: u8, from: usize) -> Option<usize> {
        // SAFETY: so many bytes have been written there, and nobody writes during the look.
        let held = unsafe { slice::from_raw_parts(self.start(), self.len()) };
        sys::find_byte(held.get(from..)?, byte).map(|place| from + place)
    }

    /// What it holds, to be read until the buffer changes.
    pub fn held(&self) -> iovec {
        iovec { iov_base: self.start().cast(), iov_len: self.len() }
    }

    /// What it has room for, behind what it holds, which it moves to the front.
    pub fn room(&self) -> iovec {
        let (begin, length) = (self.begin.get(), self.len());
        if begin > 0 {
            // SAFETY: both are within the memory.
            unsafe { self.memory.copy_from(self.memory.add(begin), length) };
            self.begin.set(0);
            self.end.set(length);
        }
        let behind = self.memory.wrapping_add(length);
        iovec { iov_base: behind.cast(), iov_len: self.capacity - length }
    }

    /// So many bytes have been written into its [`room`](Self::room).
    pub fn filled(&self, count: usize) {
        self.end.set(self.end.get() + count);
    }

    /// So many bytes are gone, of those that it holds.
    pub fn skip(&self, count: usize) {
        self.begin.set(self.begin.get() + count);
    }

    /// Copies its first bytes out, and forgets them.
    ///
    /// # Safety
    /// It holds so many, and `to` is good for them.
    pub unsafe fn take(&self, to: *mut u8, count: usize) {
        // SAFETY: as this function's contract says.
        unsafe { to.copy_from(self.start(), count) };
        self.skip(count);
    }

    /// Copies bytes in.
    ///
    /// # Safety
    /// There is room for so many, and `from` is good for them.
    pub unsafe fn add(&self, from: *const u8, count: usize) {
        let room = if self.capacity - self.end.get() >= count {
            self.memory.wrapping_add(self.end.get())
        } else {
            self.room().iov_base.cast()
        };
        // SAFETY: as this function's contract says.
        unsafe { room.copy_from(from, count) };
        self.filled(count);
    }

    /// Replaces the byte behind those that were skipped, be it the next one that it holds, which is
    /// returned, or none.
    pub fn set_behind(&self, byte: u8) -> Option<u8> {
        let place = self.start();
        // SAFETY: at most the one behind the capacity; one that it holds has been written.
        unsafe {
            let replaced = (self.len() > 0).then(|| place.read());
            place.write(byte);
            replaced
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: from `allocate`.
        unsafe { sys::free(self.memory.cast()) };
    }
}
