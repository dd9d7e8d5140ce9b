//! A place for an element on its way through the core, which moves it as bytes.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;

/// Drops what is in it.
pub struct Slot<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    full: Cell<bool>,
}

impl<T> Slot<T> {
    pub fn empty() -> Slot<T> {
        Slot { value: UnsafeCell::new(MaybeUninit::uninit()), full: Cell::new(false) }
    }

    pub fn holding(value: T) -> Slot<T> {
        Slot { value: UnsafeCell::new(MaybeUninit::new(value)), full: Cell::new(true) }
    }

    /// For the core, which takes the value from there, or puts one there.
    pub fn address(&self) -> *mut c_void {
        self.value.get().cast()
    }

    /// Says that it has.
    ///
    /// # Safety
    /// If `full`, the core has put a value there that nobody else has. If not, it has taken it.
    pub unsafe fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    /// What is in it.
    pub fn take(&self) -> Option<T> {
        // SAFETY: full, and empty from now on. Nobody else reads or writes it meanwhile: the core
        // does so in its calls only, and this is called after them.
        self.full.replace(false).then(|| unsafe { (*self.value.get()).assume_init_read() })
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
