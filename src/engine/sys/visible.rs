//! Cells that one thread owns, and others may look at.
//!
//! Only the owner has a reference to one, since it is not `Sync`; the others have one to its `word`,
//! and only read. It costs what a `Cell` costs: the owner's reads are not atomic, so that the compiler
//! makes them a part of other instructions, and need not be, since nobody else writes.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

/// A number that other threads may look at.
#[repr(transparent)]
pub struct VisibleU64 {
    word: AtomicU64,
    _not_sync: PhantomData<Cell<u64>>,
}

impl VisibleU64 {
    pub const fn new(value: u64) -> VisibleU64 {
        VisibleU64 { word: AtomicU64::new(value), _not_sync: PhantomData }
    }

    #[inline(always)]
    pub fn get(&self) -> u64 {
        // SAFETY: this thread is the owner, and nobody else writes.
        unsafe { *self.word.as_ptr() }
    }

    #[inline(always)]
    pub fn set(&self, value: u64) {
        self.word.store(value, Relaxed);
    }

    #[inline(always)]
    pub fn replace(&self, value: u64) -> u64 {
        let before = self.get();
        self.set(value);
        before
    }

    /// What others read, and only read.
    pub fn word(&self) -> &AtomicU64 {
        &self.word
    }
}

/// A pointer that other threads may look at.
#[repr(transparent)]
pub struct VisiblePointer<T> {
    word: AtomicPtr<T>,
    _not_sync: PhantomData<Cell<*const T>>,
}

impl<T> VisiblePointer<T> {
    pub const fn new(value: *const T) -> VisiblePointer<T> {
        VisiblePointer { word: AtomicPtr::new(value.cast_mut()), _not_sync: PhantomData }
    }

    #[inline(always)]
    pub fn get(&self) -> *const T {
        // SAFETY: this thread is the owner, and nobody else writes.
        unsafe { *self.word.as_ptr() }
    }

    #[inline(always)]
    pub fn set(&self, value: *const T) {
        self.word.store(value.cast_mut(), Relaxed);
    }

    pub fn replace(&self, value: *const T) -> *const T {
        let before = self.get();
        self.set(value);
        before
    }

    /// What others read, and only read.
    pub fn word(&self) -> &AtomicPtr<T> {
        &self.word
    }
}
