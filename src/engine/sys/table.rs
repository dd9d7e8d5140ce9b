//! A growable array for what lives as long as a scheduler.
//!
//! It takes memory of C's allocator once, for its first few elements, and grows in mappings of its
//! own: a table that grew in C's heap while the program's own blocks did would keep these from going
//! back to the system, as long as it lives. Nothing here panics for want of memory.

use std::marker::PhantomData;
use std::mem::needs_drop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::slice;

use super::error::{Error, Result};
use super::memory::{allocate_table, free_table, page_bytes};

/// What the first elements take at most, unless one alone is larger.
const FIRST_BYTES: usize = 512;

/// An array of elements that need no drop.
pub struct Table<T> {
    memory: NonNull<T>,
    len: usize,
    /// How much memory there is; 0 for none.
    bytes: usize,
    owns: PhantomData<T>,
}

impl<T> Table<T> {
    pub const fn new() -> Table<T> {
        const { assert!(!needs_drop::<T>() && size_of::<T>() > 0 && align_of::<T>() <= 16) };
        Table { memory: NonNull::dangling(), len: 0, bytes: 0, owns: PhantomData }
    }

    #[inline]
    pub fn capacity(&self) -> usize {
        self.bytes / size_of::<T>()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room for `more` elements.
    #[inline]
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let needed = self.len + more;
        if needed * size_of::<T>() <= self.bytes {
            return Ok(());
        }
        let first = FIRST_BYTES / size_of::<T>();
        self.resize(needed.max(first).max(if self.bytes > 0 { 2 * self.capacity() } else { 0 }))
    }

    /// Gives back all but room for `capacity` elements; there are no more. Without memory to move to,
    /// everything stays as it is.
    pub fn shrink(&mut self, capacity: usize) {
        debug_assert!(self.len <= capacity);
        let capacity = capacity.max(1);
        let bytes = (capacity * size_of::<T>()).next_multiple_of(page_bytes());
        if bytes < self.bytes {
            let _ = self.resize(capacity);
        }
    }

    #[cold]
    fn resize(&mut self, capacity: usize) -> Result<()> {
        let bytes = capacity.checked_mul(size_of::<T>()).ok_or(Error::OutOfMemory)?;
        // The first memory is of C's allocator, what comes after it a mapping.
        let is_first = self.bytes == 0 && bytes <= FIRST_BYTES.max(size_of::<T>());
        let bytes = if is_first { bytes } else { bytes.next_multiple_of(page_bytes()) };
        let memory = NonNull::new(allocate_table(bytes).cast::<T>()).ok_or(Error::OutOfMemory)?;
        // SAFETY: `len` elements, which fit in the new memory; the old one is not used again.
        unsafe {
            ptr::copy_nonoverlapping(self.memory.as_ptr(), memory.as_ptr(), self.len);
            self.release();
        }
        self.memory = memory;
        self.bytes = bytes;
        Ok(())
    }

    /// # Safety
    /// The memory is not used again.
    unsafe fn release(&mut self) {
        if self.bytes > 0 {
            // SAFETY: from `allocate_table`, and as this function's contract says.
            unsafe { free_table(self.memory.as_ptr().cast(), self.bytes) };
        }
    }

    /// Adds an element, for which there is room.
    #[inline]
    pub fn push(&mut self, element: T) {
        self.insert(self.len, element);
    }

    /// Inserts an element, for which there is room.
    #[inline]
    pub fn insert(&mut self, index: usize, element: T) {
        assert!(index <= self.len && self.len < self.capacity(), "reserved by the caller");
        // SAFETY: the elements behind it move by one, for which there is room.
        unsafe {
            let place = self.memory.as_ptr().add(index);
            ptr::copy(place, place.add(1), self.len - index);
            place.write(element);
        }
        self.len += 1;
    }

    /// Takes the last element out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the element is initialized, and none of the table's any more.
        Some(unsafe { self.memory.as_ptr().add(self.len).read() })
    }

    /// Takes an element out. Those behind it move up.
    pub fn remove(&mut self, index: usize) -> T {
        assert!(index < self.len);
        // SAFETY: an element, which is taken out, and those behind it.
        unsafe {
            let place = self.memory.as_ptr().add(index);
            let element = place.read();
            ptr::copy(place.add(1), place, self.len - index - 1);
            self.len -= 1;
            element
        }
    }

    /// Removes the first elements.
    pub fn remove_first(&mut self, count: usize) {
        assert!(count <= self.len);
        let memory = self.memory.as_ptr();
        // SAFETY: the elements from `count` on.
        unsafe { ptr::copy(memory.add(count), memory, self.len - count) };
        self.len -= count;
    }

    /// Removes all elements but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements; without memory it is dangling, and there are none.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Table<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        unsafe { self.release() };
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_BYTES, Table};

    #[test]
    fn is_like_a_vector() {
        let (mut table, mut vector) = (Table::new(), Vec::new());
        for number in 0..5000u64 {
            table.reserve(1).unwrap();
            let index = number as usize * 7 % (vector.len() + 1);
            table.insert(index, number);
            vector.insert(index, number);
            if number % 3 == 0 {
                assert_eq!(table.remove(index / 2), vector.remove(index / 2));
            }
            if number % 5 == 0 {
                assert_eq!(table.pop(), vector.pop());
            }
            assert!(table.bytes() <= FIRST_BYTES.max(4096 + 2 * 8 * vector.len()));
        }
        assert_eq!(*table, *vector);
        table.remove_first(100);
        table.truncate(1000);
        assert_eq!(*table, vector[100..1100]);
        let most = table.bytes();
        table.shrink(1000);
        assert!(table.bytes() < most && table.capacity() >= 1000);
        assert_eq!(*table, vector[100..1100]);
        let least = table.bytes();
        table.shrink(1000);
        assert_eq!(table.bytes(), least);
        table.truncate(0);
        assert_eq!(table.pop(), None);
        assert!(Table::<u64>::new().reserve(usize::MAX / 16).is_err());
    }
}
