//! Functions that the program may have, such as those of a sanitizer's runtime.

use std::ffi::{CStr, c_void};
use std::ptr::{dangling_mut, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use crate::engine::sys;

/// A function of a sanitizer's runtime. Looked up once a process, since the lookups take longer
/// than the rest of creating a scheduler.
pub struct Hook {
    name: &'static CStr,
    /// Null before the lookup, then the function, or MISSING. Concurrent lookups have the same
    /// result, so no lock is needed, which a child of fork() might find locked for ever.
    address: AtomicPtr<c_void>,
}

/// Not a function's address.
const MISSING: *mut c_void = dangling_mut::<u8>().cast();

impl Hook {
    pub const fn named(name: &'static CStr) -> Hook {
        Hook { name, address: AtomicPtr::new(null_mut()) }
    }

    /// The function, if the program has it. Not in a signal handler.
    pub fn find(&self) -> Option<*mut c_void> {
        if self.address.load(Relaxed).is_null() {
            self.address.store(sys::symbol(self.name).unwrap_or(MISSING), Relaxed);
        }
        self.known()
    }

    /// The function, if it has been looked up and found.
    pub fn known(&self) -> Option<*mut c_void> {
        let address = self.address.load(Relaxed);
        (!address.is_null() && address != MISSING).then_some(address)
    }
}
