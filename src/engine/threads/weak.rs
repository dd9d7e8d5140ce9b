//! A reference to a scheduler that may be gone.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::engine::sys::{self, Error, Result};

struct Note {
    scheduler: AtomicPtr<c_void>,
    holders: AtomicUsize,
}

pub struct WeakRemote(*const Note);

impl WeakRemote {
    pub fn new() -> Result<WeakRemote> {
        let note = sys::allocate::<Note>(1);
        if note.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for one.
        unsafe {
            note.write(Note {
                scheduler: AtomicPtr::new(null_mut()),
                holders: AtomicUsize::new(1),
            });
        }
        Ok(WeakRemote(note))
    }

    fn note(&self) -> &Note {
        // SAFETY: held.
        unsafe { &*self.0 }
    }

    pub fn open(&self, scheduler: *const c_void) {
        self.note().scheduler.store(scheduler.cast_mut(), Release);
    }

    pub fn close(&self) {
        self.note().scheduler.store(null_mut(), Release);
    }

    pub fn scheduler(&self) -> *const c_void {
        self.note().scheduler.load(Acquire)
    }
}

impl Clone for WeakRemote {
    fn clone(&self) -> WeakRemote {
        self.note().holders.fetch_add(1, Relaxed);
        WeakRemote(self.0)
    }
}

impl Drop for WeakRemote {
    fn drop(&mut self) {
        if self.note().holders.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: from `new`, and nobody else holds it.
            unsafe { sys::free(self.0.cast_mut().cast()) };
        }
    }
}
